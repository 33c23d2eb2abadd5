"""The synchronous face of an async file system, and what authors make one of their own from.

`blocking("_info")` makes the method `info` out of the coroutine method `_info`; `sync_wrapper(_my_method)` does it for
any coroutine function, in a class body or for one instance; `sync(loop, func, …)` is one call. A call

- is refused on a thread whose loop is running, with the async name to use instead: it would hold up that whole loop.
  A notebook is the exception, since each of its cells runs on the kernel's loop; see `ON_LOOP`;
- takes the coroutine's first step on the caller's thread when the class keeps the rule of `_loop.caller` (`eager`), and
  is over when nothing waited: a microsecond instead of two thread switches;
- else runs on the file system's loop, by default the companion's, and blocks until it is over. A time-out (`timeout=`
  in seconds, as in fsspec) and Ctrl-C cancel the work and wait for it; work that is cancelled raises `CancelledError`;
  an exception object that the work *returns* is returned.

Source for the names and arguments: `fsspec.asyn`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.exceptions import FSTimeoutError

from aiovfs._loop.caller import NEEDS_LOOP, drive, finish, in_caller
from aiovfs._loop.companion import block_on, companion, current_asyncio_loop, is_on_loop, spawn_on

__all__ = [
    "ON_LOOP",
    "async_gen_wrapper",
    "blocking",
    "blocking_iterator",
    "get_loop",
    "run_blocking",
    "sync",
    "sync_teardown",
    "sync_wrapper",
]

logger = logging.getLogger("aiovfs.fs")

ON_LOOP = os.environ.get("AIOVFS_ON_LOOP", "auto")
"""What a blocking call on a thread with a running loop does: "refuse", "allow" (hold up the loop, as fsspec does), or
"auto": refuse, except in a notebook, where every cell runs on the kernel's loop and nothing else is held up."""


def get_loop() -> Any:
    """The asyncio loop that synchronous calls run on by default: the companion's, in a daemon thread of its own.

    Started when first asked for; a new one when that has died, and in a forked child.
    """
    return companion().loop


def sync(
    loop: Any, func: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None, **kwargs: Any
) -> Any:
    """Run `func(*args, **kwargs)` on `loop`, which runs in another thread, and block until it is over.

    `timeout` in seconds (0 is none) cancels the work, waits for that, and raises `FSTimeoutError`; Ctrl-C cancels it
    too. Raises `CancelledError` when the work was cancelled; `RuntimeError` when `loop` is None, closed, or does not
    run; `NotImplementedError` on a thread whose loop is running, which the call would hold up.
    """
    if loop is None:
        raise RuntimeError(
            "Loop is not running: this file system was made with asynchronous=True; await its coroutines"
        )
    if is_on_loop() and not may_hold_up_the_loop(loop):
        raise NotImplementedError(
            f"Calling sync() from within a running loop, which it would hold up; there, `await {name_of(func)}(...)`"
        )
    return block(loop, func, args, kwargs, timeout)


def block(
    loop: Any, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
) -> Any:
    """`sync` without the check of where it is called."""
    try:
        return block_on(loop, func, args, kwargs, timeout or None)
    except TimeoutError as exc:
        if type(exc) is TimeoutError and timeout:
            raise FSTimeoutError(*exc.args) from exc
        raise


def sync_wrapper(func: Callable[..., Any], obj: Any = None) -> Callable[..., Any]:
    """The blocking form of a coroutine function.

    In a class body, `my_method = sync_wrapper(_my_method)`; for one instance, `sync_wrapper(fs._my_method, obj=fs)`.
    The result has the function's documentation, and `timeout=` in seconds.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        return run_blocking(args[0] if obj is None else obj, func, args, kwargs, timeout, eager=False)

    return wrapper


def async_gen_wrapper(func: Callable[..., Any], obj: Any = None) -> Callable[..., Iterator[Any]]:
    """The blocking form of an async generator function: a generator, with one blocking step per item."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        return iterate(args[0] if obj is None else obj, func, args, kwargs, eager=False)

    return wrapper


def sync_teardown(
    loop: Any,
    func_or_coro: Any,
    *args: Any,
    timeout: float | None = None,
    description: str = "teardown",
    **kwargs: Any,
) -> Any:
    """Run the end of something async (closing a session) from code that runs anywhere: `__del__`, `atexit`, a thread.

    Blocks until it is over, at most `timeout` seconds (0: do not wait), and returns its result. On the loop's own
    thread it is only begun, and a failure is logged. At the interpreter's end it does nothing. Raises `RuntimeError`
    when the loop does not run any more, and `FSTimeoutError`.
    """
    work = func_or_coro(*args, **kwargs) if callable(func_or_coro) else func_or_coro
    if not inspect.iscoroutine(work):
        return None
    if sys.is_finalizing():
        work.close()
        return None
    if loop is None or loop.is_closed() or not loop.is_running():
        work.close()
        raise RuntimeError(f"Skipping {description}: no usable IO loop available.")

    async def end() -> Any:
        return await work

    if is_on_loop() or (timeout is not None and timeout <= 0):

        def log(error: BaseException) -> None:
            logger.error("%s failed: %s", description, error, exc_info=error)

        spawn_on(loop, end, log)
        return None
    try:
        return block_on(loop, end, (), {}, timeout)
    except TimeoutError as exc:
        raise FSTimeoutError(f"{description} did not complete within {timeout}s.") from exc


def blocking(name: str, documented_by: Any = None) -> Callable[..., Any]:
    """A method that calls the coroutine method `name` and blocks until it is over."""

    def method(self: Any, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        return run_blocking(self, getattr(self, name), args, kwargs, timeout, eager=name in self.eager)

    return _described(method, name, documented_by)


def blocking_iterator(name: str, documented_by: Any = None) -> Callable[..., Any]:
    """A generator method out of the async generator method `name`; one blocking step per item."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iterate(self, getattr(self, name), args, kwargs, eager=name in self.eager)

    return _described(method, name, documented_by)


def _described(method: Any, name: str, documented_by: Any) -> Callable[..., Any]:
    public = name.removeprefix("_")
    default = getattr(AbstractFileSystem, public, None)
    method.__name__ = public
    method.__qualname__ = getattr(documented_by, "__qualname__", f"AsyncFileSystem.{name}")  # as fsspec's are
    # (None has a documentation of its own since Python 3.13.)
    documentations = (inspect.getdoc(method) for method in (documented_by, default) if method is not None)
    method.__doc__ = next(filter(None, documentations), f"Blocking form of `{name}`; `timeout` is in seconds.")
    if documented_by is not None:
        method.__wrapped__ = documented_by  # editors and help() show its arguments
    method.blocks_on = name
    result: Callable[..., Any] = method
    return result


def run_blocking(
    fs: Any,
    func: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
    *,
    eager: bool,
) -> Any:
    """Run `func(*args, **kwargs)` for a synchronous caller; see the head of this file."""
    if is_on_loop() and not in_caller():
        refuse_on_loop(fs, func)
    if eager:
        work: Any = func(*args, **kwargs)
        result = drive(work)
        if result is not NEEDS_LOOP:
            return result
        func, args, kwargs = finish, (work,), {}
    find_loop = getattr(fs, "_loop_for_calls", None)
    loop = find_loop() if find_loop is not None else fs.loop
    if loop is None:
        raise RuntimeError(
            f"Loop is not running: {type(fs).__name__} was made with asynchronous=True; await its coroutines"
        )
    return block(loop, func, args, kwargs, timeout)


def iterate(
    fs: Any, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, eager: bool
) -> Iterator[Any]:
    """The items of the async generator `func(*args, **kwargs)`, for a synchronous caller."""
    items = func(*args, **kwargs)
    try:
        while True:
            try:
                yield run_blocking(fs, _next, (items,), {}, None, eager=eager)
            except StopAsyncIteration:
                return
    finally:
        run_blocking(fs, _close, (items,), {}, None, eager=eager)


async def _next(items: Any) -> Any:
    return await anext(items)


async def _close(items: Any) -> None:
    await items.aclose()


def refuse_on_loop(fs: Any, func: Any) -> None:
    """`RuntimeError` (or a kind of it) for a blocking call on the thread of a running loop, unless that is allowed."""
    find_loop = getattr(fs, "_loop_for_calls", None)
    needed = find_loop() if find_loop is not None else fs.loop
    if may_hold_up_the_loop(needed):
        return
    name = name_of(func)
    # On the very loop that would do the work it could never end; fsspec refuses that much, in these words.
    kind = NotImplementedError if needed is not None and needed is current_asyncio_loop() else RuntimeError
    raise kind(
        f"{type(fs).__name__}.{name.removeprefix('_')}() blocks, and was called from a running event loop; "
        f"there, use `await fs.{name}(...)`, or call it in a worker thread"
    )


def may_hold_up_the_loop(needed: Any) -> bool:
    """May a call block a thread whose loop is running? Never when that very loop would have to do the work."""
    if ON_LOOP == "refuse" or (ON_LOOP == "auto" and not is_notebook()):
        return False
    return needed is not None and needed is not current_asyncio_loop()


def is_notebook() -> bool:
    """True on the main thread of a Jupyter kernel."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    application = getattr(kernel, "IPKernelApp", None)
    if application is None or not application.initialized():
        return False
    return threading.current_thread() is threading.main_thread()


def name_of(func: Any) -> str:
    """The name of a coroutine function, also of a partial or an object that is called."""
    if isinstance(func, functools.partial):
        func = func.func
    return str(getattr(func, "__name__", "_" + type(func).__name__))
