"""Which parts a resume needs, and which of them a checkpoint lacks."""

from __future__ import annotations

from ckpt_doctor.trainers.hf_trainer.command import command_in
from ckpt_doctor.trainers.hf_trainer.layout import (
    OPTIMIZER,
    SCHEDULER,
    STATE,
    file_names,
    has_optimizer,
    has_scheduler,
    has_weights,
    ranks,
)
from ckpt_doctor.types import Checkpoint, mapping_of
from ckpt_doctor.validators.files import UNTRUSTED


def missing(checkpoint: Checkpoint) -> list[str]:
    """The parts that are not there, in the order in which the Trainer writes them; the model as `the model`."""
    found = {
        "the model": has_weights(checkpoint),
        OPTIMIZER: has_optimizer(checkpoint),
        SCHEDULER: has_scheduler(checkpoint),
        STATE: STATE in file_names(checkpoint),
    }
    return [name for name, is_there in found.items() if not is_there]


def is_weights_only(checkpoint: Checkpoint) -> bool:
    """Whether optimizer and schedule were left out on purpose.

    As the saved command says; or because nothing of the training is there but the state, which is written last, so that
    the save was not cut off.
    """
    if has_optimizer(checkpoint) or SCHEDULER in file_names(checkpoint):
        return False
    stripped = STATE in file_names(checkpoint) and not ranks(checkpoint)
    return stripped or command_in(checkpoint).is_on("save_only_model")


def is_lost(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a part is there, and is cut off or holds something else than its state."""
    part = next((part for part in checkpoint.parts if checkpoint.name_of(part) == name), None)
    if part is None:
        return False
    held = mapping_of(part.root)
    is_other = held is None or (name == STATE and not {"global_step", "log_history"} & held.keys())
    return is_other or part.is_damaged(*UNTRUSTED)
