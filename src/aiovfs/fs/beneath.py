"""Paths below a directory, walked so that nothing leads out of it.

Between two calls, another program may put a symlink in the place of a directory that we have seen; a call with the full
path would then follow it to wherever it points. So the components above the last are opened first, with openat2(2) and
RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, and the call itself is made relative to that descriptor (`os`'s `dir_fd`) without
following the last component. A symlink in the way is ENOTDIR, as anything else that is no directory.

Where there is no openat2 (Linux before 5.6, or a filter that does not know it) each component is opened by itself with
O_NOFOLLOW: the same promise, a system call more for each. The root is looked up by its name each time, and that name
may lead through symlinks: it is the user's own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Place", "open_directory", "outside", "parent_of"]

SYS_OPENAT2 = 437  # the same number on every architecture
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
HOW = struct.Struct("QQQ")  # struct open_how: flags, mode, resolve

DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_has_openat2 = True


class Place:
    """One name in an open directory. `full` is its path, for errors."""

    __slots__ = ("directory", "full", "name")

    def __init__(self, directory: int | None, name: str, full: str) -> None:
        self.directory = directory
        self.name = name
        self.full = full

    def beside(self, name: str) -> Place:
        """Another name in the same directory."""
        full = os.path.join(os.path.dirname(self.full), name)
        return Place(self.directory, full if self.directory is None else name, full)


def outside(path: str) -> Place:
    """A path of the caller's, which is taken as it is."""
    return Place(None, path, path)


@contextmanager
def parent_of(root: str, path: str) -> Iterator[Place]:
    """The place of `path` (with "/" between its components, none of them "..") below the directory `root`.

    The empty path is the root itself. An `OSError` of the body gets the full path as its name.
    """
    full = f"{root.rstrip('/')}/{path}" if path else root
    if not path:
        yield outside(root)
        return
    above, _, name = path.rpartition("/")
    try:
        directory = open_directory(root, above, os.O_PATH)
        try:
            yield Place(directory, name, full)
        finally:
            os.close(directory)
    except OSError as exc:
        if exc.filename in (None, name) or not str(exc.filename).startswith("/"):
            exc.filename = full
        raise


def open_directory(root: str, path: str, flags: int) -> int:
    """A descriptor of the directory `path` below `root`; `flags` are O_PATH or O_RDONLY."""
    if not path:
        return os.open(root, flags | DIRECTORY)
    top = os.open(root, os.O_PATH | DIRECTORY)
    try:
        if _has_openat2:
            try:
                return _openat2(top, path, flags | DIRECTORY)
            except NotImplementedError:
                pass
        return _walk(top, path, flags | DIRECTORY)
    except OSError as exc:
        number = errno.ENOTDIR if exc.errno == errno.ELOOP else exc.errno
        raise OSError(number, os.strerror(number or 0), f"{root.rstrip('/')}/{path}") from None
    finally:
        os.close(top)


def _openat2(top: int, path: str, flags: int) -> int:
    global _has_openat2
    how = HOW.pack(flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    while True:
        fd: int = _libc.syscall(SYS_OPENAT2, top, os.fsencode(path), how, HOW.size)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number in (errno.EAGAIN, errno.EINTR):
            continue  # something was renamed meanwhile: the kernel is not sure
        if number in (errno.ENOSYS, errno.EPERM):
            _has_openat2 = False
            raise NotImplementedError
        raise OSError(number, os.strerror(number))


def _walk(top: int, path: str, flags: int) -> int:
    fd = os.dup(top)
    components = path.split("/")
    for number, component in enumerate(components, 1):
        try:
            last = number == len(components)
            below = os.open(component, (flags if last else os.O_PATH | DIRECTORY) | os.O_NOFOLLOW, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
