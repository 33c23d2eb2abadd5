"""Binary files with methods to await."""

from __future__ import annotations

from typing import Any

from aiovfs.compat.aiofiles.base import AsyncBase, AsyncIndirectBase, attributes, awaited, direct
from aiovfs.compat.aiofiles.threadpool.detaching import detach

__all__ = [
    "AsyncBufferedIOBase",
    "AsyncBufferedReader",
    "AsyncFileIO",
    "AsyncIndirectBufferedIOBase",
    "AsyncIndirectBufferedReader",
    "AsyncIndirectFileIO",
]

RAW = (
    "close",
    "flush",
    "isatty",
    "read",
    "readinto",
    "readline",
    "readlines",
    "seek",
    "seekable",
    "tell",
    "truncate",
    "writable",
    "write",
    "writelines",
)
"""What every binary file can do."""


@awaited(*RAW, "read1")
@direct("fileno", "readable")
@attributes("closed", "name", "mode")
class AsyncBufferedIOBase(AsyncBase):
    """A buffered file that is written, or anything of that kind."""

    detach = detach

    @property
    def raw(self) -> Any:
        """What is under the buffer; a file of `aiovfs.aio` has both in one."""
        return getattr(self._file, "raw", self._file)


@awaited("peek")
class AsyncBufferedReader(AsyncBufferedIOBase):
    """A buffered file that is read."""


@awaited(*RAW, "readall")
@direct("fileno", "readable")
@attributes("closed", "name", "mode")
class AsyncFileIO(AsyncBase):
    """A file without a buffer."""


@awaited(*RAW, "read1")
@direct("fileno", "readable")
@attributes("closed", "name", "mode")
class AsyncIndirectBufferedIOBase(AsyncIndirectBase):
    """A buffered file that is written, or anything of that kind."""

    detach = detach

    @property
    def raw(self) -> Any:
        """What is under the buffer; a file of `aiovfs.aio` has both in one."""
        return getattr(self._file, "raw", self._file)


@awaited("peek")
class AsyncIndirectBufferedReader(AsyncIndirectBufferedIOBase):
    """A buffered file that is read."""


@awaited(*RAW, "readall")
@direct("fileno", "readable")
@attributes("closed", "name", "mode")
class AsyncIndirectFileIO(AsyncIndirectBase):
    """A file without a buffer."""
