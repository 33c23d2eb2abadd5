"""Work that nobody waits for: a coroutine on the running loop that belongs to no task group.

For reading ahead: what it brings is taken when it is there, and its failure is nobody's before somebody reads there.
On asyncio it is a task, on Trio a system task. It ends with the loop at the latest; an exception is logged, and the
loop goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

from aiovfs._loop.library import running_library

__all__ = ["run_in_background", "to_its_end"]

T = TypeVar("T")

logger = logging.getLogger("aiovfs.loop")

# The loop itself keeps only weak references to tasks.
_tasks: set[asyncio.Task[None]] = set()


async def _logged(func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
    try:
        await func(*args)
    except Exception:
        logger.exception("background work %r failed", func)


def run_in_background(func: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
    """Begin to await `func(*args)` on the running loop."""
    if running_library() == "trio":
        import trio

        trio.lowlevel.spawn_system_task(_logged, func, args)
        return
    task = asyncio.get_running_loop().create_task(_logged(func, args))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def to_its_end(func: Callable[..., Coroutine[Any, Any, T]], *args: Any, grace: float) -> T:
    """Await `func(*args)`. A cancelled caller waits for the end too, up to `grace` seconds; then it is let go.

    For what has an effect elsewhere that nobody could know of if the caller left at once.
    """
    ended = anyio.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    async def run() -> None:
        try:
            results.append(await func(*args))
        except BaseException as exc:
            errors.append(exc)
            if not isinstance(exc, Exception):
                raise
        finally:
            ended.set()

    run_in_background(run)
    try:
        await ended.wait()
    except BaseException:
        await _wait_shielded(ended, grace)
        raise
    if errors:
        raise errors[0]
    return results[0]


async def _wait_shielded(ended: anyio.Event, grace: float) -> None:
    deadline = anyio.current_time() + grace
    cancelled = anyio.get_cancelled_exc_class()
    while not ended.is_set() and anyio.current_time() < deadline:
        try:
            with anyio.move_on_after(deadline - anyio.current_time(), shield=True):
                await ended.wait()
        except cancelled:
            pass  # cancelled once more; the exception of the first time is on its way
