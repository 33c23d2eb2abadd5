"""Functions of `os`, to await. What is one disk operation runs as such; everything else in a thread."""

from __future__ import annotations

import os
from typing import Any

from aiovfs import aio
from aiovfs.compat.aiofiles import ospath as path
from aiovfs.compat.aiofiles.base import wrap

__all__ = [
    "access",
    "getcwd",
    "link",
    "listdir",
    "makedirs",
    "mkdir",
    "path",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "sendfile",
    "stat",
    "statvfs",
    "symlink",
    "unlink",
    "wrap",
]

access = wrap(os.access)
getcwd = wrap(os.getcwd)
link = wrap(os.link)
listdir = wrap(os.listdir)
makedirs = wrap(os.makedirs)
readlink = wrap(os.readlink)
removedirs = wrap(os.removedirs)
renames = wrap(os.renames)
scandir = wrap(os.scandir)
sendfile = wrap(os.sendfile)
statvfs = wrap(os.statvfs)
symlink = wrap(os.symlink)


async def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True, **ignored: Any) -> os.stat_result:
    """As `os.stat`."""
    return await aio.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


async def unlink(path: Any, *, dir_fd: int | None = None, **ignored: Any) -> None:
    """As `os.unlink`."""
    await aio.unlink(path, dir_fd=dir_fd)


async def remove(path: Any, *, dir_fd: int | None = None, **ignored: Any) -> None:
    """As `os.remove`."""
    await aio.unlink(path, dir_fd=dir_fd)


async def rename(
    src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **ignored: Any
) -> None:
    """As `os.rename`."""
    await aio.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


async def replace(
    src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **ignored: Any
) -> None:
    """As `os.replace`."""
    await aio.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


async def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None, **ignored: Any) -> None:
    """As `os.mkdir`."""
    await aio.mkdir(path, mode, dir_fd=dir_fd)


async def rmdir(path: Any, *, dir_fd: int | None = None, **ignored: Any) -> None:
    """As `os.rmdir`."""
    await aio.rmdir(path, dir_fd=dir_fd)
