"""A file system written for pyfuse3 that records its calls, and what tests need to serve it, mount it and touch it.

A mount is served by the test's own loop, so whatever touches it goes through a thread (`use`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from aiovfs.compat import pyfuse3
from aiovfs.compat.pyfuse3 import state

__all__ = ["Sample", "abort", "is_mounted", "mount_line", "serving", "use"]


class Sample(pyfuse3.Operations):
    """One file, `hello`, in the root. Every call is recorded; `answers` replaces what a handler returns or raises."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.data = b"hello world"

    def init(self) -> None:
        self.calls.append(("init",))

    def attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode = stat.S_IFDIR | 0o755
        else:
            entry.st_mode = stat.S_IFREG | 0o644
            entry.st_size = len(self.data)
        entry.st_uid = os.getuid()
        entry.st_gid = os.getgid()
        return entry

    async def answer(self, *call: Any) -> Any:
        """Record the call; returns the answer that the test chose, or None."""
        self.calls.append(call)
        answer = self.answers.get(call[0])
        if isinstance(answer, BaseException):
            raise answer
        return await answer(*call[1:]) if callable(answer) else answer

    def arguments(self, handler: str) -> tuple[Any, ...]:
        """Of the last call of a handler."""
        return [call for call in self.calls if call[0] == handler][-1][1:]

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        answer = await self.answer("lookup", parent_inode, name, ctx)
        if answer is not None:
            return answer
        if name != b"hello":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self.attributes(2)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        answer = await self.answer("getattr", inode, ctx)
        return self.attributes(inode) if answer is None else answer

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        answer = await self.answer("opendir", inode, ctx)
        return inode if answer is None else answer

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        await self.answer("readdir", fh, start_id, token)
        if start_id == 0:
            pyfuse3.readdir_reply(token, b"hello", self.attributes(2), 1)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        answer = await self.answer("open", inode, flags, ctx)
        return pyfuse3.FileInfo(fh=inode) if answer is None else answer

    async def read(self, fh: int, off: int, size: int) -> bytes:
        answer = await self.answer("read", fh, off, size)
        return self.data[off : off + size] if answer is None else answer

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        answer = await self.answer("write", fh, off, buf)
        if answer is not None:
            return answer
        self.data = self.data[:off] + buf + self.data[off + len(buf) :]
        return len(buf)

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        answer = await self.answer("statfs", ctx)
        return pyfuse3.StatvfsData() if answer is None else answer

    async def forget(self, inode_list: Any) -> None:
        await self.answer("forget", list(inode_list))


def recorder(name: str) -> Callable[..., Any]:
    async def handler(self: Sample, *arguments: Any) -> Any:
        return await self.answer(name, *arguments)

    return handler


for _name in (
    *("setattr", "readlink", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "create", "flush"),
    *("release", "fsync", "releasedir", "fsyncdir", "setxattr", "getxattr", "listxattr", "removexattr"),
    *("access", "poll"),
):
    setattr(Sample, _name, recorder(_name))


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[None]:
    """Run `main` beside the block, and end it with `terminate`."""
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: pyfuse3.main(**limits))
        try:
            yield
        finally:
            pyfuse3.terminate()


def mount_line(directory: Path) -> list[str] | None:
    """The fields of /proc/self/mountinfo for `directory`, without touching it."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == str(directory):
            found = fields
    return found


def is_mounted(directory: Path) -> bool:
    return mount_line(directory) is not None


def abort(directory: Path) -> None:
    """End a connection that nobody answers on: everybody who waits gets an error."""
    line = mount_line(directory)
    if line is not None:
        number = line[2].partition(":")[2]
        control = Path("/sys/fs/fuse/connections") / number / "abort"
        if control.exists():
            control.write_text("1")
    mounted = state.current()
    if mounted is not None:
        mounted.abort()


async def use(function: Callable[..., Any], *arguments: Any) -> Any:
    """A call that touches the mount."""
    return await anyio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True)
