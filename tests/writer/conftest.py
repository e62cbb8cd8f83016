"""Fixtures of the writer's tests."""

import os

import pytest


@pytest.fixture(scope="module")
def quick_disk():
    """Nobody cuts the power: nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        yield
