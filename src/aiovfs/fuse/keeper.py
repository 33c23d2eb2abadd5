"""A process that holds the connection while the one that serves it is started anew: after a crash, for a new version.

    python -m aiovfs.fuse keep python my_server.py /mnt/point

The keeper runs the command, and again when it ends in any way but with status 0. The server asks what was kept, and
keeps what the next one will need:

    kept = fuse.Kept()
    operations = MyFileSystem(kept.state)               # b"" at the first start
    async with kept.mount(operations, directory) as session:
        kept.save(session, operations.dump())           # and again whenever that changes
        await session.wait()

Without a keeper this is `fuse.mount`. For a planned restart the server calls `session.hand_over()`, saves, and ends
with a status that is not 0 (`RESTART`, say). After a crash the requests that it left are sent again, and nothing else
is lost but what was changed after the last `save`.

They talk over a SEQPACKET socket. What is kept is a memfd with the text and the state, beside the descriptor of the
connection; one message replaces both at once, so that a server killed in the middle leaves the old pair or the new
one. A service manager that keeps descriptors (systemd's FDSTORE) does the same; `session.fileno()` and
`session.connection` are all that it needs.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from aiovfs.errors import ClosedError
from aiovfs.fuse.handlers import Operations
from aiovfs.fuse.handover import Connection
from aiovfs.fuse.server import Session, adopt, mount

__all__ = ["RESTART", "Kept", "keep"]

VARIABLE = "AIOVFS_KEEPER"
RESTART = 75  # EX_TEMPFAIL of sysexits.h
MANY_STARTS = 5
STARTS_WITHIN_S = 10.0


class Kept:
    """What an earlier server of this mount left with the keeper: its own `state`, and the `connection` (None at first).

    Made once, at the start: the next one in the same process finds no keeper.
    """

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.state = b""
        self._fd = -1
        self._socket: socket.socket | None = None
        number = os.environ.pop(VARIABLE, None)
        if number is None:
            return
        self._socket = socket.socket(fileno=int(number))
        os.set_inheritable(self._socket.fileno(), False)
        _, fds, _, _ = socket.recv_fds(self._socket, 1, 2)
        if fds:
            self._fd, memory = fds
            os.set_inheritable(self._fd, False)
            with open(memory, "rb") as file:
                file.seek(0)
                self.connection = Connection.from_json(file.readline())
                self.state = file.read()

    @property
    def has_keeper(self) -> bool:
        return self._socket is not None

    @asynccontextmanager
    async def mount(self, operations: Operations, directory: str, **options: Any) -> AsyncIterator[Session]:
        """Go on with what was kept, or mount at `directory`, and have it kept. Arguments are those of `fuse.mount`."""
        if self.connection is None:
            serving = mount(operations, directory, **options)
        else:
            fd, self._fd = self._fd, -1
            serving = adopt(operations, fd, self.connection, **options)
        async with serving as session:
            self.save(session, self.state)
            yield session

    def save(self, session: Session, state: bytes = b"") -> None:
        """Have the keeper hold the connection, and `state` for the next server. Nothing without a keeper.

        After `hand_over` only if there was a call before: the keeper has the connection from that one.
        """
        if self._socket is None:
            return
        if session.fileno() < 0 and self.connection is None:
            raise ClosedError("the session has ended and the keeper never got its connection", hint="save earlier")
        self.connection = session.connection
        memory = os.memfd_create("aiovfs")
        with open(memory, "wb") as file:
            file.write(self.connection.to_json().encode() + b"\n")
            file.write(state)
            file.flush()
            fds = [memory] if session.fileno() < 0 else [session.fileno(), memory]
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the keeper is gone: serve on without
                socket.send_fds(self._socket, [b"k"], fds)


class Keeper:
    """Runs a command again and again, and holds what it saved."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._fds: list[int] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._is_told_to_end = False

    def run(self) -> int:
        """Until the command ends with status 0, or was told to end, or cannot stay up. Returns its status."""
        starts: list[float] = []
        while True:
            starts = [one for one in starts if time.monotonic() - one < STARTS_WITHIN_S] + [time.monotonic()]
            status = self._run_once()
            if status == 0 or self._is_told_to_end:
                return max(status, 0)
            if len(starts) >= MANY_STARTS:
                print(
                    f"keeper: {self._command[0]} ended {MANY_STARTS} times within {STARTS_WITHIN_S:g} s, the last time "
                    f"with status {status}; given up, and the mount with it",
                    file=sys.stderr,
                )
                return 1
            if status != RESTART:
                print(f"keeper: {self._command[0]} ended with status {status}; started again", file=sys.stderr)

    def end(self, number: int, frame: FrameType | None) -> None:
        """A signal for the server, which is not started again."""
        self._is_told_to_end = True
        if self._server is not None:
            self._server.send_signal(number)

    def _run_once(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                environment = os.environ | {VARIABLE: str(theirs.fileno())}
                self._server = subprocess.Popen(self._command, pass_fds=(theirs.fileno(),), env=environment)
            if self._is_told_to_end:
                self._server.terminate()
            socket.send_fds(ours, [b"k"], self._fds)
            self._listen(ours, self._server.pid)
        return self._server.wait()

    def _listen(self, ours: socket.socket, pid: int) -> None:
        """Keep what the server saves, until it has ended; children that it left do not count."""
        end = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(end, select.POLLIN)
            poll.register(ours, select.POLLIN)
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if ours.fileno() not in ready:
                    return  # what it sent before it ended has been read
                try:
                    message, fds, _, _ = socket.recv_fds(ours, 1, 2)
                except ConnectionResetError:
                    message, fds = b"", []  # it ended without having read what we sent
                if message:
                    self._keep(fds)
                else:
                    poll.unregister(ours)
        finally:
            os.close(end)

    def _keep(self, fds: list[int]) -> None:
        """A new pair, or a new state for the connection that is held already."""
        for fd in fds:
            os.set_inheritable(fd, False)
        if len(fds) == 1 and self._fds:
            fds = [self._fds[0], *fds]
            os.close(self._fds[1])
        else:
            for fd in self._fds:
                os.close(fd)
        self._fds = fds


def keep(command: Sequence[str]) -> int:
    """Run a server that uses `Kept`, and start it again when it ends with a status other than 0. Blocks.

    SIGTERM, SIGINT and SIGHUP are passed on to the server and end both.
    """
    keeper = Keeper(command)
    before = {one: signal.signal(one, keeper.end) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        return keeper.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
