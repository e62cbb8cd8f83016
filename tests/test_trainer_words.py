"""The stages know no trainer: its name, modes, keys and file names stand in its own package.

What still says them elsewhere is listed with how often. The list only shrinks: a word that goes must leave it, too.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ckpt_doctor"
WORDS = re.compile(
    r"time_llm|time-llm|Time-LLM|TimeLLM|\bTST\b|\bCOS\b|\btype[123]\b|\bPEMS\b|lradj|checkpoint_step_|ModelCheckpoint|checkpoint\.pt\b"
    r"|^(best_score|val_loss_min|counter|global_step|rng_state)$"
)
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
LEFT = {
    "audit/discovery.py": 2,
    "audit/newest.py": 1,
    "cli/check.py": 1,
    "cli/diff.py": 1,
    "cli/migrate.py": 2,
    "cli/options.py": 1,
    "cli/output.py": 1,
    "cli/prune.py": 1,
    "cli/scan.py": 1,
    "cli/undo.py": 1,
    "inert/names.py": 1,
    "migrators/fix_epoch.py": 7,
    "migrators/sync_scheduler.py": 3,
    "readers/non_finite.py": 1,
    "repair/execution.py": 3,
    "repair/planning.py": 5,
    "reports/columns.py": 3,
    "reports/groups.py": 1,
    "trainers/drawing.py": 2,
    "trainers/state.py": 4,
    "trainers/trainer.py": 1,
    "training/resume.py": 3,
    "types/checkpoint.py": 1,
    "types/run.py": 15,
    "validators/contents.py": 1,
    "validators/files.py": 1,
    "validators/live.py": 1,
    "validators/optimizer.py": 1,
    "validators/progress.py": 18,
    "validators/random_state.py": 1,
    "validators/rates.py": 6,
    "validators/values.py": 1,
    "writer/locking.py": 1,
}


def words_in(path: Path) -> int:
    """In strings (docstrings and messages too) and names: how many of them say a trainer's word."""
    found = 0
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        texts = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        texts += [getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "arg", "") or ""]
        texts += [alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)]
        found += sum(bool(WORDS.search(text)) for text in texts if isinstance(text, str))
    return found


def test_no_stage_says_a_trainers_word_that_is_not_on_the_list():
    counts = {str(path.relative_to(PACKAGE)): words_in(path) for path in PACKAGE.rglob("*.py")}
    assert LEFT == {name: count for name, count in counts.items() if count and not name.startswith(OWN)}
