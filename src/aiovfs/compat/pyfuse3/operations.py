"""`Operations`: the class that file systems written for pyfuse3 subclass.

Handlers are called with positional arguments, so parameters may be named as one likes. A handler that is not overridden
raises `FUSEError(ENOSYS)`; for many operations the kernel then does the sensible thing (see each).
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

from aiovfs.compat.pyfuse3.requests import PollHandle, ReaddirToken, RequestContext, SetattrFields
from aiovfs.compat.pyfuse3.values import EntryAttributes, FileInfo, FUSEError, StatvfsData
from aiovfs.types import Buffer

__all__ = ["Operations"]

log = logging.getLogger("pyfuse3._pyfuse3")


def _refuse() -> NoReturn:
    raise FUSEError(errno.ENOSYS)


class Operations:
    """A file system. The three attributes are read when the kernel greets the session, from the instance.

    `supports_dot_lookup`: "." and ".." may be looked up (export over NFS). `enable_writeback_cache`: the kernel gathers
    small writes. `enable_acl`: the kernel checks POSIX ACLs that the file system keeps as extended attributes.
    """

    supports_dot_lookup: bool = True
    enable_writeback_cache: bool = False
    enable_acl: bool = False

    def init(self) -> None:
        """Called once before the first request. What it raises comes out of `main`."""

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Find a child by name; counts as one lookup. `st_ino` 0 means: not there, to be remembered."""
        _refuse()

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel gives lookups back: (inode, how many). Not all come before an unmount."""

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        """The attributes of a node."""
        _refuse()

    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        """Change the attributes that `fields` names; returns all of them. `fh` is given for ftruncate(2)."""
        _refuse()

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        """The target of a symbolic link."""
        _refuse()

    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        """Make a node; counts as one lookup. `mode` holds the type, and has the umask applied already."""
        _refuse()

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        """Make a directory; counts as one lookup."""
        _refuse()

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a name. The node must be kept until its lookups are given back."""
        _refuse()

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an empty directory."""
        _refuse()

    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        """Make a symbolic link; counts as one lookup."""
        _refuse()

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Rename; `flags` as in renameat2(2): `RENAME_EXCHANGE`, `RENAME_NOREPLACE`."""
        _refuse()

    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Make a hard link; counts as one lookup. Not overridden: EPERM to the caller."""
        _refuse()

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Open a file; `flags` holds O_TRUNC where it was given. Not overridden: succeeds with handle 0."""
        _refuse()

    async def read(self, fh: int, off: int, size: int) -> Buffer:
        """Up to `size` bytes; fewer only at the end of the file (or with `direct_io`)."""
        _refuse()

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write; returns how many bytes were taken."""
        _refuse()

    async def flush(self, fh: int) -> None:
        """A descriptor was closed; an error is that of close(2)."""
        _refuse()

    async def release(self, fh: int) -> None:
        """The last descriptor of `fh` is gone."""
        _refuse()

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Make a file durable; `datasync`: its content only."""
        _refuse()

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        """Open a directory; returns a handle."""
        _refuse()

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        """Call `readdir_reply(token, …)` for each name after `start_id` (0: from the start) until it returns False."""
        _refuse()

    async def releasedir(self, fh: int) -> None:
        """The directory handle is gone."""
        _refuse()

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Make the names of a directory durable."""
        _refuse()

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """How full the file system is."""
        _refuse()

    def stacktrace(self) -> None:
        """Log where each thread is. Called when somebody sets the attribute `fuse_stacktrace` of the mountpoint."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        lines: list[str] = []
        for ident, frame in sys._current_frames().items():
            lines.append(f"\n# Thread {names.get(ident, '?')} ({ident}):\n")
            lines += traceback.format_stack(frame)
        log.error("Stack of each thread:%s", "".join(lines))

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """Set an extended attribute, which may or may not exist."""
        _refuse()

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        """The value of an extended attribute; `FUSEError(ENOATTR)` when there is none."""
        _refuse()

    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        """The names of all extended attributes."""
        _refuse()

    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an extended attribute; `FUSEError(ENOATTR)` when there is none."""
        _refuse()

    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        """May the caller do this? Not asked with the option `default_permissions`."""
        _refuse()

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Make and open a file; counts as one lookup. Not overridden: the kernel uses `mknod` and `open`."""
        _refuse()

    async def poll(self, inode: int, fh: int, poll_handle: PollHandle | None, ctx: RequestContext) -> int:
        """Which poll(2) events are ready now. Keep `poll_handle` (the latest one) and notify it when that changes."""
        _refuse()
