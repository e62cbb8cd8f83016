"""What is known of the trainers whose checkpoints are judged: a package each, a value of `Trainer` each."""

from ckpt_doctor.errors import UsageError
from ckpt_doctor.trainers.time_llm import TIME_LLM
from ckpt_doctor.trainers.trainer import ByHand, Trainer
from ckpt_doctor.trainers.unknown import UNKNOWN, not_judged

KNOWN: tuple[Trainer, ...] = (TIME_LLM,)
"""Every trainer that recognises checkpoints; the first that recognises one owns it."""
TRAINERS: tuple[Trainer, ...] = (*KNOWN, UNKNOWN)
"""With the last, which owns the rest."""


def trainer_named(name: str) -> Trainer:
    """The trainer of that name, empty for the unknown one. Raises UsageError for a name that no trainer has."""
    for trainer in TRAINERS:
        if trainer.name == name:
            return trainer
    raise UsageError(f"there is no trainer {name!r}; there are {', '.join(trainer.name for trainer in KNOWN)}")


__all__ = ["KNOWN", "TRAINERS", "UNKNOWN", "ByHand", "Trainer", "not_judged", "trainer_named"]
