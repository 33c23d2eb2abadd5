"""The core in C gives back what it takes: references, views, buffers."""

from __future__ import annotations

import errno
import gc
import stat
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from aiovfs import fuse
from aiovfs.fuse.protocol import messages as m

from .conftest import Bench, Scripted, attributes

ROUNDS = 1000


def failing(*good: fuse.DirEntry) -> Iterator[fuse.DirEntry]:
    yield from good
    raise OSError(errno.EIO, "the store is away")


ENTRY = fuse.Entry(5, attributes())
DIRENT = fuse.DirEntry(b"n", 5, stat.S_IFREG, 1, ENTRY)
CASES: dict[str, tuple[m.Request, Any]] = {
    "attributes": (m.Getattr(nodeid=1), lambda request: attributes(mtime_ns=10**18)),
    "entry": (m.Lookup(nodeid=1, name=b"n" * 40), lambda request: fuse.Entry(2**40, attributes())),
    "wrong": (m.Getattr(nodeid=1), lambda request: fuse.Attributes(2**70, 0o100644)),
    "created": (m.Create(nodeid=1, name=b"n"), lambda request: (ENTRY, fuse.Opened(2**40))),
    "data": (m.Read(nodeid=1, size=4096), lambda request: bytes(4096)),
    "view": (m.Read(nodeid=1, size=4096), lambda request: memoryview(bytearray(4096))),
    "too long": (m.Read(nodeid=1, size=10), lambda request: bytes(4096)),
    "no buffer": (m.Read(nodeid=1, size=10), lambda request: "text"),
    "write": (m.Write(nodeid=1, size=4, data=b"abcd"), lambda request: len(request.data)),
    "listing": (m.Readdir(nodeid=1, size=4096), lambda request: iter([DIRENT] * 20)),
    "listing plus": (m.Readdirplus(nodeid=1, size=4096), lambda request: [DIRENT] * 100),
    "failing listing": (m.Readdir(nodeid=1, size=4096), lambda request: failing(DIRENT)),
    "wrong listing": (m.Readdir(nodeid=1, size=4096), lambda request: ["text"]),
    "error": (m.Lookup(nodeid=1, name=b"n"), None),
    "unlink": (m.Unlink(nodeid=1, name=b"n"), lambda request: None),
}


@pytest.mark.parametrize("name", CASES)
def test_serving_leaves_nothing_behind(native: None, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "aiovfs.fuse")
    request, script = CASES[name]
    request.unique = 2

    def fail(_: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "no such name")

    operations = Scripted()
    operations.script = script or fail
    bench = Bench(operations, native=True)

    def serve(rounds: int) -> None:
        for _ in range(rounds):
            assert bench.ask(request) is not None
            operations.seen.clear()
        gc.collect()

    serve(50)
    before = sys.getallocatedblocks()
    serve(ROUNDS)
    assert sys.getallocatedblocks() - before < ROUNDS / 10
    bench.close()


def test_a_session_that_ended_is_freed(native: None) -> None:
    class Handlers(Scripted):
        def __del__(self) -> None:
            freed.append(1)

    freed: list[int] = []
    for _ in range(3):
        bench = Bench(Handlers(), native=True)
        bench.ask(m.Unlink(unique=2, nodeid=1, name=b"n"))
        bench.close()
        del bench
    gc.collect()
    assert len(freed) == 3


def test_a_handler_that_waits_is_handed_over_and_its_payload_stays(native: None) -> None:
    class Waits(fuse.Operations):
        async def write(self, request: fuse.Write) -> int:
            await Pause()
            return len(bytes(request.data))

    bench = Bench(Waits(), native=True)
    first = bench.drain.buffer
    bench.send(m.Write(unique=2, nodeid=1, size=4, data=b"abcd"))
    waiting, is_drained = bench.run()
    assert waiting is not None
    assert not is_drained
    assert waiting.waiting_for == "paused"
    assert waiting.buffer is first
    assert bench.drain.buffer is not first
    assert bench.ask(m.Open(unique=4, nodeid=1)) is not None  # goes into the new buffer
    assert bytes(waiting.request.data) == b"abcd"
    with pytest.raises(StopIteration) as ended:
        waiting.work.send(None)
    bench.drain.answer(waiting.route, waiting.request, ended.value.value)
    reply = bench.receive()
    assert reply is not None
    assert int.from_bytes(reply[16:20], "little") == 4
    bench.close()


class Pause:
    def __await__(self) -> Iterator[str]:
        yield "paused"


async def test_a_cancellation_in_the_first_step_answers_eintr_and_comes_out(native: None) -> None:
    operations = Scripted()

    def script(request: Any) -> Any:
        raise KeyboardInterrupt

    operations.script = script
    bench = Bench(operations, native=True)
    bench.send(m.Unlink(unique=2, nodeid=1, name=b"n"))
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    reply = bench.receive()
    assert reply is not None
    assert int.from_bytes(reply[4:8], "little", signed=True) == -errno.EINTR
    bench.close()
    await anyio.lowlevel.checkpoint()
