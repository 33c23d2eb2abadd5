"""Waiting for several operations as one, and for one whose result must not be lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from aiovfs.aio.engine import call

__all__ = ["all_of", "claim"]

T = TypeVar("T")


async def all_of(operations: Sequence[Awaitable[T]]) -> list[T]:
    """The results in order, of operations that were begun before. Raises the first failure, after the last has ended.

    Nothing is on its way any more when this returns, cancelled or not: the caller's buffers are free.
    """
    results: list[T] = []
    failure: BaseException | None = None
    for operation in operations:
        if failure is None:
            try:
                results.append(await operation)
            except BaseException as exc:
                failure = exc
        else:
            with anyio.CancelScope(shield=True):
                try:
                    await operation
                except BaseException:
                    pass  # one failure is told
    if failure is not None:
        raise failure
    return results


async def claim(give_up: Callable[[T], object], func: Callable[..., T], /, *args: Any) -> T:
    """What the job `func(*args)` made. When its caller was cancelled meanwhile, the job `give_up` takes it away again.

    What is made also does that by itself when it is dropped, but when that is, is up to the garbage collector.
    """
    operation = call(func, *args)
    try:
        made: T = await operation
    except BaseException:
        if operation.done() and not operation.cancelled() and operation.exception() is None:
            with anyio.CancelScope(shield=True):
                await call(give_up, operation.result())
        raise
    return made
