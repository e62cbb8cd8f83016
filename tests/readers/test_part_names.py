"""The names of parts, as the libraries give them: what they tell, and what other files are called."""

from __future__ import annotations

import pytest

from ckpt_doctor.readers.part_names import (
    beside,
    index_of,
    is_count,
    is_moment,
    is_other_binary,
    is_part_of_several,
    shard_of,
)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("model.safetensors.index.json", ("model", "safetensors", None)),
        ("pytorch_model.bin.index.json", ("pytorch_model", "bin", None)),
        ("diffusion_pytorch_model.safetensors.index.fp16.json", ("diffusion_pytorch_model", "safetensors", "fp16")),
        ("index.json", None),
        ("model.index.json.tmp", None),
    ],
)
def test_an_index_names_its_model_and_its_container(name: str, groups: tuple[str | None, ...] | None) -> None:
    found = index_of(name)
    assert groups == (found and found.groups())


@pytest.mark.parametrize(
    ("name", "number", "count"),
    [
        ("model-00002-of-00003.safetensors", "00002", "00003"),
        ("pytorch_model-00001-of-00002.fp16.bin", "00001", "00002"),
        ("model-00002-of-3.safetensors", "00002", "3"),
        ("layer-1-of-the-model.pt", None, None),
        ("model-000001-of-000003.pt", None, None),
    ],
)
def test_a_shard_names_its_number_and_how_many_there_are(name: str, number: str | None, count: str | None) -> None:
    found = shard_of(name)
    assert (number, count) == ((found["number"], found["count"]) if found else (None, None))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("tokenizer.model", True),
        ("tokenizer.model.v3", True),
        ("openvino_model.bin", True),
        ("sentencepiece.bpe.model", True),
        ("train.bin", True),
        ("fineweb_val_000001.bin", True),
        ("my-data_text_document.bin", True),
        ("state_00000100_00001.bin", True),
        ("model_1.bin", False),
        ("pytorch_model.bin", False),
        ("my_tokenizer.bin", False),
        ("vocab.txt", False),
    ],
)
def test_binary_files_beside_weights_are_known_by_how_their_names_begin(name: str, other: bool) -> None:
    assert other == is_other_binary(name)


def test_what_names_several_files() -> None:
    """An index, a marker, a shard."""
    assert all(map(is_part_of_several, ("latest", "last_checkpoint", "model.bin.index.json", "m-1-of-2.pt")))
    assert not any(map(is_part_of_several, ("model.pt", "latest.pt", "checkpoint", "index.json")))


def test_a_count_is_known_by_its_name() -> None:
    assert all(map(is_count, ("a/training_step.json", "train_state_00000.json", "running_states.json")))
    assert not any(map(is_count, ("a/config.json", "model.safetensors.index.json", "step_3/config.json", "step.pt")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("step30", ["step20", "step40"]), ("step50", ["step30", "step40"]), ("step20", []), ("last", [])],
)
def test_the_moments_beside_one_are_those_next_to_it(tmp_path, name, expected):
    """Of the first one nothing before it shows what it should have."""
    for other in ("step20", "step30", "step40", "step50", "step35-unsharded", "last"):
        (tmp_path / other).mkdir()
    assert expected == [path.name for path in beside(tmp_path / name)]
    assert [] == beside(tmp_path / "none" / name)


@pytest.mark.parametrize(
    ("names", "is_one"),
    [
        ("50 100 150", True),
        ("1000 2000 2345", True),
        ("000050 000075", True),
        ("1000", True),
        ("step_3", True),
        ("0 1 2 3", False),
        ("1 42 123 1234", False),
        ("20240110 20240120", False),
        ("7", False),
        ("run_10 run_20", False),
    ],
)
def test_numbers_alone_are_moments_where_one_interval_lies_between_them(tmp_path, names, is_one):
    """Not those of seeds, folds and days."""
    for name in names.split():
        (tmp_path / name).mkdir()
    assert [is_one] * len(names.split()) == [is_moment(tmp_path / name) for name in names.split()]
