"""A kernel to script: requests go in, replies come out, over a SEQPACKET socket pair. No mount, no root.

    kernel = FakeKernel()
    async with fuse.mount(operations, kernel.path) as session:
        reply = await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))
        assert reply.error == 0

It speaks for the kernel, so it can also say what no kernel would: garbage, replies that nobody waits for, an end at the
wrong moment. INIT is sent when the object is made.
"""

from __future__ import annotations

import itertools
import socket
from dataclasses import dataclass
from typing import Self

import anyio

from aiovfs.fuse.protocol import encode_request
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags

__all__ = ["FakeKernel", "FakeReply"]

RECEIVE = 2 << 20
ALL_FLAGS = InitFlags(sum(flag.value for flag in InitFlags))


@dataclass(frozen=True, slots=True)
class FakeReply:
    """One reply: `error` is a positive errno or 0."""

    unique: int
    error: int
    body: bytes


class FakeKernel:
    """The kernel's end of one connection."""

    def __init__(
        self, *, major: int = 7, minor: int = 45, flags: int = int(ALL_FLAGS), max_readahead: int = 1 << 20
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE)
        ours.setblocking(False)
        self._ours = ours
        self._theirs = theirs
        self._uniques = itertools.count(2, 2)
        self._replies: dict[int, FakeReply] = {}
        self.notifications: list[bytes] = []
        self.is_strict = True
        """Off: a test that asks the same twice, or nothing that can be asked, may get answers that no kernel would."""
        self.init_unique = self.send(m.Init(major=major, minor=minor, max_readahead=max_readahead, flags=flags))

    @property
    def path(self) -> str:
        """Give this to `fuse.mount` as the directory."""
        return f"/dev/fd/{self._theirs.fileno()}"

    def send(self, request: m.Request) -> int:
        """Send a request and return its `unique`; a request that has one already keeps it."""
        if not request.unique:
            request.unique = next(self._uniques)
        self.send_raw(encode_request(request))
        return request.unique

    def send_raw(self, data: bytes) -> None:
        self._ours.send(data)

    async def receive(self, unique: int) -> FakeReply:
        """The reply to request `unique`; others that come before it are kept for later."""
        while unique not in self._replies:
            await anyio.wait_readable(self._ours)
            raw = self._ours.recv(RECEIVE)
            if not raw:
                raise EOFError("the session closed its end")
            length = int.from_bytes(raw[:4], "little")
            error = int.from_bytes(raw[4:8], "little", signed=True)
            if length != len(raw):
                raise AssertionError(f"a reply of {len(raw)} bytes says that it has {length}")
            name = int.from_bytes(raw[8:16], "little")
            if name == 0:
                self.notifications.append(raw)
            elif name in self._replies and self.is_strict:
                raise AssertionError(f"request {name} was answered twice")
            else:
                self._replies[name] = FakeReply(name, -error, raw[16:])
        return self._replies.pop(unique)

    async def ask(self, request: m.Request) -> FakeReply:
        """Send a request and wait for its reply."""
        return await self.receive(self.send(request))

    def unmount(self) -> None:
        """End the connection, as an unmount does."""
        self._ours.close()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
