"""How much a checkpoint holds, and its outline: what reports show once it is judged."""

from __future__ import annotations

import math
from dataclasses import replace

from ckpt_doctor.inert.quantized_weights import quantized_values
from ckpt_doctor.inert.tensor_list import span
from ckpt_doctor.types import MODEL_KEYS, Checkpoint, Counted, TensorInfo


def outline(checkpoint: Checkpoint, parts: tuple[Checkpoint, ...] | None = None) -> Checkpoint:
    """The checkpoint without its content: its keys, its counts and what is wrong with it stay.

    Ten thousand small files are judged in 200 MB otherwise, most of which nobody looks at again. `parts` are the
    outlines of its parts where they are made already, so that nothing is counted twice.
    """
    parts = tuple(map(outline, checkpoint.parts)) if parts is None else parts
    whole = replace(checkpoint, parts=parts)
    return replace(
        checkpoint,
        root=dict.fromkeys(checkpoint.keys),
        tensors=(),
        inner=(),
        globals=(),
        program=None,
        migrations=(),
        checksums={},
        metadata={},
        parts=parts,
        counted=Counted(count_tensors(whole), parameters(whole)),
    )


def count_tensors(checkpoint: Checkpoint) -> int:
    """How many tensors all parts hold."""
    if checkpoint.counted is not None:
        return checkpoint.counted.tensors
    return sum(map(count_tensors, checkpoint.parts)) if checkpoint.parts else len(checkpoint.tensors)


def parameters(checkpoint: Checkpoint) -> int:
    """Elements of the model's tensors (of the whole file where it is a state_dict), shared storage regions once.

    Tied weights are two names for one region (trainer-contract: `word_embeddings` and `llm_model.wte.weight`).
    A quantized weight counts as what it decodes to, and the tables to decode it as nothing, so that a model has as many
    parameters in 4 bits as in 16. Layouts that `quantized_values` does not know count as they are stored. Of a
    checkpoint of several files it is the sum of those that hold a model.
    """
    if checkpoint.counted is not None:
        return checkpoint.counted.parameters
    if checkpoint.parts:
        return sum(
            parameters(part) for part in checkpoint.parts if part.layout != "other" or part.container == "distcp"
        )
    model = list(checkpoint.tensors)
    if checkpoint.container == "distcp":  # whose names are flat: `optimizer.state.0.exp_avg`
        model = [t for t in model if not str(t.path[0]).startswith("optim")]
    if checkpoint.layout == "training":
        under = {tensor.path[0] for tensor in model}
        key = next((key for key in MODEL_KEYS if key in under), None)
        # Several models under other names: their tensors stand directly below, an optimizer's deeper
        model = [t for t in model if (t.path[0] == key if key is not None else len(t.path) == 2)]
    quantized = quantized_values((*checkpoint.tensors, *checkpoint.inner))
    return sum({_region(t): quantized.get(t.path, math.prod(t.shape)) for t in model}.values())


def _region(tensor: TensorInfo) -> object:
    """The elements that a tensor views: the same for a transposed or flattened view of one."""
    if not tensor.storage.key:
        return tensor.path
    place = (tensor.storage.key, tensor.storage_offset)
    count = math.prod(tensor.shape)
    dense = span(tensor.shape, tensor.stride) == count and len(tensor.shape) == len(tensor.stride)
    return (place, count) if dense else (place, tensor.shape, tensor.stride)
