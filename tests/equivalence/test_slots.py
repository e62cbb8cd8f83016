"""Whatever a slot of the file holds: what the trainer does not survive does not pass the gate, and its own values do.

Hostile values are put into every slot of `validators.slots`, one at a time, in a file that continues identically; then
the trainer resumes from it, and its steps are compared with those from the untouched file.
"""

from __future__ import annotations

import copy
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_trace import Trace

from ckpt_doctor import facts
from ckpt_doctor.audit import check
from ckpt_doctor.repair import migrate
from ckpt_doctor.trainers.time_llm.layout import PLACES
from ckpt_doctor.types import Finding, Given
from ckpt_doctor.validators.slots import DICT, SLOTS, Slot, places
from tests.equivalence import harness
from tests.sampled import sampled

NAN, INF = math.nan, math.inf
HUGE = 10**400


def place_name(slot: str) -> str:
    """Where this trainer keeps a slot: `rng_state.torch` for `rng.torch`."""
    first, dot, rest = slot.partition(".")
    return ".".join(PLACES[first]) + dot + rest if first in PLACES else slot


KINDS = {"TST": "mid-epoch", "COS": "epoch-end", "type1": "mid-epoch"}
NAMES = tuple(dict.fromkeys(place_name(slot.name) for slot in SLOTS))
CYCLED = tuple(
    f"optimizer.param_groups[*].{key}" for key in ("max_lr", "min_lr", "initial_lr", "base_momentum", "max_momentum")
)
BESIDE = (
    "scheduler.cycle_momentum",
    "scheduler.use_beta1",
    "scheduler._get_lr_called_within_step",
)
"""Places that no slot of the table has, or only while a schedule reads them."""
OF_OTHER_OPTIMIZERS = frozenset(
    [
        *(
            f"optimizer.param_groups[*].{name}"
            for name in ("alpha", "dampening", "lambd", "lr_decay", "momentum", "momentum_decay", "nesterov", "rho")
        ),
        *(
            f"optimizer.state[*].{name}"
            for name in ("acc_delta", "exp_inf", "grad_avg", "max_exp_avg_sq", "momentum_buffer", "square_avg")
        ),
        "rng_state.cuda[*]",
    ]
)
"""Places that no file of this trainer has, with Adam and on the CPU: `tests/validators/test_values.py` has them."""
OF_ONE_CYCLE = frozenset(
    [
        *(f"optimizer.param_groups[*].{name}" for name in ("base_momentum", "max_lr", "max_momentum", "min_lr")),
        "scheduler._schedule_phases[*]",
        *(
            f"scheduler._schedule_phases[*].{name}"
            for name in ("end_lr", "end_momentum", "end_step", "start_lr", "start_momentum")
        ),
    ]
)
"""Places that only OneCycleLR makes, which a run in COS does not build."""
CASES = [
    (mode, name)
    for name in sorted(
        {*NAMES, *CYCLED, *BESIDE} - OF_OTHER_OPTIMIZERS - {"scheduler.lr_lambdas[*]"}
    )  # no mode builds a LambdaLR
    for mode in KINDS
    if mode != "COS" or name not in OF_ONE_CYCLE
]

OTHER_BETAS = (0.0, 0.999)
"""Another run's: legal, and where no schedule sets them, nothing in the file says which run they are of."""
NO_GENERATOR = torch.zeros(5056, dtype=torch.uint8)
"""As large as a generator's state, with bytes that are none."""
NUMPY = np.random.RandomState(1).get_state()
POOL: tuple[Any, ...] = (
    *(None, True, False, "x", "", b"z", [], (), {}, {1, 2}, range(3), "cos"),
    *(NAN, INF, -INF, -1, -0.5, 0, 0.5, 1, 3, 140.5, HUGE, -HUGE, 1e30, -1e30, 1j),
    *(torch.tensor(NAN), torch.tensor(0.5), torch.tensor([1.0, 2.0]), torch.tensor(True), torch.tensor(1j)),
    *(torch.zeros(2, 2), torch.zeros(3, 3, dtype=torch.int64), NO_GENERATOR),
    *(np.float32(0.5), np.int8(3), np.bool_(True), np.complex128(1), np.zeros(2)),
    *(("x", 0.999), (0.9,), (0.9, 0.999, 0.9), OTHER_BETAS, (0.9, 1.0), (0.9, -0.1), [0.9, NAN]),
)


def spellings(value: Any) -> tuple[Any, ...]:
    """The same value in other types."""
    if isinstance(value, bool):
        return (int(value), np.bool_(value))
    if isinstance(value, int):
        return (float(value), np.int64(value), np.int32(value), np.float64(value), torch.tensor(value))
    if isinstance(value, float):
        return (np.float64(value), torch.tensor(value, dtype=torch.float64), torch.tensor(value))
    if isinstance(value, torch.Tensor) and value.dim() == 0:
        return (value.item(), np.float64(value.item()), value.double(), value.int(), value.view(1))
    if isinstance(value, (list, tuple)):
        return (type(value)(value), (tuple if isinstance(value, list) else list)(value))
    return ()


STRICT = {"epoch": (float, np.float64, torch.Tensor), "global_step": (float, np.float64, torch.Tensor)} | {
    "counter": (torch.Tensor,),
    "scheduler.last_epoch": (torch.Tensor,),
    "rng_state.python": (list,),
}
"""Spellings that this trainer happens to survive at this place, and are faults all the same: `range()` takes no float,
a folder's name shows one, a tensor counts in float32."""
NOT_IN_THE_FILE = {"optimizer.param_groups[*].capturable": (bool, int, np.generic, torch.Tensor), "scaler": (dict,)}
"""`capturable` is right where the parameters are on a GPU, and refused by Adam where they are on the CPU; an empty
scaler is that of a run without AMP, and refused by one with it."""


@dataclass(frozen=True)
class Base:
    """A file that continues identically, and what the trainer does with it."""

    path: Path
    argv: tuple[str, ...]
    facts: Given
    log: Path
    healthy: dict[str, Any]
    trace: Trace

    def resumed(self) -> Trace:
        """A few steps from the file, across an epoch's end."""
        return harness.trainer.run(harness.trainer.parse(self.argv), log=io.StringIO())

    def found(self) -> list[Finding]:
        """What stops the gate."""
        report = check(self.path, facts=self.facts, logs=[self.log])
        plan = report.files[0].plan
        found = [finding for finding in report.findings if finding.severity != "info"]
        errors = [finding for finding in found if finding.severity == "error"]
        assert not errors or plan is None or plan.why_not_exact, "an error, and `can continue bit for bit`"
        assert found or report.files[0].verdict == "ok"
        return found

    def outcome(self, trace: Trace) -> str:
        """`same`, `losses` (the same rates, other losses), or in which way the trainer does not survive the file."""
        if trace.error:
            return f"raises {trace.error}"
        if len(trace.steps) != len(self.trace.steps) or trace.start.global_step != self.trace.start.global_step:
            return "jumps"
        losses = [step.loss for step in trace.steps] + [epoch.vali_loss for epoch in trace.epochs]
        if not all(map(math.isfinite, losses)):
            return "NaN"
        for mine, theirs in zip(trace.steps, self.trace.steps, strict=True):
            pairs = zip((*mine.lr, *mine.beta1), (*theirs.lr, *theirs.beta1), strict=True)
            if not all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs):
                return "another rate"
        decided = [[(e.saved, e.counter, e.stopped) for e in t.epochs] for t in (trace, self.trace)]
        if decided[0] != decided[1]:
            return "decides otherwise"
        same = [step.loss for step in trace.steps] == [step.loss for step in self.trace.steps]
        return "same" if same else "losses"


@pytest.fixture(scope="module")
def bases(cells: harness.Cells, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A repaired file for each mode."""
    made: dict[str, Base] = {}

    def base(mode: str, *more: str) -> Base:
        key = " ".join((mode, *more))
        if key not in made:
            root = tmp_path_factory.mktemp("slots")
            cell = harness.copy(cells.get(harness.Spec("complete", mode, KINDS[mode])), root / "run")
            known = {"steps_per_epoch": harness.TRAIN_STEPS, "train_epochs": harness.EPOCHS, "lradj": mode}
            known |= {"patience": harness.PATIENCE, "world_size": 1, "shuffle": False}
            given = facts(**known)
            migrate([cell.path], facts=given, logs=[cell.log])
            flags = check(cell.path, facts=given, logs=[cell.log]).files[0].plan.flags
            if flags:
                given = facts(**known, learning_rate=float(flags[1]))
            argv = [*cell.argv, "--generation", "complete", "--resume_from_checkpoint", str(cell.path), *flags, *more]
            argv += ["--checkpoints", str(root / "scratch"), "--save_steps", "0"]
            argv += ["--stop-after-step", str(cell.position + (14 if mode == "COS" else 3))]
            if "--use_amp" in more:
                harness.edit(cell, lambda file: file.update(scaler=torch.amp.GradScaler("cpu").state_dict()))
            healthy = torch.load(cell.path, weights_only=False)
            args = (cell.path, tuple(argv), given, cell.log, healthy)
            made[key] = Base(*args, Base(*args, Trace()).resumed())
        return made[key]

    return base


def there(base: Base, name: str) -> tuple[tuple[Any, ...], Any] | None:
    """The last place of that name in the untouched file, and what it holds; a key that is not there yet has None."""
    parts = Slot(name, DICT, "").parts
    found = list(places(base.healthy, parts))
    if found:
        return found[-1]
    return (parts, None) if parts[0] in base.healthy and len(parts) == 2 and "*" not in parts else None


def disagreement(base: Base, name: str, value: Any, *, legal: bool = False) -> str:
    """Why tool and trainer do not agree about a value in that place; empty where they do."""
    (*above, key), _ = there(base, name) or ((name,), None)
    file = copy.deepcopy(base.healthy)
    parent: Any = file
    for step in above:
        parent = parent[step]
    if not isinstance(parent, (dict, list)):
        return ""
    parent[key] = value
    torch.save(file, base.path)
    outcome, found = base.outcome(base.resumed()), base.found()
    shown = f"{name} = {value!r:.60}: {outcome}; {[(f.code, f.message) for f in found]}"
    if outcome not in ("same", "losses") and not found:
        return f"passed: {shown}"
    return f"false alarm: {shown}" if legal and outcome == "same" and found else ""


EXAMPLES: tuple[tuple[str, Any], ...] = (
    *(("scheduler.last_epoch", value) for value in (140.5, HUGE, -1e30, torch.tensor(54), NAN, True)),
    *(("scheduler.total_steps", value) for value in (-5, NAN, None)),
    *(("scheduler._schedule_phases", value) for value in ([], [{}], {})),
    *(("scheduler._schedule_phases[*].end_step", value) for value in (NAN, 14.4 - 1, "71")),
    *(("scheduler._anneal_func_type", value) for value in (None, "sin")),
    ("scheduler.optimizer", None),
    *((f"optimizer.param_groups[*].{key}", value) for key in ("max_lr", "min_lr") for value in (None, INF, "1")),
    *(("optimizer.param_groups[*].lr", value) for value in (HUGE, torch.zeros(2), torch.tensor(NAN), True, -0.1)),
    *(("optimizer.param_groups[*].betas", value) for value in ((), ("x", 0.999), (0.9, NAN), (0.9, -0.5), (0.9, 1.0))),
    *(("optimizer.param_groups[*].eps", value) for value in (NAN, -1, "1e-8", (0.0, 1e-8))),
    *(("optimizer.param_groups[*].weight_decay", value) for value in (NAN, INF, True)),
    ("optimizer.param_groups[*].amsgrad", True),
    *(("optimizer.param_groups[*].params", value) for value in ("0123456789", [0] * 10, [[]] * 10)),
    *(("optimizer.state[*].step", value) for value in ("54", NAN, -1, torch.zeros(2))),
    *(("optimizer.state[*].step", torch.tensor(step)) for step in (0.0, 3.0, 5000.0, 1e30)),
    *(("optimizer.state[*].exp_avg", value) for value in ([], torch.zeros(7), np.zeros(2))),
    ("optimizer.state[*]", "moments"),
    ("counter", -5),
    *(("val_loss_min", value) for value in (None, "a", [], torch.tensor([1.0, 2.0]), torch.tensor([0.4]), HUGE)),
    *(("best_score", value) for value in (torch.tensor([-1.0, -2.0]), torch.zeros(0), "-0.4")),
    *(("rng_state", value) for value in ({}, [], {"python": None, "numpy": None, "torch": None})),
    *(
        ("rng_state.torch", value)
        for value in (torch.zeros(16, dtype=torch.uint8), torch.zeros(5056), NO_GENERATOR, [0])
    ),
    *(("rng_state.cuda", [torch.zeros(size, dtype=torch.uint8)]) for size in (0, 5, 5056)),
    *(("rng_state.numpy", (*NUMPY[:2], position, 0, 0.0)) for position in (625, -1)),
    ("rng_state.numpy", {"bit_generator": "MT19937", "state": {"key": NUMPY[1], "pos": 625}}),
    *(("rng_state.python", value) for value in ((3, (), None), (3, [0] * 625, None), None)),
    *(("rng_state.numpy", value) for value in (("PCG64", [0] * 624, 0, 0, 0.0), ("MT19937", [0], 0, 0, 0.0), {})),
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(*e, id=f"{e[0]}-{e[1]!r:.30}", marks=[] if n % 3 == 0 else [pytest.mark.long])
        for n, e in enumerate(EXAMPLES)
    ],
)
def test_the_gate_stops_what_the_trainer_does_not_survive(bases, name, value):
    """One example of each kind, in the mode that steps its schedule every batch."""
    assert "" == disagreement(bases("TST"), name, value)
    assert bases("TST").found()


@pytest.mark.parametrize("mode", sampled(KINDS, "COS"))
def test_an_untouched_file_passes(bases, mode):
    """As it is, and with its numbers spelled as tensors and numpy's, which the trainer takes as well."""
    base = bases(mode)
    torch.save(base.healthy, base.path)
    assert [] == base.found()
    names = ("optimizer.param_groups[*].lr", "optimizer.state[*].step", "scheduler.last_epoch", "epoch")
    told = [
        disagreement(base, name, value, legal=True)
        for name in names
        for value in spellings((there(base, name) or ((), None))[1])
        if not isinstance(value, STRICT.get(name, ()))
    ]
    assert [] == list(filter(None, told))


@pytest.mark.long
@pytest.mark.parametrize(("mode", "name"), CASES)
def test_no_value_of_any_slot_passes_that_the_trainer_does_not_survive(bases, mode, name):
    """The whole pool in every slot, and the slot's own value in other types, which must pass."""
    base = bases(mode, *(["--use_amp"] if name.startswith("scaler") else []))
    place = there(base, name)
    assert place is not None, "the sweep would pass over it in silence"
    legal = [value for value in spellings(place[1]) if not isinstance(value, STRICT.get(name, ()))]
    if not name.endswith(".lr"):  # rounded to float32 it is not the number that the rates were computed from
        legal = [value for value in legal if getattr(value, "dtype", None) != torch.float32]
    told = [disagreement(base, name, value, legal=True) for value in legal]
    hostile = [value for value in POOL if not isinstance(value, NOT_IN_THE_FILE.get(name, ()))]
    hostile = [value for value in hostile if value is not OTHER_BETAS]
    told += [disagreement(base, name, value) for value in hostile]
    assert [] == list(filter(None, told))
