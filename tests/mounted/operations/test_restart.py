"""A mount that outlives the process that serves it: handed over in order, or kept while the server is killed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from ramfs import outside, serving

from aiovfs import fuse
from aiovfs.errors import ClosedError, MountError, OptionError, ProtocolError
from aiovfs.fuse import keeper, mountpoint

CONTENT = b"content of the file\n" * 500


class Slow(fuse.Operations):
    """`file` can be read; `slow` is not found before somebody says so."""

    def __init__(self) -> None:
        self.inodes: fuse.InodeTable[str] = fuse.InodeTable("")
        self.handles: fuse.HandleTable[str] = fuse.HandleTable()
        self.is_waiting = anyio.Event()
        self.go_on = anyio.Event()
        self.seen: list[fuse.Request] = []

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        if request.nodeid == fuse.ROOT_NODEID:
            return fuse.Attributes(1, stat.S_IFDIR | 0o755)
        self.inodes.get(request.nodeid)
        return fuse.Attributes(request.nodeid, stat.S_IFREG | 0o644, len(CONTENT))

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        self.seen.append(request)
        if request.name == b"slow":
            self.is_waiting.set()
            await self.go_on.wait()
        nodeid = self.inodes.remember(sys.intern(request.name.decode()))
        return fuse.Entry(nodeid, await self.getattr(fuse.Getattr(nodeid=nodeid)))

    async def open(self, request: fuse.Open) -> fuse.Opened:
        return fuse.Opened(self.handles.open("opened"), direct_io=True)

    async def read(self, request: fuse.Read) -> bytes:
        assert self.handles.get(request.fh) == "opened"
        return CONTENT[request.offset : request.offset + request.size]

    async def release(self, request: fuse.Release) -> None:
        self.handles.close(request.fh)


def resends(session: fuse.Session) -> None:
    if fuse.InitFlags.HAS_RESEND not in session.features:
        pytest.skip("this kernel is older than 6.9 and cannot send requests again")


async def test_open_files_go_on_after_a_hand_over(directory: Path) -> None:
    first, second = Slow(), Slow()
    async with serving(first, directory) as session:
        file = await outside(os.open, directory / "file", os.O_RDONLY)
        assert await outside(os.pread, file, 7, 0) == b"content"
        fd, connection = await session.hand_over()
        assert not session.is_serving
    assert mountpoint.is_mounted(str(directory))
    second.inodes.load(first.inodes.dump())
    second.handles.load(first.handles.dump())
    connection = fuse.Connection.from_json(connection.to_json())
    async with fuse.adopt(second, fd, connection) as session:
        assert session.features == connection.features
        assert await outside(os.pread, file, 7, 11) == b"the fil"
        await outside(os.close, file)
        assert await outside((directory / "file").read_bytes) == CONTENT
        assert second.handles.open("another") == 3
    assert not mountpoint.is_mounted(str(directory))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


async def test_a_request_that_waits_is_answered_by_who_adopts_the_connection(directory: Path) -> None:
    first, second = Slow(), Slow()
    second.go_on.set()
    async with anyio.create_task_group() as group:
        async with serving(first, directory, grace=0.05) as session:
            resends(session)
            found: list[int] = []

            async def look() -> None:
                found.append((await outside(os.stat, directory / "slow")).st_size)

            group.start_soon(look)
            await first.is_waiting.wait()
            fd, connection = await session.hand_over()
        assert found == []
        async with fuse.adopt(second, fd, connection):
            while not found:
                await anyio.sleep(0.01)
    assert found == [len(CONTENT)]
    assert [request.is_resent for request in first.seen] == [False]
    assert [request.is_resent for request in second.seen] == [True]


async def test_handlers_that_end_within_the_grace_answer_themselves(directory: Path) -> None:
    first, second = Slow(), Slow()
    async with anyio.create_task_group() as group:
        async with serving(first, directory) as session:
            group.start_soon(outside, os.stat, directory / "slow")
            await first.is_waiting.wait()
            group.start_soon(anyio.lowlevel.checkpoint)
            handed: list[tuple[int, fuse.Connection]] = []

            async def hand_over() -> None:
                handed.append(await session.hand_over())

            group.start_soon(hand_over)
            await session.wait_unmounted()
            first.go_on.set()
            await session.wait()
            while not handed:
                await anyio.lowlevel.checkpoint()
        second.inodes.load(first.inodes.dump())
        async with fuse.adopt(second, *handed[0]):
            assert await outside(os.listdir, "/") != []
    assert [request for request in second.seen if request.is_resent] == []


async def test_an_unmounted_session_cannot_be_handed_over(directory: Path) -> None:
    async with serving(Slow(), directory) as session:
        session.terminate()
        await session.wait()
        with pytest.raises(ClosedError, match="nothing to hand over"):
            await session.hand_over()


@pytest.mark.skipif(shutil.which("fusermount3") is None, reason="fusermount3 is not installed")
async def test_a_mount_that_ends_with_its_process_is_not_handed_over(directory: Path) -> None:
    async with serving(Slow(), directory, auto_unmount=True) as session:
        with pytest.raises(OptionError, match="auto_unmount"):
            await session.hand_over()
        assert await outside((directory / "file").read_bytes) == CONTENT


async def test_an_error_of_init_while_adopting_leaves_nothing_mounted(directory: Path) -> None:
    class Failing(Slow):
        async def init(self, session: fuse.Session) -> None:
            raise ZeroDivisionError("a bug")

    async with serving(Slow(), directory) as session:
        fd, connection = await session.hand_over()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with fuse.adopt(Failing(), fd, connection):
            pytest.fail("the block must not be entered")
    assert not mountpoint.is_mounted(str(directory))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"features": {}}', b"\xff"])
def test_a_description_that_is_none_is_refused(text: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="no description of a connection"):
        fuse.Connection.from_json(text)


SERVER = """
import os, stat, sys
import anyio
from aiovfs import fuse

CONTENT = b"content of the file\\n" * 500
NAMES = {b"file": 2, b"slow": 3}  # numbers that mean something by themselves need no state

class Server(fuse.Operations):
    async def getattr(self, request):
        if request.nodeid == 1:
            return fuse.Attributes(1, stat.S_IFDIR | 0o755, timeout=0)
        return fuse.Attributes(request.nodeid, stat.S_IFREG | 0o644, len(CONTENT), timeout=0)

    async def lookup(self, request):
        if request.name == b"restart":
            session.start_soon(self.restart)
            raise OSError(2, "no such name")
        if request.name not in NAMES:
            raise OSError(2, "no such name")
        if request.name == b"slow" and not kept.state:
            print("waiting", flush=True)
            await anyio.sleep_forever()
        nodeid = NAMES[request.name]
        return fuse.Entry(nodeid, await self.getattr(fuse.Getattr(nodeid=nodeid)), timeout=0)

    async def open(self, request):
        return fuse.Opened(request.nodeid, direct_io=True)

    async def read(self, request):
        return CONTENT[request.offset : request.offset + request.size]

    async def restart(self):
        await anyio.sleep(0)
        asked.set()

async def main():
    global kept, session, asked
    asked = anyio.Event()
    kept = fuse.Kept()
    async with kept.mount(Server(), sys.argv[1], grace=0.5) as session:
        kept.save(session, b"started %d" % os.getpid())
        print(os.getpid(), kept.state.decode(), flush=True)
        async with anyio.create_task_group() as group:
            async def end():
                await session.wait()
                group.cancel_scope.cancel()
            group.start_soon(end)
            await asked.wait()
            os.close((await session.hand_over())[0])
            kept.save(session, b"handed over")
            os._exit(fuse.RESTART)

anyio.run(main, backend=sys.argv[2])
"""


class Kept:
    """A server under a keeper; `started` waits until one serves: its process id, and the state that it found."""

    def __init__(self, directory: Path, loop: str) -> None:
        self.directory = directory
        command = [sys.executable, "-m", "aiovfs.fuse", "keep", sys.executable, "-c", SERVER, str(directory), loop]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def started(self) -> tuple[int, str]:
        pid, _, state = self.line().partition(" ")
        return int(pid), state

    def end(self) -> int:
        """Unmount; the keeper's status."""
        with contextlib.suppress(MountError):
            mountpoint.unmount(str(self.directory), lazy=True)
        return self.process.wait(30)


@pytest.fixture(params=["asyncio", "trio"])
def kept(request: pytest.FixtureRequest, directory: Path) -> Iterator[Kept]:
    server = Kept(directory, request.param)
    yield server
    server.end()
    assert server.process.stdout is not None
    assert server.process.stderr is not None
    server.process.stdout.close()
    server.process.stderr.close()


def test_a_killed_server_is_replaced_and_no_program_notices(kept: Kept) -> None:
    pid, state = kept.started()
    assert state == ""
    path = kept.directory / "file"
    file = os.open(path, os.O_RDONLY)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    for _ in range(4):
        os.kill(pid, signal.SIGKILL)
        killed, (pid, state) = pid, kept.started()
        assert state == f"started {killed}"
        assert os.pread(file, 7, 0) == b"content"
        assert os.stat(path).st_size == len(CONTENT)
    os.close(file)
    reader.send_signal(signal.SIGINT)
    assert reader.communicate(timeout=30)[0].startswith("good")
    assert kept.end() == 0


READER = f"""
import os, signal, sys
ends = []
signal.signal(signal.SIGINT, lambda *_: ends.append(1))
print("reading", flush=True)
count = 0
while not ends:
    file = os.open(sys.argv[1], os.O_RDONLY)
    assert os.pread(file, {len(CONTENT)}, 0) == {CONTENT!r}
    assert os.stat(sys.argv[1]).st_size == {len(CONTENT)}
    os.close(file)
    count += 1
print("good", count)
"""


def test_a_request_that_a_killed_server_had_read_is_answered_by_the_next(kept: Kept) -> None:
    pid, _ = kept.started()
    client = subprocess.Popen([sys.executable, "-c", "import os, sys; os.stat(sys.argv[1])", kept.directory / "slow"])
    assert kept.line() == "waiting"
    os.kill(pid, signal.SIGKILL)
    kept.started()
    assert client.wait(30) == 0


def test_a_planned_restart_hands_over(kept: Kept) -> None:
    first, _ = kept.started()
    file = os.open(kept.directory / "file", os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        os.stat(kept.directory / "restart")
    second, state = kept.started()
    assert second != first
    assert state == "handed over"
    assert os.pread(file, 7, 0) == b"content"
    os.close(file)
    assert kept.end() == 0


def test_a_signal_to_the_keeper_ends_the_server_and_the_mount(kept: Kept) -> None:
    kept.started()
    kept.process.terminate()
    kept.process.wait(30)
    # SIGTERM killed the server, and the connection ended with the keeper.
    with pytest.raises(OSError, match="endpoint is not connected") as caught:
        os.stat(kept.directory)
    assert caught.value.errno == errno.ENOTCONN


def test_a_server_that_cannot_stay_up_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeper, "STARTS_WITHIN_S", 1e9)  # however slow the machine is
    assert keeper.Keeper([sys.executable, "-S", "-c", "import sys; sys.exit(3)"]).run() == 1
    errors = capsys.readouterr().err
    assert errors.count("started again") == 4
    assert "given up" in errors


async def test_without_a_keeper_nothing_is_kept_and_the_mount_is_an_ordinary_one(directory: Path) -> None:
    kept = fuse.Kept()
    assert (kept.has_keeper, kept.state, kept.connection) == (False, b"", None)
    async with kept.mount(Slow(), str(directory)) as session:
        kept.save(session, b"state")
        assert await outside((directory / "file").read_bytes) == CONTENT
    assert not mountpoint.is_mounted(str(directory))


def test_python_m_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "aiovfs.fuse"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "usage: python -m aiovfs.fuse keep COMMAND" in done.stderr
