"""Between the session and a file system written for pyfuse3: request objects in, positional arguments out.

Every call goes through `Adapter._ask`, which settles what happens when a handler raises:

- `FUSEError` is answered with its errno;
- a cancellation passes through;
- anything else, a value of the wrong type included, is a bug of the file system: its caller gets EIO, `failed` is told,
  and `main` ends with that exception.

Handlers are looked up when they are called, so they may be replaced on a living instance.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeAlias, TypeVar

import anyio

from aiovfs import fuse
from aiovfs.compat.pyfuse3.coercion import I64, U32, U64, to_integer
from aiovfs.compat.pyfuse3.operations import Operations
from aiovfs.compat.pyfuse3.requests import make_context, make_fields, make_poll_handle, make_token
from aiovfs.compat.pyfuse3.values import EntryAttributes, FileInfo, FUSEError, StatvfsData
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


def to_attributes(value: EntryAttributes) -> fuse.Attributes:
    if not isinstance(value, EntryAttributes):
        raise wrong_type(value, EntryAttributes)
    return value


def to_entry(value: EntryAttributes) -> fuse.Entry:
    if not isinstance(value, EntryAttributes):
        raise wrong_type(value, EntryAttributes)
    return fuse.Entry(value.ino, value, value._generation, value._entry_timeout)


def to_opened(value: FileInfo) -> fuse.Opened:
    if not isinstance(value, FileInfo):
        raise wrong_type(value, FileInfo)
    return fuse.Opened(value._fh, value._direct_io, value._keep_cache, value._nonseekable)


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
    """Serves `fs`. `failed` is called with each exception that is to end `main`; `wake_poll` with a poll handle."""

    def __init__(
        self, fs: Operations, *, failed: Callable[[BaseException], None], wake_poll: Callable[[int], None]
    ) -> None:
        self.fs = fs
        self._failed = failed
        self._wake_poll = wake_poll
        self._session: fuse.Session
        self._forgotten: list[tuple[int, int]] = []
        self._giving_back = 0
        self._all_given_back = anyio.Event()

    async def _ask(self, convert: Callable[[Any], R], handler: str, *args: Any) -> R:
        try:
            return convert(await getattr(self.fs, handler)(*args))
        except FUSEError as exc:
            refusal = self._refusal(handler, exc, is_void=convert is to_nothing)
            if refusal is None:
                return None  # type: ignore[return-value]  # to_nothing: R is None
            raise refusal from None
        except BaseException as exc:
            raise self._failure(exc) from None

    def _refusal(self, handler: str, exc: FUSEError, *, is_void: bool) -> OSError | None:
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

    def _failure(self, exc: BaseException) -> BaseException:
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
        """Gather what the kernel gives back; one call of the handler, in a task of its own, takes what is there."""
        if getattr(self.fs.forget, "__func__", None) is Operations.forget:
            return
        if not self._forgotten:
            self._giving_back += 1
            self._session.start_soon(self._give_back)
        self._forgotten.append((nodeid, count))

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
        return self._ask(to_entry, "lookup", request.nodeid, request.name, make_context(request))

    def getattr(self, request: m.Getattr) -> Work[fuse.Attributes]:
        return self._ask(to_attributes, "getattr", request.nodeid, make_context(request))

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
        return self._ask(
            to_attributes, "setattr", request.nodeid, changed, make_fields(**updates), fh, make_context(request)
        )

    def readlink(self, request: m.Readlink) -> Work[bytes]:
        return self._ask(to_bytes, "readlink", request.nodeid, make_context(request))

    def access(self, request: m.Access) -> Work[None]:
        return self._ask(to_permission, "access", request.nodeid, request.mask, make_context(request))

    def statfs(self, request: m.Statfs) -> Work[fuse.Statfs]:
        return self._ask(to_statfs, "statfs", make_context(request))

    # Making and removing names

    def symlink(self, request: m.Symlink) -> Work[fuse.Entry]:
        return self._ask(to_entry, "symlink", request.nodeid, request.name, request.target, make_context(request))

    def mknod(self, request: m.Mknod) -> Work[fuse.Entry]:
        context = make_context(request, request.umask)
        return self._ask(to_entry, "mknod", request.nodeid, request.name, request.mode, request.rdev, context)

    def mkdir(self, request: m.Mkdir) -> Work[fuse.Entry]:
        # The kernel leaves the type out here, and only here; file systems give `mode` back as it came.
        mode = stat.S_IMODE(request.mode) | stat.S_IFDIR
        context = make_context(request, request.umask)
        return self._ask(to_entry, "mkdir", request.nodeid, request.name, mode, context)

    def unlink(self, request: m.Unlink) -> Work[None]:
        return self._ask(to_nothing, "unlink", request.nodeid, request.name, make_context(request))

    def rmdir(self, request: m.Rmdir) -> Work[None]:
        return self._ask(to_nothing, "rmdir", request.nodeid, request.name, make_context(request))

    def rename(self, request: m.Rename) -> Work[None]:
        names = (request.nodeid, request.name, request.newdir, request.newname)
        return self._ask(to_nothing, "rename", *names, request.flags, make_context(request))

    def link(self, request: m.Link) -> Work[fuse.Entry]:
        return self._ask(to_entry, "link", request.oldnodeid, request.nodeid, request.name, make_context(request))

    # Files

    def create(self, request: m.Create) -> Work[tuple[fuse.Entry, fuse.Opened]]:
        context = make_context(request, request.umask)
        return self._ask(to_created, "create", request.nodeid, request.name, request.mode, request.flags, context)

    def open(self, request: m.Open) -> Work[fuse.Opened]:
        return self._ask(to_opened, "open", request.nodeid, request.flags, make_context(request))

    def read(self, request: m.Read) -> Work[Buffer]:
        return self._ask(to_data, "read", request.fh, request.offset, request.size)

    def write(self, request: m.Write) -> Work[int]:
        return self._ask(to_count, "write", request.fh, request.offset, bytes(request.data))

    def flush(self, request: m.Flush) -> Work[None]:
        return self._ask(to_nothing, "flush", request.fh)

    def release(self, request: m.Release) -> Work[None]:
        return self._ask(to_nothing, "release", request.fh)

    def fsync(self, request: m.Fsync) -> Work[None]:
        return self._ask(to_nothing, "fsync", request.fh, bool(request.fsync_flags & FsyncFlags.FDATASYNC))

    def poll(self, request: m.Poll) -> Work[int]:
        handle = None
        if request.flags & PollFlags.SCHEDULE_NOTIFY:
            handle = make_poll_handle(functools.partial(self._wake_poll, request.kh))
        return self._ask(to_events, "poll", request.nodeid, request.fh, handle, make_context(request))

    # Directories

    def opendir(self, request: m.Opendir) -> Work[fuse.Opened]:
        return self._ask(to_directory, "opendir", request.nodeid, make_context(request))

    async def readdirplus(self, request: m.Readdirplus) -> list[fuse.DirEntry]:
        token, entries = make_token(request.size)
        await self._ask(to_nothing, "readdir", request.fh, request.offset, token)
        return entries

    async def readdir(self, request: m.Readdir) -> list[fuse.DirEntry]:
        """For a kernel without READDIRPLUS: the handler counts lookups that the kernel does not; give them back."""
        token, entries = make_token(request.size)
        await self._ask(to_nothing, "readdir", request.fh, request.offset, token)
        for entry in entries:
            if entry.name not in (b".", b".."):
                self.forget(entry.ino, 1)
        return entries

    def releasedir(self, request: m.Releasedir) -> Work[None]:
        return self._ask(to_nothing, "releasedir", request.fh)

    def fsyncdir(self, request: m.Fsyncdir) -> Work[None]:
        return self._ask(to_nothing, "fsyncdir", request.fh, bool(request.fsync_flags & FsyncFlags.FDATASYNC))

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
                raise self._failure(ValueError(f"setxattr flags {request.flags:#x} are not known"))
            is_there = True
            try:
                await self._ask(to_bytes, "getxattr", request.nodeid, request.name, context)
            except OSError as exc:
                if exc.errno != errno.ENODATA or request.flags == XattrFlags.REPLACE:
                    raise
                is_there = False
            if is_there and request.flags == XattrFlags.CREATE:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        await self._ask(to_nothing, "setxattr", request.nodeid, request.name, bytes(request.value), context)

    def _stacktrace(self) -> None:
        try:
            self.fs.stacktrace()
        except BaseException as exc:
            raise self._failure(exc) from None

    def getxattr(self, request: m.Getxattr) -> Work[bytes]:
        return self._ask(to_bytes, "getxattr", request.nodeid, request.name, make_context(request))

    def listxattr(self, request: m.Listxattr) -> Work[list[bytes]]:
        return self._ask(to_names, "listxattr", request.nodeid, make_context(request))

    def removexattr(self, request: m.Removexattr) -> Work[None]:
        return self._ask(to_nothing, "removexattr", request.nodeid, request.name, make_context(request))
