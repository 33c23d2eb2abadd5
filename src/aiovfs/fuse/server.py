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

How a session ends: unmounted from outside, `terminate()` from anywhere, or the caller's `async with` block is left.
Running handlers get `grace` seconds; then they are cancelled. What they cannot answer any more, the kernel answers
with ENOTCONN or ECONNABORTED when the device is closed. Handlers are shielded from the cancellation of the task that
opened the session: a cancelled `serve` still finishes what it has accepted, within the same grace.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from types import CoroutineType
from typing import Any, NamedTuple

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread

from aiovfs._loop import LoopToken, Readable, is_being_cancelled, resume
from aiovfs.errors import MountError, ProtocolError, ReplyError
from aiovfs.fuse import interrupts, mountpoint
from aiovfs.fuse.device import Device, DeviceGone
from aiovfs.fuse.dispatch import Dispatcher, Reply, Route, pack_error
from aiovfs.fuse.handlers import Operations
from aiovfs.fuse.negotiation import Features, negotiate
from aiovfs.fuse.notifier import Notifier
from aiovfs.fuse.options import Settings, parse_options
from aiovfs.fuse.protocol import DECODERS, HEADER_OUT_SIZE, decode, decoders_for, reply_header
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.trace import trace_reply, trace_request

__all__ = ["Session", "mount", "serve", "unmount"]

log = logging.getLogger("aiovfs.fuse")
trace_log = logging.getLogger("aiovfs.fuse.trace")

REQUESTS_PER_DRAIN = 64
SECONDS_PER_DRAIN = 0.001
QUEUED_REQUESTS = 1024
QUEUED_BYTES = 16 << 20
SHORT_REQUEST = 8192  # a queued request up to this size is copied; a longer one keeps its buffer
PARKED_TASKS = 16
WITHOUT_REPLY = frozenset({m.Forget.opcode, m.BatchForget.opcode, m.Interrupt.opcode, m.NotifyReply.opcode})


class Waiting(NamedTuple):
    """A handler whose first step yielded: finish it in the task that ran that step."""

    route: Route
    request: m.Request
    work: Coroutine[Any, Any, Any]
    waiting_for: Any
    buffer: memoryview | None


class Session:
    """One mount being served. Made by `mount`; its public face is the properties, `terminate` and `wait`."""

    def __init__(self, operations: Operations, device: Device, directory: str | None, settings: Settings) -> None:
        self.operations = operations
        self.mountpoint = directory
        self.settings = settings
        self.notifier = Notifier(device)
        self.features: Features
        self._device = device
        self._dispatcher = Dispatcher(operations)
        self._routes = self._dispatcher.routes
        self._readable = Readable(device.fd)
        self._token = LoopToken()
        self._decoders = DECODERS
        self._buffer = device.take_buffer()
        self._max_tasks: int = settings["max_tasks"]
        self._tracing: bool = settings["trace"]
        self._group: anyio.abc.TaskGroup
        self._tasks = 0
        self._parked: list[anyio.Event] = []
        self._waiting: dict[int, tuple[anyio.CancelScope, int]] = {}  # unique → scope and caller's thread
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._has_space = anyio.Event()
        self._unknown_opcodes: set[int] = set()
        self._must_end = anyio.Event()
        self._has_ended = anyio.Event()
        self._all_done = anyio.Event()

    # For users

    def terminate(self) -> bool:
        """End the session: unmount, let running handlers finish, close.

        May be called from anywhere: a handler, another task, another thread or loop, a signal handler. Returns at
        once; False when the session's loop has ended already. `wait` waits for the end.
        """
        return self._token.run_soon(self._must_end.set)

    async def wait(self) -> None:
        """Return when the session has ended: unmounted, and every accepted request was answered."""
        await self._all_done.wait()

    @property
    def is_serving(self) -> bool:
        return not self._has_ended.is_set()

    # Life

    async def start(self, group: anyio.abc.TaskGroup) -> None:
        """Answer INIT and start to serve. Raises `ProtocolError`, `DeviceGone`, or what `Operations.init` raised."""
        self._group = group
        request = await self._first_request()
        reply, self.features = negotiate(request, self.settings, has_readdirplus=self._dispatcher.has_readdirplus)
        await self.operations.init(self)
        body = reply.pack()
        self._device.write((reply_header(request.unique, HEADER_OUT_SIZE + len(body)), body))
        self._decoders = decoders_for(self.features.agreed)
        self._add_reader()
        group.start_soon(self._unmount_when_told)

    async def _first_request(self) -> m.Init:
        while True:
            length = self._device.read(self._buffer)
            if length:
                break
            await self._readable.wait()
        request = decode(self._buffer[:length])
        if not isinstance(request, m.Init):
            raise ProtocolError(f"the first request was {type(request).__name__}, not INIT")
        if self._tracing:
            trace_log.info("%s", trace_request(request))
        return request

    async def _unmount_when_told(self) -> None:
        """Detach the mount while we still serve, then end; files that are in use keep it until the device closes."""
        with anyio.CancelScope(shield=True):
            await self._must_end.wait()
            if self.mountpoint is not None and not self._has_ended.is_set():
                await anyio.to_thread.run_sync(detach, self.mountpoint)
            self._end()

    def _end(self) -> None:
        """No more requests are read. Wake everybody who waits for one."""
        if self._has_ended.is_set():
            return
        self._must_end.set()
        self._has_ended.set()
        self._readable.wake()
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
            await self._has_ended.wait()
            with anyio.move_on_after(self.settings["grace"]):
                await self._all_done.wait()
            if not self._all_done.is_set():
                log.warning("%d handlers did not end within %s s; cancelled", self._tasks, self.settings["grace"])
                for scope, _ in list(self._waiting.values()):
                    scope.cancel()
                with anyio.move_on_after(self.settings["grace"]):
                    await self._all_done.wait()
            self.abandon()
            if self.mountpoint is not None:
                await anyio.to_thread.run_sync(detach_if_dead, self.mountpoint)
            await self.operations.destroy()

    def abandon(self) -> None:
        """Close the device. Whoever still waits for an answer gets ENOTCONN or ECONNABORTED from the kernel."""
        self._readable.close()
        self._device.close()

    # Tasks: one reads, the others finish handlers that wait, or are parked

    def _add_reader(self) -> None:
        self._tasks += 1
        self._group.start_soon(self._serve)

    async def _serve(self) -> None:
        """Read until a handler waits, finish that one, and be of use again. A new task has the role of reader."""
        is_reader = True
        try:
            while True:
                # Entered before the first step of the handler that this task will finish: scopes must nest.
                with anyio.CancelScope(shield=True) as scope:
                    waiting = self._start_queued()
                    if waiting is None:
                        if not is_reader and not await self._become_reader():
                            return
                        waiting = await self._read()
                        if waiting is None:
                            return
                        is_reader = False
                        self._pass_reading_on()
                    await self._finish(waiting, scope)
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
        self._waiting[request.unique] = (scope, request.pid)
        try:
            value = await resume(work, waiting_for)
        except Exception as exc:
            self._send(self._dispatcher.error_for(route, request, exc), request)
        except BaseException as exc:
            self._send(pack_error(request.unique, errno.EINTR), request)
            if not is_stray(exc, scope):
                raise
        else:
            self._answer(route, request, value)
        finally:
            del self._waiting[request.unique]
            if release(request) and buffer is not None:
                self._device.return_buffer(buffer)

    # Reading

    async def _read(self) -> Waiting | None:
        """Serve requests until a handler waits; None when the session has ended."""
        while not self._has_ended.is_set():
            try:
                waiting, is_drained = self._drain()
            except DeviceGone:
                self._end()
                break
            if waiting is not None:
                return waiting
            if not is_drained:
                await anyio.lowlevel.checkpoint()
            elif self._is_full:
                self._has_space = anyio.Event()
                await self._has_space.wait()
            else:
                await self._readable.wait()
        return None

    @property
    def _is_full(self) -> bool:
        return len(self._queue) >= QUEUED_REQUESTS or self._queued_bytes >= QUEUED_BYTES

    def _drain(self) -> tuple[Waiting | None, bool]:
        """Serve what is there: (the handler that waits, False), or (None, is there nothing left to read).

        With one client the next request comes when the client has run: it is worth yielding before the look that
        would find nothing. `yields_first` remembers whether that was so the last time.
        """
        read = self._device.read
        has_yielded = False
        yields_first = False
        budget = REQUESTS_PER_DRAIN
        deadline = time.monotonic() + SECONDS_PER_DRAIN
        while budget:
            if self._is_full:
                return None, True
            if yields_first and not has_yielded:
                os.sched_yield()
                has_yielded = True
            length = read(self._buffer)
            if not length:
                if has_yielded:
                    return None, True
                os.sched_yield()
                has_yielded = True
                continue
            yields_first = has_yielded
            has_yielded = False
            waiting = self._receive(self._buffer[:length])
            if waiting is not None:
                return waiting, False
            budget -= 1
            if budget & 7 == 0 and time.monotonic() > deadline:
                break
        return None, False

    def _receive(self, raw: memoryview) -> Waiting | None:
        """Serve one request from the shared buffer, or queue it when too many handlers wait."""
        try:
            request = decode(raw, self._decoders)
        except ProtocolError:
            log.exception("a request of %d bytes cannot be decoded; answered EIO", len(raw))
            if len(raw) >= 16:
                self._device.write(pack_error(int.from_bytes(raw[8:16], "little"), errno.EIO))
            return None
        if len(self._waiting) >= self._max_tasks and request.opcode not in WITHOUT_REPLY:
            release(request)
            self._enqueue(raw)
            return None
        return self._start(request, self._buffer)

    def _enqueue(self, raw: memoryview) -> None:
        if len(raw) <= SHORT_REQUEST:
            self._queue.append(memoryview(bytes(raw)))
        else:
            self._queue.append(raw)
            self._buffer = self._device.take_buffer()
        self._queued_bytes += len(raw)

    def _start_queued(self) -> Waiting | None:
        """Start queued requests until one waits."""
        while self._queue:
            raw = self._queue.popleft()
            self._queued_bytes -= len(raw)
            self._has_space.set()
            waiting = self._start(decode(raw, self._decoders), None)
            if waiting is not None:
                return waiting
        return None

    def _start(self, request: m.Request, buffer: memoryview | None) -> Waiting | None:
        """Run the first step of the handler, and answer if that was all."""
        if self._tracing:
            trace_log.info("%s", trace_request(request))
        route = self._routes.get(request.opcode)
        if route is None:
            self._serve_without_route(request)
            return None
        try:
            value = route.handler(request)
            if type(value) is CoroutineType:
                try:
                    waiting_for = value.send(None)
                except StopIteration as stop:
                    value = stop.value
                else:
                    return Waiting(route, request, value, waiting_for, self._keep_buffer(request, buffer))
        except Exception as exc:
            self._send(self._dispatcher.error_for(route, request, exc), request)
        except BaseException as exc:
            self._send(pack_error(request.unique, errno.EINTR), request)
            if not is_stray(exc):
                raise
        else:
            self._answer(route, request, value)
        if not release(request) and buffer is not None:
            self._buffer = self._device.take_buffer()
        return None

    def _keep_buffer(self, request: m.Request, buffer: memoryview | None) -> memoryview | None:
        """A waiting handler that looks at the payload keeps the buffer; reading goes on with another one."""
        if buffer is None or getattr(request, "data", None) is None:
            return None
        self._buffer = self._device.take_buffer()
        return buffer

    def _serve_without_route(self, request: m.Request) -> None:
        """What the session answers by itself: forgets, interrupts, and whatever the file system does not have."""
        match request:
            case m.Forget():
                self.operations.forget(request.nodeid, request.nlookup)
            case m.BatchForget():
                for nodeid, count in request.items:
                    self.operations.forget(nodeid, count)
            case m.Interrupt():
                self._interrupt(request.target)
            case m.NotifyReply():
                pass
            case m.Destroy():
                self._device.write(pack_error(request.unique, 0))
            case _:
                if isinstance(request, m.Unknown) and request.opcode not in self._unknown_opcodes:
                    self._unknown_opcodes.add(request.opcode)
                    log.info("opcode %d is newer than this library; answered ENOSYS", request.opcode)
                self._send(pack_error(request.unique, errno.ENOSYS), request)

    # Answering

    def _answer(self, route: Route, request: m.Request, value: Any) -> None:
        try:
            reply = self._dispatcher.reply_for(route, request, value)
        except ReplyError as exc:
            reply = self._dispatcher.error_for(route, request, exc)
            self._send(reply, request)
            return
        was_taken = self._send(reply, request)
        if route.adds_lookup and route.name != "readdirplus":
            self._dispatcher.count_lookup(value, 1 if was_taken else 0)

    def _send(self, reply: Reply, request: m.Request) -> bool:
        """Write a reply; False when the kernel no longer waits for it."""
        if self._tracing:
            trace_log.info("%s", trace_reply(reply))
        try:
            return self._device.write(reply)
        except OSError as exc:
            # The kernel refuses malformed replies with EINVAL; the request is still open and must be answered.
            log.error("the kernel refused the reply to %r: %s; the caller gets EIO", request, exc)
            return self._device.write(pack_error(request.unique, errno.EIO)) and False

    # Interrupts

    def _interrupt(self, unique: int) -> None:
        """A signal reached the caller of request `unique`: cancel its handler if the signal ends programs."""
        waiting = self._waiting.get(unique)
        if waiting is None:
            self._interrupt_queued(unique)
        else:
            self._group.start_soon(self._watch_interrupted, unique, *waiting)

    def _interrupt_queued(self, unique: int) -> None:
        for raw in self._queue:
            if int.from_bytes(raw[8:16], "little") == unique:
                request = decode(raw, self._decoders)
                if interrupts.must_stop(request.pid):
                    self._queue.remove(raw)
                    self._queued_bytes -= len(raw)
                    self._send(pack_error(unique, errno.EINTR), request)
                release(request)
                return

    async def _watch_interrupted(self, unique: int, scope: anyio.CancelScope, tid: int) -> None:
        """Cancel as soon as an ending signal is pending: the kernel tells of the first signal only."""
        while self._waiting.get(unique, (None,))[0] is scope:
            if interrupts.must_stop(tid):
                scope.cancel()
                return
            await anyio.sleep(interrupts.LOOK_AGAIN_S)


def release(request: m.Request) -> bool:
    """Make a view of the session's buffer unusable, so that a handler that kept it fails instead of reading garbage.

    False when something made of the view (an array, say) is still in use: then the buffer must not be used again.
    """
    data = getattr(request, "data", None)
    if type(data) is memoryview:
        try:
            data.release()
        except BufferError:
            return False
    return True


def is_stray(exc: BaseException, scope: anyio.CancelScope | None = None) -> bool:
    """A cancellation that nobody asked this task for: a handler awaited something that was itself cancelled."""
    if not isinstance(exc, anyio.get_cancelled_exc_class()):
        return False
    if scope is not None and scope.cancel_called:
        return False
    return not is_being_cancelled()


def detach(directory: str) -> None:
    """Unmount, lazily when it is in use. Somebody else may have been quicker: that is fine."""
    for lazy in (False, True):
        try:
            mountpoint.unmount(directory, lazy=lazy)
        except MountError as exc:
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EBUSY and not lazy:
                continue
            log.debug("unmount of %s: %s", directory, exc)
        return


def detach_if_dead(directory: str) -> None:
    """Clean up behind a connection that was aborted (fusectl), which leaves the mountpoint without a server."""
    if mountpoint.is_stale(directory):
        detach(directory)


@asynccontextmanager
async def mount(operations: Operations, directory: str | os.PathLike[str], **options: Any) -> AsyncIterator[Session]:
    """Mount `operations` at `directory` and serve until the block is left.

    The block is entered when the file system answers; an unmount from outside does not end the block (use
    `session.wait()` for that). `/dev/fd/N` as directory serves an already mounted connection. `options` are those of
    `aiovfs.fuse.options`. Works on asyncio and Trio; many sessions may live in one process and in one loop.

    Raises `OptionError`, `MountError`, `ProtocolError`, and whatever `Operations.init` raises; nothing is left mounted.
    """
    settings = parse_options(options)
    path = os.fspath(directory)
    given = connection_fd(path)
    if given is not None:
        fd, mounted_at = given, None
    else:
        mounted_at = await anyio.to_thread.run_sync(os.path.realpath, path)
        fd = await anyio.to_thread.run_sync(partial(mountpoint.mount, mounted_at, settings))
    device = Device(fd, max_write=settings["max_write"])
    session = Session(operations, device, mounted_at, settings)
    # An exception that left the task group would come out wrapped in an ExceptionGroup: it is carried around it.
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:
        try:
            await session.start(group)
        except BaseException as exc:
            failure = exc
            with anyio.CancelScope(shield=True):
                if mounted_at is not None:
                    await anyio.to_thread.run_sync(detach, mounted_at)
                session.abandon()
        else:
            try:
                yield session
            except BaseException as exc:
                failure = exc
            await session.close()
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
