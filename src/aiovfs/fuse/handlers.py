"""`Operations`: the class that people subclass to write a file system.

Each handler takes one request object (`aiovfs.fuse.protocol.messages`) and returns one reply (`aiovfs.fuse.replies`).
A new field in the protocol is a new attribute of the request, never another argument.

What a handler may do
- Be `async def` (usual), plain `def` (runs in place: must not block), or `@blocking` (runs in a worker thread).
- Raise `OSError(errno, …)` to answer that error. Anything else is a bug: it is logged with its traceback, the caller
  gets EIO, and serving goes on.
- Wait for as long as it likes; other requests are served meanwhile. An interrupted caller cancels it.

What a handler must know
- `request.data` of a WRITE is a view of the session's buffer and is released when the handler ends: copy what is kept.
- Handlers that are not overridden are answered without calling Python; the defaults here say what the kernel is told.
- Calls that change one directory, and writes to one inode, come one at a time; everything else may overlap.
- Never touch the own mountpoint from the task or thread that serves it: the answer would have to come from there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from aiovfs.fuse.inodes import InodeTable
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.replies import Attributes, DirEntry, Entry, IoctlResult, Lock, Opened, Statfs
from aiovfs.types import Buffer

if TYPE_CHECKING:
    from aiovfs.fuse.server import Session

__all__ = ["Operations", "blocking"]

H = TypeVar("H", bound=Callable[..., Any])


def blocking(handler: H) -> H:
    """Mark a plain `def` handler to be run in a worker thread, because it blocks."""
    handler.__aiovfs_blocking__ = True  # type: ignore[attr-defined]
    return handler


def _not_implemented(request: m.Request) -> OSError:
    return OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), type(request).__name__)


class Operations:
    """A file system, as the kernel asks for it. Override what it can do.

    Set `inodes` to an `InodeTable` to have lookup counts kept: the session raises them for each `Entry` it has sent,
    lowers them on FORGET, and calls `forgotten` when the kernel let go of a node. Without one, override `forget`.
    """

    inodes: InodeTable[Any] | None = None

    async def init(self, session: Session) -> None:
        """Called once before the first request. `session.features`: what was negotiated. An error ends the mount."""

    async def destroy(self) -> None:
        """Called once after the last request was answered."""

    def forgotten(self, nodeid: int, obj: Any) -> None:
        """The kernel holds no lookup of `nodeid` any more; `obj` was just dropped from `inodes`."""

    def forget(self, nodeid: int, count: int) -> None:
        """The kernel gives `count` lookups of `nodeid` back. Not every lookup is given back before an unmount."""
        if self.inodes is not None:
            obj = self.inodes.forget(nodeid, count)
            if obj is not None:
                self.forgotten(nodeid, obj)

    # Names and attributes

    async def lookup(self, request: m.Lookup) -> Entry:
        """Find a child by name. `ENOENT`, or a negative `Entry` that the kernel may remember."""
        raise _not_implemented(request)

    async def getattr(self, request: m.Getattr) -> Attributes:
        """The attributes of a node; `request.fh` is valid if `GetattrFlags.FH` is set."""
        raise _not_implemented(request)

    async def setattr(self, request: m.Setattr) -> Attributes:
        """Change the attributes that `request.valid` names; returns all of them."""
        raise _not_implemented(request)

    async def statx(self, request: m.Statx) -> Attributes:
        """As `getattr`, for statx(2); only there is `birthtime_ns` shown. Not overridden: the kernel uses `getattr`."""
        raise _not_implemented(request)

    async def readlink(self, request: m.Readlink) -> bytes:
        """The target of a symbolic link."""
        raise _not_implemented(request)

    async def access(self, request: m.Access) -> None:
        """Check `request.mask`; not sent with `default_permissions`. Not overridden: allowed, and never asked again."""
        raise _not_implemented(request)

    async def statfs(self, request: m.Statfs) -> Statfs:
        """How full the file system is. Not overridden: zeros, with names of up to 255 bytes."""
        return Statfs()

    # Making and removing names

    async def symlink(self, request: m.Symlink) -> Entry:
        """Make a symbolic link `request.name` to `request.target`."""
        raise _not_implemented(request)

    async def mknod(self, request: m.Mknod) -> Entry:
        """Make a node of the type in `request.mode`."""
        raise _not_implemented(request)

    async def mkdir(self, request: m.Mkdir) -> Entry:
        """Make a directory."""
        raise _not_implemented(request)

    async def unlink(self, request: m.Unlink) -> None:
        """Remove a name; the node stays usable while it is open or looked up."""
        raise _not_implemented(request)

    async def rmdir(self, request: m.Rmdir) -> None:
        """Remove an empty directory."""
        raise _not_implemented(request)

    async def rename(self, request: m.Rename) -> None:
        """Rename `request.name` to `request.newname` in `request.newdir`; `request.flags` as in renameat2(2)."""
        raise _not_implemented(request)

    async def link(self, request: m.Link) -> Entry:
        """Make a hard link to `request.oldnodeid`. Not overridden: EPERM to the caller."""
        raise _not_implemented(request)

    # Files

    async def create(self, request: m.Create) -> tuple[Entry, Opened]:
        """Make and open a file. Not overridden: the kernel uses `mknod` and `open`."""
        raise _not_implemented(request)

    async def tmpfile(self, request: m.Tmpfile) -> tuple[Entry, Opened]:
        """Make and open a file that has no name (O_TMPFILE)."""
        raise _not_implemented(request)

    async def open(self, request: m.Open) -> Opened:
        """Open a file. Not overridden: every open succeeds with handle 0."""
        return Opened()

    async def read(self, request: m.Read) -> Buffer:
        """Up to `request.size` bytes at `request.offset`; fewer only at the end of the file (or with direct_io)."""
        raise _not_implemented(request)

    async def write(self, request: m.Write) -> int:
        """Write `request.data` at `request.offset`; returns how many bytes were taken."""
        raise _not_implemented(request)

    async def flush(self, request: m.Flush) -> None:
        """A descriptor was closed; the error is close(2)'s. Not overridden: never sent again."""
        raise _not_implemented(request)

    async def release(self, request: m.Release) -> None:
        """The last descriptor of `request.fh` is gone. Errors reach nobody."""

    async def fsync(self, request: m.Fsync) -> None:
        """Make the file durable. Not overridden: succeeds, and is never sent again."""
        raise _not_implemented(request)

    async def fallocate(self, request: m.Fallocate) -> None:
        """Reserve, punch or zero a range, as fallocate(2)."""
        raise _not_implemented(request)

    async def lseek(self, request: m.Lseek) -> int:
        """Find data or a hole (SEEK_DATA, SEEK_HOLE) from an offset."""
        raise _not_implemented(request)

    async def copy_file_range(self, request: m.CopyFileRange) -> int:
        """Copy inside the file system; returns how many bytes were copied."""
        raise _not_implemented(request)

    async def bmap(self, request: m.Bmap) -> int:
        """The device's block number of a file's block (fuseblk only)."""
        raise _not_implemented(request)

    async def ioctl(self, request: m.Ioctl) -> IoctlResult | Buffer | int:
        """A device command: `request.cmd` with `request.data` from the caller, or with the plain number `request.arg`.

        Up to `request.out_size` bytes go back. Sizes and direction are those in the command's number (`_IOWR` and
        friends): the kernel copies nothing else to or from the caller.
        """
        raise _not_implemented(request)

    async def poll(self, request: m.Poll) -> int:
        """Which of `request.events` (`select.POLLIN`, …) hold now. Not overridden: always ready, never asked again.

        With `PollFlags.SCHEDULE_NOTIFY` somebody goes to sleep: call `session.notifier.poll(request.kh)` when that may
        have changed, and the kernel asks again. `PollTable` keeps the numbers.
        """
        raise _not_implemented(request)

    async def syncfs(self, request: m.Syncfs) -> None:
        """Make everything durable. The kernel sends it for block devices and virtiofs only."""
        raise _not_implemented(request)

    # Locks. Not overridden: the kernel keeps them, for the programs of this machine. `LockTable` keeps them for you.

    async def getlk(self, request: m.Getlk) -> Lock | None:
        """A POSIX lock of another `owner` that is in the way of this one; None when nothing is."""
        raise _not_implemented(request)

    async def setlk(self, request: m.Setlk) -> None:
        """Take or release (`F_UNLCK`) a POSIX lock, or raise `BlockingIOError` (EAGAIN) at once.

        Override `getlk`, `setlk` and `setlkw` together, and release the locks of `request.lock_owner` in `flush`: a
        process that closes any descriptor of a file loses its locks on it, and no other request says so.
        """
        raise _not_implemented(request)

    async def setlkw(self, request: m.Setlkw) -> None:
        """As `setlk`, but wait for the lock. Any signal that the caller handles cancels it."""
        raise _not_implemented(request)

    async def flock(self, request: m.Setlk | m.Setlkw) -> None:
        """A lock of flock(2) on a whole file; a `Setlkw` waits. `ReleaseFlags.FLOCK_UNLOCK` in `release` ends them."""
        raise _not_implemented(request)

    # Directories

    async def opendir(self, request: m.Opendir) -> Opened:
        """Open a directory. Not overridden: succeeds with handle 0."""
        return Opened()

    async def readdir(self, request: m.Readdir) -> Iterable[DirEntry]:
        """The entries after cookie `request.offset` (0: from the start), taken until the reply is full."""
        raise _not_implemented(request)

    async def readdirplus(self, request: m.Readdirplus) -> Iterable[DirEntry]:
        """As `readdir`, each with its `Entry`; each that is sent counts as a lookup. Not overridden: not offered."""
        raise _not_implemented(request)

    async def releasedir(self, request: m.Releasedir) -> None:
        """The directory handle is gone."""

    async def fsyncdir(self, request: m.Fsyncdir) -> None:
        """Make the names of a directory durable. Not overridden: succeeds, and is never sent again."""
        raise _not_implemented(request)

    # Extended attributes

    async def setxattr(self, request: m.Setxattr) -> None:
        """Set an extended attribute; `request.flags` as in setxattr(2)."""
        raise _not_implemented(request)

    async def getxattr(self, request: m.Getxattr) -> bytes:
        """The whole value; the session answers the question for its size. `ENODATA` when there is none."""
        raise _not_implemented(request)

    async def listxattr(self, request: m.Listxattr) -> Iterable[bytes]:
        """All names; the session answers the question for their size."""
        raise _not_implemented(request)

    async def removexattr(self, request: m.Removexattr) -> None:
        """Remove an extended attribute."""
        raise _not_implemented(request)
