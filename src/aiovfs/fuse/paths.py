"""`PathOperations`: a file system whose handlers are asked by path. `DictTree`: a read-only tree from a dict.

    class Clock(fuse.PathOperations):
        async def stat(self, path): ...
        async def list(self, path): ...
        async def read_at(self, path, offset, size): ...

Paths are bytes relative to the root: `b""`, `b"a"`, `b"a/b"`. Override what the file system can do; the rest is
answered as the kernel expects it. The class keeps nodeids and lookup counts: a nodeid stands for one name in one
directory, and follows it when it is renamed. A file that is removed while it is open has no path any more and is
ESTALE. There are no hard links: two names are two nodes.

Whoever needs more (handles of their own, hard links, caches) overrides handlers of `Operations`, or starts from there.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from aiovfs.fuse.handlers import Operations
from aiovfs.fuse.handles import HandleTable
from aiovfs.fuse.inodes import InodeTable
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import RenameFlags, SetattrValid
from aiovfs.fuse.replies import Attributes, DirEntry, Entry, Opened
from aiovfs.types import Buffer

__all__ = ["DictTree", "PathOperations", "Tree"]

Tree: TypeAlias = Mapping[str, "Tree | bytes | str"]


class Name:
    """A name in a directory, and the node that it stands for."""

    __slots__ = ("children", "name", "parent")

    def __init__(self, name: bytes, parent: Name | None) -> None:
        self.name = name
        self.parent = parent  # None: the root, or removed
        self.children: dict[bytes, Name] = {}


class PathOperations(Operations):
    """Base of path-based file systems; the methods below without `request` are for you.

    `entry_timeout` is for how many seconds the kernel may trust a name; `stat` says it of attributes.
    """

    entry_timeout: float = 1.0

    def __init__(self) -> None:
        self._root = Name(b"", None)
        self.inodes: InodeTable[Name] = InodeTable(self._root)
        self._listings: HandleTable[list[tuple[bytes, int]]] = HandleTable()

    # For authors

    async def stat(self, path: bytes) -> Attributes:
        """What is at `path`; `FileNotFoundError(errno.ENOENT, …)` if nothing is. `ino` 0 is replaced by the nodeid."""
        raise NotImplementedError(f"{type(self).__name__}.stat(path) is needed: everything begins with it")

    async def list(self, path: bytes) -> Iterable[bytes | tuple[bytes, int]]:
        """The names in a directory, without "." and ".."; with a mode each where that is known (`S_IFDIR`, …)."""
        raise OSError(errno.ENOTSUP, "cannot be listed")

    async def read_at(self, path: bytes, offset: int, size: int) -> Buffer:
        """Up to `size` bytes at `offset`; fewer only at the end of the file."""
        raise OSError(errno.EISDIR if not path else errno.ENOTSUP, "cannot be read")

    async def write_at(self, path: bytes, offset: int, data: bytes) -> int:
        """Write; returns how many bytes were taken."""
        raise OSError(errno.EROFS, "cannot be written")

    async def truncate(self, path: bytes, size: int) -> None:
        """Set the size of a file."""
        raise OSError(errno.EROFS, "cannot be changed")

    async def change(self, path: bytes, request: m.Setattr) -> None:
        """Change mode, owner or times, as `request.valid` says. Not overridden: times are ignored, others refused."""
        if request.valid & (SetattrValid.MODE | SetattrValid.UID | SetattrValid.GID):
            raise PermissionError(errno.EPERM, "modes and owners cannot be changed")

    async def make_file(self, path: bytes, mode: int) -> None:
        """Make an empty file (or what else the type in `mode` says)."""
        raise OSError(errno.EROFS, "nothing can be made")

    async def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        raise OSError(errno.EROFS, "nothing can be made")

    async def make_link(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        raise OSError(errno.EROFS, "nothing can be made")

    async def target_of(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        raise OSError(errno.EINVAL, "not a symbolic link")

    async def remove(self, path: bytes) -> None:
        """Remove a file or link."""
        raise OSError(errno.EROFS, "nothing can be removed")

    async def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory, or raise `OSError(errno.ENOTEMPTY, …)`."""
        raise OSError(errno.EROFS, "nothing can be removed")

    async def move(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Rename a file or directory; without `replace`, `FileExistsError(errno.EEXIST, …)` if `new` is there."""
        raise OSError(errno.EROFS, "nothing can be renamed")

    # Names

    def path_of(self, nodeid: int) -> bytes:
        """The path of a node now; ESTALE for one whose name was removed."""
        name = self.inodes.get(nodeid)
        parts = []
        while name is not self._root:
            parts.append(name.name)
            if name.parent is None:
                raise OSError(errno.ESTALE, "the name was removed")
            name = name.parent
        return b"/".join(reversed(parts))

    def child_path(self, nodeid: int, name: bytes) -> bytes:
        path = self.path_of(nodeid)
        return path + b"/" + name if path else name

    def _child(self, nodeid: int, name: bytes) -> Name:
        parent = self.inodes.get(nodeid)
        return parent.children.setdefault(name, Name(name, parent))

    @staticmethod
    def _detach(parent: Name, name: bytes) -> Name | None:
        """Take a name out of its directory; its node may live on."""
        child = parent.children.pop(name, None)
        if child is not None:
            child.parent = None
        return child

    def forgotten(self, nodeid: int, obj: Any) -> None:
        if obj.parent is not None and not obj.children and obj.parent.children.get(obj.name) is obj:
            del obj.parent.children[obj.name]

    async def _entry(self, nodeid: int, name: bytes) -> Entry:
        attributes = await self.stat(self.child_path(nodeid, name))
        child = self.inodes.remember(self._child(nodeid, name))
        attributes.ino = attributes.ino or child
        return Entry(child, attributes, timeout=self.entry_timeout)

    # Handlers

    async def lookup(self, request: m.Lookup) -> Entry:
        return await self._entry(request.nodeid, request.name)

    async def getattr(self, request: m.Getattr) -> Attributes:
        attributes = await self.stat(self.path_of(request.nodeid))
        attributes.ino = attributes.ino or request.nodeid
        return attributes

    async def setattr(self, request: m.Setattr) -> Attributes:
        path = self.path_of(request.nodeid)
        if request.valid & SetattrValid.SIZE:
            await self.truncate(path, request.size)
        if request.valid & ~(SetattrValid.SIZE | SetattrValid.FH | SetattrValid.LOCKOWNER | SetattrValid.KILL_SUIDGID):
            await self.change(path, request)
        return await self.getattr(m.Getattr(nodeid=request.nodeid))

    async def readlink(self, request: m.Readlink) -> bytes:
        return await self.target_of(self.path_of(request.nodeid))

    async def mknod(self, request: m.Mknod) -> Entry:
        await self.make_file(self.child_path(request.nodeid, request.name), request.mode)
        return await self._entry(request.nodeid, request.name)

    async def create(self, request: m.Create) -> tuple[Entry, Opened]:
        await self.make_file(self.child_path(request.nodeid, request.name), request.mode)
        return await self._entry(request.nodeid, request.name), Opened()

    async def mkdir(self, request: m.Mkdir) -> Entry:
        await self.make_directory(self.child_path(request.nodeid, request.name), request.mode)
        return await self._entry(request.nodeid, request.name)

    async def symlink(self, request: m.Symlink) -> Entry:
        await self.make_link(self.child_path(request.nodeid, request.name), request.target)
        return await self._entry(request.nodeid, request.name)

    async def unlink(self, request: m.Unlink) -> None:
        await self.remove(self.child_path(request.nodeid, request.name))
        self._detach(self.inodes.get(request.nodeid), request.name)

    async def rmdir(self, request: m.Rmdir) -> None:
        await self.remove_directory(self.child_path(request.nodeid, request.name))
        self._detach(self.inodes.get(request.nodeid), request.name)

    async def rename(self, request: m.Rename) -> None:
        if request.flags & ~RenameFlags.NOREPLACE:
            raise OSError(errno.EINVAL, "only plain renames are possible")
        old, new = self.child_path(request.nodeid, request.name), self.child_path(request.newdir, request.newname)
        await self.move(old, new, replace=not request.flags & RenameFlags.NOREPLACE)
        if old == new:
            return
        target = self.inodes.get(request.newdir)
        self._detach(target, request.newname)
        moved = self._detach(self.inodes.get(request.nodeid), request.name)
        if moved is not None:
            moved.name, moved.parent = request.newname, target
            target.children[request.newname] = moved

    async def open(self, request: m.Open) -> Opened:
        if request.flags & os.O_TRUNC:
            await self.truncate(self.path_of(request.nodeid), 0)
        return Opened()

    async def read(self, request: m.Read) -> Buffer:
        return await self.read_at(self.path_of(request.nodeid), request.offset, request.size)

    async def write(self, request: m.Write) -> int:
        return await self.write_at(self.path_of(request.nodeid), request.offset, bytes(request.data))

    async def opendir(self, request: m.Opendir) -> Opened:
        names = await self.list(self.path_of(request.nodeid))
        listing = [(name, 0) if isinstance(name, bytes) else name for name in names]
        return Opened(self._listings.open(listing))

    async def readdir(self, request: m.Readdir) -> Iterator[DirEntry]:
        """What was listed when the directory was opened, so that no name comes twice or is passed over."""
        listing = self._listings.get(request.fh)
        return (
            # Numbers are not known before a look-up; 0 would make programs pass the name over.
            DirEntry(name, 0xFFFF_FFFF, mode, cookie)
            for cookie, (name, mode) in enumerate(listing[request.offset :], request.offset + 1)
        )

    async def releasedir(self, request: m.Releasedir) -> None:
        self._listings.close(request.fh)


class DictTree(PathOperations):
    """A read-only tree: names to bytes, to str (as UTF-8), or to a dict for a directory.

        async with fuse.mount(fuse.DictTree({"hello": "Hello!\\n", "more": {"x": b"\\0"}}), directory): ...

    The dict is looked at anew by each request: what changes in it is seen when the time-outs (1 s) are over.
    """

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree
        self._mounted_ns = time.time_ns()
        self._owner = os.getuid(), os.getgid()

    def at(self, path: bytes) -> Tree | bytes:
        """The dict or the bytes at a path. Raises `FileNotFoundError`, `NotADirectoryError`."""
        found: Tree | bytes | str = self.tree
        for part in os.fsdecode(path).split("/") if path else ():
            if not isinstance(found, Mapping):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if part not in found:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            found = found[part]
        return found.encode() if isinstance(found, str) else found

    async def stat(self, path: bytes) -> Attributes:
        found = self.at(path)
        is_directory = isinstance(found, Mapping)
        uid, gid = self._owner
        return Attributes(
            0,
            stat.S_IFDIR | 0o555 if is_directory else stat.S_IFREG | 0o444,
            0 if is_directory else len(found),
            uid=uid,
            gid=gid,
            atime_ns=self._mounted_ns,
            mtime_ns=self._mounted_ns,
            ctime_ns=self._mounted_ns,
        )

    async def list(self, path: bytes) -> Iterable[tuple[bytes, int]]:
        found = self.at(path)
        if not isinstance(found, Mapping):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return [
            (os.fsencode(name), stat.S_IFDIR if isinstance(value, Mapping) else stat.S_IFREG)
            for name, value in found.items()
        ]

    async def read_at(self, path: bytes, offset: int, size: int) -> Buffer:
        found = self.at(path)
        if isinstance(found, Mapping):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return found[offset : offset + size]
