"""FUSE's requests, answered by a VFS. The only module that knows both.

What is translated here: nodeids and file handles into `Inode` and `OpenFile` objects, attributes into what stat(2)
shows with the options of the mount, exceptions into errnos, listings into entries with cookies.

The kernel caches, so it has to hear the truth. Its pages of a file are kept at open when the version is the one that it
had pages of. When open finds that the size in the store is another one than the kernel was told, the answer is ESTALE:
the kernel then looks the name up again, takes the new attributes from that, and opens again, unseen by the program
(fs/namei.c, LOOKUP_REVAL).
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

import anyio

from aiovfs import fuse
from aiovfs.fs.info import Kind
from aiovfs.mount.errors import errno_of, error
from aiovfs.mount.files import OpenFile
from aiovfs.mount.inode import S_IFMT_OF, Inode
from aiovfs.mount.vfs import VFS, Dirent
from aiovfs.types import Buffer

__all__ = ["Adapter"]

A = TypeVar("A", bound="Adapter")
Q = TypeVar("Q", bound=fuse.Request)
R = TypeVar("R")

FOREVER = 2.0**31
"""Seconds that stand for "for ever" on the wire."""


def answers(handler: Callable[[A, Q], Coroutine[Any, Any, R]]) -> Callable[[A, Q], Coroutine[Any, Any, R]]:
    """Answer what a store may raise with its errno; what is nobody's fault but ours goes on to the session as it is."""

    @functools.wraps(handler)
    async def handle(self: A, request: Q) -> R:
        try:
            return await handler(self, request)
        except Exception as exception:
            number = errno_of(exception)
            if number is None or (isinstance(exception, OSError) and exception.errno == number):
                raise
            raise OSError(number, str(exception) or os.strerror(number)) from exception

    return handle


class OpenDirectory:
    """An open directory and what was in it when it was read from its start."""

    __slots__ = ("entries", "inode", "seen_changes")

    def __init__(self, inode: Inode) -> None:
        self.inode = inode
        self.seen_changes = 0
        self.entries: list[Dirent] | None = None


class Adapter(fuse.Operations):
    """A VFS as a FUSE file system."""

    def __init__(self, vfs: VFS) -> None:
        self.vfs = vfs
        self.inodes: fuse.InodeTable[Inode] = fuse.InodeTable(vfs.root)
        self.handles: fuse.HandleTable[OpenFile] = fuse.HandleTable()
        self.directories: fuse.HandleTable[OpenDirectory] = fuse.HandleTable()
        options = vfs.options
        self._entry_timeout = min(options.entry_timeout, FOREVER)
        self._attr_timeout = min(options.attr_timeout, FOREVER)
        self._negative_timeout = min(options.negative_timeout, FOREVER)
        self._uid = os.getuid() if options.uid is None else options.uid
        self._gid = os.getgid() if options.gid is None else options.gid
        self._mounted_at_ns = time.time_ns()

    def forgotten(self, nodeid: int, obj: Inode) -> None:
        self.vfs.forget(obj)

    # Replies

    def attributes(self, inode: Inode) -> fuse.Attributes:
        """What stat(2) shows of an inode."""
        options = self.vfs.options
        if inode.mode is None:
            permissions = options.dir_mode if inode.is_directory else options.file_mode
            if inode.kind is Kind.SYMLINK:
                permissions = 0o777
        else:
            permissions = inode.mode
        # Where the store does not say, a directory is as old as the mount: a time that moved on each look would make
        # every build tool start again.
        mtime_ns = self._mounted_at_ns if inode.mtime_ns is None else inode.mtime_ns
        nlink = inode.nlink
        if nlink is None:
            nlink = 0 if inode.is_unlinked and not inode.is_replaced else 1
        return fuse.Attributes(
            ino=inode.ino,
            mode=inode.format | permissions & ~options.umask,
            size=inode.size or 0,
            nlink=nlink,
            uid=inode.uid if inode.uid is not None and options.uid is None else self._uid,
            gid=inode.gid if inode.gid is not None and options.gid is None else self._gid,
            rdev=inode.rdev,
            atime_ns=mtime_ns if inode.atime_ns is None else inode.atime_ns,
            mtime_ns=mtime_ns,
            ctime_ns=mtime_ns if inode.ctime_ns is None else inode.ctime_ns,
            birthtime_ns=inode.birthtime_ns or 0,
            timeout=self._attr_timeout,
        )

    def _entry(self, inode: Inode) -> fuse.Entry:
        inode.is_known = True  # until `forgotten`, also when the reply is not sent after all
        return fuse.Entry(self.inodes.remember(inode), self.attributes(inode), timeout=self._entry_timeout)

    def _owner(self, request: fuse.Request) -> tuple[int, int]:
        return (request.uid, request.gid)

    def _file(self, request: Any) -> OpenFile:
        return self.handles.get(request.fh)

    # Names and attributes

    @answers
    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        try:
            inode = await self.vfs.lookup(self.inodes.get(request.nodeid), request.name)
        except FileNotFoundError:
            if self._negative_timeout:
                return fuse.Entry.negative(self._negative_timeout)
            raise
        return self._entry(inode)

    @answers
    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        inode = self.inodes.get(request.nodeid)
        file = self._file(request) if request.getattr_flags & fuse.GetattrFlags.FH else None
        await self.vfs.refresh(inode, file)
        return self.attributes(inode)

    @answers
    async def setattr(self, request: fuse.Setattr) -> fuse.Attributes:
        inode = self.inodes.get(request.nodeid)
        valid = fuse.SetattrValid(request.valid)
        now = time.time_ns() if valid & (fuse.SetattrValid.ATIME_NOW | fuse.SetattrValid.MTIME_NOW) else 0
        atime_ns = mtime_ns = None
        if valid & fuse.SetattrValid.ATIME:
            atime_ns = now if valid & fuse.SetattrValid.ATIME_NOW else _ns(request.atime, request.atimensec)
        if valid & fuse.SetattrValid.MTIME:
            mtime_ns = now if valid & fuse.SetattrValid.MTIME_NOW else _ns(request.mtime, request.mtimensec)
        await self.vfs.set_attributes(
            inode,
            mode=stat.S_IMODE(request.mode) if valid & fuse.SetattrValid.MODE else None,
            uid=request.new_uid if valid & fuse.SetattrValid.UID else None,
            gid=request.new_gid if valid & fuse.SetattrValid.GID else None,
            atime_ns=atime_ns,
            mtime_ns=mtime_ns,
            size=request.size if valid & fuse.SetattrValid.SIZE else None,
            file=self._file(request) if valid & fuse.SetattrValid.FH else None,
        )
        return self.attributes(inode)

    @answers
    async def readlink(self, request: fuse.Readlink) -> bytes:
        return await self.vfs.readlink(self.inodes.get(request.nodeid))

    @answers
    async def statfs(self, request: fuse.StatfsRequest) -> fuse.Statfs:
        usage = await self.vfs.usage()
        unit = usage.block_size
        return fuse.Statfs(
            blocks=usage.size // unit,
            bfree=usage.free // unit,
            bavail=usage.available // unit,
            files=usage.files,
            ffree=usage.files_free,
            bsize=unit,
            frsize=unit,
            namelen=usage.name_length,
        )

    # Making and removing names

    @answers
    async def mknod(self, request: fuse.Mknod) -> fuse.Entry:
        directory = self.inodes.get(request.nodeid)
        return self._entry(await self.vfs.mknod(directory, request.name, request.mode, owner=self._owner(request)))

    @answers
    async def mkdir(self, request: fuse.Mkdir) -> fuse.Entry:
        directory = self.inodes.get(request.nodeid)
        mode = stat.S_IMODE(request.mode)
        return self._entry(await self.vfs.mkdir(directory, request.name, mode, owner=self._owner(request)))

    @answers
    async def symlink(self, request: fuse.Symlink) -> fuse.Entry:
        directory = self.inodes.get(request.nodeid)
        target = bytes(request.target)
        return self._entry(await self.vfs.symlink(directory, request.name, target, owner=self._owner(request)))

    @answers
    async def link(self, request: fuse.Link) -> fuse.Entry:
        raise error(errno.EPERM, request.name)  # link(2): "the file system does not support the creation of hard links"

    @answers
    async def unlink(self, request: fuse.Unlink) -> None:
        await self.vfs.unlink(self.inodes.get(request.nodeid), request.name)

    @answers
    async def rmdir(self, request: fuse.Rmdir) -> None:
        await self.vfs.rmdir(self.inodes.get(request.nodeid), request.name)

    @answers
    async def rename(self, request: fuse.Rename) -> None:
        await self.vfs.rename(
            self.inodes.get(request.nodeid),
            request.name,
            self.inodes.get(request.newdir),
            request.newname,
            request.flags,
        )

    # Files

    @answers
    async def create(self, request: fuse.Create) -> tuple[fuse.Entry, fuse.Opened]:
        directory = self.inodes.get(request.nodeid)
        mode = stat.S_IMODE(request.mode)
        inode, file = await self.vfs.create(directory, request.name, request.flags, mode, owner=self._owner(request))
        return self._entry(inode), self._opened(file)

    @answers
    async def open(self, request: fuse.Open) -> fuse.Opened:
        inode = self.inodes.get(request.nodeid)
        size = inode.size
        file = await self.vfs.open(inode, request.flags)
        if file.is_new_version and inode.size != size and not request.flags & os.O_TRUNC:
            with anyio.CancelScope(shield=True):
                await file.release()
            raise error(errno.ESTALE, inode.name)  # see the head of this file
        return self._opened(file)

    def _opened(self, file: OpenFile) -> fuse.Opened:
        inode = file.inode
        keep = inode.fingerprint is not None and inode.fingerprint == inode.paged_fingerprint
        if not keep:
            inode.paged_fingerprint = inode.fingerprint
        return fuse.Opened(self.handles.open(file), direct_io=file.has_unknown_size, keep_cache=keep)

    @answers
    async def read(self, request: fuse.Read) -> Buffer:
        return await self.handles.get(request.fh).read(request.offset, request.size)

    @answers
    async def write(self, request: fuse.Write) -> int:
        return await self.handles.get(request.fh).write(request.offset, request.data)

    @answers
    async def flush(self, request: fuse.Flush) -> None:
        await self._file(request).flush()

    @answers
    async def fsync(self, request: fuse.Fsync) -> None:
        await self._file(request).fsync(data_only=bool(request.fsync_flags & 1))

    @answers
    async def release(self, request: fuse.Release) -> None:
        await self.handles.close(request.fh).release()

    # Directories

    @answers
    async def opendir(self, request: fuse.Opendir) -> fuse.Opened:
        inode = self.inodes.get(request.nodeid)
        if not inode.is_directory:
            raise error(errno.ENOTDIR, inode.name)
        return fuse.Opened(self.directories.open(OpenDirectory(inode)))

    @answers
    async def readdir(self, request: fuse.Readdir) -> Iterable[fuse.DirEntry]:
        return self._listed(await self._read_directory(request), request.offset, plus=False)

    @answers
    async def readdirplus(self, request: fuse.Readdirplus) -> Iterable[fuse.DirEntry]:
        return self._listed(await self._read_directory(request), request.offset, plus=True)

    async def _read_directory(self, request: fuse.Readdir | fuse.Readdirplus) -> OpenDirectory:
        opened = self.directories.get(request.fh)
        if opened.entries is None or request.offset == 0:
            opened.seen_changes = opened.inode.changes
            opened.entries = await self.vfs.list(opened.inode)
        return opened

    def _listed(self, opened: OpenDirectory, offset: int, *, plus: bool) -> Iterator[fuse.DirEntry]:
        """Entries from a cookie on. 1 and 2 follow "." and "..", then each entry's number in the listing plus 3."""
        directory, entries = opened.inode, opened.entries or []
        parent = directory.parent if directory.parent is not None else directory
        if offset == 0:
            yield fuse.DirEntry(b".", directory.ino, stat.S_IFDIR, 1)
        if offset <= 1:
            yield fuse.DirEntry(b"..", parent.ino, stat.S_IFDIR, 2)
        for number in range(max(offset - 2, 0), len(entries)):
            dirent = entries[number]
            entry = self._listed_entry(opened, dirent) if plus else None
            yield fuse.DirEntry(dirent.name, dirent.ino, S_IFMT_OF[dirent.info.kind], number + 3, entry)

    def _listed_entry(self, opened: OpenDirectory, dirent: Dirent) -> fuse.Entry | None:
        """Attributes as the listing has them; None where only a request would tell the size."""
        directory, info = opened.inode, dirent.info
        child = directory.children.get(dirent.name)
        if directory.is_unlinked or (child is None and opened.seen_changes != directory.changes):
            return None  # perhaps removed since the listing was made: let the kernel look it up
        if info.kind is Kind.FILE and info.size is None:
            return None
        return self._entry(self.vfs.note(directory, dirent.name, info, dirent.checked_at))

    @answers
    async def releasedir(self, request: fuse.Releasedir) -> None:
        self.directories.close(request.fh)


def _ns(seconds: int, nanoseconds: int) -> int:
    """A time on the wire; seconds before 1970 come as unsigned."""
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    return seconds * 1_000_000_000 + nanoseconds
