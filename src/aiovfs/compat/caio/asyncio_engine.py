"""`AsyncioContext` over the loop's disk engine (`aiovfs.aio`): what `uring`, `linux` and `thread` have in common.

`read`, `write`, `fsync` and `fdsync` go to the engine directly: cache hits are answered in place within the engine's
budget a tick, the rest is submitted in batches, and tasks are resumed from the engine's drain. There is one engine of
each kind a loop, however many contexts; a context that is closed, or forgotten with operations in flight, leaves
nothing behind.

The low-level context, and `submit()` with operations made by hand, work as ever: the low-level context is made when
somebody asks for it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from aiovfs import aio
from aiovfs._loop.driver import driver_of_running_loop
from aiovfs.aio import select
from aiovfs.compat.caio import direct
from aiovfs.compat.caio.asyncio_base import AsyncioContextBase
from aiovfs.compat.caio.errors import operation_error

__all__ = ["EngineAsyncioContext", "engine_of_running_loop"]

LARGEST_OFFSET = (1 << 63) - 1

_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Any]] = WeakKeyDictionary()


def engine_of_running_loop(name: str) -> Any:
    """The engine `name` of the running loop: the loop's own when it is of that kind, else one made beside it."""
    if select.engine_info().name == name:
        return aio.current()
    engines = _engines.setdefault(asyncio.get_running_loop(), {})
    engine = engines.get(name)
    if engine is None or engine.is_closed or engine.pid != os.getpid():
        engine = engines[name] = select.choose(name)[0](driver_of_running_loop())
    return engine


class EngineAsyncioContext(AsyncioContextBase):
    """Reads, writes and syncs by a disk engine; at most `max_requests` at a time."""

    ENGINE: str
    CONTEXT_OPTIONS: frozenset[str] = frozenset()
    """What the low-level context takes besides `max_requests`."""

    def __init__(
        self,
        max_requests: int | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> None:
        if unknown := set(kwargs) - self.CONTEXT_OPTIONS:
            raise TypeError(f"{type(self).__name__}() got unexpected keyword arguments {sorted(unknown)}")
        self._options = kwargs
        self._low_level: Any = None
        self._engine: Any = None
        self._read: Callable[[int, int, int], Awaitable[bytes]] = self._bind_and_read
        self._is_closed = False
        self._direct: set[int] = set()
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        max_requests = max_requests or self.MAX_REQUESTS_DEFAULT
        self._limit = min(max_requests, kwargs.get("pool_size") or max_requests)
        super().__init__(max_requests, loop, deferred)
        self._max_requests = max_requests
        if asyncio._get_running_loop() is not None:
            # Now, as the engine's descriptors would otherwise take the numbers of files that the program closes.
            self._bind()

    def _create_context(self, max_requests: int, **kwargs: Any) -> Any:
        return None  # made by `context`

    def _make_low_level(self) -> Any:
        return self.CONTEXT_CLASS(max_requests=self._max_requests, **self._options)

    @property
    def context(self) -> Any:
        """The low-level context of this implementation."""
        if self._low_level is None:
            self._low_level = self._make_low_level()
        return self._low_level

    @context.setter
    def context(self, value: Any) -> None:
        self._low_level = value

    def close(self) -> None:
        """Take no more operations. Those in flight end, and those who wait for them get their values."""
        self._is_closed = True
        self._read = self._bind_and_read
        if self._low_level is not None:
            self._destroy_context()

    # The engine.

    def _bind(self) -> Any:
        if self._is_closed:
            raise RuntimeError("this context is closed")
        engine = self._engine
        if engine is None or engine.is_closed or engine.pid != os.getpid():
            engine = self._engine = engine_of_running_loop(self.ENGINE)
        if self._direct:
            return engine
        self._read = engine.read
        return engine

    def _bind_and_read(self, fd: int, nbytes: int, offset: int) -> Awaitable[bytes]:
        engine = self._bind()
        if offset > LARGEST_OFFSET:
            offset -= 1 << 64  # how -1, the descriptor's own position, is spelled for caio
        if fd in self._direct:
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
                return direct.read(engine, fd, nbytes, offset)
            self._direct.discard(fd)
        value: Awaitable[bytes] = engine.read(fd, nbytes, offset)
        return value

    async def _again(self, exc: Exception, fd: int, nbytes: int, offset: int) -> bytes:
        """A read failed: it may be an odd descriptor, or a loop that has ended since the last time."""
        if isinstance(exc, OSError):
            if exc.errno != errno.EINVAL or not direct.is_direct(fd):
                raise operation_error(exc.errno or 0, f"read of descriptor {fd}") from None
            # From now on descriptors are looked at before they are read.
            self._direct.add(fd)
            self._read = self._bind_and_read
            try:
                return await direct.read(self._bind(), fd, nbytes, offset)
            except OSError as again:
                raise operation_error(again.errno or 0, f"read of descriptor {fd}, O_DIRECT") from None
        if self._is_closed or (isinstance(exc, RuntimeError) and not self._engine.is_closed):
            raise exc
        return await self._bind_and_read(fd, nbytes, offset)

    async def _turn(self) -> None:
        """Wait until there are fewer than `max_requests`."""
        while self._active >= self._limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._next()  # our turn goes to the next one
                else:
                    self._waiting.remove(turn)
                raise

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    # What programs call.

    async def read(self, nbytes: int, fd: int, offset: int, priority: int = 0) -> bytes:
        """Read up to `nbytes` bytes at `offset`; fewer only at the end of the file."""
        if self._active >= self._limit:
            await self._turn()
        self._active += 1
        try:
            return await self._read(fd, nbytes, offset)
        except (OSError, RuntimeError, OverflowError) as exc:
            return await self._again(exc, fd, nbytes, offset)
        finally:
            self._active -= 1
            if self._waiting:
                self._next()

    def write(self, payload: bytes, fd: int, offset: int, priority: int = 0) -> Awaitable[int]:
        """Write all of `payload` at `offset`; its length."""
        if not isinstance(payload, bytes):
            raise ValueError(f"payload_bytes must be bytes, not {type(payload).__name__}")
        return self._write(payload, fd, offset)

    async def _write(self, payload: bytes, fd: int, offset: int) -> int:
        if self._active >= self._limit:
            await self._turn()
        self._active += 1
        try:
            if offset > LARGEST_OFFSET:
                offset -= 1 << 64
            engine = self._bind()
            try:
                count: int = await engine.write(fd, payload, offset)
            except OSError as exc:
                if exc.errno != errno.EINVAL or not direct.is_direct(fd):
                    raise
                count = await direct.write(engine, fd, payload, offset)
            return count
        except OSError as exc:
            raise operation_error(exc.errno or 0, f"write of descriptor {fd}") from None
        finally:
            self._active -= 1
            if self._waiting:
                self._next()

    async def _sync(self, kind: str, fd: int) -> None:
        if self._active >= self._limit:
            await self._turn()
        self._active += 1
        try:
            await self._bind().perform(kind, fd)
        except OSError as exc:
            raise operation_error(exc.errno or 0, f"{kind} of descriptor {fd}") from None
        finally:
            self._active -= 1
            if self._waiting:
                self._next()

    def fsync(self, fd: int) -> Awaitable[None]:
        """Content and attributes to stable storage."""
        return self._sync("fsync", fd)

    def fdsync(self, fd: int) -> Awaitable[None]:
        """Content to stable storage."""
        return self._sync("fdatasync", fd)
