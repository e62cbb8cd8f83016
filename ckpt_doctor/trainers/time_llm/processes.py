"""How many processes train together under Accelerate, and what an epoch is then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ckpt_doctor.trainers.time_llm.command import real_steps
from ckpt_doctor.trainers.time_llm.layout import uses_amp
from ckpt_doctor.trainers.time_llm.modes import PER_EPOCH, PER_STEP
from ckpt_doctor.types import Evidence, Member
from ckpt_doctor.types.record import record

MOST_PROCESSES = 64
"""Processes that are told from a run's numbers; more than that have to be given."""
LIKELY = (1, 2, 3, 4, 6, 8)
"""Processes to think of where nothing tells how many there are: the GPUs that one machine may have."""


def infer_world_size(
    trained: Sequence[Member], mode: str, steps_per_epoch: int | None, generation: str
) -> Evidence[int] | None:
    """How many processes train together; None where nothing tells.

    A prepared scheduler is stepped `world_size` times per call, so `last_epoch` tells in TST and COS; in the idle modes
    only the length of an epoch does, where it is known from elsewhere.
    """
    if mode in (PER_STEP, PER_EPOCH):
        return _from_schedule(trained, mode, generation)
    placed = [m for m in trained if m.state.epoch is not None and m.state.global_step]
    if steps_per_epoch is None:
        return _from_shift(placed) or _from_length(placed, generation)
    if not any(m.state.epoch for m in placed):
        return None
    worlds = range(1, min(MOST_PROCESSES, steps_per_epoch) + 1)
    found = [world for world in worlds if _all_fit(placed, steps_per_epoch, world)]
    if len(found) != 1:
        return None
    return Evidence(found[0], f"the checkpoints fit epochs of {real_steps(steps_per_epoch, found[0]):,} steps")


def is_open(trained: Sequence[Member], mode: str, generation: str) -> bool:
    """Whether the schedules say that it can hardly be one process, and not how many there are."""
    if mode not in (PER_STEP, PER_EPOCH):
        return False
    moved = [m for m in trained if (m.state.last_epoch or 0) > 0 and (m.state.global_step or 0) > 0]
    ahead = sum(_lag(m, mode, 1, generation) is None for m in moved)
    return 2 * ahead > len(moved)


def _from_schedule(trained: Sequence[Member], mode: str, generation: str) -> Evidence[int] | None:
    """The number of processes at which every file's schedule lags no more than resumes make it lag."""
    moved = [m for m in trained if (m.state.last_epoch or 0) > 0 and (m.state.global_step or 0) > 0]
    doubts = {world: [_lag(m, mode, world, generation) for m in moved] for world in range(1, MOST_PROCESSES + 1)}
    possible = {world: sum(lag or 0 for lag in lags) for world, lags in doubts.items() if None not in lags}
    if not moved or not possible:
        return None
    world = min(possible, key=lambda w: (possible[w], w))
    if world == 1:
        return Evidence(1, "last_epoch counts single steps")
    if 1 in possible:
        return None  # a file whose schedule one process had brought in step looks the same
    unit = "global_step" if mode == PER_STEP else "the finished epochs"
    count = f"{len(moved)} checkpoint{'s' if len(moved) > 1 else ''}"
    return Evidence(world, f"last_epoch is {world} times {unit} in {count}")


def _lag(member: Member, mode: str, world: int, generation: str) -> int | None:
    """How many calls of the scheduler the file lags beyond what its trainer makes every such file lag.

    None where so many processes can't have written it: a schedule that is ahead, or too far behind for a few resumes.
    """
    last, epoch = member.state.last_epoch or 0, member.state.epoch or 0
    if mode == PER_STEP:
        calls, least = counted_step(member), 0
        own = {0} if member.role == "best" else {1}
    else:
        calls = epoch
        ended = member.role == "step" and epoch >= 0 and counted_step(member) % (epoch + 1) == 0
        own = {0} if member.role != "best" else {1} if generation == "complete" else {0, 1}
        own |= {-1} if ended and member.checkpoint.migrations else set()
        # brought in step with the end of the epoch that `epoch` still names
        least = -1 if ended and member.checkpoint.migrations else 0
    if member.checkpoint.migrations:
        own.add(0)
    if last % world:
        return None
    lag = calls - last // world
    if lag < least or (world > 1 and lag > min(8, calls // 4 + 1)):
        return None
    return min(abs(lag - usual) for usual in own)


def _from_length(placed: Sequence[Member], generation: str) -> Evidence[int] | None:
    """One process, where on more of them the schedule's length would have been used up before the newest file."""
    total = first_length(placed)
    best = next((m for m in placed if m.role == "best"), None)
    if total is None or best is None:
        return None
    newest = max(counted_step(m) for m in placed)
    worlds = set()
    for real in epoch_ends(best, generation):
        for world in range(1, MOST_PROCESSES + 1):
            lengths = range(real * world, real * world + world)
            if any(total % n == 0 and newest <= total // n * real and _all_fit(placed, n, world) for n in lengths):
                worlds.add(world)
    if worlds != {1}:
        return None
    return Evidence(1, f"on more processes a schedule of {total:,} steps ends before step {newest:,}")


def first_length(members: Sequence[Member]) -> int | None:
    """The length of the schedule in the first file that has one."""
    return next((m.state.total_steps for m in members if m.state.total_steps), None)


def _all_fit(placed: Sequence[Member], steps_per_epoch: int, world: int) -> bool:
    return all(fits(m, steps_per_epoch, world) for m in placed)


def epoch_ends(best: Member, generation: str) -> list[int]:
    """Steps per epoch and process that a best file can stand at the end of.

    `epoch` counts the epoch that it ends (complete trainer) or not (older patch).
    """
    epoch, step = best.state.epoch or 0, counted_step(best)
    ends = (epoch,) if generation == "complete" else (epoch, epoch + 1)
    return [step // finished for finished in ends if finished > 0 and step > 0 and step % finished == 0]


def _from_shift(placed: Sequence[Member]) -> Evidence[int] | None:
    """From a `global_step` that `--fix-epoch` shifted for several processes: the file's record tells the true one."""
    shifted = {m.label: {world for _, world in pairs} for m in placed if (pairs := shifted_lengths(m))}
    worlds = set.intersection(*shifted.values()) if shifted else set()
    if len(worlds) != 1:
        return None
    return Evidence(worlds.pop(), f"{next(iter(shifted))}: its global_step was shifted for several processes")


def shifted_lengths(member: Member) -> list[tuple[int, int]]:
    """(steps per epoch, processes) that a recorded shift of `global_step` proves; empty where there is none.

    The shift is `epoch * (steps_per_epoch - real_steps)`.
    """
    adam, step, epoch = member.state.optimizer_step, member.state.global_step, member.state.epoch
    edits = member.checkpoint.earlier_edits
    recorded = any(edit.get("key") == "global_step" and edit.get("after") == step for edit in edits)
    if not recorded or adam is None or step is None or not epoch or step <= adam or (step - adam) % epoch:
        return []
    rest = (step - adam) // epoch
    lengths = range(adam // (epoch + 1), adam // epoch + 1)
    pairs = [(real + rest, (real + rest) // real) for real in lengths if real > 0]
    pairs = [(n, w) for n, w in pairs if w > 1 and adam // real_steps(n, w) == epoch and fits(member, n, w)]
    return [(n, w) for n, w in pairs if member.role != "best" or adam % real_steps(n, w) == 0]


def counted_step(member: Member) -> int:
    """Optimizer steps behind the file: Adam's count where it has one, for `global_step` can have been shifted."""
    adam = None if uses_amp(member) else member.state.optimizer_step
    return adam if adam is not None else member.state.global_step or 0


def fits(member: Member, steps_per_epoch: int, world: int) -> bool:
    """Whether `epoch` and `global_step` can both be right, saved where the trainer saves.

    On several processes `global_step` may have been shifted by a repair, so that the trainer's skip count is right;
    Adam's step then is the true one.
    """
    epoch, step, adam = member.state.epoch, member.state.global_step, member.state.optimizer_step
    if epoch is None or step is None:
        return True
    length = real_steps(steps_per_epoch, world)
    if world > 1 and adam is not None and adam != step and adam // length * steps_per_epoch + adam % length == step:
        return epoch == adam // length
    if member.role == "best":
        return step in (epoch * length, (epoch + 1) * length)
    return epoch * length <= step <= (epoch + 1) * length


def stands(member: Member, steps_per_epoch: int, world: int, generation: str) -> bool:
    """As `fits`, with what the complete trainer writes into a best file: the epochs that are finished."""
    exact = member.role == "best" and generation == "complete"
    at_end = not exact or counted_step(member) == (member.state.epoch or 0) * real_steps(steps_per_epoch, world)
    return at_end and fits(member, steps_per_epoch, world)


@record(frozen=True)
class Known:
    """What the evidence says of an epoch's length."""

    steps_per_epoch: int | None = None
    """Given by a person."""
    real_steps: int | None = None
    """Batches of one process, as the log counts them."""
    total_steps: int | None = None
    train_epochs: int | None = None
    """Given by a person."""
    epochs_begun: int = 0
    """As far as the log goes."""
    skips: tuple[tuple[int, int], ...] = ()
    """Of each resume in the log: `global_step`, and the batches that it skipped."""

    def allows(self, length: int, world: int, newest: int) -> bool:
        """Whether a loader of this length on so many processes can have come to the newest checkpoint."""
        real, total = real_steps(length, world), self.total_steps
        return (
            self.steps_per_epoch in (None, length)
            and self.real_steps in (None, real)
            and all(step % length == skip for step, skip in self.skips)
            and (not total or self._ends(total, length, real, newest))
        )

    def _ends(self, total: int, length: int, real: int, newest: int) -> bool:
        epochs, rest = divmod(total, length)
        reached = newest <= epochs * real and self.epochs_begun <= epochs
        return not rest and reached and self.train_epochs in (None, epochs)


def possible_lengths(
    trained: Sequence[Member], mode: str, generation: str, known: Known, worlds: Sequence[int], *, goes_on: bool = False
) -> Iterator[tuple[int, int]]:
    """(steps per epoch, processes) that explain every checkpoint of a run; `goes_on`: that has not come to its end."""
    placed = [m for m in trained if (m.state.epoch or 0) >= 0 and m.state.epoch is not None and counted_step(m) > 0]
    if not placed:
        return
    newest = max(map(counted_step, placed)) + goes_on
    divisors_of_total = divisors(known.total_steps or 0)
    moved = [m for m in placed if (m.state.last_epoch or 0) > 0 and mode in (PER_STEP, PER_EPOCH)]
    for world in worlds:
        if any(_lag(m, mode, world, generation) is None for m in moved):
            continue
        if known.steps_per_epoch is not None:
            lengths: Sequence[int] = (known.steps_per_epoch,)
        else:
            lengths = divisors_of_total or [real * world for real in _real_lengths(placed, generation, known)]
        for length in lengths:
            if known.allows(length, world, newest) and all(stands(m, length, world, generation) for m in placed):
                yield length, world


def _real_lengths(placed: Sequence[Member], generation: str, known: Known) -> list[int]:
    """Where no schedule has a length: the batches of an epoch that the log counts or a best file ends.

    Without them the least and the greatest number with which the newest file is inside its epoch.
    """
    if known.real_steps is not None:
        return [known.real_steps]
    ends = [real for m in placed if m.role == "best" for real in epoch_ends(m, generation)]
    newest = max(placed, key=counted_step)
    step, epoch = counted_step(newest), newest.state.epoch or 0
    return ends or sorted({step // (epoch + 1) + 1, step // epoch if epoch else step + 1})


def least_steps(trained: Sequence[Member]) -> int:
    """Steps per epoch and process that the files show at least: so many were made in `epoch + 1` epochs."""
    steps = [
        -(-counted_step(m) // (m.state.epoch + 1))
        for m in trained
        if (m.state.epoch or 0) >= 0 and m.state.epoch is not None
    ]
    return max(steps, default=1)


def divisors(total: int) -> list[int]:
    """Divisors of a schedule's length; none for lengths that no training has."""
    if not 0 < total < 10**11:
        return []
    small = [n for n in range(1, math.isqrt(total) + 1) if total % n == 0]
    return sorted({*small, *(total // n for n in small)})
