"""A server for tests that load it, kill it, or starve it: `loaded_server.py DIRECTORY LOOP [max_tasks=N] [scarce]`.

    /file      1 MiB that is read past the page cache
    /gate      a read returns once as many reads wait as its offset says
    /many/     a million names, made while they are listed
    /opened    opening it opens a descriptor of the server
    /never     a read of it never returns

With `scarce` the server has no descriptor left once it serves. SIGTERM ends the session. It prints a line when it
serves and one when it ends.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator

import anyio

from aiovfs import fuse

FILES = {b"file": 2, b"gate": 3, b"many": 4, b"opened": 5, b"never": 6}
NAMES = {number: name for name, number in FILES.items()}
MANY = 1_000_000
FIRST = 1000
SIZE = 1 << 20


def attributes(nodeid: int) -> fuse.Attributes:
    if nodeid in (fuse.ROOT_NODEID, FILES[b"many"]):
        return fuse.Attributes(nodeid, stat.S_IFDIR | 0o755)
    return fuse.Attributes(nodeid, stat.S_IFREG | 0o644, SIZE if nodeid < FIRST else 0)


class Loaded(fuse.Operations):
    def __init__(self) -> None:
        self.waiting = 0
        self.opens_gate = anyio.Event()

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        if request.nodeid == FILES[b"many"] and request.name[1:].isdigit():
            number = FIRST + int(request.name[1:])
        elif request.name in FILES:
            number = FILES[request.name]
        else:
            raise OSError(errno.ENOENT, "no such name")
        return fuse.Entry(fuse.NodeId(number), attributes(number))

    def forget(self, nodeid: int, count: int) -> None:
        pass

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return attributes(request.nodeid)

    async def open(self, request: fuse.Open) -> fuse.Opened:
        fh = os.open("/dev/null", os.O_RDONLY) if NAMES.get(request.nodeid) == b"opened" else 0
        return fuse.Opened(fh, direct_io=True)

    async def release(self, request: fuse.Release) -> None:
        if request.fh:
            os.close(request.fh)

    async def read(self, request: fuse.Read) -> bytes:
        name = NAMES.get(request.nodeid)
        if name == b"gate":
            self.waiting += 1
            if self.waiting >= request.offset:
                self.opens_gate.set()
            await self.opens_gate.wait()
        elif name == b"never":
            await anyio.sleep_forever()
        return bytes(min(request.size, max(0, SIZE - request.offset)))

    async def readdir(self, request: fuse.Readdir) -> Iterator[fuse.DirEntry]:
        if request.nodeid != FILES[b"many"]:
            names = list(FILES.items())[request.offset :]
            return (
                fuse.DirEntry(name, number, attributes(number).mode, cookie)
                for cookie, (name, number) in enumerate(names, request.offset + 1)
            )
        return (
            fuse.DirEntry(b"n%d" % number, FIRST + number, stat.S_IFREG, number + 1)
            for number in range(request.offset, MANY)
        )


async def main(directory: str, *words: str) -> None:
    options = {name: int(value) for name, _, value in (word.partition("=") for word in words if "=" in word)}
    async with fuse.mount(Loaded(), directory, **options) as session:
        if "scarce" in words:
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        signal.signal(signal.SIGTERM, lambda *_: session.terminate())
        print("serving", flush=True)
        await session.wait()
    print("ended", flush=True)


if __name__ == "__main__":
    directory, loop, *words = sys.argv[1:]
    anyio.run(main, directory, *words, backend=loop)
