"""Every async test of `aio` runs on every engine that works here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aiovfs._loop.driver import Driver
from aiovfs.aio import select
from aiovfs.aio.engine import Engine

ENGINES = ("uring", "uring-ring", "pool-threads", "linux", "python")
"""`uring-ring` and `pool-threads` try nothing in place: everything goes through the ring, or to a thread."""


def without_hits(make: Callable[[Driver], Engine]) -> Callable[[Driver], Engine]:
    def make_without(driver: Driver) -> Engine:
        engine = make(driver)
        engine.tries_in_place = False  # type: ignore[attr-defined]
        return engine

    return make_without


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the loops of this test use one engine, by name."""
    name, _, variant = request.param.partition("-")
    make, info = select.choose(name)
    monkeypatch.setattr(select, "_chosen", (without_hits(make) if variant else make, info))
    return str(name)
