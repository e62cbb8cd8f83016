"""What a migration will do or has done: every change with its evidence, every refusal with what would settle it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.reports import migrated
from ckpt_doctor.reports.repairs import migrations, undone
from ckpt_doctor.types import Edit, MigrationResult, Refusal, Status
from tests.reports.report_samples import HOSTILE, NO_BEST_SCORE, RUN


def result(path: Path = RUN / "checkpoint", status: Status = "migrated", **rest: Any) -> MigrationResult:
    return MigrationResult(path, status, **rest)


LOG = "log train.log: EarlyStopping replayed to epoch 2"
ADDED = result(
    edits=(
        Edit(("best_score",), None, -0.29, LOG),
        Edit(("val_loss_min",), None, 0.29, LOG),
        Edit(("optimizer", "param_groups", 0, "lr"), 0.1, 0.2, "schedule at 80"),
    ),
    message="3 edits",
    before=(NO_BEST_SCORE,),
)
REFUSED = result(status="refused", refusals=(Refusal("add-best-score", "no evidence.", "give --val-loss or --log"),))


def flat(*results: MigrationResult) -> str:
    return " ".join(migrations(results).split())


def test_each_change_shows_key_before_and_after() -> None:
    assert "best_score absent -> -0.29" in flat(ADDED)
    assert "optimizer.param_groups[0].lr 0.1 -> 0.2" in flat(ADDED)


def test_changes_that_do_not_fit_beside_their_keys_stand_below_them() -> None:
    wide = result(
        edits=(Edit(("optimizer", "param_groups", 0, "betas"), [0.887 + i / 1e15 for i in range(2)], [0.1, 0.2], "e"),)
    )
    printed = migrations([wide], width=60)
    assert "  optimizer.param_groups[0].betas\n      [0.887" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_of_a_long_list_the_length_is_told() -> None:
    long = result(edits=(Edit(("rng_state",), "numpy array of 624 uint32", list(range(624)), "e"),))
    assert "numpy array of 624 uint32 -> a list of 624" in flat(long)


def test_evidence_is_told_once_for_the_changes_that_rest_on_it() -> None:
    assert flat(ADDED).count(f"evidence: {LOG}") == 1
    assert "evidence: schedule at 80" in flat(ADDED)


def test_a_refusal_says_why_and_what_to_give() -> None:
    assert "refused add-best-score: no evidence. to settle it: give --val-loss or --log" in flat(REFUSED)


def test_a_refusal_that_a_command_settles_names_the_file_in_it() -> None:
    """To paste as it is; an option's FILE stays one."""
    cut = Refusal("migrate", "cut off.", "ckpt-doctor salvage FILE -o OUT")
    lines = migrations([result(path=Path("a b/checkpoint"), status="refused", refusals=(cut,))], width=40).splitlines()
    assert "    to settle it: ckpt-doctor salvage 'a b/checkpoint' -o OUT" in lines
    log = result(status="refused", refusals=(Refusal("add-best-score", "none.", "--log FILE"),))
    assert "to settle it: --log FILE" in flat(log)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit(("model",), "module.", None, "e", "strip"), "model module. is taken off its keys"),
        (Edit(("model",), None, None, "e", "wrap"), "model the bare state_dict becomes this key of a training dict"),
        (Edit((), "cuda:0", "cpu", "e", "relocate"), "(the whole file) storages tagged cuda:0 -> cpu"),
    ],
)
def test_changes_of_structure_are_said_in_words(edit: Edit, expected: str) -> None:
    assert expected in flat(result(edits=(edit,)))


def test_the_last_line_counts_outcomes() -> None:
    assert migrations([ADDED, ADDED, REFUSED]).splitlines()[-1] == "3 files: 2 migrated, 1 refused."
    assert migrations([]) == "No checkpoints to migrate.\n"


def test_what_was_written_comes_with_the_command_that_takes_it_back() -> None:
    run = Path("my run")
    done, b = result(run / "checkpoint"), result(Path("b"))
    command = "to take this back: ckpt-doctor undo 'my run' b"
    assert migrations([done, b], paths=(run, Path("b"))).splitlines()[-1] == command
    assert "take this back" not in migrations([result(run / "a", "refused")], paths=(run,))


def test_the_command_takes_back_no_earlier_migration() -> None:
    """A folder in which another file was migrated before is not named: its undo would reach that one too."""
    run = Path("run")
    done, again = result(run / "a"), result(run / "b", earlier=1)
    before, untouched = result(run / "c", "unchanged", earlier=1), result(run / "c", "unchanged")
    assert migrations([done, again, untouched], paths=(run,)).splitlines()[-1].endswith("undo run")
    assert migrations([done, again, before], paths=(run,)).splitlines()[-1].endswith("undo run/a run/b")


def test_json_has_edits_with_evidence_refusals_and_codes() -> None:
    first, second = json.loads(migrated([ADDED, REFUSED], "json"))["results"]
    assert first["edits"][0] == {"key": "best_score", "op": "set", "before": None, "after": -0.29, "evidence": LOG}
    assert (first["status"], first["findings_before"], first["findings_after"]) == ("migrated", ["E601"], [])
    assert second["refusals"][0]["settle"] == "give --val-loss or --log"


def test_an_undo_says_what_was_taken_back_and_what_was_not() -> None:
    printed = " ".join(
        undone(
            [result(status="undone", message="9 -> 5 bytes"), result(status="refused", message="changed since")]
        ).split()
    )
    assert "taken back: 9 -> 5 bytes" in printed
    assert "refused: changed since" in printed
    assert undone([]) == "No migrated files here: nothing to take back.\n"


def test_nothing_from_a_file_acts_on_the_terminal() -> None:
    hostile = result(
        path=Path(HOSTILE),
        edits=(Edit((HOSTILE,), HOSTILE, [HOSTILE], HOSTILE),),
        refusals=(Refusal(HOSTILE, HOSTILE, HOSTILE),),
        message=HOSTILE,
        notes=(HOSTILE,),
    )
    for printed in (migrations([hostile]), undone([hostile])):
        assert not re.search(r"[^\n -\x7e]", printed)
