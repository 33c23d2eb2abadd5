"""Passthrough: open files that the kernel reads and writes by itself, in a file of another file system.

A handler names the file in its reply, `Opened(fh, passthrough=fd)`; from then on READ and WRITE of that open file do
not reach us, nor do page faults of its mappings. All else does: GETATTR, FSYNC, LSEEK, RELEASE and so on.

The kernel's rules, which `Backings` keeps so that handlers need not know them
- A *backing id* stands for the file. Only a privileged process gets one; it is the process's to give back.
- All opens of one inode that overlap use the same backing id, or none of them has one: else the open fails with EIO.
  So the first open decides. A later one gets the same id whatever its handler said, or is served by handlers although
  its own named a file.
- An id may be given back at the last RELEASE. The kernel has let go of the file then, and we count more, never less.

Where passthrough is not to be had (an older kernel, no privilege, a file that is itself stacked too deep) the handlers
serve as they always did, so they must be able to. The reason is logged once.

Source: Documentation/filesystems/fuse-passthrough.rst; fs/fuse/iomode.c, fs/fuse/backing.c; since Linux 6.9.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from aiovfs.errors import ReplyError
from aiovfs.fuse.packers import Reply, pack_created, pack_opened
from aiovfs.fuse.protocol import BY_NAME
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol import structs as s
from aiovfs.fuse.replies import Entry, Opened
from aiovfs.fuse.routes import Route
from aiovfs.fuse.transport import Transport

__all__ = ["Backings"]

log = logging.getLogger("aiovfs.fuse")

BACKING_OPEN = 0x4010E501  # FUSE_DEV_IOC_BACKING_OPEN
BACKING_CLOSE = 0x4004E502  # FUSE_DEV_IOC_BACKING_CLOSE
WHY_NOT = {
    errno.EPERM: "the kernel lets only root do that",
    errno.EACCES: "the kernel lets only root do that",
    errno.ELOOP: "it lies in a file system that is stacked itself; max_stack_depth=2 allows one layer",
    errno.EOPNOTSUPP: "it is no regular file",
}


class Backings:
    """The files of one session that are open for passthrough, by nodeid, each with the number of its opens."""

    def __init__(self) -> None:
        self._device: Transport | None = None
        self._opens: dict[int, int] = {}
        self._ids: dict[int, int] = {}
        self._complained: set[int] = set()

    def start(self, device: Transport) -> None:
        """The kernel agreed: ids can be had from now on."""
        self._device = device

    @property
    def state(self) -> dict[int, tuple[int, int]]:
        """nodeid → (its opens, its id or 0), for a server that takes the connection over."""
        return {nodeid: (count, self._ids.get(nodeid, 0)) for nodeid, count in self._opens.items()}

    def restore(self, state: Mapping[int, tuple[int, int]]) -> None:
        """Go on from the `state` of another server."""
        for nodeid, (count, backing_id) in state.items():
            self._opens[nodeid] = count
            if backing_id:
                self._ids[nodeid] = backing_id

    def applied(self, routes: Mapping[int, Route]) -> dict[int, Route]:
        """The routes with opens and releases counted."""
        changes: dict[str, Callable[[Route], Route]] = {
            "open": lambda route: route._replace(handler=passed_on(route.handler), pack=self.pack_opened),
            "create": lambda route: route._replace(handler=passed_on(route.handler), pack=self.pack_created),
            "tmpfile": lambda route: route._replace(handler=passed_on(route.handler), pack=self.pack_created),
            "release": lambda route: route._replace(handler=self.counting(route.handler)),
        }
        changed = dict(routes)
        for name, change in changes.items():
            route = routes.get(BY_NAME[name].opcode)
            if route is not None:
                changed[BY_NAME[name].opcode] = change(route)
        return changed

    def pack_opened(self, request: m.Open, opened: Opened) -> Reply:
        backing_id = self.enter(request.nodeid, opened)
        try:
            return pack_opened(request, opened, backing_id)
        except BaseException:
            self.leave(request.nodeid)
            raise

    def pack_created(self, request: m.Create | m.Tmpfile, created: tuple[Entry, Opened]) -> Reply:
        entry, opened = created
        backing_id = self.enter(entry.nodeid, opened)
        try:
            return pack_created(request, created, backing_id)
        except BaseException:
            self.leave(entry.nodeid)
            raise

    def counting(self, release: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The handler of RELEASE, with the open taken off beforehand, whatever becomes of the handler."""

        @functools.wraps(release)
        def call(request: m.Release) -> Any:
            self.leave(request.nodeid)
            return release(request)

        return call

    def enter(self, nodeid: int, opened: Opened) -> int:
        """Count an open of `nodeid`; the backing id for it, or 0 when handlers are to serve it."""
        others = self._opens.get(nodeid, 0)
        if not others and opened.passthrough is not None:
            backing_id = self.register(opened.passthrough)
            if backing_id:
                self._ids[nodeid] = backing_id
        self._opens[nodeid] = others + 1
        return self._ids.get(nodeid, 0)

    def leave(self, nodeid: int) -> None:
        """An open has ended; with the last one the backing id is given back."""
        others = self._opens.get(nodeid, 0) - 1
        if others > 0:
            self._opens[nodeid] = others
            return
        self._opens.pop(nodeid, None)
        backing_id = self._ids.pop(nodeid, 0)
        if backing_id and self._device is not None and self._device.fd >= 0:
            try:
                fcntl.ioctl(self._device.fd, BACKING_CLOSE, backing_id.to_bytes(4, "little"))
            except OSError as exc:
                log.warning("backing id %d of nodeid %d could not be given back: %s", backing_id, nodeid, exc)

    def register(self, fd: int) -> int:
        """A backing id for the file that is open as `fd`, or 0 when the kernel has none for it."""
        if self._device is None:
            return 0
        if not isinstance(fd, int):
            raise ReplyError(f"passthrough={fd!r} is no file descriptor; give the number, as fileno() does")
        try:
            backing_id: int = fcntl.ioctl(self._device.fd, BACKING_OPEN, bytearray(s.BackingMap(fd=fd).pack()), True)
        except OSError as exc:
            number = exc.errno or 0
            if number == errno.EBADF:
                raise ReplyError(f"passthrough={fd} is not open; keep it open until the reply was sent") from None
            if number in (errno.EPERM, errno.EACCES):
                self._device = None  # it will not be allowed later either
            if number not in self._complained:
                self._complained.add(number)
                reason = WHY_NOT.get(number, os.strerror(number))
                log.warning("a file cannot be passed through, handlers serve it: %s (errno %d)", reason, number)
            return 0
        return backing_id


def passed_on(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Hide that a handler is one of our defaults, whose replies are all the same and may be packed beforehand."""

    @functools.wraps(handler)
    def call(request: m.Request) -> Any:
        return handler(request)

    return call
