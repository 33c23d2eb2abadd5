"""A tree of files in memory: directories are dictionaries of nodes. The reference for what a file system does.

A lookup is one dictionary access per component. Nodes are found by path only here; whoever holds a node (an open file)
keeps it alive when its name is gone. Nothing waits, so within one loop every call is a single step; between threads the
tree's lock makes it one.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

from aiovfs._loop.forks import survives_fork
from aiovfs.fs import paths
from aiovfs.fs.info import Info, Kind
from aiovfs.types import Buffer

__all__ = ["Directory", "File", "Node", "Symlink", "Tree", "error"]

_numbers = itertools.count(2)

# A bytearray refuses to grow while another thread copies from it.
_content_lock = survives_fork(threading.Lock())


def error(number: int, path: str, other: str | None = None) -> OSError:
    """The `OSError` for an errno, about one path or two."""
    return OSError(number, os.strerror(number), path, None, other)


class Node:
    """What files, directories and symlinks have in common."""

    kind: ClassVar[Kind]
    __slots__ = ("atime_ns", "birthtime_ns", "ctime_ns", "gid", "ino", "mode", "mtime_ns", "nlink", "uid")

    def __init__(self, mode: int) -> None:
        now = time.time_ns()
        self.ino = next(_numbers)
        self.mode = mode
        self.uid = os.getuid()
        self.gid = os.getgid()
        self.nlink = 1
        self.atime_ns = self.mtime_ns = self.ctime_ns = self.birthtime_ns = now

    @property
    def size(self) -> int:
        """Bytes of content."""
        return 0

    def info(self, name: str) -> Info:
        """The node's state, for its entry `name`."""
        return Info(
            name=name,
            kind=self.kind,
            size=self.size,
            mtime_ns=self.mtime_ns,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            ino=self.ino,
            nlink=self.nlink,
            atime_ns=self.atime_ns,
            ctime_ns=self.ctime_ns,
            birthtime_ns=self.birthtime_ns,
        )

    def touch(self) -> None:
        """The content changed now. Time never stands still or goes back for one node: mtime tells versions apart."""
        now = time.time_ns()
        self.mtime_ns = self.ctime_ns = now if now > self.mtime_ns else self.mtime_ns + 1

    def set_attributes(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        """Change what is given."""
        if mode is not None:
            self.mode = stat.S_IFMT(self.mode) | stat.S_IMODE(mode)
        if uid is not None:
            self.uid = uid
        if gid is not None:
            self.gid = gid
        if atime_ns is not None:
            self.atime_ns = atime_ns
        if mtime_ns is not None:
            self.mtime_ns = mtime_ns
        self.ctime_ns = max(time.time_ns(), self.ctime_ns)


class File(Node):
    """Content that can be read and written at any offset. `version` grows with each change of it."""

    kind = Kind.FILE
    __slots__ = ("content", "version")

    def __init__(self, mode: int = 0o644) -> None:
        super().__init__(stat.S_IFREG | stat.S_IMODE(mode))
        self.content = bytearray()
        self.version = 0

    @property
    def size(self) -> int:
        return len(self.content)

    def info(self, name: str) -> Info:
        return Info(
            name=name,
            kind=Kind.FILE,
            size=len(self.content),
            mtime_ns=self.mtime_ns,
            fingerprint=f"{self.ino}-{self.version}",
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            ino=self.ino,
            nlink=self.nlink,
            atime_ns=self.atime_ns,
            ctime_ns=self.ctime_ns,
            birthtime_ns=self.birthtime_ns,
        )

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`."""
        with _content_lock:
            return bytes(memoryview(self.content)[offset : offset + size])

    def write(self, data: Buffer, offset: int) -> int:
        """Put `data` at `offset`; a gap before it reads as zeros."""
        count = memoryview(data).nbytes
        if count:
            with _content_lock:
                gap = offset - len(self.content)
                if gap > 0:
                    self.content.extend(bytes(gap))
                self.content[offset : offset + count] = data
                self._changed()
        return count

    def truncate(self, size: int) -> None:
        """Cut, or lengthen with zeros."""
        with _content_lock:
            grow = size - len(self.content)
            if grow > 0:
                self.content.extend(bytes(grow))
            else:
                del self.content[size:]
            self._changed()

    def replace(self, content: Buffer) -> None:
        """Put `content` in the place of all there was."""
        self.content = bytearray(content)
        self._changed()

    def snapshot(self) -> File:
        """The present content, also after it was replaced (not: changed in place). Costs no copy."""
        same = File(self.mode)
        same.content = self.content
        return same

    def _changed(self) -> None:
        self.version += 1
        self.touch()


class Symlink(Node):
    """A name that stands for another path."""

    kind = Kind.SYMLINK
    __slots__ = ("target",)

    def __init__(self, target: str) -> None:
        super().__init__(stat.S_IFLNK | 0o777)
        self.target = target

    @property
    def size(self) -> int:
        return len(os.fsencode(self.target))

    def info(self, name: str) -> Info:
        return Info(
            name=name,
            kind=Kind.SYMLINK,
            size=self.size,
            mtime_ns=self.mtime_ns,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            ino=self.ino,
            nlink=1,
            atime_ns=self.atime_ns,
            ctime_ns=self.ctime_ns,
            birthtime_ns=self.birthtime_ns,
            target=self.target,
        )


class Directory(Node):
    """Names and their nodes. `nlink` counts as on other file systems: itself, its name, and its subdirectories."""

    kind = Kind.DIRECTORY
    __slots__ = ("children",)

    def __init__(self, mode: int = 0o755) -> None:
        super().__init__(stat.S_IFDIR | stat.S_IMODE(mode))
        self.children: dict[str, Node] = {}
        self.nlink = 2

    def add(self, name: str, node: Node) -> None:
        """Put `node` under `name`, in the place of what was there."""
        self.discard(name)
        self.children[name] = node
        if isinstance(node, Directory):
            self.nlink += 1
        self.touch()

    def discard(self, name: str) -> None:
        """Take `name` out, if it is there."""
        old = self.children.pop(name, None)
        if old is None:
            return
        if isinstance(old, Directory):
            self.nlink -= 1
        self.touch()


class Tree:
    """A root directory, and the operations on paths relative to it. Symlinks are never followed here."""

    def __init__(self) -> None:
        self.root = Directory()
        self.root.ino = 1
        self.lock = survives_fork(threading.RLock())

    def find(self, path: str) -> Node:
        """The node at `path`."""
        node: Node = self.root
        if path:
            for part in path.split("/"):
                if not isinstance(node, Directory):
                    raise error(errno.ENOTDIR, path)
                found = node.children.get(part)
                if found is None:
                    raise error(errno.ENOENT, path)
                node = found
        return node

    def find_file(self, path: str) -> File:
        """The file at `path`; EISDIR and ELOOP for what is none."""
        node = self.find(path)
        if isinstance(node, Directory):
            raise error(errno.EISDIR, path)
        if not isinstance(node, File):
            raise error(errno.ELOOP, path)
        return node

    def find_directory(self, path: str) -> Directory:
        """The directory at `path`."""
        node = self.find(path)
        if not isinstance(node, Directory):
            raise error(errno.ENOTDIR, path)
        return node

    def parent_of(self, path: str) -> tuple[Directory, str]:
        """The directory that `path` is in, and its name there; the root is in none (EBUSY)."""
        if not path:
            raise error(errno.EBUSY, path)
        above, name = paths.split(path)
        return self.find_directory(above), name

    def create(self, path: str, node: Node) -> None:
        """Put a new node at `path`; EEXIST when there is one."""
        parent, name = self.parent_of(path) if path else (self.root, "")
        if not path or name in parent.children:
            raise error(errno.EEXIST, path)
        parent.add(name, node)

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, truncate: bool = False, mode: int = 0o644
    ) -> File:
        """The file at `path`, made or emptied as asked."""
        if create:
            parent, name = self.parent_of(path)
            known = parent.children.get(name)
            if known is None:
                made = File(mode)
                parent.add(name, made)
                return made
            if exclusive:
                raise error(errno.EEXIST, path)
        file = self.find_file(path)
        if truncate and file.content:
            file.truncate(0)
        return file

    def put(self, path: str, content: Buffer, *, mode: int = 0o644, exclusive: bool = False) -> File:
        """A new file with all of `content` at `path`, in the place of a file (keeping its mode) or symlink.

        Whoever has the old file open keeps it as it was.
        """
        parent, name = self.parent_of(path)
        known = parent.children.get(name)
        if known is not None and exclusive:
            raise error(errno.EEXIST, path)
        if isinstance(known, Directory):
            raise error(errno.EISDIR, path)
        made = File(stat.S_IMODE(known.mode) if isinstance(known, File) else mode)
        made.replace(content)
        if known is not None:
            known.nlink -= 1
        parent.add(name, made)
        return made

    def make_directories(self, path: str) -> Directory:
        """The directory at `path`, made with all above it when absent."""
        node: Directory = self.root
        for part in path.split("/") if path else ():
            child = node.children.get(part)
            if child is None:
                child = Directory()
                node.add(part, child)
            if not isinstance(child, Directory):
                raise error(errno.ENOTDIR, path)
            node = child
        return node

    def remove(self, path: str) -> None:
        """Take a file or symlink out of its directory."""
        parent, name = self.parent_of(path)
        node = self.find(path)
        if isinstance(node, Directory):
            raise error(errno.EISDIR, path)
        parent.discard(name)
        node.nlink -= 1

    def remove_directory(self, path: str) -> None:
        """Take an empty directory out of its directory."""
        parent, name = self.parent_of(path)
        node = self.find_directory(path)
        if node.children:
            raise error(errno.ENOTEMPTY, path)
        parent.discard(name)
        node.nlink = 0

    def rename(self, old: str, new: str) -> None:
        """Move a node, replacing a file by a file or an empty directory by a directory, in one step."""
        paths.check_rename(old, new)
        old_parent, old_name = self.parent_of(old)
        new_parent, new_name = self.parent_of(new)
        node = self.find(old)
        replaced = new_parent.children.get(new_name)
        if replaced is node:
            return
        if replaced is not None:
            if isinstance(node, Directory):
                if not isinstance(replaced, Directory):
                    raise error(errno.ENOTDIR, old, new)
                if replaced.children:
                    raise error(errno.ENOTEMPTY, old, new)
            elif isinstance(replaced, Directory):
                raise error(errno.EISDIR, old, new)
            replaced.nlink -= 1
        old_parent.discard(old_name)
        new_parent.add(new_name, node)
        node.ctime_ns = max(time.time_ns(), node.ctime_ns)

    def walk(self, path: str) -> Iterator[tuple[str, Node]]:
        """Everything at and below `path`, a directory before what is in it."""
        pending = [(path, self.find(path))]
        while pending:
            name, node = pending.pop()
            yield name, node
            if isinstance(node, Directory):
                pending += [(paths.join(name, child), below) for child, below in node.children.items()]
