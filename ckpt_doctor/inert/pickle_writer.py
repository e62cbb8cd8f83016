"""Writes a pickle from an inert tree, so that `torch.load` of it gives what the original gave.

Sharing and cycles are kept by the identity of the objects in the tree, in the way of CPython's `pickle._Pickler`
(`save_reduce`: callee, arguments, REDUCE, memo, list items, dict items, state). A storage is written from its fields,
so that a changed `location` shows; a tensor, an `InertDict` and a numpy scalar through the call that made them.
Protocol 2 output uses only opcodes that `torch/_weights_only_unpickler.py` knows wherever the original did.
"""

from __future__ import annotations

import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.dtypes import STORAGE_DTYPES
from ckpt_doctor.inert.pickle_machine import COMPUTED, shown
from ckpt_doctor.types import Container, Global, InertDict, NumpyScalar, Opaque, StorageInfo, TensorRef

_MARK = object()
_BATCH = 1000
"""Items per APPENDS or SETITEMS, as in `pickle._Pickler._BATCHSIZE`."""

_STORAGE_CLASSES = {dtype: name for name, dtype in reversed(STORAGE_DTYPES.items()) if "typed" not in name.lower()}


class _Then:
    """A step to take once what lies above it on the work stack is written."""

    __slots__ = ("step",)

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step


def dump(root: object, container: Container = "torch-zip") -> bytes:
    """A pickle of `root` in protocol 2, as the container has it: tensors are named otherwise in each.

    Raises:
        WriteRefused: the tree holds something that no pickle of this protocol can say: a name that the
            original computes while loading, a set that contains itself, a dict key that cannot be hashed. Or a storage
            that no tensor of a tar file views.
    """
    writer = _Writer(container)
    writer.run(root)
    return b"".join(writer.out)


class _Writer:
    """Output, memo and the stack of what is still to be written; no recursion, whatever the depth of the tree."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.out: list[bytes] = [b"\x80\x02"]
        self.write = self.out.append
        self.memo: dict[int, int] = {}
        self.texts: dict[str, int] = {}
        self.names: dict[Global, int] = {}
        self.count = 0
        self.keep: list[object] = []  # what is made here must outlive the memo, which goes by id
        self.open_sets: set[int] = set()
        self.work: list[object] = []

    def run(self, root: object) -> None:
        """Write everything under `root` and STOP."""
        work = self.work
        work.append(root)
        while work:
            item = work.pop()
            if type(item) is _Then:
                item.step()
            elif not self._atom(item):
                number = self.memo.get(id(item))
                if number is not None:
                    self._get(number)
                else:
                    self._compound(item)
        self.write(b".")

    def push(self, *items: object) -> None:
        """Put items on the work stack so that the first is written first."""
        self.work.extend(reversed(items))

    # --- memo --------------------------------------------------------------------------------------------------------

    def _put(self) -> int:
        number = self.count
        self.count += 1
        self.write(b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))
        return number

    def _get(self, number: int) -> None:
        self.write(b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<I", number))

    def _remember(self, value: object) -> None:
        self.memo[id(value)] = self._put()

    # --- values without parts ----------------------------------------------------------------------------------------

    def _atom(self, value: Any) -> bool:
        kind = type(value)
        if kind is str:
            self._text(value)
        elif kind is int:
            self.write(_int(value))
        elif value is None:
            self.write(b"N")
        elif kind is bool:
            self.write(b"\x88" if value else b"\x89")
        elif kind is float:
            self.write(b"G" + struct.pack(">d", value))
        elif kind is Global:
            self._name(value)
        elif value == () and kind is tuple:
            self.write(b")")
        else:
            return False
        return True

    def _text(self, text: str) -> None:
        number = self.texts.get(text)
        if number is not None:
            self._get(number)
            return
        raw = text.encode("utf-8", "surrogatepass")
        self.write(b"X" + struct.pack("<I", len(raw)) + raw)
        self.texts[text] = self._put()

    def _name(self, name: Global) -> None:
        number = self.names.get(name)
        if number is not None:
            self._get(number)
            return
        if COMPUTED in (name.module, name.name) or "\n" in name.module + name.name:
            raise WriteRefused(f"the name {shown(name)} cannot be written again")
        if (name.module, name.name) in NAME_MAPPING or name.module in IMPORT_MAPPING:
            # Below protocol 3 Python 3 takes these for modules of Python 2 and looks elsewhere
            raise WriteRefused(f"the name {shown(name)} means something else in protocol 2")
        self.write(f"c{name.module}\n{name.name}\n".encode())
        self.names[name] = self._put()

    # --- values with parts -------------------------------------------------------------------------------------------

    def _compound(self, value: Any) -> None:
        kind = type(value)
        if kind is tuple:
            self._tuple(value)
        elif kind is dict:
            self.write(b"}")
            self._remember(value)
            self._pairs(iter(list(value.items())))
        elif kind is list:
            self.write(b"]")
            self._remember(value)
            self._items(list(value))
        elif kind is TensorRef or kind is NumpyScalar:
            self._call(value, value.source)
        elif kind is StorageInfo:
            self._storage(value)
        elif kind is InertDict:
            self._call(value, value.source, list(value.items()))
        elif kind is Opaque:
            self._call(value, value)
        elif kind is bytes:
            self._bytes(value)
        elif kind is bytearray:
            self._made_of(value, Global("builtins", "bytearray"), (bytes(value),))
        elif kind is complex:
            self._made_of(value, Global("builtins", "complex"), (value.real, value.imag))
        elif kind is set or kind is frozenset:
            self._set(value)
        else:
            raise WriteRefused(f"a value of type {kind.__name__} cannot be written into a checkpoint")

    def _tuple(self, value: tuple[object, ...]) -> None:
        def finish() -> None:
            number = self.memo.get(id(value))
            if number is None:
                self.write((b"t", b"\x85", b"\x86", b"\x87")[len(value) if len(value) < 4 else 0])
                self._remember(value)
            else:  # it contains itself, by way of a list or dict: what was begun here is dropped
                self.write(b"1" if len(value) > 3 else b"0" * len(value))
                self._get(number)

        if len(value) > 3:
            self.write(b"(")
        self.push(*value, _Then(finish))

    def _items(self, items: list[object]) -> None:
        batches = [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]
        steps: list[object] = []
        for batch in batches:
            if len(batch) == 1:
                steps += [batch[0], self._op(b"a")]
            else:
                steps += [self._op(b"("), *batch, self._op(b"e")]
        self.push(*steps)

    def _pairs(self, pairs: Iterable[tuple[object, object]]) -> None:
        steps: list[object] = []
        rest = iter(pairs)
        while batch := list(islice(rest, _BATCH)):
            if len(batch) == 1:
                steps += [*batch[0], self._op(b"s")]
            else:
                steps.append(self._op(b"("))
                for pair in batch:
                    steps += pair
                steps.append(self._op(b"u"))
        self.push(*steps)

    def _op(self, opcode: bytes) -> _Then:
        return _Then(lambda: self.write(opcode))

    def _storage(self, storage: StorageInfo) -> None:
        """A persistent id (torch/serialization.py, `_save.persistent_id`), which is not memoized: tensors are.

        A tar file has tensors for persistent ids, and their storages stand elsewhere.
        """
        if self.container == "torch-tar":
            raise WriteRefused("a storage that is no tensor's cannot be written into a tar file")
        name = _STORAGE_CLASSES.get(storage.dtype)
        if name is None:
            raise WriteRefused(f"no storage class holds {storage.dtype}")
        self.write(b"(")
        self._text("storage")
        self._name(Global("torch", name))
        self._text(storage.key)
        self._text(storage.location)
        self.write(_int(storage.numel))
        if self.container == "torch-legacy":  # `_legacy_save.persistent_id`: the view's metadata, None since 1.5
            self.write(b"N")
        self.write(b"tQ")

    def _bytes(self, value: bytes) -> None:
        # The spelling of `pickle._Pickler.save_bytes`, also for empty ones: there it is `bytes()`, which weights_only
        # refuses
        self._made_of(value, Global("_codecs", "encode"), (value.decode("latin-1"), "latin1"))

    def _set(self, value: set[object] | frozenset[object]) -> None:
        if id(value) in self.open_sets:
            raise WriteRefused("a set that contains itself cannot be written")
        self.open_sets.add(id(value))
        self.push(_Then(lambda: self.open_sets.discard(id(value))))
        self._made_of(value, Global("builtins", type(value).__name__), (list(value),))

    def _made_of(self, value: object, callee: Global, args: tuple[object, ...]) -> None:
        """A builtin value through a call that makes it."""
        self.keep.append(args)
        self.push(callee, args, self._op(b"R"), _Then(lambda: self._remember(value)))

    def _call(self, value: object, call: Opaque, pairs: list[tuple[object, object]] | None = None) -> None:
        """A recorded call and what was done to its result; `value` is what other parts of the tree refer to."""
        parts, opcode = self._making(call)
        steps: list[object] = []

        def finish() -> None:
            number = self.memo.get(id(value))
            if number is None:
                self.write(opcode)
                self._remember(value)
                self.push(*steps)
            else:  # its own arguments led back to it, and it was written there
                self.write(b"1" if _MARK in parts[:1] else b"0" * len(parts))
                self._get(number)

        if call.items:
            steps.append(_Then(lambda: self._items(list(call.items))))
        all_pairs = call.pairs if pairs is None else pairs
        if all_pairs:
            steps.append(_Then(lambda: self._pairs(all_pairs)))
        for state in call.states:
            steps += [state, self._op(b"b")]
        self.push(*(self._op(b"(") if part is _MARK else part for part in parts), _Then(finish))

    def _making(self, call: Opaque) -> tuple[tuple[object, ...], bytes]:
        """What to write for the call itself: the values it takes, and the opcode that makes one of them."""
        if call.via == "persid":
            return (call.args,), b"Q"
        if call.via == "ext":
            return (), b"\x84" + struct.pack("<I", call.args if type(call.args) is int else 0)
        if call.callee is None:
            raise WriteRefused("a dict key that cannot be hashed cannot be written")
        if call.via == "newobj_ex":
            together = (call.callee, call.args, call.kwargs)
            self.keep.append(together)
            return (Global("copyreg", "__newobj_ex__"), together), b"R"
        if call.via == "inst" and type(call.args) is tuple:
            return (_MARK, call.callee, *call.args), b"o"
        return (call.callee, call.args), b"\x81" if call.via == "newobj" else b"R"


def _int(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if 0 <= value < 65536:
        return b"M" + struct.pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw if len(raw) < 256 else b"\x8b" + struct.pack("<i", len(raw)) + raw
