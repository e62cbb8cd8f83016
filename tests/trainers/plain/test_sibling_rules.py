"""What a resume began anew, and what was built otherwise, by the other files of the run."""

from __future__ import annotations

import torch

from ckpt_doctor import latest, scan
from tests.trainers.plain.plain_runs import TOLD, changed, facts, run, serious


def files_of(folder, **told):
    return {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**{**TOLD, **told})).files}


def found(folder, code):
    """Number in the name -> what a code says of the file."""
    told = {number: [one for one in file.findings if one.code == code] for number, file in files_of(folder).items()}
    return {number: findings[0] for number, findings in told.items() if findings}


def with_best(folder, values, key="best_acc1"):
    for number, value in enumerate(values):
        changed(folder / f"checkpoint_{number}.pt", lambda v, _, value=value: v.update({key: value}))
    return folder


def test_a_best_value_that_was_begun_anew_is_told_until_it_is_reached_again(tmp_path):
    folder = with_best(run(tmp_path, "StepLR"), [0.6, 0.7, 0.5, 0.65, 0.8])
    told = found(folder, "E605")
    assert {number: (one.found, one.expected) for number, one in told.items()} == {"2": (0.5, 0.7), "3": (0.65, 0.7)}


def test_a_best_value_may_be_a_tensor_and_lower_may_be_better(tmp_path):
    tensors = with_best(run(tmp_path / "a", "StepLR"), map(torch.tensor, [60.0, 71.0, 71.0, 62.0, 62.0]))
    assert list(found(tensors, "E605")) == ["3", "4"]
    losses = with_best(run(tmp_path / "b", "StepLR"), [0.9, 0.5, 0.5, 0.7, 0.6], "best_loss")
    assert list(found(losses, "E605")) == ["3", "4"]


def test_where_the_key_does_not_say_what_is_better_most_changes_do(tmp_path):
    clear = with_best(run(tmp_path / "a", "StepLR", epochs=6), [9, 8, 7, 6, 8, 7], "best_val_metric")
    assert list(found(clear, "E605")) == ["4", "5"]
    open_one = with_best(run(tmp_path / "b", "StepLR"), [9, 8, 9, 7, 8], "best_val_metric")
    assert not found(open_one, "E605")


def test_best_values_that_only_grow_or_are_of_several_runs_are_no_reset(tmp_path):
    healthy = with_best(run(tmp_path / "a", "StepLR"), [0.6, 0.6, 0.7, 0.7, 0.8])
    assert {file.resume for file in files_of(healthy).values()} == {"identical"}
    folds = with_best(run(tmp_path / "b", "StepLR"), [0.6, 0.8, 0.7, 0.9, 0.8])
    for number, name in enumerate("20413"):
        (folds / f"checkpoint_{number}.pt").rename(folds / f"fold_{name}.pt")
    assert not found(folds, "E605")
    stages = with_best(run(tmp_path / "d", "StepLR"), [0.6, 0.8, 0.7, 0.75, 0.8])
    for number in range(5):
        changed(stages / f"checkpoint_{number}.pt", lambda v, _, number=number: v.update(stage=number // 2))
    assert not found(stages, "E605")
    turned = with_best(run(tmp_path / "c", "StepLR"), [-5.0, -4.0, -3.0, -2.0, -1.0], "best_loss")
    assert not found(turned, "E605")


def with_weights_of(folder, donor, numbers):
    for number in numbers:
        path = folder / f"checkpoint_{number}.pt"
        changed(path, lambda v, d: v.update(model_state_dict=d["model_state_dict"]), folder / f"checkpoint_{donor}.pt")
    return folder


def test_weights_that_rest_while_the_optimizer_goes_on_are_not_what_is_trained(tmp_path):
    folder = with_weights_of(run(tmp_path, "StepLR"), 1, (2, 3, 4))
    told = found(folder, "P409")
    assert sorted(told) == ["2", "3", "4"] and {"checkpoint_1.pt" in one.message for one in told.values()} == {True}
    assert latest(folder)[0].name == "checkpoint_1.pt"


def test_weights_that_two_files_share_leave_both_open(tmp_path):
    folder = with_weights_of(run(tmp_path, "StepLR", "SGD"), 2, (3,))
    assert not found(folder, "P409")
    assert [file.resume for _, file in sorted(files_of(folder).items())] == ["identical"] * 2 + ["open"] * 2 + [
        "identical"
    ]


def test_an_optimizer_with_other_groups_than_at_the_start_is_a_note(tmp_path):
    folder = run(tmp_path, "none", "two rates")
    assert not found(folder, "O704")
    for number in "012":

        def earlier(value, _):
            held = value["optimizer_state_dict"]
            held["param_groups"] = held["param_groups"][:1]
            held["state"] = {index: held["state"][index] for index in held["param_groups"][0]["params"]}

        changed(folder / f"checkpoint_{number}.pt", earlier)
    told = found(folder, "O704")
    assert {number: (one.found, one.expected, one.severity) for number, one in told.items()} == {
        number: ([2, 2], [2], "info") for number in "34"
    }


def test_a_rate_to_begin_with_that_the_others_have_is_missing(tmp_path):
    """A scheduler that is built at its position needs it; one with a state of its own does not."""
    folder = run(tmp_path / "a", "StepLR")

    def bare(value, _):
        del value["scheduler_state_dict"]

    def without(value, _):
        del value["optimizer_state_dict"]["param_groups"][0]["initial_lr"]

    for path in folder.iterdir():
        changed(path, bare)
    assert not found(folder, "L302")
    changed(folder / "checkpoint_4.pt", without)
    assert [(number, one.expected) for number, one in found(folder, "L302").items()] == [("4", 0.01)]
    state = run(tmp_path / "b", "StepLR")
    changed(state / "checkpoint_4.pt", without)
    assert serious(files_of(state)["4"]) == []


def with_positions(folder, positions):
    for number, at in enumerate(positions):
        state = {"last_epoch": at, "_step_count": at + 1}
        changed(folder / f"checkpoint_{number}.pt", lambda v, _, s=state: v["scheduler_state_dict"].update(s))
    return folder


def test_a_schedule_that_was_begun_anew_is_told_in_every_file_since(tmp_path):
    folder = with_positions(run(tmp_path, "LambdaLR by step"), [4, 8, 12, 3, 7])
    for path in folder.iterdir():
        changed(
            path, lambda v, _: v["scheduler_state_dict"].update(_step_count=v["scheduler_state_dict"]["last_epoch"] + 1)
        )
    assert {number: one.found for number, one in found(folder, "R501").items()} == {"3": 3, "4": 7}


def test_a_schedule_for_each_stage_is_none_that_was_begun_anew(tmp_path):
    """It was at its end before, or begins anew more than once."""
    for name, schedule, positions in (("a", "CosineAnnealingLR", [4, 5, 6, 1, 2]), ("b", "StepLR", [1, 2, 1, 2, 1])):
        folder = with_positions(run(tmp_path / name, schedule), positions)
        for path in folder.iterdir():
            changed(
                path,
                lambda v, _: v["scheduler_state_dict"].update(_step_count=v["scheduler_state_dict"]["last_epoch"] + 1),
            )
        assert not any("began the schedule anew" in one.message for one in found(folder, "R501").values())


def test_two_models_files_of_one_number_go_together(tmp_path):
    folder = run(tmp_path, "StepLR")
    for path in sorted(folder.iterdir()):
        other = path.with_name(path.name.replace("checkpoint", "D{"))
        other.write_bytes(path.read_bytes())
        changed(other, lambda v, _: v["model_state_dict"].update(more=torch.ones(7)))
    assert not found(folder, "F114")
    whole = (folder / "D{_4.pt").read_bytes()
    (folder / "D{_4.pt").write_bytes(whole[: len(whole) // 2])
    assert {number: one.where for number, one in found(folder, "F114").items()} == {"4": "D{_4.pt"}
    for number in range(4):  # the best files of the same model are no partners
        (folder / f"D{{_{number}.pt").write_bytes((folder / f"checkpoint_{number}.pt").read_bytes())
    assert not found(folder, "F114")


def test_folds_are_runs_of_their_own(tmp_path):
    """Each begins its best value anew."""
    for fold in range(2):
        folder = with_best(run(tmp_path / f"{fold}", "StepLR"), [0.6 + fold / 9, 0.75, 0.7 if fold else 0.75, 0.8, 0.9])
        for path in folder.iterdir():
            path.rename(tmp_path / f"fold{fold}_epoch{path.stem[-1]}.pt")
    told = [f.checkpoint.path.stem for f in scan([tmp_path]).files if any(one.code == "E605" for one in f.findings)]
    assert told == ["fold1_epoch2"]


def with_rates(folder, rates):
    for number, rate in enumerate(rates):
        groups = lambda v, _, rate=rate: v["optimizer_state_dict"]["param_groups"][0].update(lr=rate)  # noqa: E731
        changed(folder / f"checkpoint_{number}.pt", groups)
    return folder


def test_a_rate_that_all_files_have_but_one_between_them_was_changed_there(tmp_path):
    for name, rates in {"last": [0.1, 0.1, 0.1, 0.1, 0.01], "first": [1e-3, 0.1, 0.1, 0.1, 0.1]}.items():
        assert found(with_rates(run(tmp_path / name, "none"), rates), "R504") == {}
    told = found(with_rates(run(tmp_path / "odd", "none"), [0.1, 0.1, 1.0, 0.1, 0.1]), "R504")
    assert {number: (one.found, one.expected) for number, one in told.items()} == {"2": (1.0, 0.1)}
    assert {number for number, file in files_of(tmp_path / "odd").items() if file.resume != "identical"} == {"2"}


def test_the_state_of_another_class_of_optimizer_is_told_between_others(tmp_path):
    folder = run(tmp_path / "run", "none", "SGD")
    other = run(tmp_path / "other", "none", "AdamW")
    key = "optimizer_state_dict"
    take = lambda v, theirs: v.update({key: {**v[key], "state": theirs[key]["state"]}})  # noqa: E731
    changed(folder / "checkpoint_2.pt", take, other / "checkpoint_2.pt")
    assert list(found(folder, "O701")) == ["2"]
    changed(folder / "checkpoint_3.pt", take, other / "checkpoint_3.pt")  # from there on
    changed(folder / "checkpoint_4.pt", take, other / "checkpoint_4.pt")
    assert found(folder, "O701") == {}


def test_without_any_count_a_lost_state_is_told_by_the_other_files(tmp_path):
    folder = run(tmp_path, "none")
    for path in folder.iterdir():
        changed(path, lambda v, _: v.pop("epoch"))
    changed(folder / "checkpoint_2.pt", lambda v, _: v["optimizer_state_dict"].update(state={}))
    assert list(found(folder, "O702")) == ["2"]
