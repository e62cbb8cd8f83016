"""Requests and bytes since they were last taken."""

from __future__ import annotations

from ckpt_doctor.remote import as_path, take_traffic
from ckpt_doctor.remote.traffic import METER


def test_what_is_taken_is_counted_once() -> None:
    take_traffic()
    METER.add(2, 30)
    METER.add(1)
    assert (3, 30) == take_traffic()
    assert (0, 0) == take_traffic()


def test_a_url_begins_a_call_of_its_own() -> None:
    METER.add(2, 30)
    as_path("checkpoints")
    METER.add(1)
    as_path("s3://bucket/run")
    assert (0, 0) == take_traffic()
