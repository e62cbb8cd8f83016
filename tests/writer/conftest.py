"""Fixtures of the writer's tests."""

import os

import pytest

from tests.writer.sample_files import CONTAINERS


@pytest.fixture(scope="module")
def quick_disk():
    """Nobody cuts the power: nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        yield


@pytest.fixture(params=CONTAINERS)
def container(request) -> str:
    """Each container that the writer edits."""
    return request.param
