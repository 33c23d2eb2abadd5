"""A directory with the files that the load generator uses, seen three ways.

python -m benchmarks.servers.directory_server SOURCE MOUNTPOINT native|passthrough|handlers
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import anyio

from aiovfs import fuse
from aiovfs.fuse.protocol import messages as m
from benchmarks.servers.namespace import BLOCK, TARGET_SIZE

FILE_SIZE = 64 << 20


class Mirror(fuse.Operations):
    """The files of one flat directory; with a descriptor for passthrough, and handlers for where that is off."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.inodes: fuse.InodeTable[str] = fuse.InodeTable("")
        self.names: dict[bytes, str] = {}
        self.handles: fuse.HandleTable[int] = fuse.HandleTable()

    async def lookup(self, request: m.Lookup) -> fuse.Entry:
        name = self.names.setdefault(request.name, os.fsdecode(request.name))
        nodeid = self.inodes.remember(name)
        return fuse.Entry(nodeid, await self.getattr(m.Getattr(nodeid=nodeid)), timeout=0)

    async def getattr(self, request: m.Getattr) -> fuse.Attributes:
        return fuse.Attributes.from_stat(os.stat(self.source / self.inodes.get(request.nodeid)), timeout=0)

    async def open(self, request: m.Open) -> fuse.Opened:
        fd = os.open(self.source / self.inodes.get(request.nodeid), request.flags)
        return fuse.Opened(self.handles.open(fd), passthrough=fd)

    async def read(self, request: m.Read) -> bytes:
        return os.pread(self.handles.get(request.fh), request.size, request.offset)

    async def write(self, request: m.Write) -> int:
        return os.pwrite(self.handles.get(request.fh), request.data, request.offset)

    async def release(self, request: m.Release) -> None:
        os.close(self.handles.close(request.fh))


def fill(source: Path) -> None:
    """Write the files, and read them once, so that all are in the page cache."""
    source.mkdir()
    for name, size in (("file", FILE_SIZE), ("target", TARGET_SIZE), ("buffered", FILE_SIZE)):
        with open(source / name, "wb") as file:
            file.writelines(BLOCK for _ in range(size // len(BLOCK)))
            os.fsync(file.fileno())


def bind(source: Path, mountpoint: str) -> None:
    """The directory itself, at another place, until somebody unmounts it there."""
    subprocess.run(["mount", "--bind", str(source), mountpoint], check=True)
    while os.path.ismount(mountpoint) or os.path.exists(f"{mountpoint}/file"):
        time.sleep(0.05)


async def serve(source: Path, mountpoint: str, *, passthrough: bool) -> None:
    async with fuse.mount(Mirror(source), mountpoint, passthrough=passthrough, fsname="benchmark") as session:
        if passthrough and fuse.InitFlags.PASSTHROUGH not in session.features:
            raise OSError(errno.EOPNOTSUPP, "this kernel has no passthrough")
        await session.wait()


def main(source: str, mountpoint: str, mode: str) -> None:
    """Serve until somebody unmounts."""
    fill(Path(source))
    if mode == "native":
        bind(Path(source), mountpoint)
    else:

        async def run() -> None:
            await serve(Path(source), mountpoint, passthrough=mode == "passthrough")

        anyio.run(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
