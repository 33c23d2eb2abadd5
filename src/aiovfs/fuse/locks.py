"""Locks on ranges of files, for file systems that keep them themselves.

    async def setlk(self, request): self.locks.take(request.nodeid, request)
    async def setlkw(self, request): await self.locks.wait(request.nodeid, request)
    async def getlk(self, request): return self.locks.find(request.nodeid, request)
    async def flush(self, request): self.locks.release(request.nodeid, request.lock_owner)

The two kinds of lock know nothing of each other, as in the kernel. POSIX locks (fcntl) are of ranges; a second one of
the same owner replaces the first where they overlap. flock's are of whole files. `owner` is a number that the kernel
makes up for whoever holds a lock: a process for POSIX locks, an open file for flock.

Source: fcntl(2), flock(2); fs/locks.c (posix_lock_inode, posix_locks_deadlock).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator

import anyio

from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import LockFlags
from aiovfs.fuse.replies import Lock

__all__ = ["LockTable"]


class Held:
    """One range that somebody holds, or wants."""

    __slots__ = ("end", "is_exclusive", "owner", "pid", "start")

    def __init__(self, owner: int, start: int, end: int, is_exclusive: bool, pid: int) -> None:
        self.owner = owner
        self.start = start
        self.end = end
        self.is_exclusive = is_exclusive
        self.pid = pid

    def conflicts_with(self, other: Held) -> bool:
        return (
            self.owner != other.owner
            and self.start <= other.end
            and other.start <= self.end
            and (self.is_exclusive or other.is_exclusive)
        )

    def without(self, start: int, end: int) -> Iterator[Held]:
        """What is left of the range when `start` … `end` is taken out of it."""
        if self.start < start:
            yield Held(self.owner, self.start, min(self.end, start - 1), self.is_exclusive, self.pid)
        if self.end > end:
            yield Held(self.owner, max(self.start, end + 1), self.end, self.is_exclusive, self.pid)


class LockTable:
    """The locks of one file system. Files are told apart by any number, such as their nodeid."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, bool], list[Held]] = {}  # (file, is it flock's) → ranges
        self._has_changed: dict[tuple[int, bool], anyio.Event] = {}
        self._waiting: dict[int, tuple[tuple[int, bool], Held]] = {}  # owner → what it waits for

    def find(self, file: int, request: m.Getlk) -> Lock | None:
        """A lock in the way of this one, if any: the answer to GETLK."""
        other = self._conflict(space_of(file, request), wanted_by(request))
        if other is None:
            return None
        return Lock(fcntl.F_WRLCK if other.is_exclusive else fcntl.F_RDLCK, other.start, other.end, other.pid)

    def take(self, file: int, request: m.Setlk | m.Setlkw) -> None:
        """Take or release a lock now. Raises `BlockingIOError` when another owner's is in the way."""
        space, wanted = space_of(file, request), wanted_by(request)
        if request.type != fcntl.F_UNLCK and self._conflict(space, wanted) is not None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._set(space, wanted, release=request.type == fcntl.F_UNLCK)

    async def wait(self, file: int, request: m.Setlk | m.Setlkw) -> None:
        """Take a lock as soon as nobody's is in the way. `OSError(EDEADLK)` when that could never be.

        Deadlocks are looked for among POSIX locks only, as fcntl(2) has it.
        """
        space, wanted = space_of(file, request), wanted_by(request)
        is_flock = space[1]
        try:
            while request.type != fcntl.F_UNLCK and self._conflict(space, wanted) is not None:
                if not is_flock:
                    self._waiting[wanted.owner] = (space, wanted)
                    if self._waits_for_itself(wanted.owner):
                        raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))
                await self._has_changed.setdefault(space, anyio.Event()).wait()
        finally:
            self._waiting.pop(wanted.owner, None)
        self._set(space, wanted, release=request.type == fcntl.F_UNLCK)

    def release(self, file: int, owner: int, *, flock: bool = False) -> None:
        """Drop all that `owner` holds of a file: POSIX locks in `flush`, with `flock` those of flock in `release`."""
        self._set((file, flock), Held(owner, 0, 2**64, True, 0), release=True)

    def __len__(self) -> int:
        """How many ranges are locked."""
        return sum(map(len, self._held.values()))

    def _conflict(self, space: tuple[int, bool], wanted: Held) -> Held | None:
        return next((held for held in self._held.get(space, ()) if held.conflicts_with(wanted)), None)

    def _set(self, space: tuple[int, bool], wanted: Held, *, release: bool) -> None:
        kept: list[Held] = []
        for held in self._held.get(space, ()):
            if held.owner == wanted.owner and held.start <= wanted.end and wanted.start <= held.end:
                kept += held.without(wanted.start, wanted.end)
            else:
                kept.append(held)
        if not release:
            kept.append(wanted)
        if kept:
            self._held[space] = kept
        else:
            self._held.pop(space, None)
        # Also after taking: a write lock that became a read lock lets readers in.
        event = self._has_changed.pop(space, None)
        if event is not None:
            event.set()

    def _waits_for_itself(self, owner: int) -> bool:
        """Does `owner` wait for somebody who waits … for `owner`?"""
        seen: set[int] = set()
        owners = [owner]
        while owners:
            space_and_wanted = self._waiting.get(owners.pop())
            if space_and_wanted is None:
                continue
            space, wanted = space_and_wanted
            for held in self._held.get(space, ()):
                if held.conflicts_with(wanted) and held.owner not in seen:
                    if held.owner == owner:
                        return True
                    seen.add(held.owner)
                    owners.append(held.owner)
        return False


def space_of(file: int, request: m.Getlk | m.Setlk | m.Setlkw) -> tuple[int, bool]:
    return file, bool(request.lk_flags & LockFlags.FLOCK)


def wanted_by(request: m.Getlk | m.Setlk | m.Setlkw) -> Held:
    return Held(request.owner, request.start, request.end, request.type == fcntl.F_WRLCK, request.lock_pid)
