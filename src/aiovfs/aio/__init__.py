"""Files on disk for async code, on asyncio and Trio.

    >>> async with aio.open("notes.txt") as file:             # doctest: +SKIP
    ...     async for line in file:
    ...         print(line, end="")

`open` gives a `File` or a `TextFile`; `stat`, `rename`, `scandir`, `read_bytes` and the like work on paths. Underneath,
`perform` starts one operation of THE TABLE (`operations.py`) on the engine of the running loop (`engine.py`, chosen by
`select.py`) and returns it as something to await. `disk` is the older, smaller set of calls.
"""

from __future__ import annotations

from aiovfs.aio import disk, paths, tempfile
from aiovfs.aio.buffers import Buffer, alloc
from aiovfs.aio.direct import Alignment, DirectFile
from aiovfs.aio.disk import fsync, ftruncate, pread, pwrite, run
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
    "disk",
    "engine_info",
    "fsync",
    "ftruncate",
    "open",
    "perform",
    "pread",
    "pwrite",
    "run",
    "tempfile",
    *paths.__all__,
]
