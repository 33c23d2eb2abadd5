# mypy: ignore-errors
# The interpreter of the rivals runs this; the type checker does not see their packages.
"""The name space served by pyfuse3: `python -m benchmarks.servers.pyfuse3_server MOUNTPOINT asyncio|trio`."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys

import pyfuse3
import pyfuse3.asyncio
import trio

from benchmarks.servers.namespace import BLOCK, BUFFERED, Node, build


def finish(node: Node) -> None:
    """Give a node the attributes object that is sent for it; time-outs are 0."""
    attributes = node.reply = pyfuse3.EntryAttributes()
    attributes.st_ino = node.ino
    attributes.st_mode = node.mode
    attributes.st_size = node.size
    attributes.st_nlink = 1
    attributes.entry_timeout = attributes.attr_timeout = 0


class Handlers(pyfuse3.Operations):
    """In-memory handlers; what is not here is answered by pyfuse3 (ENOSYS), as in the other servers."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = build(finish)
        self.unlinked: dict[int, Node] = {}
        self.listings: dict[int, list[tuple[bytes, Node]]] = {}
        self.next_ino = len(self.nodes) + 1

    async def lookup(self, parent, name, ctx):
        node = self.nodes[parent].children.get(name)
        if node is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return node.reply

    async def getattr(self, inode, ctx):
        return self.nodes[inode].reply

    async def setattr(self, inode, attr, fields, fh, ctx):
        return self.nodes[inode].reply

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=inode, direct_io=inode != BUFFERED)

    async def read(self, fh, off, size):
        return BLOCK[:size]

    async def write(self, fh, off, buf):
        node = self.nodes[fh]
        memoryview(node.data)[off : off + len(buf)] = buf
        return len(buf)

    async def release(self, fh):
        pass

    async def create(self, parent, name, mode, flags, ctx):
        node = Node(self.next_ino, stat.S_IFREG | mode)
        self.next_ino += 1
        finish(node)
        self.nodes[node.ino] = self.nodes[parent].children[name] = node
        return pyfuse3.FileInfo(fh=node.ino, direct_io=True), node.reply

    async def unlink(self, parent, name, ctx):
        node = self.nodes[parent].children.pop(name, None)
        if node is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        self.unlinked[node.ino] = node

    async def forget(self, inode_list):
        for inode, _ in inode_list:
            if self.unlinked.pop(inode, None):
                del self.nodes[inode]

    async def opendir(self, inode, ctx):
        self.listings[inode] = list(self.nodes[inode].children)
        return inode

    async def readdir(self, fh, start_id, token):
        children, names = self.nodes[fh].children, self.listings[fh]
        for index in range(start_id, len(names)):
            name = names[index]
            node = children[name]
            if not pyfuse3.readdir_reply(token, name, node.reply, index + 1):
                break

    async def releasedir(self, fh):
        self.listings.pop(fh, None)

    async def statfs(self, ctx):
        return pyfuse3.StatvfsData()


class WaitingHandlers(Handlers):
    """Reads go to the loop once, by the loop's own means."""

    def __init__(self, sleep) -> None:
        super().__init__()
        self.sleep = sleep

    async def read(self, fh, off, size):
        await self.sleep(0)
        return BLOCK[:size]


def main(mountpoint: str, loop: str) -> None:
    """Serve until somebody unmounts. BENCHMARK_WAIT: reads wait."""
    handlers = Handlers()
    if os.environ.get("BENCHMARK_WAIT"):
        handlers = WaitingHandlers(trio.sleep if loop == "trio" else asyncio.sleep)
    if loop == "asyncio":
        pyfuse3.asyncio.enable()
    pyfuse3.init(handlers, mountpoint, {"fsname=benchmark"})
    if loop == "asyncio":
        asyncio.run(pyfuse3.main())
    else:
        trio.run(pyfuse3.main)
    pyfuse3.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
