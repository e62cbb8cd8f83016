"""Which view stands for a path, and how it is said that none can."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.views import open_view, unreadable
from ckpt_doctor.remote import RemoteError, Replaced


def test_a_file_of_this_machine_has_a_plain_view(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with open_view(tmp_path / "file") as view:
        assert (FileView, False, True) == (type(view), view.far, view.has(0, 3))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/x"), "the system refuses to read the file: Permission denied"),
        (FileNotFoundError(2, "No such file", "/x"), "is not there any more: it was deleted or moved meanwhile"),
        (Replaced("s3://bucket/x"), "was replaced while it was read: run it again"),
        (RemoteError("it was replaced", "s3://bucket/x"), "cannot read the file: it was replaced"),
    ],
)
def test_a_system_refuses_and_a_server_fails(error: OSError, sentence: str) -> None:
    assert sentence == unreadable(error).message


def test_a_link_that_leads_nowhere_names_its_target_and_the_file_of_that_name_beside_it(tmp_path: Path) -> None:
    link = tmp_path / "latest.pt"
    link.symlink_to("/gone/step_75.pt")
    alone, beside = "it is a link to /gone/step_75.pt, where nothing is", "; step_75.pt lies beside it"
    assert [alone] == [damage.message for damage in open_checkpoint(link).damage]
    (tmp_path / "step_75.pt").touch()
    assert [alone + beside] == [damage.message for damage in open_checkpoint(link).damage]
