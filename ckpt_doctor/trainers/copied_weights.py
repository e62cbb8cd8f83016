"""Weights that are those of another step's checkpoint, by a few of their tensors.

The files of weights have no checksums, by which `copied` goes, so some small tensors are read. Only in full precision:
weights of fewer bits stay the same where a step is too small for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

from ckpt_doctor.readers.tensor_bytes import read_tensors
from ckpt_doctor.remote import RemotePath
from ckpt_doctor.trainers.copied import has_lone_pair
from ckpt_doctor.trainers.random_twins import is_of_another_time
from ckpt_doctor.trainers.state import trains
from ckpt_doctor.types import Case, Checkpoint, Member, Run, TensorInfo
from ckpt_doctor.types.record import kept
from ckpt_doctor.validators.rule import Problem, rule

MOST_BYTES = 16_384
"""Of a tensor that is read."""
MOST = 4
"""Files of weights that are looked at, and tensors that are read of each."""
_MAY_REST = ("model_", "pytorch_model_", "custom_")
"""Further models and registered objects: a target network, the best weights so far, an average."""
Digest = tuple[object, ...]
Save = tuple[int, Member, Digest]


@rule("P409", "parts-disagree", "warning")
def copied_weights(case: Case) -> Iterator[Problem]:
    """The weights are those of another step's checkpoint, while others of the run differ within no more steps.

    Example: a folder that was synchronised by halves, with the next checkpoint's `model.safetensors`.

    Cure: none in the folder; resume from a checkpoint with weights of its own.

    Source: `Trainer._load_from_checkpoint` and accelerate/checkpointing.py, `load_accelerator_state`, which read no
    step in the weights.
    """
    if other := copied_from(case.member, case.run):
        yield Problem(
            f"the weights are those of {other}, as far as they were read, and the step is another: one of the two has "
            "the other's, and diverges at the first batch",
            where="the model",
            fix="resume from a checkpoint with weights of its own",
        )


def copied_from(member: Member, run: Run) -> str:
    """The label of another step's checkpoint that has the same weights; empty without one."""
    return _copies(run).get(member.label, "")


@kept
def _copies(run: Run) -> Mapping[str, str]:
    """Two checkpoints with the same weights count only where two that are no further apart have others.

    Of these the one is told whose weights were written at another time than its other files; else both are."""
    told = [(step, m) for m in run.members if (step := _step(m)) is not None]
    if len(told) < 3:
        return {}
    held: dict[str, list[Save]] = {}
    for step, member in sorted(told, key=lambda one: one[0]):
        for name, digest in _digests(member.checkpoint):
            held.setdefault(name, []).append((step, member, digest))
    found = (
        (name, saves)
        for name, saves in held.items()
        if not name.startswith(_MAY_REST) or has_lone_pair(dict.fromkeys((step, digest) for step, _, digest in saves))
    )
    return {label: other for name, saves in found for label, other in _shared(name, saves)}


def _shared(name: str, saves: Sequence[Save]) -> Iterator[tuple[str, str]]:
    apart = [later[0] - first[0] for first, later in pairwise(saves) if first[2] != later[2]]
    least = min((distance for distance in apart if distance), default=None)
    groups: dict[Digest, list[Save]] = {}
    for save in saves:
        groups.setdefault(save[2], []).append(save)
    for group in groups.values():
        (first, one, _), (last, other, _) = group[0], group[-1]
        if least is None or last - first < least or not trains(one):
            continue
        late = [save for save in group if is_of_another_time(save[1].checkpoint, name)]
        for _, member, _ in late if 0 < len(late) < len(group) else group:
            yield member.label, (other if member is one else one).label


def _step(member: Member) -> int | None:
    """The step of a checkpoint; where nothing counts it, as of SGD, the schedule's position, or what its name says."""
    state = member.state
    return next((one for one in (state.global_step, state.last_epoch, member.named_step) if one is not None), None)


def _digests(checkpoint: Checkpoint) -> Iterator[tuple[str, Digest]]:
    """Names of files of weights, each with some tensors that can be read; the first few."""
    parts = () if isinstance(checkpoint.path, RemotePath) else checkpoint.parts
    for part in islice((part for part in parts if part.layout == "state-dict"), MOST):
        small = [tensor for tensor in part.tensors if _is_read(tensor)]
        chosen = small[:: max(1, len(small) // MOST)][:MOST]
        read = read_tensors(part, chosen, MOST_BYTES) if chosen else []
        if read and None not in read:
            yield checkpoint.name_of(part), (part.size, *map(hash, read))


def _is_read(tensor: TensorInfo) -> bool:
    return tensor.dtype == "float32" and bool(tensor.shape) and 0 < tensor.nbytes <= MOST_BYTES
