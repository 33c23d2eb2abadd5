"""Each operation and option against the real kernel: what arrives at the handler, and what the program sees."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovfs.errors import MountError
from aiovfs.fuse import mountpoint

# As tests/conftest.py does with `servers`, and for the same reason.
_RAMFS = Path(__file__).parent / "ramfs.py"
_spec = importlib.util.spec_from_file_location("ramfs", _RAMFS)
assert _spec is not None
assert _spec.loader is not None
sys.modules["ramfs"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["ramfs"])

from ramfs import RamFS  # noqa: E402


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse is not there or may not be opened")
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    with contextlib.suppress(MountError):
        mountpoint.unmount(str(path), lazy=True)


@pytest.fixture
def ramfs() -> RamFS:
    return RamFS()
