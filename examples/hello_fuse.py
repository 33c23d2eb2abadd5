"""A file system in three methods: one directory with one file. Usage: hello_fuse.py DIRECTORY [asyncio|trio]"""

import sys
from stat import S_IFDIR, S_IFREG

import anyio

from aiovfs import fuse


class Hello(fuse.PathOperations):
    async def stat(self, path: bytes) -> fuse.Attributes:
        if path not in (b"", b"hello"):
            raise FileNotFoundError(2, "there is only hello")
        return fuse.Attributes(0, S_IFREG | 0o444, size=19) if path else fuse.Attributes(0, S_IFDIR | 0o755)

    async def list(self, path: bytes) -> list[bytes]:
        return [b"hello"]

    async def read_at(self, path: bytes, offset: int, size: int) -> bytes:
        return b"Hello from Python!\n"[offset : offset + size]


anyio.run(fuse.serve, Hello(), sys.argv[1], backend=(sys.argv[2:] or ["asyncio"])[0])
