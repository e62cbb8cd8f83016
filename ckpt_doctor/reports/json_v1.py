"""The public JSON, version 1: a promise to scripts, so it changes only by addition and has its own mapping.

Numbers that JSON does not know are strings: `"NaN"`, `"Infinity"`, `"-Infinity"` (Python's `float` and JavaScript's
`Number` read them back); null means absent and nothing else. An integer too long to be one is a string as well.
Characters beyond ASCII are escaped, so the output is the same in every locale and a name can't act on a terminal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ckpt_doctor import types
from ckpt_doctor.inert.quantized_weights import quantized_values
from ckpt_doctor.reports.groups import count
from ckpt_doctor.reports.text import brief, integer

FACTS = (
    "steps_per_epoch",
    "train_epochs",
    "lradj",
    "learning_rate",
    "pct_start",
    "patience",
    "shuffle",
    "world_size",
    "log",
)
TRAINING = (
    "epoch",
    "global_step",
    "last_epoch",
    "step_count",
    "total_steps",
    "optimizer_step",
    "lr",
    "best_score",
    "val_loss_min",
    "counter",
)


def json_v1(report: types.Report, *, version: str, plan: types.ResumePlan | None = None) -> str:
    """A report as JSON text; with the plan of its only file where a check made one.

    `version` is the tool's. Strings are as the file system and the files have them.
    """
    document = as_dict(report, version=version)
    if plan is not None:
        document["plan"] = plan_dict(plan) | {"resume": report.files[0].resume}
    return dumps(document)


def dumps(document: object) -> str:
    """JSON text of what this module's mappings return."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_dict(report: types.Report, *, version: str) -> dict[str, Any]:
    """The document of a scan."""
    verdicts = [file.verdict for file in report.files]
    return {
        "version": 1,
        "tool": {"name": "ckpt-doctor", "version": version},
        "runs": [run_dict(run) for run in report.runs],
        "files": [file_dict(file) for file in report.files],
        "summary": {
            "files": len(verdicts),
            "bytes": sum(file.checkpoint.size for file in report.files),
            "ok": verdicts.count("ok"),
            "repairable": verdicts.count("repairable"),
            "broken": verdicts.count("broken"),
            "errors": count(report, "error"),
            "warnings": count(report, "warning"),
            "seconds": round(report.seconds, 6),
        },
    }


def run_dict(run: types.RunReport) -> dict[str, Any]:
    """One run folder."""
    facts = run.run.facts
    known = {name: fact for name in FACTS if (fact := getattr(facts, name)) is not None}
    return {
        "path": str(run.run.path),
        "lradj": plain(known["lradj"].value) if "lradj" in known else None,
        "steps_per_epoch": plain(known["steps_per_epoch"].value) if "steps_per_epoch" in known else None,
        "train_epochs": plain(known["train_epochs"].value) if "train_epochs" in known else None,
        "evidence": {name: fact.source for name, fact in known.items()},
        "findings": [finding_dict(finding) for finding in run.findings],
    }


def file_dict(file: types.FileReport) -> dict[str, Any]:
    """One checkpoint."""
    checkpoint, state = file.checkpoint, file.member.state
    return {
        "path": str(checkpoint.path),
        "size": checkpoint.size,
        "container": checkpoint.container,
        "layout": checkpoint.layout,
        "role": file.member.role,
        "keys": list(checkpoint.keys),
        "tensors": len(checkpoint.tensors),
        "parameters": parameters(checkpoint),
        "training": {name: plain(getattr(state, name)) for name in TRAINING},
        "verdict": file.verdict,
        "resume": file.resume,
        "not_checked": [{"what": n.what, "why": n.why, "settle": n.settle} for n in file.not_checked],
        "findings": [finding_dict(finding) for finding in file.findings],
    }


def finding_dict(finding: types.Finding) -> dict[str, Any]:
    """One finding."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "message": finding.message,
        "where": finding.where,
        "found": plain(finding.found),
        "expected": plain(finding.expected),
        "fix": finding.fix,
    }


def plan_dict(plan: types.ResumePlan) -> dict[str, Any]:
    """What the trainer will do."""
    return {
        "start_epoch": plain(plan.start_epoch),
        "skip_batches": plain(plan.skip_batches),
        "global_step": plain(plan.global_step),
        "next_lr": plain(plan.next_lr),
        "next_lr_uninterrupted": plain(plan.next_lr_uninterrupted),
        "best_score": plain(plan.best_score),
        "counter": plain(plan.counter),
        "steps_left": plain(plan.steps_left),
        "flags": list(plan.flags),
    }


def parameters(checkpoint: types.Checkpoint) -> int:
    """Elements of the model's tensors (of the whole file where it is a state_dict), shared storage regions once.

    Tied weights are two names for one region (trainer-contract: `word_embeddings` and `llm_model.wte.weight`).
    A quantized weight counts as what it decodes to, and the tables to decode it as nothing, so that a model has as many
    parameters in 4 bits as in 16. Layouts that `quantized_values` does not know count as they are stored.
    """
    model = list(checkpoint.tensors)
    if checkpoint.layout == "training":
        under = {tensor.path[0] for tensor in model}
        key = next((key for key in types.MODEL_KEYS if key in under), None)
        # Several models under other names: their tensors stand directly below, an optimizer's deeper
        model = [t for t in model if (t.path[0] == key if key is not None else len(t.path) == 2)]
    quantized = quantized_values((*checkpoint.tensors, *checkpoint.inner))
    return sum({_region(t): quantized.get(t.path, math.prod(t.shape)) for t in model}.values())


def _region(tensor: types.TensorInfo) -> object:
    """The elements that a tensor views: the same for a transposed or flattened view of one."""
    if not tensor.storage.key:
        return tensor.path
    place = (tensor.storage.key, tensor.storage_offset)
    span = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=False))
    count = math.prod(tensor.shape)
    dense = span == count and len(tensor.shape) == len(tensor.stride)
    return (place, count) if dense else (place, tensor.shape, tensor.stride)


def plain(value: object, depth: int = 8) -> Any:
    """Any value of a file as a JSON value; nested down to `depth`, since a file may nest lists endlessly."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 1024 else integer(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, types.NumpyScalar):
        return plain(value.value, depth)
    if depth and isinstance(value, Mapping):
        return {key if isinstance(key, str) else brief(key): plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth - 1) for item in value]
    return brief(value)
