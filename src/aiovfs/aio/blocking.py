"""The blocking form of each operation: what a thread does for it, and what a synchronous caller gets in place.

These are the words of `os`, made whole where the system call is not: a read goes on until it has everything or the file
ends, a write until everything is written. An `offset` of -1 means the descriptor's own position (pipes have no other);
such calls take what one system call gives.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from aiovfs.types import Buffer

__all__ = [
    "fadvise",
    "fallocate",
    "fgetxattr",
    "fsetxattr",
    "getxattr",
    "link",
    "mkdir",
    "open_file",
    "read",
    "read_file",
    "readinto",
    "readv",
    "rename",
    "rmdir",
    "setxattr",
    "stat",
    "symlink",
    "unlink",
    "write",
    "write_sync",
    "writev",
]

_libc = ctypes.CDLL(None, use_errno=True)


def read(fd: int, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`; fewer only at the end of the file."""
    if offset < 0:
        return os.read(fd, size)
    data = os.pread(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (part := os.pread(fd, size - got, offset + got)):
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def read_file(path: str | bytes | os.PathLike[str], limit: int | None = None) -> bytes:
    """All of the file at `path`, or its first `limit` bytes. `OSError` with the name, as open(2) and read(2) do."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit is a number of bytes, not {limit}")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size + 1 if limit is None else limit
        parts = []
        while size > 0 and (data := os.read(fd, min(size, 1 << 30))):
            parts.append(data)
            if limit is not None:
                size -= len(data)
            elif len(data) == size:
                size = 1 << 16  # it grew, or does not know its size, as files of /proc
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, path) from None
    finally:
        os.close(fd)


def readinto(fd: int, buffer: Buffer, offset: int) -> int:
    """Fill `buffer` from `offset` on and return how many bytes came; fewer than it holds only at the file's end."""
    return readv(fd, [buffer], offset)


def readv(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Fill `buffers` one after the other from `offset` on."""
    if offset < 0:
        return os.readv(fd, buffers)
    views = [view for buffer in buffers if (view := memoryview(buffer).cast("B"))]
    done = 0
    while views and (count := os.preadv(fd, views, offset + done)):
        done += count
        views = _after(views, count)
    return done


def write(fd: int, data: Buffer, offset: int) -> int:
    """Write all of `data` at `offset` and return its length in bytes."""
    if offset < 0:
        return os.write(fd, data)
    return writev(fd, [data], offset)


def writev(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Write all of `buffers`, one after the other, from `offset` on."""
    if offset < 0:
        return os.writev(fd, buffers)
    views = [view for buffer in buffers if (view := memoryview(buffer).cast("B"))]
    done = 0
    while views:
        count = os.pwritev(fd, views, offset + done)
        done += count
        views = _after(views, count)
    return done


def _after(views: list[memoryview], count: int) -> list[memoryview]:
    """What is left of `views` when their first `count` bytes are done."""
    for index, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[index + 1 :]]
        count -= len(view)
    return []


def write_sync(fd: int, data: Buffer, offset: int, data_only: bool = True) -> int:
    """Write all of `data` at `offset` and have it on stable storage before returning."""
    done = write(fd, data, offset)
    (os.fdatasync if data_only else os.fsync)(fd)
    return done


def open_file(path: str | bytes | os.PathLike[str], flags: int, mode: int = 0o777, dir_fd: int | None = None) -> int:
    """Open `path` and return a descriptor that forked programs do not inherit."""
    return os.open(path, flags, mode, dir_fd=dir_fd)


def stat(
    path: str | bytes | os.PathLike[str], dir_fd: int | None = None, follow_symlinks: bool = True
) -> os.stat_result:
    """The attributes of what is at `path`."""
    return os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


def rename(
    src: str | bytes | os.PathLike[str],
    dst: str | bytes | os.PathLike[str],
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    flags: int = 0,
) -> None:
    """Give `src` the name `dst`. `flags` are those of renameat2(2): 1 keeps an existing `dst`, 2 exchanges the two."""
    if not flags:
        os.replace(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        return
    at_cwd = -100
    if _libc.renameat2(
        at_cwd if src_dir_fd is None else src_dir_fd,
        os.fsencode(src),
        at_cwd if dst_dir_fd is None else dst_dir_fd,
        os.fsencode(dst),
        flags,
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), src, None, dst)


def unlink(path: str | bytes | os.PathLike[str], dir_fd: int | None = None) -> None:
    """Remove the file at `path`."""
    os.unlink(path, dir_fd=dir_fd)


def rmdir(path: str | bytes | os.PathLike[str], dir_fd: int | None = None) -> None:
    """Remove the empty directory at `path`."""
    os.rmdir(path, dir_fd=dir_fd)


def mkdir(path: str | bytes | os.PathLike[str], mode: int = 0o777, dir_fd: int | None = None) -> None:
    """Make a directory."""
    os.mkdir(path, mode, dir_fd=dir_fd)


def symlink(
    src: str | bytes | os.PathLike[str], dst: str | bytes | os.PathLike[str], dir_fd: int | None = None
) -> None:
    """Make `dst` a symbolic link that says `src`."""
    os.symlink(src, dst, dir_fd=dir_fd)


def link(
    src: str | bytes | os.PathLike[str],
    dst: str | bytes | os.PathLike[str],
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = False,
) -> None:
    """Make `dst` another name of the file `src`."""
    os.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Allocate, punch or zero a range: fallocate(2) with its `mode` flags."""
    if _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fadvise(fd: int, offset: int, length: int, advice: int) -> None:
    """Tell the kernel how a range will be used: posix_fadvise(2)."""
    os.posix_fadvise(fd, offset, length, advice)


def getxattr(path: str | bytes | os.PathLike[str], name: str | bytes, size: int = 65536) -> bytes:
    """The value of an extended attribute; `ERANGE` when it is longer than `size`."""
    return os.getxattr(path, name)


def setxattr(path: str | bytes | os.PathLike[str], name: str | bytes, value: Buffer, flags: int = 0) -> None:
    """Set an extended attribute."""
    os.setxattr(path, name, value, flags)


def fgetxattr(fd: int, name: str | bytes, size: int = 65536) -> bytes:
    """The value of an extended attribute of an open file."""
    return os.getxattr(fd, name)


def fsetxattr(fd: int, name: str | bytes, value: Buffer, flags: int = 0) -> None:
    """Set an extended attribute of an open file."""
    os.setxattr(fd, name, value, flags)
