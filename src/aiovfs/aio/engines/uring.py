"""io_uring: raw system calls, one ring a loop. The work is in `aiovfs.aio._uring`."""

from __future__ import annotations

from collections.abc import Mapping

from aiovfs._loop.driver import Driver
from aiovfs.aio.engine import Engine
from aiovfs.aio.native import load

__all__ = ["make", "probe"]

_features: Mapping[str, object] = {}


def probe() -> Mapping[str, object]:
    """What this kernel's rings can do. Raises `OSError` or `ImportError` with what is in the way."""
    global _features
    native = load("_uring")
    Engine.register(native.UringEngine)
    _features = native.probe()
    return _features


def make(driver: Driver) -> Engine:
    """The engine for the loop of `driver`."""
    engine: Engine = load("_uring").UringEngine(driver, _features or probe())
    return engine
