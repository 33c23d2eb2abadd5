"""Tell the kernel that something changed: drop, expire, fill or fetch what it has cached.

A notification may wait in the kernel for a page or a directory that is locked, and who has it locked may be a request
that *we* have yet to answer. So they are written by a worker thread, one at a time and in order, never by the thread
that serves; a handler may await one.

The case that cannot work: a handler that notifies about the very page or directory which its own request has locked.
The kernel would wait for the answer, and the answer for the notification. Where the handler awaits it in its own task
this is seen beforehand, and is `OSError(EDEADLK)`. Answer first: `session.start_soon(notifier.invalidate_entry, …)`.
`LOCK_DIRECTORY` and `LOCK_PAGES` say which requests lock what. A notification that has waited for `PATIENCE_S` is named
in the log: somebody waits in a circle that we cannot see.

Source: fs/fuse/dev.c (fuse_notify), fs/fuse/dir.c (fuse_reverse_inval_entry), fs/fuse/inode.c
(fuse_reverse_inval_inode); linux/fuse.h.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FrameType

import anyio
import anyio.to_thread

from aiovfs.errors import ClosedError
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol import notifications as n
from aiovfs.fuse.transport import Transport
from aiovfs.types import Buffer

__all__ = ["Notifier"]

log = logging.getLogger("aiovfs.fuse")

PATIENCE_S = 5.0
PAGE = os.sysconf("SC_PAGESIZE")

# What is locked in the kernel until the request is answered.
LOCK_DIRECTORY = (
    m.Lookup, m.Create, m.Tmpfile, m.Mknod, m.Mkdir, m.Symlink, m.Link, m.Unlink, m.Rmdir, m.Rename,
    m.Readdir, m.Readdirplus, m.Setattr, m.Setxattr, m.Removexattr, m.Fsyncdir,
)  # fmt: skip
LOCK_PAGES = (m.Read, m.Write, m.Setattr, m.Fallocate, m.CopyFileRange)


class Notifier:
    """Notifications of one session. Each returns False when the kernel does not know the node or name (any more).

    A kernel that is too old for one answers `OSError(EINVAL)`. Needed are Linux 6.2 for `expire_entry`, 6.9 for
    `resend`, 6.17 for `increase_epoch`, 6.18 for `prune`.
    """

    def __init__(self, device: Transport) -> None:
        self._device = device
        self._order = anyio.Lock()
        self._retrieve_ids = itertools.count(1)
        self._retrieving: dict[int, Retrieval] = {}

    async def invalidate_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> bool:
        """Drop attributes and the pages from `offset`; `length` 0 means to the end, a negative `offset` no pages."""
        if offset >= 0:
            refuse_deadlock("invalidate_inode", holds_pages, nodeid)
        return await self._send(n.encode_inval_inode(nodeid, offset, length))

    async def invalidate_attributes(self, nodeid: int) -> bool:
        """Drop the attributes of a node, keep its pages. Waits for nobody."""
        return await self._send(n.encode_inval_inode(nodeid, -1, 0))

    async def invalidate_entry(self, parent: int, name: bytes) -> bool:
        """Drop the name: it is looked up again."""
        refuse_deadlock("invalidate_entry", holds_directory, parent)
        return await self._send(n.encode_inval_entry(parent, name, 0))

    async def expire_entry(self, parent: int, name: bytes) -> bool:
        """Let the name's time-out end now, without unhashing what is in use."""
        refuse_deadlock("expire_entry", holds_directory, parent)
        return await self._send(n.encode_inval_entry(parent, name, 1))

    async def delete_entry(self, parent: int, child: int, name: bytes) -> bool:
        """The name was removed elsewhere; who watches the file (inotify) is told. False if it means another node."""
        refuse_deadlock("delete_entry", holds_directory, parent)
        return await self._send(n.encode_delete(parent, child, name))

    async def store(self, nodeid: int, offset: int, data: Buffer) -> bool:
        """Put `data` into the kernel's page cache; a file that ends before it grows."""
        refuse_deadlock("store", holds_pages, nodeid)
        return await self._send(n.encode_store(nodeid, offset, data))

    async def retrieve(self, nodeid: int, offset: int, size: int) -> bytes | None:
        """What the page cache has of a file from `offset`: up to `size` bytes, up to the first page that it lacks.

        `b""` when it has nothing there, None when it does not know the node.
        """
        found = bytearray()
        while len(found) < size:
            # The kernel answers with max_write bytes and so many pages at most, and less where pages are missing.
            start = offset + len(found)
            wanted = min(size - len(found), self._device.max_write - start % PAGE)
            piece = await self._retrieve(nodeid, start, wanted)
            if piece is None:
                return None if not found else bytes(found)
            found += piece
            if len(piece) < wanted:
                break
        return bytes(found)

    async def _retrieve(self, nodeid: int, offset: int, size: int) -> bytes | None:
        unique = next(self._retrieve_ids)
        retrieval = self._retrieving[unique] = Retrieval()
        try:
            if not await self._send(n.encode_retrieve(unique, nodeid, offset, size)):
                return None
            await retrieval.has_arrived.wait()
        finally:
            del self._retrieving[unique]
        if retrieval.data is None:
            raise ClosedError("the session ended before the kernel sent what was asked for")
        return retrieval.data

    def poll(self, kh: int) -> bool:
        """Wake who sleeps in poll, select or epoll under the `kh` of a POLL request; they ask again.

        Never waits, so it is no coroutine; may be called from any thread.
        """
        return self._write(n.encode_poll(kh))

    async def resend(self) -> bool:
        """Have every request sent again that was read but not answered, its `unique` marked with `UNIQUE_RESEND`.

        For a server that takes a connection over from one that died; handlers that still run here answer in vain.
        """
        return await self._send(n.encode_resend())

    async def increase_epoch(self) -> bool:
        """Have every name looked up again, at the price of one notification."""
        return await self._send(n.encode_inc_epoch())

    async def prune(self, nodeids: Iterable[int]) -> bool:
        """Have those of the nodes forgotten that nobody uses; FORGET says which."""
        return await self._send(n.encode_prune(list(nodeids)))

    # For the session

    def receive(self, reply: m.NotifyReply) -> None:
        """A NOTIFY_REPLY: what `retrieve` asked for."""
        retrieval = self._retrieving.get(reply.unique)
        if retrieval is None:
            log.warning("the kernel sent %d bytes that nobody asked for (unique=%d)", reply.size, reply.unique)
            return
        retrieval.data = bytes(reply.data)
        retrieval.has_arrived.set()

    def end(self) -> None:
        """No reply will come any more."""
        for retrieval in self._retrieving.values():
            retrieval.has_arrived.set()

    async def _send(self, buffers: Sequence[Buffer]) -> bool:
        async with self._order:
            return await self._send_patiently(buffers)

    async def _send_patiently(self, buffers: Sequence[Buffer]) -> bool:
        """Write in a worker thread, and say so when that takes suspiciously long."""

        async def complain() -> None:
            await anyio.sleep(PATIENCE_S)
            name = n.BY_CODE[int.from_bytes(memoryview(buffers[0])[4:8], "little")].name
            log.warning(
                "notification %s has waited for %g s: a request that is not answered has locked the page or the "
                "directory; answer requests without waiting for notifications about what they change",
                name,
                PATIENCE_S,
            )

        # What the write raises is carried around the task group, which would wrap it.
        result: bool | BaseException = False
        async with anyio.create_task_group() as group:
            group.start_soon(complain)
            try:
                result = await anyio.to_thread.run_sync(self._write, buffers, abandon_on_cancel=False)
            except (OSError, ClosedError) as exc:
                result = exc
            group.cancel_scope.cancel()
        if isinstance(result, BaseException):
            raise result
        return result

    def _write(self, buffers: Sequence[Buffer]) -> bool:
        if self._device.fd < 0:
            raise ClosedError("the session has ended: the kernel cannot be notified")
        try:
            os.writev(self._device.fd, buffers)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.ENOTDIR, errno.ENOTEMPTY, errno.EBUSY):
                return False
            raise
        return True


class Retrieval:
    """One NOTIFY_RETRIEVE on its way."""

    __slots__ = ("data", "has_arrived")

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.has_arrived = anyio.Event()


# Deadlocks


def holds_directory(request: m.Request, nodeid: int) -> bool:
    """Is the directory `nodeid` locked until `request` is answered?"""
    return isinstance(request, LOCK_DIRECTORY) and (
        request.nodeid == nodeid or (isinstance(request, m.Rename) and request.newdir == nodeid)
    )


def holds_pages(request: m.Request, nodeid: int) -> bool:
    """May pages of the file `nodeid` be locked until `request` is answered?"""
    return isinstance(request, LOCK_PAGES) and (
        request.nodeid == nodeid or (isinstance(request, m.CopyFileRange) and request.nodeid_out == nodeid)
    )


def refuse_deadlock(what: str, holds: Callable[[m.Request, int], bool], nodeid: int) -> None:
    """Raise `OSError(EDEADLK)` when the handler that calls is to answer a request that has `nodeid` locked."""
    request = calling_request()
    if request is not None and holds(request, nodeid):
        raise OSError(
            errno.EDEADLK,
            f"{what} of nodeid {nodeid} would wait for the answer to {type(request).__name__} "
            f"unique={request.unique}, which this handler has yet to give; answer first, and notify with "
            "session.start_soon",
        )


def calling_request() -> m.Request | None:
    """The request whose handler is calling us, if a handler does so in its own task.

    Looked for in the frames, so that requests which notify nobody pay nothing for the look-out.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        request = frame.f_locals.get("request")
        if isinstance(request, m.Request):
            return request
        frame = frame.f_back
    return None
