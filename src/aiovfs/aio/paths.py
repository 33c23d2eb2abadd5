"""What can be done with paths: the words of `os`, awaited, and a few that it lacks.

A call that is one operation of THE TABLE returns it as it is; everything else is one job of a thread, however many
system calls it takes. Errors are the `OSError`s that `os` raises, with errno and the names.

- `scandir` streams: each job brings a batch of entries, so a directory of a million names takes neither a million
  jobs nor the memory for all of them.
- Whole files come and go in one job (`read_bytes`, `write_bytes`). With `atomic` nobody ever sees half of a file, and
  with `sync` it is on the disk, name included, when the call returns. Whatever happens meanwhile (cancellation, a full
  disk, a crash of the process before the rename) leaves the old file as it was.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import stat as stat_module
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, Self, overload

from aiovfs.aio.batches import all_of, claim
from aiovfs.aio.engine import call, perform, perform_many
from aiovfs.aio.file import File, Source, Sync, view_of
from aiovfs.aio.opening import StrPath

__all__ = [
    "DirEntry",
    "Scan",
    "access",
    "chmod",
    "chown",
    "copy_file",
    "copy_range",
    "exists",
    "fallocate",
    "getxattr",
    "is_dir",
    "is_file",
    "link",
    "listdir",
    "listxattr",
    "lstat",
    "makedirs",
    "mkdir",
    "read_bytes",
    "read_bytes_many",
    "read_text",
    "readlink",
    "removexattr",
    "rename",
    "replace",
    "rmdir",
    "scandir",
    "setxattr",
    "stat",
    "stat_many",
    "statvfs",
    "symlink",
    "truncate",
    "unlink",
    "utime",
    "write_bytes",
    "write_text",
]

BATCH = 256
"""Entries of a directory that one job of `scandir` brings."""

WINDOW = 256
"""Files, or attributes, that the `_many` calls ask for at a time."""

COPY_SIZE = 8 << 20
"""Bytes copied by one job; between jobs a copy can be cancelled and reports its progress."""

NOT_HERE = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF, errno.EPERM})
"""What copy_file_range(2) says of files that it cannot copy."""


# --- attributes


def stat(path: StrPath | int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Awaitable[os.stat_result]:
    """The attributes of what is at `path` (or of an open descriptor)."""
    if isinstance(path, int):
        return perform("fstat", path)
    return perform("stat", path, dir_fd, follow_symlinks)


def lstat(path: StrPath, *, dir_fd: int | None = None) -> Awaitable[os.stat_result]:
    """The attributes of `path` itself, also when it is a symlink."""
    return perform("stat", path, dir_fd, False)


async def exists(path: StrPath, *, follow_symlinks: bool = True) -> bool:
    """Is there anything at `path`? False only for a definite no; other errors are raised."""
    try:
        await perform("stat", path, None, follow_symlinks)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


async def is_file(path: StrPath) -> bool:
    """Is `path` a regular file, or a symlink to one?"""
    return await _has_kind(path, stat_module.S_ISREG)


async def is_dir(path: StrPath) -> bool:
    """Is `path` a directory, or a symlink to one?"""
    return await _has_kind(path, stat_module.S_ISDIR)


async def _has_kind(path: StrPath, is_kind: Callable[[int], bool]) -> bool:
    try:
        status: os.stat_result = await perform("stat", path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return is_kind(status.st_mode)


def access(
    path: StrPath, mode: int, *, dir_fd: int | None = None, effective_ids: bool = False, follow_symlinks: bool = True
) -> Awaitable[bool]:
    """As `os.access`."""
    return call(
        lambda: os.access(path, mode, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks)
    )


def statvfs(path: StrPath | int) -> Awaitable[os.statvfs_result]:
    """How full the file system at `path` is."""
    return call(os.statvfs, path)


def chmod(path: StrPath | int, mode: int, *, dir_fd: int | None = None) -> Awaitable[None]:
    """Change permission bits."""
    return call(lambda: os.chmod(path, mode, dir_fd=dir_fd) if dir_fd is not None else os.chmod(path, mode))


def chown(
    path: StrPath | int, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> Awaitable[None]:
    """Change owner and group; -1 leaves one as it is."""
    return call(lambda: os.chown(path, uid, gid, dir_fd=dir_fd, follow_symlinks=follow_symlinks))


def utime(
    path: StrPath | int,
    times: tuple[float, float] | None = None,
    *,
    ns: tuple[int, int] | None = None,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> Awaitable[None]:
    """Set the times of access and change, as seconds or `ns`; the present time if neither is given."""
    given: dict[str, Any] = {"dir_fd": dir_fd, "follow_symlinks": follow_symlinks}
    if ns is not None:
        given["ns"] = ns
    if times is not None:
        given["times"] = times
    return call(_utime, path, given)


def _utime(path: Any, given: dict[str, Any]) -> None:
    try:
        os.utime(path, **given)
    except OSError as exc:
        raise _with_name(exc, path) from None  # `os` leaves the name out


def getxattr(path: StrPath | int, name: str | bytes, *, follow_symlinks: bool = True) -> Awaitable[bytes]:
    """The value of an extended attribute."""
    if isinstance(path, int):
        return perform("fgetxattr", path, name)
    if follow_symlinks:
        return perform("getxattr", path, name)
    return call(lambda: os.getxattr(path, name, follow_symlinks=False))


def setxattr(
    path: StrPath | int, name: str | bytes, value: Source, flags: int = 0, *, follow_symlinks: bool = True
) -> Awaitable[None]:
    """Set an extended attribute; `flags` as for `os.setxattr`."""
    if isinstance(path, int):
        return perform("fsetxattr", path, name, view_of(value), flags)
    if follow_symlinks:
        return perform("setxattr", path, name, view_of(value), flags)
    return call(lambda: os.setxattr(path, name, view_of(value), flags, follow_symlinks=False))


def listxattr(path: StrPath | int, *, follow_symlinks: bool = True) -> Awaitable[list[str]]:
    """The names of the extended attributes."""
    return call(lambda: os.listxattr(path, follow_symlinks=follow_symlinks))


def removexattr(path: StrPath | int, name: str | bytes, *, follow_symlinks: bool = True) -> Awaitable[None]:
    """Remove an extended attribute."""
    return call(lambda: os.removexattr(path, name, follow_symlinks=follow_symlinks))


# --- names


def unlink(path: StrPath, *, dir_fd: int | None = None) -> Awaitable[None]:
    """Remove a file (or a symlink itself)."""
    return perform("unlink", path, dir_fd)


def rename(
    src: StrPath, dst: StrPath, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, flags: int = 0
) -> Awaitable[None]:
    """Give `src` the name `dst`, replacing what has it. `flags` of renameat2(2): 1 does not replace, 2 exchanges."""
    return perform("rename", src, dst, src_dir_fd, dst_dir_fd, flags)


def replace(
    src: StrPath, dst: StrPath, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> Awaitable[None]:
    """As `rename`."""
    return perform("rename", src, dst, src_dir_fd, dst_dir_fd)


def mkdir(path: StrPath, mode: int = 0o777, *, dir_fd: int | None = None) -> Awaitable[None]:
    """Make a directory. Of `mode` the umask is taken away."""
    return perform("mkdir", path, mode, dir_fd)


def makedirs(path: StrPath, mode: int = 0o777, *, exist_ok: bool = False) -> Awaitable[None]:
    """Make a directory and those above it that are missing, as one job."""
    return call(os.makedirs, path, mode, exist_ok)


def rmdir(path: StrPath, *, dir_fd: int | None = None) -> Awaitable[None]:
    """Remove an empty directory."""
    return perform("rmdir", path, dir_fd)


def symlink(src: StrPath, dst: StrPath, *, dir_fd: int | None = None) -> Awaitable[None]:
    """Make `dst` a symlink that says `src`."""
    return perform("symlink", src, dst, dir_fd)


def link(
    src: StrPath,
    dst: StrPath,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = False,
) -> Awaitable[None]:
    """Make `dst` another name of the file `src`."""
    return perform("link", src, dst, src_dir_fd, dst_dir_fd, follow_symlinks)


@overload
def readlink(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> Awaitable[str]: ...
@overload
def readlink(path: bytes | os.PathLike[bytes], *, dir_fd: int | None = None) -> Awaitable[bytes]: ...
def readlink(path: Any, *, dir_fd: int | None = None) -> Awaitable[Any]:
    """What a symlink says."""
    return call(lambda: os.readlink(path, dir_fd=dir_fd))


# --- directories


def listdir(path: StrPath | int = ".") -> Awaitable[list[Any]]:
    """The names in a directory, in no order, as one job."""
    return call(os.listdir, path)


class DirEntry:
    """One entry of a directory, as it was when it was read. The claims do not follow symlinks, and ask no disk."""

    __slots__ = ("inode", "is_dir", "is_file", "is_symlink", "name", "path", "status")

    def __init__(self, entry: os.DirEntry[Any], with_stat: bool) -> None:
        self.name = entry.name
        self.path = entry.path
        self.inode = entry.inode()
        self.is_dir = entry.is_dir(follow_symlinks=False)
        self.is_file = entry.is_file(follow_symlinks=False)
        self.is_symlink = entry.is_symlink()
        self.status: os.stat_result | None = None
        """What lstat(2) said, if `scandir` was asked for it."""
        if with_stat:
            self.status = os.lstat(self.path)

    def stat(self, *, follow_symlinks: bool = True) -> Awaitable[os.stat_result]:
        """The present attributes."""
        return stat(self.path, follow_symlinks=follow_symlinks)

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<aiovfs.aio.DirEntry {self.name!r}>"


class Scan:
    """The entries of a directory: `async for entry in scandir(path)`, or `async with` when it may end early."""

    __slots__ = ("_batch", "_entries", "_is_over", "_path", "_size", "_with_stat")

    def __init__(self, path: StrPath | int, *, with_stat: bool, batch_size: int) -> None:
        self._path = path
        self._with_stat = with_stat
        self._size = batch_size
        self._entries: _OpenScan | None = None
        self._batch: list[DirEntry] = []
        self._is_over = False

    def __aiter__(self) -> Scan:
        return self

    async def __anext__(self) -> DirEntry:
        if not self._batch:
            self._batch = await self.next_batch()
            if not self._batch:
                raise StopAsyncIteration
            self._batch.reverse()
        return self._batch.pop()

    async def next_batch(self) -> list[DirEntry]:
        """The next entries, as one job; none at the end."""
        if self._is_over:
            return []
        if self._entries is None:
            self._entries = await claim(_OpenScan.close, _OpenScan, self._path)
        batch: list[DirEntry] = await call(self._entries.read, self._size, self._with_stat)
        if not batch:
            await self.aclose()
        return batch

    async def aclose(self) -> None:
        """Give the directory's descriptor back. Also happens at the end, and when the object is dropped."""
        self._is_over = True
        self._batch = []
        if self._entries is not None:
            self._entries.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


class _OpenScan:
    """An open directory; it closes itself when dropped, which `os.scandir` would complain of."""

    __slots__ = ("_entries",)

    def __init__(self, path: Any) -> None:
        self._entries = os.scandir(path)

    def read(self, size: int, with_stat: bool) -> list[DirEntry]:
        batch: list[DirEntry] = []
        for entry in itertools.islice(self._entries, size):
            try:
                batch.append(DirEntry(entry, with_stat))
            except FileNotFoundError:
                continue  # gone meanwhile
        if not batch:
            rest = next(self._entries, None)
            if rest is not None:  # all of a batch had gone
                return [DirEntry(rest, False), *self.read(size, with_stat)]
        return batch

    def close(self) -> None:
        self._entries.close()

    def __del__(self) -> None:
        try:
            self._entries.close()
        except AttributeError:
            pass  # it could not be opened


def scandir(path: StrPath | int = ".", *, with_stat: bool = False, batch_size: int = BATCH) -> Scan:
    """The entries of a directory, without `.` and `..`, in no order; read `batch_size` at a time while iterating.

    `with_stat` brings the attributes of each along (`DirEntry.status`). Raises `OSError` when iteration begins.
    """
    if batch_size < 1:
        raise ValueError(f"a batch has at least one entry, not {batch_size}")
    return Scan(path, with_stat=with_stat, batch_size=batch_size)


# --- content


def truncate(path: StrPath | int, length: int) -> Awaitable[None]:
    """Cut a file, or lengthen it with zeros, to `length` bytes."""
    if isinstance(path, int):
        return perform("ftruncate", path, length)
    return call(os.truncate, path, length)


def fallocate(fd: int | File, offset: int, length: int, *, mode: int = 0) -> Awaitable[None]:
    """Allocate a range of an open file, or what `mode` says (FALLOC_FL_* of fallocate(2))."""
    if isinstance(fd, File):
        return fd.fallocate(offset, length, mode=mode)
    return perform("fallocate", fd, mode, offset, length)


async def copy_range(src: int | File, dst: int | File, count: int, *, offset_src: int = 0, offset_dst: int = 0) -> int:
    """Copy `count` bytes from one open file to another, in the kernel where it can; returns how many there were.

    Fewer only at the end of `src`. Where the file system shares blocks, nothing is copied at all. Positions stay.
    """
    for file in (src, dst):
        if isinstance(file, File):
            await file.flush()
            if file is dst:
                file._ahead = b""
    done = 0
    while done < count:
        step = await _call_on(
            (src, dst),
            _copy_some,
            _fd_of(src),
            _fd_of(dst),
            min(COPY_SIZE, count - done),
            offset_src + done,
            offset_dst + done,
        )
        if not step:
            break
        done += step
    return done


def _fd_of(file: int | File) -> int:
    return file.fileno() if isinstance(file, File) else file


async def _call_on(files: Sequence[int | File], func: Callable[..., int], *args: Any) -> int:
    """A job that uses several files; none of them is closed before it ends."""
    users = [file._descriptor for file in files if isinstance(file, File)]
    if not users:
        count: int = await call(func, *args)
        return count
    operation = users[0].call(func, *args)
    for user in users[1:]:
        user.hold(operation)
    count = await operation
    return count


def _copy_some(reading: int, writing: int, size: int, offset_src: int, offset_dst: int) -> int:
    """Copy up to `size` bytes; 0 only at the end."""
    try:
        count = os.copy_file_range(reading, writing, size, offset_src, offset_dst)
        if count:
            return count
        # Files of /proc and the like copy as empty: ask again by reading.
    except OSError as exc:
        if exc.errno not in NOT_HERE:
            raise
    data = os.pread(reading, min(size, 1 << 20), offset_src)
    done = 0
    while done < len(data):
        done += os.pwrite(writing, data[done:], offset_dst + done)
    return done


async def copy_file(src: StrPath, dst: StrPath, *, progress: Callable[[int], object] | None = None) -> int:
    """Make `dst` a copy of the file `src`, permissions included; returns its size in bytes.

    `progress` is called with the number of bytes copied so far. What `dst` was is lost as soon as this begins; a copy
    that fails or is cancelled leaves a part. For the whole or nothing, copy to another name and `rename`.
    """
    source = await claim(_Descriptors.close, _Descriptors, src, os.O_RDONLY, 0)
    target = None
    done = 0
    try:
        target = await claim(_Descriptors.close, _Descriptors.of_copy, source, dst)
        while step := await call(_copy_some, source.fd, target.fd, COPY_SIZE, done, done):
            done += step
            if progress is not None:
                progress(done)
        return done
    finally:
        source.close()
        if target is not None:
            target.close()


class _Descriptors:
    """A descriptor that was opened by a job, and closes itself when nobody came for it."""

    __slots__ = ("fd",)

    def __init__(self, path: Any, flags: int, mode: int) -> None:
        self.fd = -1
        self.fd = os.open(path, flags | os.O_CLOEXEC, mode)

    @classmethod
    def of_copy(cls, source: _Descriptors, path: Any) -> _Descriptors:
        status = os.fstat(source.fd)
        if stat_module.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        target = cls(path, os.O_WRONLY | os.O_CREAT, stat_module.S_IMODE(status.st_mode) | 0o200)
        if os.path.samestat(os.fstat(target.fd), status):
            raise OSError(errno.EINVAL, "source and target are the same file", path)
        os.ftruncate(target.fd, 0)
        os.fchmod(target.fd, stat_module.S_IMODE(status.st_mode))
        return target

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def read_bytes(path: StrPath, limit: int | None = None) -> Awaitable[bytes]:
    """All of a file, or its first `limit` bytes, as one operation. `OSError` with the name as open(2) does."""
    return perform("read_file", path, limit)


def write_bytes(
    path: StrPath, data: Source, *, atomic: bool = False, sync: Sync = None, mode: int = 0o666
) -> Awaitable[int]:
    """Make `data` the content of the file `path`, as one job, and return its length in bytes.

    `atomic`: a new file takes the place of the old one in one step, so that who reads gets all of one of them, and any
    failure leaves the old one as it was. It keeps the old one's permissions; other names of the old file (hard links)
    keep the old content. A symlink is followed.

    `sync`: returns when content ("data") and attributes ("full") are on stable storage, and so is the name when it is
    new. Together they are what a database does: after a power cut there is the old file or the new one.

    `mode` are the permissions of a file that was not there, less the umask. Cancelling waits for the end of the job.
    """
    if sync not in (None, "data", "full"):
        raise ValueError(f"sync is None, 'data' or 'full', not {sync!r}")
    return call(_write_atomically if atomic else _write_in_place, path, view_of(data), sync, mode)


def _write_in_place(path: Any, data: memoryview, sync: Sync, mode: int) -> int:
    is_new = sync is not None and not os.path.lexists(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        _write_all(fd, data)
        _sync(fd, sync)
    except OSError as exc:
        raise _with_name(exc, path) from None
    finally:
        os.close(fd)
    if is_new:
        _sync_directory(os.path.dirname(os.path.realpath(path)))
    return len(data)


def _write_atomically(path: Any, data: memoryview, sync: Sync, mode: int) -> int:
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    prefix: Any = b".aiovfs-" if isinstance(target, bytes) else ".aiovfs-"
    unique = os.urandom(8).hex()
    temporary = os.path.join(directory, prefix + (unique.encode() if isinstance(target, bytes) else unique))
    try:
        known: os.stat_result | None = os.stat(target)
    except FileNotFoundError:
        known = None
    if known is not None and not stat_module.S_ISREG(known.st_mode):
        number = errno.EISDIR if stat_module.S_ISDIR(known.st_mode) else errno.EINVAL
        raise OSError(number, os.strerror(number), path)
    try:
        fd, is_named = _open_temporary(directory, temporary, mode)
        try:
            if known is not None:
                os.fchmod(fd, stat_module.S_IMODE(known.st_mode))
            _write_all(fd, data)
            _sync(fd, sync)
            if not is_named:
                # The directory descriptor is not used; without one, `os` calls link(2), which does not follow.
                os.link(f"/proc/self/fd/{fd}", temporary, src_dir_fd=fd, follow_symlinks=True)
                is_named = True
            os.replace(temporary, target)
        except BaseException:
            if is_named:
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        if sync is not None:
            _sync_directory(directory)
    except OSError as exc:
        raise _with_name(exc, path) from None
    return len(data)


def _open_temporary(directory: Any, temporary: Any, mode: int) -> tuple[int, bool]:
    """A new file to write, and whether it has its name yet. One without a name is gone with the process."""
    try:
        if os.path.exists("/proc/self/fd"):  # by which it gets its name
            return os.open(directory or ".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode), False
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), True


def _write_all(fd: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])


def _sync(fd: int, sync: Sync) -> None:
    if sync == "data":
        os.fdatasync(fd)
    elif sync == "full":
        os.fsync(fd)


def _sync_directory(path: Any) -> None:
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _with_name(exc: OSError, path: Any) -> OSError:
    """The same error about `path`: what failed was a call on a descriptor, or on a name that is ours."""
    return OSError(exc.errno, exc.strerror, path if isinstance(path, int) else os.fspath(path))


async def read_text(
    path: StrPath, encoding: str | None = None, errors: str | None = None, newline: str | None = None
) -> str:
    """All of a text file, with encoding and line ends as for `open`."""
    data = await read_bytes(path)
    return io.TextIOWrapper(io.BytesIO(data), io.text_encoding(encoding), errors, newline).read()


async def write_text(
    path: StrPath,
    text: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    atomic: bool = False,
    sync: Sync = None,
) -> int:
    """Make `text` the content of a file, and return its length in characters. See `write_bytes`."""
    buffer = io.BytesIO()
    wrapper = io.TextIOWrapper(buffer, io.text_encoding(encoding), errors, newline)
    wrapper.write(text)
    wrapper.flush()
    await write_bytes(path, buffer.getvalue(), atomic=atomic, sync=sync)
    return len(text)


@overload
async def stat_many(
    paths: Iterable[StrPath], *, follow_symlinks: bool = ..., on_error: Literal["raise"] = ...
) -> list[os.stat_result]: ...
@overload
async def stat_many(
    paths: Iterable[StrPath], *, follow_symlinks: bool = ..., on_error: Literal["return"]
) -> list[os.stat_result | OSError]: ...
async def stat_many(
    paths: Iterable[StrPath], *, follow_symlinks: bool = True, on_error: Literal["raise", "return"] = "raise"
) -> list[Any]:
    """The attributes of many paths, in their order; with `on_error="return"`, an `OSError` in place of what failed."""
    return await _many("stat", [(path, None, follow_symlinks) for path in paths], on_error)


@overload
async def read_bytes_many(paths: Iterable[StrPath], *, on_error: Literal["raise"] = ...) -> list[bytes]: ...
@overload
async def read_bytes_many(paths: Iterable[StrPath], *, on_error: Literal["return"]) -> list[bytes | OSError]: ...
async def read_bytes_many(paths: Iterable[StrPath], *, on_error: Literal["raise", "return"] = "raise") -> list[Any]:
    """The contents of many files, in their order; with `on_error="return"`, an `OSError` in place of what failed."""
    return await _many("read_file", [(path,) for path in paths], on_error)


async def _many(kind: str, parameters: Sequence[tuple[Any, ...]], on_error: str) -> list[Any]:
    if on_error not in ("raise", "return"):
        raise ValueError(f"on_error is 'raise' or 'return', not {on_error!r}")
    results: list[Any] = []
    for first in range(0, len(parameters), WINDOW):
        window = parameters[first : first + WINDOW]
        if on_error == "raise":
            results += await perform_many(kind, window)
        else:
            results += await all_of([_or_error(perform(kind, *each)) for each in window])
    return results


async def _or_error(operation: Awaitable[Any]) -> Any:
    try:
        return await operation
    except OSError as exc:
        return exc
