"""Edits of a unit are split by part, and each becomes the part's new content or a refusal."""

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import EditRefused
from ckpt_doctor.types import Edit
from tests.writer.sample_units import archive, content, make_unit, opened
from tests.writer.unit_faults import migrate

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_edits_of_every_kind_are_split_by_part(tmp_path):
    unit = make_unit(tmp_path)
    (unit / "bare.pt").write_bytes(archive({"module.w": 1}))
    (unit / "model.pt").write_bytes(archive({"model": {"module.w": 2}}))
    edits = [
        Edit(("bare.pt", "model"), None, None, "a test", "wrap"),
        Edit(("bare.pt", "step"), None, 5, "a test"),
        Edit(("model.pt", "model"), "module.", None, "a test", "strip"),
        Edit(("model.pt",), "cuda:0", "cpu", "a test", "relocate"),
    ]
    migrate(unit, edits)
    assert {"model": {"module.w": 1}, "step": 5} == content(unit / "bare.pt")
    assert {"model": {"w": 2}} == content(unit / "model.pt")


@pytest.mark.parametrize(
    "name", ["../x.pt", "/x.pt", "a/../x.pt", "./x.pt", "", "a//b.pt", "x\0.pt", ".ckpt-doctor/x.pt"]
)
def test_a_new_part_lies_in_the_unit(name, tmp_path):
    with pytest.raises(EditRefused):
        writer.part_changes(opened(make_unit(tmp_path)), [Edit((name,), None, {}, "a test")])


def test_a_new_part_does_not_lie_behind_a_link(tmp_path):
    unit = make_unit(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(EditRefused, match="behind a link"):
        writer.part_changes(opened(unit), [Edit(("link/x.pt",), None, {}, "a test")])


@pytest.mark.parametrize(
    "edit",
    [
        Edit(("gone.pt", "lr"), None, 1, "a test"),
        Edit(("optimizer.pt", "no", "such"), None, 1, "a test"),
        Edit(("model.bin", "x"), None, 1, "a test"),
        Edit(("model.safetensors",), None, {}, "a test"),
        Edit((), None, {}, "a test"),
        Edit(("trainer_state.json", "x"), None, {1: 2}, "a test"),
    ],
)
def test_an_edit_that_no_part_can_take_is_refused(edit, tmp_path):
    with pytest.raises(EditRefused):
        writer.part_changes(opened(make_unit(tmp_path)), [edit])
