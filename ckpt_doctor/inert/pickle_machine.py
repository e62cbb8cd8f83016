"""The state of one inert reading of a pickle: stack, memo, what was found, and what may be done to values."""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import field
from typing import Literal

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.calls import name_of, replaces_a_method, runs
from ckpt_doctor.inert.numpy_values import misfit
from ckpt_doctor.inert.rebuild import COPYING, HANDLERS, VIEW, does_not_take, set_state
from ckpt_doctor.types import Damage, Global, InertDict, NumpyScalar, Opaque, StorageInfo, TensorRef
from ckpt_doctor.types.record import record

COMPUTED = "<computed>"
"""Stands for a module or name that is only known once the pickle runs."""

_DEFAULTDICT = HANDLERS["collections.defaultdict"]
_METHOD_PUT = "the pickle replaces a method of an object with one of its choice"
_SHARED = frozenset({"logging.getLogger", "operator.getitem", "_operator.getitem"})
"""What returns an object that is there already; no pickler changes it afterwards."""
_NAMES = frozenset({str})
_PLAIN_KEYS = frozenset({str, bytes, bool, type(None), Global, StorageInfo, TensorRef, Opaque, NumpyScalar})
"""Types whose hashes nobody can choose: by a secret of the process, or by identity."""


class Stop(Exception):
    """The pickle cannot be followed further; CPython's unpickler raises here too."""

    def __init__(self, message: str, kind: str = "malformed-pickle") -> None:
        super().__init__(message)
        self.kind = kind


@record
class Reading:
    """What one pickle says."""

    root: object = None
    """The value under STOP; None when STOP was not reached."""
    globals: dict[tuple[str, str], Global] = field(default_factory=dict)
    """Every global by (module, name), in order of first mention."""
    storages: dict[str, StorageInfo] = field(default_factory=dict)
    """Every storage by key, in order of first mention."""
    damage: list[Damage] = field(default_factory=list)
    start: int = 0
    end: int = 0
    """Offset behind STOP, or of the place where reading ended."""
    finished: bool = False
    """Whether STOP was reached."""
    ran_out: bool = False
    """Whether the bytes ended before STOP."""
    protocol: int = 0
    opcodes: set[int] = field(default_factory=set)
    """The less common opcodes met (everything outside the main loop's fast path)."""
    latin1: bool = False
    """Whether it holds 8-bit strings of Python 2 that are not UTF-8."""
    calls: dict[tuple[str, str], Global] = field(default_factory=dict)
    """What loading calls, beside the functions that `rebuild.HANDLERS` follows."""
    attributes: list[Opaque] = field(default_factory=list)
    """Every call of `builtins.getattr`."""
    has_views: bool = False
    """Whether a persistent id cuts a storage out of another (legacy streams before 0.4)."""


def shown(text: object) -> str:
    """A name or number from a file, safe to print: one line, no control characters, at most 200 characters."""
    name = str(text) if isinstance(text, (str, int, float, bytes, Global)) else f"<{type(text).__name__}>"
    name = name if len(name) <= 200 else name[:197] + "..."
    return name if name.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


Persistent = Callable[[Reading, object], object]
"""What a persistent id stands for."""
Payload = Callable[[bytes, "int | None"], "StorageInfo | None"]
"""What `torch.storage._load_from_bytes` gives for bytes at an offset of the pickle: a storage, if it is one."""


class Machine:
    """The state of one reading: what CPython keeps in `UnpicklerObject`."""

    def __init__(self, data: bytes, reading: Reading, persistent: Persistent, payload: Payload | None) -> None:
        self.data = data
        self.reading = reading
        self.persistent = persistent
        self.load_payload = payload
        self.payloads: dict[int, tuple[bytes, StorageInfo | None]] = {}
        self.loaded: dict[int, tuple[Opaque, StorageInfo]] = {}
        self.bytes_at: dict[int, int] = {}
        self.pos = 0
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.handlers: dict[int, Callable[[Opaque], object] | None] = {}
        self.texts: dict[str, str] = {}
        self.raws: dict[bytes, bytes] = {}
        self.soft_damage: set[str] = set()
        self.made = 0
        self.copied = 0
        self.key_parts = 0
        self.keys_by_hash: dict[int, list[object]] = {}

    # --- values ------------------------------------------------------------------------------------------------------

    def soft(self, kind: str, message: str) -> None:
        """Record what CPython would raise for, and go on: it has no bearing on what else the pickle names."""
        if message not in self.soft_damage and len(self.soft_damage) < limits.MAX_DAMAGE:
            self.soft_damage.add(message)
            self.reading.damage.append(Damage(kind, message))

    def once(self, text: str) -> str:
        """One object for equal long strings: comparing them as dict keys would cost their length each time."""
        return self.texts.setdefault(text, text)

    def once_bytes(self, raw: bytes) -> bytes:
        """As `once`, for bytes."""
        return self.raws.setdefault(raw, raw)

    def name(self, module: object, name: object) -> Global:
        """The global that Python 3 would look up (`find_class`, with `fix_imports` below protocol 3)."""
        if type(module) is not str or type(name) is not str:
            module = module if type(module) is str else COMPUTED
            name = name if type(name) is str else COMPUTED
        if self.reading.protocol < 3:
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            elif module in IMPORT_MAPPING:
                module = IMPORT_MAPPING[module]
        known = self.reading.globals.get((module, name))
        if known is None:
            known = self.reading.globals[module, name] = Global(module, name)
            self.handlers[id(known)] = None if "." in name else HANDLERS.get(f"{module}.{name}")
        return known

    def call(self, callee: object, args: object, via: Literal["reduce", "newobj", "inst"] = "reduce") -> object:
        """REDUCE and kin: the value that a known call stands for, or the call itself."""
        made = Opaque(callee, args, None, via)
        if type(args) is not tuple and type(args) is not Opaque:
            self.soft("malformed-pickle", f"the pickle calls with a {type(args).__name__} in the place of arguments")
        handler = self.handlers.get(id(callee))
        if handler is None:
            if type(callee) not in (Global, Opaque, InertDict, TensorRef):
                self.soft("malformed-pickle", f"the pickle calls a {type(callee).__name__}, which is not a function")
            self.judge(made)
            if type(callee) is Global and callee.name == "_load_from_bytes":
                self.payload(made, args[0] if type(args) is tuple and args else None)
            elif type(callee) is Global and callee.name == "getattr" and callee.module == "builtins":
                self.reading.attributes.append(made)
            return made
        if handler in COPYING and type(args) is tuple and args and hasattr(args[0], "__len__"):
            self.copied += len(args[0])
            if self.copied > limits.MAX_COPIED * len(self.data):
                raise Stop("its calls copy more than the pickle holds", "limit-exceeded")
        if self.loaded and type(args) is tuple and args and id(args[0]) in self.loaded:
            # A tensor in a raw pickle: its storage is the result of a call
            value = handler(Opaque(callee, (self.loaded[id(args[0])][1], *args[1:])))
            if type(value) is TensorRef:
                value.source = made
                return value
        value = handler(made)
        if type(callee) is Global and type(args) is tuple and does_not_take(callee.name, args, value):
            self.soft("malformed-pickle", f"{shown(callee)} is called with arguments that it does not take")
        if type(value) is TensorRef:
            if handler is not VIEW and type(args) is tuple and len(args) > 3 and replaces_a_method(args[3]):
                self.soft("dangerous-global", _METHOD_PUT)
            return value
        if value is made or handler is _DEFAULTDICT:
            self.judge(made)
        if type(value) is NumpyScalar and type(args) is tuple and type(args[1]) is str and not args[1].isascii():
            self.reading.latin1 = True  # `array_scalar` raises for text that UTF-8 made of the bytes
        return value

    def judge(self, made: Opaque) -> None:
        """Record what a call runs."""
        for found in runs(made):
            if type(found) is Global:
                self.reading.calls.setdefault((found.module, found.name), found)
            else:
                self.soft("dangerous-global", shown(found))

    def payload(self, made: Opaque, data: object) -> None:
        """Look into bytes that `torch.load` is called upon while this pickle loads (torch/storage.py)."""
        if self.load_payload is None:
            return
        if type(data) is bytearray:
            data = bytes(data)
        if type(data) is not bytes:
            self.soft("dangerous-global", "the pickle loads another one from bytes that it computes")
            return
        if id(data) not in self.payloads:
            if len(self.payloads) >= limits.MAX_NESTED_STREAMS:
                raise Stop(f"more than {limits.MAX_NESTED_STREAMS:,} checkpoints inside the pickle", "limit-exceeded")
            self.payloads[id(data)] = data, self.load_payload(data, self.bytes_at.get(id(data)))
        storage = self.payloads[id(data)][1]
        if storage is not None:
            self.loaded[id(made)] = made, storage

    def key(self, key: object) -> object:
        """A dict key or set element that is cheap and safe to hash; a recorded stand-in for anything else."""
        kind = type(key)
        if kind in _PLAIN_KEYS or (kind is int and -(1 << 60) < key < 1 << 60):  # type: ignore[operator]
            return key
        if kind not in (int, float, complex, tuple, frozenset):
            self.soft(
                "malformed-pickle", f"a {'dict' if isinstance(key, dict) else kind.__name__} is used as a dict key"
            )
            return Opaque(None, (key,))
        return self.distinct(key) if self.hashable(key) else Opaque(None, (key,))

    def distinct(self, key: object) -> object:
        """A key whose hash the file can choose; refuses many with one hash, of which a dict compares each with each."""
        same = self.keys_by_hash.setdefault(hash(key), [])
        if not any(other is key or other == key for other in same):
            if len(same) == limits.MAX_EQUAL_HASHES:
                raise Stop(f"more than {len(same)} dict keys with one hash", "limit-exceeded")
            same.append(key)
        return key

    def hashable(self, key: object) -> bool:
        """Whether a key holds nothing unhashable; refuses keys that take long to hash or to compare."""
        rest, seen = [key], 0
        while rest:
            node = rest.pop()
            seen += len(node) if type(node) is frozenset else 1
            if seen > limits.MAX_KEY_NODES and type(key) is tuple:
                raise Stop("a dict key is a tuple of too many parts", "limit-exceeded")
            if type(node) is tuple:
                rest.extend(node[: limits.MAX_KEY_NODES])
            elif isinstance(node, (list, dict, set, bytearray)):
                self.soft("malformed-pickle", "a tuple that holds a list or dict is used as a dict key")
                return False
            elif type(node) is int and node.bit_length() > limits.MAX_INT_BITS:
                raise Stop("integers too large to serve as dict keys", "limit-exceeded")
        self.key_parts += seen
        if self.key_parts > limits.MAX_KEY_PARTS:
            raise Stop(f"dict keys of more than {limits.MAX_KEY_PARTS:,} parts", "limit-exceeded")
        return True

    # --- changing what is there --------------------------------------------------------------------------------------

    def set_items(self, target: object, pairs: list[object]) -> None:
        """SETITEM, SETITEMS."""
        if len(pairs) % 2:
            raise Stop("odd number of items for SETITEMS")
        if isinstance(target, dict):
            if not _NAMES.issuperset(map(type, pairs[::2])):
                pairs[::2] = map(self.key, pairs[::2])
            parts = iter(pairs)
            target.update(zip(parts, parts, strict=True))
        elif type(target) is Opaque:
            self.fills(target)
            target.pairs.extend(zip(pairs[::2], pairs[1::2], strict=True))
        else:
            self.misuse(target, "sets items of")

    def extend(self, target: object, items: list[object]) -> None:
        """APPEND, APPENDS."""
        if type(target) is list:
            target += items
        elif type(target) is Opaque:
            self.fills(target)
            target.items += items
        else:
            self.misuse(target, "appends to")

    def fills(self, target: Opaque) -> None:
        """Note items that come after the state: the object's own methods take them, with attributes of the file."""
        if target.states:
            self.soft("dangerous-global", "the pickle fills an object whose attributes it has set, as no pickler does")

    def build(self, target: object, state: object) -> None:
        """BUILD."""
        if replaces_a_method(state):
            self.soft("dangerous-global", _METHOD_PUT)
        named = name_of(target)
        if named is not None:
            self.misuse(named, "sets the state of")
        elif type(target) is Opaque:
            if str(target.callee) in _SHARED:
                message = f"the pickle changes what {shown(target.callee)} returns, which the whole program shares"
                self.soft("dangerous-global", message)
            target.states.append(state)
            if type(state) is tuple and len(state) == 5 and (refused := misfit(target)):
                self.soft("malformed-pickle", refused)
        elif type(target) is TensorRef:
            set_state(target, state)
        elif type(target) in (InertDict, NumpyScalar):
            target.source.states.append(state)  # type: ignore[attr-defined]
        else:
            self.misuse(target, "sets the state of")

    def misuse(self, target: object, what: str) -> None:
        """An opcode meets a value that it cannot change, or should not: a class or function by its name."""
        if type(target) is Global:
            self.soft(
                "dangerous-global", f"the pickle {what} {shown(target)} itself, which changes it for the whole program"
            )
        else:
            self.soft("malformed-pickle", f"the pickle {what} a {type(target).__name__}")

    def pop_mark(self) -> list[object]:
        """Items above the last MARK."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self.pos + count
        if end > len(self.data):
            self.pos = len(self.data)
            raise IndexError
        raw = self.data[self.pos : end]
        self.pos = end
        return raw

    def line(self, most: int = limits.MAX_LINE) -> bytes:
        """Up to the next newline, which is passed over."""
        end = self.data.find(b"\n", self.pos, self.pos + most)
        if end < 0:
            if len(self.data) - self.pos >= most:
                raise Stop(f"a line of more than {most} bytes", "limit-exceeded")
            self.pos = len(self.data)
            raise IndexError
        raw = self.data[self.pos : end]
        self.pos = end + 1
        return raw
