"""`--sync-scheduler`: schedule, rate and momentum of the resume point, to torch's last bit."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from tests.migrators.sample_runs import changed, edit, given, load, repaired, untouched

STEPS, EPOCHS = 45, 5


def uninterrupted(scheduler_class, steps: int, *, groups: int = 1, optimizer_class=torch.optim.Adam, **options) -> dict:
    """What torch's own optimizer and scheduler hold after so many steps."""
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.01 / (i + 1)} for i in range(groups)]
    extra = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
    optimizer = optimizer_class(parameters, lr=0.01, **extra)
    scheduler = scheduler_class(optimizer, **options)
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
    return {"scheduler": scheduler.state_dict(), "groups": optimizer.state_dict()["param_groups"]}


def one_cycle(steps: int, max_lr=0.01, **options) -> dict:
    """OneCycleLR of the sample runs after so many steps."""
    total = STEPS * EPOCHS
    return uninterrupted(OneCycleLR, steps, max_lr=max_lr, total_steps=total, pct_start=0.2, **options)


def install(state: dict):
    """Put a scheduler's and its groups' state into a file; the groups share out the parameters that the file has."""

    def change(held: dict) -> None:
        groups = [dict(group) for group in state["groups"]]
        ids = held["optimizer"]["param_groups"][0]["params"]
        for index, group in enumerate(groups):
            group["params"] = ids[index :: len(groups)]
        held["scheduler"] = dict(state["scheduler"])
        held["optimizer"]["param_groups"] = groups

    return change


@pytest.mark.parametrize("step", [120, 140])
def test_in_tst_the_step_that_was_not_yet_taken_is_made_up_for(step, sample):
    """All of it moves together, and equals what torch computes step by step."""
    run = sample("complete-TST")
    before, true = load(run.step(step)), one_cycle(step)
    found = changed(run.step(step), "sync-scheduler")
    assert found == {
        ("scheduler", "last_epoch"): (step - 1, step),
        ("scheduler", "_step_count"): (step, step + 1),
        ("scheduler", "_last_lr", 0): (before["scheduler"]["_last_lr"][0], true["scheduler"]["_last_lr"][0]),
        ("optimizer", "param_groups", 0, "lr"): (
            before["optimizer"]["param_groups"][0]["lr"],
            true["groups"][0]["lr"],
        ),
        ("optimizer", "param_groups", 0, "betas", 0): (
            before["optimizer"]["param_groups"][0]["betas"][0],
            true["groups"][0]["betas"][0],
        ),
    }
    assert all(type(after) in (int, float) for _, after in found.values())


def test_a_schedule_that_lags_further_is_brought_all_the_way(sample):
    """Each resume adds a step of lag; how many there were does not matter."""
    run = sample("complete-TST")
    edit(run.step(140), install(one_cycle(131)))
    changed(run.step(140), "sync-scheduler")
    held, true = load(run.step(140)), one_cycle(140)
    assert true["scheduler"] == held["scheduler"]
    assert true["groups"][0]["lr"] == held["optimizer"]["param_groups"][0]["lr"]


def test_every_param_group_gets_its_own_rate(sample):
    """Two groups with rates of their own, as torch's OneCycleLR has them."""
    run = sample("complete-TST")
    rates = [0.01, 0.003]
    edit(run.step(140), install(one_cycle(139, rates, groups=2)))
    changed(run.step(140), "sync-scheduler")
    held, true = load(run.step(140)), one_cycle(140, rates, groups=2)
    assert true["scheduler"] == held["scheduler"]
    groups = held["optimizer"]["param_groups"]
    assert [(g["lr"], g["betas"]) for g in true["groups"]] == [(g["lr"], g["betas"]) for g in groups]


def test_the_momentum_of_sgd_is_cycled_too(sample):
    """Where there are no betas OneCycleLR moves `momentum`."""
    run = sample("complete-TST")
    edit(run.step(140), install(one_cycle(139, optimizer_class=torch.optim.SGD)))
    changed(run.step(140), "sync-scheduler")
    held, true = load(run.step(140)), one_cycle(140, optimizer_class=torch.optim.SGD)
    assert true["groups"][0]["momentum"] == held["optimizer"]["param_groups"][0]["momentum"]


def test_in_cos_the_files_of_an_epochs_end_move_one_epoch(sample):
    """Saved before the epoch's scheduler.step()."""
    run = sample("complete-COS")
    for path, finished in ((run.best, 1), (run.step(90), 2)):
        changed(path, "sync-scheduler")
        held, true = load(path), uninterrupted(CosineAnnealingLR, finished, T_max=20, eta_min=1e-8)
        assert true["scheduler"] == {**held["scheduler"], "_is_initial": False}
        assert true["groups"][0]["lr"] == held["optimizer"]["param_groups"][0]["lr"]


def test_in_cos_a_file_within_an_epoch_is_right_as_it_is(sample):
    """It must not be touched: the schedule moves at the epoch's end only."""
    assert "unchanged" == untouched(sample("complete-COS").step(75), "sync-scheduler").status


def test_in_tst_the_best_file_is_right_as_it_is(sample):
    """Saved at the epoch's end, after its last scheduler.step()."""
    assert "unchanged" == untouched(sample("complete-TST").best, "sync-scheduler").status


def test_an_idle_scheduler_stays_and_only_the_rate_of_the_epoch_is_set(sample):
    """type1 at an epoch's end: the file still has the rate of the epoch before; inside an epoch it is right."""
    run = sample("first-patch-type1")
    assert "unchanged" == untouched(run.step(140), "sync-scheduler").status
    (path, (before, after)), *others = changed(run.best, "sync-scheduler").items()
    assert (("optimizer", "param_groups", 0, "lr"), []) == (path, others)
    finished = load(run.best)["global_step"] // STEPS
    assert (0.01 / 25) * 0.5 ** (finished - 1) == pytest.approx(after, rel=1e-12)
    assert before == pytest.approx(2 * after)


def test_twice_changes_nothing(sample):
    """The second run finds the file in step."""
    run = sample("complete-TST")
    changed(run.step(140), "sync-scheduler")
    assert "unchanged" == untouched(run.step(140), "sync-scheduler").status


def test_a_mode_that_is_not_known_is_asked_for(sample):
    """A schedule that never moved with a rate that no mode gives, in a step file alone in the world."""
    run = sample("complete-TST")
    alone = run.root / "alone" / "checkpoint_step_140" / "checkpoint.pt"
    alone.parent.mkdir(parents=True)
    run.step(140).rename(alone)
    edit(alone, install(one_cycle(0)))
    edit(alone, lambda held: held["optimizer"]["param_groups"][0].update(lr=0.00123))
    (refusal,) = untouched(alone, "sync-scheduler", facts=given(steps_per_epoch=STEPS)).refusals
    assert "--lradj" == refusal.settle
    changed(alone, "sync-scheduler", facts=given(steps_per_epoch=STEPS, lradj="TST"))
    assert one_cycle(140)["scheduler"] == load(alone)["scheduler"]


def test_a_place_that_is_not_known_is_asked_for(sample):
    """A best file says that an epoch ended at step 140, which no whole number of steps per epoch allows."""
    run = sample("complete-TST")
    alone = run.root / "alone" / "checkpoint"
    alone.parent.mkdir()
    run.step(140).rename(alone)
    (refusal,) = untouched(alone, "sync-scheduler").refusals
    assert ("--steps-per-epoch", True) == (refusal.settle, "how many steps an epoch has" in refusal.reason)
    edit(alone, lambda held: held.update(global_step=139))
    assert "disagree" in untouched(alone, "sync-scheduler").refusals[0].reason


def test_without_a_schedule_there_is_nothing_to_sync(sample):
    """It is refused, with what could help; nothing is made up."""
    run = sample("complete-TST")
    edit(run.step(140), lambda held: held.update(scheduler=None))
    (refusal,) = untouched(run.step(140), "sync-scheduler").refusals
    assert ("the file has no scheduler state", "another checkpoint of the run") == (refusal.reason, refusal.settle)


def test_on_two_processes_the_schedule_runs_twice_as_far(sample):
    """Accelerate steps a prepared scheduler once per process: `last_epoch` is W times the step."""
    run = sample("complete-TST")

    def on_two(held: dict) -> None:
        held.update(global_step=70)
        install(one_cycle(138))(held)
        for state in held["optimizer"]["state"].values():
            state["step"].fill_(70)

    alone = run.root / "two" / "checkpoint_step_70" / "checkpoint.pt"
    alone.parent.mkdir(parents=True)
    run.step(140).rename(alone)
    edit(alone, on_two)
    result = repaired(alone, "sync-scheduler", facts=given(world_size=2))
    assert "migrated" == result.status, result
    assert one_cycle(140)["scheduler"] == load(alone)["scheduler"]


@pytest.mark.parametrize("slot", ["lr", "betas"])
def test_a_rate_that_is_a_tensor_is_refused(slot, sample):
    """No repair writes a tensor's bytes, and a number in its place is another kind of rate."""
    path = sample("complete-TST").step(140)

    def change(held: dict) -> None:
        (group,) = held["optimizer"]["param_groups"]
        group["lr"] = torch.tensor(group["lr"])
        if slot == "betas":
            group |= {"lr": float(group["lr"]), "betas": tuple(map(torch.tensor, group["betas"])), "capturable": True}

    edit(path, change)
    result = untouched(path, "sync-scheduler")
    assert "refused" == result.status
    assert slot in result.refusals[0].reason
