"""Formatters: a `Report` in, text out. They print nothing."""
