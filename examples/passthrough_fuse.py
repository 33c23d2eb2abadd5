"""Another directory, seen through a file system in Python.

Usage: passthrough_fuse.py SOURCE DIRECTORY [asyncio|trio [OPTIONS]]

With the option "passthrough", and as root, the kernel reads and writes open files by itself.

Each node holds a descriptor (O_PATH) of the file that it stands for, so hard links, renames and removed files that are
still open are right by themselves. Every call on the source may block (a disk, a network mount), so it is made in a
worker thread. With default_permissions the kernel checks who may do what; what is made here belongs to who asked.
"""

import ctypes
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import anyio
import anyio.to_thread

from aiovfs import fuse
from aiovfs.fuse import SetattrValid

T = TypeVar("T")
libc = ctypes.CDLL(None, use_errno=True)
CHANGES_OWNER = SetattrValid.UID | SetattrValid.GID
CHANGES_TIMES = SetattrValid.ATIME | SetattrValid.MTIME
CREATING = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_DIRECT  # a user's O_DIRECT asks for aligned buffers
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
AT_FDCWD = -100


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


async def run(function: Callable[..., T], *arguments: object) -> T:
    return await anyio.to_thread.run_sync(function, *arguments)


def check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Node:
    """A file of the source. `path` reaches what the descriptor stands for, and does not follow it if it is a link."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.path = f"/proc/self/fd/{fd}"
        self.status = os.fstat(fd)
        self.key = self.status.st_dev, self.status.st_ino

    @classmethod
    def child(cls, parent: "Node", name: bytes) -> "Node":
        return cls(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent.fd))

    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


def made(parent: Node, name: bytes, request: fuse.Mknod | fuse.Mkdir | fuse.Create | fuse.Symlink) -> Node:
    """A name that was just made: it belongs to who asked, in a directory with the set-group-ID bit to its group."""
    node = Node.child(parent, name)
    inherits = os.fstat(parent.fd).st_mode & stat.S_ISGID
    os.chown(node.path, request.uid, -1 if inherits else request.gid)
    if not isinstance(request, fuse.Symlink):
        group = inherits if node.is_directory() else 0
        os.chmod(node.path, stat.S_IMODE(request.mode) | group)  # chown takes set-ID bits away
    node.status = os.fstat(node.fd)
    return node


def set_times(path: str, request: fuse.Setattr) -> None:
    def wanted(is_set: SetattrValid, is_now: SetattrValid, seconds: int, nanoseconds: int) -> Timespec:
        if not request.valid & is_set:
            return Timespec(0, UTIME_OMIT)
        return Timespec(0, UTIME_NOW) if request.valid & is_now else Timespec(seconds, nanoseconds)

    atime = wanted(SetattrValid.ATIME, SetattrValid.ATIME_NOW, request.atime, request.atimensec)
    mtime = wanted(SetattrValid.MTIME, SetattrValid.MTIME_NOW, request.mtime, request.mtimensec)
    check(libc.utimensat(AT_FDCWD, path.encode(), (Timespec * 2)(atime, mtime), 0))


def type_of(entry: "os.DirEntry[bytes]") -> int:
    """The type that the listing shows; 0: to be asked for."""
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir() else stat.S_IFREG if entry.is_file() else 0


def change(node: Node, request: fuse.Setattr) -> os.stat_result:
    valid = request.valid
    if valid & CHANGES_OWNER:
        uid = request.new_uid if valid & SetattrValid.UID else -1
        os.chown(node.path, uid, request.new_gid if valid & SetattrValid.GID else -1)
    if valid & SetattrValid.MODE:
        os.chmod(node.path, stat.S_IMODE(request.mode))
    if valid & SetattrValid.SIZE:
        os.truncate(request.fh if valid & SetattrValid.FH else node.path, request.size)
    if valid & CHANGES_TIMES:
        set_times(node.path, request)
    return os.fstat(node.fd)


class Passthrough(fuse.Operations):
    def __init__(self, source: str) -> None:
        root = Node(os.open(source, os.O_PATH | os.O_DIRECTORY))
        self.inodes: fuse.InodeTable[Node] = fuse.InodeTable(root)
        self.known = {root.key: root}
        self.listings: fuse.HandleTable[list[tuple[bytes, int, int]]] = fuse.HandleTable()

    def entry(self, node: Node) -> fuse.Entry:
        known = self.known.setdefault(node.key, node)
        if known is not node:
            os.close(node.fd)
        return fuse.Entry(self.inodes.remember(known), fuse.Attributes.from_stat(node.status))

    def forgotten(self, nodeid: int, obj: Node) -> None:
        del self.known[obj.key]
        os.close(obj.fd)

    # Names and attributes

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        return self.entry(await run(Node.child, self.inodes.get(request.nodeid), request.name))

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return fuse.Attributes.from_stat(await run(os.fstat, self.inodes.get(request.nodeid).fd))

    async def setattr(self, request: fuse.Setattr) -> fuse.Attributes:
        return fuse.Attributes.from_stat(await run(change, self.inodes.get(request.nodeid), request))

    async def readlink(self, request: fuse.Readlink) -> bytes:
        fd = self.inodes.get(request.nodeid).fd
        return await run(lambda: os.readlink(b"", dir_fd=fd))

    async def statfs(self, request: fuse.StatfsRequest) -> fuse.Statfs:
        found = await run(os.statvfs, self.inodes.get(request.nodeid).path)
        return fuse.Statfs(
            blocks=found.f_blocks,
            bfree=found.f_bfree,
            bavail=found.f_bavail,
            files=found.f_files,
            ffree=found.f_ffree,
            bsize=found.f_bsize,
            frsize=found.f_frsize,
            namelen=found.f_namemax,
        )

    # Making and removing names

    async def make(self, request: fuse.Mknod | fuse.Mkdir | fuse.Symlink, act: Callable[[int], None]) -> fuse.Entry:
        parent = self.inodes.get(request.nodeid)

        def make() -> Node:
            act(parent.fd)
            return made(parent, request.name, request)

        return self.entry(await run(make))

    async def mknod(self, request: fuse.Mknod) -> fuse.Entry:
        return await self.make(request, lambda fd: os.mknod(request.name, request.mode, request.rdev, dir_fd=fd))

    async def mkdir(self, request: fuse.Mkdir) -> fuse.Entry:
        return await self.make(request, lambda fd: os.mkdir(request.name, request.mode, dir_fd=fd))

    async def symlink(self, request: fuse.Symlink) -> fuse.Entry:
        return await self.make(request, lambda fd: os.symlink(request.target, request.name, dir_fd=fd))

    async def link(self, request: fuse.Link) -> fuse.Entry:
        node, parent = self.inodes.get(request.oldnodeid), self.inodes.get(request.nodeid)

        def link() -> Node:
            os.link(node.path, request.name, dst_dir_fd=parent.fd, follow_symlinks=True)
            return Node.child(parent, request.name)

        return self.entry(await run(link))

    async def unlink(self, request: fuse.Unlink) -> None:
        fd = self.inodes.get(request.nodeid).fd
        await run(lambda: os.unlink(request.name, dir_fd=fd))

    async def rmdir(self, request: fuse.Rmdir) -> None:
        fd = self.inodes.get(request.nodeid).fd
        await run(lambda: os.rmdir(request.name, dir_fd=fd))

    async def rename(self, request: fuse.Rename) -> None:
        old, new = self.inodes.get(request.nodeid).fd, self.inodes.get(request.newdir).fd
        await run(lambda: check(libc.renameat2(old, request.name, new, request.newname, int(request.flags))))

    # Files; `fh` is the descriptor itself

    async def open(self, request: fuse.Open) -> fuse.Opened:
        fd = await run(os.open, self.inodes.get(request.nodeid).path, request.flags & ~CREATING)
        return fuse.Opened(fd, passthrough=fd)

    async def create(self, request: fuse.Create) -> tuple[fuse.Entry, fuse.Opened]:
        parent = self.inodes.get(request.nodeid)

        def create() -> tuple[Node, int]:
            fd = os.open(request.name, request.flags & ~os.O_DIRECT | os.O_CREAT, 0o600, dir_fd=parent.fd)
            try:
                return made(parent, request.name, request), fd
            except OSError:
                os.close(fd)
                raise

        node, fd = await run(create)
        return self.entry(node), fuse.Opened(fd, passthrough=fd)

    async def read(self, request: fuse.Read) -> bytes:
        return await run(os.pread, request.fh, request.size, request.offset)

    async def write(self, request: fuse.Write) -> int:
        return await run(os.pwrite, request.fh, request.data, request.offset)

    async def flush(self, request: fuse.Flush) -> None:
        await run(lambda: os.close(os.dup(request.fh)))  # what close(2) of the source has to say

    async def release(self, request: fuse.Release) -> None:
        await run(os.close, request.fh)

    async def fsync(self, request: fuse.Fsync) -> None:
        await run(os.fdatasync if request.fsync_flags & fuse.FsyncFlags.FDATASYNC else os.fsync, request.fh)

    async def lseek(self, request: fuse.Lseek) -> int:
        return await run(os.lseek, request.fh, request.offset, request.whence)

    async def fallocate(self, request: fuse.Fallocate) -> None:
        offset, length = ctypes.c_long(request.offset), ctypes.c_long(request.length)
        await run(lambda: check(libc.fallocate(request.fh, int(request.mode), offset, length)))

    async def copy_file_range(self, request: fuse.CopyFileRange) -> int:
        size = min(request.len, 1 << 30)
        return await run(os.copy_file_range, request.fh_in, request.fh_out, size, request.off_in, request.off_out)

    # Directories

    async def opendir(self, request: fuse.Opendir) -> fuse.Opened:
        path = self.inodes.get(request.nodeid).path

        def names() -> list[tuple[bytes, int, int]]:
            with os.scandir(os.fsencode(path)) as entries:
                return [(one.name, one.inode(), type_of(one)) for one in entries]

        return fuse.Opened(self.listings.open(await run(names)))

    async def readdir(self, request: fuse.Readdir) -> Iterator[fuse.DirEntry]:
        listing = enumerate(self.listings.get(request.fh)[request.offset :], request.offset + 1)
        return (fuse.DirEntry(name, ino, mode, cookie) for cookie, (name, ino, mode) in listing)

    async def releasedir(self, request: fuse.Releasedir) -> None:
        self.listings.close(request.fh)

    # Extended attributes

    async def getxattr(self, request: fuse.Getxattr) -> bytes:
        return await run(os.getxattr, self.reached(request.nodeid), request.name)

    async def setxattr(self, request: fuse.Setxattr) -> None:
        value = bytes(request.value)
        await run(os.setxattr, self.reached(request.nodeid), request.name, value, int(request.flags))

    async def listxattr(self, request: fuse.Listxattr) -> list[bytes]:
        return [os.fsencode(name) for name in await run(os.listxattr, self.reached(request.nodeid))]

    async def removexattr(self, request: fuse.Removexattr) -> None:
        await run(os.removexattr, self.reached(request.nodeid), request.name)

    def reached(self, nodeid: int) -> str:
        return self.inodes.get(nodeid).path


if __name__ == "__main__":
    source, directory, *words = sys.argv[1:]
    loop, words = (words or ["asyncio"])[0], "".join(words[1:])
    os.umask(0)  # the kernel has applied the caller's
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    async def main() -> None:
        is_root = os.getuid() == 0
        options = {"default_permissions": True, "allow_other": is_root, **fuse.parse_option_string(words)}
        await fuse.serve(Passthrough(source), directory, **options)

    anyio.run(main, backend=loop)
