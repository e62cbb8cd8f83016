"""A `getattr` that only names a method is what it names; any other may be anything."""

from __future__ import annotations

import enum

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import dangerous, with_program
from tests.readers.torch_files import save


class Level(enum.Enum):
    """As Python 3.11 pickles it: `getattr(Level, "HIGH")`."""

    HIGH = 1

    def __reduce_ex__(self, protocol):
        return getattr, (type(self), self.name)


def test_getattr_that_names_a_method(tmp_path):
    """A class's function in protocol 2, and an Enum's member: judged by what they name, not as an attack."""
    scheduler = torch.optim.lr_scheduler.OneCycleLR
    value = {"anneal_func": scheduler._annealing_cos, "again": scheduler._annealing_linear, "level": Level.HIGH}
    path = save(tmp_path / "a", value)
    assert b"getattr" in path.read_bytes()
    names = {str(name) for name in open_checkpoint(path).globals}
    assert {"torch.optim.lr_scheduler.OneCycleLR._annealing_cos", f"{__name__}.Level.HIGH"} < names
    assert [] == dangerous(path)


GETATTR = b"\x80\x02cbuiltins\ngetattr\nq\x00"


NAMED = b"ctorch.optim.lr_scheduler\nOneCycleLR\nX\x0e\x00\x00\x00_annealing_cos\x86R"


ATTACKS = {
    "of a module": GETATTR + b"cposixpath\nos\nX\x06\x00\x00\x00system\x86R.",
    "of a dictionary": GETATTR + b"ctorch.optim.lr_scheduler\nOneCycleLR\nX\x0b\x00\x00\x00__globals__\x86R.",
    "of another getattr": GETATTR + b"h\x00" + NAMED + b"X\x08\x00\x00\x00anything\x86R.",
    "a dotted name": GETATTR + b"ctorch\nnn\nX\x09\x00\x00\x00os.system\x86R.",
    "handed to a call": GETATTR + NAMED + b"0cpackage\napply\nh\x00\x85R.",
    "handed on from another memo": GETATTR + b"q\x05" + NAMED + b"0cpackage\napply\nh\x05\x85R.",
    "kept in a list": GETATTR + NAMED + b"0]h\x00a.",
    "doubled": GETATTR + b"2cpackage\napply\n\x850" + NAMED + b".",
    "by a name on the stack": GETATTR + NAMED + b"0\x8c\x08builtins\x8c\x07getattr\x93.",
    "called as a method": GETATTR + b"cpackage\nThing\n)\x81X\x03\x00\x00\x00run\x86R)R.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_getattr_that_may_be_anything(tmp_path, attack):
    """Any other use of it is dangerous: on a module, on its own result, handed to something that calls it."""
    assert open_checkpoint(with_program(tmp_path / "a", ATTACKS[attack])).is_damaged("dangerous-global")
