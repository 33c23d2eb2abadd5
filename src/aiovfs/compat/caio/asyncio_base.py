"""`AsyncioContextBase`: operations of a low-level context, awaited on asyncio.

This is the general form, over any pair of a context and an operation class; those who derive from it keep working. The
implementations' own `AsyncioContext` replace what costs (`_run`) by the loop's disk engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any, Self

from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation
from aiovfs.compat.caio.errors import OperationError

__all__ = ["AsyncioContextBase", "ContextType", "OperationType"]

ContextType = type[AbstractContext]
OperationType = type[AbstractOperation]


class AsyncioContextBase:
    """Reads, writes and syncs that are awaited. `max_requests` bounds how many are in flight."""

    MAX_REQUESTS_DEFAULT = 512
    CONTEXT_CLASS: Any
    OPERATION_CLASS: Any

    def __init__(
        self,
        max_requests: int | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> None:
        max_requests = max_requests or self.MAX_REQUESTS_DEFAULT
        self.loop = loop or asyncio.get_event_loop()
        self.deferred = deferred
        self.semaphore = asyncio.BoundedSemaphore(max_requests)
        self.context = self._create_context(max_requests, **kwargs)

    def _create_context(self, max_requests: int, **kwargs: Any) -> Any:
        return self.CONTEXT_CLASS(max_requests=max_requests, **kwargs)

    def _destroy_context(self) -> None:
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the context."""
        self._destroy_context()

    async def submit(self, op: Any) -> Any:
        """Have `op` done and return its value.

        `ValueError` unless it is an operation of this implementation; `OSError` when it was begun before.
        """
        if not isinstance(op, self.OPERATION_CLASS):
            raise ValueError(f"Operation object expected, not {op!r}")
        done = self.loop.create_future()
        op.set_callback(partial(self._on_done, done))
        await self.semaphore.acquire()
        try:
            self._submit_op(op, done)
            self._on_submitted()
            await done
        except asyncio.CancelledError:
            # It keeps its place among the `max_requests` until it has ended: see `_end`.
            try:
                self.context.cancel(op)
            except ValueError:
                pass  # too late
            raise
        except BaseException:
            self.semaphore.release()
            raise
        self.semaphore.release()
        return op.get_value()

    def _submit_op(self, op: Any, future: asyncio.Future[Any]) -> None:
        if self.context.submit(op) != 1:
            raise OperationError("Operation was not submitted: it was begun before")

    def _on_submitted(self) -> None:
        return

    def _on_done(self, future: asyncio.Future[Any], result: int) -> None:
        """An operation has ended. From whatever thread."""
        try:
            self.loop.call_soon_threadsafe(self._end, future)
        except RuntimeError:
            pass  # the loop was closed; nobody waits any more

    def _end(self, future: asyncio.Future[Any]) -> None:
        """The same, on the loop's thread."""
        if future.done():
            self.semaphore.release()  # whoever waited was cancelled
        else:
            future.set_result(True)

    def read(self, nbytes: int, fd: int, offset: int, priority: int = 0) -> Awaitable[bytes]:
        """Read up to `nbytes` bytes at `offset`."""
        return self.submit(self.OPERATION_CLASS.read(nbytes, fd, offset, priority))

    def write(self, payload: bytes, fd: int, offset: int, priority: int = 0) -> Awaitable[int]:
        """Write `payload` at `offset`; how many bytes were written."""
        return self.submit(self.OPERATION_CLASS.write(payload, fd, offset, priority))

    def fsync(self, fd: int) -> Awaitable[None]:
        """Content and attributes to stable storage."""
        return self.submit(self.OPERATION_CLASS.fsync(fd))

    def fdsync(self, fd: int) -> Awaitable[None]:
        """Content to stable storage."""
        return self.submit(self.OPERATION_CLASS.fdsync(fd))
