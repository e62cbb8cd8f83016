"""The log of real training: what is read from it is what stands in the files that were written beside it."""

import pytest
import reference_trainer as trainer
import torch

from ckpt_doctor.trainers.time_llm.history import read_history

STEPS, SAVE_STEPS = 12, 5


MODES = [m if m in ("TST", "COS", "type1") else pytest.param(m, marks=pytest.mark.long) for m in trainer.LRADJ]
"""type1 speaks for the idle modes."""


@pytest.fixture(scope="module", params=MODES)
def project(request, tmp_path_factory):
    """A run of the complete trainer, killed twice: resumed in mid-epoch, then from the best checkpoint."""
    root = tmp_path_factory.mktemp(request.param)
    command = (
        f"--generation complete --lradj {request.param} --save_steps {SAVE_STEPS} --train_steps {STEPS} "
        f"--train_epochs 6 --patience 4 --progress --verbose --model_comment x --checkpoints {root}/checkpoints "
        "--vali-offsets 0 0.5 -0.1 0.5 0.4 -0.15"
    ).split()
    run = root / "checkpoints" / trainer.run_name(trainer.parse(command))
    log = root / "logs" / "train_x_20260126_120000.log"
    log.parent.mkdir()
    with log.open("a", encoding="utf-8") as stream:
        for resume, stop in (("", 28), (run / "checkpoint_step_25", 51), (run / "checkpoint", 63)):
            extra = ["--resume_from_checkpoint", str(resume), "--stop-after-step", str(stop)]
            trainer.run(trainer.parse([*command, *extra]), log=stream)
    return request.param, run


def test_every_file_holds_what_the_log_gives_for_it(project):
    """best_score to 7 decimals, and the counter, of every checkpoint on disk."""
    _, run = project
    history, _, doubts = read_history(run, [])
    assert not doubts
    assert ["fresh", "resumed", "resumed"] == [attempt.start for attempt in history.attempts]
    files = sorted(run.glob("checkpoint_step_*/checkpoint.pt"))
    assert 12 == len(files)
    for file in files:
        saved = torch.load(file, weights_only=False)
        step = saved["global_step"]
        way = history.lineage(global_step=step, finished_epochs=(step - 1) // STEPS)
        assert (saved["best_score"], saved["counter"]) == (
            pytest.approx(way.actual.best_score, abs=6e-8),
            way.actual.counter,
        )
        assert not (way.conflicts or way.missing or way.ties)
    best = torch.load(run / "checkpoint", weights_only=False)
    epoch = best["global_step"] // STEPS
    way = history.lineage(global_step=best["global_step"], finished_epochs=epoch, best=True)
    assert best["best_score"] == pytest.approx(way.uninterrupted.best_score, abs=6e-8)
    assert epoch == history.last_best().epochs[-1].epoch


def test_the_command_is_told_by_the_lines_it_led_to(project):
    """Mode, lengths, patience, and that the trainer restores EarlyStopping."""
    mode, run = project
    _, facts, _ = read_history(run, [])
    assert ((mode,), STEPS, 4, True) == (
        facts.lradj_candidates,
        facts.real_steps.value,
        facts.patience.value,
        facts.restores,
    )
    assert STEPS == facts.steps_per_epoch.value
