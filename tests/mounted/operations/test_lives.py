"""How sessions begin and end: errors on the way, many in a process, several loops, forks, handlers that end them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from ramfs import RamFS, outside, serving

from aiovfs import fuse
from aiovfs.fuse import mountpoint
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel


class Failing(fuse.DictTree):
    def __init__(self) -> None:
        super().__init__({"file": "content"})

    async def destroy(self) -> None:
        raise ZeroDivisionError("a bug in destroy")


async def test_an_error_of_destroy_comes_out_of_mount_when_nothing_is_mounted_any_more(directory: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug in destroy"):
        async with serving(Failing(), directory):
            assert await outside(os.listdir, directory) == ["file"]
    assert not mountpoint.is_mounted(str(directory))


async def test_an_error_of_the_block_is_not_lost_to_one_of_destroy(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError, match="of the block"):
        async with serving(Failing(), directory):
            raise KeyError("of the block")
    assert "a bug in destroy" in caplog.text


async def test_a_cancelled_serve_leaves_nothing_mounted(directory: Path, ramfs: RamFS) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(fuse.serve, ramfs, directory)
        while not mountpoint.is_mounted(str(directory)):
            await anyio.sleep(0.01)
        assert await outside(os.listdir, directory) == ["file"]
        group.cancel_scope.cancel()
    assert not mountpoint.is_mounted(str(directory))


async def test_a_handler_may_end_its_own_session_and_is_answered(directory: Path, ramfs: RamFS) -> None:
    async def lookup(request: fuse.Lookup) -> fuse.Entry:
        ramfs.session.terminate()
        return ramfs.entry(ramfs.root.children[b"file"])

    ramfs.lookup = lookup  # type: ignore[method-assign]
    async with serving(ramfs, directory) as session:
        assert (await outside(os.stat, directory / "file")).st_size == 12000
        await session.wait()
    assert not mountpoint.is_mounted(str(directory))


async def test_twenty_sessions_live_in_one_loop(tmp_path: Path) -> None:
    directories = [tmp_path / str(number) for number in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        for number, one in enumerate(directories):
            one.mkdir()
            await stack.enter_async_context(serving(fuse.DictTree({f"name{number}": "x" * number}), one))
        for number, one in enumerate(directories):
            assert await outside(os.listdir, one) == [f"name{number}"]
            assert await outside((one / f"name{number}").read_text) == "x" * number
    assert not any(mountpoint.is_mounted(str(one)) for one in directories)


@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_a_session_may_be_ended_from_the_loop_of_another(tmp_path: Path, other: str) -> None:
    """Two loops in two threads, each with a session of its own."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    begun, sessions = threading.Event(), []

    async def serve() -> None:
        async with fuse.mount(fuse.DictTree({"there": ""}), there) as session:
            sessions.append(session)
            begun.set()
            await session.wait()

    thread = threading.Thread(target=lambda: anyio.run(serve, backend=other))
    async with serving(fuse.DictTree({"here": ""}), here):
        thread.start()
        assert await outside(begun.wait, 30)
        assert await outside(os.listdir, here) == ["here"]
        assert await outside(os.listdir, there) == ["there"]
        assert sessions[0].terminate()
        await outside(thread.join)
        assert not mountpoint.is_mounted(str(there))
        assert await outside(os.listdir, here) == ["here"]
    assert not sessions[0].terminate()


class Shielded(fuse.Operations):
    def __init__(self) -> None:
        self.is_waiting, self.go_on = anyio.Event(), anyio.Event()
        self.events: list[str] = []

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        with anyio.CancelScope(shield=True):
            self.is_waiting.set()
            await self.go_on.wait()
            self.events.append("done")
        await anyio.lowlevel.checkpoint()
        self.events.append("not interrupted")
        return fuse.Entry(2, fuse.Attributes(2, stat.S_IFREG))


async def test_a_handler_can_shield_what_must_be_finished() -> None:
    operations = Shielded()
    with FakeKernel() as kernel:
        async with fuse.mount(operations, kernel.path, intr=True):
            waiting = kernel.send(m.Lookup(nodeid=1, name=b"x"))
            await operations.is_waiting.wait()
            kernel.send(m.Interrupt(target=waiting))
            assert (await kernel.ask(m.Statfs(nodeid=1))).error == 0  # the INTERRUPT has been read
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            assert operations.events == []
            operations.go_on.set()
            assert (await kernel.receive(waiting)).error == errno.EINTR
    assert operations.events == ["done"]


FORKING = """
import os, sys
import anyio
from aiovfs import fuse
from aiovfs.fuse import mountpoint
from aiovfs.fuse.options import parse_options

directory, loop = sys.argv[1:]
fd = mountpoint.mount(directory, parse_options({}))
child = os.fork()
if child == 0:
    anyio.run(fuse.serve, fuse.DictTree({"name": "served by the child"}), f"/dev/fd/{fd}", backend=loop)
    os._exit(0)
os.close(fd)
assert open(f"{directory}/name").read() == "served by the child"
mountpoint.unmount(directory)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_mount_may_be_served_by_a_child_that_was_forked_after_it_was_made(directory: Path, loop: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORKING, directory, loop], check=False, timeout=50)
    assert done.returncode == 0


async def test_what_waits_for_the_end_is_told_once_whoever_ends_it(directory: Path, ramfs: RamFS) -> None:
    ends: list[Any] = []
    async with anyio.create_task_group() as group, serving(ramfs, directory) as session:

        async def wait(number: int) -> None:
            await session.wait()
            ends.append(number)

        for number in range(3):
            group.start_soon(wait, number)
        threads = [threading.Thread(target=session.terminate) for _ in range(8)]
        for thread in threads:
            thread.start()
        await session.wait()
        for thread in threads:
            thread.join()
    assert sorted(ends) == [0, 1, 2]
