"""How many calls of a bulk operation are in flight, and what happens when the server says that these are too many.

`window` is the one place where calls are run side by side: it takes them from an iterator as their turn comes, so
that a listing of a million names makes no million coroutines, keeps at most `size` in flight, starts the next the
moment one ends, and returns results in order. Not chunks with a wait at the end of each, in spite of the name that
fsspec kept for its own (`_run_coros_in_chunks`; here `run_coroutines`).

`size` comes from, later ones winning: the module variables `_DEFAULT_BATCH_SIZE` (local files are involved) and
`_NOFILES_DEFAULT_BATCH_SIZE`, here or in `fsspec.asyn`; the keys "gather_batch_size" and "nofiles_gather_batch_size"
of `fsspec.config.conf`; the file system's `batch_size`; the call's `batch_size=`. -1 is no limit.

A `Pace` goes below that while a server pushes back (429, 503, SlowDown): half as many at once, the refused calls again
after a pause, and one more with every round that went well. It belongs to the file system, so that the next operation
begins where the last one had to.
"""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import anyio
import fsspec.asyn
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.config import conf

from aiovfs._loop.caller import in_caller
from aiovfs.fs.failures import is_push_back
from aiovfs.fs.retries import pauses

__all__ = ["Pace", "batch_size_of", "default_batch_size", "run_coroutines", "window"]

_DEFAULT_BATCH_SIZE: int | None = None
_NOFILES_DEFAULT_BATCH_SIZE: int | None = None
# None: as fsspec.asyn has it.

_SHIPPED = getattr(fsspec.asyn, "_DEFAULT_BATCH_SIZE", 128)
"""What fsspec's variable is when nobody has set it; then the limit of open files decides, as there."""

PATIENCE = 30.0
"""Seconds for which a call that is pushed back is tried again."""


class Pace:
    """How many calls a server takes at once: halved when it refuses, one more after each round without a refusal."""

    def __init__(self) -> None:
        self.limit: float = math.inf
        self._round = 0
        self._done = 0

    @property
    def round(self) -> int:
        """Changes with each cut. Calls that began before a cut do not cause the next one."""
        return self._round

    def succeeded(self) -> None:
        """A call was answered."""
        if self.limit is math.inf:
            return
        self._done += 1
        if self._done >= self.limit:
            self._done = 0
            self.limit += 1

    def pushed_back(self, begun_in: int, running: int) -> None:
        """A call that began in the round `begun_in` was refused, with `running` calls in flight."""
        if begun_in != self._round:
            return
        self._round += 1
        self._done = 0
        self.limit = max(1, min(self.limit, running) // 2)


async def window(
    calls: Iterable[Callable[[], Awaitable[Any]]],
    *,
    size: int,
    return_exceptions: bool = False,
    on_done: Callable[[], Any] | None = None,
    pace: Pace | None = None,
) -> list[Any]:
    """Await `calls`, at most `size` at a time (-1: all), and return their results in order.

    The first failure stops the rest and is raised when they have ended, or, with `return_exceptions`, stands in its
    result's place. `on_done` is called after each. With a `pace`, calls that are pushed back are made again. On a
    synchronous caller's thread they go one after the other.
    """
    if size < -1 or size == 0:
        raise ValueError(f"{size} calls at a time are none; give a positive number, or -1 for no limit")
    most = math.inf if size == -1 else size
    results: list[Any] = []
    failures: list[Exception] = []
    waiting = iter(calls)
    running = 0

    def limit() -> float:
        return most if pace is None else min(most, pace.limit)

    def take() -> tuple[int, Callable[[], Awaitable[Any]]] | None:
        call = next(waiting, None)
        if call is None:
            return None
        results.append(None)
        return len(results) - 1, call

    async def run(index: int, call: Callable[[], Awaitable[Any]]) -> bool:
        try:
            results[index] = await (call() if pace is None else patiently(call, pace, lambda: running))
        except Exception as exc:
            if not return_exceptions:
                failures.append(exc)
                return False
            results[index] = exc
        if on_done is not None:
            on_done()
        return True

    if size == 1 or in_caller():
        running = 1
        while (taken := take()) is not None and await run(*taken):
            pass
    else:
        async with anyio.create_task_group() as group:

            async def work(index: int, call: Callable[[], Awaitable[Any]]) -> None:
                nonlocal running
                while await run(index, call):
                    fill()  # the limit may have grown
                    if running > limit() or (taken := take()) is None:
                        running -= 1
                        return
                    index, call = taken
                group.cancel_scope.cancel()

            def fill() -> None:
                nonlocal running
                while running < limit() and (taken := take()) is not None:
                    running += 1
                    group.start_soon(work, *taken)

            fill()
    if failures:
        raise failures[0]
    return results


async def patiently(call: Callable[[], Awaitable[Any]], pace: Pace, running: Callable[[], int]) -> Any:
    """The result of `call()`, made again after pauses while the server pushes back, for `PATIENCE` seconds."""
    until = None
    waits: Iterator[float] | None = None
    while True:
        begun_in = pace.round
        try:
            result = await call()
        except Exception as exc:
            if not is_push_back(exc):
                raise
            pace.pushed_back(begun_in, running())
            now = time.monotonic()
            if until is None or waits is None:
                until, waits = now + PATIENCE, pauses()
            pause = next(waits)
            if now + pause >= until:
                raise
        else:
            pace.succeeded()
            return result
        if in_caller():
            time.sleep(pause)  # noqa: ASYNC251  # a synchronous caller's thread, which has no loop
        else:
            await anyio.sleep(pause)


def pace_of(fs: Any) -> Pace:
    """The pace of a file system's server, kept on the object."""
    pace: Pace | None = vars(fs).get("_pace")
    return pace if pace is not None else vars(fs).setdefault("_pace", Pace())


def batch_size_of(fs: Any, given: int | None, *, nofiles: bool) -> int:
    """How many at a time: the argument, else the instance's, else `default_batch_size`."""
    return int(given or fs.batch_size or default_batch_size(nofiles=nofiles))


def default_batch_size(nofiles: bool = False) -> int:
    """How many at a time when nobody says; `nofiles` when no local files are opened. See the head of this file."""
    key = "nofiles_gather_batch_size" if nofiles else "gather_batch_size"
    if key in conf:
        return int(conf[key])
    own = _NOFILES_DEFAULT_BATCH_SIZE if nofiles else _DEFAULT_BATCH_SIZE
    if own is not None:
        return own
    many = int(getattr(fsspec.asyn, "_NOFILES_DEFAULT_BATCH_SIZE", 1280))
    if nofiles:
        return many
    files = int(getattr(fsspec.asyn, "_DEFAULT_BATCH_SIZE", _SHIPPED))
    if files != _SHIPPED:
        return files
    open_files = open_file_limit()
    return files if open_files is None else min(open_files // 8 or 1, many * 2)


def open_file_limit() -> int | None:
    """How many files this process may have open; None where that cannot be told."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else int(soft)


async def run_coroutines(
    coros: Iterable[Any],
    batch_size: int | None = None,
    callback: Any = DEFAULT_CALLBACK,
    timeout: float | None = None,
    return_exceptions: bool = False,
    nofiles: bool = False,
) -> list[Any]:
    """fsspec's `_run_coros_in_chunks`: await `coros`, at most `batch_size` at a time, results in order.

    `coros` are coroutines (or other awaitables), or functions that make one, in any iterable: a generator is asked for
    the next when its turn comes. `timeout` (seconds) is for each. `callback.relative_update(1)` is called after each,
    also one that failed. What was not begun when another failed is closed.
    """
    size = default_batch_size(nofiles=nofiles) if batch_size is None else batch_size
    if size < -1 or size == 0:
        raise ValueError(f"batch_size={size}: give a positive number, or -1 for no limit")
    waiting = iter(coros)
    taken: set[Any] = set()

    def calls() -> Iterator[Callable[[], Awaitable[Any]]]:
        for coro in waiting:
            taken.add(coro)
            yield functools.partial(run, coro)

    async def run(coro: Any) -> Any:
        taken.discard(coro)
        try:
            awaitable = coro() if callable(coro) else coro
            if timeout is None:
                return await awaitable
            with anyio.fail_after(timeout):
                return await awaitable
        finally:
            callback.relative_update(1)

    try:
        return await window(calls(), size=size, return_exceptions=return_exceptions)
    finally:
        for coro in (*taken, *(waiting if isinstance(coros, (list, tuple)) else ())):
            if inspect.iscoroutine(coro):
                coro.close()
