"""Drive a coroutine on the thread of a synchronous caller, without any loop.

A coroutine that never waits needs no loop: one `send(None)` runs it to its end, at a hundredth of the cost of handing
it to another thread. That is safe only for coroutines that keep one rule: before touching anything of asyncio, Trio or
AnyIO they `await leave_caller()`. On a loop that does nothing; on a caller's thread it stops the coroutine, which the
driver then continues on a loop. Blocking calls may be made in place when `in_caller()` is true: the caller asked to be
blocked.

Setting a running loop during the step instead, so that any coroutine could be tried, was dropped: timers and
`call_soon` of a loop may only be used from its own thread.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from aiovfs._loop.step import resume

__all__ = ["NEEDS_LOOP", "drive", "finish", "in_caller", "leave_caller"]

T = TypeVar("T")


class _State(threading.local):
    is_driving = False


class NeedsLoop:
    """What `drive` returns for a coroutine that has to go on on a loop."""

    def __repr__(self) -> str:
        return "NEEDS_LOOP"


NEEDS_LOOP = NeedsLoop()
_state = _State()


def in_caller() -> bool:
    """True while a coroutine runs on the thread of a synchronous caller."""
    return _state.is_driving


@types.coroutine
def leave_caller() -> Generator[Any, Any, None]:
    """Make sure that what follows runs on a loop."""
    if _state.is_driving:
        yield NEEDS_LOOP


def drive(work: Coroutine[Any, Any, T]) -> T | NeedsLoop:
    """Run `work` here and return its result; `NEEDS_LOOP` when it has to be awaited on a loop from where it is now."""
    state = _state
    outer = state.is_driving
    state.is_driving = True
    try:
        waiting_for = work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        state.is_driving = outer
    if not isinstance(waiting_for, NeedsLoop):
        work.close()
        raise RuntimeError(
            f"{work!r} waited for {waiting_for!r} on the thread of a synchronous caller; "
            "await leave_caller() before using a loop"
        )
    return waiting_for


@types.coroutine
def finish(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await, on a loop, a coroutine that `drive` has begun. A plain `await` refuses one that is in the middle."""
    try:
        waiting_for = work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return (yield from resume(work, waiting_for))
