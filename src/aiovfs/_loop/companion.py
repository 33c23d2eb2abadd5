"""An asyncio loop in a thread of its own: for asyncio-only code under Trio, and for synchronous callers.

`companion()` is the one of this process. It starts its thread when first used, starts a new one when that has died, and
a forked child gets a fresh one (threads do not survive fork). `companion_of_thread()` is one of a few, the same for the
same calling thread: for work that belongs to no loop in particular, so that many threads do not queue before one.

A call runs to its end also when it is cancelled: the caller returns only when the work on the other loop is over, so
nothing goes on behind its back. Work that ends in `CancelledError` by itself is an error for the caller too.

How work is handed over, since that is all that a short call costs:

- the work goes into the loop's inbox, and the loop is woken only when the inbox was empty: of threads that come at the
  same time one pays for the system call;
- the task tells the caller from its last step, not from a done-callback, which would come a turn of the loop later;
  where Python has it (3.12), its first step is taken as the inbox is read, another turn earlier;
- the caller waits on a lock, not on an `Event` (a condition, two locks and a list).
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import importlib
import itertools
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import anyio

from aiovfs._loop.library import running_library
from aiovfs._loop.token import LoopToken

__all__ = [
    "Companion",
    "block_on",
    "companion",
    "companion_of_thread",
    "current_asyncio_loop",
    "current_loop",
    "has_ended",
    "is_on_loop",
    "is_usable",
    "reset_companions",
    "run_on",
    "spawn_on",
]

T = TypeVar("T")

ALIVE_CHECK = 1.0
"""Seconds between looks at whether the loop that is waited for still runs."""

GRACE = 5.0
"""Seconds that cancelled work gets to come to its end before its caller goes on without it."""

COMPANIONS = min(4, os.cpu_count() or 1)
"""Loops that `companion_of_thread` spreads the calling threads over."""

_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Inbox:
    """What other threads want a loop to begin. Appending and taking are single steps of Python's deque."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = loop.call_soon_threadsafe
        self._waiting: deque[Work[Any]] = deque()
        self._is_woken = False

    def put(self, work: Work[Any]) -> None:
        """Have the loop begin `work` soon. `RuntimeError` when it is closed."""
        self._waiting.append(work)
        if not self._is_woken:
            self._is_woken = True
            try:
                self._wake(self._begin_all)
            except BaseException:
                self._is_woken = False
                raise

    def _begin_all(self) -> None:
        # Before looking: who appends after the last look finds False, and wakes the loop again.
        self._is_woken = False
        waiting = self._waiting
        while waiting:
            waiting.popleft().begin()


_inboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = weakref.WeakKeyDictionary()


def inbox_of(loop: asyncio.AbstractEventLoop) -> Inbox:
    """The inbox of a loop; made when first asked for."""
    inbox = _inboxes.get(loop)
    if inbox is None:
        inbox = _inboxes.setdefault(loop, Inbox(loop))
    return inbox


class Work(Generic[T]):
    """One call of a coroutine function on another thread's loop."""

    __slots__ = (
        "_args",
        "_cancel_asked",
        "_context",
        "_error",
        "_func",
        "_has_begun",
        "_kwargs",
        "_loop",
        "_on_end",
        "_task",
        "_value",
        "has_ended",
    )

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
        self._context = _context_for_asyncio()
        self._task: asyncio.Task[None] | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._has_begun = False
        self._cancel_asked = False
        self.has_ended = False

    def start(self) -> None:
        """Have the loop begin. Apart from making it, so that whoever is told of the end knows the work by then."""
        inbox_of(self._loop).put(self)

    def cancel(self) -> None:
        """Ask the work to stop; it has stopped when `on_end` was called."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:
            pass  # the loop is closed: nothing runs there any more

    def result(self) -> T:
        """What the work returned, or the exception that ended it. Only after its end."""
        error = self._error
        if error is not None:
            try:
                raise error
            finally:
                del error, self._error  # its traceback knows this frame: a circle that keeps what the work used
        value: T = self._value
        return value

    def begin(self) -> None:
        """Start the task; on the loop's thread."""
        if self._cancel_asked:
            self._ended(None, asyncio.CancelledError())
        else:
            self._task = asyncio.Task(self._run(), loop=self._loop, context=self._context, **_EAGER)

    async def _run(self) -> None:
        self._has_begun = True
        try:
            value = await self._func(*self._args, **self._kwargs)
        except BaseException as exc:
            # Also what would end the loop (SystemExit, KeyboardInterrupt): it belongs to whoever asked for the work.
            self._ended(None, exc)
        else:
            self._ended(value, None)

    def _cancel(self) -> None:
        self._cancel_asked = True
        if self._task is not None:
            if not self._has_begun:
                self._task.add_done_callback(self._never_begun)
            self._task.cancel()

    def _never_begun(self, task: asyncio.Task[None]) -> None:
        if not self.has_ended:
            self._ended(None, asyncio.CancelledError())

    def _ended(self, value: Any, error: BaseException | None) -> None:
        self._value, self._error = value, error
        self.has_ended = True
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

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop where one runs, without starting one."""
        loop = self._loop
        return loop if loop is not None and is_usable(loop) else None

    @property
    def thread(self) -> threading.Thread | None:
        """The thread of the loop, where one was started."""
        return self._thread

    def _start(self) -> asyncio.AbstractEventLoop:
        if sys.is_finalizing():
            raise RuntimeError("the interpreter is ending: no loop can be started for this call any more")
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and self._loop is not None:
                return self._loop
            # Here and not when the work first needs it, on the loop's thread: a process that forks during that import
            # would leave the child with an import that never ends.
            importlib.import_module("anyio._backends._asyncio")
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
        return block_on(self.loop, func, args, kwargs, timeout)


def is_usable(loop: asyncio.AbstractEventLoop) -> bool:
    """True when the loop runs, in a thread that lives. One inherited through a fork says so, and never will."""
    if loop.is_closed() or not loop.is_running():
        return False
    thread = getattr(loop, "_thread_id", None)  # asyncio's own loops; others have their word taken for it
    return thread is None or thread in sys._current_frames()


def block_on(
    loop: asyncio.AbstractEventLoop,
    func: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
) -> T:
    """As `Companion.run_blocking`, on any loop that runs in another thread.

    A loop whose thread has not come to run it yet is waited for; one that ends, or does not begin, is an error within
    about `ALIVE_CHECK` seconds.
    """
    if loop.is_closed():
        raise RuntimeError("the loop that this call needs is not running; it was closed")
    if sys.is_finalizing():
        raise RuntimeError("the interpreter is ending: the loop that this call needs does not run any more")
    gate = threading.Lock()
    gate.acquire()
    work = Work(loop, func, args, kwargs, gate.release)
    try:
        work.start()
        if timeout is not None:
            if not gate.acquire(timeout=timeout):
                raise TimeoutError(errno.ETIMEDOUT, f"not finished within {timeout} seconds")
        else:
            while not gate.acquire(timeout=ALIVE_CHECK):
                if not is_usable(loop):
                    raise RuntimeError(
                        "the loop that this call needs is not running; its thread has ended, or never began"
                    )
    except BaseException:
        if not work.has_ended and is_usable(loop):
            work.cancel()
            gate.acquire(timeout=GRACE)
        raise
    return work.result()


def spawn_on(
    loop: asyncio.AbstractEventLoop, func: Callable[[], Awaitable[Any]], on_error: Callable[[BaseException], Any]
) -> None:
    """Have `loop`, which runs in this or another thread, do `func()`, and do not wait; a failure goes to `on_error`."""

    def ended() -> None:
        _spawned.discard(work)
        try:
            work.result()
        except BaseException as exc:
            on_error(exc)

    work = Work(loop, func, (), {}, ended)
    _spawned.add(work)
    work.start()


_spawned: set[Work[Any]] = set()


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


_running_asyncio_loop = asyncio._get_running_loop


def is_on_loop() -> bool:
    """True when the present thread is running a task or callback of asyncio or Trio."""
    if _running_asyncio_loop() is not None:
        return True
    lowlevel = sys.modules.get("trio.lowlevel")
    return lowlevel is not None and bool(lowlevel.in_trio_run())


def has_ended(loop: object) -> bool:
    """True when what `current_loop` gave will run no more."""
    return bool(getattr(loop, "is_closed", bool)())


def current_asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The asyncio loop that runs on the present thread; None on Trio and outside of loops."""
    try:
        return None if running_library() == "trio" else asyncio.get_running_loop()
    except RuntimeError:
        return None


def current_loop() -> object | None:
    """Something that stands for the running loop, hashable and weakly referable; None outside of loops."""
    try:
        if running_library() == "trio":
            import trio

            return trio.lowlevel.current_trio_token()
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _OfThread(threading.local):
    mine: Companion | None = None


_companions: list[Companion] = []
_turns = itertools.count()
_of_thread = _OfThread()


def companion() -> Companion:
    """The companion of this process."""
    return _companions[0]


def companion_of_thread() -> Companion:
    """The companion that the present thread uses for work that may run on any loop."""
    mine = _of_thread.mine
    if mine is None:
        mine = _of_thread.mine = _companions[next(_turns) % COMPANIONS]
    return mine


def reset_companions() -> None:
    """Have new companions from now on. Work on the loops of the old ones goes on to its end."""
    _companions[:] = [
        Companion("aiovfs-companion" if number == 0 else f"aiovfs-companion-{number}") for number in range(COMPANIONS)
    ]
    _of_thread.mine = None


reset_companions()
os.register_at_fork(after_in_child=reset_companions)
