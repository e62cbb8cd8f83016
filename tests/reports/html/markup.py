"""The tags of a page, read strictly."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from ckpt_doctor.reports import judged
from ckpt_doctor.types import Curve, Report

VOID = {"meta"}


class Tags(HTMLParser):
    """Collects tags and their attributes, and demands that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser.seen


def page(report: Report, curves: Sequence[Curve] = (), **style: Any) -> str:
    """The page of a report, with the curves of its runs."""
    by_run = {curve.run: curve for curve in curves}
    return judged(report, "html", curve=lambda run: by_run.get(run.run.path), **style)
