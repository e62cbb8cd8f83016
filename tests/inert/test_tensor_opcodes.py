"""A tensor followed in one step is what its opcodes give one by one."""

from __future__ import annotations

import io
import pickle
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.inert import pickle_reader
from ckpt_doctor.inert.tensor_opcodes import follow
from ckpt_doctor.inert.tree import same

MANY = 40
"""Tensors that take more than 256 entries of a memo."""


class Pickler(pickle.Pickler):
    """Names storages as `torch.save` does."""

    def __init__(self, file: io.BytesIO, place: str, rest: tuple[object, ...]) -> None:
        super().__init__(file, 2)
        self.place, self.rest, self.keys = place, rest, {}

    def persistent_id(self, obj: object) -> object:
        if not isinstance(obj, torch.storage.TypedStorage):
            return None
        key = self.keys.setdefault(obj._cdata, str(len(self.keys)))
        kind = getattr(torch, obj._pickle_storage_type())
        place = self.place[:3] + self.place[3:]  # "cpu" is one object, "cuda:0" another each time
        return "storage", kind, key, place, obj._size(), *self.rest


def pickled(value: object, place: str = "cpu", rest: tuple[object, ...] = ()) -> bytes:
    file = io.BytesIO()
    Pickler(file, place, rest).dump(value)
    return file.getvalue()


def tensors(most_dimensions: int = 9) -> dict[str, object]:
    shapes = [(2,) * (count % (most_dimensions + 1)) for count in range(MANY)]
    values: dict[str, object] = {f"layer.{count}": torch.ones(shape) for count, shape in enumerate(shapes)}
    return values | {
        "wide": torch.zeros(70_000, 2).T,
        "view": torch.zeros(9)[3:],
        "half": torch.zeros(3, dtype=torch.float16),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
        "again": values["layer.3"],
        "moments": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(300)}},
    }


def both(data: bytes) -> tuple[pickle_reader.Reading, int]:
    """Read in one step and opcode by opcode, which must agree; how many tensors came in one step."""
    steps = []

    def counted(*arguments: object) -> object:
        found = follow(*arguments)
        steps.append(found is not None)
        return found

    with mock.patch.object(pickle_reader, "follow", counted):
        quick = pickle_reader.read(data)
    with mock.patch.object(pickle_reader, "follow", lambda *_: None):
        slow = pickle_reader.read(data)
    assert same(quick.root, slow.root) is None
    for name in ("globals", "storages", "damage", "end", "finished", "ran_out", "opcodes", "calls"):
        assert getattr(quick, name) == getattr(slow, name), name
    return quick, sum(steps)


@pytest.mark.parametrize("place", ["cpu", "cuda:0"])
@pytest.mark.parametrize("rest", [(), (None,)], ids=["archive", "stream"])
def test_tensors_are_followed_in_one_step(place, rest):
    """All but the first, a view, those of nine dimensions, and the one where the memo's opcode changes."""
    values = tensors(most_dimensions=8)
    reading, steps = both(pickled(values, place, rest))
    assert reading.finished and not reading.damage
    assert steps >= len(values) - 5
    assert {storage.location for storage in reading.storages.values()} == {place}


PICKLES = [pickled(tensors()), pickled(tensors(), "cuda:0"), pickled(tensors(), "cpu", (None,))]


@given(st.sampled_from(PICKLES), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3), st.integers(0))
def test_damaged_ones_are_the_same_both_ways(data, changes, length):
    """Whatever bytes are changed or cut off."""
    spoiled = bytearray(data)
    for at, byte in changes:
        spoiled[at % len(data)] = byte
    both(bytes(spoiled[: length % len(data)] if length % 3 == 0 else spoiled))


@pytest.mark.parametrize("opcode", [b"h", b"q", b"r", b"K", b"(", b"t", b"R", b"X"])
def test_opcodes_in_the_place_of_others(opcode):
    """At each byte of one tensor."""
    data = PICKLES[0]
    for at in range(data.index(b"layer.4"), data.index(b"layer.5")):
        both(data[:at] + opcode + data[at + 1 :])
