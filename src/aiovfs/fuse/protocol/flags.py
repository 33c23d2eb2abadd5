"""Flag words and constants of the protocol, one class each.

Requests carry plain integers (making an IntFlag costs more than decoding a request); compare them with `&`, or wrap one
to print it: `InitFlags(request.flags)`. `C_PREFIXES` says what the members are called in C; `tools/check_layouts.py`
compares every value. Source: linux/fuse.h, and linux/fs.h, stat.h, falloc.h, xattr.h for those who say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Final

__all__ = [
    "CONSTANTS",
    "C_PREFIXES",
    "KERNEL_MAJOR",
    "KERNEL_MINOR",
    "NAMED_OTHERWISE",
    "ROOT_ID",
    "UNIQUE_RESEND",
    "AttrFlags",
    "CuseInitFlags",
    "DeviceIoctl",
    "ExtType",
    "FallocateFlags",
    "FsyncFlags",
    "GetattrFlags",
    "InitFlags",
    "InvalEntryFlags",
    "IoctlFlags",
    "LockFlags",
    "OpenFlags",
    "OpenInFlags",
    "PollFlags",
    "ReadFlags",
    "ReleaseFlags",
    "RenameFlags",
    "SetattrValid",
    "SetupmappingFlags",
    "SetxattrFlags",
    "StatxMask",
    "UringCommand",
    "WriteFlags",
    "XattrFlags",
]

KERNEL_MAJOR: Final = 7
KERNEL_MINOR: Final = 45
"""The newest protocol these tables describe. A session speaks the smaller of this and the kernel's."""

ROOT_ID: Final = 1
"""The nodeid of the root."""

UNIQUE_RESEND: Final = 1 << 63
"""Set in `unique` of a request that the kernel sends a second time."""


class InitFlags(IntFlag):
    """Features offered by the kernel and accepted by the session. Bits from 32 up travel in `flags2`."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    INIT_RESERVED = 1 << 31
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42


class CuseInitFlags(IntFlag):
    """Features of a character device."""

    UNRESTRICTED_IOCTL = 1 << 0


class SetattrValid(IntFlag):
    """Which fields of SETATTR count."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


class OpenFlags(IntFlag):
    """What the reply to OPEN, CREATE or OPENDIR says about the open file."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    NONSEEKABLE = 1 << 2
    CACHE_DIR = 1 << 3
    STREAM = 1 << 4
    NOFLUSH = 1 << 5
    PARALLEL_DIRECT_WRITES = 1 << 6
    PASSTHROUGH = 1 << 7


class OpenInFlags(IntFlag):
    """`open_flags` of the OPEN and CREATE requests."""

    KILL_SUIDGID = 1 << 0


class ReleaseFlags(IntFlag):
    """`release_flags` of RELEASE."""

    FLUSH = 1 << 0
    FLOCK_UNLOCK = 1 << 1


class GetattrFlags(IntFlag):
    """`getattr_flags` of GETATTR and STATX."""

    FH = 1 << 0


class LockFlags(IntFlag):
    """`lk_flags` of GETLK, SETLK and SETLKW."""

    FLOCK = 1 << 0


class ReadFlags(IntFlag):
    """`read_flags` of READ."""

    LOCKOWNER = 1 << 1


class WriteFlags(IntFlag):
    """`write_flags` of WRITE."""

    CACHE = 1 << 0
    LOCKOWNER = 1 << 1
    KILL_SUIDGID = 1 << 2


class IoctlFlags(IntFlag):
    """`flags` of IOCTL and its reply."""

    COMPAT = 1 << 0
    UNRESTRICTED = 1 << 1
    RETRY = 1 << 2
    # The kernel's names start with a digit after the prefix; Python's cannot.
    IS_32BIT = 1 << 3
    DIR = 1 << 4
    COMPAT_X32 = 1 << 5


class PollFlags(IntFlag):
    """`flags` of POLL."""

    SCHEDULE_NOTIFY = 1 << 0


class FsyncFlags(IntFlag):
    """`fsync_flags` of FSYNC and FSYNCDIR."""

    FDATASYNC = 1 << 0


class AttrFlags(IntFlag):
    """`flags` of the attributes in a reply."""

    SUBMOUNT = 1 << 0
    DAX = 1 << 1


class SetxattrFlags(IntFlag):
    """`setxattr_flags` of SETXATTR."""

    ACL_KILL_SGID = 1 << 0


class InvalEntryFlags(IntFlag):
    """`flags` of NOTIFY_INVAL_ENTRY."""

    EXPIRE_ONLY = 1 << 0


class SetupmappingFlags(IntFlag):
    """`flags` of SETUPMAPPING."""

    WRITE = 1 << 0
    READ = 1 << 1


class RenameFlags(IntFlag):
    """`flags` of RENAME2, as in renameat2(2). Source: linux/fs.h."""

    NOREPLACE = 1 << 0
    EXCHANGE = 1 << 1
    WHITEOUT = 1 << 2


class XattrFlags(IntFlag):
    """`flags` of SETXATTR, as in setxattr(2). Source: linux/xattr.h."""

    CREATE = 1 << 0
    REPLACE = 1 << 1


class FallocateFlags(IntFlag):
    """`mode` of FALLOCATE, as in fallocate(2). Source: linux/falloc.h."""

    KEEP_SIZE = 0x01
    PUNCH_HOLE = 0x02
    NO_HIDE_STALE = 0x04
    COLLAPSE_RANGE = 0x08
    ZERO_RANGE = 0x10
    INSERT_RANGE = 0x20
    UNSHARE_RANGE = 0x40


class StatxMask(IntFlag):
    """`sx_mask` of STATX, as in statx(2). Source: linux/stat.h."""

    TYPE = 0x0001
    MODE = 0x0002
    NLINK = 0x0004
    UID = 0x0008
    GID = 0x0010
    ATIME = 0x0020
    MTIME = 0x0040
    CTIME = 0x0080
    INO = 0x0100
    SIZE = 0x0200
    BLOCKS = 0x0400
    BASIC_STATS = 0x07FF
    BTIME = 0x0800


class ExtType(IntEnum):
    """Types of request extensions. Numbers up to `MAX_NR_SECCTX` are a count of security contexts."""

    MAX_NR_SECCTX = 31
    GROUPS = 32


class UringCommand(IntEnum):
    """Commands of FUSE over io_uring."""

    INVALID = 0
    REGISTER = 1
    COMMIT_AND_FETCH = 2


class DeviceIoctl(IntEnum):
    """Commands of ioctl(2) on the device, in the common encoding (x86, Arm, RISC-V; not MIPS, PowerPC, SPARC)."""

    CLONE = 0x8004_E500
    BACKING_OPEN = 0x4010_E501
    BACKING_CLOSE = 0x4004_E502
    SYNC_INIT = 0xE503


C_PREFIXES: Mapping[type[IntFlag | IntEnum], str] = MappingProxyType(
    {
        InitFlags: "FUSE_",
        CuseInitFlags: "CUSE_",
        SetattrValid: "FATTR_",
        OpenFlags: "FOPEN_",
        OpenInFlags: "FUSE_OPEN_",
        ReleaseFlags: "FUSE_RELEASE_",
        GetattrFlags: "FUSE_GETATTR_",
        LockFlags: "FUSE_LK_",
        ReadFlags: "FUSE_READ_",
        WriteFlags: "FUSE_WRITE_",
        IoctlFlags: "FUSE_IOCTL_",
        PollFlags: "FUSE_POLL_",
        FsyncFlags: "FUSE_FSYNC_",
        AttrFlags: "FUSE_ATTR_",
        SetxattrFlags: "FUSE_SETXATTR_",
        InvalEntryFlags: "FUSE_",
        SetupmappingFlags: "FUSE_SETUPMAPPING_FLAG_",
        RenameFlags: "RENAME_",
        XattrFlags: "XATTR_",
        FallocateFlags: "FALLOC_FL_",
        StatxMask: "STATX_",
        UringCommand: "FUSE_IO_URING_CMD_",
        DeviceIoctl: "FUSE_DEV_IOC_",
    }
)
"""What a member is called in C: this prefix and its name. `NAMED_OTHERWISE` has the exceptions."""

# Keyed by name: members of different flag words with the same value are equal, and so the same key.
NAMED_OTHERWISE: Mapping[str, str] = MappingProxyType({"IoctlFlags.IS_32BIT": "FUSE_IOCTL_32BIT"})

CONSTANTS: Mapping[str, int] = MappingProxyType(
    {
        "FUSE_KERNEL_VERSION": KERNEL_MAJOR,
        "FUSE_ROOT_ID": ROOT_ID,
        "FUSE_UNIQUE_RESEND": UNIQUE_RESEND,
        "FUSE_MAX_NR_SECCTX": int(ExtType.MAX_NR_SECCTX),
        "FUSE_EXT_GROUPS": int(ExtType.GROUPS),
        "FUSE_MIN_READ_BUFFER": 8192,
        "FUSE_COMPAT_ENTRY_OUT_SIZE": 120,
        "FUSE_COMPAT_ATTR_OUT_SIZE": 96,
        "FUSE_COMPAT_MKNOD_IN_SIZE": 8,
        "FUSE_COMPAT_WRITE_IN_SIZE": 24,
        "FUSE_COMPAT_STATFS_SIZE": 48,
        "FUSE_COMPAT_SETXATTR_IN_SIZE": 8,
        "FUSE_COMPAT_INIT_OUT_SIZE": 8,
        "FUSE_COMPAT_22_INIT_OUT_SIZE": 24,
        "CUSE_INIT_INFO_MAX": 4096,
        "FUSE_IOCTL_MAX_IOV": 256,
        "FUSE_INVALID_UIDGID": 0xFFFF_FFFF,
        "FUSE_URING_IN_OUT_HEADER_SZ": 128,
        "FUSE_URING_OP_IN_OUT_SZ": 128,
        "FUSE_DEV_IOC_MAGIC": 229,
        "CUSE_INIT_BSWAP_RESERVED": 1048576,
        "FUSE_INIT_BSWAP_RESERVED": 436207616,
    }
)
"""The header's other numbers, by their C name."""
