"""The stages know no trainer: its name, modes, keys and file names stand in its own package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ckpt_doctor"
WORDS = re.compile(
    r"time_llm|time-llm|Time-LLM|TimeLLM|\bTST\b|\bCOS\b|\btype[123]\b|\bPEMS\b|lradj|checkpoint_step_|checkpoint\.pt\b"
    r"|ModelCheckpoint|lr_schedulers|random_states_|pytorch-lightning"
)
KEYS = {"best_score", "val_loss_min", "counter", "global_step", "rng_state"}
"""As strings: a record's field may have such a name."""
OWN = (
    "trainers/time_llm/",
    "trainers/accelerate/",
    "trainers/hf_trainer/",
    "trainers/lightning/",
    "trainers/plain/",
    "lint/",
    "reports/promised.py",
)
"""The trainers' packages; what reads scripts, whose rules are about that trainer's scripts as well; and the names that
JSON v1 promises."""


def words_in(path: Path) -> list[str]:
    """In strings (docstrings and messages too) and names: those that say a trainer's word."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        texts = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        keys = [text for text in texts if text in KEYS]
        texts += [getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "arg", "") or ""]
        texts += [alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)]
        found += [text for text in texts if isinstance(text, str) and WORDS.search(text)] + keys
    return found


def test_no_stage_says_a_trainers_word() -> None:
    files = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
    said = {name: words_in(path) for name, path in files.items() if not name.startswith(OWN)}
    assert {} == {name: words for name, words in said.items() if words}


def test_the_trainers_packages_do() -> None:
    """The list of words is one that finds them."""
    assert words_in(PACKAGE / "trainers/time_llm/layout.py")
