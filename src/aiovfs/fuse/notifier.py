"""Tell the kernel that something changed: drop, expire, or fill what it has cached.

A notification may block in the kernel until a page is unlocked or a directory is free, and who unlocks it may be a
request that *we* have yet to answer. So they are written by a worker thread, one at a time and in order, never by the
thread that serves; a handler may await one without a deadlock, as long as the request it is answering does not hold
the very lock (do not invalidate an entry from a handler that changes the same directory: answer first).
Source: fs/fuse/dev.c (fuse_notify); linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import anyio
import anyio.to_thread

from aiovfs.errors import ClosedError
from aiovfs.fuse.device import Device
from aiovfs.fuse.protocol import notifications as n
from aiovfs.types import Buffer

__all__ = ["Notifier"]


class Notifier:
    """Notifications of one session. Each returns False when the kernel does not know the node or name (any more)."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._order = anyio.Lock()

    async def invalidate_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> bool:
        """Drop attributes and the pages from `offset`; `length` 0 means to the end, a negative `offset` no pages."""
        return await self._send(n.encode_inval_inode(nodeid, offset, length))

    async def invalidate_attributes(self, nodeid: int) -> bool:
        """Drop the attributes of a node, keep its pages. Safe for a node with open files."""
        return await self._send(n.encode_inval_inode(nodeid, -1, 0))

    async def invalidate_entry(self, parent: int, name: bytes) -> bool:
        """Drop the name: it is looked up again."""
        return await self._send(n.encode_inval_entry(parent, name, 0))

    async def expire_entry(self, parent: int, name: bytes) -> bool:
        """Let the name's time-out end now, without unhashing what is in use."""
        return await self._send(n.encode_inval_entry(parent, name, 1))

    async def delete_entry(self, parent: int, child: int, name: bytes) -> bool:
        """The name was removed elsewhere; programs that watch it are told."""
        return await self._send(n.encode_delete(parent, child, name))

    async def store(self, nodeid: int, offset: int, data: Buffer) -> bool:
        """Put `data` into the kernel's page cache."""
        return await self._send(n.encode_store(nodeid, offset, data))

    async def _send(self, buffers: Sequence[Buffer]) -> bool:
        async with self._order:
            return await anyio.to_thread.run_sync(self._write, buffers, abandon_on_cancel=False)

    def _write(self, buffers: Sequence[Buffer]) -> bool:
        if self._device.fd < 0:
            raise ClosedError("the session has ended: the kernel cannot be notified")
        try:
            os.writev(self._device.fd, buffers)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.ENOTDIR):
                return False
            raise
        return True
