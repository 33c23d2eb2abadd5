"""A file system in handlers: one directory with one file. Usage: hello_fuse.py DIRECTORY [asyncio|trio]"""

import errno
import stat
import sys

import anyio

from aiovfs import fuse

CONTENT = b"Hello from Python!\n"
FILE = fuse.NodeId(2)


class Hello(fuse.Operations):
    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        if request.nodeid == fuse.ROOT_NODEID:
            return fuse.Attributes(ino=1, mode=stat.S_IFDIR | 0o755, nlink=2)
        return fuse.Attributes(ino=FILE, mode=stat.S_IFREG | 0o444, size=len(CONTENT))

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        if request.name != b"hello":
            raise OSError(errno.ENOENT, "there is only hello")
        return fuse.Entry(FILE, fuse.Attributes(ino=FILE, mode=stat.S_IFREG | 0o444, size=len(CONTENT)))

    async def readdir(self, request: fuse.Readdir) -> list[fuse.DirEntry]:
        return [fuse.DirEntry(b"hello", FILE, stat.S_IFREG, offset=1)][request.offset :]

    async def read(self, request: fuse.Read) -> bytes:
        return CONTENT[request.offset : request.offset + request.size]


if __name__ == "__main__":
    anyio.run(fuse.serve, Hello(), sys.argv[1], backend=sys.argv[2] if len(sys.argv) > 2 else "asyncio")
