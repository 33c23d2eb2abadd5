"""INIT: what the kernel offers, what we want, what both agree to. A pure function.

Flags are asked for only when the kernel offers them and the option is on; an operation that the file system does not
have (readdirplus, locks) is not offered. `Features` is what handlers and users can look at.
Source: fs/fuse/inode.c (process_init_reply); linux/fuse.h.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from aiovfs.errors import ProtocolError
from aiovfs.fuse.options import Settings
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol import structs as s
from aiovfs.fuse.protocol.flags import InitFlags

__all__ = ["Features", "negotiate"]

OUR_MAJOR = 7
OUR_MINOR = 45
OLDEST_MINOR = 23  # Linux 3.15: the first with a 64-byte init_out; older ones would need other struct sizes
MAX_PAGES_LIMIT = 0xFFFF
DEFAULT_MAX_PAGES = 32

ALWAYS = InitFlags.BIG_WRITES | InitFlags.MAX_PAGES | InitFlags.HAS_EXPIRE_ONLY | InitFlags.HAS_RESEND
BY_OPTION = {
    "async_read": InitFlags.ASYNC_READ,
    "parallel_dirops": InitFlags.PARALLEL_DIROPS,
    "async_dio": InitFlags.ASYNC_DIO,
    "atomic_o_trunc": InitFlags.ATOMIC_O_TRUNC,
    "auto_inval_data": InitFlags.AUTO_INVAL_DATA,
    "writeback_cache": InitFlags.WRITEBACK_CACHE,
    "cache_symlinks": InitFlags.CACHE_SYMLINKS,
    "posix_acl": InitFlags.POSIX_ACL,
    "dont_mask": InitFlags.DONT_MASK,
    "export_support": InitFlags.EXPORT_SUPPORT,
    "no_export_support": InitFlags.NO_EXPORT_SUPPORT,
    "direct_io_allow_mmap": InitFlags.DIRECT_IO_ALLOW_MMAP,
    "explicit_inval_data": InitFlags.EXPLICIT_INVAL_DATA,
    "setxattr_ext": InitFlags.SETXATTR_EXT,
    "handle_killpriv": InitFlags.HANDLE_KILLPRIV,
    "handle_killpriv_v2": InitFlags.HANDLE_KILLPRIV_V2,
    "no_open": InitFlags.NO_OPEN_SUPPORT,
    "no_opendir": InitFlags.NO_OPENDIR_SUPPORT,
    "allow_idmap": InitFlags.ALLOW_IDMAP,
    "request_timeout": InitFlags.REQUEST_TIMEOUT,
    "passthrough": InitFlags.PASSTHROUGH,
}
TAKEN_BACK = {
    "sync_read": InitFlags.ASYNC_READ,
    "explicit_inval_data": InitFlags.AUTO_INVAL_DATA,
    "no_remote_posix_lock": InitFlags.POSIX_LOCKS,
    "no_remote_flock": InitFlags.FLOCK_LOCKS,
    "no_remote_lock": InitFlags.POSIX_LOCKS | InitFlags.FLOCK_LOCKS,
}


@dataclass(frozen=True, slots=True)
class Features:
    """What kernel and session agreed to. Sizes are bytes.

    `readahead` is the window that was set on the mount itself, 0 where it was left as the kernel has it.
    """

    minor: int
    offered: InitFlags
    agreed: InitFlags
    max_write: int
    max_readahead: int
    max_background: int
    congestion_threshold: int
    readahead: int = 0

    def __contains__(self, flag: InitFlags) -> bool:
        return flag in self.agreed


def negotiate(request: m.Init, settings: Settings, *, supported: InitFlags) -> tuple[s.InitOut, Features]:
    """The reply to INIT; `supported`: what there are handlers for. Raises `ProtocolError` for an impossible kernel."""
    if request.major != OUR_MAJOR or request.minor < OLDEST_MINOR:
        raise ProtocolError(
            f"the kernel speaks FUSE {request.major}.{request.minor}, "
            f"this library {OUR_MAJOR}.{OLDEST_MINOR} to {OUR_MAJOR}.{OUR_MINOR}"
        )
    offered = InitFlags(request.flags)
    wanted = ALWAYS
    for name, flag in BY_OPTION.items():
        if settings[name]:
            wanted |= flag
    wanted |= supported & (InitFlags.POSIX_LOCKS | InitFlags.FLOCK_LOCKS)
    if settings["readdirplus"]:
        wanted |= supported & InitFlags.DO_READDIRPLUS
        if settings["readdirplus_auto"]:
            wanted |= supported & InitFlags.READDIRPLUS_AUTO
    for name, flag in TAKEN_BACK.items():
        if settings[name]:
            wanted &= ~flag
    agreed = wanted & offered
    if InitFlags.INIT_EXT in offered:
        agreed |= InitFlags.INIT_EXT  # only with it does the kernel look at the upper 32 flags

    pages = min(-(-settings["max_write"] // mmap.PAGESIZE), MAX_PAGES_LIMIT)
    if InitFlags.MAX_PAGES not in agreed:
        pages = min(pages, DEFAULT_MAX_PAGES)
    features = Features(
        minor=min(request.minor, OUR_MINOR),
        offered=offered,
        agreed=agreed,
        max_write=min(settings["max_write"], pages * mmap.PAGESIZE),
        max_readahead=min(settings["max_readahead"], request.max_readahead),
        max_background=min(settings["max_background"], 0xFFFF),
        congestion_threshold=min(settings["congestion_threshold"], 0xFFFF),
    )
    reply = s.InitOut(
        major=OUR_MAJOR,
        minor=OUR_MINOR,
        max_readahead=features.max_readahead,
        flags=int(agreed) & 0xFFFFFFFF,
        flags2=int(agreed) >> 32,
        max_background=features.max_background,
        congestion_threshold=features.congestion_threshold,
        max_write=features.max_write,
        time_gran=settings["time_gran"],
        max_pages=pages if InitFlags.MAX_PAGES in agreed else 0,
        request_timeout=settings["request_timeout"],
        max_stack_depth=settings["max_stack_depth"] if InitFlags.PASSTHROUGH in agreed else 0,
    )
    return reply, features
