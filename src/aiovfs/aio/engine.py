"""The interface that every engine has, and `current`, which finds the engine of the running loop.

An *engine* is one way to do disk I/O. There is one engine a loop, made when it is first asked for and closed when the
loop ends. `perform` starts an operation of THE TABLE and returns it as something to await; between coroutine and engine
there is nothing else.

Rules for people who write engines
- `submit` takes an `Operation` that has begun and sees that somebody does it; `flush` hands what was submitted to the
  kernel (or to threads), once a tick or earlier; `reap` collects what has ended and calls `operation.complete` for
  each, on the loop's thread, never inside a task's step.
- `cancel` asks for an operation to stop. True: its caller may go on, for nothing will take the caller's memory or the
  number of its descriptor for the operation any more. False: it must be waited for.
- An engine belongs to one thread and one process. Another thread is refused with `RuntimeError`, a forked child gets an
  engine of its own and never touches its parent's.
- The kernel owns memory until the completion: an engine holds a reference to each operation that it works at.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from aiovfs._loop.caller import in_caller
from aiovfs._loop.companion import current_loop
from aiovfs._loop.driver import Driver, driver_of_running_loop
from aiovfs._loop.library import asyncio_loop, asyncio_task
from aiovfs.aio.native import load
from aiovfs.aio.operation import Operation
from aiovfs.aio.operations import CALL, MANY, Kind, kind_of

__all__ = ["Engine", "InPlace", "call", "current", "perform", "perform_many"]


class Engine(ABC):
    """One way to do disk I/O, for one loop."""

    name: ClassVar[str]
    driver: Driver
    is_closed = False
    in_flight = 0
    """Operations that have begun and not ended, also those that nobody waits for any more."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.pid = os.getpid()

    def perform(self, kind: Kind | str, *args: Any) -> Operation[Any]:
        """Start an operation of the table with the parameters of its row; await what is returned for its value.

        A failure of the operation is raised by awaiting. Raises `RuntimeError` at once from another thread, in a forked
        child and after `close`; `TypeError` and `ValueError` for parameters that the row does not take.
        """
        self.check()
        operation: Operation[Any] = Operation(self, kind_of(kind), args)
        self.submit(operation)
        return operation

    def call(self, func: Callable[..., Any], *args: Any) -> Operation[Any]:
        """Run a blocking function in a thread. A cancelled caller waits for its end."""
        return self.perform(CALL, func, *args)

    def perform_many(self, kind: Kind | str, parameters: Iterable[tuple[Any, ...]]) -> Operation[list[Any]]:
        """Start one operation of `kind` for each of `parameters`; one awaitable for all, its value the list of theirs.

        The first failure is raised when all have ended. Not for operations whose lost result would leak.
        """
        row = kind_of(kind)
        if row.unwanted is not None:
            raise ValueError(f"perform_many of {row.name}: what one of them opened could be lost; start them singly")
        operation: Operation[list[Any]] = Operation(self, MANY, ())
        operation.stand_for([self.perform(row, *each) for each in parameters])
        return operation

    def check(self) -> None:
        """Raise `RuntimeError` unless this engine may be used from here."""
        if self.is_closed:
            raise RuntimeError("this engine was closed with its loop; ask aio.current() for the running loop's")
        if self.pid != os.getpid():
            raise RuntimeError(
                "this engine belongs to the process that this one was forked from; ask aio.current() for a new one"
            )
        if self.driver.thread_id != threading.get_ident():
            raise RuntimeError(
                "this engine belongs to another thread's loop; call it from there, or use aio.current() in this one"
            )

    @abstractmethod
    def submit(self, operation: Operation[Any]) -> None: ...

    def flush(self) -> None:
        """Hand everything that was submitted to whoever does it."""
        return

    def reap(self) -> int:
        """Complete what has ended; the number of operations."""
        return 0

    @abstractmethod
    def cancel(self, operation: Operation[Any]) -> bool: ...

    @abstractmethod
    def close(self) -> None:
        """Cancel what can be, wait in place for the rest, and free everything. Again: nothing happens."""

    async def aclose(self) -> None:
        """Cancel what can be, wait for the rest without blocking the loop, and free everything."""
        self.close()


class InPlace(Engine):
    """What synchronous callers get: operations that are done when `perform` returns, on the caller's thread."""

    name = "in place"

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.driver = _NoLoop()

    def perform(self, kind: Kind | str, *args: Any) -> Operation[Any]:
        row = kind_of(kind)
        operation: Operation[Any] = Operation(self, row, args)
        try:
            value = row.blocking(*args)
        except Exception as error:
            operation.complete(None, error)
        else:
            operation.complete(value)
        return operation

    def submit(self, operation: Operation[Any]) -> None:
        raise AssertionError("operations of a synchronous caller are done at once")

    def cancel(self, operation: Operation[Any]) -> bool:
        return False

    def close(self) -> None:
        pass


class _NoLoop:
    """The driver where there is no loop: nothing can wait."""

    library = "none"
    loop = None
    thread_id = 0

    def call_back(self, callback: Callable[[Any], object], argument: Any, context: Any) -> None:
        callback(argument)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name}: there is no loop here, a synchronous caller's operations are done in place")


_in_place = InPlace()
_engines: weakref.WeakKeyDictionary[Any, Engine] = weakref.WeakKeyDictionary()


def current() -> Engine:
    """The engine of the running loop, made if it has none yet; for a synchronous caller, one that works in place.

    Raises `RuntimeError` outside of loops, and when `AIOVFS_ENGINE` names an engine that cannot be used here.
    """
    if in_caller():
        return _in_place
    loop = current_loop()
    if loop is None:
        raise RuntimeError("no loop of asyncio or Trio is running in this thread; disk operations need one to wait on")
    engine = _engines.get(loop)
    if engine is None or engine.is_closed or engine.pid != os.getpid():
        from aiovfs.aio.select import make

        engine = _engines[loop] = make(driver_of_running_loop())
    return engine


def _perform(kind: Kind | str, *args: Any) -> Operation[Any]:
    """`current().perform(kind, *args)`."""
    return current().perform(kind, *args)


perform: Callable[..., Operation[Any]] = _perform
try:
    _native = load("_engine")
except ImportError:
    pass
else:
    _native.set_finder(current, asyncio_loop, asyncio_task)
    perform = _native.perform


def perform_many(kind: Kind | str, parameters: Iterable[tuple[Any, ...]]) -> Operation[list[Any]]:
    """`current().perform_many(kind, parameters)`: several operations of one kind, and one thing to await."""
    return current().perform_many(kind, parameters)


def call(func: Callable[..., Any], *args: Any) -> Operation[Any]:
    """`current().call(func, *args)`: a blocking function in a thread."""
    return current().perform(CALL, func, *args)


def _after_fork_in_child() -> None:
    global _engines
    _abandoned.append(_engines)  # never freed here: freeing them is the parent's
    _engines = weakref.WeakKeyDictionary()


_abandoned: list[Any] = []
os.register_at_fork(after_in_child=_after_fork_in_child)
