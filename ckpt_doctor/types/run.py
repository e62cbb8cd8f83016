"""A training run: its checkpoints, what is known of its command, and where a resume must land."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from ckpt_doctor.types.checkpoint import Checkpoint, NotChecked
from ckpt_doctor.types.edit import Edit
from ckpt_doctor.types.facts import Evidence, Facts
from ckpt_doctor.types.record import briefly, record
from ckpt_doctor.types.values import KeyPath, TensorRef, dotted, mapping_of

ReadScalars = Callable[[Checkpoint, "list[TensorRef]"], "list[float | bytes | None]"]
"""Gives the values of tensors of one element, the bytes of a random state; None for what it cannot read."""
Role = Literal["best", "step"]


@record(frozen=True)
class TrainingState:
    """What a checkpoint says about the progress of training, in plain Python numbers; None where absent."""

    epoch: int | None = None
    global_step: int | None = None
    scheduler: Literal["OneCycleLR", "CosineAnnealingLR", "other"] | None = None
    last_epoch: int | None = None
    step_count: int | None = None
    total_steps: int | None = None
    optimizer_step: int | None = None
    """Adam's `step`, where all parameters agree and its bytes are readable."""
    lr: float | None = None
    """Of param group 0."""
    beta1: float | None = None
    best_score: float | None = None
    val_loss_min: float | None = None
    counter: int | None = None


@record(frozen=True)
class EarlyStoppingState:
    """EarlyStopping between two epochs (trainer-side `best_score`, `val_loss_min`, `counter`)."""

    best_score: float | None = None
    val_loss_min: float | None = None
    counter: int = 0


@record(frozen=True)
class Rates:
    """What the optimizer's param groups and the scheduler hold at one moment, one value per param group."""

    lr: tuple[float, ...]
    beta1: tuple[float, ...] | None
    """Adam's `betas[0]`, or the momentum of an optimizer without betas; None where the schedule leaves it alone."""
    last_lr: tuple[float, ...]
    """The scheduler's `_last_lr`."""


@record(frozen=True)
class ResumePoint:
    """The state that an uninterrupted run has when it begins the batch where the trainer will resume.

    A field is None when the facts do not settle it; `unsettled` then says what would.
    """

    start_epoch: int | None = None
    """0-based epoch in which the trainer starts."""
    skip_batches: int | None = None
    global_step: int | None = None
    last_epoch: int | None = None
    """Of the scheduler; 0 in the idle modes."""
    lr: tuple[float, ...] | None = None
    """Per param group, for the first batch after the resume."""
    beta1: tuple[float, ...] | None = None
    last_lr: tuple[float, ...] | None = None
    """The scheduler's `_last_lr`."""
    early_stopping: Evidence[EarlyStoppingState] | None = None
    why_unknown: str = ""
    """Why `early_stopping` is not known, where the log, or what keeps it from being taken, says so."""
    disagreement: str = ""
    """Two sources that give different EarlyStopping states, in one clause; empty when all agree."""
    finished_epochs: int | None = None
    """Epochs whose validation belongs before the resume point."""
    epoch: int | None = None
    """The value of the file's `epoch` key that makes the trainer start there."""
    flags: tuple[str, ...] = ()
    """What the resume command must carry: `("--learning_rate", "4e-06")`."""
    base_lr: float | None = None
    """Idle modes: the base rate of the uninterrupted run (OneCycleLR's initial rate)."""
    unsettled: Mapping[str, str] = field(default_factory=dict)
    """Field -> the option or file that would settle it; `data`: in which order the data come."""
    begins_at_step: bool = False
    """Whether the trainer counts no epochs: it starts at `global_step`."""

    @property
    def begins(self) -> int | None:
        """The epoch, or the step where the trainer counts these, that the resume begins with."""
        return self.global_step if self.begins_at_step else self.start_epoch


@record(frozen=True)
class ResumePlan:
    """What the trainer will do, and what the uninterrupted run would: the body of `check`."""

    start_epoch: int | None
    skip_batches: int | None
    global_step: int | None
    next_lr: float | None
    """The rate of the first batch after the resume, from the file as it is."""
    next_lr_uninterrupted: float | None
    best_score: float | None
    counter: int | None
    steps_left: int | None
    flags: tuple[str, ...] = ()
    why_not_exact: tuple[str, ...] = ()
    open: tuple[NotChecked, ...] = ()
    """What the resume depends on and no file shows."""
    start_elsewhere: tuple[int, int] | None = None
    """Epoch and batches to skip with a trainer that reads `best_score`, where the run's own trainer does not read it
    and starts elsewhere."""
    begins_at_step: bool = False
    """As of the resume point."""

    @property
    def begins(self) -> int | None:
        """The epoch, or the step where the trainer counts these, that the resume begins with."""
        return self.global_step if self.begins_at_step else self.start_epoch


@record(frozen=True)
class Upgrade:
    """What is beside the model once a bare state_dict is a training checkpoint; or why it cannot become one."""

    values: Mapping[str, Evidence[object]] = field(default_factory=dict)
    """Key -> value and where it comes from, in the order in which they are written."""
    refusal: str = ""
    """Why there is not enough evidence; empty when there is."""
    settle: str = ""
    """What to give then."""
    notes: tuple[str, ...] = ()
    donor: Checkpoint | None = None
    """The file that the tensors among the values lie in."""


@record(frozen=True)
class LateRandomState:
    """A `rng_state` that was taken when this epoch's order had already been drawn, and what would take its place."""

    why: str
    """What happened between the epoch's beginning (or the next one's) and the save, in one clause."""
    cure: Evidence[object] | None = None
    """The value that gives the uninterrupted run's order; None where no file holds it."""
    donor: Checkpoint | None = None
    """The file that the value's tensors lie in."""


@record(frozen=True)
class OpenFact:
    """A fact of the training command that is not settled, and on which the resume depends."""

    name: str
    """`the steps per epoch (--steps-per-epoch)`."""
    candidates: tuple[tuple[str, str], ...]
    """What it can be, and what follows for the resume then."""
    settle: str
    """The option that settles it."""


Places = Mapping[str, KeyPath]
"""Slot -> key path, for `model, optimizer, scheduler, scaler, rng, epoch, step, best, best_loss, patience` and a
trainer's own slots; in a unit of several files a path begins with the part's name."""


@record(frozen=True)
class Member:
    """A checkpoint as part of a run."""

    checkpoint: Checkpoint
    state: TrainingState
    role: Role | None
    named_step: int | None = None
    """The step that the name of its folder, or its own, says."""
    right_name: str = ""
    """What that name would be for the step that the checkpoint holds."""
    places: Places = field(default_factory=dict)
    """Where the trainer keeps each slot; a slot that it does not have is absent."""
    own_label: str = ""
    """The checkpoint's name within its run, where that is not the path's last part."""
    further: tuple[tuple[TrainingState, Places], ...] = ()
    """Of a checkpoint with several optimizers, the state and the slots of each after the first, with its schedule."""

    __repr__ = briefly

    @property
    def optimizers(self) -> tuple[Member, ...]:
        """The checkpoint once for each optimizer, with the slots of that one and of its schedule; itself first."""
        return (self, *self._others)  # kept with itself it would live on, and all that was read, until a collection

    @cached_property
    def _others(self) -> tuple[Member, ...]:
        return tuple(replace(self, state=state, places=places, further=()) for state, places in self.further)

    @property
    def label(self) -> str:
        """The checkpoint's name within its run: `epoch_3.pt`."""
        return self.own_label or self.checkpoint.path.name

    def path(self, slot: str, *path: str | int) -> KeyPath:
        """The key path of a slot, or of something below it: `("optimizer", "param_groups", 0)`.

        Of a slot that the trainer does not have it begins with the slot's own name, where nothing is."""
        place = self.places.get(slot, (slot,))
        return (*place, *path) if path else place

    def at(self, slot: str, *path: str | int) -> object:
        """What the checkpoint has in a slot, or below it; None where it has nothing, or the trainer no such slot."""
        place = self.places.get(slot)
        return None if place is None else self.checkpoint.get(*place, *path)

    def has(self, slot: str) -> bool:
        """Whether the slot's key is in the checkpoint, whatever its value."""
        if slot not in self.places:
            return False
        *above, key = self.places[slot]
        parent = self.checkpoint.get(*above)
        held = mapping_of(parent)
        keys = range(len(parent)) if held is None and isinstance(parent, (list, tuple)) else held or ()
        return key in keys


@record(frozen=True)
class Run:
    """One run folder: its checkpoints, its log, and what they say of the training command."""

    path: Path
    trainer: str
    """Name of the trainer whose format this is; empty when none recognises it."""
    members: tuple[Member, ...]
    facts: Facts = field(default_factory=Facts)
    unjudged: tuple[Path, ...] = ()
    """Files in the same place that are none of the trainer's or could not be read to the end."""
    history: object = None
    """The run's part of its log, in the trainer's own terms."""
    not_checked: tuple[NotChecked, ...] = ()
    """What near the run was not looked at."""
    by_shape: bool = False
    """Whether the rules for everyone's files hold for these, although a trainer owns them."""
    claimed: str = ""
    """Name of the trainer for which a person claims the files (`--trainer`)."""
    logs: tuple[Path, ...] = ()
    """Those that a person named."""
    placed: Mapping[str, Collection[Path]] = field(default_factory=dict, compare=False)
    """Name of a known trainer -> the files that lie here where it puts its checkpoints; empty without bare weights."""
    marked: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Name of a text file or link here -> the checkpoint that it names as the last; empty for a trainer with others."""
    others: tuple[Member, ...] = field(default=(), compare=False)
    """Those in the same place that are not members; none of a trainer with rules of its own for what goes together."""

    __repr__ = briefly

    def owns(self, path: Path) -> bool:
        """Whether the checkpoint at a path is one of the members."""
        return path in self._paths

    @cached_property
    def _paths(self) -> frozenset[Path]:
        return frozenset(member.checkpoint.path for member in self.members)


@record(frozen=True)
class Schedule:
    """What is known of the learning-rate schedule of a run, apart from the position of a checkpoint in it."""

    builds: tuple[str, ...] = ()
    """The scheduler classes that the trainer may build; empty where any may be right."""
    moves: bool | None = None
    """Whether the trainer steps the scheduler; None: not known."""
    unit: Literal["step", "epoch"] = "step"
    """What one step of the scheduler belongs to."""
    anew: str = "the rate starts at its beginning again"
    """What a fresh scheduler does to the run, as the end of a sentence."""
    evidence: str = ""
    """Where the position and the rates of the resume point come from."""
    doubt: str = ""
    """What else looks like a rate that is not the schedule's, as the end of a sentence."""
    why_behind: str = ""
    """Why a checkpoint that is saved as the trainer saves it lags, as the end of a sentence."""


@record(frozen=True)
class Case:
    """All that a rule or a migration may look at: one checkpoint in its run."""

    checkpoint: Checkpoint
    member: Member
    run: Run
    resume: ResumePoint
    plan: ResumePlan | None = None
    """What the trainer will do with the file; None when it cannot resume from it."""
    schedule: Schedule = field(default_factory=Schedule)
    scheduled: Rates | None = None
    """The rates that the file's own schedule position calls for; None when the schedule is not known or the file lacks
    the means."""
    reads: tuple[KeyPath, ...] = ()
    """What the trainer, or a `load_state_dict` that it calls, reads without a default."""
    why_open: Mapping[str, str] = field(default_factory=dict)
    """Option -> why what it settles is not known, in one clause."""
    next_step_fails: str = ""
    """Why the scheduler's next step, computed from the file, raises or leaves its curve; empty where it does not."""
    upgrade: Upgrade | None = None
    """For a bare state_dict of a run: what its upgrade would write."""
    late_random_state: LateRandomState | None = None
    open_facts: tuple[OpenFact, ...] = ()
    diverged: str = ""
    """What in the file shows that an earlier resume had left the uninterrupted run's path; empty where nothing does."""
    loads_bare: bool = False
    """Whether the trainer loads the weights into a model that is not wrapped, and refuses other keys."""
    maps_to_cpu: bool = False
    """Whether the trainer loads every tensor to the CPU first, wherever it was saved."""
    judged: frozenset[str] = frozenset()
    """Codes of shared rules whose subject is judged elsewhere: by the trainer's own rules, or for the whole unit."""
    changes: tuple[tuple[str, KeyPath, object], ...] | None = None
    """What the schedule's move to the resume point changes: slot, path below it, value. None where the position, the
    rates and beta1 of the resume point are all that moves."""
    trains_all: bool = True
    """Whether every parameter of the optimizer is trained in every step. Where nobody knows (frozen layers, layers that
    join late), a parameter without state or with fewer steps is worth a note."""
    written_anew: Mapping[str, str] = field(default_factory=dict)
    """Of a unit, parts that cannot be read -> the fix that writes the part anew from other evidence."""
    further: tuple[Case, ...] = ()
    """Of a checkpoint with several optimizers, the case of each after the first: its slots are of that optimizer."""
    several: bool = False
    """Whether the checkpoint has several optimizers, of which the slots name one."""
    gate: bool = False
    """True when the question is `will the trainer resume from this very file` (check, migrate), not `what is here`."""

    @property
    def by_shape(self) -> bool:
        """Whether the rules for everyone's files hold for this one, although a trainer owns it."""
        return self.run.by_shape and self.run.owns(self.checkpoint.path)

    @property
    def optimizers(self) -> tuple[Case, ...]:
        """The case of each optimizer, its own first."""
        return (self, *self.further)

    @property
    def state(self) -> TrainingState:
        """The checkpoint's training state."""
        return self.member.state

    def path(self, slot: str, *path: str | int) -> KeyPath:
        """As `Member.path`."""
        return self.member.path(slot, *path)

    def at(self, slot: str, *path: str | int) -> object:
        """As `Member.at`."""
        return self.member.at(slot, *path)

    def has(self, slot: str) -> bool:
        """As `Member.has`."""
        return self.member.has(slot)

    def where(self, slot: str, *path: str | int) -> str:
        """The place as people write it: `optimizer.param_groups[0].lr`."""
        return dotted(self.path(slot, *path))

    def edit(self, slot: str, *path: str | int, after: object, evidence: str, before: object = ...) -> Edit:
        """Set a slot, or something below it; `before` is what is there, where the caller has no better word for it."""
        return Edit(self.path(slot, *path), self.at(slot, *path) if before is ... else before, after, evidence)
