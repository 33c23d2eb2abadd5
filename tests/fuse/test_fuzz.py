"""Anything a kernel could send, and much that none would: the session answers what can be answered, and goes on."""

from __future__ import annotations

import errno
import stat
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiovfs import fuse
from aiovfs.fuse.protocol import OPERATIONS, encode_request
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel
from aiovfs.testing.strategies import garbage, messages, near_misses

LIVELY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ATTRIBUTES = fuse.Attributes(2, stat.S_IFREG | 0o644, 5)


class Willing(fuse.Operations):
    """Says yes to everything; every other answer takes a turn of the loop."""

    def __init__(self) -> None:
        self.turn = 0

    async def wait_sometimes(self) -> None:
        self.turn += 1
        if self.turn % 2:
            await anyio.sleep(0)

    async def answer_entry(self, request: Any) -> fuse.Entry:
        await self.wait_sometimes()
        return fuse.Entry(2, ATTRIBUTES)

    async def answer_attributes(self, request: Any) -> fuse.Attributes:
        await self.wait_sometimes()
        return ATTRIBUTES

    async def answer_nothing(self, request: Any) -> None:
        await self.wait_sometimes()

    async def answer_created(self, request: Any) -> tuple[fuse.Entry, fuse.Opened]:
        return fuse.Entry(2, ATTRIBUTES), fuse.Opened()

    async def answer_bytes(self, request: Any) -> bytes:
        await self.wait_sometimes()
        return b""

    async def write(self, request: fuse.Write) -> int:
        await self.wait_sometimes()
        return len(bytes(request.data))

    async def readdir(self, request: fuse.Readdir) -> list[fuse.DirEntry]:
        await self.wait_sometimes()
        return [fuse.DirEntry(b"a", 2, stat.S_IFREG, 1)]

    async def listxattr(self, request: fuse.Listxattr) -> list[bytes]:
        return [b"user.a"]

    lookup = symlink = mknod = mkdir = link = answer_entry  # type: ignore[assignment]
    getattr = setattr = statx = answer_attributes  # type: ignore[assignment]
    unlink = rmdir = rename = access = flush = fsync = setxattr = removexattr = answer_nothing  # type: ignore[assignment]
    create = tmpfile = answer_created  # type: ignore[assignment]
    read = getxattr = ioctl = answer_bytes  # type: ignore[assignment]


def served(backend: tuple[str, dict[str, Any]], scene: Any, operations: fuse.Operations | None = None) -> None:
    """Run `scene(kernel, session)` against a session, which must be alive and well after it."""

    async def play() -> None:
        with anyio.fail_after(20), FakeKernel() as kernel:
            async with fuse.mount(Willing() if operations is None else operations, kernel.path, grace=0.2) as session:
                await kernel.receive(kernel.init_unique)
                await scene(kernel, session)
                reply = await kernel.ask(m.Lookup(nodeid=1, name=b"still there", unique=2**62))
                assert reply.error == 0
                assert session.is_serving

    name, options = backend
    anyio.run(play, backend=name, backend_options=options)


@given(st.lists(st.one_of(garbage(), near_misses()), max_size=8))
@LIVELY
def test_garbage_ends_nothing(anyio_backend: Any, pieces: list[bytes]) -> None:
    async def scene(kernel: FakeKernel, session: fuse.Session) -> None:
        for piece in pieces:
            if piece:
                kernel.send_raw(piece)

    served(anyio_backend, lenient(scene))


def with_unique(wire: bytes, unique: int) -> bytes:
    return wire[:8] + unique.to_bytes(8, "little") + wire[16:]


def lenient(scene: Any) -> Any:
    """Garbage may ask the same question twice: the answers are read here and not compared."""

    async def play(kernel: FakeKernel, session: fuse.Session) -> None:
        kernel.is_strict = False
        await scene(kernel, session)

    return play


ANSWERED = [row for row in OPERATIONS if not row.never_replies and row.name not in ("init", "cuse_init", "destroy")]


@given(st.lists(messages(ANSWERED), min_size=1, max_size=12))
@LIVELY
def test_every_request_is_answered_once_whatever_its_values(anyio_backend: Any, drawn: list[Any]) -> None:
    async def scene(kernel: FakeKernel, session: fuse.Session) -> None:
        uniques = []
        for number, message in enumerate(drawn):
            uniques.append(1000 + 2 * number)
            kernel.send_raw(with_unique(message.wire, uniques[-1]))
        for unique in uniques:
            assert (await kernel.receive(unique)).unique == unique

    served(anyio_backend, scene)


@given(st.data())
@LIVELY
def test_a_request_cut_short_is_answered_with_an_error(anyio_backend: Any, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from([row for row in ANSWERED if row.parts]))
    wire = with_unique(data.draw(messages([row])).wire, 77)
    length = data.draw(st.integers(40, len(wire) - 1))
    cut = length.to_bytes(4, "little") + wire[4:length]

    async def scene(kernel: FakeKernel, session: fuse.Session) -> None:
        kernel.send_raw(cut)
        reply = await kernel.receive(77)
        assert reply.error in (0, errno.EIO, errno.ENOSYS)

    served(anyio_backend, scene)


@pytest.mark.parametrize("claimed", [0, 15, 39, 41, 2**32 - 1])
async def test_a_header_that_lies_about_its_length_is_answered_eio(claimed: int) -> None:
    with FakeKernel() as kernel:
        async with fuse.mount(Willing(), kernel.path):
            wire = encode_request(m.Getattr(unique=77, nodeid=1))
            kernel.send_raw(claimed.to_bytes(4, "little") + wire[4:])
            assert (await kernel.receive(77)).error == errno.EIO
            assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0


async def test_what_nobody_asked_for_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with FakeKernel() as kernel:
        async with fuse.mount(Willing(), kernel.path) as session:
            kernel.send(m.NotifyReply(unique=5, size=3, data=b"abc"))
            kernel.send(m.Interrupt(target=4711))
            kernel.send(m.Forget(nodeid=4711, nlookup=3))
            kernel.send(m.BatchForget(items=[(4711, 3), (1, 2**64 - 1)]))
            assert (await kernel.ask(m.Destroy())).error == 0
            assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0
            assert session.is_serving
    assert "nobody asked for" in caplog.text


async def test_a_second_init_is_refused_and_changes_nothing() -> None:
    with FakeKernel() as kernel:
        async with fuse.mount(Willing(), kernel.path) as session:
            before = session.features
            assert (await kernel.ask(m.Init(major=7, minor=45))).error
            assert session.features == before
            assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0


async def test_the_same_unique_twice_is_answered_twice_and_ends_nothing() -> None:
    with FakeKernel() as kernel:
        kernel.is_strict = False
        async with fuse.mount(Willing(), kernel.path) as session:
            for _ in range(4):
                kernel.send(m.Lookup(unique=9, nodeid=1, name=b"a"))
            assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0
            assert session.is_serving


async def test_a_kernel_that_goes_away_in_the_middle_ends_the_session_in_order() -> None:
    class Waits(Willing):
        async def access(self, request: fuse.Access) -> None:
            await anyio.sleep(0.05)

    kernel = FakeKernel()
    async with fuse.mount(Waits(), kernel.path) as session:
        for _ in range(20):
            kernel.send(m.Access(nodeid=1))
        await anyio.sleep(0.01)
        kernel.close()
        with anyio.fail_after(10):
            await session.wait()
        assert not session.is_serving
