"""An asyncio loop in a thread of its own: for asyncio-only code under Trio, and for synchronous callers.

`companion()` is the one of this process. It starts its thread when first used, starts a new one when that has died, and
a forked child gets a fresh one (threads do not survive fork).

A call runs to its end also when it is cancelled: the caller returns only when the work on the other loop is over, so
nothing goes on behind its back. Work that ends in `CancelledError` by itself is an error for the caller too.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import anyio

from aiovfs._loop.library import running_library
from aiovfs._loop.token import LoopToken

__all__ = ["Companion", "companion", "current_loop", "is_on_loop", "run_on"]

T = TypeVar("T")

ALIVE_CHECK = 1.0
"""Seconds between looks at whether the thread that is waited for still lives."""


class Work(Generic[T]):
    """One call of a coroutine function on another thread's loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        func: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        on_end: Callable[[], Any],
    ) -> None:
        self._loop = loop
        self._func = func
        self._args = args
        self._kwargs = kwargs
        self._on_end = on_end
        self._task: asyncio.Task[T] | None = None
        self._cancel_asked = False

    def start(self) -> None:
        """Have the loop begin. Apart from making it, so that whoever is told of the end knows the work by then."""
        self._loop.call_soon_threadsafe(self._start, context=_context_for_asyncio())

    def cancel(self) -> None:
        """Ask the work to stop; it has stopped when `on_end` was called."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:
            pass  # the loop is closed: nothing runs there any more

    def result(self) -> T:
        """What the work returned, or the exception that ended it. Only after its end."""
        assert self._task is not None
        return self._task.result()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)
        if self._cancel_asked:
            self._task.cancel()

    async def _run(self) -> T:
        return await self._func(*self._args, **self._kwargs)

    def _cancel(self) -> None:
        self._cancel_asked = True
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # seen: the caller may be gone already
        self._on_end()


def _context_for_asyncio() -> contextvars.Context:
    """The caller's context variables, except that they do not say that the work runs on the caller's library.

    AnyIO asks sniffio, whose variable would follow a Trio task onto the asyncio loop.
    """
    context = contextvars.copy_context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


class Companion:
    """An asyncio loop in a daemon thread."""

    def __init__(self, name: str = "aiovfs-companion") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; started if there is none."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive() and not loop.is_closed():
            return loop
        return self._start()

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and self._loop is not None:
                return self._loop
            loop = asyncio.new_event_loop()
            is_running = threading.Event()
            thread = threading.Thread(target=self._serve, args=(loop, is_running), name=self._name, daemon=True)
            thread.start()
            is_running.wait()
            self._loop, self._thread = loop, thread
            return loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop, is_running: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(is_running.set)
        try:
            loop.run_forever()
        finally:
            # Whoever waits for work on this loop hears of its end.
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def stop(self) -> None:
        """End the loop and its thread; work that still runs is cancelled. A later use starts anew."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join()

    async def run(self, func: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Await `func(*args, **kwargs)` on the companion, from a task of any other loop."""
        return await run_on(self.loop, func, *args, **kwargs)

    def run_blocking(
        self, func: Callable[..., Awaitable[T]], /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> T:
        """Run `func(*args, **kwargs)` on the companion and block until it ends.

        `timeout` is in seconds. When it passes, and on any exception raised here meanwhile (Ctrl-C), the work is
        cancelled and waited for, then `TimeoutError` or that exception is raised.
        """
        loop = self.loop
        return block_on(loop, self._thread, func, args, kwargs, timeout)


def block_on(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread | None,
    func: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
) -> T:
    """As `Companion.run_blocking`, on any loop that runs in another thread (`thread`, where it is known)."""
    if thread is threading.current_thread():
        raise RuntimeError("a blocking call was made on the very thread that would have to do the work")
    if loop.is_closed() or not loop.is_running():
        raise RuntimeError("the loop that this call needs is not running; it was closed, or its thread has ended")
    gate = threading.Lock()
    gate.acquire()
    work = Work(loop, func, args, kwargs, gate.release)
    try:
        work.start()
        if timeout is not None:
            ended = gate.acquire(timeout=timeout)
        else:
            while not (ended := gate.acquire(timeout=ALIVE_CHECK)):
                if not loop.is_running() or (thread is not None and not thread.is_alive()):
                    raise RuntimeError("the thread that did the work has ended before the work did")
    except BaseException:
        work.cancel()
        gate.acquire(timeout=ALIVE_CHECK * 5)
        raise
    if not ended:
        work.cancel()
        gate.acquire(timeout=ALIVE_CHECK * 5)
        raise TimeoutError(errno.ETIMEDOUT, f"not finished within {timeout} seconds")
    return work.result()


async def run_on(loop: asyncio.AbstractEventLoop, func: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
    """Await `func(*args, **kwargs)` on `loop`, which runs in another thread, from a task of asyncio or Trio."""
    if loop.is_closed():
        raise RuntimeError("the loop that this call needs is closed")
    token = LoopToken()
    ended = anyio.Event()
    work = Work(loop, func, args, kwargs, lambda: token.run_soon(ended.set))
    work.start()
    try:
        await ended.wait()
    except BaseException:
        work.cancel()
        with anyio.CancelScope(shield=True):
            await ended.wait()
        raise
    try:
        return work.result()
    except asyncio.CancelledError:
        # Cancelled over there, not here: nobody may take this for a cancellation of the present task.
        raise OSError(errno.ECANCELED, "the work was cancelled on the loop that it ran on") from None


def is_on_loop() -> bool:
    """True when the present thread is running a task or callback of asyncio or Trio."""
    try:
        running_library()
    except RuntimeError:
        return False
    return True


def current_loop() -> object | None:
    """Something that stands for the running loop, hashable and weakly referable; None outside of loops."""
    try:
        if running_library() == "trio":
            import trio

            return trio.lowlevel.current_trio_token()
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_companion = Companion()


def companion() -> Companion:
    """The companion of this process."""
    return _companion


def _after_fork_in_child() -> None:
    global _companion
    _companion = Companion()


os.register_at_fork(after_in_child=_after_fork_in_child)
