"""What servers were asked for: requests, and bytes that came."""

from __future__ import annotations

from threading import Lock

Traffic = tuple[int, int]
"""Requests made and bytes received."""


class Meter:
    """Counts for all threads of this process."""

    def __init__(self) -> None:
        self._counted: Traffic = (0, 0)
        self._lock = Lock()

    def add(self, requests: int, received: int = 0) -> None:
        """Count requests and the bytes of their answers."""
        with self._lock:
            self._counted = (self._counted[0] + requests, self._counted[1] + received)

    def take(self) -> Traffic:
        """What was counted since this was last asked, or a URL was last given."""
        with self._lock:
            counted, self._counted = self._counted, (0, 0)
        return counted


METER = Meter()


def take_traffic() -> Traffic:
    """What the present call has cost since this was last asked; nothing where no URL was given."""
    return METER.take()
