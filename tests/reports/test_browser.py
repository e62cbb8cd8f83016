"""The page and the notebook fragments as Chromium renders them: nothing cut off, overlapping, illegible or loaded."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.audit import check, curve_of, scan
from ckpt_doctor.reports import judged as shown
from ckpt_doctor.reports.html import scripts_page
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Curve, Departure, Linted, Located, Report
from tests.reports.html.markup import page
from tests.reports.report_samples import DEEP, HOSTILE, NO_BEST_SCORE, RUN, example, hostile, hostile_curve, report

pytestmark = pytest.mark.long

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--dump-dom",
)
LONG = Curve(
    RUN,
    rates=tuple((8640.0 * i, 1e-4 * 0.9**i) for i in range(101)),
    places={file.checkpoint.path: 17000.0 for file in example().files},
    departures=tuple(
        Departure(file.checkpoint.path, ((17000.0, 1e-4, 4e-6), (864000.0, 1e-6, 1e-7))) for file in example().files
    ),
    losses=tuple((float(i), 0.5 + 0.1 / i) for i in range(1, 101)),
    best=100.0,
    steps_per_epoch=8640,
)


def in_theme(fragment: str, text: str, back: str) -> str:
    """A fragment as a notebook of that theme shows it."""
    return f'<!doctype html><body style="color: {text}; background: {back}; font: 14px sans-serif">{fragment}'


def pages() -> dict[str, str]:
    found: dict[str, str] = {}
    for sample in sorted(path for path in SAMPLES.iterdir() if path.is_dir()):
        judged = scan([sample / "checkpoints"])
        found[sample.name] = shown(judged, "html", curve=curve_of, rules=all_rules)
    everything = scan([SAMPLES])
    many = Report(everything.runs * 12, 1.0, (SAMPLES,))
    found["60 runs"] = shown(many, "html", curve=curve_of)
    found["a long run"] = page(example(), [LONG])
    found["hostile"] = page(hostile(), [hostile_curve()])
    found["hostile folder"] = page(report(path=Path(HOSTILE * 5)))
    found["nothing"] = page(Report((), 0.1, (Path(HOSTILE),)))
    found["scripts"] = scripts_page(
        Linted((Path("a.py"),), (Located(NO_BEST_SCORE, Path(HOSTILE), 3, suggestion=HOSTILE * 9),), (DEEP,))
    )
    run = next((SAMPLES / "first-patch-type1" / "checkpoints").iterdir())
    found["check"] = shown(check(run), "html", curve=curve_of, rules=all_rules, plan=True)
    fragments = {"report": everything._repr_html_(), "plan": check(run)._repr_html_()}
    for name, fragment in fragments.items():
        found[f"notebook {name}, light"] = in_theme(fragment, "#000", "#fff")
        found[f"notebook {name}, dark"] = in_theme(fragment, "#e0e0e0", "#111")
    return found


def rendered(browser: str, folder: Path, *, dark: bool) -> dict[str, Any]:
    """What `measure.js` says of all pages, in the browser's light or dark scheme."""
    script = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")
    data = json.dumps(pages()).replace("<", "\\u003c")
    frames = folder / "measure.html"
    frames.write_text(
        f'<!doctype html><meta charset="utf-8"><body><script type="application/json" id="pages">{data}</script>'
        f"<script>{script}</script>",
        encoding="utf-8",
    )
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [browser, *FLAGS, scheme, f"--user-data-dir={folder / 'profile'}", frames.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    dom = done.stdout.decode()
    result = re.search(r'<pre id="result">(.*?)</pre>', dom, re.S)
    assert result, dom[-2000:]
    measured: dict[str, Any] = json.loads(unescape(result[1]))
    return measured


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_whole_and_legible_at_every_width(browser: str, tmp_path: Path, dark: bool) -> None:
    """No page scrolls sideways but in its tables; no text is cut, overlapped, tiny or paler than 4.5 to 1."""
    measured = rendered(browser, tmp_path, dark=dark)
    assert measured["dark"] is dark
    assert len(measured["results"]) == 3 * len(pages())
    assert {name: faults[:8] for name, faults in measured["results"].items() if faults} == {}
