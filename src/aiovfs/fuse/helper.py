"""`fusermount3`, which is set-user-ID root: it mounts for ordinary users, and passes the descriptor back over a socket.

With `auto_unmount` it stays, and unmounts as soon as its socket says that nobody is there any more: then this process
has died, in whatever way.
Source: fusermount3(1); util/fusermount.c of libfuse says on which descriptor (`_FUSE_COMMFD`) and how (SCM_RIGHTS).
"""

from __future__ import annotations

import array
import os
import shutil
import socket
import subprocess
import weakref

from aiovfs.errors import MountError
from aiovfs.fuse.options import Settings

__all__ = ["Keeper", "mount_with_helper"]

PATIENCE_S = 10.0

_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()


class Keeper:
    """A helper that stays to unmount when we are gone. It ends when `close` is called or the process dies.

    A forked child closes its copy of the socket, or the mount would outlive us as long as the child does.
    """

    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        self._process = process
        self._socket = ours
        _keepers.add(self)

    def close(self) -> None:
        """Let the helper go, after it has unmounted if that was not done. Blocks for some milliseconds."""
        self._socket.close()
        _keepers.discard(self)
        try:
            self._process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def drop(self) -> None:
        """In a forked child: the process that waits is not ours."""
        self._socket.close()
        self._process.returncode = 0
        if self._process.stderr is not None:
            self._process.stderr.close()


def _drop_in_child() -> None:
    for keeper in list(_keepers):
        keeper.drop()
    _keepers.clear()


os.register_at_fork(after_in_child=_drop_in_child)


def mount_with_helper(directory: str, settings: Settings, tried: list[str]) -> tuple[int, Keeper | None]:
    """Mount at `directory`: the descriptor, and with `auto_unmount` who watches over it. Raises `MountError`."""
    helper = shutil.which("fusermount3")
    if helper is None:
        tried.append("fusermount3: not on PATH")
        raise MountError(
            "fusermount3 was not found",
            mountpoint=directory,
            tried=tried,
            hint="install it (Debian: apt install fuse3), or run as root to mount without it",
        )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(
            [helper, "-o", ",".join(settings.helper_options()), "--", directory],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    fd = receive_descriptor(ours)
    if fd is not None and settings["auto_unmount"]:
        return fd, Keeper(process, ours)
    ours.close()
    _, complaint = process.communicate()
    if process.returncode == 0 and fd is not None:
        return fd, None
    if fd is not None:
        os.close(fd)
    text = complaint.decode(errors="replace").strip().removeprefix("fusermount3: ")
    tried.append(f"fusermount3: {text or f'exit code {process.returncode}'}")
    hint = "allow it in /etc/fuse.conf with user_allow_other" if "allow_other" in text else None
    raise MountError(f"cannot mount at {directory}", mountpoint=directory, tried=tried, hint=hint)


def receive_descriptor(ours: socket.socket) -> int | None:
    """The descriptor that the helper sends, or None when it ends without sending one."""
    fds = array.array("i")
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(fds.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: fds.itemsize])
    return fds[0] if fds else None
