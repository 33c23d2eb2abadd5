"""What a file system tells the kernel without being asked."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

import anyio
import pytest
from ramfs import Node, RamFS, client, outside, serving

from aiovfs import fuse
from aiovfs.errors import ClosedError
from aiovfs.fuse.protocol.flags import UNIQUE_RESEND

PAGE = os.sysconf("SC_PAGESIZE")


class Cached(RamFS):
    """The kernel may remember everything."""

    entry_timeout = 1000.0
    attr_timeout = 1000.0

    async def open(self, request: fuse.Open) -> fuse.Opened:
        return fuse.Opened(7, keep_cache=True)


@pytest.fixture
def cached() -> Cached:
    return Cached()


def contents(directory: Path) -> bytes:
    return (directory / "file").read_bytes()


async def test_a_range_of_pages_is_dropped_and_the_others_are_kept(directory: Path, cached: Cached) -> None:
    node = cached.root.children[b"file"]
    node.data = bytearray(b"a" * 4 * PAGE)
    async with serving(cached, directory) as session:
        assert await outside(contents, directory) == b"a" * 4 * PAGE
        node.data = bytearray(b"b" * 4 * PAGE)
        assert await session.notifier.invalidate_inode(cached.nodeid(b"file"), PAGE, 2 * PAGE)
        assert await outside(contents, directory) == b"a" * PAGE + b"b" * 2 * PAGE + b"a" * PAGE
        assert await session.notifier.invalidate_inode(cached.nodeid(b"file"))
        assert await outside(contents, directory) == b"b" * 4 * PAGE


async def test_attributes_are_dropped_and_pages_are_kept(directory: Path, cached: Cached) -> None:
    node = cached.root.children[b"file"]
    async with serving(cached, directory) as session:
        before = await outside(contents, directory)
        node.mode = stat.S_IFREG | 0o600
        reads = len(cached.saw(fuse.Read))
        assert await session.notifier.invalidate_attributes(cached.nodeid(b"file"))
        assert stat.S_IMODE((await outside(os.stat, directory / "file")).st_mode) == 0o600
        assert await outside(contents, directory) == before
        assert len(cached.saw(fuse.Read)) == reads


async def test_a_name_that_was_invalidated_is_looked_up_again(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        await outside(os.stat, directory / "file")
        await outside(os.stat, directory / "file")
        assert len(cached.saw(fuse.Lookup)) == 1
        assert await session.notifier.invalidate_entry(1, b"file")
        await outside(os.stat, directory / "file")
        assert len(cached.saw(fuse.Lookup)) == 2


async def test_a_name_that_expired_is_looked_up_again_and_open_files_keep_it(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        file = await outside(open, directory / "file")
        lookups = len(cached.saw(fuse.Lookup))
        assert await session.notifier.expire_entry(1, b"file")
        assert await outside(os.readlink, f"/proc/self/fd/{file.fileno()}") == str(directory / "file")
        await outside(os.stat, directory / "file")
        assert len(cached.saw(fuse.Lookup)) == lookups + 1
        await outside(file.close)


async def test_a_negative_entry_is_invalidated_when_the_name_appears(directory: Path, cached: Cached) -> None:
    async def lookup(request: fuse.Lookup) -> fuse.Entry:
        node = cached.root.children.get(request.name)
        return fuse.Entry.negative(1000) if node is None else cached.entry(node)

    cached.lookup = lookup  # type: ignore[method-assign]
    async with serving(cached, directory) as session:
        assert not await outside(os.path.exists, directory / "new")
        cached.root.children[b"new"] = Node(stat.S_IFREG | 0o644)
        assert not await outside(os.path.exists, directory / "new")
        assert await session.notifier.invalidate_entry(1, b"new")
        assert await outside(os.path.exists, directory / "new")


async def test_a_deleted_name_is_gone_and_watchers_are_told(directory: Path, cached: Cached) -> None:
    code = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, os.fsencode(sys.argv[1] + "/file"), 0x400)
os.path.exists(sys.argv[1] + "/ready")
_, mask, *_ = struct.unpack("iIII", os.read(fd, 4096)[:16])
print(hex(mask))
"""
    is_ready = anyio.Event()
    inner = cached.lookup

    async def lookup(request: fuse.Lookup) -> fuse.Entry:
        if request.name == b"ready":
            is_ready.set()
            raise FileNotFoundError(errno.ENOENT, "only asked to say that the watch is there")
        return await inner(request)

    cached.lookup = lookup  # type: ignore[method-assign]
    async with serving(cached, directory) as session, anyio.create_task_group() as group:
        outputs = []

        async def watch() -> None:
            outputs.append(await client(code, directory))

        group.start_soon(watch)
        await is_ready.wait()
        nodeid = cached.nodeid(b"file")
        assert await session.notifier.delete_entry(1, nodeid, b"file")
    assert outputs == ["0x400"]  # IN_DELETE_SELF


async def test_a_name_that_means_another_node_by_now_is_not_deleted(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        await outside(os.stat, directory / "file")
        nodeid = cached.nodeid(b"file")
        assert not await session.notifier.delete_entry(1, nodeid + 100, b"file")
        assert not await session.notifier.delete_entry(1, nodeid, b"never seen")


async def test_what_was_stored_is_read_without_asking(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        await outside(os.stat, directory / "file")
        cached.root.children[b"file"].data = bytearray(b"never read")
        data = os.urandom(12000)
        assert await session.notifier.store(cached.nodeid(b"file"), 0, data)
        assert await outside(contents, directory) == data
        assert not cached.saw(fuse.Read)
        assert not await session.notifier.store(999, 0, data)


async def test_what_the_page_cache_holds_is_retrieved(directory: Path, cached: Cached) -> None:
    data = os.urandom(3 << 20)  # more than one answer of the kernel
    cached.root.children[b"file"].data = bytearray(data)
    async with serving(cached, directory) as session:
        notifier = session.notifier
        await outside(os.stat, directory / "file")
        nodeid = cached.nodeid(b"file")
        assert await notifier.retrieve(nodeid, 0, 100) == b""
        for offset, size in ((0, len(data)), (5000, 2_500_000), (len(data) - 10, 100)):
            found = None
            while found != data[offset : offset + size]:  # the kernel may drop pages whenever it likes
                assert await outside(contents, directory) == data
                found = await notifier.retrieve(nodeid, offset, size)
                assert found is not None
                assert data.startswith(found, offset)
        await notifier.invalidate_inode(nodeid, 8 * PAGE, PAGE)
        found = await notifier.retrieve(nodeid, 0, len(data))
        assert found is not None
        assert data[: 8 * PAGE].startswith(found)
        assert await notifier.retrieve(999, 0, 100) is None


async def test_retrieving_from_a_handler_does_not_hang(directory: Path, cached: Cached) -> None:
    found = []

    async def access(request: fuse.Access) -> None:
        found.append(await cached.session.notifier.retrieve(request.nodeid, 0, 5))

    cached.access = access  # type: ignore[method-assign]
    async with serving(cached, directory):
        await outside(contents, directory)
        assert await outside(os.access, directory / "file", os.R_OK)
    assert found[-1] == b"hello"


async def test_a_handler_may_await_a_notification_about_something_else(directory: Path, cached: Cached) -> None:
    async def getxattr(request: fuse.Getxattr) -> bytes:
        await cached.session.notifier.invalidate_inode(request.nodeid)
        await cached.session.notifier.invalidate_entry(1, b"file")
        return b"done"

    cached.getxattr = getxattr  # type: ignore[method-assign]
    async with serving(cached, directory):
        await outside(contents, directory)
        assert await outside(os.getxattr, directory / "file", "user.x") == b"done"


async def test_a_handler_that_would_wait_for_itself_is_told_so(directory: Path, cached: Cached) -> None:
    failures: list[OSError] = []
    inner_mkdir, inner_read = cached.mkdir, cached.read

    async def mkdir(request: fuse.Mkdir) -> fuse.Entry:
        await anyio.sleep(0)
        try:
            await cached.session.notifier.invalidate_entry(request.nodeid, b"file")
        except OSError as exc:
            failures.append(exc)
        cached.session.start_soon(cached.session.notifier.invalidate_entry, request.nodeid, b"file")
        return await inner_mkdir(request)

    async def read(request: fuse.Read) -> bytes:
        try:
            await cached.session.notifier.invalidate_inode(request.nodeid)
        except OSError as exc:
            failures.append(exc)
        return await inner_read(request)

    cached.mkdir = mkdir  # type: ignore[method-assign]
    cached.read = read  # type: ignore[method-assign]
    async with serving(cached, directory):
        await outside(contents, directory)
        lookups = len(cached.saw(fuse.Lookup))
        await outside(os.mkdir, directory / "made")
        with anyio.fail_after(10):
            while len(cached.saw(fuse.Lookup)) < lookups + 2:  # of "made", and of "file" when it was dropped
                await outside(os.stat, directory / "file")
    assert {exc.errno for exc in failures} == {errno.EDEADLK}
    assert "Mkdir" in str(failures[-1])
    assert "start_soon" in str(failures[-1])


async def test_a_notification_that_waits_long_is_named_in_the_log(
    directory: Path, cached: Cached, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiovfs.fuse.notifier.PATIENCE_S", 0.1)
    inner = cached.mkdir
    is_inside, go_on = anyio.Event(), anyio.Event()

    async def mkdir(request: fuse.Mkdir) -> fuse.Entry:
        is_inside.set()
        await go_on.wait()
        return await inner(request)

    cached.mkdir = mkdir  # type: ignore[method-assign]
    async with serving(cached, directory) as session, anyio.create_task_group() as group:
        group.start_soon(outside, os.mkdir, directory / "made")
        await is_inside.wait()
        group.start_soon(session.notifier.invalidate_entry, 1, b"file")
        while "notification inval_entry has waited" not in caplog.text:
            await anyio.sleep(0.01)
        go_on.set()


async def test_requests_are_sent_again(directory: Path, ramfs: RamFS) -> None:
    uniques: list[int] = []
    first_waits = anyio.Event()
    inner = ramfs.lookup

    async def lookup(request: fuse.Lookup) -> fuse.Entry:
        uniques.append(request.unique)
        if len(uniques) == 1:
            first_waits.set()
            await anyio.sleep_forever()
        return await inner(request)

    ramfs.lookup = lookup  # type: ignore[method-assign]
    async with serving(ramfs, directory, grace=0.1) as session, anyio.create_task_group() as group:
        group.start_soon(outside, os.stat, directory / "file")
        await first_waits.wait()
        assert await session.notifier.resend()
    first, second = uniques
    assert second == first | UNIQUE_RESEND


async def test_after_an_epoch_every_name_is_looked_up_again(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        await outside(os.stat, directory / "file")
        assert await session.notifier.increase_epoch()
        await outside(os.stat, directory / "file")
        assert len(cached.saw(fuse.Lookup)) == 2


async def test_pruned_nodes_are_forgotten(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        await outside(os.stat, directory / "file")
        nodeid = cached.nodeid(b"file")
        assert await session.notifier.prune([nodeid])
        with anyio.fail_after(10):
            while nodeid in cached.inodes:
                await anyio.sleep(0.01)


async def test_a_notification_after_the_end_is_refused(directory: Path, cached: Cached) -> None:
    async with serving(cached, directory) as session:
        pass
    with pytest.raises(ClosedError, match="session has ended"):
        await session.notifier.invalidate_inode(1)


async def test_what_start_soon_runs_may_fail_and_serving_goes_on(
    directory: Path, cached: Cached, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "aiovfs.fuse")

    async def fail() -> None:
        raise LookupError("late")

    async with serving(cached, directory) as session:
        session.start_soon(fail)
        assert await outside(contents, directory)
    assert "LookupError: late" in caplog.text
