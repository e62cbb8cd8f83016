"""What one file holds: an overview, or the tree of its structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ckpt_doctor import types
from ckpt_doctor.inert.counting import count_tensors, parameters
from ckpt_doctor.inert.numpy_values import array_shown
from ckpt_doctor.inert.units import tensors_of
from ckpt_doctor.reports import text
from ckpt_doctor.reports.promised import TRAINING, own_names

MOST_TENSORS = 40
"""Tensors that the overview lists; the JSON has all."""
WHOLE = 4
"""Items of a list up to which it stands on its own line, whole."""
MOST_CHILDREN = 500
"""Entries of one dict or list that the tree shows."""


def inspected(
    file: types.FileReport,
    form: str = "table",
    *,
    depth: int = 6,
    measured: Sequence[types.Measured] | None = None,
    width: int = 80,
    color: bool = False,
) -> str:
    """What one file holds: `table`, `tree` (down to `depth`) or `json`; of `measured` tensors their statistics."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.inspected(file, measured)
    if measured is not None:
        return statistics(file.checkpoint, measured, width=width, color=color)
    return tree(file.checkpoint, depth=depth) if form == "tree" else overview(file, width=width, color=color)


def overview(file: types.FileReport, *, width: int = 80, color: bool = False) -> str:
    """The file, its top-level keys, its training state, its tensors."""
    own, held = own_names(file.member), file.member.state
    known = [(own.get(name, name), value) for name in TRAINING if (value := getattr(held, name)) is not None]
    state = [(name, text.brief(value)) for name, value in known]
    return contents(file.checkpoint, file.outlook, state, width=width, color=color)


def contents(
    checkpoint: types.Checkpoint,
    verdict: str = "",
    state: Sequence[tuple[str, str]] = (),
    *,
    width: int = 80,
    color: bool = False,
) -> str:
    """The same of a checkpoint, with what else is known of it."""
    lines = [text.styled(text.shorten(text.clean(checkpoint.path), width), "bold", color)]
    lines += text.wrap(head(checkpoint), width, "  ", "  ")
    lines += [f"  verdict: {verdict}"] if verdict else []
    lines += block("key", "holds", top_level(checkpoint), width)
    lines += block("training state", "", state, width)
    lines += tensor_lines([tensor for tensor, _ in tensors_of(checkpoint)], width)
    for migration in checkpoint.migrations:
        lines += migration_lines(migration, width)
    if checkpoint.damage:
        lines.append("")
        for damage in checkpoint.damage:
            lines += text.wrap(f"{damage.kind}: {text.clean(damage.message)}", width, "  ", "    ")
    return "\n".join(lines) + "\n"


def migration_lines(migration: types.MigrationRecord, width: int) -> list[str]:
    """What an earlier migration changed, and on what evidence: its own record, which may say anything."""
    when = text.clean(migration.when).replace("T", " ").replace("+00:00", " UTC")
    lines = ["", *text.wrap(f"migrated {when} by ckpt-doctor {text.clean(migration.tool_version)}", width, "  ", "  ")]
    told = None
    for edit in migration.edits:
        key, evidence = text.clean(edit.get("key") or "(the whole file)"), text.clean(edit.get("evidence", ""))
        change = f"{text.brief(edit.get('before'), 40)} -> {text.brief(edit.get('after'), 40)}"
        lines += text.wrap(f"{key}: {change}", width, "    ", "      ")
        if evidence and evidence != told:
            lines += text.wrap(f"evidence: {evidence}", width, "      ", "        ")
        told = evidence
    return lines


def head(checkpoint: types.Checkpoint) -> str:
    """`3.1 GiB, torch-zip, training: 94 tensors, 81,912 parameters. torch 2.x, byteorder little.`

    Of a checkpoint of several files: `3.1 GiB, 6 parts, training: 94 tensors, 81,912 parameters.`"""
    tensors = count_tensors(checkpoint)
    container = text.plural(len(checkpoint.parts), "part") if checkpoint.parts else checkpoint.container
    sentence = f"{text.size(checkpoint.size)}, {container}, {checkpoint.layout}: {text.plural(tensors, 'tensor')}, "
    sentence += f"{text.integer(parameters(checkpoint))} parameters."
    if checkpoint.parts:
        return sentence
    facts = ", ".join(f"{text.clean(k)} {text.brief(v)}" for k, v in checkpoint.metadata.items() if v is not None)
    return f"{sentence} {facts}." if facts else sentence


def block(title: str, second: str, rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Two aligned columns under a title; nothing when there are no rows."""
    if not rows:
        return []
    cells = [(text.clean(name), value) for name, value in [(title, second), *rows]]
    left = min(max(text.display_width(name) for name, _ in cells), width // 2)
    return ["", *text.grid([(text.shorten(n, left), text.shorten(v, width - left - 4)) for n, v in cells], "<<")]


def top_level(checkpoint: types.Checkpoint) -> list[tuple[str, str]]:
    """Each key of the root with what stands behind it; of a state_dict, whose keys are its tensors, nothing.

    Of a checkpoint of several files each file."""
    root = checkpoint.root
    if checkpoint.parts:
        names = types.mapping_of(root) or {}
        return [(str(name), part_line(part)) for name, part in zip(names, checkpoint.parts, strict=True)][
            :MOST_CHILDREN
        ]
    if not isinstance(root, dict) or checkpoint.layout == "state-dict":
        return []
    by_key: dict[object, list[types.TensorInfo]] = {}
    for tensor in checkpoint.tensors:
        by_key.setdefault(tensor.path[0] if tensor.path else None, []).append(tensor)
    return [(str(key), holds(value, by_key.get(key, []))) for key, value in list(root.items())[:MOST_CHILDREN]]


def part_line(part: types.Checkpoint) -> str:
    """One file of a checkpoint: its size, container, and what is in it."""
    start = f"{text.size(part.size)}, {part.container}"
    if part.damage:
        return f"{start}: {part.damage[0].kind}"
    return f"{start}: {holds(part.root, part.tensors)}" if part.root is not None else start


def holds(value: object, tensors: Sequence[types.TensorInfo]) -> str:
    """What stands behind a key: the value itself, or how many tensors of which kind."""
    if not tensors or isinstance(value, types.TensorRef):
        return describe(value)
    dtypes = ", ".join(name for name, _ in Counter(t.dtype for t in tensors).most_common(3))
    devices = ", ".join(text.clean(name) for name, _ in Counter(t.device for t in tensors).most_common(3))
    nbytes = text.size(sum(t.nbytes for t in tensors))
    return f"{describe(value)}: {text.plural(len(tensors), 'tensor')}, {nbytes}, {dtypes}, {devices}"


def describe(value: object) -> str:
    """A value of a pickle on one line."""
    if isinstance(value, types.TensorRef):
        return f"{value.dtype} {list(value.shape)} on {text.clean(value.storage.location)}"
    if isinstance(value, types.NumpyScalar):
        return f"{text.brief(value.value)} (numpy {text.clean(value.dtype)})"
    if isinstance(value, types.InertDict):
        callee = value.source.callee
        kind = text.clean(callee.name) if isinstance(callee, types.Global) else "dict"
        return f"{kind} of {text.plural(len(value), 'key')}"
    if isinstance(value, dict):
        return f"dict of {text.plural(len(value), 'key')}"
    made = (types.TensorRef, types.Opaque, types.NumpyScalar)
    if isinstance(value, (list, tuple)) and (len(value) > WHOLE or any(isinstance(v, made) for v in value)):
        return f"{type(value).__name__} of {len(value):,}"
    if isinstance(value, types.Opaque):
        array = array_shown(value)
        if array is not None:
            return text.clean(array)
        return (
            f"{text.clean(value.callee)}(...), not built"
            if isinstance(value.callee, types.Global)
            else "a call, not made"
        )
    if isinstance(value, str):
        return text.shorten(repr(text.clean(value)), 60)
    return text.brief(value)


def tensor_lines(tensors: Sequence[types.TensorInfo], width: int) -> list[str]:
    """The tensors as a table, the first `MOST_TENSORS` of them."""
    if not tensors:
        return []
    rows = [TENSOR_COLUMNS, *map(tensor_row, tensors[:MOST_TENSORS])]
    others = sum(2 + max(map(text.display_width, column)) for column in list(zip(*rows, strict=True))[1:])
    room = max(20, width - others - 2)
    lines = ["", *text.grid([(text.shorten(name, room), *rest) for name, *rest in rows], "<<<<>")]
    if len(tensors) > MOST_TENSORS:
        lines.append(f"  ... and {len(tensors) - MOST_TENSORS:,} more (--format json lists all)")
    return lines


TENSOR_COLUMNS = ("tensor", "dtype", "shape", "device", "size")


def tensor_row(tensor: types.TensorInfo) -> tuple[str, ...]:
    """A tensor in words."""
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    return text.clean(tensor.name), tensor.dtype, shape, text.clean(tensor.device), text.size(tensor.nbytes)


def statistics(
    checkpoint: types.Checkpoint, measured: Sequence[types.Measured], *, width: int = 80, color: bool = False
) -> str:
    """A line for each tensor with its statistics, and one with the reason for each that has none."""
    lines = [text.styled(text.shorten(text.clean(checkpoint.path), width), "bold", color)]
    names = ["tensor"]
    rows: list[tuple[str, ...]] = [("min", "max", "mean", "std", "zeros", "non-finite")]
    for one in measured:
        if found := one.statistics:
            names.append(text.clean(one.tensor.name))
            numbers = [_short(n) for n in (found.minimum, found.maximum, found.mean, found.std)]
            rows.append((*numbers, f"{found.zeros:,}", f"{found.non_finite:,}"))
    if len(rows) > 1:
        room = width - 2 - sum(2 + max(map(text.display_width, column)) for column in zip(*rows, strict=True))
        fits = [text.display_width(name) <= room for name in names]
        beside = [name if fit else "" for name, fit in zip(names, fits, strict=True)]
        table = text.grid([(name, *row) for name, row in zip(beside, rows, strict=True)], "<>>>>>>")
        lines.append("")
        for name, fit, line in zip(names, fits, table, strict=True):
            lines += [line] if fit else [text.shorten(f"  {name}", width), line]
    unread = [one for one in measured if one.statistics is None]
    lines += ["", "  not measured:"] if unread else []
    for one in unread:
        lines += text.wrap(f"{text.clean(one.tensor.name)}: {one.why_not}", width, "    ", "      ")
    if not measured:
        lines.append("  no tensor has such a name")
    return "\n".join(lines) + "\n"


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.4g}" if isinstance(number, float) else f"{number:,}"


def tree(checkpoint: types.Checkpoint, *, depth: int = 6) -> str:
    """The structure of the file, one value per line, down to `depth`."""
    lines = [text.clean(checkpoint.path), *branches(checkpoint.root, "", depth)]
    return "\n".join(lines) + "\n"


def branches(node: object, indent: str, depth: int) -> Iterator[str]:
    """The lines below a node."""
    children = parts(node)
    left_out = max(0, len(children) - MOST_CHILDREN)
    shown = children[: len(children) - left_out]
    for i, (key, value) in enumerate(shown):
        last = i == len(shown) - 1 and not left_out
        name = f"[{key}]" if isinstance(node, (list, tuple)) else text.brief(key, 80)
        yield f"{indent}{'└── ' if last else '├── '}{name}: {describe(value)}"
        if depth > 1:
            yield from branches(value, indent + ("    " if last else "│   "), depth - 1)
    if left_out:
        yield f"{indent}└── ... and {left_out:,} more"


def parts(node: object) -> list[tuple[object, object]]:
    """What stands below a value in the tree: items, and of an object the attributes that hold something."""
    if isinstance(node, (list, tuple)):
        shown_whole = len(node) <= WHOLE and all(isinstance(v, (str, int, float, type(None))) for v in node)
        return [] if shown_whole else list(enumerate(node))
    if isinstance(node, types.Opaque) and array_shown(node) is None:
        held = [pair for state in node.states if isinstance(state, dict) for pair in state.items()]
        return [*node.pairs, *enumerate(node.items), *((k, v) for k, v in held if v is not None and v != {})]
    return list(node.items()) if isinstance(node, dict) else []
