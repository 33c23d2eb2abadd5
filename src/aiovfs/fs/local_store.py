"""A directory of the local disk as a store: everything that the operating system offers, in place.

No call follows a symlink in the last component of a path; the components above it are the caller's to resolve. A file
that is replaced as a whole (`upload`, `copy`) is written under another name beside it, put on disk, and renamed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiovfs import aio
from aiovfs.errors import ClosedError, StaleError
from aiovfs.fs import paths
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.store import Progress, Reader, Store, StoreFile
from aiovfs.types import Buffer, Usage

if TYPE_CHECKING:
    from aiovfs.fs.local import LocalFileSystem

__all__ = ["LocalStore"]

COPY_SIZE = 8 << 20
"""Bytes copied between two calls of `progress`."""


class LocalStore(Store):
    """See the head of this file."""

    def __init__(self, fs: LocalFileSystem, root: str, *, read_only: bool = False) -> None:
        capabilities = Capabilities(
            writable=not read_only,
            positioned_writes=True,
            atomic_rename=True,
            symlinks=True,
            attributes=True,
            cheap_metadata=True,
        )
        super().__init__(fs, root, url=f"file://{root}", protocol="file", capabilities=capabilities)

    def _full(self, path: str) -> str:
        return paths.join(self.root, paths.check(path))

    async def info(self, path: str) -> Info:
        return await aio.run(info_of, self._full(path), paths.name_of(path))

    async def list(self, path: str) -> list[Info]:
        return await aio.run(infos_in, self._full(path))

    async def readlink(self, path: str) -> str:
        return await aio.run(os.readlink, self._full(path))

    async def usage(self) -> Usage | None:
        status = await aio.run(os.statvfs, self.root)
        return Usage(
            size=status.f_blocks * status.f_frsize,
            free=status.f_bfree * status.f_frsize,
            available=status.f_bavail * status.f_frsize,
            files=status.f_files,
            files_free=status.f_ffree,
            block_size=status.f_bsize,
            name_length=status.f_namemax,
        )

    async def open_reader(self, path: str, info: Info) -> Reader:
        return LocalReader(await aio.run(open_guarded, self._full(path), os.O_RDONLY, None), path, info)

    async def open_file(
        self,
        path: str,
        *,
        writable: bool,
        create: bool = False,
        exclusive: bool = False,
        truncate: bool = False,
        mode: int = 0o644,
    ) -> StoreFile:
        if writable or create or truncate:
            self._check_writable(path)
        flags = os.O_RDWR if writable or truncate else os.O_RDONLY
        if truncate:
            flags |= os.O_TRUNC
        if create:
            flags |= os.O_CREAT | (os.O_EXCL if exclusive else 0)
        return LocalFile(await aio.run(open_guarded, self._full(path), flags, mode if create else None), path)

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        self._check_writable(path)
        await aio.run(replace_by_copy, source, self._full(path), exclusive, progress)
        return await self.info(path)

    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        await aio.run(replace_by_copy, self._full(path), target, False, progress)

    async def remove(self, path: str) -> None:
        self._check_writable(path)
        await aio.run(os.unlink, self._full(path))

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        self._check_writable(path)
        await aio.run(make_directory, self._full(path), mode)

    async def rmdir(self, path: str) -> None:
        self._check_writable(path)
        await aio.run(os.rmdir, self._full(path))

    async def copy(self, old: str, new: str) -> None:
        self._check_writable(new)
        await aio.run(replace_by_copy, self._full(old), self._full(new), False, None)

    async def rename(self, old: str, new: str) -> None:
        self._check_writable(old)
        paths.check_rename(old, new)
        await aio.run(os.rename, self._full(old), self._full(new))

    async def symlink(self, target: str, path: str) -> None:
        self._check_writable(path)
        await aio.run(os.symlink, target, self._full(path))

    async def set_attributes(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
    ) -> None:
        self._check_writable(path)
        await aio.run(set_attributes, self._full(path), mode, uid, gid, atime_ns, mtime_ns, size)


class LocalReader(Reader):
    """Reads the file that was opened, also after another took its name, as long as nobody changes it in place."""

    def __init__(self, guard: Guard, path: str, info: Info) -> None:
        self._guard = guard
        self._path = path
        self._fingerprint = info.fingerprint

    async def read(self, offset: int, size: int) -> bytes:
        with self._guard as fd:
            data = await aio.pread(fd, size, offset)
            # Asked of an open descriptor: no path is walked, nothing waits on a local disk.
            now = fingerprint_of(os.fstat(fd))
        if self._fingerprint is not None and now != self._fingerprint:
            raise StaleError(f"{self._path!r} changed while it was being read: {self._fingerprint} became {now}")
        return data

    async def aclose(self) -> None:
        self._guard.close()


class LocalFile(StoreFile):
    """An open file of a `LocalStore`."""

    def __init__(self, guard: Guard, path: str) -> None:
        self._guard = guard
        self._path = path

    async def pread(self, size: int, offset: int) -> bytes:
        with self._guard as fd:
            return await aio.pread(fd, size, offset)

    async def pwrite(self, data: Buffer, offset: int) -> int:
        with self._guard as fd:
            return await aio.pwrite(fd, data, offset)

    async def truncate(self, size: int) -> None:
        with self._guard as fd:
            await aio.ftruncate(fd, size)

    async def fsync(self, *, data_only: bool = False) -> None:
        with self._guard as fd:
            await aio.fsync(fd, data_only=data_only)

    async def info(self) -> Info:
        with self._guard as fd:
            return info_from(await aio.run(os.fstat, fd), paths.name_of(self._path), None)

    async def set_attributes(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
    ) -> None:
        with self._guard as fd:
            await aio.run(set_attributes, fd, mode, uid, gid, atime_ns, mtime_ns, size)

    async def aclose(self) -> None:
        self._guard.close()


class Guard:
    """Closes a descriptor when nobody uses it any more, so that no call meets a number that another file got."""

    __slots__ = ("_closing", "_fd", "_users")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._users = 0
        self._closing = False

    def __enter__(self) -> int:
        if self._closing:
            raise ClosedError("the file was closed")
        self._users += 1
        return self._fd

    def __exit__(self, *exc: object) -> None:
        self._users -= 1
        if self._closing and not self._users:
            os.close(self._fd)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._users:
            os.close(self._fd)

    def __del__(self) -> None:
        self.close()


def info_of(full: str, name: str) -> Info:
    """lstat(2), and where a symlink points."""
    status = os.lstat(full)
    return info_from(status, name, os.readlink(full) if stat.S_ISLNK(status.st_mode) else None)


def infos_in(full: str) -> list[Info]:
    """Everything in a directory; what vanishes meanwhile is left out."""
    found = []
    with os.scandir(full) as entries:
        for entry in entries:
            try:
                found.append(info_of(entry.path, entry.name))
            except FileNotFoundError:
                continue
    return found


def info_from(status: os.stat_result, name: str, target: str | None) -> Info:
    """An `Info` out of what stat(2) said."""
    kind = Kind.of_mode(status.st_mode)
    return Info(
        name=name,
        kind=kind,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        fingerprint=fingerprint_of(status) if kind is Kind.FILE else None,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        ino=status.st_ino,
        nlink=status.st_nlink,
        rdev=status.st_rdev,
        atime_ns=status.st_atime_ns,
        ctime_ns=status.st_ctime_ns,
        target=target,
    )


def fingerprint_of(status: os.stat_result) -> str:
    """Size, time of change and inode number: a replaced file differs in the last even within one tick of the clock."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def open_guarded(full: str, flags: int, mode: int | None) -> Guard:
    """As `open_regular`; what comes back closes the descriptor, also when the opener was cancelled meanwhile."""
    return Guard(open_regular(full, flags, mode))


def open_regular(full: str, flags: int, mode: int | None) -> int:
    """Open a regular file without following a symlink.

    `mode` are the permissions of a file that is made, whatever the process's umask is; None never makes one.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would hold up the thread until somebody writes
    while True:
        if flags & os.O_CREAT and mode is not None:
            try:
                fd = os.open(full, (flags | os.O_EXCL) & ~os.O_TRUNC, mode)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
            else:
                os.fchmod(fd, stat.S_IMODE(mode))
                return fd
        try:
            fd = os.open(full, flags & ~(os.O_CREAT | os.O_EXCL))
        except FileNotFoundError:
            if flags & os.O_CREAT:
                continue  # it was there a moment ago
            raise
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFREG:
            return fd
        os.close(fd)
        number = errno.EISDIR if kind == stat.S_IFDIR else errno.EOPNOTSUPP
        raise OSError(number, os.strerror(number), full)


def make_directory(full: str, mode: int) -> None:
    """mkdir(2) with exactly these permissions."""
    os.mkdir(full, mode)
    os.chmod(full, stat.S_IMODE(mode))


def set_attributes(
    target: str | int,
    mode: int | None,
    uid: int | None,
    gid: int | None,
    atime_ns: int | None,
    mtime_ns: int | None,
    size: int | None,
) -> None:
    """Change what is given of a path, not following a symlink, or of an open descriptor."""
    follow = not isinstance(target, str)
    if size is not None:
        if isinstance(target, int):
            os.ftruncate(target, size)
        else:
            fd = open_regular(target, os.O_WRONLY, None)
            try:
                os.ftruncate(fd, size)
            finally:
                os.close(fd)
    if uid is not None or gid is not None:
        # Before the mode: chown(2) clears the set-user-id bit.
        os.chown(target, -1 if uid is None else uid, -1 if gid is None else gid, follow_symlinks=follow)
    if mode is not None:
        if isinstance(target, int):
            os.fchmod(target, stat.S_IMODE(mode))
        else:
            change_mode(target, stat.S_IMODE(mode))
    if atime_ns is not None or mtime_ns is not None:
        now = os.stat(target, follow_symlinks=follow)
        times = (now.st_atime_ns if atime_ns is None else atime_ns, now.st_mtime_ns if mtime_ns is None else mtime_ns)
        os.utime(target, ns=times, follow_symlinks=follow)


def change_mode(full: str, mode: int) -> None:
    """chmod(2) of anything but a symlink: Linux has no call that does not follow one, so the file is pinned first."""
    fd = os.open(full, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.EOPNOTSUPP, "a symlink has no permissions of its own", full)
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def replace_by_copy(source: str, target: str, exclusive: bool, progress: Callable[[int], None] | None) -> None:
    """Make a copy of `source` the file `target` in one step, on disk before it has the name."""
    reading = open_regular(source, os.O_RDONLY, None)
    temporary = os.path.join(os.path.dirname(target), f".aiovfs-{os.urandom(8).hex()}")
    try:
        try:
            known = os.lstat(target)
        except FileNotFoundError:
            mode = stat.S_IMODE(os.fstat(reading).st_mode)
        else:
            if exclusive:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
            if os.path.samestat(known, os.fstat(reading)):
                return
            if stat.S_ISDIR(known.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
            mode = stat.S_IMODE(known.st_mode)
        writing = open_regular(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            copy_content(reading, writing, progress)
            os.fsync(writing)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    try:
        if exclusive:
            os.link(temporary, target)  # unlike rename(2), refuses when the name is taken
            os.unlink(temporary)
        else:
            os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def copy_content(reading: int, writing: int, progress: Callable[[int], None] | None) -> None:
    """Copy to the end, in the kernel where it can."""
    done = 0
    in_kernel = True
    while True:
        if in_kernel:
            try:
                count = os.copy_file_range(reading, writing, COPY_SIZE, done, done)
            except OSError as exc:
                if exc.errno not in (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
                in_kernel = False
                continue
            if count == 0 and done == 0:
                in_kernel = False  # files of /proc and the like copy as empty
                continue
        else:
            count = aio.blocking.write(writing, os.pread(reading, COPY_SIZE, done), done)
        if count == 0:
            return
        done += count
        if progress is not None:
            progress(done)
