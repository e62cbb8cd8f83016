"""Cases of one file: starting, its size, its tensors, every byte of it."""

from __future__ import annotations

from collections.abc import Iterator

from .bench import Bench, Row
from .case import Case
from .contenders import LOAD, LOAD_SAFETENSORS, MMAP, doctor, picklescan, program, python, scan
from .files import GIB, TENSORS, filled, sized, small_files, weights

MIB = 1 << 20


def start(bench: Bench) -> Iterator[Row]:
    """A file in which next to nothing is to be read."""
    path = bench.folder / "run_0000" / "ckpt_1.pt"
    bench.make(small_files, bench.folder, 1)
    contenders = {
        "scan": scan(path),
        "check": doctor("check", "--fail-on", "never", path),
        "--version": doctor("--version"),
        **picklescan(path),
        "import click": python("import click"),
        "python": python("pass"),
    }
    yield Row("one small checkpoint", bench.measure(contenders, 21))


def size(bench: Bench) -> Iterator[Row]:
    """The same number of tensors in more and more bytes."""
    sizes = (MIB, 2 * MIB) if bench.quick else (64 * MIB, GIB)
    for form in ("zip", "legacy", "safetensors"):
        for number in (*sizes, *([] if bench.quick or form == "legacy" else [32 * GIB])):
            path = bench.folder / f"weights.{'safetensors' if form == 'safetensors' else 'pt'}"
            bench.make(weights, path, form, number)
            contenders = {"scan": scan(path), **picklescan(path)}
            if number <= GIB:
                load = LOAD_SAFETENSORS if form == "safetensors" else LOAD
                contenders |= {"load": python(load, path), "cat": program("cat", path)}
                if form == "zip":
                    contenders["mmap=True"] = python(MMAP, path)
            costs = bench.measure(contenders, 3)
            yield Row(f"{form}, {sized(number)}", costs, series=form, amount=number / GIB)
            path.unlink()


def tensors(bench: Bench) -> Iterator[Row]:
    """More and more tensors of hardly any bytes."""
    for form in ("zip", "legacy", "safetensors"):
        for count in (10, 30) if bench.quick else (100, 1_000, 10_000):
            path = bench.folder / f"weights.{'safetensors' if form == 'safetensors' else 'pt'}"
            bench.make(weights, path, form, 4 * count, count)
            load = LOAD_SAFETENSORS if form == "safetensors" else LOAD
            contenders = {"scan": scan(path), **picklescan(path), "load": python(load, path)}
            yield Row(f"{form}, {count:,}", bench.measure(contenders, 3), series=form, amount=count)


def deep(bench: Bench) -> Iterator[Row]:
    """Every byte, in many tensors and in one."""
    large = 2 * MIB if bench.quick else GIB
    sizes = [(large // 4, TENSORS), (large, TENSORS), (large, 1)]
    if bench.large:
        sizes += [(4 * large, TENSORS), (4 * large, 1)]
    for number, count in sizes:
        path = bench.folder / "filled.pt"
        bench.make(filled, path, number, count)
        contenders = {"scan --deep": scan(path, "--deep"), "scan": scan(path), "cat": program("cat", path)}
        label = f"{sized(number)} in {count} tensor{'s' if count > 1 else ''}"
        yield Row(label, bench.measure(contenders, 9), series=f"{count} tensors", amount=number / GIB)
        path.unlink()


START = Case(
    "start",
    "Starting",
    "A training checkpoint of 4 KB. `--version` is click and the program's own start.",
    start,
    (("scan", "picklescan"), ("check", "picklescan"), ("scan", "python")),
)
SIZE = Case(
    "size",
    "One file by its size",
    f"{TENSORS} tensors in more and more bytes. `load` is `torch.load`, for safetensors `safetensors.torch.load_file`;"
    " `mmap=True` is `torch.load` with it. Their time has the import of torch in it.",
    size,
    (("scan", "load"), ("scan", "mmap=True"), ("scan", "picklescan"), ("scan", "cat")),
    "GiB",
)
TENSOR_COUNT = Case(
    "tensors",
    "One file by its tensors",
    "Tensors of one element. picklescan reads no safetensors header.",
    tensors,
    (("scan", "load"), ("scan", "picklescan")),
    "tensor",
)
DEEP = Case(
    "deep",
    "Every byte: `--deep`",
    "`--deep` reads every byte once, for checksums and NaN, with one thread per core: by isal, which is installed along"
    " where it comes built. `cat` reads the same bytes and does nothing with them.",
    deep,
    (("scan --deep", "cat"),),
    "GiB read",
)
