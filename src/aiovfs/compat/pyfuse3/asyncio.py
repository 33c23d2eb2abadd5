"""`pyfuse3.asyncio`: the names of Trio that pyfuse3 uses, on asyncio.

`enable()` is a courtesy here: the session finds out by itself on which loop `main` runs. It still puts this module in
the place of `pyfuse3.trio`, for programs that look there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType, TracebackType
from typing import Any, Final, Self, TypeVar

__all__ = [
    "ClosedResourceError",
    "Lock",
    "current_task",
    "current_trio_token",
    "disable",
    "enable",
    "from_thread",
    "lowlevel",
    "notify_closing",
    "open_nursery",
    "run_sync",
    "wait_readable",
]

T = TypeVar("T")

log = logging.getLogger("pyfuse3")

Lock = asyncio.Lock

_read_futures: dict[int, set[asyncio.Future[None]]] = {}

# This module stands for `trio`, `trio.lowlevel` and `trio.from_thread` at once.
lowlevel: Final[ModuleType] = sys.modules[__name__]
from_thread: Final[ModuleType] = sys.modules[__name__]


class ClosedResourceError(Exception):
    """The descriptor that was waited for is being closed."""


def enable() -> None:
    """Let `pyfuse3.trio` be this module. May be called before `init`, after it, inside of the loop, or not at all."""
    _surface().trio = lowlevel


def disable() -> None:
    """Let `pyfuse3.trio` be Trio again."""
    _surface().__dict__.pop("trio", None)


def _surface() -> Any:
    return sys.modules[__name__.rpartition(".")[0]]


def current_trio_token() -> str:
    """What `pyfuse3.trio_token` is while `main` runs on asyncio."""
    return "asyncio"


def current_task() -> asyncio.Task[Any] | None:
    """The running task; None outside of one."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def run_sync(function: Callable[..., T], *args: Any, trio_token: object = None) -> T:
    """In the place of `trio.from_thread.run_sync`. `terminate` and the notifications may be called from any thread."""
    return function(*args)


async def wait_readable(fd: int) -> None:
    """Wait until `fd` can be read. Raises `ClosedResourceError` after `notify_closing(fd)`.

    Several tasks may wait for one descriptor; all are woken.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    waiting = _read_futures.setdefault(fd, set())
    waiting.add(future)
    loop.add_reader(fd, _wake, fd)
    try:
        await future
    finally:
        waiting.discard(future)
        if not waiting:
            _read_futures.pop(fd, None)
            loop.remove_reader(fd)


def _wake(fd: int) -> None:
    for future in _read_futures.get(fd, ()):
        if not future.done():
            future.set_result(None)


def notify_closing(fd: int) -> None:
    """Wake those who wait for `fd` with `ClosedResourceError`. May be called from any thread, before closing."""
    for future in list(_read_futures.get(fd, ())):
        future.get_loop().call_soon_threadsafe(_refuse, future, fd)


def _refuse(future: asyncio.Future[None], fd: int) -> None:
    if not future.done():
        future.set_exception(ClosedResourceError(f"file descriptor {fd} is being closed"))


class _Nursery:
    """Tasks that end together. The first that fails cancels the others, and its exception leaves the block.

    pyfuse3's own one only waits: an exception of a task is never seen there, and cancelling the block leaves the tasks.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    def start_soon(self, func: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None) -> None:
        """Run `func(*args)` as a task, which gets the attribute `name`."""

        async def run() -> None:
            await func(*args)

        task = self._group.create_task(run(), name=name)
        task.name = name  # type: ignore[attr-defined]  # where Trio has it

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            await self._group.__aexit__(exc_type, exc_value, traceback)
        except BaseExceptionGroup as group:
            first, *others = group.exceptions
            for other in others:
                log.error("another task of the nursery failed as well", exc_info=other)
            raise first from first.__cause__
        return None


def open_nursery() -> _Nursery:
    """An `async with` block that ends when all tasks that were started in it have ended.

    When a task raises, the others are cancelled and the block raises that exception; further ones are logged.
    """
    return _Nursery()


def _forget_waiting() -> None:
    _read_futures.clear()


os.register_at_fork(after_in_child=_forget_waiting)
