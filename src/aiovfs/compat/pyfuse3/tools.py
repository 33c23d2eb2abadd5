"""Functions about paths and processes that have nothing to do with a mount of one's own.

They release the GIL while they wait in the kernel, so they may be used on a mount that another thread serves.
"""

from __future__ import annotations

import ctypes
import os
from typing import Literal, TypeAlias

__all__ = ["NamespaceT", "get_sup_groups", "getxattr", "listdir", "setxattr", "syncfs"]

NamespaceT: TypeAlias = Literal["system", "user"]

_libc = ctypes.CDLL(None, use_errno=True)


def _check_path(path: object) -> None:
    if not isinstance(path, str):
        raise TypeError(f"path must be str, not {type(path).__name__}")


def _check_attribute(path: object, name: object, namespace: object) -> None:
    _check_path(path)
    if not isinstance(name, str):
        raise TypeError(f"name must be str, not {type(name).__name__}")
    if namespace not in ("system", "user"):
        raise ValueError(f"namespace must be 'system' or 'user', not {namespace!r}")


def listdir(path: str) -> list[str]:
    """The names in a directory, as `os.listdir`."""
    _check_path(path)
    return os.listdir(path)


def syncfs(path: str) -> None:
    """Write the file system that holds the directory `path` out to disk."""
    _check_path(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def setxattr(path: str, name: str, value: bytes, namespace: NamespaceT = "user") -> None:
    """Set an extended attribute. On Linux `name` holds the namespace itself (`user.colour`); `namespace` is ignored."""
    _check_attribute(path, name, namespace)
    if not isinstance(value, bytes):
        raise TypeError(f"value must be bytes, not {type(value).__name__}")
    os.setxattr(path, name, value)


def getxattr(path: str, name: str, size_guess: int = 128, namespace: NamespaceT = "user") -> bytes:
    """The value of an extended attribute. `size_guess`, once the size of a first attempt, is not needed any more."""
    _check_attribute(path, name, namespace)
    return os.getxattr(path, name)


def get_sup_groups(pid: int) -> set[int]:
    """The supplementary groups of a process. Raises `OSError` when there is no such process."""
    with open(f"/proc/{int(pid)}/status", "rb") as status:
        for line in status:
            if line.startswith(b"Groups:"):
                return {int(word) for word in line.split()[1:]}
    raise RuntimeError(f"/proc/{pid}/status does not tell the groups of the process")
