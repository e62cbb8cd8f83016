"""The opcodes that a torch pickle holds seldom: one small function each, from a `Machine` to nothing."""

from __future__ import annotations

from codecs import decode, escape_decode
from collections.abc import Callable, Mapping

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import COMPUTED, Machine, Stop
from ckpt_doctor.types import Global, Opaque


def unknown(machine: Machine) -> None:
    """A byte that is no opcode."""
    raise Stop(f"byte 0x{machine.data[machine.pos - 1]:02x} is not a pickle opcode")


def _length(machine: Machine, width: int) -> int:
    return int.from_bytes(machine.take(width), "little")


# --- protocol and stack ----------------------------------------------------------------------------------------------


def _proto(machine: Machine) -> None:
    version = machine.take(1)[0]
    if version > 5:
        machine.soft("malformed-pickle", f"pickle protocol {version} does not exist")
    machine.reading.protocol = version


def _frame(machine: Machine) -> None:
    length = _length(machine, 8)
    if length > len(machine.data) - machine.pos:
        machine.soft("malformed-pickle", f"a frame of {length:,} bytes reaches beyond the end")


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _dup(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _decimal(line: bytes) -> int:
    if len(line) > limits.MAX_DECIMAL_DIGITS:
        raise Stop("a decimal number of too many digits", "limit-exceeded")
    try:
        return int(line, 0)
    except ValueError:
        raise Stop("a number is not a number") from None


def _get(machine: Machine) -> None:
    machine.stack.append(machine.memo[_decimal(machine.line())])


def _put(machine: Machine) -> None:
    index = _decimal(machine.line())
    machine.memo[index] = machine.stack[-1]


# --- numbers and text ------------------------------------------------------------------------------------------------


def _int(machine: Machine) -> None:
    line = machine.line()
    machine.stack.append(line == b"01" if line in (b"00", b"01") else _decimal(line))


def _long_line(machine: Machine) -> None:
    line = machine.line()
    machine.stack.append(_decimal(line[:-1] if line.endswith(b"L") else line))


def _push_long(machine: Machine, raw: bytes) -> None:
    if len(raw) * 8 <= limits.MAX_INT_BITS:
        machine.stack.append(int.from_bytes(raw, "little", signed=True))
        return
    # Printing such a number takes quadratic time; as a call it says the same and costs nothing
    value = int.from_bytes(raw, "little", signed=True)
    machine.stack.append(Opaque(Global("builtins", "int"), (f"{value:x}", 16)))


def _long1(machine: Machine) -> None:
    _push_long(machine, machine.take(_length(machine, 1)))


def _long4(machine: Machine) -> None:
    length = _length(machine, 4)
    if length >= 1 << 31:
        raise Stop("a number of negative length")
    _push_long(machine, machine.take(length))


def _float(machine: Machine) -> None:
    try:
        machine.stack.append(float(machine.line()))
    except ValueError:
        raise Stop("a number is not a number") from None


def _eight_bit(machine: Machine, raw: bytes) -> None:
    # torch/serialization.py, `load`: `encoding="utf-8"` unless given; Python 2 wrote any 8-bit string
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        machine.reading.latin1 = True
        text = raw.decode("latin-1")
    machine.stack.append(machine.once(text) if len(text) >= limits.LONG_STRING else text)


def _text_line(machine: Machine) -> bytes:
    return machine.line(len(machine.data))  # as long as the text is, unlike a name or a number


def _string_line(machine: Machine) -> None:
    line = _text_line(machine).strip()
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise Stop("a string has no quotes")
    try:
        raw = escape_decode(line[1:-1])[0]
    except ValueError:
        raise Stop("a string has a broken escape") from None
    _eight_bit(machine, raw)


def _binstring(machine: Machine) -> None:
    length = _length(machine, 4)
    if length >= 1 << 31:
        raise Stop("a string of negative length")
    _eight_bit(machine, machine.take(length))


def _short_binstring(machine: Machine) -> None:
    _eight_bit(machine, machine.take(_length(machine, 1)))


def _unicode_line(machine: Machine) -> None:
    text = decode(_text_line(machine), "raw_unicode_escape")
    machine.stack.append(machine.once(text) if len(text) >= limits.LONG_STRING else text)


def _binunicode8(machine: Machine) -> None:
    machine.stack.append(machine.once(str(machine.take(_length(machine, 8)), "utf-8", "surrogatepass")))


def _push_bytes(machine: Machine, raw: bytes) -> None:
    if len(raw) >= limits.LONG_STRING:
        raw = machine.once_bytes(raw)
    if len(raw) >= limits.SHORTEST_STREAM:
        machine.bytes_at.setdefault(id(raw), machine.pos - len(raw))
    machine.stack.append(raw)


def _short_binbytes(machine: Machine) -> None:
    _push_bytes(machine, machine.take(_length(machine, 1)))


def _binbytes(machine: Machine) -> None:
    _push_bytes(machine, machine.take(_length(machine, 4)))


def _binbytes8(machine: Machine) -> None:
    _push_bytes(machine, machine.take(_length(machine, 8)))


def _bytearray8(machine: Machine) -> None:
    machine.stack.append(bytearray(machine.take(_length(machine, 8))))


def _buffer(machine: Machine) -> None:
    raise Stop("it refers to out-of-band buffers, which a file cannot carry")


# --- containers ------------------------------------------------------------------------------------------------------


def _list(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.made += 1
    machine.stack.append(items)


def _dict(machine: Machine) -> None:
    pairs = machine.pop_mark()
    machine.made += 1
    made: dict[object, object] = {}
    machine.set_items(made, pairs)
    machine.stack.append(made)


def _empty_set(machine: Machine) -> None:
    machine.made += 1
    machine.stack.append(set())


def _additems(machine: Machine) -> None:
    items = machine.pop_mark()
    target = machine.stack[-1]
    if type(target) is set:
        target.update(map(machine.key, items))
    elif type(target) is Opaque:
        machine.fills(target)
        target.items += items
    else:
        machine.misuse(target, "adds to")


def _frozenset(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.made += 1
    machine.stack.append(frozenset(map(machine.key, items)))


# --- names and calls -------------------------------------------------------------------------------------------------


def _global(machine: Machine) -> None:
    module = machine.line().decode("utf-8")
    name = machine.line().decode("utf-8")
    machine.stack.append(machine.name(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.name(module, name))


def _inst(machine: Machine) -> None:
    module = machine.line().decode("utf-8")
    name = machine.line().decode("utf-8")
    args = tuple(machine.pop_mark())
    machine.stack.append(machine.call(machine.name(module, name), args, "inst"))


def _obj(machine: Machine) -> None:
    items = machine.pop_mark()
    if not items:
        raise Stop("OBJ names no class")
    machine.stack.append(machine.call(items[0], tuple(items[1:]), "inst"))


def _newobj(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args, "newobj")


def _newobj_ex(machine: Machine) -> None:
    kwargs, args = machine.stack.pop(), machine.stack.pop()
    machine.made += 1
    made = Opaque(machine.stack[-1], args, kwargs, "newobj_ex")
    machine.judge(made)
    machine.stack[-1] = made


def _persid(machine: Machine) -> None:
    pid = machine.line().decode("ascii", "replace")
    machine.stack.append(machine.persistent(machine.reading, pid))


def _extension(machine: Machine, width: int) -> None:
    # copyreg.add_extension: a number that stands for a class by agreement of both programs
    code = _length(machine, width)
    machine.name("copyreg", f"{COMPUTED[:-1]} extension {code}>")
    machine.made += 1
    machine.stack.append(Opaque(None, code, via="ext"))


def _ext1(machine: Machine) -> None:
    _extension(machine, 1)


def _ext2(machine: Machine) -> None:
    _extension(machine, 2)


def _ext4(machine: Machine) -> None:
    _extension(machine, 4)


RARE: Mapping[int, Callable[[Machine], None]] = {
    0x80: _proto,
    0x95: _frame,
    0x30: _pop,
    0x31: _pop_mark,
    0x32: _dup,
    0x46: _float,
    0x49: _int,
    0x4C: _long_line,
    0x50: _persid,
    0x53: _string_line,
    0x54: _binstring,
    0x55: _short_binstring,
    0x56: _unicode_line,
    0x63: _global,
    0x64: _dict,
    0x67: _get,
    0x69: _inst,
    0x6C: _list,
    0x6F: _obj,
    0x70: _put,
    0x42: _binbytes,
    0x43: _short_binbytes,
    0x8D: _binunicode8,
    0x8E: _binbytes8,
    0x8F: _empty_set,
    0x90: _additems,
    0x91: _frozenset,
    0x81: _newobj,
    0x82: _ext1,
    0x83: _ext2,
    0x84: _ext4,
    0x8A: _long1,
    0x8B: _long4,
    0x92: _newobj_ex,
    0x93: _stack_global,
    0x96: _bytearray8,
    0x97: _buffer,
    0x98: _buffer,
}
"""Opcode -> what it does (CPython `Lib/pickle.py`, `_Unpickler.dispatch`)."""
