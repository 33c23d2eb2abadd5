"""Operations on descriptors that somebody else owns, and blocking calls of any kind.

A descriptor must stay open until what was begun on it has ended; who cannot promise that uses a `File`. Called by a
coroutine that a synchronous caller drives by hand (`_loop.caller`), all of it happens in place: no loop is there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from aiovfs._loop.caller import in_caller
from aiovfs.aio.batches import claim
from aiovfs.aio.engine import call, perform, perform_many
from aiovfs.aio.file import Source, Sync, Target, view_of
from aiovfs.aio.threads import LIMIT

__all__ = [
    "fdatasync",
    "fsync",
    "ftruncate",
    "pread",
    "preadinto",
    "preadv",
    "pwrite",
    "pwritev",
    "read_many",
    "readinto_many",
    "run",
    "run_calling_back",
    "temporary_name",
    "write_many",
]

T = TypeVar("T")

_callers_back: RunVar[anyio.CapacityLimiter] = RunVar("aiovfs.aio.descriptors.callers_back")

ENDED_CHECK = 0.001
"""Seconds between looks at whether the call of a cancelled caller has ended."""


def pread(fd: int, size: int, offset: int) -> Awaitable[bytes]:
    """Read `size` bytes at `offset`; fewer only at the end of the file. Raises `OSError` as pread(2) does."""
    return perform("read", fd, size, offset)


def preadinto(fd: int, buffer: Target, offset: int) -> Awaitable[int]:
    """Fill `buffer` from `offset` on and return how many bytes came. If cancelled, returns once the buffer is free."""
    return perform("readinto", fd, view_of(buffer), offset)


def preadv(fd: int, buffers: Sequence[Target], offset: int) -> Awaitable[int]:
    """Fill `buffers` one after the other from `offset` on, and return how many bytes came."""
    return perform("readv", fd, [view_of(buffer) for buffer in buffers], offset)


def pwrite(fd: int, data: Source, offset: int, *, sync: Sync = None) -> Awaitable[int]:
    """Write all of `data` at `offset` and return its length in bytes; with `sync`, once it is on stable storage."""
    if sync is None:
        return perform("write", fd, view_of(data), offset)
    if sync not in ("data", "full"):
        raise ValueError(f"sync is None, 'data' or 'full', not {sync!r}")
    return perform("write_sync", fd, view_of(data), offset, sync == "data")


def pwritev(fd: int, buffers: Sequence[Source], offset: int) -> Awaitable[int]:
    """Write all of `buffers`, one after the other, from `offset` on, and return how many bytes that were."""
    return perform("writev", fd, [view_of(buffer) for buffer in buffers], offset)


def read_many(fd: int, ranges: Iterable[tuple[int, int]]) -> Awaitable[list[bytes]]:
    """Read several ranges, each `(offset, size)`, as one operation; the results are in the order of the ranges."""
    return perform_many("read", [(fd, size, offset) for offset, size in ranges])


def readinto_many(fd: int, requests: Iterable[tuple[Target, int]]) -> Awaitable[list[int]]:
    """Fill several buffers, each `(buffer, offset)`, as one operation; the counts are in the requests' order."""
    return perform_many("readinto", [(fd, view_of(buffer), offset) for buffer, offset in requests])


async def write_many(fd: int, requests: Iterable[tuple[Source, int]]) -> int:
    """Write several pieces, each `(data, offset)`, at once and in no order; returns how many bytes that were."""
    return sum(await perform_many("write", [(fd, view_of(data), offset) for data, offset in requests]))


def fsync(fd: int, *, data_only: bool = False) -> Awaitable[None]:
    """Return when the file's content (and, unless `data_only`, its attributes) are on stable storage."""
    return perform("fdatasync" if data_only else "fsync", fd)


def fdatasync(fd: int) -> Awaitable[None]:
    """Return when the file's content, and what is needed to find it, are on stable storage."""
    return perform("fdatasync", fd)


def ftruncate(fd: int, size: int) -> Awaitable[None]:
    """Cut the file, or lengthen it with zeros, to `size` bytes."""
    return perform("ftruncate", fd, size)


async def run(func: Callable[..., T], /, *args: object, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Call the blocking `func(*args)` in a thread and return what it returns.

    A cancelled caller waits for the call to end: a file is never closed, nor a buffer freed, under a running call. A
    result that nobody waits for any more is dropped, so functions that open something return an object that closes it.

    Without `limiter` the threads are the engine's, which are for disks. Calls that may take long for other reasons (a
    server that is slow) bring a limiter and run in AnyIO's threads, so that no disk waits for them.
    """
    if limiter is None or in_caller():
        # Not the operation's own result: a traceback may keep that for long, and with it what was opened.
        box: list[T] = []
        try:
            await call(lambda: box.append(func(*args)))
            return box.pop()
        finally:
            box.clear()
    work = _Call(func, args)
    try:
        return await run_sync(work, limiter=limiter)
    except BaseException:
        # AnyIO shields the wait from its own cancel scopes, but asyncio's `Task.cancel()` gets through.
        if not work.has_ended:
            await work.wait_until_ended()
        raise


async def run_calling_back(func: Callable[..., T], /, *args: object) -> T:
    """As `run`, in one of AnyIO's threads: `func` may use `anyio.from_thread` to run coroutines on this loop."""
    try:
        limiter = _callers_back.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(LIMIT)
        _callers_back.set(limiter)
    return await run(func, *args, limiter=limiter)


class _Call(Generic[T]):
    """One call in one of AnyIO's threads, which knows whether it is still running."""

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


@asynccontextmanager
async def temporary_name() -> AsyncIterator[str]:
    """The name of an empty file that is deleted at the end: for others to write."""
    made = await claim(_Named.delete, _Named)
    try:
        yield made.path
    finally:
        with anyio.CancelScope(shield=True):
            await run(made.delete)


class _Named:
    def __init__(self) -> None:
        fd, self.path = tempfile.mkstemp("", "aiovfs-")
        os.close(fd)

    def delete(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
