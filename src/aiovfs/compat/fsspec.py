"""`fsspec.asyn` on ours: change `from fsspec.asyn import …` to `from aiovfs.compat.fsspec import …` and a backend runs.

The names are fsspec's, the underscored ones that backends import included, and so are arguments and results. What is
underneath is `aiovfs.fs`: calls that are cancelled raise, Ctrl-C ends the work, listings are never cut short by an
error, bulk operations run on Trio, forked children go on. Differences that a program can see:

- `sync` and the blocking methods refuse to hold up *any* running loop, not only their own (notebooks excepted);
- `loop[0]` is the loop that serves calls at present, or None before the first; assigning None to it, or `reset_lock()`,
  has the next call start another. `iothread[0]` likewise;
- the blocking methods are made with the class (`fs.mirror`), not with each instance;
- `_dump_running_tasks` cancels tasks; it does not throw `exc` into them;
- `_DEFAULT_BATCH_SIZE` and `_NOFILES_DEFAULT_BATCH_SIZE` may be set here; fsspec's own are heeded while they are not.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

import fsspec.asyn
from fsspec import AbstractFileSystem
from fsspec.asyn import AbstractAsyncStreamedFile as FsspecAsyncStreamedFile
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.local import LocalFileSystem, make_path_posix, trailing_sep
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import is_exception, other_paths

from aiovfs._loop.companion import companion, current_asyncio_loop, is_on_loop, reset_companions, spawn_on
from aiovfs.fs import concurrency
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.concurrency import default_batch_size as _get_batch_size
from aiovfs.fs.concurrency import run_coroutines as _run_coros_in_chunks
from aiovfs.fs.facade import async_gen_wrapper, get_loop, logger, sync, sync_teardown, sync_wrapper
from aiovfs.fs.mirror import async_methods

__all__ = [
    "DEFAULT_CALLBACK",
    "AbstractAsyncStreamedFile",
    "AbstractBufferedFile",
    "AbstractFileSystem",
    "AsyncFileSystem",
    "FSSpecCoroutineCancel",
    "FSTimeoutError",
    "LocalFileSystem",
    "_dump_running_tasks",
    "_get_batch_size",
    "_run_coros_in_chunks",
    "async_gen_wrapper",
    "async_methods",
    "get_lock",
    "get_loop",
    "get_running_loop",
    "iothread",
    "is_exception",
    "loop",
    "make_path_posix",
    "mirror_sync_methods",
    "other_paths",
    "private",
    "reset_after_fork",
    "reset_lock",
    "running_async",
    "sync",
    "sync_teardown",
    "sync_wrapper",
    "trailing_sep",
]


class AbstractAsyncStreamedFile(FsspecAsyncStreamedFile):  # type: ignore[misc]
    """fsspec's, except that making one asks for nothing.

    fsspec's looks up the size in its constructor, with a blocking call on whatever loop opens the file. Here the first
    read that needs the size awaits it.
    """

    def __init__(self, fs: Any, path: str, mode: str = "rb", *args: Any, size: Any = None, **kwargs: Any) -> None:
        is_unknown = mode == "rb" and size is None
        super().__init__(fs, path, mode, *args, size=0 if is_unknown else size, **kwargs)
        if is_unknown:
            self.size: Any = None

    async def read(self, length: int | None = -1) -> bytes:
        """Read `length` bytes, or all that are left."""
        if self.mode == "rb" and self.size is None and (length is None or length < 0):
            self.size = (await self.fs._info(self.path))["size"]
        data: bytes = await super().read(length)
        return data


private = re.compile("_[^_]")
get_running_loop = asyncio.get_running_loop
_DEFAULT_CALLBACK = DEFAULT_CALLBACK

_lock = threading.Lock()


class Slot:
    """A list of one, as fsspec keeps its loop and its thread in: what the companion has now, None before its start."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look

    def __getitem__(self, index: int) -> Any:
        return (self._look(),)[index]

    def __setitem__(self, index: int, value: Any) -> None:
        if value is not None:
            raise TypeError("the loop cannot be replaced here; make file systems with loop=…")
        reset_companions()

    def __len__(self) -> int:
        return 1


loop = Slot(lambda: companion().running_loop)
iothread = Slot(lambda: companion().thread)


def get_lock() -> threading.Lock:
    """A lock for whoever starts loops of his own; ours need none."""
    return _lock


def reset_lock() -> None:
    """Forget the lock, the loop and the thread; the next call has new ones. A forked child need not call this."""
    global _lock
    _lock = threading.Lock()
    reset_companions()


reset_after_fork = reset_lock


def running_async() -> bool:
    """True when the present thread is running an event loop."""
    return is_on_loop()


def mirror_sync_methods(obj: AbstractFileSystem) -> None:
    """Give an instance the blocking form of each coroutine of the contract that it has, and no method of its own for.

    Our classes have theirs already. For objects that got their coroutines otherwise.
    """
    for name in {*async_methods, *dir(AsyncFileSystem)}:
        coroutine = getattr(obj, name, None) if private.match(name) else None
        if coroutine is None:
            continue
        public = name[1:]
        present = getattr(getattr(obj, public, None), "__func__", None)
        if present is None or present is not getattr(AbstractFileSystem, public, None):
            continue
        if inspect.iscoroutinefunction(coroutine):
            setattr(obj, public, sync_wrapper(coroutine, obj=obj))
        elif inspect.isasyncgenfunction(coroutine):
            setattr(obj, public, async_gen_wrapper(coroutine, obj=obj))


def _on_loop_thread(loop: Any) -> bool:
    return loop is not None and current_asyncio_loop() is loop


def _defer_task(loop: Any, coro: Any, description: str = "deferred task", **_: Any) -> None:
    """Run a coroutine on `loop` in the background; a failure is logged."""

    async def run() -> None:
        await coro

    def log(error: BaseException) -> None:
        logger.warning("%s failed: %s", description, error, exc_info=error)

    spawn_on(loop, run, log)


class FSSpecCoroutineCancel(Exception):  # fsspec's name
    """What `_dump_running_tasks` takes as the reason; tasks see a cancellation."""


def _dump_running_tasks(
    printout: bool = True,
    cancel: bool = True,
    exc: type[BaseException] = FSSpecCoroutineCancel,
    with_task: bool = False,
) -> list[dict[str, Any]]:
    """Where the tasks on the loop stand, for debugging; with `cancel`, end them."""
    running = companion().running_loop
    found = []
    for task in asyncio.all_tasks(running) if running is not None else ():
        frames = task.get_stack()
        if printout:
            task.print_stack()
        if frames:
            frame = frames[-1]
            found.append(
                {
                    "locals": frame.f_locals,
                    "file": frame.f_code.co_filename,
                    "firstline": frame.f_code.co_firstlineno,
                    "linelo": frame.f_lineno,
                    "stack": traceback.format_stack(frame),
                    "task": task if with_task else None,
                }
            )
        if cancel and running is not None:
            running.call_soon_threadsafe(task.cancel)
    return found


_BATCH_SIZES = ("_DEFAULT_BATCH_SIZE", "_NOFILES_DEFAULT_BATCH_SIZE")


class _Module(types.ModuleType):
    """The two sizes are read where `fs.concurrency` reads them, and set there."""

    def __getattr__(self, name: str) -> Any:
        if name in _BATCH_SIZES:
            own = getattr(concurrency, name)
            return own if own is not None else getattr(fsspec.asyn, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _BATCH_SIZES:
            setattr(concurrency, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _BATCH_SIZES:
            setattr(concurrency, name, None)
        else:
            super().__delattr__(name)


sys.modules[__name__].__class__ = _Module
