"""Scripts in the many styles that people write them in: what is in order is not reported, what is not is."""

from __future__ import annotations

import re
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

SAVES = {
    "a path that a counter makes": """
        import torch
        n = 0
        while n < 10:
            torch.save({"model": m, "optimizer": o}, "ck_%d.pt" % n)
            n += 1
        """,
    "an attribute that is counted up": """
        import torch
        class Trainer:
            def save(self):
                torch.save({"model": m, "optimizer": o}, f"{self.dir}/ck_{self.n_updates}.pt")
            def fit(self):
                for b in self.loader:
                    self.n_updates += 1
                    self.save()
        Trainer().fit()
        """,
    "a numbered copy first": """
        import torch
        for epoch in range(100):
            state = {"model": m, "optimizer": o}
            torch.save(state, f"ckpt/epoch_{epoch}.pt")
            torch.save(state, "ckpt/latest.pt")
        """,
    "a folder that is renamed when it is whole": """
        import os, torch
        for epoch in range(10):
            torch.save({"model": m, "optimizer": o}, os.path.join("out-staging", "optimizer.pt"))
            os.rename("out-staging", "out")
        """,
    "once, before it ends": """
        import sys, torch
        for batch in loader:
            if stop:
                torch.save({"model": m, "optimizer": o}, "preempted.pt")
                sys.exit(0)
        """,
    "the classic: the copy is the best one's, not the last one's": """
        import shutil, torch
        def save_checkpoint(state, is_best, filename="checkpoint.pth.tar"):
            torch.save(state, filename)  # <- X905
            if is_best:
                shutil.copyfile(filename, "model_best.pth.tar")
        for epoch in range(10):
            save_checkpoint({"state_dict": m, "optimizer": o}, better)
        """,
    "a step that is not a schedule's": """
        import torch
        for step, batch in enumerate(loader):
            loss.backward()
            optimizer.step()
            lr_scheduler.step()
            torch.save({"unet": u, "optimizer": o, "lr_scheduler": lr_scheduler.state_dict()}, f"s{step}.pt")
            preview = noise_scheduler.step(pred, t, batch).prev_sample
        """,
    "a schedule that is not saved": """
        import torch
        for epoch in range(100):
            train(model)
            scheduler.step()
            torch.save({"model": m, "optimizer": o, "scheduler": scheduler.state_dict()}, f"e{epoch}.pt")
            wd_scheduler.step()
        """,
    "stepped to its place after loading": """
        import torch
        c = torch.load(args.resume)
        for _ in range(start_epoch):
            scheduler.step()
        for epoch in range(start_epoch, 100):
            train(model)
            torch.save({"model": m, "optimizer": o, "scheduler": scheduler.state_dict()}, f"e{epoch}.pt")
            scheduler.step()
        """,
    "a rate that is shown": """
        for epoch in range(start_epoch, 10):
            if epoch == 0:
                first_lr = optimizer.param_groups[0]["lr"]
                print("starting at", first_lr)
        """,
}

REMOVALS = {
    "logs inside the folder": """
        import os, shutil
        shutil.rmtree("checkpoints/run1/tensorboard", ignore_errors=True)
        shutil.rmtree(os.path.join(args.checkpoint_dir, "visualizations"), ignore_errors=True)
        """,
    "what only sounds like it": """
        from utils import remove_module_prefix
        from hub import delete_branch
        state = remove_module_prefix("checkpoints/model")
        delete_branch("checkpoints")
        """,
    "what does it by its name": """
        from utils import remove_checkpoints, del_files
        remove_checkpoints("checkpoints")  # <- X901
        del_files("./checkpoints/")  # <- X901
        """,
    "sent elsewhere first": """
        import shutil, subprocess
        subprocess.run(["gsutil", "-m", "cp", "-r", "checkpoints", "gs://bucket/run"], check=True)
        shutil.rmtree("checkpoints")
        """,
    "a folder named by the environment is no question": """
        import os, shutil
        CKPT_DIR = os.environ.get("CKPT_DIR", "./checkpoints")
        if os.path.exists(CKPT_DIR):
            shutil.rmtree(CKPT_DIR)  # <- X901
        """,
    "a main that is raised": """
        from trainer import run
        raise SystemExit(run())
        ### trainer.py
        import shutil
        def run():
            shutil.rmtree("./checkpoints")  # <- X901
        """,
    "a class that is called": """
        from trainer import Trainer
        Trainer().fit()
        ### trainer.py
        import shutil
        class Trainer:
            def fit(self):
                shutil.rmtree("./checkpoints")  # <- X901
        """,
}


@pytest.mark.parametrize(**cases({**STATES, **SAVES, **REMOVALS}))
def test_a_script_of_this_style(tmp_path: Path, text: str) -> None:
    expected, actual = expected_and_actual(tmp_path, text)
    assert expected == actual


def test_the_functions_of_the_documents_are_in_order(tmp_path: Path) -> None:
    """What a user is told to paste is what no rule finds fault with."""
    page = (Path(__file__).parents[2] / "docs" / "resuming.md").read_text(encoding="utf-8")
    (pasted,) = re.findall(r"^```python run_main.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    text = "from resume_utils import resume\n### resume_utils.py\n" + pasted
    assert ([], []) == expected_and_actual(tmp_path, text)


def test_what_a_test_has_made_it_may_remove(tmp_path: Path) -> None:
    from ckpt_doctor.lint import lint

    script = tmp_path / "test_ckpt.py"
    script.write_text('import shutil\ndef teardown_module():\n    shutil.rmtree("tests/checkpoints")\n')
    assert () == lint([script])[0].findings
