"""The pool, with kernel AIO for files opened with O_DIRECT. The work is in `aiovfs.aio._pool`."""

from __future__ import annotations

from collections.abc import Mapping

from aiovfs._loop.driver import Driver
from aiovfs.aio.engine import Engine
from aiovfs.aio.native import load

__all__ = ["make", "probe"]


def probe() -> Mapping[str, object]:
    """What it would use. Raises `OSError` or `ImportError` with what is in the way."""
    native = load("_pool")
    Engine.register(native.LinuxEngine)
    features: Mapping[str, object] = native.probe_kernel_aio()
    return features


def make(driver: Driver) -> Engine:
    """The engine for the loop of `driver`."""
    engine: Engine = load("_pool").LinuxEngine(driver)
    return engine
