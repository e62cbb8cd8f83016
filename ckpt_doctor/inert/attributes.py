"""Tells a `getattr` that only names something from one that an attacker could make into anything.

Below protocol 4 Python spells a method or a nested class as the call `getattr(owner, "name")`. OneCycleLR's state in
torch 1.3 to 2.0 (`anneal_func`) and members of an Enum are written so, and so is nearly every exploit.
"""

from __future__ import annotations

from ckpt_doctor.inert.calls import attribute
from ckpt_doctor.inert.pickle_machine import Reading

GETATTR = ("builtins", "getattr")
_SPELLINGS = ("builtins getattr", "__builtin__ getattr")


def resolve(data: bytes, reading: Reading) -> None:
    """Put what the `getattr` calls of a reading name in the place of `builtins.getattr` in `reading.globals`.

    Only where each mention of `getattr` is called at once with a class (or an instance of one) and a plain name;
    otherwise it stays, to be judged as what it is.
    """
    named = [attribute(call) for call in reading.attributes]
    if None in named or _mentions(data, reading.start) != len(named):
        return
    del reading.globals[GETATTR]
    for name in named:
        if name is not None:
            reading.globals.setdefault((name.module, name.name), name)


def _mentions(data: bytes, start: int) -> int:
    """How often `getattr` is put on the stack, by its name or from the memo; -1 when that cannot be told."""
    import pickletools  # few programs mention it

    found = 0
    memo: dict[int, object] = {}
    pushed: list[object] = []  # by the last opcodes in a row that do nothing else: a text, or True for `getattr`
    try:
        for opcode, argument, _ in pickletools.genops(data[start:]):
            name = opcode.name
            if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else int(str(argument))] = pushed[-1] if pushed else None
                continue
            if name == "INST" or (name == "DUP" and pushed[-1:] == [True]):
                return -1
            if name == "STACK_GLOBAL":
                module, inner = pushed[-2:] if len(pushed) > 1 else (None, None)
                if type(module) is not str or type(inner) is not str:
                    return -1
                pushed = [f"{module} {inner}" in _SPELLINGS or None]
            elif name == "GLOBAL":
                pushed = [argument in _SPELLINGS or None]
            elif "UNICODE" in name:
                pushed.append(argument)
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                pushed.append(memo.get(int(str(argument))))
            else:
                pushed = []
            found += pushed[-1:] == [True]
    except ValueError:
        return -1
    return found
