"""Tests of what is found in training scripts."""

import pytest

pytest.register_assert_rewrite("tests.lint.sources")
