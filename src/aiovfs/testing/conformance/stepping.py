"""Cancel a coroutine at its first await, at its second, and so on to its end.

    async for cancelled in at_every_await(lambda: fs._pipe_file(path, new)):
        assert await fs._cat_file(path) in (old, new)

Each round runs a fresh coroutine and cancels it when it waits for the n-th time; the body of the loop then checks what
holds. The last round is the one that needed fewer awaits. `at_every_tick` cancels after n turns of the loop instead,
which also hits the tasks that the work has started.

What was asked of a server before the cancellation may still be done there after it: give each round a file of its own.
"""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Self

import anyio
import anyio.lowlevel

__all__ = ["at_every_await", "at_every_tick"]

Work = Callable[[], Coroutine[Any, Any, Any]]

MAX_ROUNDS = 48
"""Past a dozen awaits the rounds grow further apart, so that long work is done with in this many."""


class Rounds(ABC):
    """An async iterator, and not a generator: one that a failed test leaves in the middle has nothing to clean up."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._rounds = 0
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bool:
        if self._is_over or self._rounds == MAX_ROUNDS:
            raise StopAsyncIteration
        self._rounds += 1
        return await self._cancel()

    @abstractmethod
    async def _cancel(self) -> bool:
        """One round; True when the work was cancelled. Sets `_is_over` when it came to its end unhindered."""


class at_every_await(Rounds):
    """Cancel `work()` at await 1, 2, 3, …; yields whether it was cancelled, after each. Ends when it was not."""

    _step = 1

    async def _cancel(self) -> bool:
        waits = 0
        with anyio.CancelScope() as scope:

            def waiting() -> None:
                nonlocal waits
                waits += 1
                if waits == self._step:
                    scope.cancel()

            await _watched(self._work(), waiting)
        self._is_over = waits < self._step
        self._step += max(1, self._step // 6)
        return scope.cancelled_caught


class at_every_tick(Rounds):
    """Cancel `work()` after 0, 1, 2, … turns of the loop; else as `at_every_await`."""

    _ticks = 0

    async def _cancel(self) -> bool:
        async def run() -> None:
            await self._work()
            self._is_over = True

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            for _ in range(self._ticks):
                if self._is_over:
                    break
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        self._ticks += max(1, self._ticks // 2)
        return not self._is_over


@types.coroutine
def _watched(work: Coroutine[Any, Any, Any], on_wait: Callable[[], None]) -> Generator[Any, Any, Any]:
    """Await `work`, calling `on_wait` each time it is about to wait."""
    try:
        waiting_for = work.send(None)
        while True:
            on_wait()
            try:
                value = yield waiting_for
            except BaseException as exc:
                waiting_for = work.throw(exc)
            else:
                waiting_for = work.send(value)
    except StopIteration as stop:
        return stop.value
