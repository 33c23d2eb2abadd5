"""A session over another transport than /dev/fuse: queues in memory, with an eventfd that says when to look."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Sequence

import anyio

from aiovfs import fuse
from aiovfs.fuse import server
from aiovfs.fuse.device import DeviceGone
from aiovfs.fuse.dispatch import Dispatcher
from aiovfs.fuse.options import parse_options
from aiovfs.fuse.protocol import encode_request
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.fuse.transport import Transport
from aiovfs.types import Buffer


class Queues:
    """A `Transport`; the test is the kernel."""

    max_write = 1 << 16

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.requests: deque[bytes] = deque()
        self.replies: deque[bytes] = deque()
        self.has_replied = anyio.Event()
        self.has_ended = False

    def take_buffer(self) -> memoryview:
        return memoryview(bytearray(self.max_write + 4096))

    def return_buffer(self, buffer: memoryview) -> None:
        """Let it go."""

    def read(self, buffer: memoryview) -> int:
        if not self.requests:
            if self.has_ended:
                raise DeviceGone("the test is over")
            return 0
        message = self.requests.popleft()
        if not self.requests and not self.has_ended:
            os.eventfd_read(self.fd)
        buffer[: len(message)] = message
        return len(message)

    def write(self, buffers: Sequence[Buffer]) -> bool:
        self.replies.append(b"".join(buffers))
        self.has_replied.set()
        return True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # The kernel's side

    async def ask(self, request: m.Request) -> bytes:
        self.requests.append(encode_request(request, agreed=InitFlags(0)))
        os.eventfd_write(self.fd, 1)
        if not self.replies:
            self.has_replied = anyio.Event()
            await self.has_replied.wait()
        return self.replies.popleft()

    def end(self) -> None:
        self.has_ended = True
        os.eventfd_write(self.fd, 1)


class Root(fuse.Operations):
    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        if request.nodeid == 2:
            await anyio.sleep(0.001)
        return fuse.Attributes(request.nodeid, stat.S_IFDIR | 0o755)

    async def write(self, request: fuse.Write) -> int:
        return len(request.data)


async def test_a_session_needs_no_more_of_the_kernel_than_a_transport() -> None:
    queues = Queues()
    transport: Transport = queues
    settings = parse_options({})
    session = server.Session(Dispatcher(Root(), settings), transport, None, settings)
    queues.requests.append(encode_request(m.Init(unique=2, major=7, minor=45, max_readahead=4096, flags=0)))
    os.eventfd_write(queues.fd, 1)
    async with server.serving(session, session.start):
        assert session.features.minor == 45
        assert int.from_bytes(queues.replies.popleft()[8:16], "little") == 2
        for unique, nodeid in ((4, 1), (6, 2), (8, 1)):
            reply = await queues.ask(m.Getattr(unique=unique, nodeid=nodeid))
            assert int.from_bytes(reply[8:16], "little") == unique
            assert int.from_bytes(reply[4:8], "little") == 0
            assert len(reply) == 16 + 104
        assert len(await queues.ask(m.Write(unique=10, nodeid=1, size=60000, data=b"x" * 60000))) == 24
        queues.end()
        await session.wait()
    assert queues.fd == -1
