"""`starts`: where a script's resume goes on, what it labels a save with, what comes first when it saves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint import starts
from ckpt_doctor.lint.guards import innermost_loop
from ckpt_doctor.lint.starting import Calls, leading_to
from ckpt_doctor.types import Evidence, ScriptFacts
from tests.lint.sources import program_of, write

LOOP = """
for epoch in range(start_epoch, epochs):
    train_one_epoch(model)
    torch.save({"optimizer": o, "epoch": epoch}, f"c_{epoch}.pt")
"""


def facts_of(folder: Path, text: str) -> ScriptFacts:
    script = write(folder, "import torch\n" + text)[0]
    return starts(script) or ScriptFacts(script)


def shift(facts: ScriptFacts) -> int:
    """Rounds by which a resume misses the next one: -1 repeats a round, 1 leaves one out, 0 does neither."""
    assert facts.resume is not None
    assert facts.label is not None
    return (facts.resume.value == "label+1") - (facts.label.value == "finished")


def value(evidence: Evidence[str] | None) -> str | None:
    return None if evidence is None else evidence.value


RESUMES = {
    "at the label": ("label", "start_epoch = ckpt['epoch']" + LOOP),
    "after the label": ("label+1", "start_epoch = ckpt['epoch'] + 1" + LOOP),
    "added and taken away": ("label", "start_epoch = ckpt['epoch'] + 1 - 1" + LOOP),
    "in the loop's own range": ("label+1", LOOP.replace("start_epoch", "1 + ckpt['epoch']")),
    "added in the range": ("label+1", "last = ckpt['epoch']" + LOOP.replace("start_epoch", "last + 1")),
    "only where there is a checkpoint": (
        "label+1",
        "start_epoch = 0\nif args.resume:\n    start_epoch = int(ckpt.get('epoch', -1)) + 1\n" + LOOP,
    ),
    "an option that is set": (
        "label",
        "if args.resume:\n    args.start_epoch = ckpt['epoch']\n" + LOOP.replace("start_epoch", "args.start_epoch"),
    ),
    "an expression with two ends": ("label+1", "start_epoch = ckpt['epoch'] + 1 if ckpt else 0\n" + LOOP),
    "returned by a helper": (
        "label+1",
        "def load():\n    ckpt = torch.load(p)\n    return ckpt['epoch'] + 1\nstart_epoch = load()\n" + LOOP,
    ),
    "one of two that a helper returns": (
        "label",
        "def load():\n    c = torch.load(p)\n    return c['loss'], c['epoch']\nloss, start_epoch = load()\n" + LOOP,
    ),
    "passed to a function": (
        "label+1",
        "def fit(first):\n    for epoch in range(first, 9):\n        train_one_epoch(model)\n"
        "        torch.save({'optimizer': o, 'epoch': epoch}, f'{epoch}.pt')\nfit(ckpt['epoch'] + 1)\n",
    ),
    "in a progress bar": (
        "label+1",
        "start_epoch = ckpt['epoch'] + 1" + LOOP.replace("range(start_epoch, epochs)", "tqdm(range(start_epoch, 9))"),
    ),
    "an attribute of a trainer": (
        "label",
        """
class Trainer:
    def __init__(self):
        self.epochs_run = 0
        if resume:
            self.epochs_run = torch.load(p)["EPOCHS_RUN"]
    def train(self):
        for epoch in range(self.epochs_run, 9):
            train_one_epoch(model)
            torch.save({"optimizer": o, "EPOCHS_RUN": epoch}, f"c_{epoch}.pt")
""",
    ),
    "earlier rounds left out": (
        "label",
        "start_epoch = ckpt['epoch']"
        + LOOP.replace("start_epoch, ", "").replace(
            "train_one", "if epoch < start_epoch:\n        continue\n    train_one"
        ),
    ),
    "the label's round left out as well": (
        "label+1",
        "done = ckpt['epoch']"
        + LOOP.replace("start_epoch, ", "").replace("train_one", "if epoch <= done:\n        continue\n    train_one"),
    ),
    "nanoGPT": (
        "label",
        """
iter_num = 0
if init_from == "resume":
    iter_num = checkpoint["iter_num"]
while True:
    if iter_num % 100 == 0:
        torch.save({"optimizer": optimizer.state_dict(), "iter_num": iter_num}, "ckpt.pt")
    loss.backward()
    optimizer.step()
    iter_num += 1
""",
    ),
}

OPEN_RESUMES = {
    "one way or the other": "start_epoch = ckpt['epoch'] + 1 if old else ckpt['epoch']" + LOOP,
    "raised on a condition": ("start_epoch = ckpt['epoch']\nif ckpt['version'] > 1:\n    start_epoch += 1\n" + LOOP),
    "a helper out of sight": "from helpers import load\nstart_epoch = load(args.resume)\n" + LOOP,
    "a computation": "start_epoch = ckpt['epoch'] * 2" + LOOP,
    "no resume": LOOP.replace("start_epoch, ", ""),
    "another dict's number": "start_epoch = config['first_epoch']" + LOOP,
    "a parameter that nobody gives": "def fit(start_epoch):" + LOOP.replace("\n", "\n    "),
    "a loop that does not train": (
        "for epoch in range(ckpt['epoch'], 9):\n    print(epoch)\n" + LOOP.replace("start_epoch, ", "")
    ),
}

LABELS = {
    "the epoch": ("finished", LOOP),
    "the next epoch": ("next", LOOP.replace(": epoch}", ": epoch + 1}")),
    "under a name of its own": (
        "next",
        LOOP.replace("torch.save", "done = epoch + 1\n    torch.save").replace(": epoch}", ": done}"),
    ),
    "through a helper": (
        "next",
        "def save(epoch):\n    state = {'optimizer': o, 'epoch': epoch}\n    torch.save(state, f'{epoch}.pt')\n"
        "for epoch in range(9):\n    train_one_epoch(model)\n    save(epoch + 1)\n",
    ),
    "torchvision's helper": (
        "finished",
        "def save_on_master(*args, **kwargs):\n    if is_main_process():\n        torch.save(*args, **kwargs)\n"
        + LOOP.replace("torch.save", "save_on_master"),
    ),
    "before the epoch": (
        "next",
        "for epoch in range(9):\n    torch.save({'optimizer': o, 'epoch': epoch}, f'{epoch}.pt')\n    fit(model)\n",
    ),
    "after the loop": (
        "finished",
        "for epoch in range(9):\n    train_one_epoch(model)\ntorch.save({'optimizer': o, 'epoch': epoch}, 'last.pt')\n",
    ),
    "before a step and after another one": (
        "next",
        "while True:\n    if n % 9 == 0:\n        torch.save({'optimizer': o, 'step': n}, 'a.pt')\n"
        "    loss.backward()\n    optimizer.step()\n    n += 1\n    if n > limit:\n"
        "        torch.save({'optimizer': o, 'step': n}, 'a.pt')\n        break\n",
    ),
    "counted up before the save": (
        "next",
        "epoch = 0\nwhile epoch < 9:\n    train_one_epoch(model)\n    epoch += 1\n"
        "    torch.save({'optimizer': o, 'epoch': epoch}, f'{epoch}.pt')\n",
    ),
    "trained in a function of its own": (
        "finished",
        "def one_round(loader):\n    for batch in loader:\n        loss.backward()\n        optimizer.step()\n"
        "for epoch in range(9):\n    model.train()\n    one_round(loader)\n"
        "    torch.save({'optimizer': o, 'epoch': epoch}, f'{epoch}.pt')\n",
    ),
}

OPEN_LABELS = {
    "in the middle of an epoch": (
        "for epoch in range(9):\n    for step, batch in enumerate(loader):\n        loss.backward()\n"
        "        torch.save({'optimizer': o, 'epoch': epoch}, f'{step}.pt')\n"
    ),
    "two saves that say two things": LOOP + "    torch.save({'optimizer': o, 'epoch': epoch + 1}, 'last.pt')\n",
    "no training in sight": LOOP.replace("train_one_epoch", "process"),
    "a mode that is switched": LOOP.replace("train_one_epoch(model)", "model.train()"),
    "trained before and after": LOOP + "    train_one_epoch(other)\n",
    "a number of another kind": LOOP.replace(": epoch}", ": epoch // 2}"),
    "counted up on a condition": (
        "epoch = 0\nwhile epoch < 9:\n    train_one_epoch(model)\n    if good:\n        epoch += 1\n"
        "    torch.save({'optimizer': o, 'epoch': epoch}, f'{epoch}.pt')\n"
    ),
}


@pytest.mark.parametrize(("expected", "text"), RESUMES.values(), ids=RESUMES)
def test_where_a_resume_goes_on_is_read(tmp_path: Path, expected: str, text: str) -> None:
    assert expected == value(facts_of(tmp_path, text).resume)


@pytest.mark.parametrize("text", OPEN_RESUMES.values(), ids=OPEN_RESUMES)
def test_where_a_resume_goes_on_is_not_guessed(tmp_path: Path, text: str) -> None:
    assert facts_of(tmp_path, text).resume is None


@pytest.mark.parametrize(("expected", "text"), LABELS.values(), ids=LABELS)
def test_what_a_label_counts_is_read(tmp_path: Path, expected: str, text: str) -> None:
    assert expected == value(facts_of(tmp_path, text).label)


@pytest.mark.parametrize("text", OPEN_LABELS.values(), ids=OPEN_LABELS)
def test_what_a_label_counts_is_not_guessed(tmp_path: Path, text: str) -> None:
    assert facts_of(tmp_path, text).label is None


@pytest.mark.parametrize(
    ("label", "start", "missed"),
    [("epoch", "", -1), ("epoch", " + 1", 0), ("epoch + 1", "", 0), ("epoch + 1", " + 1", 1)],
)
def test_label_and_start_together_say_whether_a_round_is_repeated_or_left_out(
    tmp_path: Path, label: str, start: str, missed: int
) -> None:
    text = f"start_epoch = ckpt['epoch']{start}" + LOOP.replace(": epoch}", f": {label}}}")
    assert missed == shift(facts_of(tmp_path, text))


def test_a_save_before_the_step_that_it_is_labelled_with_repeats_nothing(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, RESUMES["nanoGPT"][1])
    assert ("iter_num", 0) == (facts.key, shift(facts))


SCHEDULES = {
    "per epoch, after": (False, "    opt.step()\n", "  torch.save(state, p)\n  scheduler.step()\n"),
    "per epoch, before": (True, "    opt.step()\n", "  scheduler.step()\n  torch.save(state, p)\n"),
    "per batch": (True, "    opt.step()\n    scheduler.step()\n", "  torch.save(state, p)\n"),
    "per batch, before the save": (True, "    opt.step()\n    scheduler.step()\n    torch.save(state, p)\n", ""),
    "in both": (True, "    opt.step()\n    scheduler.step()\n", "  scheduler.step()\n  torch.save(state, p)\n"),
    "with the epoch given": (None, "    opt.step()\n", "  torch.save(state, p)\n  scheduler.step(epoch)\n"),
    "never": (None, "    opt.step()\n", "  torch.save(state, p)\n"),
}


@pytest.mark.parametrize(("after", "batch", "epoch"), SCHEDULES.values(), ids=SCHEDULES)
def test_whether_the_scheduler_steps_before_a_save_is_read(
    tmp_path: Path, after: bool | None, batch: str, epoch: str
) -> None:
    loop = (
        f"state = {{'optimizer': o}}\nfor epoch in range(9):\n  for b in loader:\n    loss.backward()\n{batch}{epoch}"
    )
    found = facts_of(tmp_path, loop).saved_after_step
    assert after == (None if found is None else found.value)


def test_a_fact_names_its_line(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, "start_epoch = ckpt['epoch'] + 1" + LOOP)
    assert facts.resume is not None
    assert "run.py:2: start_epoch = ckpt['epoch'] + 1" == facts.resume.source
    assert facts.label is not None
    assert facts.label.source.startswith("run.py:5: torch.save(")


@pytest.mark.parametrize("text", ["this is no Python", "print(1)", "x = " + "-" * 100_000 + "1", "\0"])
def test_a_script_that_shows_nothing_has_no_facts(tmp_path: Path, text: str) -> None:
    script = tmp_path / "run.py"
    script.write_text(text)
    assert starts(script) is None


def test_definitions_in_terms_of_themselves_end(tmp_path: Path) -> None:
    text = "def f(x):\n    return f(x + 1)\nstart_epoch = f(start_epoch)\n" + LOOP
    assert facts_of(tmp_path, text).resume is None


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("step()\n    save()", True),
        ("save()\n    step()", False),
        ("if a:\n        step()\n    save()", True),
        ("if a:\n        save()\n    step()", False),
        ("step()\n    save()\n    step()", None),
        ("if a:\n        step()\n    else:\n        save()", None),
        ("save()", None),
    ],
)
def test_what_comes_before_a_save(tmp_path: Path, body: str, before: bool | None) -> None:
    """Unknown where steps come on both sides, or on neither."""
    program = program_of(tmp_path, f"for i in r:\n    {body}\n")
    named = {name: [c for c in program.calls if ast.unparse(c.node) == f"{name}()"] for name in ("step", "save")}
    (save,) = named["save"]
    loop = innermost_loop(save.module, save.node)
    assert loop is not None
    calls = Calls(call.node for call in named["step"])
    assert before == calls.come_before(save.module, loop, save.node)
    assert bool(named["step"]) == calls.stand_in(save.module, loop)


def test_calls_that_lead_to_one_stand_for_it(tmp_path: Path) -> None:
    """`train_epoch()` is where its steps are, through any number of functions; a circle ends."""
    text = "def inner():\n    inner()\n    step()\ndef epoch():\n    inner()\n"
    text += "for i in r:\n    epoch()\nfor i in s:\n    other()\n"
    program = program_of(tmp_path, text)
    calls = leading_to(program, [call for call in program.calls if ast.unparse(call.node) == "step()"])
    loops = [node for _, node in program.nodes if isinstance(node, ast.For)]
    assert {"r": True, "s": False} == {ast.unparse(loop.iter): calls.stand_in(program.main, loop) for loop in loops}
