"""request → handler → reply: what to call for each opcode, and how to pack what it returned.

`Dispatcher` is made once per session. It looks every handler up once, leaves out those that the file system does not
override (the kernel is then told the default without a call into Python), and pairs each with the function that packs
its reply. Everything here is bytes and values; `server` owns the device and the tasks.

A reply is a sequence of buffers that starts with the header. A value that cannot be sent becomes a `ReplyError`, which
names the handler and the fix.
"""

from __future__ import annotations

import errno
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import anyio.to_thread

from aiovfs.errors import OptionError, ReplyError
from aiovfs.fuse.backing import Backings
from aiovfs.fuse.handlers import Operations
from aiovfs.fuse.options import Settings, parse_options
from aiovfs.fuse.overrides import Overrides
from aiovfs.fuse.packed import Packed, errno_of
from aiovfs.fuse.packers import ENTRY, HEADER, PACKERS, Pack, Reply, entry_fields, pack_copied_64, pack_error
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.dirents import DirentBuffer
from aiovfs.fuse.protocol.flags import InitFlags, LockFlags
from aiovfs.fuse.protocol.operations import OPERATIONS
from aiovfs.fuse.replies import DirEntry, Entry
from aiovfs.fuse.routes import Route

__all__ = ["Dispatcher", "Reply", "Route", "pack_error"]

log = logging.getLogger("aiovfs.fuse")

LARGEST_LISTING = 1 << 20  # no kernel asks for more, and this much memory is taken before it is known what is needed
ANSWERED_BY_DEFAULT = frozenset({"statfs", "open", "opendir", "release", "releasedir"})


class Dispatcher:
    """The routes of one file system, by opcode. An opcode that is missing is answered ENOSYS.

    Raises `OptionError` for a setting that would leave a handler of the file system without requests.
    """

    def __init__(self, operations: Operations, settings: Settings | None = None) -> None:
        self.operations = operations
        settings = parse_options({}) if settings is None else settings
        for option, method in (("no_open", "open"), ("no_opendir", "opendir")):
            if settings[option] and is_overridden(operations, method):
                raise OptionError(
                    f"the mount option {option} leaves {handler_name(getattr(operations, method))} without calls",
                    hint=f"leave out {option} or {method}()",
                )
        routes: dict[int, Route] = {}
        special: dict[str, tuple[str, Pack]] = {
            "readdir": ("readdir", self.pack_listing),
            "readdirplus": ("readdirplus", self.pack_listing_plus),
            "rename2": ("rename", PACKERS["rename"]),
            "copy_file_range_64": ("copy_file_range", pack_copied_64),
        }
        for operation in OPERATIONS:
            method, pack = special.get(operation.name, (operation.name, PACKERS.get(operation.name)))
            if pack is None:
                continue
            handler = self.handler_of(method)
            if handler is not None:
                routes[operation.opcode] = Route(operation.name, handler, pack, operation.adds_lookup)
        self.backings = Backings() if settings["passthrough"] else None
        if self.backings is not None:
            routes = self.backings.applied(routes)
        self._overrides = Overrides(settings)
        self.routes = self._overrides.applied(routes)

    def handler_of(self, method: str) -> Callable[[Any], Any] | None:
        """What to call for a method of `Operations`; None when the kernel is to be told ENOSYS."""
        if method in ("setlk", "setlkw") and is_overridden(self.operations, "flock"):
            return self.choose_lock(method)
        handler = getattr(self.operations, method, None)
        if handler is None:
            return None
        if is_overridden(self.operations, method):
            return adapted(handler)
        return functools.partial(step_default, handler) if method in ANSWERED_BY_DEFAULT else None

    def choose_lock(self, method: str) -> Callable[[Any], Any]:
        """SETLK and SETLKW carry the locks of flock(2) as well, told apart by a flag."""
        flock = adapted(self.operations.flock)
        posix = adapted(getattr(self.operations, method))

        def choose(request: m.Setlk | m.Setlkw) -> Any:
            return flock(request) if request.lk_flags & LockFlags.FLOCK else posix(request)

        return choose

    @property
    def supported(self) -> InitFlags:
        """Those features that make sense only if the file system has the handlers for them."""
        flags = InitFlags(0)
        if is_overridden(self.operations, "readdirplus"):
            flags |= InitFlags.DO_READDIRPLUS | InitFlags.READDIRPLUS_AUTO
        if all(is_overridden(self.operations, method) for method in ("getlk", "setlk", "setlkw")):
            flags |= InitFlags.POSIX_LOCKS
        if is_overridden(self.operations, "flock"):
            flags |= InitFlags.FLOCK_LOCKS
        return flags

    def pack_listing(self, request: m.Readdir, entries: Iterable[DirEntry]) -> Reply:
        buffer = DirentBuffer(min(request.size, LARGEST_LISTING))
        for entry in until_error(entries, buffer):
            if not buffer.add(entry.name, entry.ino, entry.mode >> 12 & 0xF, entry.offset):
                break
        data = buffer.getvalue()
        return (HEADER.pack(16 + len(data), 0, request.unique), data)

    def pack_listing_plus(self, request: m.Readdirplus, entries: Iterable[DirEntry]) -> Reply:
        """As `pack_listing`; counts a lookup for each entry once all are packed, as the reply will be sent whole."""
        buffer = DirentBuffer(min(request.size, LARGEST_LISTING))
        inodes = self.operations.inodes
        sent: list[int] = []
        for entry in until_error(entries, buffer):
            child = entry.entry
            packed = ENTRY.pack(*entry_fields(child)) if child is not None else bytes(ENTRY.size)
            if not buffer.add_plus(packed, entry.name, entry.ino, entry.mode >> 12 & 0xF, entry.offset):
                if child is not None:
                    self.discard(child.nodeid)
                break
            if child is not None and child.nodeid:
                sent.append(child.nodeid)
        if inodes is not None:
            for nodeid in sent:
                inodes.add_lookup(nodeid)
        data = buffer.getvalue()
        return (HEADER.pack(16 + len(data), 0, request.unique), data)

    def count_lookup(self, value: Any, count: int) -> None:
        """Count the Entry that was just sent (1), or was not taken by the kernel (0: it may be dropped)."""
        inodes = self.operations.inodes
        if inodes is None:
            return
        entry: Entry = value[0] if isinstance(value, tuple) else value
        if not entry.nodeid:
            return
        if count:
            inodes.add_lookup(entry.nodeid)
        else:
            self.discard(entry.nodeid)

    def discard(self, nodeid: int) -> None:
        """An Entry that the kernel did not get: unless it holds other lookups of the node, it is forgotten."""
        inodes = self.operations.inodes
        obj = None if inodes is None else inodes.discard(nodeid)
        if obj is not None:
            self.operations.forgotten(nodeid, obj)

    def reply_for(self, route: Route, request: m.Request, value: Any) -> Reply:
        """Pack what a handler returned; a value of the wrong type or size becomes a `ReplyError`.

        A listing is made while it is packed: what its iterator raises is answered as if the handler had raised it.
        """
        if isinstance(value, Packed):
            if number := errno_of(value):
                return pack_error(request.unique, number)
            body = memoryview(value)
            return (HEADER.pack(16 + len(body), 0, request.unique), body)
        try:
            return route.pack(request, value)
        except OSError as exc:
            return self.error_for(route, request, exc)
        except Exception as exc:
            reason = exc.message if isinstance(exc, ReplyError) else f"{type(exc).__name__}: {exc}"
            raise ReplyError(
                f"{route.name} unique={request.unique}: handler {handler_name(route.handler)} returned "
                f"{shown(value)}, which cannot be sent: {reason}",
                hint=f"see Operations.{METHOD_OF.get(route.name, route.name)} for what it is to return",
            ) from exc

    def error_for(self, route: Route, request: m.Request, exc: BaseException) -> Reply:
        """An errno for an `OSError`; for anything else EIO, and the traceback to the log."""
        negative = self._overrides.negative_reply(route, request, exc)
        if negative is not None:
            return negative
        if isinstance(exc, OSError) and isinstance(exc.errno, int) and 0 < exc.errno < 512:
            return pack_error(request.unique, exc.errno)
        log.error(
            "%s unique=%d nodeid=%d: the handler failed; the caller gets EIO",
            route.name,
            request.unique,
            request.nodeid,
            exc_info=exc,
        )
        return pack_error(request.unique, errno.EIO)


METHOD_OF = {"rename2": "rename", "copy_file_range_64": "copy_file_range"}


def until_error(entries: Iterable[DirEntry], buffer: DirentBuffer) -> Iterator[DirEntry]:
    """The entries up to an `OSError` of their iterator: what was listed before is sent, the error comes next time."""
    try:
        yield from entries
    except OSError:
        if not len(buffer):
            raise


def is_overridden(operations: Operations, method: str) -> bool:
    """Did the file system bring its own handler (in its class or on the instance)?"""
    own = getattr(operations, method)
    return getattr(own, "__func__", own) is not getattr(Operations, method)


def adapted(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The handler as the session calls it: one marked `blocking` becomes a coroutine that waits for a thread."""
    if not getattr(handler, "__aiovfs_blocking__", False):
        return handler
    if inspect.iscoroutinefunction(handler):
        raise TypeError(f"{handler_name(handler)} is async: `blocking` is for handlers that are plain functions")

    @functools.wraps(handler)
    async def in_thread(request: m.Request) -> Any:
        return await anyio.to_thread.run_sync(handler, request)

    return in_thread


def step_default(handler: Callable[[Any], Any], request: m.Request) -> Any:
    """Run one of our own defaults, none of which waits."""
    try:
        handler(request).send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError(f"the default of {request!r} waited")


def handler_name(handler: Callable[[Any], Any]) -> str:
    inner = getattr(handler, "func", handler)
    return getattr(inner, "__qualname__", repr(inner))


def shown(value: object) -> str:
    """A value for an error message: short, and whatever its repr does."""
    try:
        text = repr(value)
    except Exception as exc:
        text = f"<{type(value).__name__}, whose repr raises {type(exc).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}…"
