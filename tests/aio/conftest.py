"""Every async test of `aio` runs on every engine."""

from __future__ import annotations

import pytest

from aiovfs.aio import select


@pytest.fixture(params=["python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the loops of this test use one engine, by name."""
    name: str = request.param
    monkeypatch.setattr(select, "_chosen", select.choose(name))
    return name
