"""Fixtures that every tier uses: the loops, and a guard against blocking calls on them."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

# tests/servers as the package `servers`: loaded by its file, because tests/ on sys.path would make every folder in it a
# top-level name (`fuse`, `mount`, …) that may hide an installed package.
_SERVERS = Path(__file__).parent / "servers" / "__init__.py"
_spec = importlib.util.spec_from_file_location("servers", _SERVERS, submodule_search_locations=[str(_SERVERS.parent)])
assert _spec is not None
assert _spec.loader is not None
sys.modules["servers"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["servers"])

pytest_plugins = ["servers.fixtures"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts its background commands so, and every process of ours would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=LOOPS, ids=list(LOOPS))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run every async test on asyncio, uvloop and Trio."""
    return LOOPS[request.param]


@pytest.fixture(params=["python", "native"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve FUSE sessions by the core in Python, then by the one in C."""
    from aiovfs.fuse import core

    name: str = request.param
    if name == "python":
        monkeypatch.setattr(core, "NATIVE", None)
    elif core.NATIVE is None:
        pytest.skip(f"the core in C is not there ({core.REASON}); python setup.py build_ext --inplace")
    return name
