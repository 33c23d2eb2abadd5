"""Files on disk for async code.

`perform` starts one operation of THE TABLE (`operations.py`) on the engine of the running loop (`engine.py`, chosen by
`select.py`) and returns it as something to await. `disk` is the older, smaller set of calls.
"""

from __future__ import annotations

from aiovfs.aio import disk
from aiovfs.aio.disk import fsync, ftruncate, pread, pwrite, run
from aiovfs.aio.engine import Engine, call, current, perform
from aiovfs.aio.operation import Operation
from aiovfs.aio.select import EngineInfo, engine_info

__all__ = [
    "Engine",
    "EngineInfo",
    "Operation",
    "call",
    "current",
    "disk",
    "engine_info",
    "fsync",
    "ftruncate",
    "perform",
    "pread",
    "pwrite",
    "run",
]
