"""Finish, in the current task, a coroutine whose first step was run by hand.

Most requests are answered without waiting, and a coroutine that never waits needs no task: the caller sends `None`
once and reads the result off `StopIteration`. When the coroutine does wait, what it yielded is a message for the loop
(a future on asyncio, a trap on Trio) that is meant for *the task that ran that step*. So that same task must pass it
on, before it awaits anything else; this is what `resume` does.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["resume"]

T = TypeVar("T")


@types.coroutine
def resume(work: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Run `work` to its end; `waiting_for` is what its first step yielded in this very task."""
    try:
        while True:
            try:
                value = yield waiting_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as exc:
                waiting_for = work.throw(exc)
            else:
                waiting_for = work.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result
