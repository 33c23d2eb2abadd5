"""Work that nobody waits for: a coroutine on the running loop that belongs to no task group.

For reading ahead: what it brings is taken when it is there, and its failure is nobody's before somebody reads there.
On asyncio it is a task, on Trio a system task. It ends with the loop at the latest; an exception is logged, and the
loop goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aiovfs._loop.library import running_library

__all__ = ["run_in_background"]

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
