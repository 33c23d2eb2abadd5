"""One operation on a disk, as the thing that is awaited. The reference; `_native` has the same in C.

On asyncio an operation *is* a future: it speaks the whole protocol that `asyncio.isfuture` promises, so `await`,
`gather`, `wait`, `wait_for` and `shield` take it without a task around it. On Trio it can be awaited, once.

It starts when it is made, not when it is awaited.

States: pending → done, or pending → cancelled. A *detached* operation is cancelled for its caller while the kernel or a
thread still works at it: `complete` then only drops the result (`Kind.unwanted`) and lets go of what was kept alive.
Cancelling one that must be waited for is refused (`cancel` returns False): asyncio then delivers the cancellation when
the operation is done, Trio's driver does the same.

A result like a descriptor must not be lost between completion and delivery. A task that is cancelled in between has
fetched `result()` but never gets it, so that call alone does not count as delivery: see `_is_delivered`.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiovfs.aio.operations import How, Kind

if TYPE_CHECKING:
    from aiovfs.aio.engine import Engine

__all__ = ["Operation", "error_of"]

T = TypeVar("T")

PENDING, DONE, CANCELLED = range(3)


class Operation(Generic[T]):
    """An awaitable disk operation. Made by `Engine.perform`; completed by its engine, on the loop's thread."""

    __slots__ = (
        "__weakref__",
        "_asyncio_future_blocking",
        "_callbacks",
        "_children",
        "_error",
        "_is_delivered",
        "_is_waking",
        "_message",
        "_state",
        "_value",
        "args",
        "engine",
        "kind",
    )

    def __init__(self, engine: Engine, kind: Kind, args: tuple[Any, ...]) -> None:
        self.engine = engine
        self.kind = kind
        self.args = args
        self._asyncio_future_blocking = False
        self._state = PENDING
        self._value: Any = None
        self._error: BaseException | None = None
        self._message: Any = None
        self._callbacks: list[tuple[Callable[[Any], object], contextvars.Context | None]] = []
        self._is_delivered = False
        self._is_waking = False
        self._children: list[Operation[Any]] = []

    # The engine's side.

    def complete(self, value: Any, error: BaseException | None = None) -> None:
        """The work has ended with `value`, or with `error`. On the loop's thread, once."""
        if self._state == CANCELLED:
            if error is None and self.kind.unwanted is not None:
                self.kind.unwanted(value)
            return
        self._state = DONE
        self._value = value
        self._error = error
        self._call_back()

    def stand_for(self, children: list[Operation[Any]]) -> None:
        """Be done when all of `children` are, with the list of their values, or the first one's failure."""
        self._children = children
        left = [child for child in children if not child.done()]

        def ended(child: Operation[Any]) -> None:
            left.remove(child)
            if not left:
                end()

        def end() -> None:
            self._children = []
            if self._state != PENDING:
                return
            for child in children:
                if child.cancelled():
                    self._state = CANCELLED
                    self._call_back()
                    return
                if child.exception() is not None:
                    self.complete(None, child.exception())
                    return
            self.complete([child.result() for child in children])

        if not left:
            end()
        for child in list(left):
            child.add_done_callback(ended)

    # The caller's side.

    def __await__(self) -> Generator[Any, Any, T]:
        if self._state == PENDING:
            yield from self.engine.driver.wait(self)
        if self._state == PENDING:
            raise RuntimeError(f"{self!r} was resumed before it was done; await it, do not drive it by hand")
        return self.result()

    __iter__ = __await__

    def result(self) -> T:
        """The value; raises what the operation failed with, `CancelledError`, or `RuntimeError` while it runs."""
        if self._state == CANCELLED:
            raise self._make_cancelled_error()
        if self._state == PENDING:
            raise self._not_done()
        if self._is_waking:
            self._is_waking = False  # the task that is being woken asks; its coroutine gets the value later, or never
        else:
            self._is_delivered = True
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def exception(self) -> BaseException | None:
        """What the operation failed with, or None."""
        if self._state == CANCELLED:
            raise self._make_cancelled_error()
        if self._state == PENDING:
            raise self._not_done()
        return self._error

    def owns_result(self) -> bool:
        """Would something leak if nobody got the result?"""
        return self._state == DONE and not self._is_delivered and self._error is None and self.kind.unwanted is not None

    def done(self) -> bool:
        return self._state != PENDING

    def cancelled(self) -> bool:
        return self._state == CANCELLED

    def cancel(self, msg: Any = None) -> bool:
        """Ask the operation to stop. True when its caller need not wait for it any more."""
        if self._state != PENDING:
            return False
        if self._children:
            refused = [child for child in self._children if not child.done() and not child.cancel()]
            if refused:
                return False
        elif not self.engine.cancel(self):
            return False
        if self._state == PENDING:
            self._state = CANCELLED
            self._message = msg
            self._call_back()
        return True

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: contextvars.Context | None = None
    ) -> None:
        if context is None and self.engine.driver.library == "asyncio":
            context = contextvars.copy_context()
        if self._state != PENDING:
            self._schedule(callback, context)
        else:
            self._callbacks.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        kept = [entry for entry in self._callbacks if entry[0] != callback]
        removed = len(self._callbacks) - len(kept)
        self._callbacks = kept
        return removed

    def get_loop(self) -> Any:
        return self.engine.driver.loop

    def _make_cancelled_error(self) -> BaseException:
        return self.engine.driver.cancelled_error(self._message)

    def _not_done(self) -> BaseException:
        return self.engine.driver.not_done_error(f"{self!r} is not done; await it")

    def _call_back(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback, context in callbacks:
            self._schedule(callback, context)

    def _schedule(self, callback: Callable[[Any], object], context: contextvars.Context | None) -> None:
        driver = self.engine.driver
        if self.kind.unwanted is not None and driver.is_wakeup(callback):
            driver.call_back(self._wake, callback, context)
        else:
            driver.call_back(callback, self, context)

    def _wake(self, wakeup: Callable[[Any], object]) -> None:
        self._is_waking = True
        try:
            wakeup(self)
        finally:
            self._is_waking = False

    def __del__(self) -> None:
        if self.owns_result() and self.kind.unwanted is not None:
            self.kind.unwanted(self._value)

    def __repr__(self) -> str:
        state = ("pending", "done", "cancelled")[self._state]
        return f"<aiovfs.aio.Operation {self.kind.name} {state}>"


def error_of(kind: Kind, args: tuple[Any, ...], number: int) -> OSError:
    """The `OSError` for errno `number`, naming the paths among `args` as `os` does."""
    paths = [
        os.fspath(value)
        for parameter, value in zip(kind.parameters, args, strict=False)
        if parameter.how is How.PATH and value is not None
    ]
    text = os.strerror(number)
    if len(paths) == 2:
        return OSError(number, text, paths[0], None, paths[1])
    return OSError(number, text, *paths)
