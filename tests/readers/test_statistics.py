"""Statistics of tensors are what torch computes of them."""

from __future__ import annotations

import math

import pytest
import torch

from ckpt_doctor.audit import measured
from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import save

REAL = (
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz int64 int32 int16 int8 "
    "uint64 uint32 uint16 uint8 bool"
)


def of(path, pattern="*"):
    return {one.tensor.name: one.statistics or one.why_not for one in measured(open_checkpoint(path), pattern)}


def agree(found, tensor) -> None:
    """Exact extremes and counts; mean and deviation to the last digits."""
    numbers = tensor.double().flatten()
    finite = numbers[numbers.isfinite()]
    assert len(numbers) - len(finite) == found.non_finite
    assert int((finite == 0).sum()) == found.zeros
    if not len(finite):
        assert (None, None, None, None) == (found.minimum, found.maximum, found.mean, found.std)
        return
    exact = tensor if tensor.dtype in (torch.int64, torch.int32) else finite
    assert (exact.min().item(), exact.max().item()) == (found.minimum, found.maximum)
    assert found.mean == pytest.approx(finite.mean().item(), rel=1e-12, abs=1e-15 * finite.abs().max().item())
    assert found.std == pytest.approx(finite.std(unbiased=False).item(), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("dtype", REAL.split())
def test_every_real_type(tmp_path, dtype) -> None:
    kind = getattr(torch, dtype)
    if kind.is_floating_point:
        tensor = (torch.randn(301, generator=torch.manual_seed(0), dtype=torch.float64) * 20).to(kind)
        codes = torch.arange(256, dtype=torch.uint8).view(kind) if kind.itemsize == 1 else tensor.clone()
        tensors = {"random": tensor, "codes": codes, "odd": torch.tensor([math.nan, math.inf, -0.0, 1.5]).to(kind)}
    else:
        span = torch.iinfo(kind) if kind != torch.bool else None
        tensors = {"few": torch.tensor([0, 1, 1]).to(kind)}
        if span and dtype != "uint64":
            tensors["ends"] = torch.tensor([span.min, 0, span.max], dtype=kind)
    found = of(save(tmp_path / "a", tensors))
    for name, tensor in tensors.items():
        agree(found[name], tensor)


def test_powers_of_two_alone(tmp_path) -> None:
    """`float8_e8m0fnu` has no zero and no sign."""
    tensor = torch.tensor([1.0, 0.25, 1024.0]).to(torch.float8_e8m0fnu)
    found = of(save(tmp_path / "a", {"scale": tensor}))["scale"]
    assert (0.25, 1024.0, 0) == (found.minimum, found.maximum, found.zeros)


def test_what_has_no_statistics_says_why(tmp_path) -> None:
    found = of(
        save(
            tmp_path / "a",
            {
                "complex": torch.randn(2, dtype=torch.complex64),
                "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
                "sparse": torch.eye(3).to_sparse(),
            },
        )
    )
    assert "no order" in found["complex"]
    assert "codes" in found["quantized"]
    assert "sparse" in found["sparse"]


def test_small_deviations_from_a_far_mean_are_not_lost(tmp_path) -> None:
    """Sums of squares would cancel: here they have 24 digits."""
    tensor = 1e12 + torch.randn(300_000, generator=torch.manual_seed(3), dtype=torch.float64)
    found = of(save(tmp_path / "a", {"w": tensor}))["w"]
    assert found.std == pytest.approx((tensor - 1e12).std(unbiased=False).item(), rel=1e-12)
    assert found.mean - 1e12 == pytest.approx((tensor - 1e12).mean().item(), abs=2e-4)  # of a double of that size
