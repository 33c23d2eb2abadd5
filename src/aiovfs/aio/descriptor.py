"""One open descriptor: who uses it, and how it ends.

A number may be closed only when no operation uses it any more: a thread that comes late would meet whatever file got
the same number. So every operation that did not complete at once is counted here; `aclose` refuses new ones, waits for
those, and closes. A closer that is cancelled does not stop that: the last operation to end closes in its stead.

An inline hit is not counted at all; it costs one look at `done()`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import anyio

from aiovfs.aio.engine import perform, perform_many
from aiovfs.errors import ClosedError

__all__ = ["Descriptor"]


class Descriptor:
    """Owns `fd`, unless `closes` is False. `name` is for errors."""

    __slots__ = ("_closes", "_drained", "_is_closed", "_running", "after_close", "fd", "is_closing", "name")

    def __init__(self, fd: int, name: object, *, closes: bool = True) -> None:
        self.fd = fd
        self.name = name
        self.is_closing = False
        self.after_close: Callable[[], object] | None = None
        """What is to be done when the descriptor has been closed, however that came: blocking, and called once."""
        self._closes = closes
        self._is_closed = False
        self._running = 0
        self._drained: anyio.Event | None = None

    @property
    def running(self) -> int:
        """Operations on their way."""
        return self._running

    def check(self) -> int:
        """The descriptor's number. `ClosedError`, which is a `ValueError`, after the close has begun."""
        if self.is_closing:
            raise ClosedError(f"I/O operation on closed file {self.name!r}")
        return self.fd

    def start(self, kind: str, *args: Any) -> Any:
        """Begin the operation `kind` of the table on this descriptor, and return its awaitable."""
        if self.is_closing:
            self.check()
        operation = perform(kind, self.fd, *args)
        if not operation.done():
            self.hold(operation)
        return operation

    def start_many(self, kind: str, parameters: Iterable[tuple[Any, ...]]) -> Any:
        """Begin `kind` on this descriptor once for each of `parameters`; one awaitable for the list of values."""
        if self.is_closing:
            self.check()
        fd = self.fd
        operation = perform_many(kind, [(fd, *each) for each in parameters])
        if not operation.done():
            self.hold(operation)
        return operation

    def call(self, func: Any, *args: Any) -> Any:
        """As `start`, for any blocking function; it is not given the descriptor, but keeps it open."""
        if self.is_closing:
            self.check()
        operation = perform("call", func, *args)
        self.hold(operation)
        return operation

    def hold(self, operation: Any) -> None:
        """Keep the descriptor open until an operation that uses it has ended."""
        if not operation.done():
            self._running += 1
            operation.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Wait for what is on its way, then close. `OSError` as close(2) does."""
        self.is_closing = True
        with anyio.CancelScope(shield=True):
            if self._running:
                if self._drained is None:
                    self._drained = anyio.Event()
                try:
                    await self._drained.wait()
                except BaseException:
                    self._drained = None  # asyncio's own cancellation: the last operation closes
                    if not self._running:
                        self.abandon()
                    raise
            if not self._is_closed:
                self._is_closed = True
                try:
                    if self._closes:
                        await perform("close", self.fd)
                finally:
                    after_close, self.after_close = self.after_close, None
                    if after_close is not None:
                        await perform("call", after_close)

    def abandon(self) -> None:
        """Close without waiting, for when nobody can wait: in a destructor, or after a cancelled open."""
        self.is_closing = True
        if self._closes and not self._running and not self._is_closed:
            self._is_closed = True
            after_close, self.after_close = self.after_close, None
            try:
                os.close(self.fd)
                if after_close is not None:
                    after_close()
            except OSError:
                pass  # nobody is there to be told

    def _ended(self, operation: object) -> None:
        self._running -= 1
        if self.is_closing and not self._running:
            if self._drained is not None:
                self._drained.set()
            else:
                self.abandon()

    def __del__(self) -> None:
        self._running = 0  # an operation on its way would hold us by its callback
        self.abandon()
