"""Record what a training script does, from inside its process: one JSON row per optimizer step.

This file runs in the script's Python, which often has no ckpt_doctor: it needs the standard library and torch alone.
`start` installs the hooks, `stop` removes them. Nothing here changes what the script computes: no random number is
drawn, no graph is touched, and on an accelerator nothing is waited for between two reads of its values.

The rows, each a list whose first item names its kind (`traces.py` reads them):

    trace    format, version, rank, world size, pid, torch's version, command, working folder
    optimizer index, class, groups, parameters
    scheduler index, class
    full     optimizer, steps done, and fingerprints of all weights, the optimizer's state, the schedules, the scaler
    step     optimizer, attempt, skipped, rates, betas, losses, scale, sampled weights, random states, last batches
    late     the losses, scale, samples and skip of an earlier step, which lay on an accelerator
    iterate  loader, iteration: a loader begins anew
    schedule scheduler: it has stepped
    save, load   path, keys, counters
    restore  what `load_state_dict` was called for, class
    end      how the recording ended
"""

from __future__ import annotations

import atexit
import functools
import importlib
import itertools
import json
import os
import random
import signal
import struct
import sys
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

FORMAT, VERSION = "ckpt-doctor trace", 1
SAMPLED = 16
"""Parameters, and elements of a batch's tensor times four, of which a value is looked at in each step."""
EVERY = 100
"""Steps between two fingerprints of all weights, beside those around saves and loads."""
LATE = 50
"""Steps between two reads of the values that lie on an accelerator."""
SCALARS = 64
"""Counters of a checkpoint that a row holds at most."""
STOPPED, PROCESS_ENDED, STEPS_MADE = "stopped", "the process ended", "made its steps"
"""How a recording ends: taken back, with the process, or by the rehearsal."""
OUTSIDE = 97
"""Exit code of a process that was about to write outside its folder."""

F = TypeVar("F", bound=Callable[..., Any])
_recorder: Recorder | None = None
_hears_events = False
"""Whether this process has the audit hook, which nothing can take back: it is added once, for all recordings."""


def start(settings: dict[str, Any]) -> None:
    """Install the hooks; `settings` are those of `Recorder`. Needs torch to be imported."""
    global _recorder
    if _recorder is not None:
        raise RuntimeError("a recording is running in this process")
    _recorder = Recorder(**settings)
    try:
        _recorder.install()
    except Exception:  # another torch: what is in place already must not stay
        stop()
        raise


def stop(reason: str = STOPPED) -> str | None:
    """Remove the hooks and close the trace; the path of its file, None where no optimizer has made a step."""
    global _recorder
    recorder, _recorder = _recorder, None
    if recorder is None:
        return None
    recorder.close(reason)
    return recorder.path


def safetensors_imported(module: Any) -> None:
    """Hook `safetensors.torch`, which scripts import later than torch."""
    if _recorder is not None and not _recorder.closed:
        _recorder.install_safetensors(module)


def _hear_events() -> None:
    """Have the running recorder told of each change of a folder."""
    global _hears_events
    if not _hears_events:
        _hears_events = True
        sys.addaudithook(_on_event)


def _on_event(event: str, args: Any) -> None:
    if event in _WRITES and _recorder is not None:
        _recorder.on_write(event, args)


def _observes(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook: one that fails says so once and ends the recording; the script goes on."""

    @functools.wraps(method)
    def guarded(self: Recorder, *args: Any) -> Any:
        if not self.closed and self.pid == os.getpid():
            try:
                return method(self, *args)
            except Exception as error:  # whatever it is, it must not reach the script
                self.fail(error)
        return None

    return guarded


class _Optimizer:
    """What is remembered of one optimizer between its steps."""

    def __init__(self, optimizer: Any, index: int) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.index = index
        self.attempts = 0
        self.depth = 0
        self.before: tuple[Any, Any, Any] | None = None  # rates, betas, random states as a step began
        self.views: list[tuple[Any, int, Any]] = []
        self.asked = False  # GradScaler.step is running, and the optimizer has not been called yet


class Recorder:
    """The hooks of one process and the file that they write."""

    def __init__(
        self,
        folder: str,
        every: int = EVERY,
        control: str = "",
        stop_at: int | None = None,
        stop_after: int | None = None,
        freeze_at: int | str | None = None,
        kill: bool = False,
        inside: str = "",
        spare: str = "",
    ) -> None:
        """Settings of a recording.

        Args:
            folder: where the trace goes, one file per process.
            every: steps between two fingerprints of all weights.
            control: of a rehearsal: the folder in which its processes speak with the one that started them.
            stop_at: the step after which the process ends.
            stop_after: the same, counted from the step of the freeze.
            freeze_at: the step after which to wait until the file `go` appears in `control`; `auto`: soon after the
                first save.
            kill: die there by SIGKILL instead.
            inside: the only folder that checkpoints may be saved to.
            spare: the folder that nothing may be written to.
        """
        self.torch: Any = importlib.import_module("torch")
        self.folder, self.every, self.control = folder, every, control
        self.stop_at, self.stop_after, self.freeze_at, self.kill = stop_at, stop_after, freeze_at, kill
        self.inside, self.spare = (os.path.realpath(path) if path else "" for path in (inside, spare))
        self.pid, self.rank, self.world = os.getpid(), 0, 1
        self.fd: int | None = None
        self.path: str | None = None
        self.rows: list[tuple[Any, ...]] = []  # until the file is open
        self.closed = False
        self.undo: list[Callable[[], Any]] = []
        self.numbers = {kind: itertools.count() for kind in ("optimizer", "scheduler", "loader")}
        self.optimizers: dict[int, _Optimizer] = {}  # by id
        self.schedulers: dict[int, tuple[int, Any]] = {}  # id -> number and weak reference
        self.running: set[str] = set()  # what kinds of functions, as `around` names them
        self.scaler: Any = None
        self.loaded = self.saved = False
        self.full = True  # fingerprint everything before the next step
        self.losses: list[Any] = []
        self.scale: Any = None
        self.late: list[tuple[int, int, int, list[Any]]] = []
        self.loaders: Any = weakref.WeakKeyDictionary()
        self.batches: dict[int, list[int]] = {}
        self.unnamed: list[Any] | None = None  # the row of a save into a buffer, until its file is known

    # --- the file ----------------------------------------------------------------------------------------------------

    def write(self, *row: Any) -> None:
        """Append one row, by a single system call, so that a kill leaves whole rows."""
        if self.unnamed is not None:
            self.flush()
        if self.fd is None:
            self.rows.append(row)
        else:
            os.write(self.fd, (json.dumps(row, separators=(",", ":")) + "\n").encode())

    def open(self) -> None:
        """Open the file at the first optimizer step: until then nobody knows which processes train, and their ranks."""
        self.flush()  # or this file would name the save
        distributed = self.torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        else:
            self.rank, self.world = int(os.environ.get("RANK") or 0), int(os.environ.get("WORLD_SIZE") or 1)
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, f"rank{self.rank}-{self.pid}.jsonl")
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        rows, self.rows = self.rows, []
        version, command = str(self.torch.__version__), list(sys.argv)
        self.write("trace", FORMAT, VERSION, self.rank, self.world, self.pid, version, command, os.getcwd())
        for row in rows:
            self.write(*row)

    def close(self, reason: str) -> None:
        """Remove every hook and end the file."""
        if self.pid == os.getpid() and not self.closed:
            self.settle()
            if self.fd is not None:
                self.write("end", reason)
                os.close(self.fd)
        self.closed = True
        for take_back in reversed(self.undo):
            take_back()
        self.undo = []

    def fail(self, error: Exception) -> None:
        """Stop recording, and say why, once."""
        self.closed = True
        message = f"{type(error).__name__}: {error}"
        print("ckpt-doctor: recording stopped: " + message, file=sys.stderr)
        if self.fd is not None:
            os.write(self.fd, (json.dumps(["end", "failed: " + message]) + "\n").encode())

    # --- installing --------------------------------------------------------------------------------------------------

    def replace(self, owner: Any, name: str, make: Callable[..., Any]) -> None:
        """Put `make(original)` in the place of a function; `stop` puts the original back."""
        if not hasattr(owner, name):
            return
        own = name in vars(owner)
        original = vars(owner)[name] if own else getattr(owner, name)
        new = functools.wraps(original)(make(original))
        setattr(owner, name, new)

        def take_back() -> None:
            if vars(owner).get(name) is new:  # else somebody has wrapped ours: it sees that it is closed
                if own:
                    setattr(owner, name, original)
                else:
                    delattr(owner, name)

        self.undo.append(take_back)

    def install(self) -> None:
        """Put every hook in place."""
        torch = self.torch
        register = importlib.import_module("torch.optim.optimizer")
        handles = (
            register.register_optimizer_step_pre_hook(self.quiet(self.before_step)),
            register.register_optimizer_step_post_hook(self.quiet(self.after_step)),
        )
        self.undo += [handle.remove for handle in handles]
        self.replace(torch.autograd, "backward", self.observed(self.on_backward))
        self.schedules(torch.optim.lr_scheduler)
        data = importlib.import_module("torch.utils.data.dataloader")
        self.replace(data.DataLoader, "__iter__", self.after(self.on_iterate))
        self.replace(data._BaseDataLoaderIter, "__next__", self.after(self.on_batch))
        self.replace(torch, "save", self.around("io", self.on_save, self.before_save))
        self.replace(torch, "load", self.around("io", self.on_load))
        self.replace(torch.optim.Optimizer, "load_state_dict", self.restoring("optimizer"))
        self.replace(torch.nn.Module, "load_state_dict", self.restoring("model"))
        scaler = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler
        self.replace(scaler, "step", self.around("scaler", self.after_scaled, self.before_scaled))
        self.replace(scaler, "load_state_dict", self.restoring("scaler"))
        if "safetensors.torch" in sys.modules:
            self.install_safetensors(sys.modules["safetensors.torch"])
        _hear_events()
        atexit.register(self.close, PROCESS_ENDED)
        self.undo.append(lambda: atexit.unregister(self.close))

    def install_safetensors(self, module: Any) -> None:
        """The same for a module that is imported later than torch."""
        self.replace(module, "save_file", self.around("io", self.on_save, self.before_save))
        self.replace(module, "save_model", self.around("io", self.on_save, self.before_save))
        self.replace(module, "load_file", self.around("io", self.on_load))

    def quiet(self, observe: Callable[..., Any]) -> Callable[..., Any]:
        """A function that torch.compile does not look into: a compiled step would record nothing."""

        def function(*args: Any) -> Any:
            return observe(*args)

        disable: Callable[..., Callable[..., Any]] = getattr(self.torch, "_disable_dynamo", lambda same: same)
        return disable(function)

    def observed(self, observe: Callable[..., Any]) -> Callable[..., Any]:
        """A wrapper that calls `observe` with the arguments first."""
        observe = self.quiet(observe)

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                observe(args, kwargs)
                return original(*args, **kwargs)

            return wrapper

        return make

    def after(self, observe: Callable[..., Any]) -> Callable[..., Any]:
        """A wrapper that calls `observe` with the instance and what the method returned."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(instance: Any) -> Any:
                result = original(instance)
                observe(instance, result)
                return result

            return wrapper

        return make

    def around(
        self, kind: str, after: Callable[..., Any], before: Callable[..., Any] = lambda *_: None
    ) -> Callable[..., Callable[..., Any]]:
        """A wrapper of functions of one kind that call each other, as a module's do those of its parts: the outermost
        call counts. `before` gets its arguments; `after` gets what `before` said, the result and the arguments."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                if kind in self.running:
                    return original(*args, **kwargs)
                said = before(args, kwargs)
                self.running.add(kind)
                try:
                    result = original(*args, **kwargs)
                finally:
                    self.running.discard(kind)
                after(said, result, args, kwargs)
                return result

            return wrapper

        return make

    # --- steps -------------------------------------------------------------------------------------------------------

    def entry(self, optimizer: Any) -> _Optimizer:
        known = self.optimizers.get(id(optimizer))
        if known is None or known.optimizer() is not optimizer:
            known = self.optimizers[id(optimizer)] = _Optimizer(optimizer, next(self.numbers["optimizer"]))
            groups = optimizer.param_groups
            count = sum(len(group["params"]) for group in groups)
            self.write("optimizer", known.index, type(optimizer).__name__, len(groups), count)
        return known

    @_observes
    def before_step(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        """Global pre hook. A subclass whose step calls its parent's is one step: only the outermost call counts."""
        entry = self.entry(optimizer)
        entry.depth += 1
        entry.asked = False
        if entry.depth == 1:
            self.begin(entry, optimizer)

    def begin(self, entry: _Optimizer, optimizer: Any) -> None:
        if self.fd is None:
            self.open()
        if self.full or entry.attempts % self.every == 0:
            self.settle()
            for other in list(self.optimizers.values()):
                alive = other.optimizer()
                if alive is not None:
                    self.fingerprint(other, alive)
            self.full = False
        entry.before = (*_rates(optimizer), self.random_states())

    @_observes
    def after_step(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        """Global post hook: writes the row."""
        entry = self.entry(optimizer)
        entry.depth = max(0, entry.depth - 1)
        if entry.depth == 0 and entry.before is not None:
            # A fused optimizer is called for steps that it then skips
            self.finish(entry, optimizer, getattr(optimizer, "found_inf", None))

    def finish(self, entry: _Optimizer, optimizer: Any, skipped: Any) -> None:
        entry.attempts += 1
        rates, betas, states = entry.before or ([], [], [])
        entry.before = None
        losses, self.losses = self.losses, []
        sample = self.sample(entry, optimizer)
        scale, self.scale = self.scale, None
        values = [sample, skipped, scale, *losses]
        if any(self.is_far(value) for value in values):
            self.late.append((entry.index, entry.attempts, len(losses), values))
            sample, skipped, scale, losses = None, None, None, []
        row = (_truth(skipped), rates, betas, [_number(x) for x in losses], _number(scale), _digest(sample), states)
        self.write("step", entry.index, entry.attempts, *row, self.batches)
        self.batches = {}
        if len(self.late) >= LATE:
            self.settle()
        if entry.index == 0 and self.control:
            self.obey(entry.attempts)

    def is_far(self, value: Any) -> bool:
        return isinstance(value, self.torch.Tensor) and value.device.type != "cpu"

    def settle(self) -> None:
        """Read what lies on an accelerator, at once for all steps since the last time."""
        late, self.late = self.late, []
        for index, attempt, count, (sample, skipped, scale, *losses) in late:
            row = (_truth(skipped), [_number(x) for x in losses[:count]], _number(scale), _digest(sample))
            self.write("late", index, attempt, *row)

    def sample(self, entry: _Optimizer, optimizer: Any) -> Any:
        """One value of each of at most 16 parameters, in one tensor."""
        if not entry.views or any(p.data_ptr() != at for p, at, _ in entry.views):
            every = [_local(p) for group in optimizer.param_groups for p in group["params"]]
            every = [p for p in every if p.numel() and p.layout == self.torch.strided and not p.is_meta]
            chosen = every[:: -(-len(every) // SAMPLED)] if every else []
            entry.views = [(p, p.data_ptr(), p[tuple(n // 2 for n in p.shape)]) for p in chosen]
        views = [view for _, _, view in entry.views]
        if not views:
            return None
        if len({(view.dtype, view.device) for view in views}) > 1:
            views = [view.to(views[0].device, self.torch.float64) for view in views]
        return self.torch.stack(views)

    def random_states(self) -> list[int | None]:
        """Fingerprints of the generators of Python, NumPy, torch's CPU and its accelerators."""
        torch = self.torch
        _, numbers, gauss = random.getstate()
        states: list[int | None] = [zlib.crc32(f"{hash(numbers)} {gauss}".encode())]
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "random"):
            state = numpy.random.get_state(legacy=False)
            states.append(zlib.crc32(json.dumps(state, default=_plain, sort_keys=True).encode()))
        else:
            states.append(None)
        states.append(_digest(torch.default_generator.get_state()))
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states += [_digest(generator.get_state()) for generator in torch.cuda.default_generators]
        return states

    # --- all of the state --------------------------------------------------------------------------------------------

    def fingerprint(self, entry: _Optimizer, optimizer: Any) -> None:
        """Write fingerprints of everything that a checkpoint restores, as it is before the next step."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state = [optimizer.state.get(p) or {} for p in parameters]
        pieces = [(name, one[name]) for one in state for name in sorted(one, key=str)]
        schedules = []
        for index, reference in sorted(self.schedulers.values(), key=lambda held: held[0]):
            scheduler = reference()
            if scheduler is not None:
                schedules.append([index, type(scheduler).__name__, _counters(scheduler.state_dict(), {})])
        scaler = self.scaler() if self.scaler is not None else None
        self.write(
            "full",
            entry.index,
            entry.attempts,
            self.hashed(parameters),
            self.hashed([value for _, value in pieces]),
            *_rates(optimizer),
            schedules,
            _counters(scaler.state_dict(), {}) if scaler is not None else None,
        )

    def hashed(self, values: Any) -> int:
        """A fingerprint of tensors and numbers, in order. Each tensor is reduced where it lies; read is one tensor."""
        torch = self.torch
        near: list[bytes] = []
        far: dict[Any, list[Any]] = {}
        for value in values:
            if not isinstance(value, torch.Tensor):
                near.append(repr(value).encode())
                continue
            value = _local(value.detach())
            if value.is_meta or value.layout != torch.strided or value.is_quantized:
                near.append(repr((value.dtype, tuple(value.shape))).encode())
            elif value.numel() == 1 and value.device.type == "cpu":
                near.append(repr(value.item()).encode())  # a step count may be a number or a tensor
            elif hasattr(torch, "hash_tensor"):
                far.setdefault(value.device, []).append(torch.hash_tensor(_bits(torch, value)))
            else:
                near.append(struct.pack("<I", zlib.crc32(_bytes(value.cpu()))))
        near += [_bytes(torch.stack(hashes).cpu()) for hashes in far.values()]
        return zlib.crc32(b"".join(near))

    # --- what else a loop does ---------------------------------------------------------------------------------------

    @_observes
    def on_backward(self, args: Any, kwargs: Any) -> None:
        tensors = args[0] if args else kwargs.get("tensors")
        for tensor in tensors if isinstance(tensors, (list, tuple)) else (tensors,):
            if isinstance(tensor, self.torch.Tensor) and tensor.numel() == 1:
                self.losses.append(tensor.detach().clone() if self.is_far(tensor) else tensor.detach())

    @_observes
    def before_scaled(self, args: Any, kwargs: Any) -> None:
        """`GradScaler.step`: where it finds infinities the optimizer is never called; the step is one all the same."""
        scaler, optimizer = args[0], _given(args, kwargs, 1, "optimizer")
        self.scaler = weakref.ref(scaler)
        scale = getattr(scaler, "_scale", None)
        self.scale = scale.detach().clone() if isinstance(scale, self.torch.Tensor) else scale
        self.entry(optimizer).asked = True

    @_observes
    def after_scaled(self, _said: Any, _result: Any, args: Any, kwargs: Any) -> None:
        optimizer = _given(args, kwargs, 1, "optimizer")
        entry = self.entry(optimizer)
        if entry.asked:
            entry.asked = False
            self.begin(entry, optimizer)
            self.finish(entry, optimizer, True)

    def schedules(self, module: Any) -> None:
        """Wrap `step` of every class of schedulers, those that come later too."""
        base = getattr(module, "LRScheduler", None) or module._LRScheduler
        stepping = self.around("schedule", self.on_schedule, self.before_schedule)

        def wrap(kind: Any) -> None:
            if "step" in vars(kind):
                self.replace(kind, "step", stepping)
            if "load_state_dict" in vars(kind):
                self.replace(kind, "load_state_dict", self.restoring("scheduler"))
            for lower in kind.__subclasses__():
                wrap(lower)

        wrap(base)
        if not issubclass(module.ReduceLROnPlateau, base):
            wrap(module.ReduceLROnPlateau)

        def later(kind: Any, /, **kwargs: Any) -> None:
            super(base, kind).__init_subclass__(**kwargs)
            if not self.closed:
                wrap(kind)

        base.__init_subclass__ = classmethod(later)
        self.undo.append(lambda: delattr(base, "__init_subclass__"))

    @_observes
    def before_schedule(self, args: Any, _kwargs: Any) -> bool:
        """Whether it is the step of a scheduler's constructor, which is none; one that steps others is one step."""
        return getattr(args[0], "_is_initial", False) or getattr(args[0], "_step_count", 1) == 0

    @_observes
    def on_schedule(self, initial: bool, _result: Any, args: Any, _kwargs: Any) -> None:
        index = self.known(args[0])
        if not initial:
            self.write("schedule", index)

    def known(self, scheduler: Any) -> int:
        held = self.schedulers.get(id(scheduler))
        if held is None or held[1]() is not scheduler:
            held = self.schedulers[id(scheduler)] = (next(self.numbers["scheduler"]), weakref.ref(scheduler))
            self.write("scheduler", held[0], type(scheduler).__name__)
        return held[0]

    @_observes
    def on_iterate(self, loader: Any, iterator: Any) -> None:
        if loader not in self.loaders:
            self.loaders[loader] = [next(self.numbers["loader"]), -1]
        place = self.loaders[loader]
        place[1] += 1
        iterator._ckpt_doctor_place = [*place, -1]
        self.write("iterate", *place)

    @_observes
    def on_batch(self, iterator: Any, batch: Any) -> None:
        for entry in self.optimizers.values():
            entry.depth = 0  # a step that raised was never finished
        place = getattr(iterator, "_ckpt_doctor_place", None)
        if place is not None:
            place[2] += 1
            self.batches[place[0]] = [place[1], place[2], _batch(self.torch, batch)]

    # --- checkpoints -------------------------------------------------------------------------------------------------

    @_observes
    def before_save(self, args: Any, kwargs: Any) -> None:
        path = _path(_given(args, kwargs, 1, "f", "filename"))
        if path:
            self.must_be_inside(path)

    @_observes
    def on_save(self, _said: Any, _result: Any, args: Any, kwargs: Any) -> None:
        """`torch.save(obj, f)` and the like."""
        saved, path = _given(args, kwargs, 0, "obj", "tensors"), _path(_given(args, kwargs, 1, "f", "filename"))
        row = ["save", path, _keys(saved), _counters(saved, {})]
        if path:
            self.write(*row)
        else:
            self.unnamed = row
        self.full = True
        self.saved = any(entry.attempts for entry in self.optimizers.values())

    @_observes
    def on_load(self, _said: Any, loaded: Any, args: Any, kwargs: Any) -> None:
        """`torch.load(f)` and the like."""
        self.loaded = self.full = True
        self.write("load", _path(_given(args, kwargs, 0, "f", "filename")), _keys(loaded), _counters(loaded, {}))

    def restoring(self, what: str) -> Callable[..., Callable[..., Any]]:
        """`load_state_dict`."""
        return self.around("restore", functools.partial(self.on_restore, what))

    @_observes
    def on_restore(self, what: str, _said: Any, _result: Any, args: Any, _kwargs: Any) -> None:
        instance = args[0]
        if what == "scheduler":
            self.known(instance)
        elif what == "scaler":
            self.scaler = weakref.ref(instance)
        self.full = True
        if self.loaded:  # accelerate calls it in a fresh run as well
            self.write("restore", what, type(instance).__name__)

    @_observes
    def on_write(self, event: str, args: Any) -> None:
        if event == "open" and not _writes(args[1], args[2]):
            return
        paths = [os.fsdecode(p) for p in args[: _WRITES[event]] if isinstance(p, (str, bytes, os.PathLike))]
        if self.spare:
            for path in paths:
                self.must_be_spared(path)
        if self.unnamed is not None and paths and event in ("open", "os.rename"):
            self.name_save(event, *map(os.path.abspath, paths))

    def name_save(self, event: str, path: str, to: str = "") -> None:
        """A save into a buffer: the next file that is opened has it, under the name that it is then given."""
        assert self.unnamed is not None
        if event == "open" and self.unnamed[1] is None:
            if not _below(path, os.path.abspath(tempfile.gettempdir())):
                self.must_be_inside(path)
            self.unnamed[1] = path
        elif event == "os.rename" and self.unnamed[1] in (None, path):
            self.must_be_inside(to)
            self.unnamed[1] = to
            self.flush()

    def flush(self) -> None:
        """Write the row of a save whose file nobody will rename any more."""
        row, self.unnamed = self.unnamed, None
        if row is not None:
            self.write(*row)

    # --- a rehearsal -------------------------------------------------------------------------------------------------

    def must_be_inside(self, path: str) -> None:
        """End the process before it saves to a folder that is not the rehearsal's."""
        if self.inside and not _below(os.path.realpath(path), self.inside):
            self.refuse("save", path)

    def must_be_spared(self, path: str) -> None:
        """End the process before it changes the user's own folder."""
        real = os.path.realpath(path)
        if _below(real, self.spare) and not (self.inside and _below(real, self.inside)):
            self.refuse("write", path)

    def refuse(self, what: str, path: str) -> None:
        self.tell("outside", json.dumps([what, os.path.abspath(path)]))
        os._exit(OUTSIDE)

    def tell(self, name: str, text: str) -> None:
        """A message to the process that started this one: a file that appears whole."""
        path = os.path.join(self.control, name)
        descriptor = os.open(f"{path}.new{self.pid}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, text.encode())
        os.close(descriptor)
        os.replace(f"{path}.new{self.pid}", path)

    def obey(self, step: int) -> None:
        """Freeze, die or end where the rehearsal asks for it."""
        if self.freeze_at == "auto":
            self.freeze_at = self.appointed(step) or "auto"
        if step == self.freeze_at:
            self.settle()
            if self.stop_after is not None:
                self.stop_at = step + self.stop_after
            if self.kill:
                os.kill(self.pid, signal.SIGKILL)
            self.tell(f"frozen-{self.rank}", json.dumps([self.world, step]))
            while not os.path.exists(os.path.join(self.control, "go")):
                time.sleep(0.02)
        if step == self.stop_at:
            self.close(STEPS_MADE)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def appointed(self, step: int) -> int | None:
        """The step at which all ranks freeze: two after the first save. The rank that saves tells the others."""
        path = os.path.join(self.control, "appointed")
        if self.saved and not os.path.exists(path):
            self.tell("appointed", str(step + 1))
        if not os.path.exists(path):
            return None
        with open(path) as stream:
            return int(stream.read())


_WRITES = {
    "open": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.truncate": 1,
    "os.link": 2,
    "os.symlink": 2,
}
"""Events of `sys.addaudithook` that change a folder, and how many of their first arguments are paths."""


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(sign in mode for sign in "wax+")
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _given(args: Any, kwargs: Any, position: int, *names: str) -> Any:
    """An argument, by its position or under one of its names."""
    return args[position] if len(args) > position else next((kwargs[name] for name in names if name in kwargs), None)


def _path(target: Any) -> str | None:
    """The path of a target of `torch.save` or `torch.load`; None for a buffer."""
    if isinstance(target, (str, bytes, os.PathLike)):
        return os.path.abspath(os.fsdecode(target))
    name = getattr(target, "name", None)
    return os.path.abspath(name) if isinstance(name, str) else None


def _keys(value: Any) -> list[str]:
    return [str(key) for key in list(value)[:SCALARS]] if isinstance(value, dict) else []


def _counters(value: Any, found: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """The numbers of a checkpoint or state, by dotted key: two levels deep, no tensors of more than one element."""
    if isinstance(value, dict):
        for key, item in value.items():
            if len(found) >= SCALARS:
                break
            name = prefix + str(key)
            if isinstance(item, dict) and depth < 2:
                _counters(item, found, name + ".", depth + 1)
            elif isinstance(item, (list, tuple)) and len(item) <= 8 and all(isinstance(x, (int, float)) for x in item):
                found[name] = list(item)
            else:
                number = _number(item) if getattr(item, "ndim", 0) == 0 else None
                if isinstance(number, (bool, int, float)):
                    found[name] = number
    return found


def _number(value: Any) -> Any:
    """A Python number, exact; None for anything else than a number or a tensor of one element."""
    if isinstance(value, (bool, int, float)):
        return value
    if getattr(value, "size", None) is None or not hasattr(value, "item"):
        return None
    try:
        return value.item() if value.reshape(-1).shape == (1,) else None
    except (RuntimeError, ValueError):
        return None


def _rates(optimizer: Any) -> tuple[list[Any], list[Any]]:
    """The rates of the groups, and their first betas or momenta."""
    groups = optimizer.param_groups
    betas = (group.get("betas") or (group.get("momentum"),) for group in groups)
    return [_number(group.get("lr")) for group in groups], [_number(pair[0]) for pair in betas]


def _truth(value: Any) -> bool:
    return bool(_number(value)) if value is not None else False


def _local(tensor: Any) -> Any:
    """This process's part of a distributed tensor."""
    tensor = tensor.detach()
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _bits(torch: Any, tensor: Any) -> Any:
    """A tensor that `hash_tensor` takes: complex numbers as pairs of real ones."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _bytes(tensor: Any) -> bytes:
    """The bytes of a tensor on the CPU."""
    tensor = tensor.contiguous()
    try:
        return bytes(tensor.numpy().tobytes())
    except (TypeError, RuntimeError):  # bfloat16, or no numpy
        return json.dumps(tensor.double().reshape(-1).tolist()).encode()


def _digest(tensor: Any) -> int | None:
    return None if tensor is None else zlib.crc32(_bytes(tensor.cpu()))


def _plain(array: Any) -> int:
    return zlib.crc32(array.tobytes())


def _batch(torch: Any, value: Any, budget: int = 64) -> int:
    """A fingerprint of a batch: structure, shapes, and some elements of each tensor."""
    pieces: list[bytes] = []
    todo = [value]
    while todo and len(pieces) < budget:
        item = todo.pop()
        if isinstance(item, dict):
            todo += [item[key] for key in sorted(item, key=str)]
        elif isinstance(item, (list, tuple)):
            todo += item[:budget]
        elif isinstance(item, torch.Tensor):
            pieces.append(repr(tuple(item.shape)).encode())
            if item.device.type == "cpu" and item.layout == torch.strided and item.numel():
                flat = item.detach().reshape(-1)
                pieces.append(_bytes(flat[:: -(-flat.numel() // (4 * SAMPLED))]))
        elif hasattr(item, "tobytes") and hasattr(item, "size"):
            pieces.append(item.reshape(-1)[:: max(1, item.size // (4 * SAMPLED))].tobytes())
        else:
            pieces.append(repr(item)[:200].encode() if isinstance(item, (str, bytes, int, float)) else b"?")
    return zlib.crc32(b"\0".join(pieces))
