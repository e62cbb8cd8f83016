"""The files of a run, each looked at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ckpt_doctor.trainers.lightning.callbacks import savers, stoppers
from ckpt_doctor.trainers.lightning.history import History, adam_lag, kept
from ckpt_doctor.trainers.lightning.layout import is_weights_only
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.lightning.memory import newest_step
from ckpt_doctor.trainers.lightning.pace import paces
from ckpt_doctor.trainers.lightning.schedule import is_off_its_schedule, is_stepped_by_script, lag
from ckpt_doctor.trainers.lightning.several import lines_of, shortfall
from ckpt_doctor.types import KeyPath, Member, Run, real


def _periods(members: Iterable[Member]) -> range:
    """Epochs that may lie between two validations; 1 where no file has had any, or each epoch may have."""
    loops = [held for member in members if (held := loops_of(member.checkpoint)) is not None]
    least = max((held.checked + 1 for held in loops if not held.has_validated), default=1)
    most = min((max(held.checked, 1) for held in loops if held.has_validated), default=1)
    return range(least, most + 1) or range(1, 2)


def gather(run: Run) -> History:
    """Look at each file of a run once."""
    keepers: dict[str, Counter[str]] = {}
    scores: dict[str, Counter[float]] = {}
    memories: dict[KeyPath, list[Member]] = {}
    newest: Counter[tuple[KeyPath, bool]] = Counter()
    members = sorted(run.members, key=lambda member: member.state.global_step or 0)
    for member in members:
        for saver in savers(member.checkpoint):
            keepers.setdefault(saver.text("dirpath"), Counter()).update(kept(saver))
            if saver.monitor:
                memories.setdefault(saver.path, []).append(member)
                if (step := newest_step(saver)) is not None:
                    newest[saver.path, step == member.state.global_step] += 1
                values = (saver.state.get("current_score"), saver.state.get("best_model_score"), *saver.best_k.values())
                told = (known for value in values if (known := real(value)) is not None)
                scores.setdefault(saver.monitor, Counter()).update(told)
        for stopper in stoppers(member.checkpoint):
            memories.setdefault(stopper.path, []).append(member)
    whole = [member for member in members if not is_weights_only(member.checkpoint)]
    by_script = is_stepped_by_script(whole)
    return History(
        names=frozenset([*(member.checkpoint.path.name for member in members), *(path.name for path in run.unjudged)]),
        keepers=keepers,
        scores=scores,
        steps={member.checkpoint.path.name: member.state.global_step or 0 for member in members},
        memories=memories,
        periods=_periods(whole),
        newest=newest,
        with_schedule=next((member for member in whole if lag(member) == 0), None),
        with_scaler=next((member.label for member in members if "scaler" in member.places), ""),
        adam_lags=Counter(map(adam_lag, whole)),
        off_rates=sum(map(is_off_its_schedule, whole)),
        lags=Counter(map(lag, whole)),
        lines=lines_of(whole),
        paces=paces(whole, by_script),
        by_script=by_script,
        shortfalls=Counter(shortfall(member.checkpoint) for member in whole),
    )
