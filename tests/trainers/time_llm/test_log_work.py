"""Reading a log costs work that grows with its size, whatever stands in it: counted, not timed."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ckpt_doctor.trainers.time_llm.attempts import attempts_of
from ckpt_doctor.trainers.time_llm.events import Bar, EpochCost, EpochResult, Loading, Restored, Resumed, StepSaved
from ckpt_doctor.trainers.time_llm.history import History, match
from ckpt_doctor.trainers.time_llm.lineage import Unsettled, saved_again
from ckpt_doctor.trainers.time_llm.log import events
from ckpt_doctor.trainers.time_llm.log_facts import log_facts
from ckpt_doctor.trainers.time_llm.log_files import ReadLog, without_copies
from tests.trainers.time_llm.log_writer import RUN, Trainer


def work(function) -> int:
    """How many bytecode instructions a call runs; those of `Counted` numbers stand for what C code compares."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


class Counted(int):
    """A number whose every comparison runs bytecode, so that `in`, `max`, `count` and `sort` show."""

    __hash__ = int.__hash__

    def __eq__(self, other):
        return int(self) == int(other)

    def __lt__(self, other):
        return int(self) < int(other)

    def __gt__(self, other):
        return int(self) > int(other)


def counted(found):
    """The same events with numbers that count."""
    for event in found:
        numbers = {f.name: getattr(event, f.name) for f in fields(event)}
        yield replace(event, **{name: Counted(n) for name, n in numbers.items() if type(n) is int})


def path(step: int, run: str = RUN) -> str:
    return f"/content/checkpoints/{run}/checkpoint_step_{step}"


def epoch(number: int, line: int, loss: float = 0.5):
    return [EpochCost(line, number), EpochResult(line + 1, number, 0.5, loss)]


def resumes(n: int):
    """Each launch goes on from the step that the one before it saved."""
    for i in range(n):
        if i:
            yield from (Loading(9 * i, path(10 * i)), Resumed(9 * i + 1, i, 10 * i))
        yield from epoch(i + 1, 9 * i + 2, 1 - i / 1e6)
        yield StepSaved(9 * i + 4, path(10 * i + 10), 10 * i + 10)


def resumes_whose_saves_are_lost(n: int):
    """Each goes on from a step that no line reports."""
    for i in range(n):
        if i:
            yield from (Loading(9 * i, path(10 * i)), Resumed(9 * i + 1, i, 10 * i - 1))
        yield from epoch(i + 1, 9 * i + 2)


def resumes_from_the_best(n: int):
    """Each loads `checkpoint`, and dies before its first validation."""
    yield from epoch(1, 1)
    for i in range(1, n):
        yield from (Loading(9 * i, f"/c/{RUN}/checkpoint"), Resumed(9 * i + 1, 1, 10), EpochCost(9 * i + 2, 2))


def complete_resumes(n: int):
    """Each restores EarlyStopping."""
    for event in resumes(n):
        yield event
        if isinstance(event, Resumed):
            yield Restored(event.line, -1 + (event.epoch - 1) / 1e6, 1 - (event.epoch - 1) / 1e6, 0)


def one_long_launch(n: int):
    """As many epochs as saves in one launch, with a closed bar each."""
    for i in range(n):
        yield StepSaved(9 * i, path(10 * i + 5), 10 * i + 5)
        yield Bar(9 * i + 1, 10)
        yield from epoch(i + 1, 9 * i + 2, 1 + (i % 7) / 10)


def nameless_launches(n: int):
    """Launches without any path line."""
    for i in range(n):
        yield from epoch(1, 9 * i + 1)


def two_runs_in_turn(n: int):
    """Fresh launches of two runs, one after the other."""
    for i in range(n):
        yield from (*epoch(1, 9 * i + 1), StepSaved(9 * i + 3, path(10, (RUN, "other")[i % 2]), 10))


def renamed_each_time(n: int):
    """Each launch saves in a folder of its own and goes on from the former's."""
    for i in range(n):
        if i:
            yield from (Loading(9 * i, path(10 * i, f"run-{n - i}")), Resumed(9 * i + 1, i, 10 * i))
        run = RUN if i == n - 1 else f"run-{n - i - 1}"
        yield from (*epoch(i + 1, 9 * i + 2), StepSaved(9 * i + 4, path(10 * i + 10, run), 10 * i + 10))


SHAPES = (
    resumes,
    resumes_whose_saves_are_lost,
    resumes_from_the_best,
    complete_resumes,
    one_long_launch,
    nameless_launches,
    two_runs_in_turn,
    renamed_each_time,
)


def judged(shape, n: int):
    """All that is asked of a log, for three checkpoints."""
    attempts = attempts_of(counted(shape(n)), Path("train.log"))
    found = match(attempts, RUN, [10 * n], [-0.5, -0.9], given=shape is nameless_launches)
    history = History(RUN, found.attempts, True, "")
    for finished in (1, n // 2, n):
        for step in (10 * finished, 10 * finished + 5):
            for best in (False, True):
                history.lineage(global_step=step, finished_epochs=finished, best=best)
                history.early_stopping(global_step=step, finished_epochs=finished, best=best)
            saved_again(history.launches, RUN, step)
    history.first_unvalidated_end(10)
    history.last_best()
    log_facts(history.own)
    return history


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_twice_the_launches_cost_twice_the_work(shape):
    assert judged(shape, 8).attempts
    assert work(lambda: judged(shape, 80)) < 2.4 * work(lambda: judged(shape, 40))


def test_twice_the_logs_cost_twice_the_work():
    """Copies of one log taken while it grew, and logs of their own."""

    def logs(n):
        grown = attempts_of(events([Trainer([0.5]).text]))
        own = [ReadLog.of(attempts_of(epoch(1, 1, 0.1 + i / 1000), Path(f"{i}.log"))) for i in range(n)]
        return [*own, *(ReadLog.of(grown) for _ in range(n))]

    few, many = logs(50), logs(100)
    assert work(lambda: without_copies(many)) < 2.4 * work(lambda: without_copies(few))


def test_an_epoch_that_a_file_claims_costs_nothing():
    """Epochs of which the log has no line are not walked through."""
    history = judged(resumes, 4)
    assert isinstance(history.lineage(global_step=40, finished_epochs=1 << 60), Unsettled)


# What a kill, a full disk or a hand can put into a line. With a step that is quadratic in the length of a line these
# would take hours.
BEGINNINGS = (
    "",
    "Epoch: 1 | Train Loss: 0.5000000 Vali Loss: ",
    "Saved step checkpoint: ",
    "Loading checkpoint: ",
    "Restored EarlyStopping: best_score=",
    "Restored EarlyStopping: best_score=-1, val_loss_min=",
    "Validation loss decreased (",
    "Updating learning rate to ",
    "lr = ",
    "Namespace(",
    "python run.py ",
    "\r",
    "\r3it [00:01",
)
FILLINGS = (
    "1",
    "1.",
    "e1",
    " ",
    "\r",
    "\r1",
    "\r1it [00:01, ",
    "\r1it [00:01]",
    "| ",
    "\x1b[1",
    "=",
    "lradj=",
    "lradj='",
    "Namespace(",
    "--lradj ",
    "/checkpoint",
    "/checkpoint_step_1",
    "checkpoint_step_1 ",
    "Early stopping",
    "Epoch: 1 ",
    "Vali Loss: ",
    "(",
    "np.float64(1",
)


@pytest.mark.long
@pytest.mark.parametrize("filling", FILLINGS)
def test_long_lines_of_anything_are_read(filling):
    for beginning in BEGINNINGS:
        text = (beginning + filling * (50_000 // len(filling)) + " x\n" + "Early stopping\n").encode()
        assert [2] == [event.line for event in events([text]) if event.line == 2]


def test_numbers_of_thousands_of_digits_are_no_numbers_or_have_their_value():
    digits = "1" * 5000
    lines = [f"\r{digits}it [00:01, 1it/s]", f"Updating learning rate to 0.{digits}", f"Epoch: {digits} cost time: 1"]
    (found,) = attempts_of([*epoch(1, 1), *events(["\n".join(["", "", *lines, ""]).encode()])])
    assert 1 / 9 == found.epochs[-1].updating.rate
