"""Migrations: a `Case` in, `Edit`s (or a `Refusal`) out. They write no bytes."""
