"""The session against the real kernel: what a program sees, and how mounts end."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import pytest

from aiovfs import fuse
from aiovfs.errors import MountError
from aiovfs.fuse import mountpoint

pytestmark = [pytest.mark.mounted, pytest.mark.usefixtures("core")]
T = TypeVar("T")


async def outside(function: Callable[..., T], *args: Any) -> T:
    """Use the mount from a worker thread: from the loop's own thread it would wait for itself."""
    return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


class OneFile(fuse.Operations):
    """`file` can be read, `slow` waits until told, `bug` raises."""

    content = b"hello world\n" * 1000

    def __init__(self) -> None:
        self.inodes: fuse.InodeTable[str] = fuse.InodeTable("/")
        self.go_on = anyio.Event()
        self.waiting = anyio.Event()
        self.cancelled = anyio.Event()

    def attributes(self, nodeid: int) -> fuse.Attributes:
        if nodeid == fuse.ROOT_NODEID:
            return fuse.Attributes(1, stat.S_IFDIR | 0o755, nlink=2)
        return fuse.Attributes(nodeid, stat.S_IFREG | 0o644, len(self.content))

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return self.attributes(request.nodeid)

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        name = request.name.decode()
        if name == "bug":
            raise RuntimeError("a bug in the handler")
        if name == "slow":
            self.waiting.set()
            try:
                await self.go_on.wait()
            except BaseException:
                self.cancelled.set()
                raise
        if name not in ("file", "slow"):
            raise OSError(errno.ENOENT, "no such name")
        nodeid = self.inodes.remember(sys.intern(name))
        return fuse.Entry(nodeid, self.attributes(nodeid))

    async def read(self, request: fuse.Read) -> bytes:
        return self.content[request.offset : request.offset + request.size]

    async def readdir(self, request: fuse.Readdir) -> list[fuse.DirEntry]:
        return [fuse.DirEntry(b"file", 2, stat.S_IFREG, 1)][request.offset :]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    with contextlib.suppress(MountError):
        mountpoint.unmount(str(path), lazy=True)


async def test_a_mounted_file_can_be_listed_and_read(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory):
        assert await outside(os.listdir, directory) == ["file"]
        assert await outside((directory / "file").read_bytes) == OneFile.content
        assert mountpoint.is_mounted(str(directory))
    assert not mountpoint.is_mounted(str(directory))


async def test_fsname_subtype_and_flags_are_seen_in_the_mount_table(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory, fsname="s3://a,b c", subtype="aiovfs", ro=True, noexec=True):
        (line,) = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {directory} " in line]
    source, _, kind, options, *_ = line.split(" ")
    assert source == "s3://a,b\\040c"
    assert kind == "fuse.aiovfs"
    assert {"ro", "noexec", "nosuid", "nodev"} <= set(options.split(","))


async def test_a_bug_in_a_handler_is_eio_and_the_mount_goes_on(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with fuse.mount(OneFile(), directory):
        with pytest.raises(OSError, match="Input/output error") as caught:
            await outside(os.stat, directory / "bug")
        assert caught.value.errno == errno.EIO
        assert "RuntimeError: a bug in the handler" in caplog.text
        assert await outside((directory / "file").read_bytes) == OneFile.content


async def test_two_mounts_live_in_one_loop(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with fuse.mount(OneFile(), first), fuse.mount(OneFile(), second):
        assert await outside(os.listdir, first) == await outside(os.listdir, second) == ["file"]
    assert not mountpoint.is_mounted(str(first))
    assert not mountpoint.is_mounted(str(second))


async def test_fifty_mounts_in_a_row_leave_nothing_behind(directory: Path) -> None:
    async def cycle() -> None:
        async with fuse.mount(OneFile(), directory):
            assert await outside((directory / "file").read_bytes) == OneFile.content

    for _ in range(3):
        await cycle()
    fds, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(50):
        await cycle()
    assert len(os.listdir("/proc/self/fd")) == fds
    assert threading.active_count() <= threads + 2  # the pool of worker threads may still grow a little


async def test_an_unmount_from_outside_ends_serve(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory) as session:
        await fuse.unmount(directory)
        with anyio.fail_after(10):
            await session.wait()


async def test_a_lazy_unmount_lets_open_files_go_on_and_then_ends_serve(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory) as session:
        fd = await outside(os.open, directory / "file", os.O_RDONLY)
        with pytest.raises(MountError, match="busy"):
            await fuse.unmount(directory)
        await fuse.unmount(directory, lazy=True)
        assert session.is_serving
        assert await outside(os.pread, fd, 5, 6) == b"world"
        await outside(os.close, fd)
        with anyio.fail_after(10):
            await session.wait()


async def test_leaving_the_block_while_files_are_open_detaches_and_their_users_get_an_error(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory):
        fd = await outside(os.open, directory / "file", os.O_RDONLY)
    assert not mountpoint.is_mounted(str(directory))
    with pytest.raises(OSError, match=r"not connected|abort"):
        await outside(os.pread, fd, 5, 0)
    with contextlib.suppress(OSError):  # close(2) frees the descriptor, and says that it could not flush
        os.close(fd)


async def test_terminate_unmounts(directory: Path) -> None:
    with anyio.fail_after(10):
        async with fuse.mount(OneFile(), directory) as session:
            session.terminate()
            await session.wait()
            assert not mountpoint.is_mounted(str(directory))


async def test_a_killed_client_goes_away_at_once_while_its_handler_waits(directory: Path) -> None:
    operations = OneFile()
    async with fuse.mount(operations, directory):
        client = subprocess.Popen([sys.executable, "-c", f"open({str(directory / 'slow')!r})"])
        await operations.waiting.wait()
        client.kill()
        with anyio.fail_after(10):
            assert await outside(client.wait) < 0
            await operations.cancelled.wait()


async def test_ctrl_c_reaches_a_client_whose_handler_waits(directory: Path) -> None:
    operations = OneFile()
    program = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    open({str(directory / "slow")!r})
except KeyboardInterrupt:
    sys.exit(7)
"""
    async with fuse.mount(operations, directory):
        client = subprocess.Popen([sys.executable, "-c", program])
        await operations.waiting.wait()
        client.send_signal(2)
        with anyio.fail_after(10):
            assert await outside(client.wait) == 7


async def test_a_timer_signal_does_not_break_a_waiting_call(directory: Path) -> None:
    operations = OneFile()
    program = f"""
import signal, sys
fired = []
signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
open({str(directory / "slow")!r}).close()
signal.setitimer(signal.ITIMER_REAL, 0)
sys.exit(0 if fired else 3)
"""
    async with fuse.mount(operations, directory):
        client = subprocess.Popen([sys.executable, "-c", program])
        await operations.waiting.wait()
        await anyio.sleep(0.4)
        operations.go_on.set()
        with anyio.fail_after(10):
            assert await outside(client.wait) == 0
        assert not operations.cancelled.is_set()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.rmdir(), "does not exist"),
        (lambda path: (path.rmdir(), path.write_text("")), "is not a directory"),
        (lambda path: (path / "file").write_text(""), "is not empty"),
    ],
)
async def test_a_mountpoint_that_cannot_work_is_refused(
    directory: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(directory)
    with pytest.raises(MountError, match=message):
        async with fuse.mount(OneFile(), directory):
            pytest.fail("the block must not be entered")
    assert not mountpoint.is_mounted(str(directory))


async def test_a_directory_that_is_mounted_already_is_refused(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory):
        with pytest.raises(MountError, match="is a mountpoint already"):
            async with fuse.mount(OneFile(), directory):
                pytest.fail("the block must not be entered")


async def test_a_mount_without_server_is_recognised_and_can_be_cleaned(directory: Path) -> None:
    program = f"""
import anyio, os
from aiovfs import fuse
async def main():
    async with fuse.mount(fuse.Operations(), {str(directory)!r}):
        os._exit(0)
anyio.run(main)
"""
    await outside(lambda: subprocess.run([sys.executable, "-c", program], check=True))
    assert fuse.is_stale(str(directory))
    assert fuse.is_mounted(str(directory))
    with pytest.raises(MountError, match="dead mount"):
        async with fuse.mount(OneFile(), directory):
            pytest.fail("the block must not be entered")
    await fuse.unmount(directory, lazy=True)
    async with fuse.mount(OneFile(), directory):
        assert await outside(os.listdir, directory) == ["file"]


async def test_an_aborted_connection_ends_serve_and_leaves_no_dead_mount(directory: Path) -> None:
    control = Path("/sys/fs/fuse/connections")
    if not mountpoint.is_mounted(str(control)):
        await outside(lambda: subprocess.run(["mount", "-t", "fusectl", "none", str(control)], check=True))
    async with fuse.mount(OneFile(), directory) as session:
        minor = os.minor((await outside(os.stat, directory)).st_dev)
        await outside((control / str(minor) / "abort").write_text, "1")
        with anyio.fail_after(10):
            await session.wait()
    assert not mountpoint.is_mounted(str(directory))


async def test_ending_leaves_alone_what_was_mounted_there_since(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory) as first:
        fd = await outside(os.open, directory / "file", os.O_RDONLY)  # keeps the first one alive
        await fuse.unmount(directory, lazy=True)
        async with fuse.mount(OneFile(), directory):
            first.terminate()
            with anyio.fail_after(10):
                await first.wait()
            assert await outside(os.listdir, directory) == ["file"]
            with contextlib.suppress(OSError):
                await outside(os.close, fd)


async def test_a_fork_while_serving_does_not_keep_the_mount_alive(directory: Path) -> None:
    async with fuse.mount(OneFile(), directory) as session:
        pid = os.fork()
        if pid == 0:
            os.execvp("sleep", ["sleep", "30"])
        try:
            await fuse.unmount(directory)
            with anyio.fail_after(10):
                await session.wait()
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


async def test_invalidating_an_inode_drops_its_cached_pages(directory: Path) -> None:
    operations = OneFile()
    async with fuse.mount(operations, directory) as session:
        first = await outside((directory / "file").read_bytes)
        operations.content = bytes(reversed(first))
        nodeid = operations.inodes.nodeid_of(sys.intern("file"))
        assert nodeid is not None
        assert await session.notifier.invalidate_inode(nodeid)
        assert await outside((directory / "file").read_bytes) == operations.content
        assert not await session.notifier.invalidate_inode(99)
