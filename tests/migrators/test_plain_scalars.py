"""`--plain-scalars`: the same numbers without numpy, so that `torch.load(weights_only=True)` takes the file."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.migrators.sample_runs import changed, edit, load, repaired, untouched


@pytest.mark.parametrize("name", ["complete-TST", "complete-COS"])
def test_every_file_of_the_complete_trainer_then_loads_with_weights_only(name, sample):
    """Refused before, accepted afterwards, in every way of loading."""
    run = sample(name)
    for path in sorted(run.run.rglob("checkpoint*")):
        if path.is_file():
            with pytest.raises(Exception, match=r"[Ww]eights.only"):
                torch.load(path, map_location="cpu", weights_only=True)
            assert "migrated" == repaired(path, "plain-scalars").status
            torch.load(path, map_location="cpu", weights_only=True)
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def test_the_random_states_still_restore_what_they_did(sample):
    """The trainer hands them to `random`, numpy and torch as before, and the same numbers follow."""

    def draws(state: dict) -> list[float]:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.set_rng_state(state["torch"])
        return [
            *(random.random() for _ in range(700)),
            *np.random.random(700).tolist(),
            *np.random.normal(size=3).tolist(),
            *torch.rand(700).tolist(),
        ]

    run = sample("complete-TST")
    before = draws(load(run.best)["rng_state"])
    repaired(run.best, "plain-scalars")
    assert before == draws(torch.load(run.best, map_location="cpu", weights_only=True)["rng_state"])


def test_an_odd_draw_of_normal_numbers_is_kept(sample):
    """numpy keeps the second number of a pair for later (`has_gauss`); it is part of its state."""
    run = sample("complete-TST")
    np.random.seed(7)
    np.random.normal()
    edit(run.best, lambda held: held["rng_state"].update(numpy=np.random.get_state()))
    expected = np.random.normal(size=5).tolist()
    repaired(run.best, "plain-scalars")
    np.random.set_state(torch.load(run.best, weights_only=True)["rng_state"]["numpy"])
    assert expected == np.random.normal(size=5).tolist()


def test_only_the_type_changes(sample):
    """Scores and numpy's key array; everything else stays as it was, the tensors of `rng_state` too."""
    run = sample("complete-TST")
    found = changed(run.step(140), "plain-scalars")
    assert {("best_score",), ("val_loss_min",), ("rng_state", "numpy", 1)} == set(found)
    for before, after in found.values():
        assert type(after) in (float, list)
        assert np.array_equal(before, after)


SCALARS = st.one_of(
    st.floats(width=64).map(np.float64),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
    st.complex_numbers(allow_nan=False).map(np.complex128),
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=3) | st.tuples(SCALARS), max_size=4))
@example(values={"ÑÛ]}\x1b": np.float64(0.0)})  # the checksum behind the former data.pkl looks like an opcode
def test_any_numpy_number_anywhere_is_the_same_python_number(tmp_path_factory, values):
    """In dicts, lists and tuples, to the last bit; loaded with weights_only."""
    path = tmp_path_factory.mktemp("scalars") / "model.pt"
    torch.save({"notes": values, "w": torch.ones(2)}, path)
    result = repaired(path, "plain-scalars")
    held = torch.load(path, weights_only=True)["notes"]
    assert ("migrated" if any(map(_numbers, values.values())) else "unchanged") == result.status
    for key, value in values.items():
        for number, plain in zip(_numbers(value), _numbers(held[key]), strict=True):
            assert type(plain) in (bool, int, float, complex)
            assert number.item() == plain or (math.isnan(number.item()) and math.isnan(plain))
            assert math.copysign(1, number.item().real) == math.copysign(1, plain.real)


def _numbers(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def test_a_file_without_numpy_is_left_alone(sample):
    """Nothing to do: not rewritten."""
    assert "unchanged" == untouched(sample("first-patch-type1").best, "plain-scalars").status


ARRAYS = {
    "floats": np.linspace(0, 1, 5),
    "singles": np.float32([0.1, -0.0, np.inf]),
    "halves": np.float16([0.1]),
    "table": np.arange(6).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "flags": np.array([True, False]),
    "bytes": np.array([1, 255], np.uint8),
    "no dimension": np.array(0.5),
    "nothing": np.array([]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_a_file_that_nobody_owns_becomes_a_list(tmp_path, name):
    """Nested as the array was, with the same numbers to the last bit; the result says what a script must do then."""
    path, array = tmp_path / "best.pt", ARRAYS[name]
    torch.save({"history": array, "loss": np.float64(0.4), "w": torch.ones(2)}, path)
    result = repaired(path, "plain-scalars")
    held = torch.load(path, weights_only=True)["history"]
    assert array.tolist() == held
    assert math.copysign(1, np.ravel(array)[1]) == math.copysign(1, np.ravel(held)[1]) if array.size > 1 else True
    assert any("numpy.asarray" in note and "history" in note for note in result.notes) == isinstance(held, list)


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64])
def test_a_generator_of_numpy_takes_its_state_back(tmp_path, generator):
    """The arrays in the state of each bit generator may be lists."""
    path, numbers = tmp_path / "last.pt", np.random.Generator(generator(7))
    numbers.random(5)
    torch.save({"rng": numbers.bit_generator.state, "score": np.float64(1.0)}, path)
    expected = numbers.random(700).tolist()
    assert "migrated" == repaired(path, "plain-scalars").status
    numbers.bit_generator.state = torch.load(path, weights_only=True)["rng"]
    assert expected == numbers.random(700).tolist()


@pytest.mark.parametrize(
    "array",
    [np.array(["a"]), np.array([None]), np.zeros(10_001), np.zeros((0, 3)), np.array([1j])],
    ids=["text", "objects", "too long", "empty rows", "complex"],
)
def test_what_has_no_plain_form_stays_and_is_told(tmp_path, array):
    """The file still needs weights_only=False, and the result says so; no cure is promised."""
    path = tmp_path / "model.pt"
    torch.save({"score": np.float64(-0.5), "curve": array}, path)
    result = repaired(path, "plain-scalars")
    held = load(path)
    assert ("migrated", float) == (result.status, type(held["score"])), result
    assert np.array_equal(array, held["curve"])
    assert any("still refuse" in note and "curve" in note for note in result.notes)
    assert [None] == [finding.migration for finding in result.after if finding.code == "S203"]
    assert "unchanged" == untouched(path, "plain-scalars").status


def test_weights_and_what_a_trainer_owns_stay_arrays(tmp_path, sample):
    """A loader calls torch.from_numpy on the one; what the trainer does with the other is not known here."""
    path = tmp_path / "zoo.pth"
    torch.save({"model": {"w": np.ones(3)}, "score": np.float64(1.0)}, path)
    repaired(path, "plain-scalars")
    assert isinstance(load(path)["model"]["w"], np.ndarray)
    owned = sample("complete-TST").best
    edit(owned, lambda held: held.update(curve=np.linspace(0, 1, 5)))
    repaired(owned, "plain-scalars")
    assert isinstance(load(owned)["curve"], np.ndarray)
