"""For every rule: faults that break it, one at a time, and files that come close and are sound.

    CASES["R501"] = Pair(breaks=(Fault(...), ...), spares=(Sound(...), ...))

A fault changes one thing in a run of `healthy_runs`. The rule must name it, with these very values and this cure, and
no other rule may raise its voice. What is merely worth knowing (info) does not count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.validators.healthy_runs import INITIAL, RATE, Run, healthy
from tests.validators.spoiling import (
    BEST,
    STEP,
    Command,
    Nan,
    at_position,
    beta1_at,
    both,
    bytes_of,
    calling,
    compressed,
    cut_off_migration,
    drop,
    first_group,
    foreign,
    group,
    inflating,
    initial_rate,
    linked,
    lion,
    logged,
    loop,
    on_gpu,
    only,
    other_name,
    overwrite,
    packed_again,
    put,
    rate_at,
    renamed,
    repacked,
    sharded,
    size,
    stale_journal,
    steps_of_adam,
    torn,
    two_processes,
    unpacked,
    whole,
    worse_best,
)


def migrate(name: str) -> str:
    """The command that a cure by migration is."""
    return f"ckpt-doctor migrate --{name}"


SALVAGE = "ckpt-doctor salvage FILE -o OUT"


@dataclass(frozen=True)
class Sound:
    """A run with something unusual that is right."""

    name: str
    spoil: Callable[[Run], object] | None = None
    """Changes the run in memory."""
    damage: Callable[[Path], object] | None = None
    """Changes the bytes of `file` on disk."""
    file: str = STEP
    run: dict[str, Any] = field(default_factory=dict)
    """Arguments of `healthy()`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts that a person gives."""
    deep: bool = False


@dataclass(frozen=True)
class Fault(Sound):
    """A run with one fault in `file`, or in the run as a whole."""

    where: str = ""
    found: object = None
    expected: object = None
    fix: str | None = None
    severity: str = "error"
    also: tuple[str, ...] = ()
    """Files that the same fault is in."""
    implies: tuple[str, ...] = ()
    """Codes of what follows from it."""


@dataclass(frozen=True)
class Pair:
    """What breaks a rule, and what does not although it looks like it."""

    breaks: tuple[Fault, ...]
    spares: tuple[Sound, ...]
    same: dict[str, Any] = field(default_factory=dict)
    """What all that breaks it has in common."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "breaks", tuple(replace(fault, **self.same) for fault in self.breaks))


# --- the table -------------------------------------------------------------------------------------------------------

TYPE1 = {"mode": "type1"}
GROUP, AT_GROUP = ("optimizer", "param_groups", 0), "optimizer.param_groups[0]"
INDEX = "model.safetensors.index.json"
RATE_MUST = "a finite number or 0-d tensor, 0 or more"
BYTES = torch.zeros(3, dtype=torch.uint8)
KNOWN_RATE = {"learning_rate": INITIAL}
"""The `--learning_rate` that a resume in an idle mode needs, already given."""

FILE_CASES = {
    "F101": Pair(
        (
            Fault("tail cut", damage=bytes_of(lambda data: data[:-200])),
            Fault("half of it", damage=bytes_of(lambda data: data[: len(data) // 2])),
        ),
        (Sound("bytes behind the end", damage=bytes_of(lambda data: data + b"\0" * 32)),),
        same={"fix": SALVAGE, "found": size},
    ),
    "F102": Pair(
        (
            Fault(
                "a flipped bit",
                damage=overwrite("/data/3", lambda data: bytes([data[0] ^ 1]) + data[1:]),
                where="checkpoint/data/3",
                fix=SALVAGE,
            ),
            Fault(
                "the description of all tensors",
                damage=overwrite("/data.pkl", lambda data: data.replace(b"foreach", b"foreacH")),
                where="checkpoint/data.pkl",
                fix=None,
            ),
        ),
        (
            Sound("every byte right", deep=True),
            Sound("not asked for", damage=overwrite("/data/3", lambda data: data[::-1])),
        ),
        same={"deep": True},
    ),
    "F103": Pair(
        (
            Fault("a record dropped", damage=repacked(lambda name: not name.endswith("/data/3"))),
            Fault(
                "a record too short",
                damage=repacked(lambda _: True, lambda name, data: data[:4] if name.endswith("/data/3") else data),
                found=4,
            ),
        ),
        (Sound("repacked whole", damage=repacked(lambda _: True)),),
        same={"fix": SALVAGE, "where": "checkpoint/data/3", "expected": 12},
    ),
    "F104": Pair(
        (
            Fault("no bytes", damage=bytes_of(lambda _: b""), found=0),
            Fault("zeros", damage=bytes_of(lambda data: bytes(len(data))), found=size),
        ),
        (Sound("weights of zero", spoil=whole(lambda p: p | {"model": {k: v * 0 for k, v in p["model"].items()}})),),
    ),
    "F105": Pair(
        (
            Fault("a web page", damage=bytes_of(lambda _: b"<!DOCTYPE html><title>Quota exceeded</title>")),
            Fault("a Git LFS pointer", damage=bytes_of(lambda _: b"version https://git-lfs.github.com/spec/v1\n")),
            Fault("an archive of something else", damage=repacked(lambda name: name.endswith("/version"))),
        ),
        (Sound("text beside it", damage=lambda path: (path.parent / "notes.txt").write_text("lr 0.01")),),
    ),
    "F106": Pair((Fault("refused", damage=loop),), (Sound("behind a link", damage=linked),)),
    "F107": Pair(
        (Fault("killed", damage=cut_off_migration, fix="ckpt-doctor undo FILE"),),
        (Sound("a journal of another file", damage=stale_journal),),
    ),
    "F108": Pair(
        (
            Fault(
                "a temporary name",
                damage=lambda path: path.rename(path.with_name("checkpoint.pt.tmp")),
                severity="warning",
                found="checkpoint.pt.tmp",
            ),
        ),
        (Sound("written just now", damage=lambda path: path.touch()),),
    ),
    "F109": Pair(
        (
            Fault(
                "declared big-endian",
                damage=repacked(lambda _: True, lambda name, data: b"big" if name.endswith("/byteorder") else data),
                where="byteorder",
                found="big",
                expected="little",
            ),
        ),
        (Sound("no record", damage=repacked(lambda name: not name.endswith("/byteorder"))),),
    ),
    "F110": Pair(
        (Fault("LF to CRLF", damage=bytes_of(lambda data: data.replace(b"\n", b"\r\n"))),),
        (Sound("CRLF in a value", spoil=put("note", "a\r\nb\r\n" * 200)),),
    ),
    "F111": Pair(
        (Fault("cut", damage=torn, where="checkpoint/data.pkl"),),
        (Sound("an empty dict behind it", spoil=put("extra", {})),),
    ),
    "F112": Pair(
        (Fault("inflates", damage=inflating, where="checkpoint/data.pkl"),),
        (Sound("long", spoil=put("extra", "x" * 300_000)),),
    ),
    "F113": Pair(
        (Fault("two names", damage=other_name, where="checkpoint/data.pkl"),),
        (Sound("repacked", damage=repacked(lambda _: True)),),
    ),
    "F114": Pair(
        (
            Fault(
                "a file of the index missing",
                damage=sharded(left_out=(2,)),
                file=INDEX,
                where="model-00002-of-00003.safetensors",
            ),
            Fault(
                "one of them cut",
                damage=sharded(cut=True),
                file=INDEX,
                where="model-00002-of-00003.safetensors",
                found=lambda index: size(index.with_name("model-00002-of-00003.safetensors")),
                expected=336,
                implies=("F101",),
            ),
            Fault(
                "a marker that names nothing",
                damage=lambda path: path.write_text("global_step10"),
                file="latest",
                where="global_step10",
            ),
        ),
        (
            Sound("all files of the index", damage=sharded(), file=INDEX),
            Sound(
                "a left-over index beside the model in one file",
                damage=sharded(left_out=(1, 2, 3), whole=True),
                file=INDEX,
            ),
        ),
    ),
    "F115": Pair(
        (
            Fault(
                "a torch archive",
                damage=lambda path: path.rename(path.with_name("model.safetensors")),
                found="torch-zip",
                expected="safetensors",
            ),
        ),
        (Sound("another suffix", damage=lambda path: path.rename(path.with_name("model.bin"))),),
    ),
    "F116": Pair(
        (
            Fault(
                "unpacked",
                damage=unpacked,
                file=BEST,
                severity="warning",
                fix='(cd "$(dirname FILE)/.." && zip -0 -r checkpoint.pt checkpoint)',
            ),
        ),
        (Sound("unpacked and packed again", damage=packed_again, file=BEST),),
    ),
    "F117": Pair(
        (Fault("zip -r", damage=compressed, severity="info", where="checkpoint/data/0"),),
        (Sound("zip -0 -r", damage=repacked(lambda _: True)),),
    ),
}

SAFETY_CASES = {
    "S201": Pair(
        (Fault("os.system", spoil=put("hook", Command()), found="posix.system"),),
        (Sound("a word", spoil=put("hook", "os.system")),),
    ),
    "S202": Pair(
        (
            Fault(
                "a class of another package",
                spoil=put("args", foreign("lossscale.fp16", "LossScaler")),
                severity="warning",
                found="lossscale.fp16.LossScaler",
            ),
        ),
        (Sound("numpy's and Python's classes", spoil=put("args", {"a": np.float64(1), "b": Path("x")})),),
    ),
    "S203": Pair(
        (
            Fault(
                "numpy best_score",
                spoil=put("best_score", np.float64(-0.4)),
                severity="info",
                found="numpy._core.multiarray.scalar, numpy.dtype",
                fix=migrate("plain-scalars"),
            ),
        ),
        (Sound("Python's number", spoil=put("best_score", -0.4)),),
    ),
    "S204": Pair(
        (
            Fault(
                "a function of another package",
                spoil=put("args", calling("scaling.fp16", "make_scaler", 1)),
                where="scaling.fp16",
                found="scaling.fp16.make_scaler",
                fix="--trust scaling, if you trust it and whoever wrote the file",
                implies=("S202",),
            ),
        ),
        (
            Sound("a function that is only named", spoil=put("args", {"act": torch.nn.functional.relu})),
            Sound("an enum", spoil=put("args", calling("transformers.trainer_utils", "HubStrategy", "end"))),
            Sound("what Python and numpy call", spoil=put("args", [Path("x"), np.float64(1), OrderedDict(), {1}])),
        ),
    ),
}

LAYOUT_CASES = {
    "L301": Pair(
        (
            Fault(
                "the first trainer's file",
                spoil=whole(lambda p: p["model"], BEST),
                file=BEST,
                fix=migrate("upgrade"),
                found="state_dict",
                expected="a dict with model, optimizer, scheduler, epoch, global_step",
            ),
        ),
        (
            Sound(
                "weights beside the run",
                spoil=lambda run: run.update({"../vgg/weights.pth": {"features.0.weight": torch.ones(2)}}),
            ),
        ),
    ),
    "L302": Pair(
        tuple(
            Fault(f"no {path[-1]}", spoil=drop(*path), where=where, expected=path[-1], **more)
            for *path, where, more in (
                ("model", "model", {}),
                ("optimizer", "optimizer", {}),
                ("optimizer", "param_groups", "optimizer.param_groups", {}),
                ("optimizer", "state", "optimizer.state", {}),
                ("optimizer", "param_groups", 0, "lr", "optimizer.param_groups[0].lr", {}),
                ("optimizer", "param_groups", 0, "params", "optimizer.param_groups[0].params", {}),
                ("optimizer", "param_groups", 0, "betas", "optimizer.param_groups[0].betas", {}),
                ("optimizer", "param_groups", 0, "max_lr", "optimizer.param_groups[0].max_lr", {}),
                ("optimizer", "param_groups", 0, "eps", "optimizer.param_groups[0].eps", {}),
                ("optimizer", "param_groups", 0, "weight_decay", "optimizer.param_groups[0].weight_decay", {}),
                ("scheduler", "_schedule_phases", 1, "end_step", "scheduler._schedule_phases[1].end_step", {}),
                ("rng_state", "numpy", "rng_state.numpy", {}),
                ("scheduler", "scheduler", {}),
                ("epoch", "epoch", {"fix": migrate("fix-epoch")}),
                ("global_step", "global_step", {"fix": migrate("fix-epoch")}),
            )
        ),
        (
            Sound("the complete trainer's keys have defaults", spoil=drop("sampler_state")),
            Sound("a disabled scaler", spoil=put("scaler", {})),
            Sound(
                "an idle schedule looks nothing up",
                spoil=drop("optimizer", "param_groups", 0, "max_lr"),
                run=TYPE1,
                facts=KNOWN_RATE,
            ),
        ),
    ),
    "L303": Pair(
        (
            *(
                Fault(f"{key} {value!r}", spoil=put(key, value), where=key, found=found, expected="int", **more)
                for key, value, found, more in (
                    ("epoch", "2", "str '2'", {"fix": migrate("fix-epoch")}),
                    ("epoch", 2.0, "float 2.0", {"fix": migrate("fix-epoch")}),
                    ("epoch", None, "None", {"fix": migrate("fix-epoch")}),
                    ("epoch", [2], "a list", {"fix": migrate("fix-epoch")}),
                    ("epoch", True, "bool True", {"fix": migrate("fix-epoch"), "severity": "warning"}),
                    (
                        "epoch",
                        torch.tensor(2),
                        "a tensor of shape []",
                        {"fix": migrate("fix-epoch"), "severity": "warning"},
                    ),
                    ("epoch", 10**30, "an integer of 100 bits", {"fix": migrate("fix-epoch")}),
                    ("global_step", 25.0, "float 25.0", {"fix": migrate("fix-epoch")}),
                    ("global_step", None, "None", {"fix": migrate("fix-epoch")}),
                    ("global_step", "25", "str '25'", {"fix": migrate("fix-epoch")}),
                    ("counter", None, "None", {"fix": migrate("add-best-score")}),
                    ("counter", "0", "str '0'", {"fix": migrate("add-best-score")}),
                )
            ),
            *(
                Fault(f"{where} {value!r}", spoil=put(*path, value), where=where, found=found, expected=expected)
                for *path, value, where, found, expected in (
                    ("model", None, "model", "None", "a state_dict"),
                    ("model", "weights", "model", "str 'weights'", "a state_dict"),
                    ("model", {"model": {"a": torch.zeros(2)}}, "model", "a dict", "a state_dict"),
                    ("model", "llm_model.bias", None, "model.llm_model.bias", "None", "a tensor"),
                    ("optimizer", [], "optimizer", "a list", "a state_dict"),
                    ("optimizer", "state", None, "optimizer.state", "None", "a dict"),
                    ("optimizer", "param_groups", {}, "optimizer.param_groups", "a dict", "a list"),
                    ("optimizer", "param_groups", 0, None, "optimizer.param_groups[0]", "None", "a dict"),
                    (
                        "optimizer",
                        "param_groups",
                        0,
                        "lr",
                        "1e-3",
                        "optimizer.param_groups[0].lr",
                        "str '1e-3'",
                        "a finite number or 0-d tensor, 0 or more",
                    ),
                    (
                        "optimizer",
                        "param_groups",
                        0,
                        "betas",
                        None,
                        "optimizer.param_groups[0].betas",
                        "None",
                        "a pair of numbers",
                    ),
                    ("scheduler", [], "scheduler", "a list", "a state_dict"),
                    ("scheduler", "last_epoch", None, "scheduler.last_epoch", "None", "a whole number"),
                    ("scheduler", "_step_count", "25", "scheduler._step_count", "str '25'", "a whole number"),
                    (
                        "scheduler",
                        "_schedule_phases",
                        None,
                        "scheduler._schedule_phases",
                        "None",
                        "a list of 2 or 3 phases",
                    ),
                    ("scaler", "none", "scaler", "str 'none'", "a dict"),
                    ("rng_state", 7, "rng_state", "int 7", "a dict"),
                )
            ),
            Fault("no dict", spoil=whole(list), found="a list", expected="a dict"),
        ),
        (
            Sound("numpy integers", spoil=both(put("epoch", np.int64(2)), put("global_step", np.int64(25)))),
            Sound(
                "a tuple of groups",
                spoil=lambda run: run[STEP]["optimizer"].update(
                    param_groups=(*run[STEP]["optimizer"]["param_groups"],)
                ),
            ),
            Sound("no scaler", spoil=put("scaler", None)),
            Sound(
                "an idle scheduler counts nothing",
                spoil=put("scheduler", "_step_count", None),
                run=TYPE1,
                facts=KNOWN_RATE,
            ),
        ),
    ),
    "L304": Pair(
        tuple(
            Fault(
                prefix,
                spoil=renamed(lambda key, prefix=prefix: prefix + key),
                where="model",
                found=prefix,
                fix=migrate("strip-prefix"),
            )
            for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "module.module.")
        ),
        (
            Sound(
                "a submodule of that name",
                spoil=lambda run: [renamed(lambda k: k.replace("llm_model.", "module."), n)(run) for n in run],
            ),
        ),
    ),
    "L305": Pair(
        (Fault("saved on a GPU", damage=on_gpu, severity="info", found=["cuda:1"], fix=migrate("to-cpu")),),
        (Sound("on the CPU"),),
    ),
    "L306": Pair(
        (
            Fault("none saved", spoil=put("rng_state", None)),
            Fault(
                "first patch",
                run={"generation": "first-patch", "saved_at": (5,)},
                facts={"steps_per_epoch": 10},
                file="checkpoint_step_5",
            ),
        ),
        (Sound("saved"),),
        same={"severity": "info"},
    ),
}

PROGRESS_CASES = {
    "P401": Pair(
        (
            Fault(
                "a renamed folder",
                spoil=lambda run: run.update({"checkpoint_step_35": run.pop(STEP)}),
                file="checkpoint_step_35",
                severity="warning",
                where="global_step",
                found=25,
                expected=35,
                fix="rename the folder to checkpoint_step_25",
            ),
        ),
        (Sound("the best file has no number", spoil=only(BEST), file=BEST),),
    ),
    "P402": Pair(
        (
            Fault("ahead", spoil=put("epoch", 4), found=4, expected=2),
            Fault(
                "first patch, at an epoch's end",
                run={"generation": "first-patch", "saved_at": (5, 10)},
                facts={"steps_per_epoch": 10},
                file="checkpoint_step_10",
                found=0,
                expected=1,
                implies=("E601",),
            ),
        ),
        (
            Sound("the complete trainer takes the later epoch", spoil=put("epoch", 1)),
            Sound("a negative one, too", spoil=put("epoch", -1)),
        ),
        same={"severity": "warning", "fix": migrate("fix-epoch"), "where": "epoch"},
    ),
    "P403": Pair(
        (
            Fault(
                "Adam is behind", spoil=steps_of_adam(torch.tensor(24.0)), where="global_step", found=25, expected=24
            ),
            Fault(
                "one parameter's steps",
                spoil=put("optimizer", "state", 0, "step", torch.tensor(20.0)),
                where="optimizer.state",
                found=20,
                expected=25,
            ),
            Fault(
                "a counter that was edited",
                spoil=put("global_step", 35),
                where="global_step",
                found=35,
                expected=25,
                fix=migrate("fix-epoch"),
                implies=("P402",),
            ),
        ),
        (
            Sound(
                "AMP skipped a step", spoil=both(steps_of_adam(torch.tensor(24.0)), put("scaler", {"scale": 1024.0}))
            ),
            Sound("an int, as before torch 1.12", spoil=steps_of_adam(25)),
        ),
        same={"severity": "warning"},
    ),
    "P404": Pair(
        (
            Fault(
                "finished",
                run={"saved_at": (99,)},
                file=BEST,
                severity="warning",
                where="epoch",
                found=5,
                expected="below 5",
            ),
        ),
        (Sound("the last epoch", run={"saved_at": (45,)}, file="checkpoint_step_45"),),
    ),
    "P405": Pair(
        (
            Fault(
                "killed in the validation",
                run={"saved_at": (5, 20)},
                file="checkpoint_step_20",
                severity="warning",
                where="global_step",
                found=20,
                implies=("R510",),
            ),
        ),
        (
            Sound(
                "validated",
                run={"saved_at": (5, 20, 25)},
                file="checkpoint_step_20",
                spoil=put("best_score", -0.4, file="checkpoint_step_20"),
            ),
            Sound("within an epoch", run={"saved_at": (5, 19)}, file="checkpoint_step_19"),
        ),
    ),
    "P406": Pair(
        (Fault("deleted", spoil=only("checkpoint_step_15", STEP), severity="info"),),
        (
            Sound("no epoch was validated", run={"saved_at": (5,)}, file="checkpoint_step_5"),
            Sound("it is there and unreadable", damage=bytes_of(lambda data: data[:500]), file=BEST),
        ),
    ),
    "P407": Pair(
        (
            Fault(
                "another run's folder",
                spoil=lambda run: (
                    run.pop(BEST),
                    run.update(
                        {
                            STEP: healthy("COS", steps=30)[STEP],
                            "checkpoint_step_15": healthy("COS")["checkpoint_step_15"],
                        }
                    ),
                ),
                run={"mode": "COS"},
                severity="warning",
                implies=("P413",),
                where=STEP,
                found=0,
                expected=1,
            ),
        ),
        (Sound("an epoch that is wrong in itself", spoil=put("epoch", 0)),),
    ),
    "P408": Pair(
        (
            Fault(
                "another mode",
                facts={"lradj": "TST"},
                run={"mode": "COS"},
                implies=("R509",),
                fix="leave out --lradj, or correct it",
            ),
            Fault(
                "a length that does not divide the schedule",
                facts={"steps_per_epoch": 20},
                implies=("P402", "E605", "R505", "R506"),
                fix="leave out --steps-per-epoch, or correct it",
            ),
            Fault(
                "two processes, and the schedule counts one",
                facts={"world_size": 2},
                implies=("P402", "P413", "R501", "R503", "R504", "P404"),
                fix="leave out --world-size, or correct it",
            ),
        ),
        (Sound("the right one", facts={"lradj": "COS"}, run={"mode": "COS"}), Sound("one", facts={"world_size": 1})),
        same={"severity": "warning"},
    ),
}

RATE_CASES = {
    "R501": Pair(
        (
            Fault("TST, saved before the step", spoil=at_position("TST", 24), found=24, expected=25),
            Fault(
                "COS, the best file",
                run={"mode": "COS"},
                spoil=at_position("COS", 1, BEST),
                file=BEST,
                found=1,
                expected=2,
            ),
        ),
        (
            Sound("an idle schedule stays at 0", run=TYPE1, facts=KNOWN_RATE),
            Sound("COS within an epoch", run={"mode": "COS"}),
        ),
        same={"severity": "warning", "fix": migrate("sync-scheduler"), "where": "scheduler.last_epoch"},
    ),
    "R502": Pair(
        (
            Fault("stepped by hand", spoil=at_position("TST", 27), severity="warning", found=27, expected=25),
            Fault(
                "an idle schedule that was stepped: no other file of the run is doubted",
                run=TYPE1,
                facts=KNOWN_RATE,
                spoil=both(put("scheduler", "last_epoch", 3), put("scheduler", "_step_count", 4)),
                severity="info",
                found=3,
                expected=0,
            ),
        ),
        (Sound("two processes step it twice", spoil=two_processes, facts={"world_size": 2}),),
        same={"fix": migrate("sync-scheduler"), "where": "scheduler.last_epoch"},
    ),
    "R503": Pair(
        (
            Fault(
                "edited",
                spoil=put("scheduler", "_step_count", 20),
                severity="warning",
                where="scheduler._step_count",
                found=20,
                expected=26,
                fix=migrate("sync-scheduler"),
            ),
        ),
        (Sound("older schedulers have none", spoil=drop("scheduler", "_step_count")),),
    ),
    "R504": Pair(
        (
            Fault(
                "the rate",
                spoil=group("lr", 0.5),
                where="optimizer.param_groups[0].lr",
                found=0.5,
                expected=rate_at(25),
            ),
            Fault(
                "beta1",
                spoil=group("betas", (0.5, 0.999)),
                where="optimizer.param_groups[0].betas",
                found=0.5,
                expected=beta1_at(25),
            ),
            Fault(
                "the scheduler's own",
                spoil=put("scheduler", "_last_lr", [0.5]),
                where="scheduler._last_lr",
                found=0.5,
                expected=rate_at(25),
            ),
            Fault(
                "type1, the best file",
                run=TYPE1,
                facts=KNOWN_RATE,
                spoil=put("optimizer", "param_groups", 0, "lr", INITIAL, file=BEST),
                file=BEST,
                where="optimizer.param_groups[0].lr",
                found=INITIAL,
                expected=initial_rate() / 2,
            ),
        ),
        (
            Sound("betas in a list", spoil=lambda run: group("betas", [*first_group(run)["betas"]])(run)),
            Sound(
                "rounded in the last digit", spoil=lambda run: group("lr", first_group(run)["lr"] * (1 + 1e-15))(run)
            ),
            Sound("a tensor", spoil=lambda run: group("lr", torch.tensor(first_group(run)["lr"]))(run)),
        ),
        same={"severity": "warning", "fix": migrate("sync-scheduler")},
    ),
    "R505": Pair(
        (
            Fault(
                "more epochs than it was built for",
                facts={"train_epochs": 7},
                severity="warning",
                where="scheduler.total_steps",
                found=50,
                expected=70,
                also=(BEST, "checkpoint_step_5", "checkpoint_step_15"),
            ),
        ),
        (
            Sound("as long as it was built for", facts={"train_epochs": 5}),
            Sound("CosineAnnealingLR has no end", run={"mode": "COS"}, facts={"train_epochs": 7}),
            Sound("an idle one has no effect", run=TYPE1, facts=KNOWN_RATE | {"train_epochs": 7}),
        ),
    ),
    "R506": Pair(
        (
            Fault(
                "type1 from the second epoch on",
                run=TYPE1,
                severity="warning",
                where="--learning_rate",
                found=RATE,
                expected=initial_rate(),
                fix=f"add --learning_rate {initial_rate()!r} to the resume command",
                also=(BEST, "checkpoint_step_15"),
            ),
        ),
        (
            Sound("within epoch 0", run=TYPE1 | {"saved_at": (5,)}, file="checkpoint_step_5"),
            Sound("the right rate is given", run=TYPE1, facts=KNOWN_RATE),
            Sound("the last epoch computes no other rate", run=TYPE1 | {"saved_at": (45,)}, file="checkpoint_step_45"),
            Sound("TST takes it from the schedule"),
        ),
    ),
    "R508": Pair(
        (
            Fault("None", spoil=put("scheduler", None), where="scheduler"),
            Fault("empty", spoil=put("scheduler", {}), where="scheduler"),
            Fault("no position", spoil=drop("scheduler", "last_epoch"), where="scheduler.last_epoch"),
        ),
        (
            Sound(
                "an idle one is as good as new",
                spoil=put("scheduler", None),
                run=TYPE1,
                facts=KNOWN_RATE | {"lradj": "type1"},
            ),
        ),
        same={"severity": "warning"},
    ),
}

RATE_CASES["R510"] = Pair(
    (
        Fault(
            "in the epoch behind a best file",
            run={"saved_at": (25,)},
            spoil=drop("rng_state_at"),
            fix=migrate("sync-rng"),
        ),
        Fault(
            "in the first epoch",
            run={"saved_at": (7,)},
            spoil=drop("rng_state_at", file="checkpoint_step_7"),
            file="checkpoint_step_7",
            fix=migrate("sync-rng"),
        ),
        Fault(
            "no best file from the epoch before",
            run={"saved_at": (25,), "losses": (0.4, 0.5, 0.6, 0.7, 0.8)},
            spoil=drop("rng_state_at"),
            facts={"steps_per_epoch": 10},
        ),
        Fault(
            "marked, at the end of the epoch whose beginning it is from",
            run={"saved_at": (5, 20)},
            file="checkpoint_step_20",
            implies=("P405",),
        ),
    ),
    (
        Sound("saved at the epoch's beginning"),
        Sound("does not shuffle", spoil=drop("rng_state_at"), facts={"shuffle": False}),
        Sound("a best file", spoil=only(BEST)),
        Sound("none saved", run={"saved_at": (25,)}, spoil=put("rng_state", None)),
    ),
    same={"severity": "warning", "where": "rng_state"},
)

RATE_CASES["P411"] = Pair(
    (
        Fault("TST, resumed unrepaired once", spoil=at_position("TST", 23), implies=("R501",)),
        Fault("COS, within an epoch", run={"mode": "COS"}, spoil=at_position("COS", 1), implies=("R501",)),
        Fault(
            "type1, at 25 times its rate",
            run=TYPE1,
            facts=KNOWN_RATE | {"lradj": "type1"},
            spoil=group("lr", RATE / 2),
            implies=("R504",),
        ),
        Fault(
            "a rate nowhere on the curve",
            spoil=both(group("lr", 0.5), put("scheduler", "_last_lr", [0.5])),
            implies=("R504",),
        ),
    ),
    (
        Sound("TST, as every step file is saved", spoil=at_position("TST", 24)),
        Sound("COS, as every best file is saved", run={"mode": "COS"}, spoil=at_position("COS", 1, BEST), file=BEST),
        Sound(
            "type1, as every best file is saved",
            run=TYPE1,
            facts=KNOWN_RATE,
            spoil=put("optimizer", "param_groups", 0, "lr", INITIAL, file=BEST),
            file=BEST,
        ),
        Sound("a rate that another hand has set", spoil=group("lr", 0.5)),
        Sound("a schedule that was put back", spoil=both(put("scheduler", "last_epoch", 0), group("lr", rate_at(25)))),
    ),
    same={"severity": "warning"},
)

RATE_CASES["P413"] = Pair(
    (
        Fault(
            "the mode, in a best file",
            run=TYPE1 | {"saved_at": (15,)},
            spoil=only(BEST),
            file=BEST,
            where="--lradj",
            found=["type1 or type2 or type3 or constant", "PEMS"],
            fix="give --lradj with the training command's value",
            facts=KNOWN_RATE,
        ),
        Fault(
            "the steps per epoch, in the first epoch's newest file",
            run={"mode": "COS", "saved_at": (7,)},
            file="checkpoint_step_7",
            where="--steps-per-epoch",
            found=["any other", "7"],
            fix="give --steps-per-epoch with the training command's value",
        ),
        Fault(
            "the processes, where another number of them explains the file as well",
            run=TYPE1 | {"saved_at": (15,), "steps": 12},
            spoil=only("checkpoint_step_15"),
            file="checkpoint_step_15",
            facts=KNOWN_RATE | {"lradj": "type1"},
            where="--world-size",
            found=mock.ANY,
            fix="give --world-size with the training command's value",
        ),
    ),
    (
        Sound("the modes agree in the first epoch", run=TYPE1 | {"saved_at": (7,)}, file="checkpoint_step_7"),
        Sound("the mode is given", run=TYPE1 | {"saved_at": (15,)}, facts=KNOWN_RATE | {"lradj": "type1"}),
        Sound("no epoch of the schedule's length ends there", run={"saved_at": (7,)}, file="checkpoint_step_7"),
        Sound("one process", facts={"world_size": 1}),
    ),
    same={"severity": "warning"},
)

RATE_CASES["R509"] = Pair(
    (
        Fault(
            "a schedule of another class",
            spoil=put("scheduler", {"step_size": 30, "gamma": 0.1, "last_epoch": 25, "_step_count": 26}),
            found=["_step_count", "gamma", "last_epoch", "step_size"],
        ),
        Fault(
            "a schedule of another mode",
            spoil=put("scheduler", healthy("COS")[STEP]["scheduler"]),
            found="CosineAnnealingLR",
        ),
    ),
    (
        Sound(
            "OneCycleLR as torch 1.6 wrote it",
            spoil=lambda run: [run[STEP]["scheduler"].pop(key, None) for key in ("_schedule_phases", "_is_initial")],
        ),
    ),
    same={"severity": "warning", "where": "scheduler", "expected": "OneCycleLR"},
)

NO_STOPPING = both(drop("best_score"), drop("val_loss_min"), drop("counter"))

EARLY_STOPPING_CASES = {
    "E601": Pair(
        (Fault("not saved", spoil=NO_STOPPING), Fault("None", spoil=put("best_score", None))),
        (
            Sound("before the first validation", file="checkpoint_step_5"),
            Sound(
                "first patch, before the first validation",
                run={"generation": "first-patch", "saved_at": (5,)},
                file="checkpoint_step_5",
            ),
        ),
        same={"severity": "warning", "fix": migrate("add-best-score"), "where": "best_score", "expected": -0.4},
    ),
    "E602": Pair(
        tuple(
            Fault(
                name,
                spoil=put("best_score", value),
                severity=severity,
                where="best_score",
                found=found,
                expected=expected,
                fix=migrate("add-best-score"),
            )
            for name, value, found, expected, severity in (
                ("the loss itself", 0.4, 0.4, -0.4, "warning"),
                ("infinite", float("-inf"), float("-inf"), None, "warning"),
                ("NaN", float("nan"), Nan(), None, "warning"),
                ("a string", "-0.4", "str '-0.4'", None, "error"),
                ("a tensor", torch.tensor(-0.4), "a tensor of shape []", None, "warning"),
                ("two numbers", torch.tensor([-0.4, 0]), "a tensor of shape [2]", None, "error"),
            )
        ),
        (
            Sound("a perfect model", run={"losses": (0.5, 0.0)}),
            Sound("a numpy number", spoil=put("best_score", np.float64(-0.4))),
        ),
    ),
    "E603": Pair(
        (
            Fault(
                "of the best before",
                spoil=put("val_loss_min", 0.5, file=BEST),
                file=BEST,
                severity="warning",
                found=0.5,
            ),
            Fault("a string", spoil=put("val_loss_min", "0.4"), severity="error", found="str '0.4'"),
        ),
        (Sound("not saved", spoil=drop("val_loss_min")),),
        same={"fix": migrate("add-best-score"), "where": "val_loss_min", "expected": 0.4},
    ),
    "E604": Pair(
        (
            Fault(
                "three of three",
                run={"losses": (0.4, 0.5, 0.5, 0.5), "saved_at": (45,)},
                facts={"patience": 3},
                file="checkpoint_step_45",
                severity="warning",
                where="counter",
                found=3,
                expected="below 3",
                fix="add --resume_counter 0 to the resume command, or a larger --patience",
            ),
        ),
        (
            Sound(
                "three of four",
                run={"losses": (0.4, 0.5, 0.5, 0.5), "saved_at": (45,)},
                facts={"patience": 4},
                file="checkpoint_step_45",
            ),
        ),
    ),
    "E605": Pair(
        (
            Fault(
                "another best score than the best model's",
                spoil=both(put("best_score", -0.45), put("val_loss_min", 0.45)),
                where="best_score",
                found=-0.45,
                expected=-0.4,
            ),
            Fault("another count", spoil=put("counter", 2), where="counter", found=2, expected=0),
        ),
        (
            Sound(
                "equal to the log's seven decimals",
                spoil=both(put("best_score", -0.40000004), put("val_loss_min", 0.40000004)),
            ),
        ),
        same={"severity": "warning", "fix": migrate("add-best-score")},
    ),
    "E606": Pair(
        (
            Fault(
                "saved before it was reset",
                spoil=put("counter", 2, file=BEST),
                file=BEST,
                severity="warning",
                where="counter",
                found=2,
                expected=0,
                fix=migrate("add-best-score"),
            ),
        ),
        (Sound("a step file counts on", run={"losses": (0.4, 0.5), "saved_at": (25,)}),),
    ),
    "E608": Pair(
        (
            Fault(
                "a log of other losses",
                damage=logged(0.6, 0.55),
                file=BEST,
                also=("checkpoint_step_25",),
                implies=("E605",),
                severity="warning",
                where="best_score",
                fix="give the true one: --best-score X or --val-loss X with migrate --add-best-score",
            ),
        ),
        (
            Sound("the run's own log", damage=logged(0.5, 0.4), file=BEST),
            Sound("equal to the log's seven decimals", damage=logged(0.5, 0.40000004), file=BEST),
        ),
    ),
    "E607": Pair(
        (
            Fault(
                "a blind resume saved a worse one",
                spoil=worse_best,
                severity="warning",
                where="checkpoint",
                found=-0.6,
                expected=-0.4,
            ),
        ),
        (Sound("a step file from before it", run={"saved_at": (5, 15, 25)}, file="checkpoint_step_15"),),
    ),
}

OPTIMIZER_CASES = {
    "O701": Pair(
        (
            Fault(
                "moments of another shape",
                spoil=put(
                    "optimizer",
                    "state",
                    0,
                    {"step": torch.tensor(25.0), "exp_avg": torch.ones(2, 2), "exp_avg_sq": torch.ones(2, 2)},
                ),
                where="optimizer.state.0",
                found=[2, 2],
            ),
            Fault(
                "more parameters than tensors",
                spoil=group("params", list(range(11))),
                where="optimizer.param_groups",
                found=11,
                expected="at most 10",
            ),
            Fault("no group", spoil=put("optimizer", "param_groups", []), where="optimizer.param_groups", found=0),
            Fault(
                "a parameter twice",
                spoil=group("params", [0, 1, 2, 3, 4, 5, 6, 0]),
                where="optimizer.param_groups",
                found=["0"],
            ),
            Fault(
                "state of no parameter",
                spoil=group("params", [0, 1, 2, 3, 4, 5, 6]),
                where="optimizer.state",
                found=["7"],
            ),
        ),
        (
            Sound(
                "groups in a tuple", spoil=lambda run: run[STEP]["optimizer"].update(param_groups=(first_group(run),))
            ),
            Sound("parameters in a tuple", spoil=group("params", tuple(range(8)))),
        ),
    ),
    "O702": Pair(
        (
            Fault(
                "one of them",
                spoil=drop("optimizer", "state", 3),
                severity="warning",
                where="optimizer.state",
                found=7,
                expected=8,
            ),
            Fault(
                "all of them",
                spoil=put("optimizer", "state", {}),
                severity="warning",
                where="optimizer.state",
                found=0,
                expected=8,
            ),
            Fault(
                "no highest moment under amsgrad",
                spoil=group("amsgrad", True),
                where="optimizer.state.0",
                found=["step", "exp_avg", "exp_avg_sq"],
                expected=["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            ),
            Fault(
                "no mean",
                spoil=drop("optimizer", "state", 3, "exp_avg"),
                where="optimizer.state.3",
                found=["step", "exp_avg_sq"],
                expected=["step", "exp_avg", "exp_avg_sq"],
            ),
        ),
        (
            Sound(
                "never any gradient", spoil=lambda run: [drop("optimizer", "state", 3, file=name)(run) for name in run]
            ),
            Sound("another optimizer's state under a name of Adam's", spoil=lion),
            Sound("AMP skipped every step", spoil=both(put("optimizer", "state", {}), put("scaler", {"scale": 1.0}))),
        ),
    ),
    "O707": Pair(
        (
            *(
                Fault(f"{where} {value!r:.40}", spoil=put(*path, value), where=where, found=found, expected=expected)
                for *path, value, where, found, expected in (
                    (*GROUP, "lr", 10**400, f"{AT_GROUP}.lr", "an integer of 1,329 bits", RATE_MUST),
                    (*GROUP, "lr", torch.zeros(2), f"{AT_GROUP}.lr", "a tensor of shape [2]", RATE_MUST),
                    (*GROUP, "betas", (), f"{AT_GROUP}.betas", "a tuple", "a pair of numbers"),
                    (*GROUP, "eps", -1, f"{AT_GROUP}.eps", "int -1", "a finite number, 0 or more"),
                    (
                        *GROUP,
                        "weight_decay",
                        float("nan"),
                        f"{AT_GROUP}.weight_decay",
                        "float nan",
                        "a finite number, 0 or more",
                    ),
                    (*GROUP, "max_lr", float("nan"), f"{AT_GROUP}.max_lr", "float nan", RATE_MUST),
                    ("scheduler", "last_epoch", 140.5, "scheduler.last_epoch", "float 140.5", "a whole number"),
                    ("scheduler", "total_steps", -5, "scheduler.total_steps", "int -5", "a whole number, 1 or more"),
                    (
                        "scheduler",
                        "_anneal_func_type",
                        None,
                        "scheduler._anneal_func_type",
                        "None",
                        "'cos' or 'linear'",
                    ),
                    (
                        "rng_state",
                        "torch",
                        BYTES,
                        "rng_state.torch",
                        "a tensor of shape [3]",
                        "torch's random state, a uint8 tensor of 5,056 bytes",
                    ),
                )
            ),
            *(
                Fault(f"{key} {value}", spoil=put(key, value), where=key, found=f"int {value}", expected="int", fix=fix)
                for key, value, fix in (
                    ("epoch", -1, migrate("fix-epoch")),
                    ("global_step", -25, migrate("fix-epoch")),
                    ("counter", -5, migrate("add-best-score")),
                )
            ),
            Fault(
                "a phase without length",
                spoil=put("scheduler", "_schedule_phases", 1, "end_step", 9.0),
                where="scheduler",
            ),
            Fault(
                "a beta of 1",
                spoil=lambda run: group("betas", (first_group(run)["betas"][0], 1.0))(run),
                where=f"{AT_GROUP}.betas[1]",
                found="float 1.0",
                expected="a number from 0 up to, but not, 1",
            ),
            Fault(
                "cycling switched off",
                spoil=put("scheduler", "cycle_momentum", False),
                where="scheduler",
            ),
        ),
        (
            Sound("a rate in a tensor", spoil=lambda run: group("lr", torch.tensor(first_group(run)["lr"]))(run)),
            Sound("no decay", spoil=group("weight_decay", False)),
            Sound("a beta of 0", spoil=group("betas", (0.0, 0.0)), run=TYPE1, facts=KNOWN_RATE),
            Sound("a count as a float", spoil=put("scheduler", "last_epoch", 25.0)),
            Sound("a step as an integer", spoil=steps_of_adam(25)),
            Sound("a step in a vector", spoil=steps_of_adam(torch.tensor([25.0]))),
            Sound("an idle schedule", spoil=put("scheduler", "total_steps", -5), run=TYPE1, facts=KNOWN_RATE),
        ),
    ),
    "O703": Pair(
        (Fault("a layer more", spoil=put("model", "llm_model.extra", torch.zeros(1)), severity="warning", where=STEP),),
        (
            Sound(
                "the same keys in another order",
                spoil=whole(lambda p: p | {"model": OrderedDict(reversed(p["model"].items()))}),
            ),
        ),
    ),
}

TENSOR_CASES = {
    "T801": Pair(
        (
            Fault(
                "one NaN",
                spoil=put("model", "llm_model.bias", torch.tensor([0.0, float("nan"), 1.0])),
                where="model.llm_model.bias",
                found={"model.llm_model.bias": 1},
            ),
            Fault(
                "NaN in a mask",
                spoil=put("model", "attn_mask", torch.tensor([0.0, float("nan"), -float("inf")])),
                where="model.attn_mask",
                found={"model.attn_mask": 2},
                implies=("O703",),
            ),
            Fault(
                "an infinite weight",
                spoil=put("model", "llm_model.bias", torch.tensor([0.0, float("inf"), 1.0])),
                where="model.llm_model.bias",
                found={"model.llm_model.bias": 1},
            ),
            Fault(
                "an infinite moment",
                spoil=put("optimizer", "state", 0, "exp_avg_sq", torch.full((3, 3), float("inf"))),
                where="optimizer.state.0.exp_avg_sq",
                found={"optimizer.state.0.exp_avg_sq": 9},
            ),
        ),
        (
            Sound(
                "large and small", spoil=put("model", "llm_model.bias", torch.tensor([3e38, 1e-45, -0.0])), deep=True
            ),
            Sound("a mask", spoil=put("model", "attn_mask", torch.full((4, 4), -float("inf")).triu(1)), deep=True),
            Sound("a bound", spoil=put("model", "observer.min_val", torch.tensor(float("inf"))), deep=True),
            Sound("a score", spoil=put("best", torch.tensor(float("inf"))), deep=True),
            Sound("integers", spoil=put("model", "llm_model.ids", torch.tensor([-(2**63), 2**63 - 1])), deep=True),
        ),
        same={"deep": True},
    ),
}

CASES: dict[str, Pair] = {
    **FILE_CASES,
    **SAFETY_CASES,
    **LAYOUT_CASES,
    **PROGRESS_CASES,
    **RATE_CASES,
    **EARLY_STOPPING_CASES,
    **OPTIMIZER_CASES,
    **TENSOR_CASES,
}
