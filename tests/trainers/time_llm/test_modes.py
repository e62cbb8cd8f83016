"""The rates that Time-LLM's `adjust_learning_rate` sets."""

import pytest

from ckpt_doctor.trainers.time_llm.modes import adjust_learning_rate


@pytest.mark.parametrize(
    ("lradj", "expected"),
    [
        ("type1", [0.01, 0.005, 0.0025, 0.00125]),
        ("type2", [None, 5e-5, None, 1e-5]),
        ("type3", [0.01, 0.01, 0.01, 0.01 * 0.9]),
        ("PEMS", [0.01 * 0.95, 0.01 * 0.95**2, 0.01 * 0.95**3, 0.01 * 0.95**4]),
        ("constant", [0.01] * 4),
    ],
)
def test_the_epoch_wise_modes_set_these_rates_in_the_first_four_epochs(lradj, expected):
    """Epochs count from 1; type2 leaves the rate alone between its entries."""
    assert expected == [adjust_learning_rate(lradj, 0.01, epoch) for epoch in range(1, 5)]


def test_modes_with_a_stepped_scheduler_are_not_epoch_wise():
    """TST and COS have no `adjust_learning_rate` of their own."""
    for lradj in ("TST", "COS", "type4"):
        with pytest.raises(ValueError, match="not an epoch-wise mode"):
            adjust_learning_rate(lradj, 0.01, 1)
