"""Speak FUSE with the kernel: write a file system as handlers, mount it, serve it on asyncio or Trio.

    class Hello(fuse.Operations):
        async def lookup(self, request: fuse.Lookup) -> fuse.Entry: ...

    async with fuse.mount(Hello(), "/mnt/hello") as session:
        await session.wait()

Concepts, in the field's words
- *nodeid*: our number for a node during one mount; the kernel asks with it. The root is 1. `InodeTable` keeps them.
- *lookup count*: how often the kernel got an `Entry` for a nodeid and has not given it back with FORGET. A node must
  be kept while it is above zero, even when its name is gone.
- *fh*: our number for one open file, from OPEN to RELEASE. `HandleTable` keeps them.
- *time-outs*: for how long the kernel may trust a name (`Entry.timeout`) and attributes (`Attributes.timeout`).
"""

from __future__ import annotations

from aiovfs.fuse.handlers import Operations, blocking
from aiovfs.fuse.handles import HandleTable
from aiovfs.fuse.handover import Connection
from aiovfs.fuse.inodes import ROOT_NODEID, InodeTable
from aiovfs.fuse.keeper import RESTART, Kept, keep
from aiovfs.fuse.locks import LockTable
from aiovfs.fuse.mountpoint import is_mounted, is_stale
from aiovfs.fuse.negotiation import Features
from aiovfs.fuse.notifier import Notifier
from aiovfs.fuse.options import OPTIONS, Option, parse_option_string
from aiovfs.fuse.paths import DictTree, PathOperations
from aiovfs.fuse.polls import PollTable
from aiovfs.fuse.protocol.flags import (
    FallocateFlags,
    FsyncFlags,
    GetattrFlags,
    InitFlags,
    IoctlFlags,
    LockFlags,
    OpenInFlags,
    PollFlags,
    ReadFlags,
    ReleaseFlags,
    RenameFlags,
    SetattrValid,
    SetxattrFlags,
    StatxMask,
    WriteFlags,
    XattrFlags,
)
from aiovfs.fuse.protocol.messages import (
    Access,
    Bmap,
    CopyFileRange,
    Create,
    Fallocate,
    Flush,
    Fsync,
    Fsyncdir,
    Getattr,
    Getlk,
    Getxattr,
    Ioctl,
    Link,
    Listxattr,
    Lookup,
    Lseek,
    Mkdir,
    Mknod,
    Open,
    Opendir,
    Poll,
    Read,
    Readdir,
    Readdirplus,
    Readlink,
    Release,
    Releasedir,
    Removexattr,
    Rename,
    Request,
    Rmdir,
    Setattr,
    Setlk,
    Setlkw,
    Setxattr,
    Statx,
    Symlink,
    Syncfs,
    Tmpfile,
    Unlink,
    Write,
)
from aiovfs.fuse.protocol.messages import Statfs as StatfsRequest
from aiovfs.fuse.replies import Attributes, DirEntry, Entry, IoctlResult, Lock, Opened, Statfs
from aiovfs.fuse.server import Session, adopt, mount, serve, unmount
from aiovfs.types import FileHandle, NodeId

__all__ = [
    "OPTIONS",
    "RESTART",
    "ROOT_NODEID",
    "Access",
    "Attributes",
    "Bmap",
    "Connection",
    "CopyFileRange",
    "Create",
    "DictTree",
    "DirEntry",
    "Entry",
    "Fallocate",
    "FallocateFlags",
    "Features",
    "FileHandle",
    "Flush",
    "Fsync",
    "FsyncFlags",
    "Fsyncdir",
    "Getattr",
    "GetattrFlags",
    "Getlk",
    "Getxattr",
    "HandleTable",
    "InitFlags",
    "InodeTable",
    "Ioctl",
    "IoctlFlags",
    "IoctlResult",
    "Kept",
    "Link",
    "Listxattr",
    "Lock",
    "LockFlags",
    "LockTable",
    "Lookup",
    "Lseek",
    "Mkdir",
    "Mknod",
    "NodeId",
    "Notifier",
    "Open",
    "OpenInFlags",
    "Opendir",
    "Opened",
    "Operations",
    "Option",
    "PathOperations",
    "Poll",
    "PollFlags",
    "PollTable",
    "Read",
    "ReadFlags",
    "Readdir",
    "Readdirplus",
    "Readlink",
    "Release",
    "ReleaseFlags",
    "Releasedir",
    "Removexattr",
    "Rename",
    "RenameFlags",
    "Request",
    "Rmdir",
    "Session",
    "Setattr",
    "SetattrValid",
    "Setlk",
    "Setlkw",
    "Setxattr",
    "SetxattrFlags",
    "Statfs",
    "StatfsRequest",
    "Statx",
    "StatxMask",
    "Symlink",
    "Syncfs",
    "Tmpfile",
    "Unlink",
    "Write",
    "WriteFlags",
    "XattrFlags",
    "adopt",
    "blocking",
    "is_mounted",
    "is_stale",
    "keep",
    "mount",
    "parse_option_string",
    "serve",
    "unmount",
]
