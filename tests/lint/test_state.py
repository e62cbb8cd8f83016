"""What a script keeps for early stopping, and what it reads back, in the styles that people write it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.sources import cases, expected_and_actual

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


@pytest.mark.parametrize(**cases(STATES))
def test_a_script_of_this_style(tmp_path: Path, text: str) -> None:
    expected, actual = expected_and_actual(tmp_path, text)
    assert expected == actual
