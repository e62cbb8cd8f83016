"""Reports built by hand: the run of interface.md's example, and files that mean harm to whoever prints them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from ckpt_doctor import audit
from ckpt_doctor.reports.check import check
from ckpt_doctor.reports.groups import located
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.terms import TERMS
from ckpt_doctor.types import (
    Advice,
    Checkpoint,
    Curve,
    Departure,
    EarlyStoppingState,
    Edit,
    Evidence,
    FileReport,
    Finding,
    Located,
    Member,
    MigrationResult,
    NotChecked,
    PassedOver,
    Refusal,
    Report,
    ResumePlan,
    ResumePoint,
    Run,
    RunReport,
    StorageInfo,
    TensorInfo,
    TrainerManual,
    TrainingState,
)

RUN = Path(
    "checkpoints/long_term_forecast_ETTh1_256_96_TimeLLM_ETTh1_ftM_sl256_ll48_pl96_dm32_Exp_0-Llama3_8B_4bit_ColabDrive"
)
HOSTILE = 'a\nb\x1b[2J\u202e<script>alert("x")</script>|`::%,&'
DEEP = NotChecked("stored checksums and NaN", "reads every byte", "--deep")
NO_BEST_SCORE = Finding(
    code="E601",
    name="missing-best-score",
    severity="warning",
    message="EarlyStopping would start blind, and the first epoch after the resume would overwrite the best model "
    "(validation loss 0.4123456, epoch 2), however bad it is.",
    where="best_score",
    fix="ckpt-doctor migrate --add-best-score",
    migration="add-best-score",
)
RATE_JUMP = Finding(
    code="R506",
    name="rate-jump",
    severity="warning",
    message="a resume at epoch >= 1 computes the next rate from --learning_rate, 25x the uninterrupted run's.",
    where="optimizer.param_groups[0].lr",
    found=0.0001,
    expected=4e-06,
    fix="add --learning_rate 4e-06 to the resume command",
)
IN_SCRIPT = Located(NO_BEST_SCORE, Path("run_main.py"), line=3, column=5, end_line=4, suggestion="pass")
STEP = RUN / "checkpoint_step_17000/checkpoint.pt"
CURVE = Curve(
    RUN,
    rates=((0, 4e-6), (17280, 4e-6), (86400, 1e-7)),
    places={RUN / "checkpoint": 17000, STEP: 17000, RUN / "checkpoint_step_18000/checkpoint.pt": 18000},
    departures=(Departure(STEP, ((17000, 1e-4, 4e-6), (86400, 1e-6, 1e-7))),),
    losses=((1, 0.5), (2, 0.41), (3, float("nan"))),
    best=2,
    steps_per_epoch=8640,
)
FACTS = TimeLLMFacts(
    lradj=Evidence("type1", "scheduler never stepped"),
    steps_per_epoch=Evidence(8640, "checkpoint: 17,280 steps at epoch 2"),
    train_epochs=Evidence(10, "OneCycleLR: 86,400 steps in all"),
)

MID = ResumePlan(
    start_epoch=3,
    skip_batches=512,
    global_step=26432,
    next_lr=3.2e-4,
    next_lr_uninterrupted=3.2e-4,
    best_score=-0.3812,
    counter=2,
    steps_left=59968,
)
PATIENT = TimeLLMFacts(
    steps_per_epoch=Evidence(8640, "log"), train_epochs=Evidence(10, "--train-epochs"), patience=Evidence(10, "log")
)
RULES = [
    SimpleNamespace(
        code="E601",
        name="missing-best-score",
        severity="warning",
        manual="Is missing.\n\nWhy: it is.",
        by_trainers=(
            TrainerManual(("hf",), "the Trainer", "warning", "One."),
            TrainerManual(("hf",), "the Trainer", "warning", "Two."),
            TrainerManual(("plain", "lightning"), "a loop and Lightning", "info", "Three."),
        ),
    ),
    SimpleNamespace(code="F101", name="truncated", severity="error", manual=" ".join(["word"] * 60), by_trainers=()),
]


def tensor(*path: str, shape: tuple[int, ...] = (3, 4), storage: str = "0", offset: int = 0) -> TensorInfo:
    numel = 1
    for n in shape:
        numel *= n
    info = StorageInfo(storage, "float32", "cpu", numel, 4 * numel)
    stride = tuple(range(len(shape), 0, -1))
    return TensorInfo(path, "float32", shape, stride, "cpu", 4 * numel, info, offset)


def file(path: Path | str, *findings: Finding, **changes: object) -> FileReport:
    """A step checkpoint of the example run; `changes` go to whichever object has a field of that name."""
    fields: dict[str, dict[str, object]] = {"checkpoint": {}, "state": {}, "member": {}, "resume": {}, "report": {}}
    owners = {
        "report": FileReport,
        "checkpoint": Checkpoint,
        "state": TrainingState,
        "member": Member,
        "resume": ResumePoint,
    }
    for name, value in changes.items():
        owner = next(key for key, cls in owners.items() if name in cls.__dataclass_fields__)
        fields[owner][name] = value
    checkpoint = Checkpoint(
        Path(path), 3328599654, "torch-zip", "training", {"model": {}, "epoch": 2}, bytes_read=70000
    )
    state = TrainingState(
        epoch=1, global_step=17000, scheduler="OneCycleLR", last_epoch=0, step_count=1, total_steps=86400, lr=4e-6
    )
    plan = ResumePlan(
        start_epoch=1,
        skip_batches=8360,
        global_step=17000,
        next_lr=4e-06,
        next_lr_uninterrupted=4e-06,
        best_score=None,
        counter=None,
        steps_left=69400,
        flags=("--learning_rate", "4e-06"),
        why_not_exact=("the file has no rng_state, and the data are shuffled",),
    )
    return FileReport(
        member=replace(
            Member(replace(checkpoint, **fields["checkpoint"]), replace(state, **fields["state"]), "step", 17000),
            **fields["member"],
        ),
        resume_point=replace(
            ResumePoint(last_epoch=0, early_stopping=Evidence(EarlyStoppingState(-0.4123456, 0.4123456), "log")),
            **fields["resume"],
        ),
        **{
            "plan": plan,
            "findings": findings,
            "not_checked": (DEEP,),
            "verdict": "repairable" if findings else "ok",
            "resume": "differs" if findings else "identical",
            **fields["report"],
        },
    )


def report(
    *files: FileReport, findings: tuple[Finding, ...] = (), facts: TimeLLMFacts = FACTS, path: Path = RUN
) -> Report:
    run = Run(path, "time-llm", tuple(f.member for f in files), facts)
    return Report((RunReport(run, findings, files, TERMS),), 0.09, (Path("checkpoints"),), audit.shown)


def resumable(**now: object) -> FileReport:
    """A file that should resume at batch 8,360 of epoch 1 with rate 4e-06."""
    judged = file(RUN / "checkpoint", role="best", start_epoch=1, skip_batches=8360)
    assert judged.plan is not None
    return replace(judged, plan=replace(judged.plan, **now), resume_point=replace(judged.resume_point, lr=(4e-6,)))


def example() -> Report:
    """The report that interface.md section 6 shows."""
    return report(
        file(RUN / "checkpoint", NO_BEST_SCORE, role="best", named_step=None, epoch=2, global_step=17280),
        file(RUN / "checkpoint_step_17000/checkpoint.pt", NO_BEST_SCORE, RATE_JUMP),
        file(RUN / "checkpoint_step_18000/checkpoint.pt", NO_BEST_SCORE, RATE_JUMP, epoch=2, global_step=18000),
    )


def advised() -> Report:
    """The example with what to do about it."""
    [run] = example().runs
    advice = Advice(
        "repair",
        RUN,
        RUN / "checkpoint_step_18000",
        "checkpoint_step_18000",
        "step 18,000",
        ("ckpt-doctor", "migrate", "--all"),
        ("--learning_rate", "4e-06"),
    )
    return replace(example(), runs=(replace(run, advice=advice),))


def hostile() -> Report:
    """A report in which everything that a file or a folder can name is hostile."""
    finding = Finding("X0", HOSTILE, "error", HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    bad = file(
        RUN / HOSTILE / "checkpoint.pt",
        finding,
        not_checked=(NotChecked(HOSTILE, HOSTILE, HOSTILE),),
        root={HOSTILE: 1},
    )
    facts = TimeLLMFacts(
        lradj=Evidence(HOSTILE, HOSTILE), log=Evidence(Path(HOSTILE), HOSTILE), contradictions=(HOSTILE,)
    )
    made = report(bad, findings=(finding,), facts=facts, path=RUN / HOSTILE)
    passed = (PassedOver(Path(HOSTILE), HOSTILE, "F101", HOSTILE),)
    advice = Advice("none", RUN / HOSTILE, Path(HOSTILE), HOSTILE, "step 1", (HOSTILE,), (HOSTILE,), passed, (HOSTILE,))
    return replace(made, runs=(replace(made.runs[0], advice=replace(advice, reason=HOSTILE)),))


def hostile_migration() -> MigrationResult:
    """What a migration of it says."""
    edit = Edit((HOSTILE,), HOSTILE, HOSTILE, HOSTILE)
    return MigrationResult(
        RUN / HOSTILE, "refused", (edit,), (Refusal(HOSTILE, HOSTILE, HOSTILE),), HOSTILE, notes=(HOSTILE,)
    )


def hostile_curve() -> Curve:
    """What there is to draw of it."""
    path = RUN / HOSTILE / HOSTILE / "checkpoint.pt"
    points = ((0.0, 1e-3, 1e-4), (5.0, float("inf"), 1e-4), (9.0, 1e-3, 1e-4))
    return Curve(
        RUN / HOSTILE,
        rates=((0.0, 1e-4), (9.0, 1e-4)),
        places={path: 0.0},
        departures=(Departure(path, points),),
        losses=((1.0, 0.5), (2.0, 0.25)),
        loss=HOSTILE,
        best=2.0,
    )


def placed(judged: Report) -> list[Located]:
    """All findings of a report, each with its place."""
    return [item for run in judged.runs for item in located(run)]


NOTE = Finding("L305", "device-bound", "info", "tensors are tagged cuda:0", "")
[WEIGHTS] = report(
    file(RUN / "weights.pt", NOTE, role=None, container="safetensors", layout="state-dict", resume="not judged")
).runs
FOREIGN = replace(WEIGHTS, run=replace(WEIGHTS.run, trainer=""))
"""The run of a file that no known trainer wrote."""


def flat(printed: str) -> str:
    """Text without its line breaks."""
    return " ".join(printed.split())


def shown(planned: ResumePlan, facts: TimeLLMFacts = PATIENT, **changes: object) -> str:
    """What a check of a file with this plan prints."""
    return " ".join(check(report(file(RUN / "checkpoint", plan=planned, **changes), facts=facts)).split())
