from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ckpt_doctor import trainers
from ckpt_doctor.trainers import Trainer


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Trainer], None]]:
    """Makes a trainer known, for one test: it comes before all others."""

    def add(trainer: Trainer) -> None:
        monkeypatch.setattr(trainers, "KNOWN", (trainer, *trainers.KNOWN))
        forget()

    def forget() -> None:
        for cached in (trainers.file_rules, trainers.all_rules):
            cached.cache_clear()

    yield add
    forget()
