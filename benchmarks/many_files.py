"""Cases of many files: trees, sets of shards, a run of checkpoint folders, several processes."""

from __future__ import annotations

from collections.abc import Iterator

from .bench import Bench, Row
from .case import Case
from .contenders import HEADERS, find, picklescan, python, scan
from .files import GIB, hf_run, shards, small_files


def files(bench: Bench) -> Iterator[Row]:
    """Trees of small checkpoints."""
    for count, rounds in ((10, 1), (30, 1)) if bench.quick else ((1_000, 5), (10_000, 3)):
        tree = bench.folder / str(count)
        bench.make(small_files, tree, count)
        contenders = {"scan": scan(tree, "--jobs", "1"), **picklescan(tree), "find": find(tree)}
        yield Row(f"{count:,} files", bench.measure(contenders, rounds), amount=count)


def set_of_shards(bench: Bench) -> Iterator[Row]:
    """Sets with an index."""
    for count in (2, 4) if bench.quick else (20, 200):
        folder = bench.folder / str(count)
        bench.make(shards, folder, count)
        contenders = {"scan": scan(folder), "headers": python(HEADERS, folder), "find": find(folder)}
        yield Row(f"{count} shards of 128 MiB", bench.measure(contenders, 7), amount=count)


def run_of_checkpoints(bench: Bench) -> Iterator[Row]:
    """A run of the Hugging Face Trainer."""
    for count in (2, 4) if bench.quick else (10, 50):
        folder = bench.folder / str(count)
        bench.make(hf_run, folder, count, GIB)
        contenders = {"scan": scan(folder), **picklescan(folder), "find": find(folder)}
        yield Row(f"{count} checkpoints of 1.5 GiB", bench.measure(contenders, 5), amount=count)


def jobs(bench: Bench) -> Iterator[Row]:
    """One tree with one process and with two."""
    count = 30 if bench.quick else 4_000
    bench.make(small_files, bench.folder / "tree", count)
    contenders = {f"--jobs {number}": scan(bench.folder / "tree", "--jobs", str(number)) for number in (1, 2)}
    yield Row(f"{count:,} files", bench.measure(contenders, 3))


FILES = Case(
    "files",
    "Many small files",
    "Checkpoints of 4 KB with weights, Adam and counters, ten to a folder; one process. `find` lists them with their"
    " sizes.",
    files,
    (("scan", "picklescan"), ("scan", "find")),
    "file",
)
SHARDS = Case(
    "shards",
    "One checkpoint in many shards",
    "A set of safetensors files with its index, 20 tensors each. `headers` opens each with `safetensors.safe_open` and"
    " asks for its keys.",
    set_of_shards,
    (("scan", "headers"), ("scan", "find")),
    "shard",
)
RUN = Case(
    "run",
    "A run of the Hugging Face Trainer",
    "Folders with weights, `optimizer.pt` of 1 GiB (150 parameters), scheduler, random states, arguments and the"
    " Trainer's state; the resume of each is judged.",
    run_of_checkpoints,
    (("scan", "picklescan"), ("scan", "find")),
    "checkpoint",
)
JOBS = Case(
    "jobs",
    "Several processes: `--jobs`",
    "The tree of small files with one process and with two, start-up included; MiB is that of the largest process.",
    jobs,
    (("--jobs 2", "--jobs 1"),),
)
