"""Rules that hold a loop's file against the others of its run: what a resume began anew, what was built otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.trainers.plain.label import noun_of
from ckpt_doctor.trainers.plain.position import Kin, optimizer_of, standing
from ckpt_doctor.trainers.plain.saved import is_stepped_singly, numbers_in, saved_position
from ckpt_doctor.trainers.plain.siblings import Alike, alike, crowd, missing, names_of_weights
from ckpt_doctor.trainers.state import formula_of
from ckpt_doctor.types import Case, Member, dotted, mapping_of, real
from ckpt_doctor.types.record import kept, record
from ckpt_doctor.validators.rule import Problem, listing, rule

_HIGH = r"acc|f1|m?ap(\d|$)|iou|psnr|ssim|fitness|prec|top_?\d|dice|auc|bleu|reward|return|recall|kappa"
_STAGE = r"stage|phase|task|fold|cycle|round|curriculum"
_LOW = r"loss|ppl|perplexity|err|wer$|cer$|ms[el]|mae"


@record(frozen=True)
class Best:
    """The best value that a file remembers."""

    label: int
    value: float
    key: str
    member: Member

    @property
    def stage(self) -> dict[object, object]:
        """What the file says of the stage of training, in each of which a script may begin the value anew."""
        root = mapping_of(self.member.checkpoint.root) or {}
        told = ((key, value) for key, value in root.items() if re.search(_STAGE, str(key).lower()))
        return {key: value for key, value in told if isinstance(value, (bool, int, float, str))}


@rule("E605", "log-disagrees", "warning")
def best_began_anew(case: Case) -> Iterator[Problem]:
    """The best value is worse than an earlier file of the run has: a resume began it anew.

    A script that saves the best value and does not load it compares the first validation after a resume with nothing.
    Whatever comes then counts as the best, and its weights overwrite the best model; every later resume goes on with
    the worse value. Which values are better the key says (`best_acc1`, `best_loss`), or three of four changes do.
    Only files are compared whose numbers in their names grow with their labels, and that tell no other `stage`,
    `phase`, `task` or the like.

    Example: `best_acc1` 0.62 in `checkpoint_40.pt`, and 0.71 in `checkpoint_30.pt`.

    Cure: none in the file; give the script the better value, and keep the model that had it.

    Source: the file's siblings; pytorch/examples imagenet/main.py, `best_acc1`.
    """
    files = alike(case.member, case.run)
    fallen = _fallen(files)
    if case.checkpoint.path in fallen:
        own, better = fallen[case.checkpoint.path]
        yield Problem(
            f"{own.key} is {own.value:.6g}, and {better.member.label}, of an earlier {noun_of(better.member)}, has "
            f"{better.value:.6g}: a resume began the best value anew, so that a worse model counts as the best",
            where=own.key,
            found=own.value,
            expected=better.value,
            fix="",
        )


def _best(label: int, member: Member) -> Best | None:
    """Of several best values each may be of the moment at which another was best."""
    known = find(member.checkpoint).best
    value = real(known[0].value) if len(known) == 1 else None
    return Best(label, value, dotted(known[0].path), member) if value is not None and math.isfinite(value) else None


@kept
def _fallen(files: Alike) -> dict[Path, tuple[Best, Best]]:
    """Files with a worse best value than an earlier one has, and that earlier one."""
    told = (_best(*one) for one in files.members)
    ordered = sorted((one for one in told if one is not None), key=lambda one: one.label)
    sense = _sense(ordered) if len({one.key for one in ordered}) == 1 and _are_in_order(ordered) else 0
    found: dict[Path, tuple[Best, Best]] = {}
    top = ordered[0] if sense else None
    for one in ordered if top is not None else ():
        assert top is not None
        if sense * one.value >= sense * top.value or one.stage != top.stage:
            top = one
        elif one.label > top.label:
            found[one.member.checkpoint.path] = (one, top)
    return found


def _sense(ordered: Sequence[Best]) -> int:
    """1 where a higher value is better, -1 where a lower one is; 0 where that is open."""
    key = ordered[0].key.rpartition(".")[2].lower()
    changes = [math.copysign(1, b.value - a.value) for a, b in pairwise(ordered) if a.value != b.value]
    ups, downs = changes.count(1), changes.count(-1)
    named = bool(re.search(_HIGH, key)) - bool(re.search(_LOW, key))
    if named:
        return named if named * ups >= named * downs else 0  # a loss may be saved with its sign turned
    return (ups >= 3 * max(downs, 1)) - (downs >= 3 * max(ups, 1))


def _are_in_order(ordered: Sequence[Best]) -> bool:
    """Whether a number in the names grows with the labels: folds, and runs in one folder, are numbered otherwise."""
    return len(ordered) > ENOUGH and _grow([numbers_in(one.member.checkpoint) for one in ordered])


def _grow(numbers: Sequence[Sequence[int | None]]) -> bool:
    """Whether one of the numbers grows from row to row."""
    columns = zip(*numbers, strict=False)
    return any(all(a is not None and b is not None and a < b for a, b in pairwise(column)) for column in columns)


@rule("P409", "parts-disagree", "warning")
def weights_at_rest(case: Case) -> Iterator[Problem]:
    """The weights are byte for byte those of earlier files, while the optimizer's averages have moved.

    Each step of an optimizer moves the weights that it trains. Where three files of different moments have the same
    weights and other moments, what is saved is not what is trained: a copy that was made before, an adapter or a model
    that a resume put in the place of the saved one.

    Example: the same `state_dict` in the files of epochs 2, 3 and 4, beside 50, 75 and 100 steps of Adam.

    Cure: none in the file: what was trained since is in none. Save the model that the optimizer has the parameters of.

    Source: the checksums in the archives; huggingface/diffusers#5840.
    """
    kin = standing(case.member, case.run).kin
    label = kin.labels.get(case.checkpoint.path)
    first = _resting(kin).get(case.checkpoint.path)
    if first is not None and label is not None and label > first[0]:
        yield Problem(
            f"the weights are byte for byte those in {first[1]}, and the optimizer's averages have moved since: what "
            "was saved is not what is trained",
            where=case.where("model"),
            fix="",
        )


@kept
def _resting(kin: Kin) -> dict[Path, tuple[int, str]]:
    """File -> label and name of the first of three or more of different moments that have its weights."""
    groups = {id(one.group): one.group for one in kin.agreed.twins.values() if one.part == "model"}
    found: dict[Path, tuple[int, str]] = {}
    for group in groups.values():
        labels = {kin.labels[path]: path.name for path in group if path in kin.labels}
        if len(labels) >= ENOUGH:
            found.update(dict.fromkeys(group, min(labels.items())))
    return found


@rule("O704", "optimizer-groups-mismatch", "info", each=True)
def groups_of_another_build(case: Case) -> Iterator[Problem]:
    """The optimizer has other param groups than in an earlier file of the run.

    A script that thaws layers, or adds a group, on the way builds the optimizer otherwise at its start:
    `load_state_dict` then stops with "loaded state dict contains a parameter group that doesn't match the size of
    optimizer's group". A resume must first build it as it was at this moment.

    Example: one group of 2 parameters until epoch 9, two groups of 2 and 60 from epoch 10 on.

    Cure: none in the file; build the optimizer as at this epoch before its state is loaded.

    Source: torch/optim/optimizer.py, `Optimizer.load_state_dict`; STVIR/pysot#92.
    """
    kin = standing(case.member, case.run).kin
    label = kin.labels.get(case.checkpoint.path)
    first = _first_groups(kin)
    own = _groups(case.member)
    if first is not None and label is not None and own and label > first[0] and own != first[2]:
        yield Problem(
            f"the optimizer has groups of {_shown(own)} parameters, and in {first[1]} of {_shown(first[2])}: a script "
            "that builds it as at the start stops in load_state_dict",
            where=case.where("optimizer", "param_groups"),
            found=list(own),
            expected=list(first[2]),
            fix="build the optimizer as it was at this moment before you load its state",
        )


@kept
def _first_groups(kin: Kin) -> tuple[int, str, tuple[int, ...]] | None:
    known = ((kin.labels.get(one.checkpoint.path), one.label, _groups(one)) for one in kin.members)
    return min(((label, name, sizes) for label, name, sizes in known if label is not None and sizes), default=None)


def _groups(member: Member) -> tuple[int, ...]:
    """How many parameters each group of a member's optimizer has."""
    found = optimizer_of(member)
    params = [group.get("params") for group in found.groups] if found is not None else []
    return tuple(len(one) for one in params if isinstance(one, (list, tuple)))


def _shown(sizes: Sequence[int]) -> str:
    return listing([f"{size:,}" for size in sizes], 6)


@rule("L302", "missing-key", "warning", each=True)
def first_rate_missing(case: Case) -> Iterator[Problem]:
    """The optimizer's groups lack `initial_lr`, which an earlier file of the run has.

    A scheduler that is built at a position (`last_epoch=`) reads the rate that its schedule began with from there, and
    stops without: "param 'initial_lr' is not specified in param_groups[0] when resuming an optimizer". Files with a
    scheduler's state are not asked: it brings the rate with it.

    Example: `G_100.pth` without `initial_lr`, and `G_75.pth` with it.

    Cure: none by a rule; put the rate of the other file in: `group.setdefault("initial_lr", 0.0001)`.

    Source: torch/optim/lr_scheduler.py, `LRScheduler.__init__`; svc-develop-team/so-vits-svc#19.
    """
    kin = standing(case.member, case.run).kin
    label, own = kin.labels.get(case.checkpoint.path), _first_rates(case.member)
    if label is None or own is None or None not in own or case.has("scheduler"):
        return
    having = _with_first_rates(kin)
    if having is not None and label > having[0]:
        yield Problem(
            f"param_groups have no initial_lr, and in {having[1]} they have: a scheduler that is built with "
            "last_epoch= stops with KeyError",
            where=case.where("optimizer", "param_groups", own.index(None)),
            expected=having[2],
            fix=f'after loading, and before the scheduler is built: group.setdefault("initial_lr", {having[2]})',
        )


def _first_rates(member: Member) -> list[float | None] | None:
    found = optimizer_of(member)
    return [real(group.get("initial_lr")) for group in found.groups] if found is not None else None


@kept
def _with_first_rates(kin: Kin) -> tuple[int, str, float] | None:
    known = ((kin.labels.get(one.checkpoint.path), one.label, _first_rates(one)) for one in kin.members)
    whole = [
        (label, name, rates[0])
        for label, name, rates in known
        if label is not None and rates and rates[0] is not None and None not in rates
    ]
    return min(whole) if len(whole) >= ENOUGH else None


@rule("L302", "missing-key", "warning")
def weights_missing(case: Case) -> Iterator[Problem]:
    """The file lacks weights that files before and after it have: averaged ones (EMA), a teacher's, one tensor.

    A script that loads them stops; one that does so only where they are there starts them anew from the weights.

    Example: no `ema` in `ckpt_3.pt` where `ckpt_2.pt` and `ckpt_4.pt` have one.

    Cure: none in the file; resume from one that has them.

    Source: the file's siblings.
    """
    for one in missing(case.member, case.run):
        if one.kind == "weights" and one.is_between:
            yield Problem(
                f"no {one.key}, which files before and after this one have ({one.other}): a script that loads it "
                "stops, or starts it anew",
                where=one.key,
                fix="",
            )
    usual = crowd(case.member, case.run)
    lost = names_of_weights(usual) - names_of_weights(case.member) if usual is not None else set()
    if usual is not None and lost:
        yield Problem(
            f"the model has no {listing(sorted(lost))}, which {usual.label} and the other files named alike have: "
            "load_state_dict stops, or leaves it as it was built",
            where=min(lost),
            fix="",
        )


# --- the schedule ----------------------------------------------------------------------------------------------------


@rule("R501", "scheduler-behind", "warning", each=True)
def schedule_began_anew(case: Case) -> Iterator[Problem]:
    """The schedule's position falls from one file to the next, while labels and optimizer go on.

    A script that does not load the scheduler's state, or builds it at another position, starts its rates anew with each
    resume, and what it saves then shows that. Nothing is said where the schedule was at its end before, or falls more
    than once, as in a script that begins one for each of its stages.

    Example: `last_epoch` 75, and in the next file 27, beside 75 and 100 steps of Adam.

    Cure: none by a rule; what the position would be depends on the script.

    Source: the file's siblings; NVIDIA-NeMo/Automodel#763, vllm-project/speculators#1049.
    """
    kin, files = standing(case.member, case.run).kin, alike(case.member, case.run)
    if kin.agreed.schedule is not None or any("schedule" in one.parts for one in kin.agreed.departures.values()):
        return  # a single file of another moment, which others judge
    fall = _fall(files)
    label = kin.labels.get(case.checkpoint.path)
    if fall is not None and label is not None and label >= fall[0] and not case.further:
        before, own = fall[1], saved_position(case.member)
        yield Problem(
            f"the scheduler is at {own:,}, and was at {saved_position(before):,} in {before.label}: an earlier resume "
            "began the schedule anew, unless your script begins another one there",
            where=case.where("scheduler", "last_epoch"),
            found=own,
            fix="",
        )


@kept
def _fall(files: Alike) -> tuple[int, Member] | None:
    """The label of the first file after the only fall of the scheduler's position, and the file before it."""
    ordered = sorted(files.members, key=lambda one: one[0])
    at = [saved_position(member) if is_stepped_singly(member) else None for _, member in ordered]
    made = [member.state.optimizer_step for _, member in ordered]
    names = [numbers_in(member.checkpoint) for _, member in ordered]
    if None in at or not _grow(names) or (None in made and set(made) != {None}):
        return None
    falls = [n for n, (a, b) in enumerate(pairwise(at), 1) if a is not None and b is not None and b < a]
    if len(falls) != 1 or falls[0] < 2 or (None not in made and not _grow([(one,) for one in made])):
        return None
    before, after = ordered[falls[0] - 1][1], ordered[falls[0]][1]
    ends = (real(before.at("scheduler", key)) for key in ("total_steps", "T_max", "total_iters"))
    is_over = any(end is not None and (saved_position(before) or 0) >= end - 1 for end in ends)
    return None if is_over or formula_of(before) != formula_of(after) else (ordered[falls[0]][0], before)


RULES = (
    weights_missing,
    best_began_anew,
    weights_at_rest,
    groups_of_another_build,
    first_rate_missing,
    schedule_began_anew,
)
