"""Parts of a checkpoint that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.reports.text import quoted
from ckpt_doctor.trainers.copied_weights import copied_weights
from ckpt_doctor.trainers.hf_trainer import parts
from ckpt_doctor.trainers.hf_trainer.elsewhere import elsewhere
from ckpt_doctor.trainers.hf_trainer.known import known_of, lost_ranks
from ckpt_doctor.trainers.hf_trainer.layout import (
    DEEPSPEED,
    MARKER,
    OPTIMIZER,
    SCHEDULER,
    STATE,
    file_names,
    is_deepspeed,
    ranks,
)
from ckpt_doctor.trainers.hf_trainer.progress import may_skip, scheduled_steps
from ckpt_doctor.trainers.hf_trainer.rebuilt import scheduler_state, trainer_state
from ckpt_doctor.trainers.state import last_rates
from ckpt_doctor.types import Case, Checkpoint, holds_rate
from ckpt_doctor.validators.contents import describe
from ckpt_doctor.validators.rule import Problem, rule

_FOLLOWS = {
    "the model": "the Trainer stops, because it finds no weights",
    OPTIMIZER: "the Trainer starts a fresh optimizer at the schedule's first rate, without a warning",
    SCHEDULER: "the Trainer reads {} only with it, and starts a fresh optimizer at the schedule's first rate, without "
    "a warning",
    STATE: "the Trainer stops with FileNotFoundError",
}


@rule("F114", "missing-part", "error")
def missing_part(case: Case) -> Iterator[Problem]:
    """A part that the Trainer reads on resume is not in the checkpoint's folder.

    The Trainer loads `optimizer.pt` and `scheduler.pt` together, or neither and says nothing, and stops without
    `trainer_state.json`, its last file. Weights that were saved alone on purpose (`save_only_model`) are a note in a
    scan, and a warning where the question is whether to resume from them.

    Example: `checkpoint-500` without `scheduler.pt`.

    Cure: `ckpt-doctor migrate --sync-scheduler` writes a missing `scheduler.pt` from the optimizer and the step,
    `ckpt-doctor migrate --add-trainer-state` a missing `trainer_state.json` from another checkpoint of the run. For the
    rest resume from another checkpoint.

    Source: transformers, `Trainer._load_optimizer_and_scheduler`, `Trainer._save_checkpoint`.
    """
    checkpoint, lacking = case.checkpoint, parts.missing(case.checkpoint)
    told = [damage.where for damage in checkpoint.damage if damage.kind == "missing-part"]
    if any(where.startswith(("model", "pytorch_model")) for where in told):
        lacking = [name for name in lacking if name != "the model"]
    if parts.is_weights_only(checkpoint):
        yield Problem(
            "saved without optimizer on purpose (save_only_model): a resume keeps the step, and starts optimizer, "
            "schedule and random numbers anew",
            where=OPTIMIZER,
            severity="warning" if case.gate else "info",
        )
        return
    yield from _missing_marker(checkpoint)
    cures = {SCHEDULER: scheduler_state(case) is not None, STATE: trainer_state(case) is not None}
    if OPTIMIZER in lacking or "the model" in lacking:
        cures = {}
    curable = bool(lacking) and all(cures.get(name) for name in lacking)
    cut = "; the save was cut off" if STATE in lacking else ""
    if len(lacking) > 1 and not curable:
        *names, last = lacking
        follows = _FOLLOWS[STATE] if STATE in lacking else _FOLLOWS[OPTIMIZER]
        yield Problem(f"{', '.join(names)} and {last} are missing: {follows}{cut}", where=lacking[-1])
        return
    for name in lacking:
        read = f"{case.path('optimizer')[0]}"
        yield Problem(
            f"{name} is missing: {_FOLLOWS[name].format(read)}{cut if name == STATE else ''}",
            where=name,
            migration={SCHEDULER: "sync-scheduler", STATE: "add-trainer-state"}[name] if curable else None,
        )


def _missing_marker(checkpoint: Checkpoint) -> Iterator[Problem]:
    """DeepSpeed loads nothing without it (transformers/integrations/deepspeed.py, `deepspeed_load_checkpoint`)."""
    tags = {match[1] for match in map(DEEPSPEED.match, file_names(checkpoint)) if match}
    if tags and MARKER not in file_names(checkpoint):
        tag = max(tags, key=lambda name: (len(name), name))
        yield Problem(
            f"{MARKER} is not there, in which DeepSpeed reads that {tag} is to be loaded: it loads nothing, and the "
            "Trainer stops",
            where=MARKER,
            fix=f"echo {tag} > {quoted(checkpoint.path / MARKER)}",
        )


@rule("L302", "missing-key", "error")
def no_tensors(case: Case) -> Iterator[Problem]:
    """A file of weights has no tensors: what was trained is not in the checkpoint.

    DeepSpeed keeps the weights in folders of its own.

    Example: `adapter_model.bin` of 443 bytes, an empty dict, as a patched `state_dict` saves.

    Cure: none in the folder; resume from one that has the weights, and mend the script that saves none.

    Source: tloen/alpaca-lora#72, ymcui/Chinese-LLaMA-Alpaca#711.
    """
    for part in case.checkpoint.parts if not is_deepspeed(case.checkpoint) else ():
        name = case.checkpoint.name_of(part)
        if name.startswith(("adapter_model.", "model.", "pytorch_model.")) and part.root == {} and not part.damage:
            yield Problem(f"{name} has no tensors: a resume starts its weights anew, or stops", where=name, fix="")


@rule("L303", "wrong-type", "error")
def not_a_state(case: Case) -> Iterator[Problem]:
    """`trainer_state.json` holds something else than the Trainer's state.

    The Trainer stops as it starts, or starts from step 0.

    Example: `trainer_state.json` is `{}`.

    Cure: `ckpt-doctor migrate --add-trainer-state`, from another checkpoint of the run.

    Source: transformers/trainer_callback.py, `TrainerState.load_from_json`.
    """
    part = next((part for part in case.checkpoint.parts if case.checkpoint.name_of(part) == STATE), None)
    if part is not None and not part.damage and parts.is_lost(case.checkpoint, STATE):
        held = "an empty dict" if part.root == {} else describe(part.root)
        yield Problem(
            f"{STATE} holds {held}, not the Trainer's state: the Trainer stops as it starts, or starts from step 0",
            where=STATE,
            found=held,
            expected="the Trainer's state",
            migration=case.written_anew.get(STATE),
            fix=None if STATE in case.written_anew else "",
        )


@rule("L302", "missing-key", "error")
def no_step(case: Case) -> Iterator[Problem]:
    """`global_step` is not in `trainer_state.json`.

    The Trainer takes 0 and trains the whole run again on these weights.

    Example: a `trainer_state.json` that was edited by hand.

    Cure: `ckpt-doctor migrate --fix-epoch` where other parts of the checkpoint prove the step.

    Source: transformers/trainer_callback.py, `TrainerState` (`global_step: int = 0`).
    """
    state, proven = case.checkpoint.get(STATE), case.resume.global_step is not None
    if isinstance(state, dict) and "global_step" not in state and not parts.is_lost(case.checkpoint, STATE):
        yield Problem(
            f"`{STATE}.global_step` is missing: the Trainer takes 0 and trains the whole run again on these weights",
            where=f"{STATE}.global_step",
            expected=case.resume.global_step,
            migration="fix-epoch" if proven else None,
            fix=None if proven else "",
        )


@rule("L306", "no-rng-state", "info")
def no_random_state(case: Case) -> Iterator[Problem]:
    """The states of the random generators are not saved, or not those of all processes.

    The order of the data is the uninterrupted run's all the same: the Trainer's sampler has a seed of its own. Dropout
    draws other numbers.

    Example: `rng_state_0.pth` without the `rng_state_1.pth` of a second process.

    Cure: none in the folder.

    Source: transformers, `Trainer._load_rng_state`.
    """
    found = ranks(case.checkpoint)
    if parts.is_weights_only(case.checkpoint):
        return  # F114 says so
    if not found:
        yield Problem("rng_state.pth is missing: the data keeps its order, but dropout draws other numbers", fix="")
        return
    if lost := lost_ranks(case.checkpoint, case.run):
        yield Problem(
            f"rng_state_{lost[0]}.pth is missing: dropout in process {lost[0]} draws other numbers",
            where=f"rng_state_{lost[0]}.pth",
            fix="",
        )


@rule("P409", "parts-disagree", "warning")
def optimizer_of_another_step(case: Case) -> Iterator[Problem]:
    """The optimizer's files are of another step than the Trainer's state, or have another rate than its schedule.

    DeepSpeed names the folder after its own count of steps, which is the Trainer's.

    Example: `global_step400` in `checkpoint-500`.

    Cure: none in the folder; take all parts from one checkpoint.

    Source: transformers, `deepspeed_load_checkpoint`, `Trainer._load_optimizer_and_scheduler`.
    """
    found, step = elsewhere(case.checkpoint), case.state.global_step
    if found is None or step is None:
        return
    skips = found.skipped or may_skip(case.member)
    odd = next((one for one in found.steps if one[1] != step), None) if not skips else None
    if odd is not None:
        yield Problem(
            f"{odd[0]} is of step {odd[1]:,}, and {STATE} is of step {step:,}: they come from different steps",
            where=odd[0],
            found=odd[1],
            expected=step,
            fix="",
        )
        return
    expected = last_rates(case.member) if scheduled_steps(case.member) == step else None
    other = [one for one in found.rates if not any(holds_rate(one[1], rate) for rate in expected or ())]
    if expected and other:
        yield Problem(
            f"the optimizer's rate in {other[0][0]} is {other[0][1]:.6g}, and the schedule's is {expected[0]:.6g}: "
            "they come from different steps, or the rate was set by hand",
            where=other[0][0],
            found=other[0][1],
            expected=expected[0],
            fix="",
        )


@rule("P409", "parts-disagree", "warning")
def copied_random_state(case: Case) -> Iterator[Problem]:
    """A random state that another checkpoint of the run has, byte for byte, where the loop must have drawn.

    Example: the same `rng_state.pth` in `checkpoint-500` and `checkpoint-1000`.

    Cure: none in the folder; take all parts from one checkpoint.

    Source: transformers, `Trainer._load_rng_state`.
    """
    twin = known_of(case.run).twins.get(case.member.label)
    if twin is not None and twin.is_proven:
        yield twin.problem


RULES = (
    missing_part,
    copied_weights,
    copied_random_state,
    optimizer_of_another_step,
    no_tensors,
    not_a_state,
    no_step,
    no_random_state,
)
