"""Cancel a coroutine at its first await, at its second, and so on to its end.

    async for cancelled in at_every_await(lambda: fs._pipe_file(path, new)):
        assert await fs._cat_file(path) in (old, new)

Each round runs a fresh coroutine and cancels it when it waits for the n-th time; the body of the loop then checks what
holds. The last round is the one that needed fewer awaits. `at_every_tick` cancels after n turns of the loop instead,
which also hits the tasks that the work has started.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

import anyio
import anyio.lowlevel

__all__ = ["at_every_await", "at_every_tick"]

Work = Callable[[], Coroutine[Any, Any, Any]]

MAX_ROUNDS = 48
"""Past a dozen awaits the rounds grow further apart, so that long work is done with in this many."""


async def at_every_await(work: Work) -> AsyncIterator[bool]:
    """Cancel `work()` at await 1, 2, 3, …; yields whether it was cancelled, after each. Ends when it was not."""
    step = 1
    for _ in range(MAX_ROUNDS):
        waits = 0
        with anyio.CancelScope() as scope:

            def waiting(scope: anyio.CancelScope = scope, step: int = step) -> None:
                nonlocal waits
                waits += 1
                if waits == step:
                    scope.cancel()

            await _watched(work(), waiting)
        yield scope.cancelled_caught
        if waits < step:
            return
        step += max(1, step // 6)


async def at_every_tick(work: Work) -> AsyncIterator[bool]:
    """Cancel `work()` after 0, 1, 2, … turns of the loop; else as `at_every_await`."""
    ticks = 0
    for _ in range(MAX_ROUNDS):
        is_over = False

        async def run() -> None:
            nonlocal is_over
            await work()
            is_over = True

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            for _ in range(ticks):
                if is_over:
                    break
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        yield not is_over
        if is_over:
            return
        ticks += max(1, ticks // 2)


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
