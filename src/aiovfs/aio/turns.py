"""One at a time, first come first served, and free of charge when nobody else is there.

Calls that move a file's position are several steps: flush, read, remember where. Two tasks in the middle of that would
mix their data up, so each takes its turn. `anyio.Lock` does the same with a checkpoint and an object per use; a read
that is served from a buffer costs less than that.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType

import anyio

__all__ = ["Turns"]


class Turns:
    """`async with turns:` is one turn. `is_busy` says whether somebody has it."""

    __slots__ = ("_waiting", "is_busy")

    def __init__(self) -> None:
        self.is_busy = False
        self._waiting: deque[anyio.Event] | None = None

    async def __aenter__(self) -> None:
        if not self.is_busy:
            self.is_busy = True
            return
        if self._waiting is None:
            self._waiting = deque()
        mine = anyio.Event()
        self._waiting.append(mine)
        try:
            await mine.wait()  # the turn is handed over: `is_busy` stays true
        except BaseException:
            if mine.is_set():
                self._pass_on()
            else:
                self._waiting.remove(mine)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.is_busy = False
