"""What an engine of disk I/O asks of the loop that it serves, on asyncio and on Trio.

An engine has one `Driver`. It watches the descriptor that tells of completions, has the engine's submissions flushed
once a tick, parks tasks that wait (Trio; on asyncio an operation is its own future), and closes the engine when the
loop ends. Only public interfaces of the loops are used:

- the end of the loop: an asynchronous generator that was begun on it; `asyncio.run`, runners and frameworks finish
  those before they close a loop (`shutdown_asyncgens`). On Trio, the end of a system task;
- a flush once a tick: `call_soon`; on Trio, `Instrument.before_io_wait`.

Source: asyncio event loop documentation; trio.lowlevel.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Protocol

from aiovfs._loop.library import running_library

__all__ = ["AsyncioDriver", "Driver", "TrioDriver", "driver_of_running_loop"]


class Parkable(Protocol):
    """What a driver needs of an operation that is waited for."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...
    def owns_result(self) -> bool: ...
    def cancel(self, msg: Any = None) -> bool: ...
    def add_done_callback(self, callback: Callable[[Any], object], *, context: Any = None) -> None: ...


class Closes(Protocol):
    """What a driver needs of the engine: to be closed with the loop."""

    def close(self) -> None: ...
    def aclose(self) -> Awaitable[None]: ...


class Driver(Protocol):
    """One loop, as an engine sees it."""

    @property
    def library(self) -> str: ...

    @property
    def loop(self) -> Any:
        """The asyncio loop, or Trio's token: what stands for the loop."""

    @property
    def thread_id(self) -> int: ...

    @property
    def task_type(self) -> type:
        """The loop's class of tasks, whose wakeups may be called directly."""

    def call_soon(self, callback: Callable[..., object], /, *args: Any, context: Any = None) -> object:
        """Have the loop call, from its own thread, in its next tick."""

    def call_threadsafe(self, callback: Callable[..., object], *args: Any) -> bool:
        """Have the loop call; from any thread. False when the loop has ended."""

    def on_tick(self, flush: Callable[[], object]) -> None:
        """Have `flush` called once, before the loop waits for the next event."""

    def watch(self, fd: int, on_readable: Callable[[], object]) -> None:
        """Call `on_readable` whenever `fd` can be read, until `unwatch`."""

    def unwatch(self) -> None: ...

    def close_with_loop(self, engine: Closes) -> None:
        """Have the engine closed when the loop ends."""

    def is_over(self) -> bool:
        """Has the loop ended?"""

    def is_in_task(self) -> bool:
        """Is a task's step running right now, so that no other may be resumed from here?"""

    def call_back(self, callback: Callable[[Any], object], argument: Any, context: Any) -> None:
        """Call a done callback, as the library's contract says: soon, in its context (asyncio), or at once (Trio)."""

    def is_wakeup(self, callback: Callable[[Any], object]) -> bool:
        """Is this how a task asks to be resumed?"""

    def cancelled_error(self, message: Any = None) -> BaseException:
        """What a cancelled operation raises."""

    def not_done_error(self, message: str) -> BaseException:
        """What asking a running operation for its result raises."""

    def wait(self, operation: Parkable) -> Generator[Any, Any, None]:
        """Suspend the running task until `operation` is done; what is yielded is for the loop."""

    def park(self, operation: Parkable) -> Generator[Any, Any, Any]:
        """The value of `operation`, after the running task has let others have a turn."""


class AsyncioDriver:
    """asyncio and uvloop."""

    library = "asyncio"
    task_type: type = asyncio.Task

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread_id = threading.get_ident()
        self.call_soon: Callable[..., object] = self.loop.call_soon
        self._watched: int | None = None
        self._closer: AsyncGenerator[None, None] | None = None

    def call_threadsafe(self, callback: Callable[..., object], *args: Any) -> bool:
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return False
        return True

    def on_tick(self, flush: Callable[[], object]) -> None:
        self.call_soon(flush)

    def watch(self, fd: int, on_readable: Callable[[], object]) -> None:
        self.loop.add_reader(fd, on_readable)
        self._watched = fd

    def unwatch(self) -> None:
        if self._watched is not None and not self.loop.is_closed():
            self.loop.remove_reader(self._watched)
        self._watched = None

    def close_with_loop(self, engine: Closes) -> None:
        self._closer = _close_at_end(engine)
        _begin(self._closer)
        # Who closes a loop without finishing its generators gets an engine that waits in place.
        close_loop = self.loop.close

        def close() -> None:
            engine.close()
            close_loop()

        try:
            self.loop.close = close  # type: ignore[method-assign]
        except AttributeError:
            pass  # a loop whose methods are fixed; the generator is what is left

    def is_over(self) -> bool:
        return self.loop.is_closed()

    def is_in_task(self) -> bool:
        return asyncio.current_task(self.loop) is not None

    def call_back(self, callback: Callable[[Any], object], argument: Any, context: Any) -> None:
        self.call_soon(callback, argument, context=context)

    def is_wakeup(self, callback: Callable[[Any], object]) -> bool:
        return isinstance(getattr(callback, "__self__", None), asyncio.Task)

    def not_done_error(self, message: str) -> BaseException:
        return asyncio.InvalidStateError(message)

    def cancelled_error(self, message: Any = None) -> BaseException:
        return asyncio.CancelledError() if message is None else asyncio.CancelledError(message)

    def wait(self, operation: Parkable) -> Generator[Any, Any, None]:
        operation._asyncio_future_blocking = True  # type: ignore[attr-defined]
        yield operation

    def park(self, operation: Parkable) -> Generator[Any, Any, Any]:
        if not operation.done():
            yield from self.wait(operation)
        return operation.result()


async def _close_at_end(engine: Closes) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await engine.aclose()


def _begin(generator: AsyncGenerator[None, None]) -> None:
    """Run to the first yield, by which the loop learns of the generator."""
    try:
        generator.__anext__().__await__().send(None)
    except StopIteration:
        pass


class TrioDriver:
    """Trio: a system task waits for the descriptor, an instrument flushes."""

    library = "trio"
    task_type: type = object

    def __init__(self) -> None:
        import trio

        self._trio = trio
        self._lowlevel = trio.lowlevel
        self.loop = trio.lowlevel.current_trio_token()
        self.thread_id = threading.get_ident()
        self._fd: int | None = None
        self._is_over = False
        self._instrument = _FlushBeforeWait()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> None:
        self.call_threadsafe(callback, *args)

    def call_threadsafe(self, callback: Callable[..., object], *args: Any) -> bool:
        try:
            self.loop.run_sync_soon(callback, *args)
        except self._trio.RunFinishedError:
            return False
        return True

    def on_tick(self, flush: Callable[[], object]) -> None:
        # Trio drops an instrument that raises, and others may remove ours; adding it again when it is there is nothing.
        self._instrument.flush = flush
        self._lowlevel.add_instrument(self._instrument)  # type: ignore[arg-type]

    def watch(self, fd: int, on_readable: Callable[[], object]) -> None:
        self._fd = fd
        self._lowlevel.spawn_system_task(self._drain, fd, on_readable, name="aiovfs.aio drain")

    async def _drain(self, fd: int, on_readable: Callable[[], object]) -> None:
        while self._fd == fd:
            try:
                await self._lowlevel.wait_readable(fd)
            except self._trio.ClosedResourceError:
                return
            if self._fd == fd:
                on_readable()

    def unwatch(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None and not self._is_over:
            self._lowlevel.notify_closing(fd)

    def close_with_loop(self, engine: Closes) -> None:
        self._lowlevel.spawn_system_task(self._close_at_end, engine, name="aiovfs.aio close")

    async def _close_at_end(self, engine: Closes) -> None:
        try:
            await self._trio.sleep_forever()
        finally:
            # The main task has ended, so nobody's work is held up by waiting in place.
            engine.close()
            self._is_over = True
            try:
                self._lowlevel.remove_instrument(self._instrument)  # type: ignore[arg-type]
            except KeyError:
                pass

    def is_over(self) -> bool:
        return self._is_over

    def is_in_task(self) -> bool:
        return False  # rescheduling a task only queues it

    def call_back(self, callback: Callable[[Any], object], argument: Any, context: Any) -> None:
        callback(argument)

    def is_wakeup(self, callback: Callable[[Any], object]) -> bool:
        return False

    def not_done_error(self, message: str) -> BaseException:
        return RuntimeError(message)

    def cancelled_error(self, message: Any = None) -> BaseException:
        return RuntimeError("Trio itself raises Cancelled; an operation there is cancelled by its scope only")

    def wait(self, operation: Parkable) -> Generator[Any, Any, None]:
        task = self._lowlevel.current_task()
        reschedule = self._lowlevel.reschedule
        pending: list[Callable[[], Any]] = []
        is_aborting = False

        def completed(_: Any) -> None:
            if not is_aborting:  # Trio itself reschedules a task whose wait was aborted
                reschedule(task)

        def abort(raise_cancel: Callable[[], Any]) -> Any:
            nonlocal is_aborting
            is_aborting = True
            if operation.cancel():
                return self._lowlevel.Abort.SUCCEEDED
            is_aborting = False
            # The kernel still uses the caller's memory: Cancelled is raised when it has let go.
            pending.append(raise_cancel)
            return self._lowlevel.Abort.FAILED

        operation.add_done_callback(completed)
        yield from self._lowlevel.wait_task_rescheduled(abort).__await__()
        if pending:
            pending[0]()

    def park(self, operation: Parkable) -> Generator[Any, Any, Any]:
        if not operation.done():
            yield from self.wait(operation)
        elif operation.owns_result():
            yield from self._lowlevel.cancel_shielded_checkpoint().__await__()
        else:
            yield from self._lowlevel.checkpoint().__await__()
        return operation.result()


class _FlushBeforeWait:
    """An instrument of Trio: calls `flush` once before the loop waits.

    By then Trio has decided how long to wait, so what is flushed may start work but not complete any: a task that is
    made ready here would be seen only after the wait.
    """

    def __init__(self) -> None:
        self.flush: Callable[[], object] | None = None

    def before_io_wait(self, timeout: float) -> None:
        flush, self.flush = self.flush, None
        if flush is not None:
            flush()


def driver_of_running_loop() -> Driver:
    """A new driver for the loop that runs in this thread. Raises `RuntimeError` outside of loops."""
    return TrioDriver() if running_library() == "trio" else AsyncioDriver()
