"""Wait until a file descriptor can be read, many times, with one registration.

`asyncio`'s and Trio's own ways register the descriptor with epoll for each wait and take it out again: two system
calls and a future per request. On asyncio a persistent reader callback avoids that. It is level-triggered, so it also
fires while nobody waits; after a few such idle calls the descriptor is taken out until the next wait, or the loop
would spin while the owner is held up. The callback resumes the task in place; a future would do so one turn of the
loop later, after one more look at epoll.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import Any, Protocol

from aiovfs._loop.library import running_library

__all__ = ["Readable"]

IDLE_CALLS = 4


class Waiter(Protocol):
    """One way to wait for a descriptor. At most one task waits at a time."""

    async def wait(self) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class Turn:
    """What a task awaits that a callback of the loop resumes in place. A future, as far as `asyncio.Task` asks."""

    _asyncio_future_blocking = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_done = False
        self._cancelled: asyncio.CancelledError | None = None  # with its message: AnyIO tells its own ones by that
        self._wake_task: Callable[[Turn], object] | None = None
        self._context: contextvars.Context | None = None

    def __await__(self) -> Generator[Turn, None, None]:
        if not self._is_done:
            self._asyncio_future_blocking = True
            yield self

    def resume_in_place(self) -> None:
        """Run the task's next step. Only for callbacks of the loop: within another task's step it would nest."""
        if self._is_done or self._wake_task is None or self._context is None:
            return
        self._is_done = True
        self._context.run(self._wake_task, self)

    def resume_soon(self) -> None:
        """Have the loop run the task's next step."""
        if not self._is_done:
            self._is_done = True
            if self._wake_task is not None:
                self._loop.call_soon(self._wake_task, self, context=self._context)

    # The protocol of asyncio.Future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, function: Callable[[Turn], object], *, context: contextvars.Context | None = None
    ) -> None:
        self._wake_task, self._context = function, context or contextvars.copy_context()
        if self._is_done:
            self._loop.call_soon(function, self, context=self._context)

    def remove_done_callback(self, function: Callable[[Turn], object]) -> int:
        self._wake_task = None
        return 1

    def done(self) -> bool:
        return self._is_done

    def cancelled(self) -> bool:
        return self._cancelled is not None

    def cancel(self, msg: Any = None) -> bool:
        if self._is_done:
            return False
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.resume_soon()
        return True

    def result(self) -> None:
        if self._cancelled is not None:
            raise self._cancelled

    def exception(self) -> BaseException | None:
        return None


class AsyncioWaiter:
    """A persistent reader callback that resumes the waiting task."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._waiter: Turn | None = None
        self._is_registered = False
        self._idle_calls = 0

    async def wait(self) -> None:
        if not self._is_registered:
            self._loop.add_reader(self._fd, self._on_readable)
            self._is_registered = True
        self._idle_calls = 0
        self._waiter = Turn(self._loop)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None:
            self._waiter.resume_soon()

    def close(self) -> None:
        self._unregister()
        self.wake()

    def _on_readable(self) -> None:
        if self._waiter is not None:
            self._waiter.resume_in_place()
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
