"""Which engine serves a loop: found out by trying, once a process, best first.

`AIOVFS_ENGINE` in the environment names one instead (`uring`, `linux`, `pool`, `python`); an engine that then cannot be
used here is an error that says why, never a silent other one. `engine_info` tells what was chosen and what each of the
others said.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiovfs._loop.driver import Driver
from aiovfs.aio.engine import Engine

__all__ = ["ENGINES", "EngineInfo", "choose", "engine_info", "make"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One engine, and where it is."""

    name: str
    module: str
    summary: str


ENGINES = (
    Candidate("uring", "aiovfs.aio.engines.uring", "io_uring: one ring a loop"),
    Candidate("linux", "aiovfs.aio.engines.linux", "threads in C and one eventfd; kernel AIO for O_DIRECT files"),
    Candidate("pool", "aiovfs.aio.engines.pool", "threads in C and one eventfd"),
    Candidate("python", "aiovfs.aio.engines.python", "threads of Python; nothing native"),
)
"""Best first. Each module has `probe() -> None`, which raises what is in the way, and `make(driver) -> Engine`."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Which engine is used, why, and what the others said."""

    name: str
    reason: str
    others: Mapping[str, str]
    """Name → why it was not chosen."""
    features: Mapping[str, object] = field(default_factory=dict)
    """What the engine found out about the kernel."""


_chosen: tuple[Callable[[Driver], Engine], EngineInfo] | None = None


def choose(wanted: str | None = None) -> tuple[Callable[[Driver], Engine], EngineInfo]:
    """The constructor of the engine to use, and why. `wanted` names one; by default the best that works.

    Raises `RuntimeError` when the wanted one does not exist or cannot be used here.
    """
    if wanted is not None and wanted not in {candidate.name for candidate in ENGINES}:
        known = ", ".join(candidate.name for candidate in ENGINES)
        raise RuntimeError(f"there is no disk engine {wanted!r}; AIOVFS_ENGINE may be one of {known}")
    others: dict[str, str] = {}
    found: tuple[Callable[[Driver], Engine], str, Mapping[str, object]] | None = None
    for candidate in ENGINES:
        if wanted is not None and candidate.name != wanted:
            others[candidate.name] = f"AIOVFS_ENGINE={wanted} chooses another"
            continue
        if found is not None:
            others[candidate.name] = f"{found[0].__module__.rpartition('.')[2]} is preferred"
            continue
        try:
            module = importlib.import_module(candidate.module)
            features = module.probe()
        except (ImportError, OSError) as error:
            others[candidate.name] = str(error)
            continue
        why = "AIOVFS_ENGINE chooses it" if wanted else "the best of those that work here"
        found = module.make, why, features
        name = candidate.name
    if found is None:
        raise RuntimeError(f"the disk engine {wanted!r} cannot be used here: {others[str(wanted)]}")
    return found[0], EngineInfo(name, found[1], others, found[2])


def _choice() -> tuple[Callable[[Driver], Engine], EngineInfo]:
    global _chosen
    if _chosen is None:
        _chosen = choose(os.environ.get("AIOVFS_ENGINE") or None)
    return _chosen


def make(driver: Driver) -> Engine:
    """A new engine for the loop of `driver`."""
    return _choice()[0](driver)


def engine_info() -> EngineInfo:
    """Which engine new loops get, why, and why not the others."""
    return _choice()[1]
