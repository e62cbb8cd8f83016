"""X903 best-score-not-saved: what a script keeps for early stopping against what it saves and restores."""

from __future__ import annotations

from tests.lint.sources import judged

CLASS = """
### tools.py
import numpy as np

class EarlyStopping:
    def __init__(self, patience=7, delta=0):
        self.patience = patience
        self.counter = 0
        self.best_score = None
        self.early_stop = False
        self.val_loss_min = np.inf
        self.delta = delta

    def __call__(self, val_loss, model, path):
        score = -val_loss
        if self.best_score is None:
            self.best_score = score
            self.save(val_loss, model, path)
        elif score < self.best_score + self.delta:
            self.counter += 1
            if self.counter >= self.patience:
                self.early_stop = True
        else:
            self.best_score = score
            self.save(val_loss, model, path)
            self.counter = 0

    def save(self, val_loss, model, path):
        self.val_loss_min = val_loss
"""

RESTORE = """
        def restore(path):
            ckpt = torch.load(path)
            optimizer.load_state_dict(ckpt["optimizer"])
            early_stopping.best_score = ckpt.get("best_score")
            early_stopping.val_loss_min = ckpt.get("val_loss_min", float("inf"))
            early_stopping.counter = ckpt.get("counter", 0)
            torch.set_rng_state(ckpt["rng_state"])
"""

START = """
        import torch
        from tools import EarlyStopping
        early_stopping = EarlyStopping(patience=args.patience)
"""

FORGOTTEN = {
    "the first patch": START
    + """
        state = {  # <- X903
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": epoch,
            "global_step": global_step,
        }
        torch.save(state, f"checkpoint_{epoch}")
        """
    + CLASS,
    "only the best score": START
    + """
        state = {"model": m, "optimizer": o, "epoch": e, "best_score": early_stopping.best_score}  # <- X903
        torch.save(state, f"checkpoint_{epoch}")
        """
    + CLASS,
    "a dict made by a helper": START
    + """
        def make_state(epoch):
            return {"model": m.state_dict(), "optimizer": o.state_dict(), "epoch": epoch}  # <- X903
        torch.save(make_state(epoch), f"checkpoint_{epoch}")
        """
    + CLASS,
    "a dict passed through a helper": START
    + """
        def save(state, path):
            torch.save(state, path)
        save(dict(model=m, optimizer=o, epoch=e), f"checkpoint_{epoch}")  # <- X903
        """
    + CLASS,
    "not restored": START
    + """
        state = {"model": m, "optimizer": o, "best_score": early_stopping.best_score}  # <- X903 info
        state.update(val_loss_min=early_stopping.val_loss_min, counter=early_stopping.counter)
        torch.save(state, f"checkpoint_{epoch}")
        ckpt = torch.load("checkpoint")  # <- X903
        optimizer.load_state_dict(ckpt["optimizer"])
        """
    + CLASS,
    "restored and not saved": START
    + RESTORE
    + """
        torch.save({"model": m, "optimizer": o, "rng_state": torch.get_rng_state()}, f"c_{epoch}")  # <- X903
        """
    + CLASS,
    "only val_loss_min, which no decision uses": START
    + RESTORE
    + """
        state = {  # <- X903 info
            "model": m,
            "optimizer": o,
            "best_score": early_stopping.best_score,
            "counter": early_stopping.counter,
            "rng_state": torch.get_rng_state(),
        }
        torch.save(state, f"c_{epoch}")
        """
    + CLASS,
    "only the random state": START
    + RESTORE
    + """
        state = {  # <- X903 info
            "model": m,
            "optimizer": o,
            "best_score": early_stopping.best_score,
            "val_loss_min": early_stopping.val_loss_min,
            "counter": early_stopping.counter,
        }
        torch.save(state, f"c_{epoch}")
        """
    + CLASS,
    "plain variables": """
        import torch
        best_loss, counter = float("inf"), 0
        for epoch in range(100):
            val_loss = validate()
            if val_loss < best_loss:
                best_loss, counter = val_loss, 0
            else:
                counter += 1
                if counter >= patience:
                    break
            torch.save({"model": m, "optimizer": o, "epoch": epoch}, f"checkpoint_{epoch}.pt")  # <- X903
        """,
    "an EarlyStopping that is not at hand": """
        import torch
        from pytorchtools import EarlyStopping
        stopper = EarlyStopping(patience=3)
        torch.save({"model": m, "optimizer": o, "epoch": 1}, "a.pt")  # <- X903
        """,
    "its own dataclass method": """
        import torch
        class Trainer:
            def __init__(self):
                self.best_loss = None
                self.wait = 0
            def validate(self, loss):
                if self.best_loss is None or loss < self.best_loss:
                    self.best_loss = loss
                    self.wait = 0
                else:
                    self.wait += 1
                    self.stop = self.wait >= self.patience
            def save(self, epoch):
                torch.save({"model": self.m, "optimizer": self.o}, f"c_{epoch}")  # <- X903
        """,
}

ALL_FIELDS = """
            "best_score": early_stopping.best_score,
            "val_loss_min": early_stopping.val_loss_min,
            "counter": early_stopping.counter,
            "rng_state": torch.get_rng_state(),
"""

REMEMBERED = {
    "one dict": START
    + RESTORE
    + """
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
    """
    + ALL_FIELDS
    + """
        }
        torch.save(state, f"checkpoint_{epoch}")
        """
    + CLASS,
    "a dict built in steps": START
    + RESTORE
    + """
        state = {"model": m, "optimizer": o}
        state["best_score"] = early_stopping.best_score
        state["val_loss_min"] = early_stopping.val_loss_min
        if early_stopping is not None:
            state["counter"] = early_stopping.counter
        state |= {"rng_state": torch.get_rng_state()}
        torch.save(state, f"checkpoint_{epoch}")
        """
    + CLASS,
    "update": START
    + RESTORE
    + """
        state = dict(model=m, optimizer=o)
        state.update({"best_score": early_stopping.best_score, "rng_state": torch.get_rng_state()})
        state.update(val_loss_min=early_stopping.val_loss_min, counter=early_stopping.counter)
        torch.save(state, f"checkpoint_{epoch}")
        """
    + CLASS,
    "unpacking": START
    + RESTORE
    + """
        def stopping_state():
            return {"best_score": early_stopping.best_score, "val_loss_min": 1.0, "counter": 0}
        torch.save({"model": m, "optimizer": o, "rng_state": r, **stopping_state()}, f"checkpoint_{epoch}")
        """
    + CLASS,
    "keyword arguments of a helper": START
    + RESTORE
    + """
        def save(path, **more):
            torch.save({"model": m, "optimizer": o, **more}, path)
        save(f"c_{epoch}", best_score=1, val_loss_min=2, counter=3, rng_state=4)
        """
    + CLASS,
    "a helper of another module": START
    + """
        ckpt = torch.load(path)
        optimizer.load_state_dict(ckpt["optimizer"])
        vars(early_stopping).update(ckpt["early_stopping"])
        torch.set_rng_state(ckpt["rng_state"])
        from saving import save_checkpoint
        save_checkpoint(early_stopping, f"c_{epoch}")
        ### saving.py
        import torch
        def save_checkpoint(early_stopping, path):
            state = {"model": m, "optimizer": o, "rng_state": r, "early_stopping": vars(early_stopping)}
            torch.save(state, path)
        """
    + CLASS,
    "the whole object": START
    + """
        torch.save({"model": m, "optimizer": o, "early_stopping": early_stopping.state_dict(), "rng": r}, "a")
        ckpt = torch.load("a")
        optimizer.load_state_dict(ckpt["optimizer"])
        early_stopping.load_state_dict(ckpt["early_stopping"])
        torch.set_rng_state(ckpt["rng"])
        """
    + CLASS,
    "the object's __dict__": START
    + """
        torch.save({"model": m, "optimizer": o, "early_stopping": early_stopping.__dict__, "rng": r}, "a")
        ckpt = torch.load("a")
        optimizer.load_state_dict(ckpt["optimizer"])
        early_stopping.__dict__.update(ckpt["early_stopping"])
        torch.set_rng_state(ckpt["rng"])
        """
    + CLASS,
    "nested": START
    + """
        es = {"best_score": early_stopping.best_score, "val_loss_min": 1, "counter": early_stopping.counter}
        torch.save({"model": m, "optimizer": o, "es": es, "rng_state": r}, "a")
        ckpt = torch.load("a")
        optimizer.load_state_dict(ckpt["optimizer"])
        for key in ("best_score", "val_loss_min", "counter"):
            setattr(early_stopping, key, ckpt["es"][key])
        torch.set_rng_state(ckpt["rng_state"])
        """
    + CLASS,
    "restored in a loop over the names": START
    + """
        torch.save({"optimizer": o, "best_score": 1, "val_loss_min": 2, "counter": 3, "rng_state": 4}, "a")
        ckpt = torch.load("a")
        optimizer.load_state_dict(ckpt["optimizer"])
        for key in ["best_score", "val_loss_min", "counter"]:
            setattr(early_stopping, key, ckpt[key])
        torch.set_rng_state(ckpt["rng_state"])
        """
    + CLASS,
    "bare weights only": START
    + """
        torch.save(model.state_dict(), f"checkpoint_{epoch}")
        model.load_state_dict(torch.load("checkpoint"))
        """
    + CLASS,
    "weights with a note": START
    + """
        torch.save({"model": model.state_dict(), "epoch": epoch}, f"checkpoint_{epoch}")
        """
    + CLASS,
    "accelerate": START
    + """
        accelerator.register_for_checkpointing(early_stopping)
        accelerator.save_state(f"{args.checkpoints}/step_{step}")
        accelerator.load_state(args.resume)
        """
    + CLASS,
    "no early stopping": """
        import torch
        torch.save({"model": m, "optimizer": o, "scheduler": s, "epoch": e}, f"checkpoint_{e}")
        """,
    "a framework's callback": """
        import torch
        from pytorch_lightning.callbacks import EarlyStopping
        stop = EarlyStopping(monitor="val_loss")
        torch.save({"model": m, "optimizer": o}, "a.pt")
        """,
    "other names for the keys": START
    + """
        torch.save({"optimizer": o, "es_best_score": early_stopping.best_score, "es_min": early_stopping.val_loss_min,
                    "es_counter": early_stopping.counter, "rng": r}, "a")
        ckpt = torch.load("a")
        optimizer.load_state_dict(ckpt["optimizer"])
        early_stopping.best_score = ckpt["es_best_score"]
        early_stopping.val_loss_min = ckpt["es_min"]
        early_stopping.counter = ckpt["es_counter"]
        torch.set_rng_state(ckpt["rng"])
        """
    + CLASS,
    "plain variables": """
        import torch
        best_loss, counter = float("inf"), 0
        ckpt = torch.load("a")
        optimizer.load_state_dict(ckpt["optimizer"])
        best_loss, counter = ckpt["best_loss"], ckpt["counter"]
        torch.set_rng_state(ckpt["rng"])
        for epoch in range(100):
            val_loss = validate()
            if val_loss < best_loss:
                best_loss, counter = val_loss, 0
            else:
                counter += 1
                if counter >= patience:
                    break
            torch.save({"optimizer": o, "best_loss": best_loss, "counter": counter, "rng": r}, f"c_{epoch}.pt")
        """,
    "dicts put together": START
    + RESTORE
    + """
        base = {"model": m, "optimizer": o, "rng_state": r}
        kept = {"best_score": 1, "val_loss_min": 2, "counter": 3}
        torch.save(base | kept if args.full else {**base, **kept}, f"c_{epoch}")
        """
    + CLASS,
    "dict() of a dict, and setdefault": START
    + RESTORE
    + """
        state = dict({"model": m, "optimizer": o}, best_score=1, val_loss_min=2, **{"counter": 3})
        state.setdefault("rng_state", torch.get_rng_state())
        torch.save(state, f"c_{epoch}")
        """
    + CLASS,
    "the object passed to a function": START
    + """
        torch.save({"model": m, "optimizer": o, "stop": as_dict(early_stopping), "rng": r}, "a")
        """
    + CLASS,
    "keys that only a run knows": START
    + """
        state = {"model": m, "optimizer": o}
        for name in names:
            state[name] = getattr(early_stopping, name)
        torch.save(state, f"c_{epoch}")
        """
    + CLASS,
}


test_early_stopping_state_that_a_resume_loses_is_reported_at_the_dict_or_the_load = judged(FORGOTTEN)
test_early_stopping_state_that_is_kept_or_not_needed_is_not_reported = judged(REMEMBERED)
