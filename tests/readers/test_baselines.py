"""Archives of Stable-Baselines3: parts, counts and numbers are read, and what loading would run is told."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch

from ckpt_doctor import open_checkpoint, scan
from tests.readers.attacks import CALL


def saved(path: Path, step: int = 2048, **data: object) -> Path:
    """What `save_to_zip_file` writes."""
    moments = {0: {"step": torch.tensor(float(step // 64)), "exp_avg": torch.full((4,), step / 7)}}
    group = {"lr": 3e-4, "betas": (0.9, 0.999), "params": [0]}
    parts = {
        "policy": {"w": torch.full((4,), step / 3)},
        "policy.optimizer": {"state": moments, "param_groups": [group]},
        "pytorch_variables": None,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {}, "num_timesteps": step, **data}, indent=4))
        for name, value in parts.items():
            buffer = io.BytesIO()
            torch.save(value, buffer)
            archive.writestr(f"{name}.pth", buffer.getvalue())
        archive.writestr("_stable_baselines3_version", "2.3.2")
        archive.writestr("system_info.txt", "OS: Linux")
    return path


def test_its_parts_are_read_and_its_resume_is_not_judged(tmp_path: Path) -> None:
    path = saved(tmp_path / "ppo_2048_steps.zip", seed=None)
    (file,) = scan([tmp_path]).files
    found = file.checkpoint
    assert ("sb3-zip", ["policy.w"]) == (found.container, [one.name for one in found.tensors][:1])
    assert (2048, 32) == (file.member.state.global_step, file.member.state.optimizer_step)
    assert ("not judged", []) == (file.resume, [one.code for one in file.findings])
    (why,) = (one.why for one in file.not_checked if one.what == "the resume")
    assert why.startswith("an archive of Stable-Baselines3")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"2048,", b"2049,"))
    assert ["F102"] == [one.code for one in scan([tmp_path]).files[0].findings], "the settings"
    raw = bytearray(raw)
    raw[found.tensors[0].storage.offset or 0] ^= 1
    path.write_bytes(raw)
    (finding,) = scan([tmp_path], deep=True).files[0].findings
    assert "F102" == finding.code
    assert "policy.w" in finding.message and "weights are intact" not in finding.message


def test_a_count_and_a_copy_of_another_moment_are_told(tmp_path: Path) -> None:
    for step in (1000, 2000, 3000, 4000):
        saved(tmp_path / f"ppo_{step}_steps.zip", step)
    assert not [one for file in scan([tmp_path]).files for one in file.findings]
    for last in ({"step": 4000, "num_timesteps": 2000}, {"step": 2000}):
        saved(tmp_path / "ppo_4000_steps.zip", **last)  # type: ignore[arg-type]
        found = {file.checkpoint.path.name: [f.code for f in file.findings] for file in scan([tmp_path]).files}
        assert {"ppo_4000_steps.zip": ["P401"]} == {name: codes for name, codes in found.items() if codes}


@pytest.mark.parametrize("harmful", [False, True])
def test_what_its_settings_would_run_is_told(tmp_path: Path, harmful: bool) -> None:
    pickled = base64.b64encode(CALL if harmful else b"cbuiltins\ndict\n.").decode()
    path = saved(tmp_path / "a.zip", rollout={":type:": "dict", ":serialized:": pickled})
    assert (["dangerous-global"] if harmful else []) == [one.kind for one in open_checkpoint(path).damage]


def test_one_that_is_no_archive_inside_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for name, content in (("policy.pth", b"PK\x03\x04"), ("policy.pth", b""), ("data", CALL), ("data", b'{"a": ')):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("_stable_baselines3_version", "2.3.2")
            archive.writestr(name, content)
        assert {"missing-record"} <= {one.kind for one in open_checkpoint(path).damage}, name
        assert "broken" == scan([path]).files[0].verdict
