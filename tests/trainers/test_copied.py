"""Weights or moments that are byte for byte those of another moment's file: SGD counts no steps that would show it."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import migrate, scan
from tests.trainers.plain.plain_runs import TOLD, Change, changed, facts, run, serious

KEYS = {"weights": "model_state_dict", "moments": "optimizer_state_dict", "schedule": "scheduler_state_dict"}


def copy(*parts: str) -> Change:
    return lambda value, other: value.update({KEYS[part]: other[KEYS[part]] for part in parts})


def resumes(folder):
    return {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**TOLD)).files}


@pytest.mark.parametrize("part", ["weights", "moments"])
def test_which_of_two_files_has_them_from_the_other_is_open(tmp_path, part):
    folder = run(tmp_path, "none", "SGD")
    changed(folder / "checkpoint_3.pt", copy(part), folder / "checkpoint_1.pt")
    told = {
        number: [one for one in file.plan.open if "byte for byte" in one.why]
        for number, file in resumes(folder).items()
    }
    assert {number for number, notes in told.items() if notes} == {"1", "3"}
    assert "checkpoint_1.pt" in told["3"][0].why
    assert {resumes(folder)[number].resume for number in "13"} == {"open"}
    assert {resumes(folder)[number].resume for number in "024"} == {"identical"}


@pytest.mark.parametrize("key", ["rng_state", "ema"])
def test_a_lone_pair_of_random_states_or_averages_is_open(tmp_path, key):
    """Where others have one in common as well they rest for some epochs: nothing was drawn, or averaged."""
    folder = run(tmp_path, "none", "SGD")
    for path in folder.iterdir():

        def with_both(value, _):
            generator = torch.Generator().manual_seed(value["epoch"])
            average = {name: t + 1 for name, t in value["model_state_dict"].items()}
            value.update(rng_state=generator.get_state(), ema=average)

        changed(path, with_both)
    assert {file.resume for file in resumes(folder).values()} == {"identical"}
    changed(
        folder / "checkpoint_3.pt", lambda value, other: value.update({key: other[key]}), folder / "checkpoint_2.pt"
    )
    assert {number: file.resume for number, file in resumes(folder).items() if file.resume != "identical"} == {
        "2": "open",
        "3": "open",
    }
    changed(
        folder / "checkpoint_1.pt", lambda value, other: value.update({key: other[key]}), folder / "checkpoint_0.pt"
    )
    assert {file.resume for file in resumes(folder).values()} == {"identical"}


def test_with_its_schedule_it_is_of_the_schedules_moment(tmp_path):
    """And its source stays without a word; the cured schedule does not make it identical."""
    folder = run(tmp_path, "CosineAnnealingLR", "SGD")
    changed(folder / "checkpoint_3.pt", copy("moments", "schedule"), folder / "checkpoint_1.pt")
    assert [code for code, _ in serious(resumes(folder)["3"])] == ["P409", "R501"]
    migrate([folder], facts=facts(**TOLD))
    assert resumes(folder)["3"].resume == "differs"
    assert {resumes(folder)[number].resume for number in "0124"} == {"identical"}


@pytest.mark.parametrize(("parts", "after"), [(("schedule",), "identical"), (("moments", "schedule"), "open")])
def test_where_the_source_is_gone_its_rate_tells(tmp_path, parts, after):
    folder = run(tmp_path, "CosineAnnealingLR", "SGD")
    changed(folder / "checkpoint_3.pt", copy(*parts), folder / "checkpoint_1.pt")
    (folder / "checkpoint_1.pt").unlink()
    migrate([folder], facts=facts(**TOLD))
    assert resumes(folder)["3"].resume == after


def test_a_copy_of_the_whole_file_and_an_optimizer_that_rests_are_no_copied_parts(tmp_path):
    folder = run(tmp_path / "whole", "none", "SGD")
    changed(folder / "checkpoint_3.pt", lambda v, o: v.update(o, epoch=v["epoch"]), folder / "checkpoint_2.pt")
    assert [one for file in resumes(folder).values() for one in file.plan.open if "byte for byte" in one.why] == []
    folder = run(tmp_path / "still", "none", "SGD")
    for path in folder.iterdir():
        changed(path, lambda v, _: v["optimizer_state_dict"]["param_groups"][0].update(lr=0.0))
    changed(folder / "checkpoint_3.pt", copy("weights"), folder / "checkpoint_2.pt")
    assert {file.resume for file in resumes(folder).values()} == {"identical"}


def with_averages(folder, values):
    """A run whose files have the averages of a moment each."""
    for number, value in enumerate(values):
        average = {"a": torch.full((3,), float(value)), "b": torch.full((2,), 1.0 + value)}
        changed(folder / f"checkpoint_{number}.pt", lambda v, _, average=average: v.update(ema=average))
    return folder


@pytest.mark.parametrize(("values", "told"), [((0, 0, 0, 1, 2), set()), ((0, 0, 1, 2, 1), {"2", "4"})])
def test_averages_that_rest_at_first_do_not_come_back(tmp_path, values, told):
    folder = with_averages(run(tmp_path, "none", "SGD"), values)
    assert {number for number, file in resumes(folder).items() if file.resume == "open"} == told


def test_a_copy_of_the_last_file_hides_no_lone_pair(tmp_path):
    folder = with_averages(run(tmp_path, "none", "SGD"), (0, 1, 2, 2, 4))
    (folder / "last.pt").write_bytes((folder / "checkpoint_4.pt").read_bytes())
    assert {"2", "3"} <= {number for number, file in resumes(folder).items() if file.resume == "open"}


@pytest.mark.parametrize("key", ["network_fn_state_dict", "network_fine_state_dict"])
def test_one_of_two_models_that_is_an_earlier_one_again_is_open(tmp_path, key):
    """Two networks under one optimizer; one that is frozen is the same in all files."""
    torch.manual_seed(0)
    coarse, fine = torch.nn.Linear(3, 4), torch.nn.Linear(3, 5)
    optimizer = torch.optim.Adam([*coarse.parameters(), *fine.parameters()])
    for step in range(1, 6):
        (coarse(torch.randn(2, 3)).sum() + fine(torch.randn(2, 3)).pow(2).sum()).backward()
        optimizer.step()
        models = {"network_fn_state_dict": coarse.state_dict(), "network_fine_state_dict": fine.state_dict()}
        parts = {"global_step": step, **models, "optimizer_state_dict": optimizer.state_dict()}
        torch.save(parts, tmp_path / f"00000{step}.tar")

    def told():
        found = scan([tmp_path], facts=facts(shuffle=False)).files
        return {f.checkpoint.path.stem[-1] for f in found if any("byte for byte" in one.why for one in f.plan.open)}

    assert told() == set()
    changed(tmp_path / "000004.tar", lambda v, other: v.update({key: other[key]}), tmp_path / "000002.tar")
    assert told() == {"2", "4"}


def test_the_last_rate_of_a_schedule_may_be_0(tmp_path):
    """The weights moved before the schedule's last step."""
    folder = run(tmp_path, "PolynomialLR", "SGD", epochs=6)
    assert torch.load(folder / "checkpoint_5.pt")["optimizer_state_dict"]["param_groups"][0]["lr"] == 0
    changed(folder / "checkpoint_5.pt", copy("weights"), folder / "checkpoint_3.pt")
    assert {number for number, file in resumes(folder).items() if file.resume == "open"} == {"3", "5"}
