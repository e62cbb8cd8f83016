"""The steps of linting grow with the script, not faster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_doctor.lint import lint, starts

STATE = "{'model': m.state_dict(), 'optimizer': opt.state_dict(), 'scheduler': sched.state_dict()}"
LOOP = "for step in range(10):\n    loss.backward()\n    opt.step()\n"


def in_one_loop(*lines: str) -> Callable[[int], str]:
    """A loop that trains, has the lines n times, and steps its scheduler."""
    return lambda n: (
        LOOP
        + "".join(f"    {line.replace('#', str(i))}\n" for i in range(n) for line in lines)
        + ("    sched.step()\n")
    )


def several_schedules(n: int) -> str:
    saves = "".join(f"    torch.save({STATE.replace('sched.', f'sched{i}.')}, f'c{i}_{{step}}')\n" for i in range(n))
    return LOOP + saves + "".join(f"    sched{i}.step()\n" for i in range(n))


def removals(n: int) -> str:
    return "import shutil\n" + "".join(f"path{i} = f'checkpoints/{i}'\nshutil.rmtree(path{i})\n" for i in range(n))


def first_epochs(n: int) -> str:
    lines = (f"    if epoch == 0:\n        rate{i} = opt.param_groups[0]['lr']\n    use(rate{i})\n" for i in range(n))
    return "for epoch in range(10):\n" + "".join(lines)


def layers(innermost: str, saving: str = "") -> Callable[[int], str]:
    """Four layers of n functions, each of which calls all of the layer below: n to the power of four ways."""

    def text(n: int) -> str:
        lines = ["import torch, shutil\n"]
        for layer in range(4):
            body = [f"f{layer - 1}_{i}(path)" for i in range(n)] if layer else [innermost]
            for i in range(n):
                lines.append(f"def f{layer}_{i}(path):\n" + "".join(f"    {line}\n" for line in body))
        calls = "".join(f"    if args.delete: f3_{i}('checkpoints')\n" for i in range(n))
        return "".join(lines) + LOOP + saving + calls + "    sched.step()\n"

    return text


def returned_dicts(n: int) -> str:
    """A dict that five functions hand on, each over n returns."""
    lines = [f"import torch\ndef s0():\n    return {STATE}\n"]
    for i in range(1, 5):
        lines.append(f"def s{i}():\n" + "".join(f"    if x == {j}:\n        return s{i - 1}()\n" for j in range(n)))
    return "".join(lines) + LOOP + "    torch.save(s4(), f'c_{step}')\n    sched.step()\n"


SHAPES = {
    "saves": (in_one_loop(f"torch.save({STATE}, f'c#_{{step}}')"), 20),
    "saves to fixed paths": (in_one_loop(f"torch.save({STATE}, 'c#')"), 20),
    "saves of one dict": (in_one_loop(f"state = {STATE}", "torch.save(state, f'c#_{step}')"), 20),
    "dicts made in steps": (
        in_one_loop("s# = {'optimizer': opt}", "s#['scheduler'] = sched", "torch.save(s#, f'c#_{step}')"),
        20,
    ),
    "moves": (in_one_loop(f"torch.save({STATE}, 'c#.tmp')", "os.replace('c#.tmp', 'c#')"), 20),
    "loops": (lambda n: (LOOP + f"    torch.save({STATE}, f'c_{{step}}')\n    sched.step()\n") * n, 20),
    "schedules": (several_schedules, 20),
    "removals": (removals, 20),
    "rates of the first epoch": (first_epochs, 20),
    "layers that save": (layers(f"torch.save({STATE}, path)"), 3),
    "layers that step the scheduler": (layers("sched.step()", f"    torch.save({STATE}, 'c')\n"), 3),
    "layers that remove": (layers("shutil.rmtree(path)"), 3),
    "returned dicts": (returned_dicts, 3),
}


def steps(script: Path) -> int:
    """How many functions are entered while a script is linted."""
    count = 0

    def entered(*_: object) -> None:
        nonlocal count
        count += 1

    former = sys.getprofile()
    sys.setprofile(entered)
    try:
        lint([script])
        starts(script)
    finally:
        sys.setprofile(former)
    return count


@pytest.mark.long
@pytest.mark.parametrize(("text", "size"), SHAPES.values(), ids=SHAPES)
def test_three_times_the_lines_take_three_times_the_steps(text, size, tmp_path):
    per_letter = []
    for n in (size, 3 * size):
        script = tmp_path / f"{n}.py"
        script.write_text(text(n))
        per_letter.append(steps(script) / len(text(n)))
    assert per_letter[1] < 1.5 * per_letter[0]  # a quadratic step: 3
