"""What the session needs of a connection to the kernel: the next request, the commitment of a reply, and readiness.

`Device` (`/dev/fuse`) is the one that is shipped; everything above it (`Drain`, `Notifier`, `Session`) asks for no more
than this. Another one, such as FUSE-over-io_uring, would keep its entries by the `unique` in the reply's header, and
offer an eventfd as `fd`. The core in C makes the system calls of `Device` itself; other transports are served by the
core in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiovfs.types import Buffer

__all__ = ["Transport"]


class Transport(Protocol):
    """One connection. All methods return at once, and are called by the session's own thread, but for `write`."""

    fd: int
    """Can be read (select, epoll) when `read` would not return 0; negative once closed."""
    max_write: int
    """The largest payload of a WRITE: what a buffer has to have room for."""

    def take_buffer(self) -> memoryview:
        """A buffer for one request, its payload aligned to a page. Give it back with `return_buffer`."""

    def return_buffer(self, buffer: memoryview) -> None:
        """Nothing refers to `buffer` any more."""

    def read(self, buffer: memoryview) -> int:
        """The next request's length, 0 when there is none now. Raises `DeviceGone` when no more will come."""

    def write(self, buffers: Sequence[Buffer]) -> bool:
        """Commit one reply (or notification); False when the kernel no longer waits for it. From any thread."""

    def close(self) -> None:
        """End the connection as far as this process is concerned."""
