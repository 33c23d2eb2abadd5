"""Wait until a file descriptor can be read, many times, with one registration.

`asyncio`'s and Trio's own ways register the descriptor with epoll for each wait and take it out again: two system
calls and a future per request. On asyncio a persistent reader callback avoids that. It is level-triggered, so it also
fires while nobody waits; after a few such idle calls the descriptor is taken out until the next wait, or the loop
would spin while the owner is held up.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiovfs._loop.library import running_library

__all__ = ["Readable"]

IDLE_CALLS = 4


class Waiter(Protocol):
    """One way to wait for a descriptor. At most one task waits at a time."""

    async def wait(self) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class AsyncioWaiter:
    """A persistent reader callback that resolves the waiting task's future."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._is_registered = False
        self._idle_calls = 0

    async def wait(self) -> None:
        if not self._is_registered:
            self._loop.add_reader(self._fd, self._on_readable)
            self._is_registered = True
        self._idle_calls = 0
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        self._unregister()
        self.wake()

    def _on_readable(self) -> None:
        if self._waiter is not None:
            self.wake()
            return
        self._idle_calls += 1
        if self._idle_calls > IDLE_CALLS:
            self._unregister()

    def _unregister(self) -> None:
        if self._is_registered:
            self._is_registered = False
            self._loop.remove_reader(self._fd)


class TrioWaiter:
    """Trio's `wait_readable`, woken by telling it that the descriptor closes."""

    def __init__(self, fd: int) -> None:
        import trio

        self._fd = fd
        self._lowlevel = trio.lowlevel
        self._closed_error = trio.ClosedResourceError

    async def wait(self) -> None:
        try:
            await self._lowlevel.wait_readable(self._fd)
        except self._closed_error:
            pass  # woken: the caller looks at its own state

    def wake(self) -> None:
        self._lowlevel.notify_closing(self._fd)

    close = wake


class Readable:
    """Readiness of one descriptor on the running loop.

    `wait` returns when the descriptor can be read (or has failed: reading tells), or after `wake`. Close it before
    the descriptor is closed. At most one task may wait at a time.
    """

    def __init__(self, fd: int) -> None:
        self._waiter: Waiter = TrioWaiter(fd) if running_library() == "trio" else AsyncioWaiter(fd)
        self.wait = self._waiter.wait
        self.wake = self._waiter.wake
        self.close = self._waiter.close
