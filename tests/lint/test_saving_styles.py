"""Saves in the many styles that people write them in: what is in order is not reported, what is not is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lint.sources import expected_and_actual, judged

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


test_a_script_of_this_style = judged(SAVES)


def test_the_functions_of_the_documents_are_in_order(tmp_path: Path) -> None:
    """What a user is told to paste is what no rule finds fault with."""
    page = (Path(__file__).parents[2] / "docs" / "resuming.md").read_text(encoding="utf-8")
    (pasted,) = re.findall(r"^```python run_main.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    text = "from resume_utils import resume\n### resume_utils.py\n" + pasted
    assert ([], []) == expected_and_actual(tmp_path, text)
