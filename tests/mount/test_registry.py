"""Records of mounts: who serves what, also when the kernel gives a device number away again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovfs.mount import registry
from aiovfs.mount.registry import MountedRow, Registration

DIRECTORY = "/mnt/somewhere"


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedRow:
    """A mount that is in the table; records of it lie in a directory of the test."""
    row = MountedRow(device="0:999", directory=DIRECTORY, source="memory://", type="fuse.aiovfs")
    monkeypatch.setattr(registry, "record_directory", lambda uid=None: tmp_path / "records")
    monkeypatch.setattr(registry, "find_mount", lambda directory: row)
    monkeypatch.setattr(registry, "_uids", lambda: iter([os.geteuid()]))
    return row


@pytest.fixture
def earlier() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that lives until its standard input ends."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


def register_as(pid: int, url: str) -> Registration:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        registration = registry.register(DIRECTORY, url)
    assert registration is not None
    return registration


def test_a_server_that_still_drains_and_the_next_mount_have_a_record_each(
    row: MountedRow, earlier: subprocess.Popen[bytes]
) -> None:
    draining = register_as(earlier.pid, "memory://earlier")
    serving = register_as(os.getpid(), "memory://now")
    draining.update(state="draining", pending=1)
    assert registry.find_record(row) == serving.record
    assert registry.reread(draining.record) == draining.record  # who waits for it is not told that it has ended
    draining.remove()
    assert registry.find_record(row) == serving.record
    serving.remove()
    assert registry.find_record(row) is None


def test_what_a_killed_server_left_goes_when_its_device_number_is_used_again(
    row: MountedRow, earlier: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    left = register_as(earlier.pid, "memory://earlier")
    assert left.path.exists()
    earlier.kill()
    earlier.wait()
    serving = register_as(os.getpid(), "memory://now")
    assert list((tmp_path / "records").iterdir()) == [serving.path]
