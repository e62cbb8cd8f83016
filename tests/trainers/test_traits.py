"""What one file has otherwise than all others of its run."""

from __future__ import annotations

import pytest

from ckpt_doctor.trainers.traits import Described, counts_beside, odd_ones


@pytest.mark.parametrize(
    ("values", "odd"),
    [("aab", ""), ("aba", "1"), ("abab", ""), ("aaba", "2"), ("abb", ""), ("abca", ""), ("ab", "")],
)
def test_only_one_file_between_others_that_agree_is_odd(values: str, odd: str) -> None:
    found = odd_ones([Described(str(at), {"eps": value}, {}) for at, value in enumerate(values)])
    assert odd == "".join(label for label, points in found.items() if points)


@pytest.mark.parametrize(("counts", "odd"), [((1, 2, 2, 4), "2"), ((0, 2, 2, 4), ""), ((0, 2, 2, 4, 5, 6), "2")])
def test_a_count_that_has_not_begun_is_left_out(counts: tuple[int, ...], odd: str) -> None:
    described = [
        Described(str(at), {}, dict(counts_beside("ema", {"seen": count}, {at: "steps"})))
        for at, count in enumerate(counts)
    ]
    assert odd == "".join(label for label, points in odd_ones(described).items() if points)
