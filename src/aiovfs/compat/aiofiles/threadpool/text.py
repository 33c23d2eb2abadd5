"""Text files with methods to await."""

from __future__ import annotations

from aiovfs.compat.aiofiles.base import AsyncBase, AsyncIndirectBase, attributes, awaited, direct
from aiovfs.compat.aiofiles.threadpool.detaching import detach

__all__ = ["AsyncTextIOWrapper", "AsyncTextIndirectIOWrapper"]

METHODS = (
    "close",
    "flush",
    "isatty",
    "read",
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
ATTRIBUTES = ("buffer", "closed", "encoding", "errors", "line_buffering", "newlines", "name", "mode")


@awaited(*METHODS)
@direct("fileno", "readable")
@attributes(*ATTRIBUTES)
class AsyncTextIOWrapper(AsyncBase):
    """A text file."""

    detach = detach


@awaited(*METHODS)
@direct("fileno", "readable")
@attributes(*ATTRIBUTES)
class AsyncTextIndirectIOWrapper(AsyncIndirectBase):
    """A text file that is looked up anew each time."""

    detach = detach
