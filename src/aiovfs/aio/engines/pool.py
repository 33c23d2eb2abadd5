"""A pool of threads in C, for where io_uring is forbidden. The work is in `aiovfs.aio._pool`."""

from __future__ import annotations

from collections.abc import Mapping

from aiovfs._loop.driver import Driver
from aiovfs.aio.engine import Engine
from aiovfs.aio.native import load

__all__ = ["make", "probe"]


def probe() -> Mapping[str, object]:
    """What it would use. Raises `OSError` or `ImportError` with what is in the way."""
    native = load("_pool")
    Engine.register(native.PoolEngine)
    features: Mapping[str, object] = native.probe()
    return features


def make(driver: Driver) -> Engine:
    """The engine for the loop of `driver`."""
    engine: Engine = load("_pool").PoolEngine(driver)
    return engine
