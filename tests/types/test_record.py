"""`record` makes what `dataclass` makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from ckpt_doctor.types.record import briefly, record

Made = Callable[..., Any]


def point(decorator: Callable[[type], type]) -> Made:
    class Point:
        """A class with every kind of field."""

        table: ClassVar[int] = 1
        x: int
        name: str = "origin"
        tags: list[str] = dataclasses.field(default_factory=list)
        shown: object = dataclasses.field(default=None, compare=False, repr=False)

    return decorator(Point)


BOTH = pytest.mark.parametrize("slots", [False, True])
CALLS = [((1,), {}), ((1, "a", ["t"], 2), {}), ((), {"x": 3, "tags": ["u"]}), ((1,), {"name": ""})]


@BOTH
@pytest.mark.parametrize(("values", "named"), CALLS)
def test_an_object_has_the_fields_text_and_hash_of_a_dataclass(values, named, slots):
    ours = point(record(frozen=True, slots=slots))
    theirs = point(dataclasses.dataclass(frozen=True, slots=slots))
    for _ in range(2):  # the first object, and those after it
        assert dataclasses.asdict(theirs(*values, **named)) == dataclasses.asdict(ours(*values, **named))
        assert repr(theirs(*values, **named)) == repr(ours(*values, **named))
    assert ours(*values, **named) == ours(*values, **named)


@BOTH
@pytest.mark.parametrize(("values", "named"), [((), {}), ((1,), {"x": 1}), ((1,), {"other": 1}), (range(5), {})])
def test_a_call_that_does_not_fit_raises_at_the_first_object_and_at_the_next(values, named, slots):
    made = point(record(slots=slots))
    for _ in range(2):
        with pytest.raises(TypeError):
            made(*values, **named)


def test_each_object_has_a_default_of_its_own():
    made = point(record())
    made(1).tags.append("mine")
    assert [] == made(1).tags


def test_replace_makes_an_object_with_the_other_fields_as_they_were():
    made = point(record(frozen=True))
    assert made(2, "a", ["t"]) == dataclasses.replace(made(1, "a", ["t"]), x=2)


def test_a_record_that_inherits_has_all_fields():
    base: Any = point(record(frozen=True))

    @record(frozen=True)
    class Longer(base):
        z: int = 5

    assert (1, 5) == (Longer(1).x, Longer(1).z)
    assert base(1) == base(1) != Longer(1)


def test_equal_objects_have_one_hash_where_they_are_frozen():
    @record(frozen=True)
    class Pair:
        a: int
        b: int = 0

    assert hash(Pair(1)) == hash(Pair(1, 0)) != hash(Pair(2))
    with pytest.raises(TypeError):
        hash(point(record())(1))


def test_a_result_is_one_short_line_whatever_it_holds():
    @record(frozen=True)
    class Result:
        name: str
        whole: object
        tree: dict
        number: int
        parts: tuple = ()
        nothing: object = None

        __repr__ = briefly

    shown = repr(Result("a\nb" * 10**6, Result("x", None, {}, 1), {i: [i] * 100 for i in range(1000)}, 10**5000))
    assert len(shown) < 300
    assert shown.startswith("test_a_result_is_one_short_line_whatever_it_holds.<locals>.Result(name='a\\nb")
    assert "tree=<1000>" in shown
    assert "\n" not in shown
    assert "nothing" not in shown
