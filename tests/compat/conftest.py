"""Fixtures for pyfuse3's interface: a file system, a scripted kernel, a place to mount at.

A process that waits for a mount of its own cannot be killed; a watchdog aborts the connection of a test that hangs.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovfs.compat import pyfuse3
from aiovfs.testing.fake_kernel import FakeKernel

# As tests/conftest.py does with `servers`, and for the same reason.
_SAMPLE = Path(__file__).parent / "pyfuse3_sample.py"
_spec = importlib.util.spec_from_file_location("pyfuse3_sample", _SAMPLE)
assert _spec is not None
assert _spec.loader is not None
sys.modules["pyfuse3_sample"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["pyfuse3_sample"])

from pyfuse3_sample import Sample, abort, is_mounted  # noqa: E402

WATCHDOG_S = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for a mountpoint needs /dev/fuse; the rest talks to a scripted kernel."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "can_mount" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.mounted)


@pytest.fixture
def fs() -> Sample:
    return Sample()


@pytest.fixture(autouse=True)
def left_clean() -> Iterator[None]:
    """A test that fails half-way leaves no mount to the next one."""
    yield
    pyfuse3.close()
    pyfuse3.asyncio.disable()


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    with FakeKernel() as kernel:
        yield kernel


@pytest.fixture
def can_mount() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        missing = "/dev/fuse is not there or may not be opened"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"CI must be able to mount: {missing}", pytrace=False)
        pytest.skip(missing)


@pytest.fixture
def mountpoint(can_mount: None, tmp_path: Path) -> Iterator[Path]:
    """A directory to mount at. Whatever is left there is taken away, and a hang is cut off."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    timer = threading.Timer(WATCHDOG_S, abort, [directory])
    timer.daemon = True
    timer.start()
    yield directory
    timer.cancel()
    while is_mounted(directory):
        subprocess.run(["umount", "-l", str(directory)], capture_output=True, check=False)
