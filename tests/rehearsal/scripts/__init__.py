"""Trainings with the real libraries, each a script that its own process runs; each prints a digest of its weights."""
