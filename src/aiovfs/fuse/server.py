"""The session: read requests, run handlers, answer, end in order.

How requests are served
- One task at a time has the role of *reader*. It drains the device: read a request, run the handler's first step in
  place, write the answer, until there is nothing left. A handler that does not wait costs no task and no loop tick.
- When a handler waits, the reader's own task finishes it (so cancel scopes, time-outs and the current task are right
  inside of handlers) and the role passes on: to a parked task, or to a new one.
- On "nothing left" the reader yields the CPU once and looks again before it goes back to the loop: the client that
  was just answered usually sends its next request at once.
- A drain ends after a budget of requests or time, so that timers and sockets of the application stay alive.
- At most `max_tasks` handlers wait at a time. Reading goes on beyond that, because INTERRUPT and FORGET come through
  the same queue; requests are copied into a queue that is bounded in count and bytes.

A session may also end without its mount: `hand_over` gives the connection to another process, which goes on with
`adopt`. What handlers could not answer within the grace is then left open, and asked again of the other.

How a session ends: unmounted from outside, `terminate()` from anywhere, or the caller's `async with` block is left.
Running handlers get `grace` seconds; then they are cancelled. What they cannot answer any more, the kernel answers
with ENOTCONN or ECONNABORTED when the device is closed. Handlers are shielded from the cancellation of the task that
opened the session: a cancelled `serve` still finishes what it has accepted, within the same grace.
"""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread

from aiovfs._loop import LoopToken, Readable, resume
from aiovfs.errors import ClosedError, MountError, OptionError, ProtocolError
from aiovfs.fuse import core, mountpoint
from aiovfs.fuse.device import Device, DeviceGone
from aiovfs.fuse.dispatch import Dispatcher
from aiovfs.fuse.drain import Drain, Waiting, release
from aiovfs.fuse.forgetting import Forgetting
from aiovfs.fuse.handlers import Operations
from aiovfs.fuse.handover import Connection
from aiovfs.fuse.interrupts import LOOK_AGAIN_S, Interrupts
from aiovfs.fuse.negotiation import Features, negotiate
from aiovfs.fuse.notifier import Notifier
from aiovfs.fuse.options import Settings, parse_options
from aiovfs.fuse.protocol import HEADER_OUT_SIZE, decode, decoders_for, reply_header
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.fuse.protocol.notifications import encode_resend
from aiovfs.fuse.protocol.trace import trace_request
from aiovfs.fuse.transport import Transport

__all__ = ["Session", "adopt", "mount", "serve", "unmount"]

log = logging.getLogger("aiovfs.fuse")
trace_log = logging.getLogger("aiovfs.fuse.trace")

PARKED_TASKS = 16


class Session:
    """One mount being served. Made by `mount`; its public face is the properties, `terminate` and `wait`."""

    def __init__(self, dispatcher: Dispatcher, device: Transport, directory: str | None, settings: Settings) -> None:
        self.operations = dispatcher.operations
        self.mountpoint = directory
        self.device_number = None if directory is None else mountpoint.device_at(directory)
        self.settings = settings
        self.notifier = Notifier(device)
        self.features: Features
        self._device = device
        self._dispatcher = dispatcher
        self._interrupts = Interrupts(every_signal=settings["intr"], signal_number=settings["intr_signal"])
        self._drain = Drain(
            device,
            self._dispatcher,
            max_tasks=settings["max_tasks"],
            trace=settings["trace"] or settings["debug"],
            interrupt=self._interrupt,
            notify_reply=self.notifier.receive,
            forgetting=forgetting_for(settings),
            spin_s=settings["spin"] / 1e6,
        )
        self._readable = Readable(device.fd)
        self._token = LoopToken()
        self._group: anyio.abc.TaskGroup
        self._tasks = 0
        self._parked: list[anyio.Event] = []
        self._has_space = anyio.Event()
        self._must_end = anyio.Event()
        self._has_ended = anyio.Event()
        self._all_done = anyio.Event()
        self._is_closed = anyio.Event()
        self._is_handed_over = False
        self._is_drained = True

    # For users

    def terminate(self) -> bool:
        """End the session: unmount, let running handlers finish, close.

        May be called from anywhere: a handler, another task, another thread or loop, a signal handler. Returns at
        once; False when the session's loop has ended already. `wait` waits for the end.
        """
        return self._token.run_soon(self._must_end.set)

    def cancel_handlers(self) -> None:
        """Cancel the handlers that wait, and drop requests that were not started; to end a session without a grace.

        Callers of the former get EINTR, those of the latter ENOTCONN once the session has ended. Only from its loop.
        """
        self._drain.drop_queued()
        for scope, _ in list(self._drain.waiting.values()):
            scope.cancel()

    @property
    def connection(self) -> Connection:
        """What another process needs to go on with this mount, as of now."""
        backings = self._dispatcher.backings
        return Connection(
            self.features, self.mountpoint, self.device_number, {} if backings is None else backings.state
        )

    def fileno(self) -> int:
        """The descriptor of the connection, to be shared with a process that keeps it. The session closes its own."""
        return self._device.fd

    async def hand_over(self) -> tuple[int, Connection]:
        """End the session but not the mount: a duplicate of the descriptor, and what `adopt` needs beside it.

        No more requests are read. Running handlers get `grace` seconds; those that do not end are cancelled without an
        answer, and their requests are sent again to who adopts the connection. Nobody may keep it: then the mount dies
        with the descriptor. Not for handlers, which would wait for themselves. `ClosedError` when it was unmounted,
        `OptionError` with `auto_unmount`.
        """
        if self._has_ended.is_set():
            raise ClosedError("the session has ended, there is nothing to hand over")
        if self.settings["auto_unmount"]:
            raise OptionError("with auto_unmount the mount ends with this process", hint="mount without that option")
        fd = os.dup(self._device.fd)
        self._is_handed_over = True
        self._must_end.set()
        await self._is_closed.wait()
        return fd, self.connection

    async def wait(self) -> None:
        """Return when the session has ended: unmounted, every accepted request answered, the device closed."""
        await self._is_closed.wait()

    async def wait_unmounted(self) -> None:
        """Return when no more requests come. Handlers may still be running, for at most `grace` seconds."""
        await self._has_ended.wait()

    def start_soon(self, func: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run `func(*args)` beside the handlers: what has to come after an answer. Cancelled when the session ends.

        What it raises is logged and ends nothing else. From handlers and other tasks of the session's loop.
        """
        self._group.start_soon(run_and_log, func, args)

    @property
    def is_serving(self) -> bool:
        return not self._has_ended.is_set()

    # Life

    async def start(self, group: anyio.abc.TaskGroup) -> None:
        """Answer INIT and start to serve. Raises `ProtocolError`, `DeviceGone`, or what `Operations.init` raised."""
        self._group = group
        request = await self._first_request()
        reply, self.features = negotiate(request, self.settings, supported=self._dispatcher.supported)
        await self._begin()
        body = reply.pack()
        self._device.write((reply_header(request.unique, HEADER_OUT_SIZE + len(body)), body))
        self._serve_with(group)

    async def go_on(self, group: anyio.abc.TaskGroup, connection: Connection) -> None:
        """Serve a connection that another server began, from what it had not answered."""
        self._group = group
        self.features = connection.features
        self.device_number = connection.device_number
        if self._dispatcher.backings is not None:
            self._dispatcher.backings.restore(connection.backings)
        await self._begin()
        if InitFlags.HAS_RESEND in self.features:
            # Before the first request is read, or what we have would be sent again, too. Nothing waits for this.
            self._device.write(encode_resend())
        self._serve_with(group)

    async def _begin(self) -> None:
        if self._dispatcher.backings is not None and InitFlags.PASSTHROUGH in self.features:
            self._dispatcher.backings.start(self._device)
        await self.operations.init(self)

    def _serve_with(self, group: anyio.abc.TaskGroup) -> None:
        self._drain.decoders = decoders_for(self.features.agreed)
        self._run_drain, self._answer = core.runner(self._drain, self.features.agreed)
        self._add_reader()
        group.start_soon(self._end_when_told)

    async def set_readahead(self) -> None:
        """Set the window of the option `readahead`. Where that is not allowed, the mount works all the same."""
        size = self.settings["readahead"]
        if not size or self.mountpoint is None:
            return
        try:
            window = await anyio.to_thread.run_sync(mountpoint.set_readahead, self.mountpoint, size)
        except OSError as exc:
            log.warning("readahead=%d could not be set, the kernel's 128 KiB stay: %s", size, exc)
        else:
            self.features = replace(self.features, readahead=window)

    async def _first_request(self) -> m.Init:
        while True:
            length = self._device.read(self._drain.buffer)
            if length:
                break
            await self._readable.wait()
        request = decode(self._drain.buffer[:length])
        if not isinstance(request, m.Init):
            raise ProtocolError(f"the first request was {type(request).__name__}, not INIT")
        if self._drain.is_tracing:
            trace_log.info("%s", trace_request(request))
        return request

    async def _end_when_told(self) -> None:
        """Detach the mount while we still serve, let handlers finish, close the device.

        The device is closed here and not when the caller leaves its block: who still has files open would wait for
        answers that nobody gives any more.
        """
        with anyio.CancelScope(shield=True):
            await self._must_end.wait()
            if not self._has_ended.is_set() and not self._is_handed_over:
                await self.detach()
            self._end()
            if self._is_handed_over:
                self._drain.drop_queued()
            with anyio.move_on_after(self.settings["grace"]):
                await self._all_done.wait()
            if not self._all_done.is_set():
                log.warning("%d handlers did not end within %s s; cancelled", self._tasks, self.settings["grace"])
                if self._is_handed_over:
                    self.abandon()  # their answers come from who adopts the connection
                self.cancel_handlers()
                with anyio.move_on_after(self.settings["grace"]):
                    await self._all_done.wait()
            self.abandon()
            if not self._is_handed_over:
                await self.detach()  # a connection that was aborted (fusectl) leaves the mountpoint without a server
            self._is_closed.set()

    def _end(self) -> None:
        """No more requests are read. Wake everybody who waits for one."""
        if self._has_ended.is_set():
            return
        self._must_end.set()
        self._has_ended.set()
        self._readable.wake()
        self.notifier.end()
        self._has_space.set()
        for event in self._parked:
            event.set()
        self._parked.clear()
        if not self._tasks:
            self._all_done.set()

    async def close(self) -> None:
        """End in order, also when the calling task was cancelled; returns when nothing of the session is left."""
        with anyio.CancelScope(shield=True):
            self._must_end.set()
            await self._is_closed.wait()
            await self.operations.destroy()

    async def detach(self) -> None:
        """Unmount what we mounted, if it is still there, and nothing else that may stand there by now."""
        if self.mountpoint is not None and self.device_number is not None:
            await anyio.to_thread.run_sync(detach, self.mountpoint, self.device_number)

    def abandon(self) -> None:
        """Close the device. Whoever still waits for an answer gets ENOTCONN or ECONNABORTED from the kernel."""
        self._readable.close()
        self._device.close()

    # Tasks: one reads, the others finish handlers that wait, or are parked

    def _add_reader(self) -> None:
        self._tasks += 1
        self._group.start_soon(self._serve)

    async def _serve(self) -> None:
        """Serve what is there, finish handlers that wait, and be of use again. A new task has the role of reader.

        Who has finished a handler looks for requests, too, before it parks: the client that was just answered usually
        sends its next one at once, and no other task has to be woken for it. The reader waits meanwhile.
        """
        is_reader = True
        try:
            while True:
                # Entered before the first step of the handlers that this task will finish: scopes must nest. One is
                # good for many handlers, until it is cancelled.
                with anyio.CancelScope(shield=True) as scope:
                    while not scope.cancel_called:
                        waiting = self._start_queued() or self._look()
                        if waiting is not None:
                            if is_reader:
                                is_reader = False
                                self._pass_reading_on()
                            await self._finish(waiting, scope)
                        elif is_reader and not self._has_ended.is_set():
                            await self._wait_for_requests()
                        elif is_reader or not await self._become_reader():
                            return
                        else:
                            is_reader = True
        finally:
            self._tasks -= 1
            if not self._tasks and self._has_ended.is_set():
                self._all_done.set()

    def _pass_reading_on(self) -> None:
        """Make another task the reader: a parked one, or a new one."""
        if self._has_ended.is_set():
            return
        if self._parked:
            self._parked.pop().set()
        else:
            self._add_reader()

    async def _become_reader(self) -> bool:
        """Park until the role of reader is passed here; False when enough tasks are parked, or the session ended."""
        if self._has_ended.is_set() or len(self._parked) >= PARKED_TASKS:
            return False
        event = anyio.Event()
        self._parked.append(event)
        await event.wait()
        return not self._has_ended.is_set()

    async def _finish(self, waiting: Waiting, scope: anyio.CancelScope) -> None:
        """Run a handler that waits to its end, and answer. An interrupt cancels `scope`."""
        route, request, work, waiting_for, buffer = waiting
        drain = self._drain
        drain.waiting[request.unique] = (scope, request)
        try:
            value = await resume(work, waiting_for)
        except BaseException as exc:
            drain.fail(route, request, exc, scope)
        else:
            self._answer(route, request, value)
        finally:
            drain.waiting.pop(request.unique, None)  # gone already when the kernel used one number twice
            if release(request) and buffer is not None:
                self._device.return_buffer(buffer)

    # Reading

    def _start_queued(self) -> Waiting | None:
        """Start requests that were held back, until one waits; then there is room to read more."""
        if not self._drain.queue or len(self._drain.waiting) >= self._drain.max_tasks:
            return None
        waiting = self._drain.start_queued()
        self._has_space.set()
        return waiting

    def _look(self) -> Waiting | None:
        """Serve requests until a handler waits, or there are none; `_is_drained` says whether that is so."""
        if self._has_ended.is_set():
            return None
        try:
            waiting, self._is_drained = self._run_drain()
        except DeviceGone:
            self._end()
            return None
        return waiting

    async def _wait_for_requests(self) -> None:
        """Let the loop run, and come back when there is something to do."""
        if not self._is_drained:
            await anyio.lowlevel.checkpoint()
        elif self._drain.is_full:
            self._has_space = anyio.Event()
            await self._has_space.wait()
        else:
            await self._readable.wait()

    # Interrupts

    def _interrupt(self, unique: int) -> None:
        """A signal reached the caller of request `unique`: cancel its handler if the signal ends programs."""
        if not self.settings["interrupts"]:
            return
        waiting = self._drain.waiting.get(unique)
        if waiting is None:
            self._drain.take_queued(unique, self._interrupts.must_stop)
        else:
            self._group.start_soon(self._watch_interrupted, unique, *waiting)

    async def _watch_interrupted(self, unique: int, scope: anyio.CancelScope, request: m.Request) -> None:
        """Cancel as soon as an ending signal is pending: the kernel tells of the first signal only."""
        while self._drain.waiting.get(unique, (None,))[0] is scope:
            if self._interrupts.must_stop(request):
                scope.cancel()
                return
            await anyio.sleep(LOOK_AGAIN_S)


def forgetting_for(settings: Settings) -> Forgetting | None:
    if settings["noforget"]:
        return Forgetting(math.inf)
    return Forgetting(settings["remember"]) if settings["remember"] else None


def show_trace() -> None:
    """Let the trace be seen where nobody has set up logging, for the option `debug`."""
    trace_log.setLevel(logging.INFO)
    if not trace_log.hasHandlers():
        trace_log.addHandler(logging.StreamHandler())


async def run_and_log(func: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
    try:
        await func(*args)
    except Exception:
        log.exception("%r, which a handler left to be done, failed", func)


def detach(directory: str, device_number: str) -> None:
    """Unmount, lazily when it is in use. Somebody else may have been quicker: that is fine."""
    for lazy in (False, True):
        if mountpoint.device_at(directory) != device_number:
            return
        try:
            mountpoint.unmount(directory, lazy=lazy)
        except MountError as exc:
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EBUSY and not lazy:
                continue
            log.debug("unmount of %s: %s", directory, exc)
        return


@asynccontextmanager
async def mount(operations: Operations, directory: str | os.PathLike[str], **options: Any) -> AsyncIterator[Session]:
    """Mount `operations` at `directory` and serve until the block is left.

    The block is entered when the file system answers; an unmount from outside does not end the block (use
    `session.wait()` for that). `/dev/fd/N` as directory serves an already mounted connection. `options` are those of
    `aiovfs.fuse.options`. Works on asyncio and Trio; many sessions may live in one process and in one loop.

    Raises `OptionError`, `MountError`, `ProtocolError`, and whatever `Operations.init` and `destroy` raise; nothing is
    left mounted.
    """
    settings = parse_options(options)
    dispatcher = Dispatcher(operations, settings)  # what it refuses is refused before anything is mounted
    path = os.fspath(directory)
    given = connection_fd(path)
    if given is not None:
        fd, keeper, mounted_at = given, None, None
    else:
        mounted_at = await anyio.to_thread.run_sync(os.path.realpath, path)
        fd, keeper = await anyio.to_thread.run_sync(partial(mountpoint.attach, mounted_at, settings))
    device = Device(fd, max_write=settings["max_write"])
    session = Session(dispatcher, device, mounted_at, settings)

    async def start(group: anyio.abc.TaskGroup) -> None:
        await session.start(group)
        await session.set_readahead()

    async with serving(session, start):
        yield session
    if keeper is not None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(keeper.close)


@asynccontextmanager
async def adopt(operations: Operations, fd: int, connection: Connection, **options: Any) -> AsyncIterator[Session]:
    """Go on with a mount that another process served: `fd` is its connection, which is closed at the end.

    As `mount`, and as there the mount is gone when the block is left, unless it was handed over again. `options` are
    those of the first server; what the kernel agreed to stays as it was. Requests that were read and not answered come
    again (Linux 6.9), with `request.is_resent`. `operations` must know the nodeids and handles that the kernel holds.
    """
    settings = parse_options(options)
    dispatcher = Dispatcher(operations, settings)
    device = Device(fd, max_write=connection.features.max_write)
    session = Session(dispatcher, device, connection.mountpoint, settings)
    async with serving(session, partial(session.go_on, connection=connection)):
        yield session


@asynccontextmanager
async def serving(session: Session, start: Callable[[anyio.abc.TaskGroup], Awaitable[None]]) -> AsyncIterator[None]:
    """Start the session, and end it in order when the block is left. What fails to start is not left mounted."""
    if session.settings["debug"]:
        show_trace()
    # An exception that left the task group would come out wrapped in an ExceptionGroup: it is carried around it.
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:
        try:
            await start(group)
        except BaseException as exc:
            failure = exc
            with anyio.CancelScope(shield=True):
                await session.detach()
                session.abandon()
        else:
            try:
                yield
            except BaseException as exc:
                failure = exc
            try:
                await session.close()
            except BaseException as exc:  # of Operations.destroy
                if failure is None:
                    failure = exc
                else:
                    log.exception("the file system failed to end, after another error")
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def serve(operations: Operations, directory: str | os.PathLike[str], **options: Any) -> None:
    """Mount and serve until the file system is unmounted or `terminate` is called. Arguments as for `mount`."""
    async with mount(operations, directory, **options) as session:
        await session.wait()


async def unmount(directory: str | os.PathLike[str], *, lazy: bool = False) -> None:
    """Detach whatever is mounted at `directory`. `lazy` lets files that are open go on. Raises `MountError`."""
    await anyio.to_thread.run_sync(partial(mountpoint.unmount, os.fspath(directory), lazy=lazy))


def connection_fd(path: str) -> int | None:
    """The descriptor of `/dev/fd/N`, duplicated, or None for an ordinary path."""
    prefix = "/dev/fd/"
    if path.startswith(prefix) and path.removeprefix(prefix).isdecimal():
        return os.dup(int(path.removeprefix(prefix)))
    return None
