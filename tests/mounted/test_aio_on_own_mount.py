"""Disk operations on a mount that the same loop serves: the engine must never wait for it in the loop's own thread.

In a process of its own, as a thread that waits for itself can only be killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovfs.aio import select
from aiovfs.errors import MountError
from aiovfs.fuse import mountpoint

PROGRAM = r"""
import asyncio, os, stat, sys
import anyio
from aiovfs import fuse
from aiovfs.aio.engine import current, perform, perform_many
from aiovfs.aio.mounts import local_devices

class OneFile(fuse.Operations):
    content = bytearray(range(256)) * 64

    def attributes(self, nodeid):
        if nodeid == fuse.ROOT_NODEID:
            return fuse.Attributes(1, stat.S_IFDIR | 0o755, nlink=2, timeout=60.0)
        return fuse.Attributes(nodeid, stat.S_IFREG | 0o644, len(self.content), timeout=60.0)

    async def getattr(self, request):
        return self.attributes(request.nodeid)

    async def lookup(self, request):
        if request.name != b"file":
            raise FileNotFoundError(2, "no such name")
        return fuse.Entry(2, self.attributes(2), timeout=60.0)

    async def open(self, request):
        await anyio.sleep(0)
        return fuse.Opened(0)

    async def flush(self, request):
        await anyio.sleep(0)

    async def fsync(self, request):
        await anyio.sleep(0)

    async def read(self, request):
        await anyio.sleep(0)
        return bytes(self.content[request.offset : request.offset + request.size])

    async def write(self, request):
        await anyio.sleep(0)
        self.content[request.offset : request.offset + len(request.data)] = request.data
        return len(request.data)

async def main():
    path = os.path.join(sys.argv[1], "file")
    async with fuse.mount(OneFile(), sys.argv[1]):
        assert current().name == os.environ["AIOVFS_ENGINE"]
        for _ in range(3):  # names and attributes are in memory from the second time on
            assert (await perform("stat", path)).st_size == 16384
            fd = await perform("open", path, os.O_RDWR)
            for _ in range(3):
                assert await perform("read", fd, 4, 254) == bytes((254, 255, 0, 1))
                assert await perform("write", fd, b"\xff", 255) == 1
                await perform("fsync", fd)
                assert (await perform("fstat", fd)).st_ino == 2
            pieces = await perform_many("read", [(fd, 16, 256 * index) for index in range(64)])
            assert pieces == [bytes(range(16))] * 64
            await perform("close", fd)
            assert await perform("read_file", path) == bytes(OneFile.content)
        try:
            await perform("stat", path + "s")
        except FileNotFoundError:
            print("done")

if sys.argv[2] == "uvloop":
    import uvloop
    asyncio.run(main(), loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run(main())
elif sys.argv[2] == "trio":
    import trio
    trio.run(main)
else:
    asyncio.run(main())
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    with contextlib.suppress(MountError):
        mountpoint.unmount(str(path), lazy=True)


@pytest.mark.parametrize("engine", [candidate.name for candidate in select.ENGINES])
@pytest.mark.parametrize("library", ["asyncio", "uvloop", "trio"])
def test_a_loop_can_use_files_of_the_mount_that_it_serves(directory: Path, engine: str, library: str) -> None:
    try:
        select.choose(engine)
    except RuntimeError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory), library],
        env={**os.environ, "AIOVFS_ENGINE": engine},
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
