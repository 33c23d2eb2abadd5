"""Which file systems answer from memory without asking anybody: what may be looked at in place.

`RESOLVE_CACHED` keeps a path lookup from waiting, and `AT_STATX_DONT_SYNC` a stat, but opening a file of FUSE or of a
network asks its server, which may be in this very thread. So files are opened in place only where the kind of file
system is known not to ask: by the device number of what the path led to, and the table of mounts.

The kernel tells of changes of that table (poll(2) on /proc/self/mountinfo, see proc(5)), so it is read again only then.
"""

from __future__ import annotations

__all__ = ["LOCAL", "MOUNTINFO", "QUIET", "local_devices"]

MOUNTINFO = "/proc/self/mountinfo"

LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "f2fs", "tmpfs", "ramfs", "erofs", "squashfs"})
"""File systems that ask nobody but a disk."""

STACKED = frozenset({"overlay"})
"""Those that pass on what is below: local when no mount is of any other kind."""

QUIET = frozenset(
    {
        *("autofs", "binfmt_misc", "bpf", "btrfs", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
        *("efivarfs", "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs"),
        *("securityfs", "sysfs", "tracefs", "vfat", "zfs"),
    }
)
"""File systems that are no server's: they do not make `overlay` doubtful."""


def local_devices(mountinfo: str | None = None) -> frozenset[int]:
    """The devices, `major << 32 | minor`, of mounted file systems of which a file may be opened in place."""
    if mountinfo is None:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            mountinfo = file.read()
    local: set[int] = set()
    stacked: set[int] = set()
    others: set[int] = set()
    has_servers = False
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        try:
            major, minor = fields[2].split(":")
            kind = fields[fields.index("-", 6) + 1]
        except (IndexError, ValueError):
            continue
        device = int(major) << 32 | int(minor)
        if kind in LOCAL:
            local.add(device)
        elif kind in STACKED:
            stacked.add(device)
        else:
            others.add(device)
            has_servers |= kind not in QUIET
    if not has_servers:
        local |= stacked
    return frozenset(local - others)
