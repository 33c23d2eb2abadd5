"""Files on disk for async code, on asyncio and Trio.

    >>> async with aio.open("notes.txt") as file:             # doctest: +SKIP
    ...     async for line in file:
    ...         print(line, end="")

`open` gives a `File` or a `TextFile`; `stat`, `rename`, `scandir`, `read_bytes` and the like work on paths. Underneath,
`perform` starts one operation of THE TABLE (`operations.py`) on the engine of the running loop (`engine.py`, chosen by
`select.py`) and returns it as something to await.
"""

from __future__ import annotations

from aiovfs.aio import descriptors, paths, tempfile
from aiovfs.aio.buffers import Buffer, alloc
from aiovfs.aio.descriptors import (
    fdatasync,
    fsync,
    ftruncate,
    pread,
    preadinto,
    preadv,
    pwrite,
    pwritev,
    read_many,
    readinto_many,
    run,
    write_many,
)
from aiovfs.aio.direct import Alignment, DirectFile
from aiovfs.aio.engine import Engine, call, current, perform
from aiovfs.aio.file import File
from aiovfs.aio.opening import Opening, open
from aiovfs.aio.operation import Operation
from aiovfs.aio.paths import *  # noqa: F403
from aiovfs.aio.select import EngineInfo, engine_info
from aiovfs.aio.text import TextFile

__all__ = [
    "Alignment",
    "Buffer",
    "DirectFile",
    "Engine",
    "EngineInfo",
    "File",
    "Opening",
    "Operation",
    "TextFile",
    "alloc",
    "call",
    "current",
    "descriptors",
    "engine_info",
    "fdatasync",
    "fsync",
    "ftruncate",
    "open",
    "perform",
    "pread",
    "preadinto",
    "preadv",
    "pwrite",
    "pwritev",
    "read_many",
    "readinto_many",
    "run",
    "tempfile",
    "write_many",
    *paths.__all__,
]
