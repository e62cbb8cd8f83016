"""The training command of a run: as `training_args.bin` has it, and the facts that a person can give of the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

from ckpt_doctor.reports.text import integer
from ckpt_doctor.trainers.shared_facts import LEARNING_RATE
from ckpt_doctor.types import Checkpoint, Count, Evidence, Fact, Facts, Number, NumpyScalar, Opaque, Run
from ckpt_doctor.types.record import record

ARGUMENTS = "training_args.bin"
_LENGTH = ("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps")
_RATE = ("learning_rate", "optim", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio")
_BEST = ("metric_for_best_model", "greater_is_better", "eval_strategy", "evaluation_strategy", "save_strategy")
RESTORE = "restore_callback_states_from_checkpoint"
_RESUME = (RESTORE, "fp16", "save_only_model", "ignore_data_skip", "eval_on_start")
_ORDER = ("train_sampling_strategy", "group_by_length", "accelerator_config", "dataloader_persistent_workers")
_RUN = (*_LENGTH, *_RATE, "seed", "data_seed")
_KEPT = frozenset((*_RUN, *_BEST, *_RESUME, *_ORDER))
"""What is looked at. `hub_token` and its like lie beside these and are never taken out."""
_MOST = 1e15


@record(frozen=True)
class Command:
    """The saved command; empty where there is none that can be read."""

    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The text of an argument; empty where it has none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """The number of an argument; None for one that no command has (NaN, beyond `_MOST`)."""
        value = self.values.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not -_MOST < value < _MOST:
            return None
        return value

    def count(self, name: str) -> int | None:
        """The whole number above 0 of an argument."""
        value = self.values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST else None

    def is_on(self, name: str) -> bool:
        """Whether a switch is known to be on."""
        return self.values.get(name) is True

    @property
    def accumulation(self) -> int:
        """Batches to an optimizer step."""
        return self.count("gradient_accumulation_steps") or 1

    @property
    def kwargs(self) -> Mapping[Any, Any]:
        """`lr_scheduler_kwargs`."""
        value = self.values.get("lr_scheduler_kwargs")
        return value if isinstance(value, dict) else {}

    @property
    def metric(self) -> str:
        """The key of `log_history` by which the best model is chosen; empty where no best is kept."""
        name = self.text("metric_for_best_model")
        return name if name.startswith("eval_") or not name else f"eval_{name}"

    @property
    def is_greater_better(self) -> bool | None:
        """Whether a higher metric is better; as `TrainingArguments.__post_init__` sets it where it is not given."""
        value = self.values.get("greater_is_better")
        if isinstance(value, bool):
            return value
        return not self.metric.endswith("loss") if self.metric else None

    @property
    def eval_strategy(self) -> str:
        """`no`, `steps` or `epoch`; before 4.41 under another name."""
        return self.text("eval_strategy") or self.text("evaluation_strategy")

    @property
    def evaluates_after(self) -> bool:
        """Whether an epoch is evaluated after the save at its last step: the one by epochs, the other by steps."""
        return self.eval_strategy == "epoch" and self.text("save_strategy") == "steps"

    @property
    def unseeded_order(self) -> str:
        """What lets torch's own random state deal the order of each epoch; empty where a seed of its own does."""
        strategy, config = self.text("train_sampling_strategy") or "random", self.values.get("accelerator_config")
        if strategy == "group_by_length" or self.is_on("group_by_length"):
            return "group_by_length"
        unseeded = isinstance(config, dict) and config.get("use_seedable_sampler") is False
        return "use_seedable_sampler=False" if unseeded and strategy == "random" else ""

    def warmup(self, total: int) -> int | None:
        """`TrainingArguments.get_warmup_steps`: steps, or a share of all (5.x in one argument, 4.x in two)."""
        steps, share = self.number("warmup_steps"), self.number("warmup_ratio")
        if steps is None:
            return None
        if steps >= 1 or (steps == 0 and not share):
            return int(steps)
        return math.ceil(total * (steps or share or 0))

    def is_of_one_run(self, other: Command) -> bool:
        """Whether two commands may be of one run: where both are known, they train alike."""
        if not self.values or not other.values:
            return True
        return all(self.values.get(name) == other.values.get(name) for name in _RUN)


NOTHING = Command()


def command_in(checkpoint: Checkpoint) -> Command:
    """The command that a checkpoint of several files was saved under."""
    root = checkpoint.get(ARGUMENTS)
    if not isinstance(root, Opaque):
        return NOTHING
    state = next((state for state in root.states if isinstance(state, dict)), {})
    return Command({key: _plain(value) for key, value in state.items() if key in _KEPT})


def _plain(value: object) -> object:
    """A member of an enum by its value, a config by its fields, and a number of numpy's by what it is."""
    if isinstance(value, Opaque):
        args = value.args
        if value.states:
            return value.states[0]
        return args[0] if isinstance(args, tuple) and len(args) == 1 else None
    return value.value if isinstance(value, NumpyScalar) else value


# --- facts -----------------------------------------------------------------------------------------------------------

NUM_TRAIN_EPOCHS = Fact(
    "num_train_epochs",
    Number(0, above=True),
    "The --num_train_epochs of the resume command.",
    lambda n: f"{n:g} epoch{'' if n == 1 else 's'}",
)
MAX_STEPS = Fact("max_steps", Count(), "The --max_steps of the resume command.", lambda n: f"{integer(n)} steps")
BATCH_SIZE = Fact(
    "per_device_train_batch_size",
    Count(),
    "The --per_device_train_batch_size of the resume command.",
    lambda n: f"batch size {integer(n)}",
)
ACCUMULATION = Fact(
    "gradient_accumulation_steps",
    Count(),
    "The --gradient_accumulation_steps of the resume command.",
    lambda n: f"{integer(n)} batches per step",
    lambda evidence: evidence.given or evidence.value != 1,
)
TABLE = (NUM_TRAIN_EPOCHS, MAX_STEPS, BATCH_SIZE, ACCUMULATION, LEARNING_RATE)
"""In the order in which reports show them."""


@record(frozen=True)
class HFFacts(Facts):
    """The facts of one run of the Trainer."""

    table: ClassVar[tuple[Fact, ...]] = TABLE

    num_train_epochs: Evidence[float] | None = None
    max_steps: Evidence[int] | None = None
    per_device_train_batch_size: Evidence[int] | None = None
    gradient_accumulation_steps: Evidence[int] | None = None


def facts_of(run: Run) -> HFFacts:
    """The facts of a run of this trainer."""
    assert isinstance(run.facts, HFFacts), "understand() made them"
    return run.facts
