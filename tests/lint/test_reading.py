"""A path as far as it is known: its literal text, and the folder of it."""

from __future__ import annotations

import ast

import pytest

from ckpt_doctor.lint.module import Site
from ckpt_doctor.lint.reading import Hole, Reading, parent


def reading(*parts: str) -> Reading:
    """`reading("out/", "{epoch}")` has a hole in the place of the epoch."""
    node = ast.Pass()
    return Reading(tuple(Hole(p.strip("{}"), Site(None, node)) if p.startswith("{") else p for p in parts))  # type: ignore


def test_a_hole_is_named_for_people_and_blank_for_patterns() -> None:
    path = reading("out/", "{epoch}", "/last.pt")
    assert ("out/{epoch}/last.pt", "out/{}/last.pt") == (str(path), path.literal)
    assert ["epoch"] == [hole.name for hole in path.holes]


@pytest.mark.parametrize(
    ("parts", "folder"),
    [
        (("out/a.pt",), "out"),
        (("out/run/",), "out"),
        (("out/", "{epoch}", ".pt"), "out"),
        (("{dir}", "/a.pt"), "{dir}"),
        (("{dir}", "/run/", "{epoch}", "/a.pt"), "{dir}/run/{epoch}"),
        (("a.pt",), "."),
        (("{path}",), "{path}"),
        ((), "."),
    ],
)
def test_the_folder_of_a_path(parts: tuple[str, ...], folder: str) -> None:
    """A hole may be a path itself: where no slash is known, it stands for its own folder."""
    assert folder == str(parent(reading(*parts)))
