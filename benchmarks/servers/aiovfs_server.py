"""The name space served by aiovfs: `python -m benchmarks.servers.aiovfs_server MOUNTPOINT asyncio|uvloop|trio`.

Options of the session may follow, as `name=yes` or `name=no`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import trio

from aiovfs import fuse
from aiovfs.fuse.protocol import messages as m
from aiovfs.types import NodeId
from benchmarks.servers.namespace import BLOCK, BUFFERED, Node, build

VIEW = memoryview(BLOCK)  # any buffer may be returned, and a slice of a view copies nothing


def finish(node: Node) -> None:
    """Give a node the Entry that is sent for it; time-outs are 0."""
    attributes = fuse.Attributes(ino=node.ino, mode=node.mode, size=node.size, timeout=0)
    node.reply = fuse.Entry(NodeId(node.ino), attributes, timeout=0)


class Handlers(fuse.Operations):
    """In-memory handlers, the same as those of the other servers; nodes are numbered by the name space itself."""

    def __init__(self) -> None:
        self.nodes = build(finish)
        self.unlinked: dict[int, Node] = {}
        self.listings: dict[int, list[bytes]] = {}
        self.next_ino = len(self.nodes) + 1

    def children(self, nodeid: int) -> dict[bytes, Node]:
        children = self.nodes[nodeid].children
        if children is None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return children

    async def lookup(self, request: m.Lookup) -> fuse.Entry:
        node = self.children(request.nodeid).get(request.name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such name")
        reply: fuse.Entry = node.reply
        return reply

    async def getattr(self, request: m.Getattr) -> fuse.Attributes:
        attributes: fuse.Attributes = self.nodes[request.nodeid].reply.attributes
        return attributes

    async def setattr(self, request: m.Setattr) -> fuse.Attributes:
        attributes: fuse.Attributes = self.nodes[request.nodeid].reply.attributes
        return attributes

    async def open(self, request: m.Open) -> fuse.Opened:
        return fuse.Opened(request.nodeid, direct_io=request.nodeid != BUFFERED)

    async def read(self, request: m.Read) -> memoryview:
        return VIEW[: request.size]

    async def write(self, request: m.Write) -> int:
        data, size = self.nodes[request.fh].data, len(request.data)
        if data is None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        memoryview(data)[request.offset : request.offset + size] = request.data  # a bytearray would copy it twice
        return size

    async def release(self, request: m.Release) -> None:
        pass

    async def create(self, request: m.Create) -> tuple[fuse.Entry, fuse.Opened]:
        node = Node(self.next_ino, stat.S_IFREG | request.mode)
        self.next_ino += 1
        finish(node)
        self.nodes[node.ino] = self.children(request.nodeid)[request.name] = node
        return node.reply, fuse.Opened(node.ino, direct_io=True)

    async def unlink(self, request: m.Unlink) -> None:
        node = self.children(request.nodeid).pop(request.name, None)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such name")
        self.unlinked[node.ino] = node

    def forget(self, nodeid: int, count: int) -> None:
        if self.unlinked.pop(nodeid, None):
            del self.nodes[nodeid]

    async def opendir(self, request: m.Opendir) -> fuse.Opened:
        self.listings[request.nodeid] = list(self.children(request.nodeid))
        return fuse.Opened(request.nodeid)

    def entries(self, fh: int, start: int) -> Iterator[fuse.DirEntry]:
        children, names = self.children(fh), self.listings[fh]
        for index in range(start, len(names)):
            name = names[index]
            node = children[name]
            yield fuse.DirEntry(name, node.ino, node.mode, index + 1, node.reply)

    async def readdir(self, request: m.Readdir) -> Iterator[fuse.DirEntry]:
        return self.entries(request.fh, request.offset)

    async def readdirplus(self, request: m.Readdirplus) -> Iterator[fuse.DirEntry]:
        return self.entries(request.fh, request.offset)

    async def releasedir(self, request: m.Releasedir) -> None:
        self.listings.pop(request.fh, None)

    async def statfs(self, request: m.Statfs) -> fuse.Statfs:
        return fuse.Statfs()


class WaitingHandlers(Handlers):
    """Reads go to the loop once, by the loop's own means."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__()
        self.sleep = sleep

    async def read(self, request: m.Read) -> memoryview:
        await self.sleep(0)
        return VIEW[: request.size]


def main(mountpoint: str, loop: str, *settings: str) -> None:
    """Serve until somebody unmounts. BENCHMARK_WAIT: reads wait; BENCHMARK_SPIN: the option `spin`."""
    options: dict[str, Any] = {"use_uvloop": True} if loop == "uvloop" else {}
    chosen = {name: value == "yes" for name, _, value in (setting.partition("=") for setting in settings)}

    handlers = Handlers()
    if os.environ.get("BENCHMARK_WAIT"):
        handlers = WaitingHandlers(trio.sleep if loop == "trio" else asyncio.sleep)
    spin = int(os.environ.get("BENCHMARK_SPIN", "0"))

    async def serve() -> None:
        await fuse.serve(handlers, mountpoint, fsname="benchmark", spin=spin, **chosen)

    anyio.run(serve, backend="trio" if loop == "trio" else "asyncio", backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
