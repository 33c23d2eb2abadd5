"""`detach` of files that are ours: Python's own file of the same kind goes on where ours was."""

from __future__ import annotations

import os
from typing import Any

from aiovfs import aio
from aiovfs.compat.aiofiles.base import AsyncBase

__all__ = ["detach"]

_MODES = {(True, False): "rb", (False, True): "wb", (True, True): "rb+"}


class _Detached:
    """What is left of a file that was detached: everything is a `ValueError`."""

    def __getattr__(self, name: str) -> Any:
        raise ValueError("underlying buffer has been detached")


def detach(self: AsyncBase) -> Any:
    """Separate the underlying file and return it; this object cannot be used any more.

    A file of Python's own gives what it stands on. One of `aiovfs.aio` gives a buffered file of Python (blocking), at
    the position that it had. What is buffered for writing must have been flushed.
    """
    file = self._file
    if isinstance(file, aio.File | aio.TextFile):
        binary = file.buffer if isinstance(file, aio.TextFile) else file
        if binary._dirty:
            raise ValueError("what was written is still buffered: await flush() before detach()")
        fd = os.dup(binary.fileno())
        if binary._can_seek:
            os.lseek(fd, binary._position, os.SEEK_SET)
        below: Any = open(fd, _MODES[binary._mode.can_read, binary._mode.can_write])  # noqa: SIM115
        binary._descriptor.abandon()
        self._file = _Detached()
        return below
    return file.detach()
