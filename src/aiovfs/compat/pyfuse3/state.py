"""The one mount of the process, which pyfuse3's module-level functions are about.

From `init` on it is a descriptor and nothing else: no thread, no loop, so the process may fork (daemons do) or call
`main` in another thread. `main` makes a session of it; from then on a forked child drops the descriptor, or its copy
would keep the mount alive after the server has ended.
"""

from __future__ import annotations

import logging
import os
import re
import select
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aiovfs.errors import MountError
from aiovfs.fuse import mountpoint
from aiovfs.types import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiovfs import fuse
    from aiovfs.compat.pyfuse3.operations import Operations

__all__ = ["Mounted", "current", "replace"]

log = logging.getLogger("pyfuse3")


class Mounted:
    """What `init` made: a mounted descriptor, the file system for it, and the options of its session."""

    def __init__(self, fd: int, directory: str | None, operations: Operations, options: Mapping[str, Any]) -> None:
        self.fd = fd
        self.directory = directory
        self.operations = operations
        self.options = options
        self.has_been_served = False
        self._device = b"" if directory is None else device_of(directory)
        self._session: fuse.Session | None = None
        self._must_end = False
        self._thread: int | None = None

    @contextmanager
    def being_served(self) -> Iterator[None]:
        """While `main` runs; its thread is the one that answers requests."""
        self._thread = threading.get_ident()
        self.has_been_served = True
        try:
            yield
        finally:
            self._thread = None
            self._session = None

    @property
    def is_being_served(self) -> bool:
        return self._thread is not None

    @property
    def is_served_here(self) -> bool:
        """Does this very thread answer the requests?"""
        return self._thread == threading.get_ident()

    @property
    def must_end(self) -> bool:
        return self._must_end

    def began(self, session: fuse.Session) -> None:
        """The session answers requests from now on."""
        self._session = session
        if self._must_end:
            session.terminate()

    def terminate(self) -> None:
        """Have `main` end, whether it has begun or not. From anywhere."""
        self._must_end = True
        session = self._session
        if session is not None:
            session.terminate()

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Write a notification. Raises `OSError`; blocks for as long as the kernel does."""
        os.writev(self.fd, buffers)

    def abort(self) -> None:
        """Let go of the connection: whoever uses the mount gets ENOTCONN instead of waiting. It stays mounted."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self, *, unmount: bool) -> None:
        """Let go of the connection and of the mountpoint, if the mount is still there. Raises nothing."""
        is_gone = self.fd >= 0 and not is_connected(self.fd)
        self.abort()
        if is_gone or not unmount or self.directory is None:
            return
        if device_of(self.directory) == self._device:  # else another mount has taken its place
            try:
                mountpoint.unmount(self.directory, lazy=True)
            except MountError as exc:
                log.warning("%s", exc)


def device_of(directory: str) -> bytes:
    """The number of the device that is mounted at `directory`, which is not touched: nobody may answer there.

    Every FUSE mount is a device of its own. Source: proc(5), mountinfo.
    """
    device = b""
    path = re.sub(rb"[ \t\n\\]", lambda match: b"\\%03o" % ord(match[0]), os.fsencode(directory))
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields = line.split(b" ", 5)
            if fields[4] == path:
                device = fields[2]
    return device


def is_connected(fd: int) -> bool:
    """Is the mount still there? The kernel reports POLLERR once it was unmounted or aborted."""
    poll = select.poll()
    poll.register(fd, 0)
    return not poll.poll(0)


_current: Mounted | None = None


def current() -> Mounted | None:
    """The mount of this process, from `init` to `close`."""
    return _current


def replace(mounted: Mounted | None) -> Mounted | None:
    """Make this the mount of this process; returns the one before."""
    global _current
    before, _current = _current, mounted
    return before


def _after_fork_in_child() -> None:
    if _current is not None and _current.is_being_served:
        _current.abort()
        replace(None)


os.register_at_fork(after_in_child=_after_fork_in_child)
