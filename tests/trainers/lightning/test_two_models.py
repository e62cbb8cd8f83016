"""Files of two models in one folder: which one the script builds is open."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import audit
from ckpt_doctor.trainers.facts import facts
from tests.trainers.lightning.runs import put, write


@pytest.mark.parametrize(("ignore", "resume"), [((), "open"), (("O703",), "identical")])
def test_no_file_is_identical_while_two_models_share_the_folder(tmp_path, ignore, resume):
    """In a check of one file as in a scan; what a person accepts counts no more."""
    paths = write(tmp_path)
    put(paths[-1], ["state_dict", "net.more"], torch.ones(2))
    report = audit.scan(tmp_path, facts=facts(shuffle=False), ignore=ignore)
    assert {resume} == {file.resume for file in report.files}
    assert resume == audit.check(paths[0], facts=facts(shuffle=False), ignore=ignore).files[0].resume
