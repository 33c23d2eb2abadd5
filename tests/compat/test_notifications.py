"""Telling the kernel: from handlers, from threads, with nobody there."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from pyfuse3_sample import Sample, serving, use

from aiovfs.compat import pyfuse3
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel


async def test_what_goes_over_the_wire(kernel: FakeKernel, fs: Sample) -> None:
    pyfuse3.init(fs, kernel.path)
    async with serving():
        await kernel.ask(m.Getattr(nodeid=1))
        pyfuse3.invalidate_inode(5)
        pyfuse3.invalidate_inode(5, attr_only=True)
        pyfuse3.invalidate_entry(1, b"name")
        pyfuse3.invalidate_entry(1, b"name", deleted=7)
        pyfuse3.notify_store(5, 8, memoryview(b"data"))
        await kernel.ask(m.Getattr(nodeid=1))
    assert kernel.notifications == [
        struct.pack("=IiQ Qqq", 40, 2, 0, 5, 0, 0),
        struct.pack("=IiQ Qqq", 40, 2, 0, 5, -1, 0),
        struct.pack("=IiQ QII", 37, 3, 0, 1, 4, 0) + b"name\0",
        struct.pack("=IiQ QQII", 45, 6, 0, 1, 7, 4, 0) + b"name\0",
        struct.pack("=IiQ QQII", 44, 4, 0, 5, 8, 4, 0) + b"data",
    ]


def test_arguments_are_checked_before_anything_is_sent() -> None:
    invalidate: Any = pyfuse3.invalidate_entry
    with pytest.raises(TypeError):
        invalidate(1, "name")
    with pytest.raises(OverflowError):
        invalidate(-1, b"name")
    with pytest.raises(OverflowError):
        pyfuse3.invalidate_inode(-1)
    store: Any = pyfuse3.notify_store
    with pytest.raises(TypeError):
        store(1, 0, "text")


def test_without_a_mount_it_is_an_error_and_no_crash() -> None:
    with pytest.raises(RuntimeError, match="init"):
        pyfuse3.invalidate_inode(5)


@pytest.mark.parametrize("where", ["handler", "thread"])
async def test_a_node_that_the_kernel_does_not_know_is_file_not_found(mountpoint: Path, fs: Sample, where: str) -> None:
    errors: list[OSError] = []

    def notify() -> None:
        for function, arguments in (
            (pyfuse3.invalidate_inode, (99,)),
            (pyfuse3.notify_store, (99, 0, b"x")),
            (pyfuse3.invalidate_entry, (99, b"x")),
        ):
            try:
                function(*arguments)  # type: ignore[operator]
            except OSError as exc:
                errors.append(exc)

    async def opened(*arguments: Any) -> None:
        notify()

    if where == "handler":
        fs.answers["opendir"] = opened
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        await use(os.listdir, mountpoint)
        if where == "thread":
            await use(notify)
    assert [type(exc) for exc in errors] == [FileNotFoundError] * 3
    assert str(errors[0]) == "[Errno 2] fuse_lowlevel_notify_inval_inode returned: No such file or directory"


async def test_content_is_invalidated_and_stored_from_a_handler(mountpoint: Path, fs: Sample) -> None:
    async def changes(*arguments: Any) -> bytes:
        fs.data = b"HELLO WORLD"
        pyfuse3.invalidate_inode(2)
        return b""

    fs.answers["getxattr"] = changes
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
        fs.data = b"not shown.."
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
        assert await use(os.getxattr, mountpoint / "hello", "user.change") == b""
        assert await use((mountpoint / "hello").read_bytes) == b"HELLO WORLD"
        pyfuse3.notify_store(2, 0, b"stored")
        assert await use((mountpoint / "hello").read_bytes) == b"storedWORLD"


async def test_invalidating_an_entry_from_a_handler_of_its_directory_does_not_hang(
    mountpoint: Path, fs: Sample
) -> None:
    """The kernel holds the directory locked until the handler ends; on pyfuse3 neither ever ends."""

    async def sets(inode: int, *arguments: Any) -> None:
        pyfuse3.invalidate_entry(pyfuse3.ROOT_INODE, b"hello")
        pyfuse3.invalidate_entry(pyfuse3.ROOT_INODE, b"hello")

    fs.answers["setxattr"] = sets
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        await use(os.stat, mountpoint / "hello")
        with anyio.fail_after(10):
            await use(os.setxattr, mountpoint, "user.x", b"value")
        looked_up = sum(call[0] == "lookup" for call in fs.calls)
        with anyio.fail_after(10):
            while sum(call[0] == "lookup" for call in fs.calls) == looked_up:
                await use(os.stat, mountpoint / "hello")


async def test_invalidate_entry_async_takes_effect_in_order(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        await use(os.stat, mountpoint / "hello")
        pyfuse3.invalidate_entry_async(pyfuse3.ROOT_INODE, b"absent", ignore_enoent=True)
        pyfuse3.invalidate_entry_async(pyfuse3.ROOT_INODE, b"hello")
        looked_up = sum(call[0] == "lookup" for call in fs.calls)
        with anyio.fail_after(10):
            while sum(call[0] == "lookup" for call in fs.calls) == looked_up:
                await use(os.stat, mountpoint / "hello")


def test_invalidate_entry_async_calls_what_the_module_holds_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[tuple[Any, ...]] = []
    done = threading.Event()

    def replacement(inode: int, name: bytes, deleted: int = 0) -> None:
        calls.append((inode, name, deleted))
        if name == b"last":
            done.set()
        if name in (b"gone", b"gone too"):
            raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(pyfuse3, "invalidate_entry", replacement)
    pyfuse3.invalidate_entry_async(1, b"first", 5)
    pyfuse3.invalidate_entry_async(1, b"gone", ignore_enoent=True)
    pyfuse3.invalidate_entry_async(1, b"gone too")
    pyfuse3.invalidate_entry_async(1, b"last")
    assert done.wait(5)
    assert calls == [(1, b"first", 5), (1, b"gone", 0), (1, b"gone too", 0), (1, b"last", 0)]
    (record,) = caplog.records
    assert record.name == "pyfuse3"
    assert record.getMessage().startswith("Failed to submit invalidate_entry request for parent inode 1, name b'gone")


async def test_threads_for_notifications_end_with_main(mountpoint: Path, fs: Sample) -> None:
    async def opened(*arguments: Any) -> None:
        pyfuse3.invalidate_inode(pyfuse3.ROOT_INODE)

    fs.answers["opendir"] = opened
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        await use(os.listdir, mountpoint)
        pyfuse3.invalidate_entry_async(pyfuse3.ROOT_INODE, b"hello", ignore_enoent=True)
    with anyio.fail_after(5):
        while any(thread.name.startswith("pyfuse3-") for thread in threading.enumerate()):
            await anyio.sleep(0.01)


async def test_a_poll_handle_wakes_who_polls(mountpoint: Path, fs: Sample) -> None:
    handles: list[pyfuse3.PollHandle | None] = []
    ready = 0

    async def polled(inode: int, fh: int, handle: pyfuse3.PollHandle | None, ctx: Any) -> int:
        handles.append(handle)
        return ready

    fs.answers["poll"] = polled
    pyfuse3.init(fs, str(mountpoint))

    def wait() -> list[tuple[int, int]]:
        import select

        fd = os.open(mountpoint / "hello", os.O_RDONLY)
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return poller.poll(20_000)
        finally:
            os.close(fd)

    results: list[Any] = []

    async def waiting() -> None:
        results.append(await use(wait))

    async with serving(), anyio.create_task_group() as group:
        group.start_soon(waiting)
        with anyio.fail_after(10):
            while not any(handles):
                await anyio.sleep(0.01)
        ready = 1
        next(handle for handle in handles if handle is not None).notify()
    assert [event for _, event in results[0]] == [1]
