"""`contents`: the dicts that a save may write, with their keys."""

from __future__ import annotations

import pytest

from ckpt_doctor.lint.effects import saves
from ckpt_doctor.lint.saved_dicts import contents
from tests.lint.sources import program_of

WRITTEN = {
    "a literal": ("torch.save({'a': 1, 'b': 2}, p)", ["a b"]),
    "a call of dict": ("torch.save(dict(a=1, b=2), p)", ["a b"]),
    "a dict in a dict": ("torch.save({'a': {'b': 1}}, p)", ["b a"]),
    "either of two": ("torch.save({'a': 1} if x else {'b': 2}, p)", ["a", "b"]),
    "one over the other": ("torch.save({'a': 1} | {'b': 2}, p)", ["a b"]),
    "one unpacked into the other": ("more = {'b': 2}\ntorch.save({'a': 1, **more}, p)", ["a b"]),
    "unknown keys unpacked": ("torch.save({'a': 1, **extra()}, p)", ["a ..."]),
    "a key set later": ("s = {'a': 1}\ns['b'] = 2\ntorch.save(s, p)", ["a b"]),
    "a default set later": ("s = {'a': 1}\ns.setdefault('b', 2)\ntorch.save(s, p)", ["a b"]),
    "an update": ("s = {'a': 1}\ns.update({'b': 2}, c=3)\ntorch.save(s, p)", ["a b c"]),
    "an update by an operator": ("s = {'a': 1}\ns |= {'b': 2}\ntorch.save(s, p)", ["a b"]),
    "a computed key": ("s = {'a': 1}\ns[k] = 2\ntorch.save(s, p)", ["a ..."]),
    "a key of another variable": ("s = {'a': 1}\nt['b'] = 2\ntorch.save(s, p)", ["a"]),
    "a parameter": ("def save(s):\n    torch.save(s, p)\nsave({'a': 1})\nsave({'b': 2})", ["a", "b"]),
    "all arguments": ("def save(*args):\n    torch.save(*args)\nsave({'a': 1}, p)", ["a"]),
    "what a function returns": ("def s():\n  if x: return {'a': 1}\n  return {'b': 2}\ntorch.save(s(), p)", ["a", "b"]),
    "one dict by two ways": ("def s():\n  if x: return t\n  return t\nt = {'a': 1}\ntorch.save(s(), p)", ["a"]),
    "a dict of itself": ("s = {'a': 1}\ns.update(s)\ntorch.save(s, p)", ["a ..."]),
    "something else": ("torch.save(model, p)", []),
}  # fmt: skip


@pytest.mark.parametrize(("text", "keys"), WRITTEN.values(), ids=WRITTEN)
def test_the_keys_of_a_saved_dict_are_read(text, keys, tmp_path):
    assert keys == saved(tmp_path, f"import torch\n{text}\n")


def test_the_ways_to_combine_dicts_are_bounded(tmp_path):
    """Seven dicts of two forms each have 128 combinations."""
    parts = " | ".join(f"({{'a{i}': 1}} if x{i} else {{'b{i}': 1}})" for i in range(7))
    assert 1 < len(saved(tmp_path, f"import torch\ntorch.save({parts}, p)\n")) < 64


def saved(folder, text: str) -> list[str]:
    """`a b` for a dict of these keys; `...` behind them where it may have others. Of the script's only save."""
    program = program_of(folder, text)
    (save,) = saves(program)
    return sorted(" ".join([*found.values, *["..."] * found.is_open]) for found in contents(program, save))
