"""Waiting for each other: a readers–writer lock, and one call for many waiters. On AnyIO, for one loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

__all__ = ["NamespaceLock", "SharedCalls"]

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class NamespaceLock:
    """Many holders of `shared()`, or one of `exclusive()`. Who waits for exclusive goes first, and so cannot starve.

    Everything whose effect in the store depends on a path (create, unlink, upload) holds it shared, from reading the
    path until the store has answered; a rename holds it exclusive. Not reentrant: who holds it must not ask again.
    """

    def __init__(self) -> None:
        self._condition: anyio.Condition | None = None
        self._shared = 0
        self._exclusive = False
        self._exclusive_waiting = 0

    def _get_condition(self) -> anyio.Condition:
        # AnyIO's primitives want a running loop when they are made; a VFS may be made before it runs.
        if self._condition is None:
            self._condition = anyio.Condition()
        return self._condition

    def _must_wait(self) -> bool:
        return self._exclusive or self._exclusive_waiting > 0

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        if self._must_wait():
            condition = self._get_condition()
            async with condition:
                while self._must_wait():
                    await condition.wait()
                self._shared += 1
        else:
            self._shared += 1  # no checkpoint between test and count: nobody can come in between
        try:
            yield
        finally:
            self._shared -= 1
            if not self._shared and self._exclusive_waiting:
                await self._wake()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        condition = self._get_condition()
        self._exclusive_waiting += 1
        try:
            async with condition:
                while self._exclusive or self._shared:
                    await condition.wait()
                self._exclusive = True
        finally:
            self._exclusive_waiting -= 1
            if not self._exclusive and not self._exclusive_waiting:
                await self._wake()  # cancelled while waiting: the shared ones that queued behind may go on
        try:
            yield
        finally:
            self._exclusive = False
            await self._wake()

    async def _wake(self) -> None:
        condition = self._get_condition()
        with anyio.CancelScope(shield=True):
            async with condition:
                condition.notify_all()


class _Call(Generic[R]):
    __slots__ = ("done", "error", "result", "scope", "waiters")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.scope = anyio.CancelScope()
        self.waiters = 0
        self.result: R
        self.error: BaseException | None = None


class SharedCalls(Generic[K, R]):
    """One call per key at a time, however many wait for it.

    A waiter that is cancelled leaves the others waiting; only when nobody waits any more is the call itself cancelled.
    The calls run in a task group of the owner, so they are nobody's in particular.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._calls: dict[K, _Call[R]] = {}

    async def run(self, key: K, function: Callable[[], Awaitable[R]]) -> R:
        """The result of `function()`, or of the call that is already under way for `key`."""
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call()
            self._tasks.start_soon(self._work, key, call, function)
        call.waiters += 1
        try:
            await call.done.wait()
        finally:
            call.waiters -= 1
            if not call.waiters and not call.done.is_set():
                self._calls.pop(key, None)
                call.scope.cancel()
        if call.error is not None:
            raise call.error
        return call.result

    async def _work(self, key: K, call: _Call[R], function: Callable[[], Awaitable[R]]) -> None:
        try:
            with call.scope:
                try:
                    call.result = await function()
                except Exception as exception:
                    call.error = exception
        finally:
            if self._calls.get(key) is call:
                del self._calls[key]
            if call.error is None and not hasattr(call, "result"):
                call.error = OSError("the mount is being shut down")
            call.done.set()
