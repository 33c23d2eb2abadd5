"""A file system in memory that notes every request, and programs that make system calls on it."""

from __future__ import annotations

import errno
import functools
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from aiovfs import fuse
from aiovfs.fuse.dispatch import is_overridden
from aiovfs.fuse.protocol import OPERATIONS
from aiovfs.fuse.protocol.messages import Request

__all__ = ["Node", "RamFS", "client", "compiled", "outside", "serving"]

T = TypeVar("T")
METHODS = {operation.name for operation in OPERATIONS} | {"flock"}


async def outside(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Use the mount from a worker thread: from the loop's own thread it would wait for itself."""
    return await anyio.to_thread.run_sync(functools.partial(function, *args, **kwargs), abandon_on_cancel=True)


async def client(code: str, *arguments: object, expected: int = 0, user: int = 0, inside: Path = Path("/")) -> str:
    """Run Python code in a process of its own; returns what it printed.

    Another user does not get past the directories of the test run: it begins `inside` and uses relative paths.
    """
    if user:
        code = f"import os; os.setgroups([]); os.setgid({user}); os.setuid({user})\n{code}"
    done = await outside(
        subprocess.run,
        [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd=inside,
    )
    assert done.returncode == expected, f"ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@functools.cache
def _compiled(source: str, directory: str) -> Path:
    program = Path(directory) / f"program{abs(hash(source))}"
    subprocess.run(
        ["cc", "-O1", "-D_GNU_SOURCE", "-x", "c", "-", "-o", str(program)], input=source, text=True, check=True
    )
    return program


async def compiled(source: str, directory: Path, *arguments: object, expected: int = 0) -> str:
    """Compile a C program, run it, return what it printed."""
    program = await outside(_compiled, source, str(directory))
    command = [str(program), *map(str, arguments)]
    done = await outside(subprocess.run, command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == expected, f"ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Node:
    def __init__(self, mode: int, data: bytes = b"") -> None:
        self.mode = mode
        self.data = bytearray(data)
        self.target = b""
        self.children: dict[bytes, Node] = {}
        self.xattrs: dict[bytes, bytes] = {}
        self.uid = self.gid = 0
        self.rdev = 0
        self.nlink = 1
        self.mtime_ns = self.atime_ns = self.ctime_ns = time.time_ns()


class RamFS(fuse.Operations):
    """Files, directories, links and extended attributes; `file` with some content is there. `seen` has all requests."""

    entry_timeout = 0.0
    attr_timeout = 0.0

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR | 0o777)
        self.root.children[b"file"] = Node(stat.S_IFREG | 0o666, b"hello world\n" * 1000)
        self.inodes: fuse.InodeTable[Node] = fuse.InodeTable(self.root)
        self.seen: list[Any] = []
        self.session: fuse.Session
        for method in METHODS:
            if hasattr(self, method) and is_overridden(self, method):
                setattr(self, method, self.recorded(getattr(self, method)))

    def recorded(self, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(handler)
        def record(request: Any) -> Any:
            if isinstance(getattr(request, "data", None), memoryview):
                request.data = bytes(request.data)
            self.seen.append(request)
            return handler(request)

        return record

    def saw(self, kind: type[Request]) -> list[Any]:
        return [request for request in self.seen if type(request) is kind]

    def nodeid(self, *path: bytes) -> int:
        nodeid = self.inodes.nodeid_of(functools.reduce(lambda node, name: node.children[name], path, self.root))
        assert nodeid is not None
        return nodeid

    async def init(self, session: fuse.Session) -> None:
        self.session = session

    def attributes(self, node: Node) -> fuse.Attributes:
        return fuse.Attributes(
            ino=1000 + self.inodes.remember(node),
            mode=node.mode,
            size=len(node.data) or len(node.target),
            nlink=node.nlink,
            uid=node.uid,
            gid=node.gid,
            rdev=node.rdev,
            atime_ns=node.atime_ns,
            mtime_ns=node.mtime_ns,
            ctime_ns=node.ctime_ns,
            timeout=self.attr_timeout,
        )

    def entry(self, node: Node) -> fuse.Entry:
        return fuse.Entry(self.inodes.remember(node), self.attributes(node), timeout=self.entry_timeout)

    def add(self, request: Any, node: Node) -> fuse.Entry:
        children = self.inodes.get(request.nodeid).children
        if request.name in children:
            raise FileExistsError(errno.EEXIST, "exists")
        node.uid, node.gid = request.uid, request.gid
        children[request.name] = node
        return self.entry(node)

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        node = self.inodes.get(request.nodeid).children.get(request.name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such name")
        return self.entry(node)

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return self.attributes(self.inodes.get(request.nodeid))

    async def setattr(self, request: fuse.Setattr) -> fuse.Attributes:
        node = self.inodes.get(request.nodeid)
        valid = fuse.SetattrValid(request.valid)
        if fuse.SetattrValid.MODE in valid:
            node.mode = request.mode
        if fuse.SetattrValid.UID in valid:
            node.uid = request.new_uid
        if fuse.SetattrValid.GID in valid:
            node.gid = request.new_gid
        if fuse.SetattrValid.SIZE in valid:
            node.data = node.data[: request.size].ljust(request.size, b"\0")
        if fuse.SetattrValid.MTIME in valid:
            node.mtime_ns = request.mtime * 10**9 + request.mtimensec
        return self.attributes(node)

    async def mknod(self, request: fuse.Mknod) -> fuse.Entry:
        node = Node(request.mode)
        node.rdev = request.rdev
        return self.add(request, node)

    async def mkdir(self, request: fuse.Mkdir) -> fuse.Entry:
        return self.add(request, Node(stat.S_IFDIR | request.mode))

    async def symlink(self, request: fuse.Symlink) -> fuse.Entry:
        node = Node(stat.S_IFLNK | 0o777)
        node.target = request.target
        return self.add(request, node)

    async def readlink(self, request: fuse.Readlink) -> bytes:
        return self.inodes.get(request.nodeid).target

    async def link(self, request: fuse.Link) -> fuse.Entry:
        node = self.inodes.get(request.oldnodeid)
        node.nlink += 1
        return self.add(request, node)

    async def unlink(self, request: fuse.Unlink) -> None:
        self.inodes.get(request.nodeid).children.pop(request.name).nlink -= 1

    rmdir = unlink  # type: ignore[assignment]

    async def rename(self, request: fuse.Rename) -> None:
        old, new = self.inodes.get(request.nodeid).children, self.inodes.get(request.newdir).children
        if request.flags & fuse.RenameFlags.NOREPLACE and request.newname in new:
            raise FileExistsError(errno.EEXIST, "exists")
        if request.flags & fuse.RenameFlags.EXCHANGE:
            old[request.name], new[request.newname] = new[request.newname], old[request.name]
        else:
            new[request.newname] = old.pop(request.name)

    async def create(self, request: fuse.Create) -> tuple[fuse.Entry, fuse.Opened]:
        return self.add(request, Node(request.mode)), fuse.Opened(7)

    async def open(self, request: fuse.Open) -> fuse.Opened:
        if request.flags & os.O_TRUNC:
            self.inodes.get(request.nodeid).data.clear()
        return fuse.Opened(7)

    async def read(self, request: fuse.Read) -> bytes:
        return bytes(self.inodes.get(request.nodeid).data[request.offset : request.offset + request.size])

    async def write(self, request: fuse.Write) -> int:
        data = self.inodes.get(request.nodeid).data
        data.extend(bytes(max(0, request.offset - len(data))))
        data[request.offset : request.offset + len(request.data)] = request.data
        return len(request.data)

    async def release(self, request: fuse.Release) -> None:
        return None

    async def readdir(self, request: fuse.Readdir) -> Iterator[fuse.DirEntry]:
        children = self.inodes.get(request.nodeid).children.items()
        everything = (
            fuse.DirEntry(name, self.attributes(node).ino, node.mode, cookie)
            for cookie, (name, node) in enumerate(list(children), 1)
        )
        return (entry for entry in everything if entry.offset > request.offset)


@asynccontextmanager
async def serving(operations: fuse.Operations, directory: Path, **options: Any) -> AsyncIterator[fuse.Session]:
    """Mount for the length of a block, and not longer than a test may take."""
    with anyio.fail_after(40):
        async with fuse.mount(operations, directory, **options) as session:
            yield session
