"""Who runs the methods of an fsspec file system, and where.

| the file system is | and we run on | its methods run |
|---|---|---|
| ours (`runs_anywhere`) | any loop | in place |
| async, `asynchronous=True` | asyncio, uvloop | in place |
| async, `asynchronous=True` | Trio | on the companion asyncio loop |
| async, with a loop of its own in a thread | any loop | on that loop |
| synchronous | any loop | in worker threads; one at a time unless its class is known to be thread-safe |
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import RunVar
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from aiovfs import aio
from aiovfs._loop import running_library
from aiovfs._loop.caller import in_caller
from aiovfs._loop.companion import companion, run_on
from aiovfs._loop.forks import survives_fork

__all__ = ["Driver", "SyncRunner", "can_write", "driver_of", "is_thread_safe", "native_move"]

T = TypeVar("T")

THREAD_SAFE = frozenset(
    {
        "fsspec.implementations.local.LocalFileSystem",
        "fsspec.implementations.memory.MemoryFileSystem",
        "fsspec.implementations.arrow.HadoopFileSystem",
        "fsspec.implementations.data.DataFileSystem",
    }
)
"""Synchronous classes whose methods may run in several threads at once. A class may also say `thread_safe = True`."""

_numbers = itertools.count()

MAX_THREADS = 32
"""Calls of one thread-safe synchronous file system in flight."""


class Driver(ABC):
    """Calls methods of one file system."""

    is_async: bool

    def __init__(self, fs: AbstractFileSystem) -> None:
        self.fs = fs

    @abstractmethod
    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the method by its name without underscore. Exceptions are the backend's own.

        fsspec's listing cache is emptied first, on the thread that uses it: what an earlier listing left there may be
        older than what has been done since.
        """

    async def run(self, func: Callable[..., T], *args: Any) -> T:
        """Call the blocking `func(*args)`, which belongs to this file system, where its methods run."""
        return await aio.run(func, *args)

    def takes(self, method: str, parameter: str) -> bool:
        """True when the method names that parameter; a mere `**kwargs` may ignore it."""
        function = getattr(self.fs, f"_{method}" if self.is_async else method)
        return parameter in inspect.signature(function).parameters

    async def aclose(self) -> None:  # noqa: B027  # most have nothing to close
        """Close the file system's session, where it has one that we know how to close."""


class InPlaceDriver(Driver):
    """The running loop is the file system's own."""

    is_async = True

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await call_fresh(self.fs, method, *args, **kwargs)

    async def aclose(self) -> None:
        await close_session(self.fs)


class OtherLoopDriver(Driver):
    """The file system's asyncio loop runs in another thread."""

    is_async = True

    def __init__(self, fs: AbstractFileSystem, get_loop: Callable[[], Any]) -> None:
        super().__init__(fs)
        self._get_loop = get_loop

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await run_on(self._get_loop(), call_fresh, self.fs, method, *args, **kwargs)

    async def aclose(self) -> None:
        await run_on(self._get_loop(), close_session, self.fs)


class SyncDriver(Driver):
    """A synchronous file system, in threads."""

    is_async = False

    def __init__(self, fs: AbstractFileSystem) -> None:
        super().__init__(fs)
        self._runner = SyncRunner(fs)

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        def fresh() -> Any:
            empty_listing_cache(self.fs)
            return getattr(self.fs, method)(*args, **kwargs)

        return await self._runner.run(fresh)

    async def run(self, func: Callable[..., T], *args: Any) -> T:
        return await self._runner.run(functools.partial(func, *args))

    async def aclose(self) -> None:
        close = getattr(self.fs, "close", None)
        if callable(close):
            await self._runner.run(close)


class SyncRunner:
    """Runs calls of one synchronous file system in worker threads: at most `limit`, one where threads would hurt.

    The limit is per loop; the lock of a file system that is not thread-safe holds between loops too.
    """

    def __init__(self, fs: AbstractFileSystem, limit: int | None = None) -> None:
        self._lock: threading.RLock | None = None if is_thread_safe(fs) else lock_of(fs)
        self._limit = 1 if self._lock is not None else limit or MAX_THREADS
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"aiovfs.fs.drivers.{next(_numbers)}")

    @property
    def is_thread_safe(self) -> bool:
        """False when calls are made one at a time."""
        return self._lock is None

    def call_here(self, call: Callable[[], T]) -> T:
        """Make the call on the present thread."""
        if self._lock is None:
            return call()
        with self._lock:
            return call()

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call()` in a thread; in place on a synchronous caller's thread. A cancelled caller waits for its end."""
        try:
            limiter = self._limiter.get() if not in_caller() else None
        except LookupError:
            limiter = anyio.CapacityLimiter(self._limit)
            self._limiter.set(limiter)
        return await aio.run(self.call_here, call, limiter=limiter)


def lock_of(fs: AbstractFileSystem) -> threading.RLock:
    """The one lock of this file system object, kept on it: whoever drives it in threads takes the same.

    A forked child finds it open.
    """
    lock: threading.RLock | None = vars(fs).get("_aiovfs_lock")
    if lock is None:
        lock = vars(fs).setdefault("_aiovfs_lock", survives_fork(threading.RLock()))
    return lock


def is_thread_safe(fs: AbstractFileSystem) -> bool:
    """True when several threads may call `fs` at once."""
    cls = type(fs)
    return bool(getattr(fs, "thread_safe", False)) or f"{cls.__module__}.{cls.__qualname__}" in THREAD_SAFE


def driver_of(fs: AbstractFileSystem) -> Driver:
    """The way to drive `fs` from the running loop; see the table at the head of this file."""
    # Caching file systems report the `async_impl` of what is below them, without having the coroutines.
    if not isinstance(fs, AsyncFileSystem) or not fs.async_impl:
        return SyncDriver(fs)
    if getattr(fs, "runs_anywhere", False):
        return InPlaceDriver(fs)
    if not fs.asynchronous:
        return OtherLoopDriver(fs, lambda: fs.loop)
    if running_library() == "trio":
        return OtherLoopDriver(fs, lambda: companion().loop)
    return InPlaceDriver(fs)


async def call_fresh(fs: AbstractFileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
    """Await the coroutine form of `method`, not answered from a listing cache."""
    empty_listing_cache(fs)
    return await getattr(fs, f"_{method}")(*args, **kwargs)


def empty_listing_cache(fs: AbstractFileSystem) -> None:
    """Forget every listing. Not all classes that use the cache have an `invalidate_cache` that does."""
    fs.invalidate_cache()
    clear = getattr(getattr(fs, "dircache", None), "clear", None)
    if clear is not None:
        clear()


async def close_session(fs: AbstractFileSystem) -> None:
    """Close the aiohttp session that async file systems keep under `_session`."""
    session = getattr(fs, "_session", None)
    close = getattr(session, "close", None)
    if inspect.iscoroutinefunction(close):
        await close()


def _defining_class(cls: type, name: str) -> type | None:
    return next((base for base in cls.__mro__ if name in vars(base)), None)


def overrides(fs: AbstractFileSystem, name: str) -> bool:
    """True when the class of `fs`, or the instance, has a `name` of its own and not fsspec's default."""
    owner = _defining_class(type(fs), name)
    if name in vars(fs):
        return True
    return owner not in (None, AbstractFileSystem, AsyncFileSystem) and not vars(owner).get("is_contract", False)


def can_write(fs: AbstractFileSystem) -> bool:
    """False when the class has no way to put a file."""
    if fs.async_impl:
        return overrides(fs, "_put_file") or overrides(fs, "_pipe_file")
    return any(overrides(fs, name) for name in ("put_file", "pipe_file", "rm_file", "_rm", "rm"))


def native_move(fs: AbstractFileSystem) -> str | None:
    """The method by which `fs` moves in one call, if it has one that is not copy and delete."""
    if getattr(fs, "moves_by_copying", False):
        return None
    if fs.async_impl:
        return "mv_file" if overrides(fs, "_mv_file") else None
    for name in ("mv", "mv_file"):
        if overrides(fs, name) and not inspect.iscoroutinefunction(getattr(fs, name)):
            return name
    return None
