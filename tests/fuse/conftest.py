"""A small file system in memory whose handlers misbehave on request, and a kernel to drive it."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator

import anyio
import pytest

from aiovfs import fuse
from aiovfs.testing.fake_kernel import FakeKernel


class Node:
    def __init__(self, mode: int, data: bytes = b"") -> None:
        self.mode = mode
        self.data = bytearray(data)
        self.children: dict[bytes, Node] = {}


class Sample(fuse.Operations):
    """One directory with the file `hello`; other names make the handler do what they say."""

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR | 0o755)
        self.root.children[b"hello"] = Node(stat.S_IFREG | 0o644, b"hello world")
        self.inodes = fuse.InodeTable(self.root)
        self.release_waiting = anyio.Event()
        self.now_waiting = anyio.Event()
        self.events: list[str] = []
        self.kept: list[object] = []

    def attributes(self, node: Node) -> fuse.Attributes:
        return fuse.Attributes(
            self.inodes.remember(node), node.mode, len(node.data), mtime_ns=1_500_000_000_123_456_789, timeout=2.5
        )

    async def init(self, session: fuse.Session) -> None:
        self.events.append("init")

    async def destroy(self) -> None:
        self.events.append("destroy")

    def forgotten(self, nodeid: int, obj: object) -> None:
        self.events.append(f"forgotten {nodeid}")

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        name = request.name
        if name == b"bug":
            raise ZeroDivisionError("a bug in the handler")
        if name == b"wrong-type":
            return "not an entry"  # type: ignore[return-value]
        if name == b"wait":
            self.now_waiting.set()
            try:
                await self.release_waiting.wait()
            except BaseException:
                self.events.append("cancelled")
                raise
            name = b"hello"
        if name == b"timeout":
            with anyio.move_on_after(0.01):
                await anyio.sleep(60)
            name = b"hello"
        node = self.inodes.get(request.nodeid).children.get(name)
        if node is None:
            raise OSError(errno.ENOENT, "no such name")
        return fuse.Entry(self.inodes.remember(node), self.attributes(node), timeout=0.5)

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return self.attributes(self.inodes.get(request.nodeid))

    async def read(self, request: fuse.Read) -> bytes:
        if request.offset == 999:
            return b"x" * (request.size + 1)
        data = self.inodes.get(request.nodeid).data
        return bytes(data[request.offset : request.offset + request.size])

    async def write(self, request: fuse.Write) -> int:
        if request.flags == 1:
            self.kept.append(request.data)
        if request.flags == 2:
            await anyio.sleep(0.05)
        node = self.inodes.get(request.nodeid)
        end = request.offset + len(request.data)
        node.data.extend(bytes(max(0, end - len(node.data))))
        node.data[request.offset : end] = request.data
        return len(request.data)

    async def readdirplus(self, request: fuse.Readdirplus) -> Iterator[fuse.DirEntry]:
        return self.entries(request.offset)

    def entries(self, start: int) -> Iterator[fuse.DirEntry]:
        for cookie, (name, node) in enumerate(self.root.children.items(), 1):
            if cookie > start:
                nodeid = self.inodes.remember(node)
                yield fuse.DirEntry(name, nodeid, node.mode, cookie, fuse.Entry(nodeid, self.attributes(node)))


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    with FakeKernel() as kernel:
        yield kernel


@pytest.fixture
def sample() -> Sample:
    return Sample()
