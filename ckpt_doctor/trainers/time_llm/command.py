"""Time-LLM's training command: the table of its facts, and what is known of them in a run."""

from __future__ import annotations

from typing import ClassVar

from ckpt_doctor.reports.text import integer, rate
from ckpt_doctor.trainers.shared_facts import LEARNING_RATE, SHUFFLE, STEPS_PER_EPOCH, TRAIN_EPOCHS
from ckpt_doctor.trainers.time_llm.modes import MODES
from ckpt_doctor.types import Choice, Count, Evidence, Fact, Facts, Number, Run
from ckpt_doctor.types.record import record

LRADJ = Fact(
    "lradj",
    Choice(MODES),
    "The trainer's --lradj: who moves the learning rate, and when.",
    lambda mode: f"lradj {mode}",
)
PCT_START = Fact(
    "pct_start",
    Number(0, 1),
    "Share of OneCycleLR's steps in which the rate rises.",
    lambda share: f"pct_start {rate(share)}",
    lambda evidence: evidence.given,
)
PATIENCE = Fact("patience", Count(), "EarlyStopping's patience.", lambda n: f"patience {integer(n)}")
WORLD_SIZE = Fact(
    "world_size",
    Count(),
    "Processes that train together under Accelerate.",
    lambda n: "1 process" if n == 1 else f"{integer(n)} processes",
    lambda evidence: evidence.given or evidence.value != 1,
)
TABLE = (LRADJ, STEPS_PER_EPOCH, TRAIN_EPOCHS, LEARNING_RATE, PCT_START, PATIENCE, SHUFFLE, WORLD_SIZE)
"""In the order in which reports show them."""


def real_steps(steps_per_epoch: int, world_size: int) -> int:
    """Batches per epoch that each process trains.

    Time-LLM's training loader drops what is no whole batch, and Accelerate then drops what it can't deal out evenly
    (accelerate/data_loader.py, `BatchSamplerShard.__len__` with `drop_last`).
    """
    return max(1, steps_per_epoch // world_size)


@record(frozen=True)
class TimeLLMFacts(Facts):
    """The facts of one run of Time-LLM's trainer."""

    table: ClassVar[tuple[Fact, ...]] = TABLE

    lradj: Evidence[str] | None = None
    pct_start: Evidence[float] | None = None
    base_lr: Evidence[float] | None = None
    """OneCycleLR's initial rate (`max_lr / 25`), the base of an uninterrupted idle run, as its log printed it."""
    generation: Evidence[str] | None = None
    """`legacy`, `first-patch` or `complete`: which trainer will resume."""
    least_steps: int = 1
    """Steps per epoch and process that the run's files show at least, while `steps_per_epoch` is None."""
    world_size_open: bool = False
    """Whether the files rule one process out, or more than one is likelier: then nothing is computed from a guess."""
    other_lengths: tuple[tuple[int, int], ...] = ()
    """(steps per epoch, processes) of several processes that the evidence allows while `world_size` is None."""

    @property
    def mode(self) -> str | None:
        """The value of `--lradj`; None where it is not settled."""
        return self.lradj.value if self.lradj else None

    @property
    def modes(self) -> tuple[str | None, ...]:
        """The values that `--lradj` can have; None alone where nothing tells."""
        return (self.lradj.value,) if self.lradj else self.candidates.get("lradj") or (None,)

    @property
    def may_be_several(self) -> bool:
        """Whether the evidence allows several processes where it does not tell how many there are."""
        return bool(self.other_lengths)

    @property
    def real_steps(self) -> int | None:
        """Batches per epoch that each process trains; None where the loader's length is not known."""
        return real_steps(self.steps_per_epoch.value, self.processes) if self.steps_per_epoch else None

    @property
    def is_complete(self) -> bool:
        """Whether the complete trainer is known to resume: it reads `best_score` and counts finished epochs itself."""
        return self.generation is not None and self.generation.value == "complete"

    @property
    def is_first_patch(self) -> bool:
        """Whether the trainer of the first patch is known to resume: it does not read `best_score`."""
        return self.generation is not None and self.generation.value == "first-patch"


def facts_of(run: Run) -> TimeLLMFacts:
    """The facts of a run of this trainer."""
    assert isinstance(run.facts, TimeLLMFacts), "understand() made them"
    return run.facts
