"""Facts given from Python: what cannot be is refused by its name, before any file is looked at."""

import pytest

from ckpt_doctor import check_resume, facts, scan
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Evidence


def test_they_are_marked_as_given():
    """With their source; what is None is not given."""
    known = facts(source="my config", lradj="TST", steps_per_epoch=45, patience=None, shuffle=False)
    assert Evidence("TST", "my config", given=True) == known["lradj"]
    assert {"lradj": "TST", "steps_per_epoch": 45, "shuffle": False} == {n: e.value for n, e in known.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lradj", "cosine"),
        ("lradj", "tst"),
        ("steps_per_epoch", 0),
        ("steps_per_epoch", 4.5),
        ("train_epochs", True),
        ("world_size", 0),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("pct_start", 3),
        ("shuffle", "yes"),
        ("momentum", 0.9),
    ],
)
def test_what_cannot_be_is_named(tmp_path, name, value):
    """In one line, as everything that a user can get wrong."""
    with pytest.raises(UsageError, match=name):
        facts(**{name: value})
    if name != "momentum":
        with pytest.raises(UsageError, match=name):
            check_resume(tmp_path, **{name: value})


def test_a_log_that_is_not_there_and_a_severity_that_is_none(tmp_path):
    """The same of what else a script hands over."""
    with pytest.raises(UsageError, match="does not exist"):
        check_resume(tmp_path / "checkpoint", log=tmp_path / "gone.log")
    with pytest.raises(UsageError, match="does not exist"):
        scan(tmp_path, logs=[tmp_path / "gone.log"])
    with pytest.raises(UsageError, match="is not a plain file"):
        scan(tmp_path, logs=[tmp_path])
    with pytest.raises(UsageError, match="'warn'"):
        check_resume(None).raise_for_errors(at="warn")
    assert () == scan(str(tmp_path)).runs
