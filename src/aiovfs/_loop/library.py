"""Which async library is running in this task."""

from __future__ import annotations

import asyncio
import sys
from typing import Literal

__all__ = ["asyncio_loop", "asyncio_task", "is_being_cancelled", "running_library"]

asyncio_loop = asyncio._get_running_loop
"""The asyncio loop that runs in this thread, or None."""

asyncio_task = asyncio.current_task
"""The task of an asyncio loop that runs right now, or None."""


def running_library() -> Literal["asyncio", "trio"]:
    """Name the library of the running task.

    Trio is asked first: in guest mode an asyncio loop runs underneath it. Raises `RuntimeError` outside of both.
    """
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            return "trio"
    asyncio.get_running_loop()
    return "asyncio"


def is_being_cancelled() -> bool:
    """Was the running task asked to end? On Trio a `Cancelled` is always meant for the task that sees it."""
    if running_library() == "trio":
        return True
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
