"""When what the kernel forgot is forgotten by us: at once, later (`remember`), or never (`noforget`)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

__all__ = ["Forgetting"]


class Forgetting:
    """FORGETs wait here for `seconds`. What is due comes out when the next goes in: no clock runs for it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, int, int]] = deque()  # due at, nodeid, count

    def due(self, now: float, nodeid: int, count: int) -> Iterator[tuple[int, int]]:
        """Take one FORGET, and give those whose time has come: (nodeid, count)."""
        if math.isinf(self._seconds):
            return
        self._waiting.append((now + self._seconds, nodeid, count))
        while self._waiting and self._waiting[0][0] <= now:
            _, nodeid, count = self._waiting.popleft()
            yield nodeid, count
