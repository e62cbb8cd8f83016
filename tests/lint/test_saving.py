"""X904 saved-before-scheduler-step, X905 overwrites-only-copy, X906 base-rate-from-epoch-0."""

from __future__ import annotations

from tests.lint.sources import judged

LAGGING = {
    "per batch": """
        for epoch in range(epochs):
            for batch in loader:
                loss.backward()
                optimizer.step()
                step += 1
                if step % args.save_steps == 0:
                    torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{step}.pt")  # <- X904
                if args.lradj == "TST":
                    scheduler.step()
        """,
    "per epoch": """
        for epoch in range(epochs):
            train(model, loader)
            torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{epoch}.pt")  # <- X904
            scheduler.step()
        """,
    "through a helper": """
        def save(path):
            torch.save({"model": m, "optimizer": o, "scheduler": scheduler.state_dict()}, path)
        for step, batch in enumerate(loader):
            accelerator.backward(loss)
            optimizer.step()
            save(f"c_{step}.pt")  # <- X904
            scheduler.step()
        """,
    "through early stopping": """
        from stop import EarlyStopping
        early_stopping = EarlyStopping()
        for epoch in range(epochs):
            train_one_epoch(model)
            early_stopping(validate(model), model, scheduler, epoch)  # <- X904
            if early_stopping.early_stop:
                break
            if args.lradj == "COS":
                scheduler.step()
        ### stop.py
        import torch
        class EarlyStopping:
            def __call__(self, loss, model, scheduler, epoch):
                self.save_checkpoint(model, scheduler, epoch)
            def save_checkpoint(self, model, scheduler, epoch):
                torch.save({"model": model, "scheduler": scheduler.state_dict()}, f"best_{epoch}.pt")
        """,
    "another name": """
        lr_sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 100)
        for step, batch in enumerate(loader):
            optimizer.step()
            torch.save({"o": optimizer.state_dict(), "lr_sched": lr_sched.state_dict()}, f"c_{step}.pt")  # <- X904
            lr_sched.step()
        """,
    "accelerate": """
        model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
        for step, batch in enumerate(loader):
            accelerator.backward(loss)
            optimizer.step()
            accelerator.save_state(f"step_{step}")  # <- X904
            scheduler.step()
        """,
}

IN_STEP = {
    "stepped first": """
        for step, batch in enumerate(loader):
            optimizer.step()
            scheduler.step()
            torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{step}.pt")
        """,
    "stepped in the other loop": """
        for epoch in range(epochs):
            for step, batch in enumerate(loader):
                optimizer.step()
                torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{epoch}_{step}.pt")
            scheduler.step()
        """,
    "no scheduler in the file": """
        for step, batch in enumerate(loader):
            optimizer.step()
            torch.save({"model": m}, f"c_{step}.pt")
            scheduler.step()
        """,
    "the epoch as an argument": """
        for epoch in range(epochs):
            train(model)
            torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{epoch}.pt")
            scheduler.step(epoch + 1)
        """,
    "saved before training": """
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{epoch}.pt")
            train(model)
            scheduler.step()
        """,
    "stepped once more after loading": """
        ckpt = torch.load(path)
        scheduler.load_state_dict(ckpt["scheduler"])
        scheduler.step()
        for step, batch in enumerate(loader):
            optimizer.step()
            torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{step}.pt")
            scheduler.step()
        """,
    "one branch or the other": """
        for step, batch in enumerate(loader):
            optimizer.step()
            if step % 10 == 0:
                scheduler.step()
                torch.save({"optimizer": o, "scheduler": s}, f"c_{step}.pt")
            else:
                scheduler.step()
        """,
    "saved after the loop": """
        for step, batch in enumerate(loader):
            optimizer.step()
            scheduler.step()
        torch.save({"model": m, "optimizer": o, "scheduler": s}, "last.pt")
        """,
    "something else that steps": """
        for step, batch in enumerate(loader):
            optimizer.step()
            torch.save({"model": m, "optimizer": o, "scheduler": s}, f"c_{step}.pt")
            profiler.step()
        """,
}

OVERWRITING = {
    "in a loop": """
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, os.path.join(path, "checkpoint"))  # <- X905
        """,
    "in a helper that a loop calls": """
        def save(state, name="checkpoint.pt"):
            torch.save(state, os.path.join(args.checkpoints, name))  # <- X905
        for epoch in range(epochs):
            save({"model": m, "optimizer": o})
        """,
    "in a class that stops early": """
        class EarlyStopping:
            def save_checkpoint(self, state, path):
                torch.save({"model": m, "optimizer": o}, path + "/" + "checkpoint")  # <- X905
        """,
    "bare weights": """
        for epoch in range(epochs):
            torch.save(model.state_dict(), "checkpoint")  # <- X905 info
        """,
    "pathlib": """
        from pathlib import Path
        root = Path(args.checkpoints)
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, root / "last.pt")  # <- X905
        """,
    "while": """
        step = 0
        while step < limit:
            step += 1
            if step % 100 == 0:
                torch.save({"model": m, "optimizer": o}, f"{args.out}/latest.pt")  # <- X905
        """,
    "accelerate": """
        for epoch in range(epochs):
            accelerator.save({"model": m, "optimizer": o}, "checkpoint")  # <- X905
        """,
    "removed first": """
        for epoch in range(epochs):
            if os.path.exists("last.pt"):
                os.remove("last.pt")
            torch.save({"model": m, "optimizer": o}, "last.pt")  # <- X905
        """,
    "an open file": """
        for epoch in range(epochs):
            with open("checkpoint.pt", "wb") as file:
                torch.save({"model": m, "optimizer": o}, file)  # <- X905
        """,
    "Fabric": """
        for epoch in range(epochs):
            fabric.save("checkpoint.ckpt", {"model": m, "optimizer": o})  # <- X905
        """,
    "keywords": """
        for epoch in range(epochs):
            torch.save(obj={"model": m, "optimizer": o}, f="checkpoint.pt")  # <- X905
        """,
}

KEEPING = {
    "a new name each time": """
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, f"checkpoint_{epoch}.pt")
            torch.save({"model": m, "optimizer": o}, "checkpoint_%d.pt" % epoch)
            torch.save({"model": m, "optimizer": o}, "checkpoint_{}.pt".format(epoch))
            torch.save({"model": m, "optimizer": o}, os.path.join(path, "c" + str(epoch)))
        """,
    "a folder of the step": """
        for step in range(steps):
            folder = os.path.join(path, f"checkpoint_step_{step}")
            os.makedirs(folder, exist_ok=True)
            torch.save({"model": m, "optimizer": o}, os.path.join(folder, "checkpoint.pt"))
        """,
    "a temporary that is renamed": """
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, "checkpoint.tmp")
            os.replace("checkpoint.tmp", "checkpoint")
        """,
    "another name that is renamed": """
        import os
        for epoch in range(epochs):
            fresh = path + ".new"
            torch.save({"model": m, "optimizer": o}, fresh)
            os.replace(fresh, path)
        """,
    "pathlib's replace": """
        from pathlib import Path
        path = Path("checkpoint")
        part = Path("checkpoint.writing")
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, part)
            part.replace(path)
        """,
    "a copy of the previous one": """
        import shutil
        for epoch in range(epochs):
            shutil.copy("last.pt", "previous.pt")
            torch.save({"model": m, "optimizer": o}, "last.pt")
        """,
    "atomic_save": """
        from ckpt_doctor import atomic_save
        for epoch in range(epochs):
            atomic_save({"model": m, "optimizer": o}, "checkpoint")
        """,
    "once, at the end": """
        for epoch in range(epochs):
            train(model)
        torch.save({"model": m, "optimizer": o}, "last.pt")
        """,
    "a buffer": """
        import io
        for epoch in range(epochs):
            buffer = io.BytesIO()
            torch.save({"model": m, "optimizer": o}, buffer)
        """,
    "results": """
        for epoch in range(epochs):
            torch.save(predictions, "predictions.pt")
        """,
    "a folder for each experiment": """
        for ii in range(args.itr):
            setting = f"{args.model}_{ii}"
            train(setting)
            torch.save({"model": m, "optimizer": o}, os.path.join(args.checkpoints, setting, "checkpoint"))
        """,
    "numpy and json": """
        for epoch in range(epochs):
            np.save("losses.npy", losses)
            json.dump({"optimizer": 1}, open("log.json", "w"))
        """,
    "a new file by the time": """
        import time
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, f"checkpoint_{time.strftime('%H%M%S')}.pt")
        """,
    "an open file with a new name": """
        for epoch in range(epochs):
            with open(f"checkpoint_{epoch}.pt", "wb") as file:
                torch.save({"model": m, "optimizer": o}, file)
        """,
    "another suffix each time": """
        from pathlib import Path
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, Path("checkpoint").with_suffix(f".{epoch}"))
        """,
}


test_a_save_that_stands_before_the_schedulers_step_is_reported = judged(LAGGING)
test_a_save_whose_scheduler_is_in_step_is_not_reported = judged(IN_STEP)
test_a_save_straight_onto_its_predecessor_is_reported = judged(OVERWRITING)
test_a_save_that_always_leaves_a_whole_file_is_not_reported = judged(KEEPING)
