"""What is drawn of a run of Lightning beside its schedule."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor import scan
from ckpt_doctor.audit import curve_of
from ckpt_doctor.types import Curve
from tests.trainers.lightning import runs as lightning


def drawn(folder: Path) -> Curve:
    [curve] = map(curve_of, scan([folder]).runs)
    return curve


def test_the_score_of_model_checkpoint_is_the_loss_of_lightning(tmp_path: Path) -> None:
    lightning.write(tmp_path / "run", 4)
    curve = drawn(tmp_path)
    assert [loss for _, loss in curve.losses] == list(lightning.LOSSES[:4])
    assert (curve.loss, curve.best) == ("val_loss", 4 * lightning.BATCHES)
