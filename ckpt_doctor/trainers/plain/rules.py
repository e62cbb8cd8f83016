"""Rules about a hand-written loop's file that are its own."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.trainers.plain.position import finished, reading
from ckpt_doctor.types import Case, Evidence
from ckpt_doctor.validators.rule import Problem, rule


@rule("P412", "epoch-label-open", "info")
def epoch_label_open(case: Case) -> Iterator[Problem]:
    """`epoch` can mean the finished epoch or the next one, and only the script knows where it starts.

    A loop that saves the index of the epoch that it has just finished must start one after it; one that saves the
    number of finished epochs must start at it. Where saving and starting disagree, an epoch is trained twice or never.
    The files show how many epochs are finished, from Adam's steps in three or more siblings; how the script starts is
    not in them.

    Example: `epoch` 1 in a file with two finished epochs: a script that starts at `epoch` trains epoch 1 again.

    Cure: give `--script train.py`, which is read and not run, or `--resume-epoch label` or `label+1`. Where the label
    turns out wrong, P402 names the repair.

    Source: pytorch/vision#1628 and #2116; pytorch/examples imagenet/main.py (`epoch + 1`, starts at `epoch`);
    the saving tutorial of pytorch.org (`epoch`).
    """
    known, label = reading(case.member, case.run), case.state.epoch
    if case.plan is None or case.plan.start_epoch is not None or label is None:
        return
    settle = "give --script train.py, " + (
        "or --resume-epoch label or label+1" if known.resume is None else "or --epoch-label finished or next"
    )
    yield Problem(
        _choices(label, finished(case.member, case.run), known.resume),
        where=case.where("epoch"),
        found=label,
        fix=settle,
    )


def _choices(label: int, done: Evidence[int] | None, resume: Evidence[str] | None) -> str:
    if done is None:
        return (
            f"epoch is {label}, which can be the finished epoch or the next one: a script that starts at the wrong one "
            "of epoch and epoch + 1 trains an epoch twice or leaves one out"
        )
    told = f"epoch is {label}, and {done.value} {'epoch is' if done.value == 1 else 'epochs are'} finished"
    if done.value == label + 1:
        return f"{told}: a script that starts at epoch repeats an epoch, and one that starts at epoch + 1 does not"
    if resume is not None:  # label + 1
        return f"{told}: a script that starts at epoch + 1 leaves an epoch out if it counts from 0, and none if from 1"
    if done.value == label:
        return (
            f"{told}: a script that counts from 0 must start at epoch, and one that counts from 1 at epoch + 1, or an "
            "epoch is left out or repeated"
        )
    return f"{told}: which of the two is right is not known"


RULES = (epoch_label_open,)
