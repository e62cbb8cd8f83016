"""The case of files that are not here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace

from .bench import Bench, Row, Skipped
from .case import Case
from .contenders import python, scan
from .files import GIB, sized, small_files, weights

DOWNLOAD = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as body:
    while body.read(1 << 20):
        pass
"""


def remote(bench: Bench) -> Iterator[Row]:
    """One file each, from a server on the loopback."""
    if not all(map(importlib.util.find_spec, ("fsspec", "aiohttp"))):
        raise Skipped("URLs are read with the extra `remote`, which is not installed here.")
    from tests.remote.web import serving

    large = 1 << 20 if bench.quick else GIB
    sizes = {"zip": large, "legacy": large // 4, "safetensors": large}
    for form, size in sizes.items():
        bench.make(weights, bench.folder / form, form, size)
    bench.make(small_files, bench.folder, 1)
    names = {f"{form}, {sized(size)}": form for form, size in sizes.items()} | {"zip, 4 KB": "run_0000/ckpt_1.pt"}
    with serving() as web:
        for label, name in names.items():
            url, seen = web.put(name, bench.folder / name), {"requests": 0, "bytes": 0}

            def clear() -> None:
                web.asked.clear()
                web.sent = 0

            def look(seen: dict[str, int] = seen) -> None:
                seen.update(requests=len(web.asked), bytes=web.sent)

            contenders = {
                "scan URL": replace(scan(url), before=clear, after=look),
                "scan file": scan(bench.folder / name),
                "download": python(DOWNLOAD, url),
            }
            yield Row(label, bench.measure(contenders, 3), seen)


REMOTE = Case(
    "remote",
    "A file at a URL",
    "From an HTTP server on the same machine, so without a network's delay: requests and bytes are what counts far"
    " away. `download` reads the whole file once.",
    remote,
    (("scan URL", "download"), ("scan URL", "scan file")),
)
