"""Reads a pickle without running it: every opcode of protocols 0 to 5, no import, no call, no recursion.

Follows CPython's `Modules/_pickle.c` (`load`), which `torch.load` uses, and is nowhere stricter: what that unpickler
would execute is recorded here before anything is refused. Where it would raise, `Reading.damage` says so.
"""

from __future__ import annotations

import math
import struct
from itertools import repeat

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Machine, Payload, Persistent, Reading, Stop
from ckpt_doctor.inert.rare_opcodes import RARE, unknown
from ckpt_doctor.inert.rebuild import dims
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.tensor_opcodes import MADE, follow
from ckpt_doctor.types import Damage, Global, Opaque

_u2 = struct.Struct("<H").unpack_from
_u4 = struct.Struct("<I").unpack_from
_i4 = struct.Struct("<i").unpack_from
_f8 = struct.Struct(">d").unpack_from
_CHUNK = 1 << 16
_RAW_ARRAY = Global("joblib.numpy_pickle", "NumpyArrayWrapper")
_ARRAY_KINDS = frozenset("biufcSUmMV")
"""numpy's type codes of elements with a size (numpy/_core/_type_aliases.py)."""


def read(data: bytes, start: int = 0, persistent: Persistent | None = None, payload: Payload | None = None) -> Reading:
    """Follow the pickle that begins at `start` up to its STOP.

    Never raises for what is in `data`: see `Reading.finished`, `ran_out` and `damage`.
    """
    reading = Reading(start=start, end=start)
    machine = Machine(data, reading, persistent or torch_storage(), payload)
    try:
        _run(machine, start)
    except Stop as stop:
        reading.damage.append(Damage(stop.kind, str(stop), where=f"byte {machine.pos}"))
    except (IndexError, struct.error) as error:
        if machine.pos >= len(data) or isinstance(error, struct.error):
            reading.ran_out = True
            reading.damage.append(
                Damage("malformed-pickle", "the pickle ends before its STOP", where=f"byte {len(data)}")
            )
        else:
            reading.damage.append(
                Damage("malformed-pickle", "an opcode finds too few values on the stack", where=f"byte {machine.pos}")
            )
    except KeyError as error:
        reading.damage.append(
            Damage("malformed-pickle", f"memo entry {error} is used before it is set", where=f"byte {machine.pos}")
        )
    except UnicodeDecodeError:
        reading.damage.append(Damage("malformed-pickle", "text is not valid UTF-8", where=f"byte {machine.pos}"))
    reading.end = max(reading.end, machine.pos)
    return reading


def _behind_array(data: bytes, pos: int, state: object) -> int:
    """Where the pickle goes on behind the bytes of an array that joblib wrote in its middle.

    joblib/numpy_pickle.py, `NumpyArrayWrapper.write_array`: the length of a padding, the padding, the elements in a
    row. An array of objects is a pickle of its own there, and is read as what it is.
    """
    shape, dtype = (state.get("shape"), state.get("dtype")) if isinstance(state, dict) else (None, None)
    code = dtype.args[0] if type(dtype) is Opaque and type(dtype.args) is tuple and dtype.args else None
    sizes = dims(shape)
    kind = code.lstrip("<>=|") if type(code) is str else ""
    if not isinstance(state, dict) or sizes is None or kind[:1] not in _ARRAY_KINDS or not kind[1:].isdecimal():
        return pos
    if state.get("numpy_array_alignment_bytes") is not None:
        pos += 1 + data[pos]
    nbytes = math.prod(sizes) * int(kind[1:8]) * (4 if kind[0] == "U" else 1)
    if pos + nbytes > len(data):
        raise IndexError
    return pos + nbytes


def _run(machine: Machine, pos: int) -> None:
    """Follow opcodes until STOP. The chain is ordered by how often torch's pickles hold each outside of tensors."""
    data, memo, marks, size = machine.data, machine.memo, machine.marks, len(machine.data)
    stack = machine.stack
    push = stack.append
    made = 0
    most = max(limits.MIN_CONTAINERS, size // limits.BYTES_PER_CONTAINER)
    try:
        for _ in repeat(None, limits.MAX_OPCODES // _CHUNK):
            for _ in repeat(None, _CHUNK):
                op = data[pos]
                pos += 1
                if op == 0x71:  # BINPUT: most of a small pickle's, the first 256 of any
                    memo[data[pos]] = stack[-1]
                    pos += 1
                elif op == 0x68:  # BINGET
                    push(memo[data[pos]])
                    pos += 1
                elif op == 0x58:  # BINUNICODE
                    end = pos + 4 + _u4(data, pos)[0]
                    if end > size:
                        pos = size
                        raise IndexError
                    text = str(data[pos + 4 : end], "utf-8", "surrogatepass")
                    push(text if end - pos < limits.LONG_STRING else machine.once(text))
                    pos = end
                    if data[pos] == 0x71:  # BINPUT, as behind nearly every text
                        pos += 1
                        memo[data[pos]] = stack[-1]
                        pos += 1
                elif op == 0x72:  # LONG_BINPUT
                    memo[_u4(data, pos)[0]] = stack[-1]
                    pos += 4
                elif op == 0x4B:  # BININT1
                    push(data[pos])
                    pos += 1
                elif op == 0x28:  # MARK
                    if data[pos] == 0x28 and stack and (tensor := follow(machine, stack[-1], pos - 1)):
                        stack[-1], pos = tensor
                        made += MADE
                        continue
                    marks.append(stack)
                    stack = []
                    push = stack.append
                    made += 1
                elif op == 0x7D:  # EMPTY_DICT
                    made += 1
                    push({})
                elif op == 0x75:  # SETITEMS
                    pairs = stack
                    stack = marks.pop()
                    push = stack.append
                    machine.set_items(stack[-1], pairs)
                elif op == 0x4A:  # BININT
                    push(_i4(data, pos)[0])
                    pos += 4
                elif op == 0x8A and data[pos] <= 8:  # LONG1, as half of a Mersenne Twister's state is
                    end = pos + 1 + data[pos]
                    if end > size:
                        pos = size
                        raise IndexError
                    push(int.from_bytes(data[pos + 1 : end], "little", signed=True))
                    pos = end
                elif op == 0x89:  # NEWFALSE
                    push(False)
                elif op == 0x47:  # BINFLOAT
                    push(_f8(data, pos)[0])
                    pos += 8
                elif op == 0x74:  # TUPLE
                    made += 1
                    items = tuple(stack)
                    stack = marks.pop()
                    push = stack.append
                    push(items)
                elif op == 0x52:  # REDUCE
                    args = stack.pop()
                    callee = stack[-1]
                    made += 4  # the most costly of all values
                    stack[-1] = machine.call(callee, args)
                elif op == 0x29:  # EMPTY_TUPLE
                    push(())
                elif op == 0x6A:  # LONG_BINGET
                    push(memo[_u4(data, pos)[0]])
                    pos += 4
                elif op == 0x86:  # TUPLE2
                    made += 1
                    last = stack.pop()
                    stack[-1] = (stack[-1], last)
                elif op == 0x4D:  # BININT2
                    push(_u2(data, pos)[0])
                    pos += 2
                elif op == 0x85:  # TUPLE1
                    made += 1
                    stack[-1] = (stack[-1],)
                elif op == 0x51:  # BINPERSID
                    stack[-1] = machine.persistent(machine.reading, stack[-1])
                elif op == 0x94:  # MEMOIZE
                    memo[len(memo)] = stack[-1]
                elif op == 0x8C:  # SHORT_BINUNICODE
                    end = pos + 1 + data[pos]
                    if end > size:
                        pos = size
                        raise IndexError
                    push(str(data[pos + 1 : end], "utf-8", "surrogatepass"))
                    pos = end
                elif op == 0x87:  # TUPLE3
                    made += 1
                    last = stack.pop()
                    middle = stack.pop()
                    stack[-1] = (stack[-1], middle, last)
                elif op == 0x88:  # NEWTRUE
                    push(True)
                elif op == 0x4E:  # NONE
                    push(None)
                elif op == 0x73:  # SETITEM
                    value = stack.pop()
                    key = stack.pop()
                    machine.set_items(stack[-1], [key, value])
                elif op == 0x5D:  # EMPTY_LIST
                    made += 1
                    push([])
                elif op == 0x65:  # APPENDS
                    items_ = stack
                    stack = marks.pop()
                    push = stack.append
                    machine.extend(stack[-1], items_)
                elif op == 0x61:  # APPEND
                    item = stack.pop()
                    machine.extend(stack[-1], [item])
                elif op == 0x62:  # BUILD
                    state = stack.pop()
                    machine.build(stack[-1], state)
                    if type(stack[-1]) is Opaque and stack[-1].callee == _RAW_ARRAY:
                        pos = _behind_array(data, pos, state)
                elif op == 0x2E:  # STOP
                    if not stack:
                        raise Stop("STOP finds nothing on the stack")
                    machine.reading.root = stack.pop()
                    machine.reading.finished = True
                    return
                else:
                    machine.stack, machine.pos = stack, pos
                    machine.reading.opcodes.add(op)
                    RARE.get(op, unknown)(machine)
                    stack, pos = machine.stack, machine.pos
                    push = stack.append
            machine.made += made
            made = 0
            if max(machine.made, len(memo), len(machine.bytes_at)) > most:
                raise Stop(f"more than {most:,} containers, calls or remembered values", "limit-exceeded")
        raise Stop(f"more than {limits.MAX_OPCODES:,} opcodes", "limit-exceeded")
    finally:
        machine.pos = max(machine.pos, pos)  # an opcode that failed may have gone further
