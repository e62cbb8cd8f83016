"""Which calls step a schedule, which set it to a place, and which only bring it back to where it was."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.module import Call
from ckpt_doctor.lint.program import Program
from ckpt_doctor.lint.schedule import catches_up, is_absolute, is_scheduler_step
from tests.lint.sources import program_of


def steps(program: Program) -> list[Call]:
    return [call for call in program.calls if is_scheduler_step(program, call)]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("scheduler.step()", True),
        ("self.lr_scheduler.step()", True),
        ("lr_policy.step()", True),
        ("x = torch.optim.lr_scheduler.StepLR(opt, 3)\nx.step()", True),
        ("x = get_linear_schedule_with_warmup(opt)\nx.step()", True),
        ("optimizer.step()", False),
        ("x = Adam(p)\nx.step()", False),
        ("noise_scheduler.step(pred, t, x)", False),
        ("scheduler.state_dict()", False),
    ],
)
def test_what_steps_a_schedule(tmp_path: Path, text: str, is_one: bool) -> None:
    assert is_one == bool(steps(program_of(tmp_path, f"import torch\n{text}\n")))


@pytest.mark.parametrize(
    ("call", "absolute"),
    [
        ("s.step(epoch + 1)", True),
        ("s.step(epoch=self.step)", True),
        ("s.step()", False),
        ("s.step(val_loss)", False),
        ("s.step(epoch_loss)", False),
    ],
)
def test_a_step_to_a_place_has_a_counter_and_no_metric(call: str, absolute: bool) -> None:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call) and absolute == is_absolute(node)


@pytest.mark.parametrize(
    ("text", "does"),
    [
        ("c = torch.load(p)\nfor _ in n:\n    scheduler.step()\nfor e in r:\n    train()\n    scheduler.step()", True),
        ("c = torch.load(p)\nfor _ in n:\n    train()\n    scheduler.step()\nsave()", False),
        ("c = torch.load(p)\nscheduler.step()\nfor e in r:\n    train()", True),
        ("c = torch.load(p)\nfor e in r:\n    train()\n    scheduler.step()", False),
        ("def f():\n    return torch.load(p)\nf()\nfor _ in range(n):\n    scheduler.step()", False),
    ],
)
def test_a_schedule_that_is_stepped_to_its_place_after_loading(tmp_path: Path, text: str, does: bool) -> None:
    program = program_of(tmp_path, f"import torch\n{text}\n")
    assert does == catches_up(program, steps(program))
