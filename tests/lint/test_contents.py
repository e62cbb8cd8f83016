"""X908 scheduler-not-saved and X909 whole-model-saved."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.lint import lint
from tests.lint.sources import judged

WITHOUT_SCHEDULE = {
    "per epoch": """
        import torch
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        for epoch in range(start_epoch, 30):
            train(model)
            scheduler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")  # <- X908
        """,
    "per batch, in a helper": """
        import torch
        def save(step):
            state = {"model": m, "opt": opt.state_dict()}  # <- X908
            state["step"] = step
            torch.save(state, f"c_{step}.pt")
        warmup = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=100)
        for step, batch in enumerate(loader):
            opt.step()
            warmup.step()
            save(step)
        """,
    "plateau": """
        import torch
        plateau_scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)
        for epoch in range(30):
            torch.save({"model": m, "optimizer": optimizer.state_dict()}, f"c_{epoch}.pt")  # <- X908
            plateau_scheduler.step(epoch_loss)
        """,
    "a start that is no place": """
        import torch
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, last_epoch=-1)
        for epoch in range(30):
            scheduler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict()}, f"c_{epoch}.pt")  # <- X908
        """,
}

WITH_SCHEDULE = {
    "its state": """
        import torch
        for epoch in range(30):
            scheduler.step()
            torch.save({"model": m, "optimizer": o, "scheduler": scheduler.state_dict()}, f"c_{epoch}.pt")
        """,
    "its state under another name": """
        import torch
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        for epoch in range(30):
            cosine.step()
            torch.save({"model": m, "optimizer": o, "cosine": cosine.state_dict()}, f"c_{epoch}.pt")
        """,
    "its state in a file of its own": """
        import torch
        for epoch in range(30):
            scheduler.step()
            torch.save({"optimizer": o}, f"c_{epoch}.pt")
            torch.save(scheduler.state_dict(), f"s_{epoch}.pt")
        """,
    "nanoGPT: a function of the step": """
        import torch
        while True:
            lr = get_lr(iter_num)
            for group in optimizer.param_groups:
                group["lr"] = lr
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "iter_num": iter_num}, f"c_{iter_num}.pt")
            iter_num += 1
        """,
    "a function of the epoch": """
        import torch
        for epoch in range(start_epoch, 30):
            adjust_learning_rate(optimizer, epoch)
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")
        """,
    "timm: a function of the epoch": """
        import torch
        lr_scheduler, num_epochs = create_scheduler_v2(optimizer)
        lr_scheduler.step(start_epoch)
        for epoch in range(start_epoch, num_epochs):
            train_one_epoch(epoch, model)
            torch.save({"state_dict": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")
            lr_scheduler.step(epoch + 1, eval_metrics["top1"])
        """,
    "last_epoch given": """
        import torch
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, last_epoch=start_epoch - 1)
        for epoch in range(start_epoch, 30):
            scheduler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")
        """,
    "stepped to its place": """
        import torch
        for _ in range(start_epoch):
            scheduler.step()
        for epoch in range(start_epoch, 30):
            train(model)
            scheduler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")
        """,
    "moved to its place": """
        import torch
        scheduler.last_epoch = ckpt["epoch"]
        for epoch in range(start_epoch, 30):
            scheduler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")
        """,
    "made for the rest": """
        import torch
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps * (30 - start_epoch))
        for epoch in range(start_epoch, 30):
            scheduler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict(), "epoch": epoch}, f"c_{epoch}.pt")
        """,
    "weights alone": """
        import torch
        for epoch in range(30):
            scheduler.step()
            torch.save(model.state_dict(), f"c_{epoch}.pt")
        """,
    "no schedule": """
        import torch
        for epoch in range(30):
            profiler.step()
            torch.save({"model": m, "optimizer": optimizer.state_dict()}, f"c_{epoch}.pt")
        """,
    "accelerate saves it": """
        import torch
        model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
        for epoch in range(30):
            scheduler.step()
            accelerator.save_state(f"state_{epoch}")
            torch.save({"model": m, "optimizer": optimizer.state_dict()}, f"c_{epoch}.pt")
        """,
}

WHOLE = {
    "by what is called of it": """
        import torch
        optimizer = torch.optim.Adam(model.parameters())
        torch.save(model, "model.pt")  # <- X909 info
        """,
    "by its class": """
        import torch
        from torch import nn
        class Net(nn.Module):
            pass
        net = Net().cuda()
        other = Net()
        torch.save(other, "model.pt")  # <- X909 info
        """,
    "through a helper": """
        import torch
        def save(model, path):
            torch.save(model, path)  # <- X909 info
        net = build()
        net.eval()
        save(net, "model.pt")
        """,
    "on the CPU": """
        import torch
        from copy import deepcopy
        for epoch in range(9):
            model.train()
            torch.save(deepcopy(model).cpu(), f"m_{epoch}.pt")  # <- X909 info
        """,
    "an attribute": """
        import torch
        class Trainer:
            def fit(self):
                self.model.train()
                torch.save(self.model.module, "model.pt")  # <- X909 info
                torch.save(self.model, "model.pt")  # <- X909 info
        """,
}

STATES = {
    "its state": """
        import torch
        model.eval()
        torch.save(model.state_dict(), "model.pt")
        """,
    "a variable that holds the state": """
        import torch
        optimizer = torch.optim.Adam(model.parameters())
        model = model.state_dict()
        torch.save(model, "model.pt")
        """,
    "a dict of this name": """
        import torch
        model = {"model": net.state_dict(), "optimizer": o}
        torch.save(model, "model.pt")
        """,
    "something loaded": """
        import torch
        model = torch.load("model.pt")
        torch.save(model, "copy.pt")
        """,
    "a helper that is given states": """
        import torch
        def save(model, path):
            torch.save(model, path)
        net.eval()
        save(net.state_dict(), "model.pt")
        """,
    "a helper that is given both": """
        import torch
        def save(model, path):
            torch.save(model, path)
        net.eval()
        save(net, "model.pt")
        save(net.state_dict(), "state.pt")
        """,
    "what is not known": """
        import torch
        def save(model, path):
            torch.save(model, path)
        """,
    "TorchScript": """
        import torch
        model.eval()
        torch.jit.save(torch.jit.script(model), "model.pt")
        """,
}


test_an_optimizer_that_is_saved_without_its_scheduler_is_reported = judged(WITHOUT_SCHEDULE)
test_a_schedule_that_is_saved_or_rebuilt_is_not_reported = judged(WITH_SCHEDULE)
test_a_whole_model_is_reported = judged(WHOLE)
test_a_state_dict_and_what_may_be_one_are_not_reported = judged(STATES)


def test_a_dict_that_cannot_be_followed_is_said_to_be_unchecked(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import torch\nfor epoch in range(9):\n    scheduler.step()\n"
        '    torch.save({"optimizer": o, **rest()}, f"c_{epoch}.pt")\n'
    )
    (report,) = lint([script])
    assert () == report.findings
    assert ["X908"] == [open_question.what.split()[0] for open_question in report.not_checked]
