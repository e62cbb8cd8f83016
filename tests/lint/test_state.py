"""What a script keeps for early stopping, and what it reads back, in the styles that people write it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.lint.state import early_stopping, reads
from tests.lint.sources import judged, program_of

STOPPER = """
### es.py
class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.best_score, self.counter = patience, None, 0
    def __call__(self, loss):
        if self.best_score is None or -loss > self.best_score:
            self.best_score = -loss
            self.counter = 0
        else:
            self.counter += 1
        return self.counter >= self.patience
"""


WITH_STATE = (
    STOPPER
    + """
    def state_dict(self):
        return {"best_score": self.best_score, "counter": self.counter}
    def load_state_dict(self, state):
        self.best_score, self.counter = state["best_score"], state["counter"]
"""
)


RESUME = """
        import torch
        from es import EarlyStopping
        stopper = EarlyStopping(5)
        c = torch.load(args.resume)
        model.load_state_dict(c["model"])
        opt.load_state_dict(c["opt"])
        torch.set_rng_state(c["rng"])
"""


STATES = {
    "the object's state_dict under a name of its own": RESUME
    + """
        stopper.load_state_dict(c["stopper"])
        state = {"model": m, "opt": opt.state_dict(), "stopper": stopper.state_dict(), "rng": r}
        torch.save(state, f"e{epoch}.pt")
        """
    + WITH_STATE,
    "vars of it, put back by update": RESUME
    + """
        vars(stopper).update(c["es"])
        torch.save(dict(model=m, opt=opt.state_dict(), es=vars(stopper), rng=r), f"e{epoch}.pt")
        """
    + STOPPER,
    "numbers of it, converted": RESUME
    + """
        stopper.best_score = c["best_score"]
        stopper.counter = c["counter"]
        score = float(stopper.best_score)
        torch.save({"model": m, "opt": opt.state_dict(), "best_score": float(stopper.best_score),
            "counter": stopper.counter, "rng": r}, f"e{epoch}.pt")
        """
    + STOPPER,
    "a conversion of one number saves no other": """
        import torch
        from es import EarlyStopping
        stopper = EarlyStopping(5)
        state = {"model": m, "opt": opt.state_dict(), "counter": int(stopper.counter), "rng": r}  # <- X903
        torch.save(state, f"e{epoch}.pt")
        """
    + STOPPER,
    "made from what was loaded": """
        import torch
        from es import EarlyStopping
        c = torch.load(args.resume)
        stopper = EarlyStopping(5, **c["early_stopping"])
        opt.load_state_dict(c["opt"])
        torch.set_rng_state(c["rng"])
        torch.save({"model": m, "opt": opt.state_dict(), "rng": r,
            "early_stopping": {"best_score": stopper.best_score, "counter": stopper.counter}}, f"e{epoch}.pt")
        """
    + STOPPER,
    "the load that resumes is named, not the teacher's": """
        import torch
        from es import EarlyStopping
        early_stopping = EarlyStopping(5)
        teacher = torch.load("teacher.pt")
        resumed = torch.load(args.resume)  # <- X903
        optimizer.load_state_dict(resumed["optimizer"])
        torch.save({"model": m, "optimizer": o, "best_score": early_stopping.best_score,
            "counter": early_stopping.counter, "rng": r}, f"e{epoch}.pt")
        """
    + STOPPER,
    "statistics are no early stopping": """
        import torch
        class Stats:
            def __init__(self):
                self.min, self.counter = float("inf"), 0
            def add(self, v):
                if v < self.min:
                    self.min = v
                self.counter += 1
        stats = Stats()
        torch.save({"model": m, "optimizer": o}, f"e{epoch}.pt")
        """,
    "nor is a schedule of one's own": """
        import torch
        class Lowering:
            def __init__(self, optimizer, patience):
                self.optimizer, self.patience, self.best, self.num_bad_epochs = optimizer, patience, None, 0
            def step(self, loss):
                if self.best is None or loss < self.best:
                    self.best, self.num_bad_epochs = loss, 0
                else:
                    self.num_bad_epochs += 1
                    if self.num_bad_epochs > self.patience:
                        self.optimizer.param_groups[0]["lr"] *= 0.1
        lowering = Lowering(optimizer, 3)
        torch.save({"model": m, "optimizer": o, "lowering": lowering.state_dict()}, f"e{epoch}.pt")
        """,
}


test_a_script_of_this_style = judged(STATES)


VARIABLES = """
best_loss, bad_epochs = 1e9, 0
for epoch in range(9):
    if val_loss < best_loss:
        best_loss, bad_epochs = val_loss, 0
    else:
        bad_epochs += 1
    if bad_epochs >= patience:
        break
"""


@pytest.mark.parametrize(
    ("text", "variable", "fields"),
    [
        ("from es import EarlyStopping\nstopper = EarlyStopping(5)\n" + STOPPER, "stopper", {"best_score", "counter"}),
        ("import es\nstop = es.EarlyStopping(5)\n", "stop", {"best_score", "counter", "val_loss_min"}),
        (VARIABLES, "", {"best_loss", "bad_epochs"}),
    ],
    ids=["a class", "an import that cannot be followed", "plain variables"],
)
def test_what_a_script_stops_by(tmp_path: Path, text: str, variable: str, fields: set[str]) -> None:
    found = early_stopping(program_of(tmp_path, text))
    assert found is not None and (variable, fields) == (found.variable, set(found.fields))


@pytest.mark.parametrize(
    "text",
    [
        "from transformers import EarlyStoppingCallback\nEarlyStoppingCallback(3)\n",
        "from lightning.pytorch.callbacks import EarlyStopping\nEarlyStopping('val_loss')\n",
        "best_loss = 1e9\nfor e in range(9):\n    if val_loss < best_loss:\n        best_loss = val_loss\n",
    ],
    ids=["transformers", "lightning", "a best value alone"],
)
def test_what_stops_no_run_or_is_saved_by_its_framework(tmp_path: Path, text: str) -> None:
    assert early_stopping(program_of(tmp_path, text)) is None


def test_the_keys_that_a_script_reads_back(tmp_path: Path) -> None:
    text = "from es import EarlyStopping\nstopper = EarlyStopping(5)\nc = torch.load(p)\n"
    text += "a = c['one']\nb = c.get('two')\nd = c.pop('three', 0)\nif 'four' in c: pass\nc['written'] = 1\n"
    program = program_of(tmp_path, text)
    stopping = early_stopping(program)
    assert stopping is not None
    assert {"one", "two", "three", "four"} == reads(program, stopping).keys & {"one", "two", "three", "four", "written"}
