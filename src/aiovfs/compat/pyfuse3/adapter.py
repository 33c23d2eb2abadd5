"""Between the session and a file system written for pyfuse3: request objects in, positional arguments out.

Every call goes through `Adapter.await_handler`, which settles what happens when a handler raises:

- `FUSEError` is answered with its errno;
- a cancellation passes through;
- anything else, a value of the wrong type included, is a bug of the file system: its caller gets EIO, `failed` is told,
  and `main` ends with that exception.

Handlers are looked up when they are called, so they may be replaced on a living instance.
"""

from __future__ import annotations

import dis
import errno
import functools
import inspect
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import anyio

from aiovfs import fuse
from aiovfs._loop import resume
from aiovfs.compat.pyfuse3.coercion import I64, U32, U64, to_integer
from aiovfs.compat.pyfuse3.operations import Operations
from aiovfs.compat.pyfuse3.requests import (
    ReaddirToken,
    listing_of,
    make_context,
    make_fields,
    make_poll_handle,
    make_token,
    to_attributes,
    to_entry,
)
from aiovfs.compat.pyfuse3.values import NATIVE, EntryAttributes, FileInfo, FUSEError, StatvfsData
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import FsyncFlags, PollFlags, SetattrValid, XattrFlags
from aiovfs.types import Buffer

__all__ = ["Adapter"]

log = logging.getLogger("pyfuse3")

R = TypeVar("R")
Work: TypeAlias = Coroutine[Any, Any, R]

NANOSECONDS = 1_000_000_000
STACKTRACE = b"fuse_stacktrace"


def wrong_type(value: object, expected: type) -> TypeError:
    return TypeError(f"Cannot convert {type(value).__name__} to {expected.__module__}.{expected.__qualname__}")


# What handlers return → what the session sends


def to_opened(value: FileInfo) -> fuse.Opened:
    if not isinstance(value, FileInfo):
        raise wrong_type(value, FileInfo)
    return fuse.Opened(value.fh, value.direct_io, value.keep_cache, value.nonseekable)


def to_created(value: tuple[FileInfo, EntryAttributes]) -> tuple[fuse.Entry, fuse.Opened]:
    opened, attributes = value
    return to_entry(attributes), to_opened(opened)


def to_directory(value: int) -> fuse.Opened:
    return fuse.Opened(to_integer(value, U64))


def to_statfs(value: StatvfsData) -> fuse.Statfs:
    if not isinstance(value, StatvfsData):
        raise wrong_type(value, StatvfsData)
    return fuse.Statfs(
        blocks=value.f_blocks,
        bfree=value.f_bfree,
        bavail=value.f_bavail,
        files=value.f_files,
        ffree=value.f_ffree,
        bsize=value.f_bsize,
        frsize=value.f_frsize,
        namelen=value.f_namemax,
    )


def to_data(value: Buffer) -> Buffer:
    if type(value) is bytes:
        return value
    view = memoryview(value)
    if not view.contiguous:
        raise TypeError(f"a buffer in one piece is required, got {view!r} with strides {view.strides}")
    return view


def to_bytes(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"expected bytes, got {value!r} ({type(value).__name__})")
    return value


def to_names(value: Iterable[bytes]) -> list[bytes]:
    return [to_bytes(name) for name in value]


def to_count(value: int) -> int:
    return to_integer(value, I64)


def to_events(value: int | None) -> int:
    return 0 if value is None else to_integer(value, U32)


def to_nothing(value: object) -> None:
    return None


def to_permission(value: object) -> None:
    if not value:
        raise FUSEError(errno.EACCES)


def never_waits(function: object) -> bool:
    """Is this an `async def` without any await in it? Its coroutine ends in its first step, whatever happens."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return False
    return all(instruction.opname != "SEND" for instruction in dis.get_instructions(code))


CONVERSIONS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "lookup": to_entry,
        "getattr": to_attributes,
        "setattr": to_attributes,
        "readlink": to_bytes,
        "access": to_permission,
        "statfs": to_statfs,
        "symlink": to_entry,
        "mknod": to_entry,
        "mkdir": to_entry,
        "unlink": to_nothing,
        "rmdir": to_nothing,
        "rename": to_nothing,
        "link": to_entry,
        "create": to_created,
        "open": to_opened,
        "read": to_data,
        "write": to_count,
        "flush": to_nothing,
        "release": to_nothing,
        "fsync": to_nothing,
        "poll": to_events,
        "opendir": to_directory,
        "readdir": to_nothing,
        "releasedir": to_nothing,
        "fsyncdir": to_nothing,
        "setxattr": to_nothing,
        "getxattr": to_bytes,
        "listxattr": to_names,
        "removexattr": to_nothing,
    }
)


def is_cancellation(exc: BaseException) -> bool:
    """Is this the loop ending the task, perhaps wrapped by a nursery of the handler's own?"""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(cancelled)[1] is None
    return isinstance(exc, cancelled | GeneratorExit)


def times_of(request: m.Setattr) -> dict[str, int]:
    """The times that a SETATTR changes; "now" is read off the clock here."""
    valid = request.valid
    now = time.time_ns()
    times: dict[str, int] = {}
    if valid & SetattrValid.ATIME:
        is_now = valid & SetattrValid.ATIME_NOW
        times["st_atime_ns"] = now if is_now else nanoseconds(request.atime, request.atimensec)
    if valid & SetattrValid.MTIME:
        is_now = valid & SetattrValid.MTIME_NOW
        times["st_mtime_ns"] = now if is_now else nanoseconds(request.mtime, request.mtimensec)
    if valid & SetattrValid.CTIME:
        times["st_ctime_ns"] = nanoseconds(request.ctime, request.ctimensec)
    return times


def nanoseconds(seconds: int, rest: int) -> int:
    """One number from the wire's two; seconds before 1970 come as large unsigned ones."""
    return (seconds - (1 << 64) if seconds >> 63 else seconds) * NANOSECONDS + rest


class Adapter(fuse.Operations):
    """Serves `fs`. `failed` is called with each exception that is to end `main`; `wake_poll` with a poll handle.

    `uses_native`: handlers are called, and their replies packed, in C where that was built. Options of the session
    that change replies cannot change those.
    """

    def __init__(
        self,
        fs: Operations,
        *,
        failed: Callable[[BaseException], None],
        wake_poll: Callable[[int], None],
        uses_native: bool = False,
    ) -> None:
        self.fs = fs
        self._failed = failed
        self._wake_poll = wake_poll
        self._session: fuse.Session
        self._forgotten: list[tuple[int, int]] = []
        self._giving_back = 0
        self._known_forget: object = None
        self._can_forget_here = False
        self._all_given_back = anyio.Event()
        if uses_native and NATIVE is not None:
            handlers = NATIVE.Handlers(self, fs, FUSEError)
            for name in NATIVE.NAMES:
                setattr(self, name, getattr(handlers, name))

    def _ask(self, handler: str, *args: Any) -> Work[Any]:
        return self._call(handler, args)

    async def _call(self, handler: str, args: tuple[Any, ...]) -> Any:
        try:
            work = getattr(self.fs, handler)(*args)
        except BaseException as exc:
            return self._refuse(handler, exc)
        return await self.await_handler(handler, work)

    async def await_handler(self, handler: str, work: Awaitable[Any]) -> Any:
        """What a handler answers, in the session's own form."""
        try:
            return CONVERSIONS[handler](await work)
        except BaseException as exc:
            return self._refuse(handler, exc)

    async def finish_handler(self, handler: str, work: Coroutine[Any, Any, Any], waiting_for: Any) -> Any:
        """The same for one whose first step was run already; it yielded `waiting_for`."""
        return await self.await_handler(handler, resume(work, waiting_for))

    async def finish_listing(self, work: Work[None], token: ReaddirToken, close: Callable[[ReaddirToken], Any]) -> Any:
        """A listing whose handler waits."""
        await work
        return close(token)

    def _refuse(self, handler: str, exc: BaseException) -> None:
        """Raise what is to be answered for a handler that raised; returns where that is success."""
        if isinstance(exc, FUSEError):
            error: BaseException | None = self.refusal(handler, exc, is_void=CONVERSIONS[handler] is to_nothing)
        else:
            error = self.failure(exc)
        if error is not None:
            raise error from None

    def refusal(self, handler: str, exc: FUSEError, *, is_void: bool) -> OSError | None:
        """The error to answer with. 0 is success where no value is asked for."""
        number = exc.errno
        if number == 0:
            if is_void:
                return None
            log.error("fuse_%s(): fuse_reply_* failed with errno 0: the caller needs a value; it gets EIO", handler)
            number = errno.EIO
        elif not 0 < number < 512:
            log.error("fuse_%s(): %r is not an errno that the kernel takes; the caller gets ERANGE", handler, exc)
            number = errno.ERANGE
        return OSError(number, os.strerror(number))

    def failure(self, exc: BaseException) -> BaseException:
        """What to raise to the session for a bug: EIO for the caller, once `main` knows of it."""
        if is_cancellation(exc):
            return exc
        self._failed(exc)
        return OSError(errno.EIO, os.strerror(errno.EIO))

    # Life

    async def init(self, session: fuse.Session) -> None:
        self._session = session
        self.fs.init()

    def forget(self, nodeid: int, count: int) -> None:
        """What the kernel gives back. A handler that cannot wait is run here; else it gets a task of its own, for all
        that was gathered until that begins.
        """
        forget = self.fs.forget
        function = getattr(forget, "__func__", forget)
        if function is Operations.forget:
            return
        if function is not self._known_forget:
            self._known_forget, self._can_forget_here = function, never_waits(function)
        if self._can_forget_here and not self._giving_back:
            self._forget_here(forget([(nodeid, count)]))
            return
        if not self._forgotten:
            self._giving_back += 1
            self._session.start_soon(self._give_back)
        self._forgotten.append((nodeid, count))

    def _forget_here(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            work.send(None)
        except StopIteration:
            pass
        except FUSEError as exc:
            log.error("fuse_forget(): there is nobody to tell of %r", exc)
        except BaseException as exc:
            self._failed(exc)

    async def _give_back(self) -> None:
        items, self._forgotten = self._forgotten, []
        try:
            await self.fs.forget(items)
        except FUSEError as exc:
            log.error("fuse_forget(): there is nobody to tell of %r", exc)
        except BaseException as exc:
            if is_cancellation(exc):
                raise
            self._failed(exc)
        finally:
            self._giving_back -= 1
            if not self._giving_back:
                self._all_given_back.set()

    async def destroy(self) -> None:
        """The last request was answered; what was given back before it is told to the end."""
        if self._giving_back:
            self._all_given_back = anyio.Event()
            with anyio.move_on_after(self._session.settings["grace"]):
                await self._all_given_back.wait()

    # Names and attributes

    def lookup(self, request: m.Lookup) -> Work[fuse.Entry]:
        return self._ask("lookup", request.nodeid, request.name, make_context(request))

    def getattr(self, request: m.Getattr) -> Work[fuse.Attributes]:
        return self._ask("getattr", request.nodeid, make_context(request))

    def setattr(self, request: m.Setattr) -> Work[fuse.Attributes]:
        valid = request.valid
        changed = EntryAttributes()
        changed.st_mode = changed.st_nlink = changed.st_blksize = 0
        updates: dict[str, bool] = {}
        for name, value in times_of(request).items():
            updates[f"update_{name[3:-3]}"] = True
            setattr(changed, name, value)
        for bit, field, name, value in (
            (SetattrValid.MODE, "update_mode", "st_mode", request.mode),
            (SetattrValid.UID, "update_uid", "st_uid", request.new_uid),
            (SetattrValid.GID, "update_gid", "st_gid", request.new_gid),
            (SetattrValid.SIZE, "update_size", "st_size", request.size),
        ):
            if valid & bit:
                updates[field] = True
                setattr(changed, name, value)
        fh = request.fh if valid & SetattrValid.FH else None
        return self._ask("setattr", request.nodeid, changed, make_fields(**updates), fh, make_context(request))

    def readlink(self, request: m.Readlink) -> Work[bytes]:
        return self._ask("readlink", request.nodeid, make_context(request))

    def access(self, request: m.Access) -> Work[None]:
        return self._ask("access", request.nodeid, request.mask, make_context(request))

    def statfs(self, request: m.Statfs) -> Work[fuse.Statfs]:
        return self._ask("statfs", make_context(request))

    # Making and removing names

    def symlink(self, request: m.Symlink) -> Work[fuse.Entry]:
        return self._ask("symlink", request.nodeid, request.name, request.target, make_context(request))

    def mknod(self, request: m.Mknod) -> Work[fuse.Entry]:
        context = make_context(request, request.umask)
        return self._ask("mknod", request.nodeid, request.name, request.mode, request.rdev, context)

    def mkdir(self, request: m.Mkdir) -> Work[fuse.Entry]:
        # The kernel leaves the type out here, and only here; file systems give `mode` back as it came.
        mode = stat.S_IMODE(request.mode) | stat.S_IFDIR
        context = make_context(request, request.umask)
        return self._ask("mkdir", request.nodeid, request.name, mode, context)

    def unlink(self, request: m.Unlink) -> Work[None]:
        return self._ask("unlink", request.nodeid, request.name, make_context(request))

    def rmdir(self, request: m.Rmdir) -> Work[None]:
        return self._ask("rmdir", request.nodeid, request.name, make_context(request))

    def rename(self, request: m.Rename) -> Work[None]:
        names = (request.nodeid, request.name, request.newdir, request.newname)
        return self._ask("rename", *names, request.flags, make_context(request))

    def link(self, request: m.Link) -> Work[fuse.Entry]:
        return self._ask("link", request.oldnodeid, request.nodeid, request.name, make_context(request))

    # Files

    def create(self, request: m.Create) -> Work[tuple[fuse.Entry, fuse.Opened]]:
        context = make_context(request, request.umask)
        return self._ask("create", request.nodeid, request.name, request.mode, request.flags, context)

    def open(self, request: m.Open) -> Work[fuse.Opened]:
        return self._ask("open", request.nodeid, request.flags, make_context(request))

    def read(self, request: m.Read) -> Work[Buffer]:
        return self._ask("read", request.fh, request.offset, request.size)

    def write(self, request: m.Write) -> Work[int]:
        return self._ask("write", request.fh, request.offset, bytes(request.data))

    def flush(self, request: m.Flush) -> Work[None]:
        return self._ask("flush", request.fh)

    def release(self, request: m.Release) -> Work[None]:
        return self._ask("release", request.fh)

    def fsync(self, request: m.Fsync) -> Work[None]:
        return self._ask("fsync", request.fh, bool(request.fsync_flags & FsyncFlags.FDATASYNC))

    def poll(self, request: m.Poll) -> Work[int]:
        handle = None
        if request.flags & PollFlags.SCHEDULE_NOTIFY:
            handle = make_poll_handle(functools.partial(self._wake_poll, request.kh))
        return self._ask("poll", request.nodeid, request.fh, handle, make_context(request))

    # Directories

    def opendir(self, request: m.Opendir) -> Work[fuse.Opened]:
        return self._ask("opendir", request.nodeid, make_context(request))

    async def readdirplus(self, request: m.Readdirplus) -> list[fuse.DirEntry]:
        token = make_token(request.size)
        await self._ask("readdir", request.fh, request.offset, token)
        return listing_of(token)

    async def readdir(self, request: m.Readdir) -> list[fuse.DirEntry]:
        """For a kernel without READDIRPLUS: the handler counts lookups that the kernel does not; give them back."""
        token = make_token(request.size)
        await self._ask("readdir", request.fh, request.offset, token)
        entries = listing_of(token)
        for entry in entries:
            if entry.name not in (b".", b".."):
                self.forget(entry.ino, 1)
        return entries

    def releasedir(self, request: m.Releasedir) -> Work[None]:
        return self._ask("releasedir", request.fh)

    def fsyncdir(self, request: m.Fsyncdir) -> Work[None]:
        return self._ask("fsyncdir", request.fh, bool(request.fsync_flags & FsyncFlags.FDATASYNC))

    # Extended attributes

    async def setxattr(self, request: m.Setxattr) -> None:
        """pyfuse3's handler has no flags: "must exist" and "must not exist" are checked by asking for the value first.

        A handler may refuse the question in the kernel's words, with ENODATA; every other error is the answer.
        """
        if request.nodeid == fuse.ROOT_NODEID and request.name == STACKTRACE:
            self._stacktrace()
            return
        context = make_context(request)
        if request.flags:
            if request.flags not in (XattrFlags.CREATE, XattrFlags.REPLACE):
                raise self.failure(ValueError(f"setxattr flags {request.flags:#x} are not known"))
            is_there = True
            try:
                await self._ask("getxattr", request.nodeid, request.name, context)
            except OSError as exc:
                if exc.errno != errno.ENODATA or request.flags == XattrFlags.REPLACE:
                    raise
                is_there = False
            if is_there and request.flags == XattrFlags.CREATE:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        await self._ask("setxattr", request.nodeid, request.name, bytes(request.value), context)

    def _stacktrace(self) -> None:
        try:
            self.fs.stacktrace()
        except BaseException as exc:
            raise self.failure(exc) from None

    def getxattr(self, request: m.Getxattr) -> Work[bytes]:
        return self._ask("getxattr", request.nodeid, request.name, make_context(request))

    def listxattr(self, request: m.Listxattr) -> Work[list[bytes]]:
        return self._ask("listxattr", request.nodeid, make_context(request))

    def removexattr(self, request: m.Removexattr) -> Work[None]:
        return self._ask("removexattr", request.nodeid, request.name, make_context(request))
