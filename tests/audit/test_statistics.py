"""Which tensors are measured, and which are not, with the reason."""

from __future__ import annotations

import torch

from ckpt_doctor.inert import limits
from tests.readers.set_files import write_sharded
from tests.readers.test_statistics import of
from tests.readers.torch_files import save


def test_a_cut_file_measures_what_is_whole(tmp_path) -> None:
    path = save(tmp_path / "a", {"first": torch.ones(100), "second": torch.ones(100_000)})
    path.write_bytes(path.read_bytes()[:20_000])
    found = of(path)
    assert 1.0 == found["first"].minimum
    assert "not in the file" in found["second"]


def test_a_pattern_is_a_glob_or_a_part_of_the_name(tmp_path) -> None:
    path = save(tmp_path / "a", {"enc.weight": torch.ones(1), "enc.bias": torch.ones(1), "dec.bias": torch.ones(1)})
    assert ["enc.weight", "enc.bias"] == list(of(path, "enc"))
    assert ["enc.bias", "dec.bias"] == list(of(path, "*.bias"))
    assert [] == list(of(path, "?ias"))


def test_views_that_ask_for_too_much_are_not_read(tmp_path, monkeypatch) -> None:
    """A file of some bytes may describe a thousand views of all of them."""
    monkeypatch.setattr(limits, "MAX_RECORD_RATIO", 1)
    base = torch.ones(10_000)
    found = of(save(tmp_path / "a", {str(n): base[n:] for n in range(4)}))
    assert "too many times" in found["3"]
    assert 1.0 == found["0"].mean
    huge = of(save(tmp_path / "b", {"w": torch.ones(1).expand(10**9)}))
    assert "too many times" in huge["w"]


def test_the_parts_of_a_set_are_measured_by_the_names_of_the_whole(tmp_path) -> None:
    from ckpt_doctor.audit import measured, open_file

    write_sharded(tmp_path)
    found = {one.tensor.path[-1]: one.statistics.mean for one in measured(open_file(tmp_path), "layer")}
    assert {f"layer.{i}.weight": float(i) for i in range(6)} == found
