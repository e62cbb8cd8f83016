"""X903 best-score-not-saved: early stopping that a resume forgets."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ckpt_doctor.lint.effects import is_of_optimizer, loads, saves
from ckpt_doctor.lint.guards import words
from ckpt_doctor.lint.module import Call
from ckpt_doctor.lint.nodes import dotted, holder
from ckpt_doctor.lint.program import Program
from ckpt_doctor.lint.rule import Hit
from ckpt_doctor.lint.saved_dicts import Content, contents
from ckpt_doctor.lint.state import COUNTER, EarlyStopping, Reads, early_stopping, reads
from ckpt_doctor.types import NotChecked, Severity

_EFFECT = {
    "best_score": "the first epoch after a resume always counts as the best and overwrites a better model",
    "counter": "patience starts anew with every resume",
    "val_loss_min": "the log shows a wrong previous best",
    "rng_state": "the data order after a resume differs",
}


def best_score_not_saved(program: Program) -> Iterator[Hit | NotChecked]:
    """EarlyStopping state is missing from what the script saves or restores.

    ## What it does
    In a script that stops early on its own account (a class with a best score and a counter, an `EarlyStopping` that is
    imported, or plain variables compared with a patience), looks at every dict with an optimizer that is saved: does it
    hold `best_score`, `val_loss_min`, `counter` (or the class's own names for them) and `rng_state`? Where the script
    loads an optimizer, does it read them back? Dicts are followed through variables, helpers, methods and other modules
    of the repository. Bare state_dicts are not looked at, because nobody resumes from them, and neither are frameworks
    that save their callbacks themselves.

    ## Why it matters
    Severity warning: the resume works, but EarlyStopping starts blind. Its first epoch is saved as the best, however
    bad, over the best model; and patience is counted from zero. Severity info where only values are missing that no
    decision uses (`val_loss_min` is printed, `rng_state` makes the difference between equal and bit-identical).

    ## Example
    ```python
    torch.save({"model": m, "optimizer": o, "scheduler": s, "epoch": epoch, "global_step": step}, path)
    ```

    ## How to cure
    ```python
    state["best_score"] = early_stopping.best_score  # when saving; likewise val_loss_min, counter
    early_stopping.best_score = ckpt.get("best_score")  # when resuming
    ```
    `ckpt-doctor migrate --add-best-score` repairs the files that were saved without.

    ## Source
    The trainer's EarlyStopping: `if best_score is None: best_score = score; save`. Its first patch saves `model`,
    `optimizer`, `scheduler`, `epoch`, `global_step` and nothing else.
    """
    writing = saves(program)
    stopping = early_stopping(program) if writing else None
    if stopping is None:
        return
    read = reads(program, stopping)
    saved: list[Content] = []
    for save in writing:
        found = [c for c in contents(program, save) if c.holds_optimizer or c.is_open]
        saved += found
        for content in found:
            if content.is_open and not _is_complete(stopping, content):
                yield content.unread("X903")
    seen: set[ast.AST] = set()
    for content in saved:
        if content.site.node not in seen and not content.is_open and content.holds_optimizer:
            seen.add(content.site.node)
            yield from _missing_in_save(stopping, content, read)
    if read.restores_optimizer:
        yield from _missing_in_restore(program, stopping, saved, read)


def _is_complete(stopping: EarlyStopping, content: Content) -> bool:
    return content.holds_whole(stopping) or all(content.mentions(name) for name in stopping.fields)


def _missing_in_save(stopping: EarlyStopping, content: Content, read: Reads) -> Iterator[Hit]:
    missing = [] if content.holds_whole(stopping) else [n for n in stopping.fields if not content.mentions(n)]
    decisive = any(stopping.fields[name] for name in missing)
    if not content.holds_rng and (missing or read.restores_optimizer):
        missing.append("rng_state")
    if missing:
        yield Hit(
            content.site,
            f"this checkpoint lacks {_listed(missing)}: {_consequence(stopping, missing)}.",
            "\n".join(f'"{name}": {_value(stopping, content, name)},' for name in missing),
            severity=_severity(decisive),
            found=", ".join(content.values),
            expected=", ".join(missing),
        )


def _missing_in_restore(program: Program, stopping: EarlyStopping, saved: list[Content], read: Reads) -> Iterator[Hit]:
    """The finding of what is saved and not read back. What is not even saved has its finding at the save."""
    full = [c for c in saved if c.holds_optimizer and _is_complete(stopping, c)]
    if not full:
        return
    content = full[0]
    missing: list[str] = []
    if not read.whole_early_stopping:
        whole = content.holds_whole(stopping)
        missing = [
            n for n in stopping.fields if not (_group_is_read(read) if whole else content.key_of(n) in read.keys)
        ]
    decisive = any(stopping.fields[name] for name in missing)
    if content.holds_rng and not read.restores_rng:
        missing.append("rng_state")
    place = _resuming_load(program)
    if missing and place is not None:
        prefix = f"{stopping.variable}." if stopping.variable else ""
        ckpt = _loaded_into(place) or ast.unparse(place.node)
        yield Hit(
            place,
            f"the resume does not read {_listed(missing)}, which the checkpoint holds: "
            f"{_consequence(stopping, missing)}.",
            "\n".join(
                f"torch.set_rng_state({ckpt}{_rng_key(content)})"
                if n == "rng_state"
                else f'{prefix}{n} = {ckpt}.get("{content.key_of(n)}"{_default(n)})'
                for n in missing
            ),
            severity=_severity(decisive),
            expected=", ".join(missing),
        )


def _resuming_load(program: Program) -> Call | None:
    """The load of which the optimizer takes its state: others are of teachers, backbones, the best model."""
    places = loads(program)
    taken = [
        node
        for call in program.calls
        if is_of_optimizer(call.node, "load_state_dict")
        for argument in call.node.args[:1]
        for node in ast.walk(argument)
    ]
    names = {dotted(node) for node in taken if isinstance(node, (ast.Name, ast.Attribute))}
    for place in places:
        if place.node in taken or _loaded_into(place) in names - {""}:
            return place
    return places[0] if places else None


def _loaded_into(load: Call) -> str:
    """The variable that holds what was loaded; empty where it is used in place."""
    return holder(load.module.statement(load.node))


def _default(name: str) -> str:
    """What the trainer starts with where an older file lacks the value; a best score of None counts as none yet."""
    if COUNTER.search(name):
        return ", 0"
    return ', float("inf")' if "min" in words(name) else ""


def _rng_key(content: Content) -> str:
    """Where torch's state is: under the key, or in a dict of the states of several libraries."""
    key = next((k for k in content.values if {"rng", "random"} & words(k)), "rng_state")
    value = content.values[key][1] if key in content.values else None
    inner = [k.value for k in value.keys if isinstance(k, ast.Constant)] if isinstance(value, ast.Dict) else []
    return f'["{key}"]["torch"]' if "torch" in inner else f'["{key}"]'


def _group_is_read(read: Reads) -> bool:
    return any("early" in key.lower() and "stop" in key.lower() for key in read.keys)


def _value(stopping: EarlyStopping, content: Content, name: str) -> str:
    if name == "rng_state":
        return "torch.get_rng_state()"
    inside = content.site.module.class_of(content.site.node)
    if stopping.owner is not None and inside is stopping.owner.node:
        return f"self.{name}"
    return f"{stopping.variable}.{name}" if stopping.variable else name


def _severity(decisive: bool) -> Severity:
    return "warning" if decisive else "info"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _consequence(stopping: EarlyStopping, missing: list[str]) -> str:
    """The consequence of the most important missing value."""
    decisive = [name for name in missing if stopping.fields.get(name)]
    if any(not COUNTER.search(name) for name in decisive):
        return _EFFECT["best_score"]
    if decisive:
        return _EFFECT["counter"]
    return _EFFECT["rng_state"] if missing == ["rng_state"] else _EFFECT["val_loss_min"]
