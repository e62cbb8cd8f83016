"""What reports say in a trainer's own terms: its facts, its options, its columns, what it does on a resume.

No other module here knows them. In JSON v1 they are promised names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ckpt_doctor.reports import text
from ckpt_doctor.types import Evidence, Facts, FileReport, ResumePlan, RunReport

# --- the facts of the training command --------------------------------------------------------------------------------

FACTS = (
    "steps_per_epoch",
    "train_epochs",
    "lradj",
    "learning_rate",
    "pct_start",
    "patience",
    "shuffle",
    "world_size",
    "log",
)
"""Those of which JSON v1 names the source."""
RUN_FACTS = ("lradj", "steps_per_epoch", "train_epochs")
"""Those of which JSON v1 has the value, in each run."""
OPTIONS = ("steps_per_epoch", "train_epochs", "lradj", "learning_rate", "pct_start", "patience", "world_size")
"""Facts that are options with a value."""
SETTINGS = "pyproject.toml"
"""The source of facts that hold without an option."""


def known_facts(facts: Facts) -> tuple[tuple[str, str], ...]:
    """What is known of the training command, each fact with the place that it was taken from."""
    pairs: list[tuple[str, Evidence[Any] | None]] = []
    if facts.lradj is not None:
        pairs.append((f"lradj {facts.lradj.value}", facts.lradj))
    if facts.steps_per_epoch is not None:
        pairs.append((f"{text.integer(facts.steps_per_epoch.value)} steps per epoch", facts.steps_per_epoch))
    if facts.train_epochs is not None:
        pairs.append((f"{text.integer(facts.train_epochs.value)} epochs", facts.train_epochs))
    if facts.learning_rate is not None:
        pairs.append((f"learning rate {text.rate(facts.learning_rate.value)}", facts.learning_rate))
    if facts.pct_start is not None and facts.pct_start.given:
        pairs.append((f"pct_start {text.rate(facts.pct_start.value)}", facts.pct_start))
    if facts.patience is not None:
        pairs.append((f"patience {text.integer(facts.patience.value)}", facts.patience))
    if facts.shuffle is not None:
        pairs.append(("shuffled" if facts.shuffle.value else "not shuffled", facts.shuffle))
    if facts.world_size is not None and (facts.world_size.given or facts.world_size.value != 1):
        n = facts.world_size.value
        pairs.append(("1 process" if n == 1 else f"{text.integer(n)} processes", facts.world_size))
    known = [(name, evidence.source) for name, evidence in pairs if evidence is not None]
    if facts.lradj is None and facts.lradj_candidates:
        known.insert(0, ("lradj not settled", " or ".join(facts.lradj_candidates)))
    if facts.log is not None:
        known.append(("log", nearest(facts.log.value)))
    return tuple((text.clean(name), text.clean(source)) for name, source in known)


def nearest(path: Path) -> str:
    """A path as seen from the working folder, where that is shorter."""
    return min(os.fspath(path), os.path.relpath(path), key=len)


def given_options(facts: Facts) -> list[str]:
    """`--lradj TST` for each fact that was given with the call."""
    words = []
    for name in OPTIONS:
        fact = getattr(facts, name)
        if fact is not None and fact.given and fact.source != SETTINGS:
            words += [f"--{name.replace('_', '-')}", text.quoted(fact.value)]
    if facts.shuffle is not None and facts.shuffle.given and facts.shuffle.source != SETTINGS:
        words.append("--shuffle" if facts.shuffle.value else "--no-shuffle")
    return words


# --- a checkpoint in a table ------------------------------------------------------------------------------------------

TRAINING = (
    "epoch",
    "global_step",
    "last_epoch",
    "step_count",
    "total_steps",
    "optimizer_step",
    "lr",
    "best_score",
    "val_loss_min",
    "counter",
)
"""What of a `TrainingState` JSON v1 and `inspect` show."""


class Column(NamedTuple):
    """One column of the tables of checkpoints."""

    title: str
    cell: Callable[[FileReport], str]
    is_number: bool = False
    droppable: int = 0
    """Where the width does not suffice, the column with the highest number is left out first; 0 stays."""


def schedule(file: FileReport) -> str:
    """The scheduler's position, `idle` where an uninterrupted run never steps it."""
    state = file.member.state
    if state.last_epoch == 0 and file.resume_point.last_epoch == 0 and state.global_step:
        return "idle"
    return text.integer(state.last_epoch)


def best_score(file: FileReport) -> str:
    """EarlyStopping's memory: the score, `missing` where there should be one, `none yet` before any validation."""
    state, expected = file.member.state, file.resume_point.early_stopping
    if state.best_score is not None:
        return text.real(state.best_score)
    if any(finding.name == "missing-best-score" for finding in file.findings):
        return "missing"
    return "none yet" if expected is not None and expected.value.best_score is None else "-"


OF_A_TRAINER = (
    Column("role", lambda file: file.member.role or "-", droppable=5),
    Column("size", lambda file: text.size(file.checkpoint.size), True, 4),
    Column("epoch", lambda file: text.integer(file.member.state.epoch), True),
    Column("step", lambda file: text.integer(file.member.state.global_step), True),
    Column("schedule", schedule, True, 2),
    Column("best score", best_score, True, 3),
)
"""What matters in a file that a trainer will resume from."""
OF_ANY_FILE = (
    Column("format", lambda file: file.checkpoint.container),
    Column("holds", lambda file: file.checkpoint.layout, droppable=1),
    Column("tensors", lambda file: text.integer(len(file.checkpoint.tensors)), True, 2),
    Column("size", lambda file: text.size(file.checkpoint.size), True),
)
"""What there is to say of a file that no known trainer wrote."""


def is_of_a_trainer(run: RunReport) -> bool:
    """Whether a known trainer wrote some of the run's files, or would have put them there."""
    return bool(run.run.trainer) or any(file.member.role for file in run.files)


def columns(run: RunReport) -> tuple[Column, ...]:
    """The columns that say something of the files of a run, between their names and what comes of them."""
    return OF_A_TRAINER if is_of_a_trainer(run) else OF_ANY_FILE


def outcomes(run: RunReport) -> tuple[Column, ...]:
    """The columns that say what comes of the files: the last is the verdict, in a word."""
    verdict = Column("verdict", lambda file: file.outlook)
    return (Column("resume", lambda file: file.resume), verdict) if is_of_a_trainer(run) else (verdict,)


def notes_title(run: RunReport, paths: Iterable[Path]) -> str:
    """What stands above the findings that call for nothing: what they do to a resume only where that is judged."""
    judged = run.run.trainer and not set(run.run.unjudged).intersection(paths)
    return "worth knowing, with no effect on the trainer's resume" if judged else "worth knowing"


def label(file: FileReport, run: Path) -> str:
    """What a file is called within its run: `checkpoint`, `checkpoint_step_17000`, `sub/model.safetensors`."""
    path = file.checkpoint.path
    if file.member.role == "step" and path.parent != run:
        path = path.parent
    if path.is_relative_to(run):
        path = path.relative_to(run)
    return text.clean(path if path.name else file.checkpoint.path.name)


# --- what the trainer does on a resume --------------------------------------------------------------------------------

PLAN = (
    "start_epoch",
    "skip_batches",
    "global_step",
    "next_lr",
    "next_lr_uninterrupted",
    "best_score",
    "counter",
    "steps_left",
    "flags",
)
"""What of a `ResumePlan` JSON v1 has."""
SAVED_BY = {"best": "saved by EarlyStopping", "step": "saved by save_steps", None: ""}


def about(file: FileReport) -> str:
    """`saved by save_steps at step 18,000, 3.1 GiB`."""
    step = file.member.state.global_step
    saved = SAVED_BY[file.member.role] or f"{file.checkpoint.container}, {file.checkpoint.layout}"
    where = f" at step {text.integer(step)}" if step is not None else ""
    return f"{saved}{where}, {text.size(file.checkpoint.size)}"


def sentences(file: FileReport, facts: Facts) -> list[str]:
    """What the trainer will do, one clause each; what the facts do not settle is said to be open."""
    plan = file.plan
    if plan is None or file.member.state.epoch is None:
        return []
    return [
        start(plan, facts),
        learning_rate(file, plan),
        early_stopping(file, plan, facts),
        *([f"has {text.integer(plan.steps_left)} steps left"] if plan.steps_left is not None else []),
        exactness(file, plan),
    ]


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where it begins. Epochs count from 0 in the trainer's arguments and files, from 1 in its log."""
    if plan.start_epoch is None:
        return "starts in its epoch or in the next one: give --steps-per-epoch"
    epoch = plan.start_epoch
    of = f" of {text.integer(facts.train_epochs.value)}" if facts.train_epochs is not None else ""
    log = f" (epoch {text.integer(epoch + 1)} in the log)"
    if plan.skip_batches is None:
        skip = "how many batches it skips is open: give --steps-per-epoch"
    elif plan.skip_batches == 0:
        skip = "skips no batches"
    else:
        of_batches = f" of {text.integer(facts.steps_per_epoch.value)}" if facts.steps_per_epoch is not None else ""
        skip = f"skips {text.integer(plan.skip_batches)}{of_batches} batches"
    return f"starts at epoch {text.integer(epoch)}{of}{log} and {skip}"


def learning_rate(file: FileReport, plan: ResumePlan) -> str:
    """The first rate, and where in the schedule that is."""
    if plan.next_lr is None and any(finding.code == "O702" for finding in file.findings):
        return "takes the first learning rate of a new optimizer"
    if plan.next_lr is None:
        return "takes a first learning rate that the facts do not settle"
    if plan.next_lr_uninterrupted is None:
        beside = "; what the uninterrupted run has is open"
    elif plan.next_lr == plan.next_lr_uninterrupted:
        beside = ", as the uninterrupted run does"
    elif text.rate(plan.next_lr) == text.rate(plan.next_lr_uninterrupted):
        beside = f" ({plan.next_lr!r}), where the uninterrupted run has {plan.next_lr_uninterrupted!r}"
    else:
        beside = f", where the uninterrupted run has {text.rate(plan.next_lr_uninterrupted)}"
    state = file.member.state
    position = ""
    if state.last_epoch is not None and (state.last_epoch or file.resume_point.last_epoch):
        of = f" of {text.integer(state.total_steps)}" if state.total_steps is not None else ""
        position = f" (position {text.integer(state.last_epoch)}{of} in the schedule)"
    return f"uses learning rate {text.rate(plan.next_lr)}{beside}{position}"


def early_stopping(file: FileReport, plan: ResumePlan, facts: Facts) -> str:
    """What EarlyStopping remembers."""
    if plan.best_score is None:
        expected = file.resume_point.early_stopping
        if expected is not None and expected.value.best_score is None:
            return "knows no validation loss yet, as it should before the first validation"
        return "remembers no best validation loss (best_score is missing)"
    if facts.generation is not None and facts.generation.value == "first-patch":
        return (
            f"forgets the best validation loss, which the file has ({text.real(-plan.best_score)}): the run's own "
            "trainer, the first patch, does not read best_score"
        )
    best = f"remembers best validation loss {text.real(-plan.best_score)}"
    if plan.counter is None:
        return best
    patience = f" of {text.integer(facts.patience.value)}" if facts.patience is not None else ""
    return f"{best}, {text.integer(plan.counter)}{patience} epochs without improvement since"


def exactness(file: FileReport, plan: ResumePlan) -> str:
    """Whether the losses will be those of the uninterrupted run to the last bit."""
    if plan.why_not_exact:
        return f"does not continue bit for bit: {'; '.join(map(text.clean, plan.why_not_exact))}"
    if file.resume == "identical":
        inside = " (dropout, where the model has any, draws other noise within an epoch)" if plan.skip_batches else ""
        return f"can continue bit for bit: nothing in the file speaks against it{inside}"
    if file.resume == "open":
        return "may continue bit for bit or not: that depends on what is open"
    return "does not continue bit for bit as it is: the findings below say why"


def landing(file: FileReport, plan: ResumePlan) -> tuple[tuple[str, str, str], ...]:
    """What a resume begins with, from the file as it is and from the repaired one: `(name, now, repaired)`."""
    resume = file.resume_point
    stopping = resume.early_stopping.value if resume.early_stopping else None
    best = None if stopping is None or stopping.best_score is None else -stopping.best_score
    now = None if plan.best_score is None else -plan.best_score
    rate = resume.lr[0] if resume.lr else None
    return (
        ("starts in epoch", text.integer(plan.start_epoch), text.integer(resume.start_epoch)),
        ("skips batches", text.integer(plan.skip_batches), text.integer(resume.skip_batches)),
        ("first learning rate", text.rate(plan.next_lr), text.rate(rate)),
        ("best validation loss", text.real(now, "none"), text.real(best, "none" if stopping else "-")),
    )
