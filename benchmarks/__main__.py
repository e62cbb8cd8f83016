"""Measure ckpt-doctor beside what one would use otherwise: whole processes, in turn, medians, files in the page cache.

    python -m benchmarks                          all cases, some minutes
    python -m benchmarks size deep                these
    python -m benchmarks --json benchmarks/results.json && python docs/refresh.py      as docs/speed.md has them

picklescan is measured beside where it is installed: pip install -e '.[torch,bench]'.
Files are made in a folder of their own, up to 5 GB at a time (7 GB with --large), and removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .bench import Bench, Row, Skipped
from .case import Case
from .cases import CASES
from .page import growth, head, section
from .results import as_json, machine


def measured(case: Case, maker: Executor, options: argparse.Namespace) -> dict[str, Any]:
    """A case's results."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ckpt-doctor-benchmark-") as folder:
        bench = Bench(Path(folder), maker, options.quick, options.rounds, options.large)
        rows: list[Row] = []
        try:
            for row in case.rows(bench):
                rows.append(row)
                print(f"{case.name}: {row.label}", file=sys.stderr, flush=True)
        except Skipped as why:
            return {"skipped": str(why)}
        return as_json(case, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="tiny files, one round: shows that it works, no more")
    parser.add_argument("--large", action="store_true", help="--deep also on files of 4 GiB")
    parser.add_argument("--rounds", type=int, help="instead of each case's own number")
    parser.add_argument("--folder", type=Path, help="where to make the files (default: the system's temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    options = parser.parse_args(arguments)
    if unknown := set(options.cases) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick, "cases": {}}
    print("\n".join(head(results)))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as maker:
        for case in CASES:
            if not options.cases or case.name in options.cases:
                results["cases"][case.name] = found = measured(case, maker, options)
                print("\n".join(section(case, found)), flush=True)
                if options.json:
                    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n".join(growth(results)))


if __name__ == "__main__":
    main()
