"""The opcodes that `torch.save` writes for a tensor, followed in one step.

torch/_tensor.py (`_reduce_ex_internal`) and Lib/pickle.py (protocol 2) give nearly every tensor the same 28 opcodes:
four fifths of a checkpoint's pickle. A regular expression knows them. Whatever differs, as the first tensor of a file
does, which brings the names along, `pickle_reader` follows opcode by opcode, with the same result.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from ckpt_doctor.inert.pickle_machine import Machine
from ckpt_doctor.types import InertDict, Opaque, StorageInfo, TensorRef

MADE = 14
"""What they count as, of containers and calls (`pickle_reader`): at most two marks, four tuples, two calls."""

_FUNCTION = ("torch._utils", "_rebuild_tensor_v2")
_ORDERED_DICT = ("collections", "OrderedDict")
_WIDTHS = {0x4B: 1, 0x4D: 2, 0x4A: 4}
"""BININT1, BININT2, BININT -> bytes of their number."""


@cache
def _pattern(put: bytes) -> re.Pattern[bytes]:
    """The opcodes behind the function. `put` writes the memo, whose entries from the 256th on have an opcode of theirs.

    Every opcode that may follow another begins with a byte of its own, so that there is one way to match at most.
    """
    get = rb"(h.|j....)"
    number = rb"(?:K.|M..|J...[\0-\x7f])"  # none below zero
    sizes = rb"(\)|(?:%(n)b\x85|%(n)b{2}\x86|%(n)b{3}\x87|\(%(n)b{4,8}t)%(p)b)" % {b"n": number, b"p": put}
    put = put[:1] + b"(" + put[1:] + b")"
    parts = (
        rb"\(\(" + get + get,  # MARK, MARK, "storage", its class
        rb"X(.)\0\0\0([0-9]+)" + put,  # its key
        rb"(?:" + get + rb"|X(.)\0\0\0(cuda:[0-9]+)" + put + rb")",  # its place: a new text for each on a GPU
        rb"(" + number + rb")(N?)t" + put + rb"QK\0",  # its elements; in a stream also that it is no view of another
        sizes + sizes,  # the tensor's shape and strides, behind an offset of 0
        rb"([\x88\x89])" + get + rb"\)R" + put + rb"t" + put + rb"R" + put,  # requires_grad, OrderedDict()
    )
    return re.compile(b"".join(parts), re.DOTALL)


@lru_cache(1024)
def _numbers(opcodes: bytes) -> tuple[int, ...]:
    """The numbers of the BININTs at the begin, behind a MARK if there is one."""
    found = []
    at = 1 if opcodes[:1] == b"(" else 0
    while at < len(opcodes) and (width := _WIDTHS.get(opcodes[at])):
        found.append(int.from_bytes(opcodes[at + 1 : at + 1 + width], "little"))
        at += 1 + width
    return tuple(found)


def follow(machine: Machine, function: object, pos: int) -> tuple[object, int] | None:
    """The tensor that `function` makes of the arguments which begin at `pos`, and where the pickle goes on.

    None, with nothing done, where the opcodes are not the usual ones.
    """
    memo, names, number = machine.memo, machine.reading.globals, int.from_bytes
    if names.get(_FUNCTION) is not function:
        return None
    found = _pattern(b"q." if len(memo) <= 0xFF else b"r....").match(machine.data, pos)
    if found is None:
        return None
    word, kind, key_length, key, key_put, place, length, text, text_put, numel, view, *rest = found.groups()
    pid_put, shape, stride, grad, ordered_dict, hooks_put, args_put, tensor_put = rest
    width = len(tensor_put)
    sizes, steps = _numbers(shape[:-width]), _numbers(stride[:-width])
    if key_length[0] != len(key) or len(sizes) != len(steps) or (text and length[0] != len(text)):
        return None
    try:
        what = memo[number(word[1:], "little")], memo[number(kind[1:], "little")]
        where = str(text, "ascii") if text else memo[number(place[1:], "little")]
        called = memo[number(ordered_dict[1:], "little")]
    except KeyError:
        return None
    if called is not names.get(_ORDERED_DICT):
        return None
    name = str(key, "ascii")
    pid = (*what, name, where, _numbers(numel)[0], None) if view else (*what, name, where, _numbers(numel)[0])
    storage = machine.persistent(machine.reading, pid)
    hooks = InertDict(Opaque(called, ()))
    args = storage, 0, sizes, steps, grad == b"\x88", hooks
    if type(storage) is StorageInfo:
        tensor: object = TensorRef(storage, storage.dtype, sizes, steps, 0, False, Opaque(function, args))
    else:
        tensor = machine.call(function, args)
    memo[number(key_put, "little")] = name
    if text:
        memo[number(text_put, "little")] = where
    memo[number(pid_put, "little")] = pid
    if sizes:
        memo[number(shape[-width:], "little")] = sizes
        memo[number(stride[-width:], "little")] = steps
    memo[number(hooks_put, "little")] = hooks
    memo[number(args_put, "little")] = args
    memo[number(tensor_put, "little")] = tensor
    return tensor, found.end()
