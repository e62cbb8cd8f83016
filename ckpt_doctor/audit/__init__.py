"""Paths -> Report: find the checkpoints, read them inertly, understand the run, judge."""
