"""From the device to the reply, for as long as no handler waits.

`Drain.run` serves what is there: read a request, run the first step of its handler in place, write the answer, until
there is nothing left. A handler that does not wait costs no task and no loop tick. What waits is handed to the caller
as `Waiting`, to be finished by the very task that called.

`_core` has the same loop in C. It serves what is common and calls the methods here for everything else (errors, queues,
traces, values of the wrong type), so that there is one place that says what happens then.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import CoroutineType
from typing import Any, NamedTuple

import anyio

from aiovfs._loop import is_being_cancelled
from aiovfs.errors import ProtocolError, ReplyError
from aiovfs.fuse.dispatch import Dispatcher, Reply, Route, pack_error
from aiovfs.fuse.forgetting import Forgetting
from aiovfs.fuse.protocol import DECODERS, Decoder, decode
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.trace import trace_reply, trace_request
from aiovfs.fuse.transport import Transport

__all__ = ["REQUESTS_PER_DRAIN", "SECONDS_PER_DRAIN", "WITHOUT_REPLY", "Drain", "Waiting", "is_stray", "release"]

log = logging.getLogger("aiovfs.fuse")
trace_log = logging.getLogger("aiovfs.fuse.trace")

REQUESTS_PER_DRAIN = 64
SECONDS_PER_DRAIN = 0.001
QUEUED_REQUESTS = 1024
QUEUED_BYTES = 16 << 20
SHORT_REQUEST = 8192  # a queued request up to this size is copied; a longer one keeps its buffer
WITHOUT_REPLY = frozenset({m.Forget.opcode, m.BatchForget.opcode, m.Interrupt.opcode, m.NotifyReply.opcode})
SERVED_BY_SESSION = WITHOUT_REPLY | {m.Init.opcode, m.Destroy.opcode}


class Waiting(NamedTuple):
    """A handler whose first step yielded: finish it in the task that ran that step."""

    route: Route
    request: m.Request
    work: Coroutine[Any, Any, Any]
    waiting_for: Any
    buffer: memoryview | None


class Drain:
    """Serves the requests of one device. `interrupt` is told which request an INTERRUPT is about."""

    def __init__(
        self,
        device: Transport,
        dispatcher: Dispatcher,
        *,
        max_tasks: int,
        trace: bool,
        interrupt: Callable[[int], None],
        notify_reply: Callable[[m.NotifyReply], None],
        forgetting: Forgetting | None = None,
        spin_s: float = 0.0,
    ) -> None:
        self.device = device
        self.dispatcher = dispatcher
        self.operations = dispatcher.operations
        self.routes = dispatcher.routes
        self.decoders: Mapping[int, Decoder] = DECODERS
        self.max_tasks = max_tasks
        self.is_tracing = trace
        self.buffer = device.take_buffer()
        self.waiting: dict[int, tuple[anyio.CancelScope, m.Request]] = {}  # by unique
        self.queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._interrupt = interrupt
        self._notify_reply = notify_reply
        self.forgetting = forgetting
        self.spin_s = spin_s
        self._unknown_opcodes: set[int] = set()

    # Reading

    @property
    def is_full(self) -> bool:
        """Are so many requests queued that no more may be read?"""
        return len(self.queue) >= QUEUED_REQUESTS or self._queued_bytes >= QUEUED_BYTES

    def run(self) -> tuple[Waiting | None, bool]:
        """Serve what is there: (the handler that waits, False), or (None, is there nothing left to read).

        With one client the next request comes when the client has run: it is worth yielding before the look that
        would find nothing. `yields_first` remembers whether that was so the last time. With `spin_s`, it looks on
        for so long before it says that nothing is left. Raises `DeviceGone`.
        """
        read = self.device.read
        has_yielded = False
        yields_first = False
        idle_until = 0.0
        budget = REQUESTS_PER_DRAIN
        deadline = time.monotonic() + SECONDS_PER_DRAIN
        while budget:
            if self.is_full:
                return None, True
            if yields_first and not has_yielded:
                os.sched_yield()
                has_yielded = True
            length = read(self.buffer)
            if not length:
                if has_yielded:
                    now = time.monotonic() if self.spin_s else math.inf
                    idle_until = idle_until or now + self.spin_s
                    if now >= idle_until:
                        return None, True
                os.sched_yield()
                has_yielded = True
                continue
            idle_until = 0.0
            yields_first = has_yielded
            has_yielded = False
            waiting = self.receive(self.buffer[:length])
            if waiting is not None:
                return waiting, False
            budget -= 1
            if budget & 7 == 0 and time.monotonic() > deadline:
                break
        return None, False

    def receive(self, raw: memoryview) -> Waiting | None:
        """Serve one request from the shared buffer, or queue it when too many handlers wait."""
        try:
            request = decode(raw, self.decoders)
        except ProtocolError:
            log.exception("a request of %d bytes cannot be decoded; answered EIO", len(raw))
            if len(raw) >= 16:
                self.device.write(pack_error(int.from_bytes(raw[8:16], "little"), errno.EIO))
            return None
        if len(self.waiting) >= self.max_tasks and request.opcode not in WITHOUT_REPLY:
            release(request)
            self._enqueue(raw)
            return None
        return self.start(request, self.buffer)

    # Queued requests

    def _enqueue(self, raw: memoryview) -> None:
        if len(raw) <= SHORT_REQUEST:
            self.queue.append(memoryview(bytes(raw)))
        else:
            self.queue.append(raw)
            self.buffer = self.device.take_buffer()
        self._queued_bytes += len(raw)

    def start_queued(self) -> Waiting | None:
        """Start queued requests until one waits."""
        while self.queue:
            raw = self.queue.popleft()
            self._queued_bytes -= len(raw)
            waiting = self.start(decode(raw, self.decoders), None)
            if waiting is not None:
                return waiting
        return None

    def drop_queued(self) -> None:
        """Leave the requests that are queued to the kernel, which answers them when the device is closed."""
        self.queue.clear()
        self._queued_bytes = 0

    def take_queued(self, unique: int, must_stop: Callable[[m.Request], bool]) -> None:
        """Answer request `unique` with EINTR if it is queued and `must_stop(request)`."""
        for raw in self.queue:
            if int.from_bytes(raw[8:16], "little") == unique:
                request = decode(raw, self.decoders)
                if must_stop(request):
                    self.queue.remove(raw)
                    self._queued_bytes -= len(raw)
                    self.send(pack_error(unique, errno.EINTR), request)
                release(request)
                return

    # Handlers

    def start(self, request: m.Request, buffer: memoryview | None) -> Waiting | None:
        """Run the first step of the handler, and answer if that was all."""
        if self.is_tracing:
            trace_log.info("%s", trace_request(request))
        route = self.routes.get(request.opcode)
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
                    return Waiting(route, request, value, waiting_for, self.keep_buffer(request, buffer))
        except BaseException as exc:
            self.fail(route, request, exc)
        else:
            self.answer(route, request, value)
        self.end(request, buffer)
        return None

    def keep_buffer(self, request: m.Request, buffer: memoryview | None) -> memoryview | None:
        """A waiting handler that looks at the payload keeps the buffer; reading goes on with another one."""
        if buffer is None or getattr(request, "data", None) is None:
            return None
        self.buffer = self.device.take_buffer()
        return buffer

    def end(self, request: m.Request, buffer: memoryview | None) -> None:
        """The handler has ended in its first step: its view of the shared buffer must not be used any more."""
        if not release(request) and buffer is not None:
            self.buffer = self.device.take_buffer()

    def _serve_without_route(self, request: m.Request) -> None:
        """What the session answers by itself: forgets, interrupts, and whatever the file system does not have."""
        match request:
            case m.Forget():
                self.forget(request.nodeid, request.nlookup)
            case m.BatchForget():
                for nodeid, count in request.items:
                    self.forget(nodeid, count)
            case m.Interrupt():
                self._interrupt(request.target)
            case m.NotifyReply():
                self._notify_reply(request)
            case m.Destroy():
                self.device.write(pack_error(request.unique, 0))
            case _:
                if isinstance(request, m.Unknown) and request.opcode not in self._unknown_opcodes:
                    self._unknown_opcodes.add(request.opcode)
                    log.info("opcode %d is newer than this library; answered ENOSYS", request.opcode)
                self.send(pack_error(request.unique, errno.ENOSYS), request)

    def forget(self, nodeid: int, count: int) -> None:
        """The kernel gives lookups back. There is nobody to tell of an error but the log."""
        try:
            if self.forgetting is None:
                self.operations.forget(nodeid, count)
                return
            for due, lookups in self.forgetting.due(time.monotonic(), nodeid, count):
                self.operations.forget(due, lookups)
        except Exception:
            log.exception("forget nodeid=%d: the file system failed to give %d lookups back", nodeid, count)

    # Answering

    def answer(self, route: Route, request: m.Request, value: Any) -> None:
        """Send what the handler returned; what cannot be sent is EIO and a line in the log."""
        try:
            reply = self.dispatcher.reply_for(route, request, value)
        except ReplyError as exc:
            self.send(self.dispatcher.error_for(route, request, exc), request)
            return
        was_taken = self.send(reply, request)
        if route.adds_lookup and route.name != "readdirplus":
            self.dispatcher.count_lookup(value, 1 if was_taken else 0)

    def fail(
        self, route: Route, request: m.Request, exc: BaseException, scope: anyio.CancelScope | None = None
    ) -> None:
        """Answer for a handler that raised. What is meant for the running task is raised again."""
        if isinstance(exc, Exception):
            self.send(self.dispatcher.error_for(route, request, exc), request)
            return
        self.send(pack_error(request.unique, errno.EINTR), request)
        if not is_stray(exc, scope):
            raise exc

    def send(self, reply: Reply, request: m.Request) -> bool:
        """Write a reply; False when the kernel no longer waits for it."""
        if self.is_tracing:
            trace_log.info("%s", trace_reply(reply))
        try:
            return self.device.write(reply)
        except OSError as exc:
            return self.refused(request, exc)

    def refused(self, request: m.Request, exc: OSError) -> bool:
        """The kernel refuses malformed replies with EINVAL; the request is still open and must be answered."""
        log.error("the kernel refused the reply to %r: %s; the caller gets EIO", request, exc)
        self.device.write(pack_error(request.unique, errno.EIO))
        return False


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
