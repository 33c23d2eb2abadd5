"""What programs see of a file system that implements next to nothing: the effects of answering ENOSYS."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyfuse3_sample import serving, use

from aiovfs.compat import pyfuse3

LIBC = ctypes.CDLL(None, use_errno=True)


class Bare(pyfuse3.Operations):
    """`file` is there, and can be looked at."""

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o777 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o666
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else 5
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        if name != b"file":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(2, ctx)


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returned, or the name of its errno."""
    try:
        return function(*arguments)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


def fallocate(fd: int) -> None:
    if LIBC.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(10)):
        raise OSError(ctypes.get_errno(), "fallocate")


def poll(fd: int) -> int:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return waiting.poll(0)[0][1]


def look_around(root: Path) -> dict[str, Any]:
    file = root / "file"
    fd = os.open(file, os.O_RDWR)
    seen = {
        "access": os.access(file, os.R_OK | os.W_OK),
        "fsync": outcome(os.fsync, fd),
        "flock": outcome(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
        "lockf": outcome(fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
        "poll": poll(fd),
        "seek data": outcome(os.lseek, fd, 0, os.SEEK_DATA),
        "seek hole": outcome(os.lseek, fd, 0, os.SEEK_HOLE),
        "read": outcome(os.pread, fd, 1, 0),
        "write": outcome(os.write, fd, b"x"),
        "ftruncate": outcome(os.ftruncate, fd, 0),
        "fallocate": outcome(fallocate, fd),
        "ioctl": outcome(fcntl.ioctl, fd, 0x1234),
        "close": outcome(os.close, fd),
        "list": outcome(os.listdir, root),
        "statvfs": outcome(os.statvfs, root),
        "getxattr": outcome(os.getxattr, file, "user.x"),
        "setxattr": outcome(os.setxattr, file, "user.x", b"x"),
        "listxattr": outcome(os.listxattr, file),
        "removexattr": outcome(os.removexattr, file, "user.x"),
        "link": outcome(os.link, file, root / "other"),
        "symlink": outcome(os.symlink, "file", root / "other"),
        "mkdir": outcome(os.mkdir, root / "other"),
        "mknod": outcome(os.mknod, root / "other"),
        "create": outcome(os.open, root / "other", os.O_CREAT | os.O_WRONLY),
        "tmpfile": outcome(os.open, root, os.O_TMPFILE | os.O_WRONLY),
        "unlink": outcome(os.unlink, file),
        "rename": outcome(os.rename, file, root / "other"),
    }
    return seen


READY = select.POLLIN
EXPECTED = {
    "access": True,
    **dict.fromkeys(("fsync", "flock", "lockf", "close"), None),
    "poll": READY,
    "seek data": 0,
    "seek hole": 5,
    **dict.fromkeys(("read", "write", "ftruncate", "list", "statvfs"), "ENOSYS"),
    **dict.fromkeys(("fallocate", "getxattr", "setxattr", "listxattr", "removexattr", "tmpfile"), "ENOTSUP"),
    "ioctl": "ENOTTY",
    "link": "EPERM",
    **dict.fromkeys(("symlink", "mkdir", "mknod", "create", "unlink", "rename"), "ENOSYS"),
}


async def test_what_is_not_implemented_has_pyfuse3s_effects(mountpoint: Path) -> None:
    pyfuse3.init(Bare(), str(mountpoint), set())
    async with serving():
        seen = await use(look_around, mountpoint)
    assert seen == EXPECTED


async def test_a_mount_that_fails_is_both_errors_that_the_documentation_names(can_mount: None, tmp_path: Path) -> None:
    for kind in (RuntimeError, OSError):
        with pytest.raises(kind, match="fuse_session_mount failed") as caught:
            pyfuse3.init(Bare(), str(tmp_path / "nowhere"))
        assert getattr(caught.value, "errno", None) == errno.ENOENT
