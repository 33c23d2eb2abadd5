"""One `Drain` between a socket pair and handlers that return what a test tells them, driven without a loop."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiovfs import fuse
from aiovfs.fuse import core
from aiovfs.fuse.device import Device
from aiovfs.fuse.dispatch import Dispatcher
from aiovfs.fuse.drain import Drain
from aiovfs.fuse.options import parse_options
from aiovfs.fuse.protocol import encode_request
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags

MEBIBYTE = 1 << 20
HANDLERS = [name for name in vars(fuse.Operations) if not name.startswith("_")]


class Scripted(fuse.Operations):
    """Every handler returns what `script` makes of the request."""

    def __init__(self) -> None:
        self.script: Callable[[Any], Any] = lambda request: None
        self.inodes: fuse.InodeTable[object] | None = None
        self.seen: list[Any] = []

    async def serve(self, request: Any) -> Any:
        self.seen.append(request)
        return self.script(request)

    lookup = getattr = setattr = readlink = symlink = mknod = mkdir = link = serve
    unlink = rmdir = rename = create = tmpfile = open = read = write = flush = release = fsync = serve
    opendir = readdir = readdirplus = releasedir = fsyncdir = getxattr = listxattr = setxattr = serve
    statfs = access = lseek = fallocate = serve


class Bench:
    """`ask` has one request served by the core in Python or in C, and gives the bytes of the reply, if there is one."""

    def __init__(self, operations: fuse.Operations, *, native: bool, **options: Any) -> None:
        settings = parse_options(options)
        self.kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.kernel, ours):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MEBIBYTE)
        self.kernel.setblocking(False)
        self.device = Device(ours.detach(), max_write=MEBIBYTE)
        self.interrupted: list[int] = []
        self.drain = Drain(
            self.device,
            Dispatcher(operations, settings),
            max_tasks=settings["max_tasks"],
            trace=settings["trace"],
            interrupt=self.interrupted.append,
            notify_reply=lambda request: None,
            spin_s=settings["spin"] / 1e6,
        )
        self.core: Any = core.NATIVE.Core(self.drain, 0) if native and core.NATIVE is not None else None
        self.run = self.drain.run if self.core is None else self.core.run

    def send(self, request: m.Request) -> None:
        self.kernel.send(encode_request(request, agreed=InitFlags(0)))

    def receive(self) -> bytes | None:
        try:
            return self.kernel.recv(2 * MEBIBYTE)
        except BlockingIOError:
            return None

    def ask(self, request: m.Request) -> bytes | None:
        self.send(request)
        waiting, _ = self.run()
        assert waiting is None
        return self.receive()

    def close(self) -> None:
        self.kernel.close()
        self.device.close()


@pytest.fixture
def native() -> None:
    if core.NATIVE is None:
        pytest.skip(f"the core in C is not there: {core.REASON}")


@pytest.fixture
def benches(native: None) -> Iterator[Callable[..., tuple[Bench, Bench]]]:
    """Makes two benches: what `make` gives behind the core in Python, and behind that in C."""
    made: list[Bench] = []

    def pair(make: Callable[[], fuse.Operations], **options: Any) -> tuple[Bench, Bench]:
        made.extend(Bench(make(), native=is_native, **options) for is_native in (False, True))
        return made[-2], made[-1]

    yield pair
    for bench in made:
        bench.close()


@pytest.fixture
def both(benches: Callable[..., tuple[Bench, Bench]]) -> tuple[Bench, Bench]:
    """The same scripted handlers behind both cores."""
    return benches(Scripted)


def attributes(**changes: Any) -> fuse.Attributes:
    return fuse.Attributes(**({"ino": 7, "mode": stat.S_IFREG | 0o644, "size": 5} | changes))
