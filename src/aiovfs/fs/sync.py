"""The synchronous face of an async file system.

`blocking("_info")` makes the method `info` out of the coroutine function `_info`. A call

- is refused on a thread whose loop is running, with the async name to use instead: it would hold up that whole loop;
- takes the coroutine's first step on the caller's thread when the class keeps the rule of `_loop.caller` (`eager`), and
  is over when nothing waited: a microsecond instead of two thread switches;
- else runs on the file system's loop, by default the companion's, and blocks until it is over. A time-out (`timeout=`
  in seconds, as in fsspec) and Ctrl-C cancel the work; work that is cancelled raises `CancelledError`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from fsspec.exceptions import FSTimeoutError

from aiovfs._loop.caller import NEEDS_LOOP, drive, finish, in_caller
from aiovfs._loop.companion import block_on, companion, is_on_loop

__all__ = ["blocking", "blocking_iterator", "run_blocking"]


def blocking(name: str) -> Callable[..., Any]:
    """A method that calls the coroutine method `name` and blocks until it is over."""

    def method(self: Any, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        return run_blocking(self, getattr(self, name), args, kwargs, timeout, eager=name in self.eager)

    method.__name__ = method.__qualname__ = name.removeprefix("_")
    method.__doc__ = f"Blocking form of `{name}`; `timeout` is in seconds."
    return method


def blocking_iterator(name: str) -> Callable[..., Any]:
    """A generator method out of the async generator method `name`; one blocking step per item."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        items = getattr(self, name)(*args, **kwargs)
        try:
            while True:
                try:
                    yield run_blocking(self, _next, (items,), {}, None, eager=name in self.eager)
                except StopAsyncIteration:
                    return
        finally:
            run_blocking(self, _close, (items,), {}, None, eager=name in self.eager)

    method.__name__ = method.__qualname__ = name.removeprefix("_")
    method.__doc__ = f"Blocking form of `{name}`."
    return method


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
        raise RuntimeError(
            f"{type(fs).__name__}.{_public_name(func)}() blocks, and was called from a running event loop; "
            f"there, use `await fs.{_async_name(func)}(...)`, or call it in a worker thread"
        )
    if eager:
        work: Any = func(*args, **kwargs)
        result = drive(work)
        if result is not NEEDS_LOOP:
            return result
        func, args, kwargs = finish, (work,), {}
    try:
        own = fs._loop
        if own is None:
            return companion().run_blocking(func, *args, timeout=timeout or None, **kwargs)
        return block_on(own, None, func, args, kwargs, timeout or None)
    except TimeoutError as exc:
        if type(exc) is TimeoutError and timeout:
            raise FSTimeoutError(*exc.args) from exc
        raise


async def _next(items: Any) -> Any:
    return await anext(items)


async def _close(items: Any) -> None:
    await items.aclose()


def _async_name(func: Any) -> str:
    if isinstance(func, functools.partial):
        func = func.func
    return str(getattr(func, "__name__", "_" + type(func).__name__))


def _public_name(func: Any) -> str:
    return _async_name(func).removeprefix("_")
