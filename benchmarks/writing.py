"""The case of a repair."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from .bench import Bench, Command, Row, run
from .case import Case
from .contenders import LOAD_AND_SAVE, doctor, program, python, scan
from .files import repairable


def migrate(bench: Bench) -> Iterator[Row]:
    """Each contender finds the file in its first state."""
    path, copy = bench.folder / "run" / "checkpoint", bench.folder / "copy"
    saved = path.with_name("checkpoint.new")
    facts = ("--trainer", "time-llm", "--add-best-score", "--best-score", "-0.4")
    add, undo = doctor("migrate", *facts, path), doctor("undo", path)
    synced = f"cp '{path}' '{copy}' && sync '{copy}'"

    def clear() -> None:
        copy.unlink(missing_ok=True)
        saved.unlink(missing_ok=True)
        os.sync()  # others' unwritten pages must not be written on this one's time

    def migrated() -> None:
        run(add.words)
        os.sync()

    def undone() -> None:
        run(undo.words)

    contenders: dict[str, Command] = {
        "migrate": replace(add, before=clear, after=undone),
        "--in-place": Command([*add.words, "--in-place"], clear, undone),
        "undo": replace(undo, before=migrated),
        "scan": scan(path),
        "cp": Command(program("cp", path, copy).words, clear),
        "cp + sync": Command(program("sh", "-c", synced).words, clear),
        "cp + sync + mv": Command(program("sh", "-c", f"{synced} && mv '{copy}' '{path}'").words, clear),
        "load + save": Command(python(LOAD_AND_SAVE, path).words, clear, clear),
    }
    for label, size in (("1 MB", 10**6),) if bench.quick else (("10 MB", 10**7), ("1 GiB", 1 << 30)):
        bench.make(repairable, path, size)
        yield Row(label, bench.measure(contenders, 3))


MIGRATE = Case(
    "migrate",
    "Writing",
    "A replacement is on the disk before it counts, and then takes the old file's place, which frees that one's blocks:"
    " the same by hand is `cp`, `sync` of the copy and `mv`. `cp` alone leaves its bytes in memory. `--in-place`"
    " appends to the file itself, whatever its size.",
    migrate,
    (("migrate", "cp + sync"), ("migrate", "cp + sync + mv"), ("--in-place", "scan"), ("migrate", "load + save")),
)
