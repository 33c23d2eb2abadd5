"""Reads, writes and other calls on local files that keep the loop free.

A read is first tried in place with `RWF_NOWAIT`, which copies what the page cache has and refuses to wait for a disk;
only what is missing goes to a thread. Everything else goes to a thread, at most `THREADS` at a time on one loop.
Called from a thread that drives a coroutine by hand (`_loop.caller`), all of it happens in place: there is no loop to
keep free.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from aiovfs._loop.caller import in_caller
from aiovfs.types import Buffer

__all__ = ["THREADS", "fsync", "ftruncate", "pread", "pwrite", "run", "temporary_file"]

T = TypeVar("T")

THREADS = 64
"""Calls in threads at any time, per loop."""

ENDED_CHECK = 0.001
"""Seconds between looks at whether the call of a cancelled caller has ended."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aiovfs.aio.disk.limiter")

# Kernels and file systems without RWF_NOWAIT say EOPNOTSUPP each time (and cheaply); other systems lack the flag.
_RWF_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_WOULD_WAIT = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


async def run(func: Callable[..., T], /, *args: object, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Call the blocking `func(*args)` in a thread and return what it returns.

    A cancelled caller waits for the call to end: a file is never closed, nor a buffer freed, under a running call. A
    result that nobody waits for any more is dropped, so functions that open something return an object that closes it.
    `limiter` bounds the calls instead of this module's.
    """
    if in_caller():
        return func(*args)
    call = _Call(func, args)
    try:
        return await run_sync(call, limiter=limiter or _limiter_of_loop())
    except BaseException:
        # AnyIO shields the wait from its own cancel scopes, but asyncio's `Task.cancel()` gets through.
        if not call.has_ended:
            await call.wait_until_ended()
        raise


class _Call(Generic[T]):
    """One call in a thread, which knows whether it is still running."""

    __slots__ = ("_args", "_func", "_has_begun", "has_ended")

    def __init__(self, func: Callable[..., T], args: tuple[object, ...]) -> None:
        self._func = func
        self._args = args
        self._has_begun = False
        self.has_ended = False

    def __call__(self) -> T:
        self._has_begun = True
        try:
            return self._func(*self._args)
        finally:
            self.has_ended = True

    async def wait_until_ended(self) -> None:
        cancelled = anyio.get_cancelled_exc_class()
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(ENDED_CHECK)
            except cancelled:
                pass  # cancelled once more; the exception of the first time is on its way
            if self.has_ended or not self._has_begun:
                return


def _limiter_of_loop() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
        return limiter


async def pread(fd: int, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`; fewer only at the end of the file.

    Content in the page cache is copied at once, without a checkpoint. Raises `OSError` as pread(2) does.
    """
    if _RWF_NOWAIT is None or size <= 0 or in_caller():
        return await run(read_fully, fd, size, offset)
    buffer = bytearray(size)
    try:
        done = os.preadv(fd, [buffer], offset, _RWF_NOWAIT)
    except OSError as exc:
        if exc.errno not in _WOULD_WAIT:
            raise
        return await run(read_fully, fd, size, offset)
    if done == size:
        return bytes(buffer)
    if done == 0:
        # Only the end of the file reads as nothing; a missing page is EAGAIN.
        return b""
    rest = await run(read_fully, fd, size - done, offset + done)
    return bytes(memoryview(buffer)[:done]) + rest


async def pwrite(fd: int, data: Buffer, offset: int) -> int:
    """Write all of `data` at `offset` and return its length in bytes."""
    return await run(write_fully, fd, data, offset)


async def fsync(fd: int, *, data_only: bool = False) -> None:
    """Return when the file's content (and, unless `data_only`, its attributes) are on stable storage."""
    await run(os.fdatasync if data_only else os.fsync, fd)


async def ftruncate(fd: int, size: int) -> None:
    """Cut the file, or lengthen it with zeros, to `size` bytes."""
    await run(os.ftruncate, fd, size)


@asynccontextmanager
async def temporary_file() -> AsyncIterator[str]:
    """The name of an empty file that is deleted at the end."""
    fd, name = await run(tempfile.mkstemp, "", "aiovfs-")
    os.close(fd)
    try:
        yield name
    finally:
        with anyio.CancelScope(shield=True):
            await run(_unlink_if_there, name)


def read_fully(fd: int, size: int, offset: int) -> bytes:
    """pread(2) until `size` bytes or the end of the file."""
    data = os.pread(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (part := os.pread(fd, size - got, offset + got)):
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def write_fully(fd: int, data: Buffer, offset: int) -> int:
    """pwrite(2) until everything is written."""
    done = os.pwrite(fd, data, offset)
    if done == len(data) and not isinstance(data, memoryview):
        return done
    view = memoryview(data).cast("B")
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)
    return done


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
