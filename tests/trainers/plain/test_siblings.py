"""What a file lacks, or has in another form, by the files that its loop named and saved alike."""

from __future__ import annotations

import pytest

from ckpt_doctor import scan
from tests.trainers.plain.plain_runs import TOLD, changed, facts, run, serious


def with_average(folder, numbers):
    for number in numbers:
        changed(folder / f"checkpoint_{number}.pt", lambda v, _: v.update(ema=dict(v["model_state_dict"])))
    return {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**TOLD)).files}


def test_weights_that_the_files_around_it_have_are_missing(tmp_path):
    files = with_average(run(tmp_path, "StepLR"), "0134")
    assert {number: serious(file) for number, file in files.items() if serious(file)} == {"2": [("L302", None)]}
    assert [file.resume for _, file in sorted(files.items())] == ["identical"] * 2 + ["differs"] + ["identical"] * 2


def test_a_part_that_this_file_alone_lacks_leaves_its_resume_open(tmp_path):
    """Averages in a list, a sampler's state; not what is saved every other time."""
    folder = run(tmp_path, "StepLR")
    for number, key in (("01234", "shadow"), ("024", "samples")):
        for one in number:
            changed(folder / f"checkpoint_{one}.pt", lambda v, _, key=key: v.update({key: [1, 2]}))
    changed(folder / "checkpoint_2.pt", lambda v, _: v.pop("shadow"))
    files = {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**TOLD)).files}
    assert {"2": ["part shadow"]} == {n: [o.what for o in f.plan.open] for n, f in files.items() if f.plan.open}
    assert {"2"} == {number for number, file in files.items() if file.resume != "identical"}


def test_averages_that_begin_later_or_end_are_no_missing_part(tmp_path):
    """The last file's script may have ended them, or lost them: open."""
    later = with_average(run(tmp_path / "later", "StepLR"), "234")
    assert {file.resume for file in later.values()} == {"identical"}
    ended = with_average(run(tmp_path / "ended", "StepLR"), "0123")
    assert [file.resume for _, file in sorted(ended.items())] == ["identical"] * 4 + ["open"]
    assert [serious(file) for file in ended.values()] == [[]] * 5


def test_a_file_of_another_name_may_have_less(tmp_path):
    folder = run(tmp_path, "StepLR")
    (folder / "checkpoint_4.pt").rename(folder / "best.pt")
    assert {file.resume for file in with_average(folder, "0123").values()} == {"identical"}


def test_wrapped_keys_beside_bare_ones_leave_the_resume_open(tmp_path):
    """The file stays one of its run: its label is still judged by the others'."""
    folder = run(tmp_path, "StepLR")

    def wrapped(value, _):
        value.update(model_state_dict={f"module.{key}": t for key, t in value["model_state_dict"].items()}, epoch=7)

    changed(folder / "checkpoint_2.pt", wrapped)
    files = {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(shuffle=False)).files}
    assert serious(files["2"]) == [("P402", "fix-epoch")]
    assert "module." in next(one.why for one in files["2"].plan.open if "L304" in one.why)
    assert not [one for number in "0134" for one in files[number].plan.open if "L304" in one.why]


def test_a_lone_schedule_of_other_values_is_named(tmp_path):
    """Not a changed command's, which stays; nor base rates from which nothing is computed."""
    for schedule, expected in (("LambdaLR", [("R509", None)]), ("StepLR", [])):
        folder = run(tmp_path / schedule, schedule)
        changed(folder / "checkpoint_2.pt", lambda v, _: v["scheduler_state_dict"].update(base_lrs=[0.5]))
        found = {file.checkpoint.path.stem[-1]: serious(file) for file in scan([folder], facts=facts(**TOLD)).files}
        assert {"2": expected} == {number: held for number, held in found.items() if held or number == "2"}
    changed(folder / "checkpoint_4.pt", lambda v, _: v["scheduler_state_dict"].update(step_size=9))
    assert serious(scan([folder], facts=facts(**TOLD)).files[4]) == []


def test_two_files_of_one_number_that_are_of_two_moments_are_open(tmp_path):
    """A generator's and a discriminator's: one of them was copied over the other's later file."""
    folder = run(tmp_path, "StepLR")
    run(tmp_path / "other", "StepLR")
    for path in sorted((tmp_path / "other").iterdir()):
        changed(path, lambda v, _: v["model_state_dict"].update(more=v["model_state_dict"]["0.bias"]))
        path.rename(folder / path.name.replace("checkpoint", "D"))
    (folder / "D_3.pt").write_bytes((folder / "D_1.pt").read_bytes())
    files = {file.checkpoint.path.name: file for file in scan([folder], facts=facts(**TOLD)).files}
    told = {name: file.resume for name, file in files.items() if file.resume != "identical"}
    assert told == {"checkpoint_3.pt": "open", "D_3.pt": "open"}
    assert "D_3.pt" in files["checkpoint_3.pt"].plan.open[0].what


def half(value, _):
    value["model_state_dict"] = {key: tensor.half() for key, tensor in value["model_state_dict"].items()}


def without_one_moment(value, _):
    del value["optimizer_state_dict"]["state"][3]


def other_order(value, _):
    state = value["optimizer_state_dict"]["state"]
    state[0], state[2] = state[2], state[0]


def half_moments(value, _):
    for entry in value["optimizer_state_dict"]["state"].values():
        entry["exp_avg"] = entry["exp_avg"].half()


def zeros(value, _):
    for entry in value["optimizer_state_dict"]["state"].values():
        entry["exp_avg"], entry["exp_avg_sq"] = entry["exp_avg"] * 0, entry["exp_avg"] * 0


def test_a_model_without_a_tensor_that_files_named_alike_have(tmp_path):
    folder = run(tmp_path, "StepLR")
    changed(folder / "checkpoint_2.pt", lambda v, _: v["model_state_dict"].pop("2.bias"))
    found = {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**TOLD)).files}
    assert {"2": [("L302", None)]} == {number: serious(file) for number, file in found.items() if serious(file)}
    assert "2.bias" in next(one.message for one in found["2"].findings if one.code == "L302")


@pytest.mark.parametrize(
    ("change", "code"),
    [(half, "L303"), (without_one_moment, "O702"), (other_order, "O701"), (half_moments, "L303"), (zeros, "O702")],
)
def test_a_file_of_another_form_than_those_around_it(tmp_path, change, code):
    """Of the last file it may be a change that stays: it is no finding, as it is none of all that follow."""
    folder = run(tmp_path, "StepLR", "two rates")
    changed(folder / "checkpoint_2.pt", change)
    found = {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**TOLD)).files}
    assert {"2": [(code, None)]} == {number: serious(file) for number, file in found.items() if serious(file)}
    assert ["identical"] * 2 + ["differs"] + ["identical"] * 2 == [file.resume for _, file in sorted(found.items())]
    for number in "34":
        changed(folder / f"checkpoint_{number}.pt", change)
    assert [[]] * 5 == [serious(file) for file in scan([folder], facts=facts(**TOLD)).files]
    (folder / "checkpoint_4.pt").unlink()
    (folder / "checkpoint_3.pt").unlink()
    assert "open" == scan([folder], facts=facts(**TOLD)).files[-1].resume
