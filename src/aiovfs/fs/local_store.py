"""A directory of the local disk as a store: everything that the operating system offers, in place.

No call follows a symlink in any component of a path below the root (`beneath.py`): a directory that another program
swaps for a symlink leads nowhere. A file that is replaced as a whole (`upload`, `copy`) is written under another name
beside it, put on disk, and renamed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiovfs import aio
from aiovfs.errors import ClosedError, StaleError
from aiovfs.fs import paths
from aiovfs.fs.beneath import Place, open_directory, outside, parent_of
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.store import Progress, Reader, Store, StoreFile
from aiovfs.types import Buffer, Usage

if TYPE_CHECKING:
    from aiovfs.fs.local import LocalFileSystem

__all__ = ["LocalStore"]

T = TypeVar("T")

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

    async def _at(self, func: Callable[..., T], path: str, *args: Any) -> T:
        """Call the blocking `func(place, *args)` with the place of `path`."""
        return await aio.run(_call_at, self.root, paths.check(path), func, args)

    async def info(self, path: str) -> Info:
        return await self._at(info_of, path, paths.name_of(path))

    async def list(self, path: str) -> list[Info]:
        return await aio.run(infos_in, self.root, paths.check(path))

    async def readlink(self, path: str) -> str:
        return await self._at(read_link, path)

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
        return LocalReader(await self._at(open_guarded, path, os.O_RDONLY, None), path, info)

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
        return LocalFile(await self._at(open_guarded, path, flags, mode if create else None), path)

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        self._check_writable(path)
        await self._at(replace_from, path, source, exclusive, progress)
        return await self.info(path)

    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        await self._at(copy_out, path, target, progress)

    async def remove(self, path: str) -> None:
        self._check_writable(path)
        await self._at(lambda place: os.unlink(place.name, dir_fd=place.directory), path)

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        self._check_writable(path)
        await self._at(make_directory, path, mode)

    async def rmdir(self, path: str) -> None:
        self._check_writable(path)
        await self._at(lambda place: os.rmdir(place.name, dir_fd=place.directory), path)

    async def copy(self, old: str, new: str) -> None:
        self._check_writable(new)
        await aio.run(copy_beneath, self.root, paths.check(old), paths.check(new))

    async def rename(self, old: str, new: str) -> None:
        self._check_writable(old)
        paths.check_rename(old, new)
        await aio.run(rename, self.root, paths.check(old), paths.check(new))

    async def symlink(self, target: str, path: str) -> None:
        self._check_writable(path)
        await self._at(make_symlink, path, target)

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
        await self._at(set_attributes, path, mode, uid, gid, atime_ns, mtime_ns, size)


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


def _call_at(root: str, path: str, func: Callable[..., T], args: tuple[Any, ...]) -> T:
    with parent_of(root, path) as place:
        return func(place, *args)


def info_of(place: Place, name: str) -> Info:
    """lstat(2), and where a symlink points."""
    status = os.lstat(place.name, dir_fd=place.directory)
    return info_from(status, name, read_link(place) if stat.S_ISLNK(status.st_mode) else None)


def infos_in(root: str, path: str) -> list[Info]:
    """Everything in a directory; what vanishes meanwhile is left out."""
    found = []
    fd = open_directory(root, path, os.O_RDONLY)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found.append(info_of(Place(fd, entry.name, entry.name), entry.name))
                except FileNotFoundError:
                    continue
    finally:
        os.close(fd)
    return found


def read_link(place: Place) -> str:
    """Where a symlink points."""
    return os.readlink(place.name, dir_fd=place.directory)


def make_symlink(place: Place, target: str) -> None:
    """Make a symlink that says `target`."""
    os.symlink(target, place.name, dir_fd=place.directory)


def rename(root: str, old: str, new: str) -> None:
    """Give `old` the name of `new`, replacing what has it."""
    with parent_of(root, old) as here, parent_of(root, new) as there:
        try:
            os.rename(here.name, there.name, src_dir_fd=here.directory, dst_dir_fd=there.directory)
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, here.full, None, there.full) from None


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


def open_guarded(place: Place, flags: int, mode: int | None) -> Guard:
    """As `open_regular`; what comes back closes the descriptor, also when the opener was cancelled meanwhile."""
    return Guard(open_regular(place, flags, mode))


def open_regular(place: Place, flags: int, mode: int | None) -> int:
    """Open a regular file without following a symlink.

    `mode` are the permissions of a file that is made, whatever the process's umask is; None never makes one.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would hold up the thread until somebody writes
    while True:
        if flags & os.O_CREAT and mode is not None:
            try:
                fd = os.open(place.name, (flags | os.O_EXCL) & ~os.O_TRUNC, mode, dir_fd=place.directory)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
            else:
                os.fchmod(fd, stat.S_IMODE(mode))
                return fd
        try:
            fd = os.open(place.name, flags & ~(os.O_CREAT | os.O_EXCL), dir_fd=place.directory)
        except FileNotFoundError:
            if flags & os.O_CREAT:
                continue  # it was there a moment ago
            raise
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFREG:
            return fd
        os.close(fd)
        number = errno.EISDIR if kind == stat.S_IFDIR else errno.EOPNOTSUPP
        raise OSError(number, os.strerror(number), place.full)


def make_directory(place: Place, mode: int) -> None:
    """mkdir(2) with exactly these permissions."""
    os.mkdir(place.name, mode, dir_fd=place.directory)
    change_mode(place, stat.S_IMODE(mode))


def set_attributes(
    target: Place | int,
    mode: int | None,
    uid: int | None,
    gid: int | None,
    atime_ns: int | None,
    mtime_ns: int | None,
    size: int | None,
) -> None:
    """Change what is given of a place, not following a symlink, or of an open descriptor."""
    what: str | int
    if isinstance(target, Place):
        what, where = target.name, {"dir_fd": target.directory, "follow_symlinks": False}
    else:
        what, where = target, {}
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
        os.chown(what, -1 if uid is None else uid, -1 if gid is None else gid, **where)  # type: ignore[arg-type]
    if mode is not None:
        if isinstance(target, int):
            os.fchmod(target, stat.S_IMODE(mode))
        else:
            change_mode(target, stat.S_IMODE(mode))
    if atime_ns is not None or mtime_ns is not None:
        now = os.stat(what, **where)  # type: ignore[arg-type]
        times = (now.st_atime_ns if atime_ns is None else atime_ns, now.st_mtime_ns if mtime_ns is None else mtime_ns)
        os.utime(what, ns=times, **where)  # type: ignore[arg-type]


def change_mode(place: Place, mode: int) -> None:
    """chmod(2) of anything but a symlink: Linux has no call that does not follow one, so the file is pinned first."""
    fd = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.directory)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.EOPNOTSUPP, "a symlink has no permissions of its own", place.full)
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def replace_from(target: Place, source: str, exclusive: bool, progress: Callable[[int], None] | None) -> None:
    """Make a copy of any file of this machine the file `target`."""
    replace_by_copy(outside(source), target, exclusive, progress)


def copy_out(source: Place, target: str, progress: Callable[[int], None] | None) -> None:
    """Make a copy of `source` any file of this machine."""
    replace_by_copy(source, outside(target), False, progress)


def copy_beneath(root: str, old: str, new: str) -> None:
    """Make a copy of the file `old` the file `new`."""
    with parent_of(root, old) as source:
        os.close(open_regular(source, os.O_RDONLY, None))  # what is wrong with the source is said first
        with parent_of(root, new) as target:
            replace_by_copy(source, target, False, None)


def replace_by_copy(source: Place, target: Place, exclusive: bool, progress: Callable[[int], None] | None) -> None:
    """Make a copy of `source` the file `target` in one step, on disk before it has the name."""
    reading = open_regular(source, os.O_RDONLY, None)
    temporary = target.beside(f".aiovfs-{os.urandom(8).hex()}")
    try:
        try:
            known = os.lstat(target.name, dir_fd=target.directory)
        except FileNotFoundError:
            mode = stat.S_IMODE(os.fstat(reading).st_mode)
        else:
            if exclusive:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target.full)
            if os.path.samestat(known, os.fstat(reading)):
                return
            if stat.S_ISDIR(known.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target.full)
            mode = stat.S_IMODE(known.st_mode)
        writing = open_regular(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            copy_content(reading, writing, progress)
            os.fsync(writing)
        except BaseException:
            remove(temporary)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    here, there = temporary.directory, target.directory  # the same
    try:
        if exclusive:
            # Unlike rename(2), link(2) refuses when the name is taken.
            os.link(temporary.name, target.name, src_dir_fd=here, dst_dir_fd=there)
            remove(temporary)
        else:
            os.replace(temporary.name, target.name, src_dir_fd=here, dst_dir_fd=there)
    except BaseException:
        remove(temporary)
        raise


def remove(place: Place) -> None:
    """unlink(2)."""
    os.unlink(place.name, dir_fd=place.directory)


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
