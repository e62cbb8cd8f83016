"""The public JSON: the promised fields, all of them and no others, and numbers that any parser accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor import __version__
from ckpt_doctor.reports import judged
from ckpt_doctor.reports.json_v1 import plain
from ckpt_doctor.types import NumpyScalar, Opaque, Report
from tests.reports.report_samples import NO_BEST_SCORE, RUN, example, file, hostile, report, tensor

FINDING = {"code", "name", "severity", "message", "where", "found", "expected", "fix"}
TRAINING = {"epoch", "global_step", "last_epoch", "step_count", "total_steps", "optimizer_step"} | {
    "lr",
    "best_score",
    "val_loss_min",
    "counter",
}
PROMISED: dict[str, Any] = {
    "": {"version", "tool", "runs", "files", "units", "summary"},
    "tool": {"name", "version"},
    "runs": {"path", "trainer", "lradj", "steps_per_epoch", "train_epochs", "facts", "evidence", "findings"}
    | {"advice"},
    "runs.findings": FINDING,
    "files": {"path", "size", "container", "layout", "role", "keys", "tensors", "parameters", "training", "verdict"}
    | {"trainer", "resume", "not_checked", "findings"},
    "files.training": TRAINING,
    "files.not_checked": {"what", "why", "settle"},
    "files.findings": FINDING,
    "units": {"path", "trainer", "parts", "training", "verdict", "resume", "plan", "not_checked", "findings"},
    "units.training": TRAINING | {"own"},
    "summary": {"files", "units", "bytes", "ok", "repairable", "broken", "errors", "warnings", "seconds"}
    | {"requests", "bytes_read"},
    "plan": {"start_epoch", "skip_batches", "global_step", "next_lr", "next_lr_uninterrupted", "best_score", "counter"}
    | {"steps_left", "flags", "resume"},
}


def loads(text: str) -> Any:
    """Parse as a strict parser does: `NaN` and `Infinity` are not JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def document(report: Report) -> Any:
    return loads(judged(report, "json"))


def at(node: Any, path: str) -> list[Any]:
    """All objects at a dotted path, through lists."""
    nodes = [node]
    for name in path.split(".") if path else []:
        found = [n[name] for n in nodes]
        nodes = [item for n in found for item in (n if isinstance(n, list) else [n])]
    return nodes


@pytest.mark.parametrize("path", [path for path in PROMISED if path != "plan"])
def test_every_object_has_the_promised_fields_and_no_others(path: str) -> None:
    objects = at(document(report(*example().runs[0].files, findings=(NO_BEST_SCORE,))), path)
    assert objects
    for node in objects:
        assert set(node) == PROMISED[path]


def test_a_check_adds_the_plan_with_its_promised_fields() -> None:
    assert set(loads(judged(report(file(RUN / "checkpoint")), "json", plan=True))["plan"]) == PROMISED["plan"]


def test_flags_are_the_words_to_add_to_the_command() -> None:
    assert loads(judged(report(file(RUN / "checkpoint")), "json", plan=True))["plan"]["flags"] == [
        "--learning_rate",
        "4e-06",
    ]


def test_a_report_says_its_version_and_its_maker() -> None:
    top = document(example())
    assert (top["version"], top["tool"]) == (1, {"name": "ckpt-doctor", "version": __version__})


def test_every_known_fact_comes_with_its_source() -> None:
    run = document(example())["runs"][0]
    assert run["steps_per_epoch"] == 8640
    assert run["evidence"]["steps_per_epoch"] == "checkpoint: 17,280 steps at epoch 2"


def test_unknown_facts_are_null_and_have_no_evidence() -> None:
    bare = report(file(RUN / "checkpoint"))
    run = document(
        replace(
            bare, runs=(replace(bare.runs[0], run=replace(bare.runs[0].run, facts=type(bare.runs[0].run.facts)())),)
        )
    )
    assert (run["runs"][0]["lradj"], run["runs"][0]["evidence"]) == (None, {})


def test_the_summary_counts_files_verdicts_and_severities() -> None:
    mixed = report(file(RUN / "a"), file(RUN / "b", replace(NO_BEST_SCORE, severity="error"), verdict="broken"))
    summary = document(mixed)["summary"]
    assert {name: summary[name] for name in ("files", "ok", "repairable", "broken", "errors", "warnings")} == {
        "files": 2,
        "ok": 1,
        "repairable": 0,
        "broken": 1,
        "errors": 1,
        "warnings": 0,
    }


def test_tied_weights_are_two_tensors_and_one_set_of_parameters() -> None:
    tied = (tensor("model", "wte"), tensor("model", "lm_head"), tensor("optimizer", "state", storage="1"))
    entry = document(report(file(RUN / "checkpoint", tensors=tied)))["files"][0]
    assert (entry["tensors"], entry["parameters"]) == (3, 12)


def test_the_parameters_of_a_state_dict_are_those_of_the_whole_file() -> None:
    tensors = (tensor("a"), tensor("b", storage="1"), tensor("c", storage="1", offset=12))
    entry = document(report(file(RUN / "checkpoint", tensors=tensors, layout="state-dict")))["files"][0]
    assert entry["parameters"] == 36


@pytest.mark.parametrize(
    ("value", "expected"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (-0.5, -0.5), (None, None)],
)
def test_a_number_that_json_lacks_is_a_string_and_null_means_absent(value: float | None, expected: object) -> None:
    entry = document(report(file(RUN / "checkpoint", val_loss_min=value)))["files"][0]
    assert entry["training"]["val_loss_min"] == expected


def test_python_reads_the_strings_back_as_numbers() -> None:
    assert float(plain(float("-inf"))) == float("-inf")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(VALUES)
def test_any_found_value_becomes_json(value: object) -> None:
    loads(json.dumps(plain(value), allow_nan=False))


def test_values_of_a_pickle_become_json() -> None:
    assert plain([NumpyScalar(0.5, "float64", Opaque(None, ()))]) == [0.5]
    assert isinstance(plain(Opaque(None, ())), str)


def test_a_list_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    loads(json.dumps(plain(endless)))


def test_paths_and_keys_come_back_as_they_are_and_as_ascii() -> None:
    text = judged(hostile(), "json")
    assert text.isascii()
    assert "\x1b" not in text
    entry = loads(text)["files"][0]
    assert entry["path"] == str(hostile().files[0].checkpoint.path)
    assert entry["keys"] == list(hostile().files[0].checkpoint.keys)


def test_an_integer_too_long_to_be_one_is_a_string() -> None:
    assert isinstance(plain(10**5000), str)
