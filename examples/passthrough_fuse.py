"""Another directory, seen through a file system in Python. Usage: passthrough_fuse.py SOURCE DIRECTORY [asyncio|trio]

Every call on the source may block (a disk, a network mount), so it is made in a worker thread.
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from aiovfs import fuse

T = TypeVar("T")


class Passthrough(fuse.PathOperations):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = os.fsencode(os.path.abspath(source))

    async def run(self, function: Callable[..., T], path: bytes, *args: object) -> T:
        return await anyio.to_thread.run_sync(function, os.path.join(self.source, path), *args)

    async def stat(self, path: bytes) -> fuse.Attributes:
        return fuse.Attributes.from_stat(await self.run(os.lstat, path))

    async def list(self, path: bytes) -> list[bytes]:
        return await self.run(os.listdir, path)

    async def read_at(self, path: bytes, offset: int, size: int) -> bytes:
        def read(full: bytes) -> bytes:
            with open(full, "rb", buffering=0) as file:
                return os.pread(file.fileno(), size, offset)

        return await self.run(read, path)

    async def write_at(self, path: bytes, offset: int, data: bytes) -> int:
        def write(full: bytes) -> int:
            with open(full, "r+b", buffering=0) as file:
                return os.pwrite(file.fileno(), data, offset)

        return await self.run(write, path)

    async def truncate(self, path: bytes, size: int) -> None:
        await self.run(os.truncate, path, size)

    async def change(self, path: bytes, request: fuse.Setattr) -> None:
        if request.valid & fuse.SetattrValid.MODE:
            await self.run(os.chmod, path, request.mode & 0o7777)
        if request.valid & fuse.SetattrValid.MTIME:
            times = (request.atime * 10**9 + request.atimensec, request.mtime * 10**9 + request.mtimensec)
            await self.run(lambda full: os.utime(full, ns=times, follow_symlinks=False), path)

    async def make_file(self, path: bytes, mode: int) -> None:
        await self.run(os.mknod, path, mode)

    async def make_directory(self, path: bytes, mode: int) -> None:
        await self.run(os.mkdir, path, mode)

    async def make_link(self, path: bytes, target: bytes) -> None:
        await self.run(lambda full: os.symlink(target, full), path)

    async def target_of(self, path: bytes) -> bytes:
        return await self.run(os.readlink, path)

    async def remove(self, path: bytes) -> None:
        await self.run(os.unlink, path)

    async def remove_directory(self, path: bytes) -> None:
        await self.run(os.rmdir, path)

    async def move(self, old: bytes, new: bytes, *, replace: bool) -> None:
        target = os.path.join(self.source, new)
        if not replace and await anyio.to_thread.run_sync(os.path.lexists, target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        await self.run(os.rename, old, target)


if __name__ == "__main__":
    source, directory, *loop = sys.argv[1:]
    anyio.run(fuse.serve, Passthrough(source), directory, backend=loop[0] if loop else "asyncio")
