"""What tests of the Drive folder ask of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from click.testing import Result

from ckpt_doctor import scan
from ckpt_doctor.types import Advice, RunReport

Call = Callable[..., Result]
HEADS = r"resume from |nothing here is safe|nothing is left to train|resume not judged|\S+ is not safe"
ANSWER = re.compile(rf"(.{{1,60}}: )?({HEADS})")
FILLED_IN = {"LOSS": "0.5", "EPOCH": "2", "STEPS_PER_EPOCH": "45", "WORLD_SIZE": "1"}
"""What a person might know."""


def is_answer(line: str) -> bool:
    """Whether a line says what to do, for a run that it names where there are several."""
    return ANSWER.match(line) is not None


def runs() -> dict[str, RunReport]:
    """The runs of the Drive folder by the names of their folders."""
    return {run.run.path.name.rpartition("_Exp_0-")[2]: run for run in scan().runs}


def advice(name: str) -> Advice:
    """What to do about one of them."""
    found = runs()[name].advice
    assert found is not None
    return found


def commands(printed: str) -> list[list[str]]:
    """The commands that a text shows, blanks filled in."""
    found = re.findall(r"ckpt-doctor (?:migrate|salvage|check) .*", printed)
    return [[FILLED_IN.get(word, word) for word in shlex.split(line)[1:]] for line in dict.fromkeys(found)]
