"""Rules for files that no trainer owns: each names its fault wherever it is; healthy files stay unmentioned."""

from __future__ import annotations

import argparse
import itertools
import pickle
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata

from ckpt_doctor.audit import judge, scan
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.tensor_bytes import read_scalars
from ckpt_doctor.trainers import UNKNOWN
from ckpt_doctor.types import Case, Finding, Member, ResumePoint, Run, TrainingState
from ckpt_doctor.validators import RULES
from ckpt_doctor.validators.shaped_optimizers import scaler_missing
from ckpt_doctor.validators.shaped_progress import no_best_metric, parts_disagree
from tests.validators.everyones_cases import CASES, File, Told
from tests.validators.plain_files import EPOCHS, OPTIMIZERS, OTHERS, SCHEDULES, Payload, plain


def told(payload: object, root: Path) -> list[Finding]:
    """What is said of a payload as a file in a place that no trainer uses."""
    torch.save(payload, root / "model_last.pth")
    (file,) = scan([root]).files
    assert file.trainer in ("", "plain")
    assert "not judged" in {entry.why for entry in file.not_checked} | {file.resume} or file.resume != "identical"
    return [finding for finding in file.findings if finding.code != "P412"]  # whose reading is the script's


def cases(kind: str) -> list:
    """All cases of one side of the table as parameters with readable ids."""
    return [pytest.param(code, c, id=f"{code}-{c.name}") for code, pair in CASES.items() for c in getattr(pair, kind)]


@pytest.mark.parametrize(("code", "fault"), cases("breaks"))
def test_a_fault_is_named_and_nothing_else(tmp_path, code, fault: Told):
    """With its place, value and severity; no cure is offered but the prefix's; no other rule warns."""
    findings = told(fault.make(), tmp_path)
    (finding,) = [f for f in findings if f.code == code]
    assert (fault.severity, fault.where, fault.found) == (finding.severity, finding.where, finding.found)
    assert ("strip-prefix" if code == "L304" else None) == finding.migration
    assert [] == [(f.code, f.message) for f in findings if f.code != code and f.severity != "info"]


@pytest.mark.parametrize(("code", "sound"), cases("spares"))
def test_what_is_sound_is_left_alone(tmp_path, code, sound: File):
    """The rule says nothing of it."""
    assert [] == [f.message for f in told(sound.make(), tmp_path) if f.code == code]


def test_every_rule_for_everyones_files_has_both_sides():
    """No rule that looks for shapes without a fault that breaks it and a file that it spares."""
    by_shape = {rule.code for rule in RULES if rule.others or "shaped" in rule.check.__module__}
    assert by_shape - {"P401"} | {"L303", "L304", "O707"} == set(CASES), "P401 is of names: below"
    assert [] == [code for code, pair in CASES.items() if not (pair.breaks and pair.spares)]


# --- healthy files ---------------------------------------------------------------------------------------------------

FROZEN = {"frozen": {"O702"}, "late generator": {"O705"}, "head elsewhere": set()}
"""Notes that healthy files deserve."""


def crossed() -> dict[str, tuple[str, str, int, bool]]:
    """Optimizers by schedules by the moment of the save."""
    moments = ((0, False), (2, False), (3, True))
    pairs = [("Adam", schedule) for schedule in SCHEDULES] + [
        (optimizer, schedule) for optimizer in OPTIMIZERS for schedule in ("", "StepLR", "warm-up, then cosine")
    ]
    return {
        f"{o}, {s or 'no schedule'}, {epochs} epochs{', before its step' * before}": (o, s, epochs, before)
        for (o, s), (epochs, before) in itertools.product(dict.fromkeys(pairs), moments)
    }


CROSSED = crossed()
FAST = [name for name in CROSSED if not name.startswith("Muon")][::8]  # its first step takes seconds


def silent(payload: Payload, root: Path, notes: set[str] = frozenset()) -> None:
    """Nothing is said of a healthy file by any rule but notes about pickles."""
    assert notes == {f.code for f in told(payload, root) if f.code[0] not in "SF"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.long) for n in CROSSED])
def test_a_healthy_file_is_not_mentioned(tmp_path, name):
    """Whatever the optimizer, the schedule and the moment at which it was saved."""
    optimizer, schedule, epochs, before = CROSSED[name]
    silent(plain(optimizer, schedule, epochs, before_the_schedule=before), tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_an_unusual_healthy_file_is_not_mentioned(tmp_path, name):
    """Pairs, copies, frozen parts, narrow types, rates set by hand, state that lies elsewhere."""
    silent(OTHERS[name](), tmp_path, FROZEN.get(name, set()))


# --- units, and runs whose trainer is known --------------------------------------------------------------------------


def member(path: Path) -> Member:
    """A checkpoint as part of a run."""
    return Member(open_checkpoint(path), TrainingState(), None)


def said(rule, subject: Member, *others: Member) -> list[Finding]:
    """What a rule says of a checkpoint in a run that some trainer owns."""
    run = Run(subject.checkpoint.path.parent, "toy", (subject, *others))
    return list(rule(Case(subject.checkpoint, subject, run, ResumePoint())))


def unit(root: Path, **parts: object) -> Member:
    """A folder of parts as one checkpoint."""
    for name, payload in parts.items():
        torch.save(payload, root / f"{name}.pt")
    return UNKNOWN.member_of(open_unit(root), read_scalars)


@pytest.mark.parametrize(
    ("position", "count", "where"),
    [(8, 8, None), (7, 8, None), (2, 8, None), (5, 8, "scheduler.pt.last_epoch"), (8, 5, "trainer.pt.global_step")],
)
def test_parts_of_a_unit_come_from_one_step(tmp_path, position, count, where):
    """In a unit any counting schedule is judged, and the step count as well."""
    held = plain("Adam", "LambdaLR by step")
    scheduler = held["scheduler"] | {"last_epoch": position, "_step_count": position + 1}
    subject = unit(tmp_path, optimizer=held["optimizer"], scheduler=scheduler, trainer={"global_step": count})
    assert [where] * bool(where) == [f.where for f in said(parts_disagree, subject)]


@pytest.mark.parametrize(
    ("steps", "is_told"),
    [(([3, 3], [3, 3]), False), (([3, 3], [4, 4]), True), (([3, 4], [4, 4]), False), (([3], [4, 4], [4]), True)],
)
def test_files_of_a_distributed_checkpoint_come_from_one_save(tmp_path, steps, is_told):
    """A file with two steps has layers that joined late, and then nothing is known."""
    placed = {}
    for rank, own in enumerate(steps):
        names = [f"optimizer.state.{rank}.{number}.step" for number in range(len(own))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = {name: torch.tensor(float(step)) for name, step in zip(names, own, strict=True)}
            dcp.save(values, checkpoint_id=tmp_path / str(rank), no_dist=True)
        (tmp_path / str(rank) / "__0_0.distcp").rename(tmp_path / f"__{rank}_0.distcp")
        described = pickle.loads((tmp_path / str(rank) / ".metadata").read_bytes())
        for index, place in described.storage_data.items():
            placed[index] = replace(place, relative_path=f"__{rank}_0.distcp")
        shutil.rmtree(tmp_path / str(rank))
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({}, storage_data=placed)))
    subject = UNKNOWN.member_of(open_unit(tmp_path), read_scalars)
    assert () == subject.checkpoint.damage
    assert is_told == bool(said(parts_disagree, subject))


def judged(path: Path, subject: Member) -> list[Finding]:
    """What is said of a unit of nobody's, but for notes."""
    report = judge(
        Case(subject.checkpoint, subject, Run(path.parent, "", (), marked={"latest": "step3"}), ResumePoint())
    )
    return [finding for finding in report.findings if finding.severity != "info"]


@pytest.mark.parametrize(
    ("name", "held", "found"),
    [
        ("step3", {"rank_0": {"global_step": 3}, "rank_1": {"global_step": 3}}, []),
        ("step3", {"rank_0": {"global_step": 3}, "rank_1": {"global_step": 2}}, [("P409", "rank_1.pt")]),
        ("step3", {"rank_0": {"iteration": 7}, "model": {"iteration": 9}}, []),
        ("step3", {"rank_0": {"global_step": 2}}, [("P401", "")]),
        ("step2", {"rank_0": {"global_step": 3}}, [("P401", "")]),
        ("step2", {"rank_0": {"global_step": 1}}, []),
        ("step2", {"rank_0": {"global_step": 0}}, []),
        ("step4", {"rank_0": {"iteration": 2}}, [("P401", "latest")]),
        ("step2", {"rank_0": {"iteration": 3}}, []),
        ("epoch4", {"rank_0": {"iteration": 3}}, []),
    ],
)
def test_ranks_and_name_of_a_unit_are_of_one_step(tmp_path, name, held, found):
    """Files that are named alike, the folder around them, and what names the last folder of the run."""
    folder = tmp_path / name
    folder.mkdir()
    assert found == [(f.code, f.where) for f in judged(folder, unit(folder, **held))]


def test_no_optimizer_is_ahead_of_deepspeed_s_count(tmp_path):
    """It counts the steps that were skipped as well, so the optimizer may be behind."""
    optimizer = plain("Adam")["optimizer"]
    count = int(optimizer["state"][0]["step"])
    for global_steps, codes in ((count - 1, ["P409"]), (count, []), (count + 1, [])):
        subject = unit(tmp_path, model={"global_steps": global_steps}, optim={"base": optimizer})
        assert codes == [finding.code for finding in judged(tmp_path, subject)]


@pytest.mark.parametrize("code", ["R504", "R511"])
def test_a_unit_is_judged_as_a_whole_and_once(tmp_path, code):
    """What one part says of another; nothing is said a second time of the file that holds it."""
    held = plain("Adam", "OneCycleLR", EPOCHS if code == "R511" else 2)
    if code == "R504":
        held["optimizer"]["param_groups"][0]["lr"] = 0.5
    subject = unit(tmp_path, model=held["model"], optimizer=held["optimizer"], scheduler=held["scheduler"])
    report = judge(Case(subject.checkpoint, subject, Run(tmp_path, "", ()), ResumePoint()))
    assert [code] == [f.code for f in report.findings]


def test_the_command_of_a_unit_lies_in_a_part(tmp_path):
    """transformers' arguments are a file of their own."""
    torch.save(argparse.Namespace(fp16=True, dtype="float32"), tmp_path / "training_args.bin")
    assert 1 == len(said(scaler_missing, unit(tmp_path, optimizer=plain()["optimizer"])))
    torch.save(argparse.Namespace(fp16=False, bf16=True), tmp_path / "training_args.bin")
    assert [] == said(scaler_missing, unit(tmp_path, optimizer=plain()["optimizer"]))


def test_siblings_show_what_is_missing(tmp_path):
    """A scaler and a best value that the other checkpoint of the run has."""
    for name, more in (
        ("a", {}),
        ("b", {"best_acc": 0.5, "scaler": {"scale": 2.0, "growth_factor": 2.0, "backoff_factor": 0.5}}),
    ):
        torch.save(plain() | more, tmp_path / f"{name}.pt")
    poor, rich = member(tmp_path / "a.pt"), member(tmp_path / "b.pt")
    for rule in (scaler_missing, no_best_metric):
        assert 1 == len(said(rule, poor, rich))
        assert [] == said(rule, rich, poor)
        assert [] == said(rule, poor)
