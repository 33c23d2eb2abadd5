"""A pool of threads in C, for where io_uring is forbidden. The work is in `aiovfs.aio._pool`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

from aiovfs._loop.driver import Driver
from aiovfs.aio.engine import Engine

__all__ = ["make", "probe"]


def probe() -> Mapping[str, object]:
    """What it would use. Raises `OSError` or `ImportError` with what is in the way."""
    if os.environ.get("AIOVFS_PURE") == "1":
        raise ImportError("AIOVFS_PURE=1 chooses Python")
    from aiovfs.aio import _pool

    Engine.register(_pool.PoolEngine)
    return _pool.probe()


def make(driver: Driver) -> Engine:
    """The engine for the loop of `driver`."""
    from aiovfs.aio._pool import PoolEngine

    return cast("Engine", PoolEngine(driver))
