"""Attach a FUSE connection to a directory, and detach it: mount(2) as root, `fusermount3` otherwise.

All functions block (a few milliseconds; for ever on a dead network mount): call them in a worker thread.
Source: mount(2), umount(2), fusermount3(1), Documentation/filesystems/fuse.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from aiovfs.errors import MountError
from aiovfs.fuse.helper import Keeper, mount_with_helper
from aiovfs.fuse.options import Settings

__all__ = ["Attached", "attach", "is_mounted", "is_stale", "mount", "set_readahead", "unmount"]

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
GONE = (errno.ENOTCONN, errno.ECONNABORTED)

_libc = ctypes.CDLL(None, use_errno=True)


class Attached(NamedTuple):
    """A mount that nobody serves yet: the connection's descriptor, and with `auto_unmount` who watches over it."""

    fd: int
    keeper: Keeper | None


_keepers_of_this_process: list[Keeper] = []


def mount(directory: str, settings: Settings, *, check: bool = True) -> int:
    """Mount at `directory` and return the descriptor of the connection.

    Nothing answers requests before the caller does: that is `fuse.mount(operations, f"/dev/fd/{fd}")`, in this process
    or in a forked child. With `auto_unmount` the mount goes when this process ends.
    Arguments and errors are those of `attach`.
    """
    fd, keeper = attach(directory, settings, check=check)
    if keeper is not None:
        _keepers_of_this_process.append(keeper)
    return fd


def attach(directory: str, settings: Settings, *, check: bool = True) -> Attached:
    """Mount at `directory`. Nothing answers requests before the caller does.

    Without `check`, the kernel decides what can be mounted over: also a file, a directory with entries, another mount.
    Raises `MountError` that names the thing that failed.
    """
    if check:
        check_mountpoint(directory, nonempty=settings["nonempty"])
    check_security(directory, settings)
    tried: list[str] = []
    if os.geteuid() == 0 and not settings["auto_unmount"]:
        try:
            return Attached(mount_directly(directory, settings), None)
        except OSError as exc:
            tried.append(f"mount(2): {exc.strerror}")
            if exc.errno not in (errno.EPERM, errno.EACCES):
                raise MountError(f"cannot mount at {directory}", mountpoint=directory, tried=tried) from exc
    return Attached(*mount_with_helper(directory, settings, tried))


def check_mountpoint(directory: str, *, nonempty: bool) -> None:
    """Refuse a mountpoint that cannot work, and say why and what to do."""

    def refuse(problem: str, hint: str | None = None) -> MountError:
        return MountError(f"mountpoint {directory} {problem}", mountpoint=directory, hint=hint)

    try:
        status = os.stat(directory)
    except FileNotFoundError:
        raise refuse("does not exist", "create it first: mkdir -p") from None
    except PermissionError:
        raise refuse("cannot be reached: permission denied") from None
    except OSError as exc:
        if exc.errno in GONE:
            raise refuse("is a dead mount, its server has ended", "umount it, or mount with replace") from None
        raise refuse(f"cannot be used: {exc.strerror}") from exc
    if not stat.S_ISDIR(status.st_mode):
        raise refuse("is not a directory")
    if is_mounted(directory):
        raise refuse("is a mountpoint already", "umount it first")
    if os.geteuid() != 0 and status.st_uid != os.geteuid():
        raise refuse("belongs to another user", "fusermount3 mounts only on directories that are yours")
    try:
        with os.scandir(directory) as entries:
            is_empty = next(entries, None) is None
    except PermissionError:
        raise refuse("cannot be read: permission denied") from None
    if not is_empty and not nonempty:
        raise refuse("is not empty", "choose an empty one, or give the option nonempty to hide what is there")


def check_security(directory: str, settings: Settings) -> None:
    """The kernel's only word about a label that it cannot use is EINVAL."""
    words = settings.security_words
    if words and not os.path.isdir("/sys/fs/selinux"):
        raise MountError(
            f"the option {words[0].partition('=')[0]} needs SELinux, which this kernel does not run",
            mountpoint=directory,
        )
    if words and (os.geteuid() != 0 or settings["auto_unmount"]):
        raise MountError(
            f"the option {words[0].partition('=')[0]} needs mount(2), not fusermount3",
            mountpoint=directory,
            hint="run as root, without auto_unmount",
        )


def mount_directly(directory: str, settings: Settings) -> int:
    """mount(2). Raises `OSError`."""
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise MountError(
            "/dev/fuse does not exist", mountpoint=directory, hint="load the module: modprobe fuse"
        ) from exc
    words = [
        f"fd={fd}",
        f"rootmode={stat.S_IFMT(os.stat(directory).st_mode):o}",
        f"user_id={os.geteuid()}",
        f"group_id={os.getegid()}",
    ]
    words += settings.kernel_words + settings.security_words
    kind = f"fuse.{settings['subtype']}" if settings["subtype"] else "fuse"
    result = _libc.mount(
        os.fsencode(settings["fsname"] or "fuse"),
        os.fsencode(directory),
        kind.encode(),
        ctypes.c_ulong(settings.mount_flags),
        ",".join(words).encode(),
    )
    if result != 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, os.strerror(number), directory)
    return fd


def unmount(directory: str, *, lazy: bool = False) -> None:
    """Detach the mount at `directory`: umount2(2) as root, `fusermount3 -u` otherwise.

    `lazy` takes it out of the name space now; open files go on until they are closed. Raises `MountError`; its
    `__cause__` is the `OSError`, with EBUSY when the mount is in use and EINVAL when nothing is mounted there.
    """
    tried: list[str] = []
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    if _libc.umount2(os.fsencode(directory), flags) == 0:
        return
    cause = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
    tried.append(f"umount2(2): {cause.strerror}")
    helper = shutil.which("fusermount3")
    if cause.errno == errno.EPERM and helper is not None:
        command = [helper, "-u", *(["-z"] if lazy else []), "--", directory]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
        if done.returncode == 0:
            return
        text = done.stderr.decode(errors="replace").strip().removeprefix("fusermount3: ")
        tried.append(f"fusermount3: {text}")
        if "busy" in text:
            cause = OSError(errno.EBUSY, os.strerror(errno.EBUSY), directory)
        elif "not found" in text or "not mounted" in text:
            cause = OSError(errno.EINVAL, os.strerror(errno.EINVAL), directory)
    hints = {
        errno.EBUSY: "close the files in use there, or detach it with lazy",
        errno.EINVAL: "nothing is mounted there",
    }
    raise MountError(
        f"cannot unmount {directory}", mountpoint=directory, tried=tried, hint=hints.get(cause.errno or 0)
    ) from cause


def set_readahead(directory: str, size: int) -> int:
    """Set the read-ahead window of the mount at `directory`: up to `size` bytes at a time. Returns what was set.

    The kernel starts with 128 KiB, whatever was negotiated; only root may change it. Raises `OSError`.
    Source: Documentation/ABI/testing/sysfs-class-bdi.
    """
    device = device_at(directory)
    kibibytes = max(size // 1024, 1)
    with open(f"/sys/class/bdi/{device}/read_ahead_kb", "w") as window:
        window.write(str(kibibytes))
    return kibibytes * 1024


def is_stale(directory: str) -> bool:
    """A FUSE mount whose server has ended: every access says "Transport endpoint is not connected"."""
    try:
        os.stat(directory)
    except OSError as exc:
        return exc.errno in GONE
    return False


def is_mounted(directory: str) -> bool:
    """Is something mounted exactly at `directory`? Never touches the mount itself, so it cannot hang."""
    path = os.fsencode(resolve(directory))
    return any(entry == path for entry, _ in mounts())


def device_at(directory: str) -> str | None:
    """The device, as "major:minor", of what is mounted topmost at `directory`; None when nothing is.

    Tells one mount from another at the same place, and never touches either: stat(2) on a dead mount may still answer
    from what the kernel has cached.
    """
    path = os.fsencode(resolve(directory))
    devices = [device for device, entry, _ in mount_table() if entry == path]
    return devices[-1] if devices else None


def resolve(directory: str) -> str:
    """The absolute path with symbolic links followed in all but the last component, which may be a dead mount."""
    parent, name = os.path.split(os.path.abspath(directory))
    return os.path.join(os.path.realpath(parent), name)


def mounts() -> Iterator[tuple[bytes, bytes]]:
    """(mountpoint, type) of each mount in this name space."""
    return ((path, kind) for _, path, kind in mount_table())


def mount_table() -> Iterator[tuple[str, bytes, bytes]]:
    """(device as "major:minor", mountpoint, type) of each mount. Source: proc(5), mountinfo."""
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields, _, rest = line.partition(b" - ")
            _, _, device, _, path, *_ = fields.split(b" ")
            yield device.decode(), unescape(path), rest.split(b" ")[0]


def unescape(field: bytes) -> bytes:
    """Undo the octal escapes (space, tab, newline, backslash) of /proc/self/mountinfo."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
