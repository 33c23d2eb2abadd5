"""Fixtures that every tier uses: the loops, and a guard against blocking calls on them."""

from __future__ import annotations

from typing import Any

import pytest

LOOPS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=LOOPS, ids=list(LOOPS))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run every async test on asyncio, uvloop and Trio."""
    return LOOPS[request.param]
