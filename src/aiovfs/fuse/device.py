"""`/dev/fuse`, a `Transport`: read one request, write one reply. Knows bytes and the descriptor, not what they mean.

The descriptor is non-blocking: a reader drains until there is nothing left. Reads go into buffers that are used
again (fresh memory costs 2 µs per page), laid out so that the payload of a WRITE (byte 80) starts at a page boundary.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import weakref
from collections.abc import Sequence

from aiovfs.types import Buffer

__all__ = ["Device", "DeviceGone"]

PAYLOAD_OFFSET = 80  # header (40) and the arguments of WRITE (40)
PAGE = mmap.PAGESIZE
MAX_SPARE_BUFFERS = 8

_open_devices: weakref.WeakSet[Device] = weakref.WeakSet()


class DeviceGone(Exception):
    """The file system was unmounted or its connection aborted: no request will come any more."""


class Device:
    """One connection to the kernel.

    `max_write` is the largest payload of a WRITE; the kernel refuses reads into buffers that could not hold one.
    Owns `fd` and closes it. A forked child drops its copy at once, or the mount would outlive the parent.
    """

    def __init__(self, fd: int, *, max_write: int) -> None:
        self.fd = fd
        self.max_write = max_write
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        # FileIO says "nothing there" with None, where os.readv raises: an exception costs more than the system call.
        self._readinto = io.FileIO(fd, "r+b", closefd=False).readinto
        self._spare: list[memoryview] = []
        self._populated = 0
        _open_devices.add(self)

    def take_buffer(self) -> memoryview:
        """A buffer for one request. Give it back with `return_buffer` when nothing refers to it any more."""
        if self._spare:
            return self._spare.pop()
        size = PAGE + max(self.max_write, PAGE) + PAGE
        # When we are killed while the kernel copies a request to a page that is not there yet, its caller gets EIO.
        # With the page there, the request stays for who adopts the connection. It costs half a millisecond, so a crowd
        # of writes that wait gets its buffers without.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        if self._populated < MAX_SPARE_BUFFERS:
            self._populated += 1
            flags |= mmap.MAP_POPULATE
        memory = mmap.mmap(-1, size, flags=flags)
        return memoryview(memory)[PAGE - PAYLOAD_OFFSET :]

    def return_buffer(self, buffer: memoryview) -> None:
        if len(self._spare) < MAX_SPARE_BUFFERS:
            self._spare.append(buffer)

    def read(self, buffer: memoryview) -> int:
        """Read one request into `buffer`; its length, or 0 when there is none now.

        Raises `DeviceGone` when the connection has ended. Source: fuse_dev_do_read; fuse(4).
        """
        while True:
            try:
                length = self._readinto(buffer)
            except OSError as exc:
                if exc.errno in (errno.ENOENT, errno.EINTR):
                    continue  # the request was withdrawn between its wake-up and our read
                if exc.errno in (errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.ECONNRESET, errno.EBADF):
                    raise DeviceGone(os.strerror(exc.errno)) from None
                raise
            except ValueError:
                raise DeviceGone("the device was closed") from None
            if length:
                return length
            if length is None:
                return 0
            raise DeviceGone("end of file")

    def write(self, buffers: Sequence[Buffer]) -> bool:
        """Write one reply; False when the kernel no longer waits for it. Other errors raise `OSError`."""
        if self.fd < 0:
            return False  # closed: a handler has outlived its session
        try:
            os.writev(self.fd, buffers)
        except OSError as exc:
            # ENOENT: the request was interrupted or aborted. ENODEV and friends: unmounted meanwhile.
            if exc.errno in (errno.ENOENT, errno.ENODEV, errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN):
                return False
            raise
        return True

    def close(self) -> None:
        """Close the descriptor. If the mount is still there, its users get ENOTCONN from now on."""
        fd, self.fd = self.fd, -1
        self._spare.clear()
        _open_devices.discard(self)
        if fd >= 0:
            os.close(fd)


def _drop_in_child() -> None:
    for device in list(_open_devices):
        device.close()


os.register_at_fork(after_in_child=_drop_in_child)
