"""Readers: bytes of a file -> an inert `Checkpoint`. They know containers and pickles, and nothing of trainers."""
