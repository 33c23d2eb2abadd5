"""Passthrough against the real kernel: who reads and writes, counted by what reaches the handlers."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ramfs import client, outside, serving

from aiovfs import fuse
from aiovfs.errors import OptionError
from aiovfs.fuse import backing
from aiovfs.fuse.protocol import messages as m

F = fuse.InitFlags

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may pass files through")


class Mirror(fuse.Operations):
    """One directory of real files; `names` says whether opens name a descriptor to pass through."""

    def __init__(self, source: Path, *, names: bool = True) -> None:
        self.source = source
        self.inodes: fuse.InodeTable[str] = fuse.InodeTable("")
        self.handles: fuse.HandleTable[int] = fuse.HandleTable()
        self.names = names
        self.seen: Counter[str] = Counter()

    def path(self, nodeid: int) -> Path:
        return self.source / self.inodes.get(nodeid)

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        self.seen["getattr"] += 1
        return fuse.Attributes.from_stat(self.path(request.nodeid).stat(), timeout=0)

    def entry(self, name: bytes) -> fuse.Entry:
        interned = sys.intern(name.decode())
        status = (self.source / interned).stat()
        return fuse.Entry(self.inodes.remember(interned), fuse.Attributes.from_stat(status, timeout=0), timeout=0)

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        return self.entry(request.name)

    async def setattr(self, request: fuse.Setattr) -> fuse.Attributes:
        self.seen["setattr"] += 1
        if request.valid & fuse.SetattrValid.SIZE:
            os.truncate(self.path(request.nodeid), request.size)
        return fuse.Attributes.from_stat(self.path(request.nodeid).stat(), timeout=0)

    def opened(self, path: Path, flags: int) -> fuse.Opened:
        fd = os.open(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND))
        return fuse.Opened(self.handles.open(fd), passthrough=fd if self.names else None)

    async def open(self, request: fuse.Open) -> fuse.Opened:
        self.seen["open"] += 1
        return self.opened(self.path(request.nodeid), request.flags)

    async def create(self, request: fuse.Create) -> tuple[fuse.Entry, fuse.Opened]:
        path = self.source / request.name.decode()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, request.mode & 0o7777))
        return self.entry(request.name), self.opened(path, request.flags)

    async def read(self, request: fuse.Read) -> bytes:
        self.seen["read"] += 1
        return os.pread(self.handles.get(request.fh), request.size, request.offset)

    async def write(self, request: fuse.Write) -> int:
        self.seen["write"] += 1
        return os.pwrite(self.handles.get(request.fh), request.data, request.offset)

    async def fsync(self, request: fuse.Fsync) -> None:
        self.seen["fsync"] += 1

    async def release(self, request: fuse.Release) -> None:
        self.seen["release"] += 1
        os.close(self.handles.close(request.fh))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_bytes(b"0123456789" * 1000)
    return path


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every backing id that is asked for or given back."""
    seen: list[str] = []

    def ioctl(fd: int, request: int, argument: Any, *rest: Any) -> Any:
        result = fcntl.ioctl(fd, request, argument, *rest)
        if request == backing.BACKING_OPEN:
            seen.append(f"open {result}")
        elif request == backing.BACKING_CLOSE:
            seen.append(f"close {int.from_bytes(argument, 'little')}")
        return result

    monkeypatch.setattr(backing, "fcntl", type("fcntl", (), {"ioctl": staticmethod(ioctl)}))
    return seen


def agreed(session: fuse.Session) -> None:
    if F.PASSTHROUGH not in session.features.offered:
        pytest.skip("this kernel is older than 6.9 and cannot pass files through")
    assert F.PASSTHROUGH in session.features


async def test_reads_writes_and_mappings_do_not_reach_the_handlers(directory: Path, source: Path) -> None:
    operations = Mirror(source)
    code = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
assert os.pread(fd, 10, 5000) == b"0123456789"
assert os.pwrite(fd, b"written", 100) == 7
with mmap.mmap(fd, 0) as mapping:
    assert mapping[100:107] == b"written"
    mapping[200:206] = b"mapped"
    mapping.flush()
assert os.fstat(fd).st_size == 10000
assert os.pwrite(fd, b"longer", 10000) == 6
assert os.fstat(fd).st_size == 10006
os.fsync(fd)
"""
    async with serving(operations, directory, passthrough=True) as session:
        agreed(session)
        await client(code, directory / "file")
        assert operations.seen["open"] == 1
    content = (source / "file").read_bytes()
    assert (content[100:107], content[200:206], content[10000:]) == (b"written", b"mapped", b"longer")
    assert (operations.seen["read"], operations.seen["write"]) == (0, 0)
    assert operations.seen["fsync"] >= 1
    assert operations.seen["release"] == 1


async def test_append_truncate_and_create_work(directory: Path, source: Path) -> None:
    operations = Mirror(source)
    code = """
import os, sys
directory = sys.argv[1]
with open(directory + "/file", "ab") as file:
    file.write(b"end")
assert os.stat(directory + "/file").st_size == 10003
with open(directory + "/file", "wb") as file:
    file.write(b"anew")
with open(directory + "/file", "rb") as file:
    assert file.read() == b"anew"
with open(directory + "/new", "xb") as file:
    file.write(b"made")
with open(directory + "/new", "r+b") as file:
    file.truncate(2)
    assert file.read() == b"ma"
"""
    async with serving(operations, directory, passthrough=True) as session:
        agreed(session)
        await client(code, directory)
    assert (source / "file").read_bytes() == b"anew"
    assert (source / "new").read_bytes() == b"ma"
    assert (operations.seen["read"], operations.seen["write"]) == (0, 0)


async def test_opens_of_one_file_share_a_backing_id_which_the_last_release_gives_back(
    directory: Path, source: Path, ids: list[str]
) -> None:
    operations = Mirror(source)
    code = """
import os, sys
first = os.open(sys.argv[1], os.O_RDONLY)
second = os.open(sys.argv[1], os.O_RDWR)
os.close(first)
third = os.open(sys.argv[1], os.O_WRONLY)
os.close(second)
os.close(third)
"""
    async with serving(operations, directory, passthrough=True) as session:
        agreed(session)
        await client(code, directory / "file")
        while operations.seen["release"] < 3:
            await outside(os.stat, directory / "file")
        await client(code, directory / "file")
        while operations.seen["release"] < 6:
            await outside(os.stat, directory / "file")
    opened = [one for one in ids if one.startswith("open")]
    assert [one.split()[0] for one in ids] == ["open", "close", "open", "close"]
    assert [one.split()[1] for one in ids[::2]] == [one.split()[1] for one in ids[1::2]]
    assert len(opened) == 2


@pytest.mark.parametrize("first", [True, False], ids=["passed through first", "served first"])
async def test_the_first_open_decides_how_the_others_are_served(directory: Path, source: Path, first: bool) -> None:
    """The kernel fails an open with EIO that is served in another way than those it overlaps with."""
    operations = Mirror(source, names=first)
    async with serving(operations, directory, passthrough=True) as session:
        agreed(session)
        fd = await outside(os.open, directory / "file", os.O_RDWR)
        operations.names = not first
        other = await outside(os.open, directory / "file", os.O_RDWR)
        assert await outside(os.pwrite, other, b"both", 0) == 4
        assert await outside(os.pread, fd, 4, 0) == b"both"
        assert bool(operations.seen["read"] + operations.seen["write"]) == (not first)
        await outside(os.close, fd)
        await outside(os.close, other)


@pytest.mark.parametrize("options", [{}, {"passthrough": True, "direct_io": True}], ids=["off", "direct_io"])
async def test_handlers_serve_where_passthrough_is_off(directory: Path, source: Path, options: dict[str, Any]) -> None:
    operations = Mirror(source)
    async with serving(operations, directory, **options) as session:
        assert (F.PASSTHROUGH in session.features) <= bool(options)
        assert await outside((directory / "file").read_bytes) == b"0123456789" * 1000
    assert operations.seen["read"] >= 1


@pytest.mark.parametrize("number", [errno.EPERM, errno.ELOOP, errno.EOPNOTSUPP])
async def test_handlers_serve_where_the_kernel_refuses_and_the_log_says_so_once(
    directory: Path, source: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(backing, "fcntl", type("fcntl", (), {"ioctl": staticmethod(refuse)}))
    operations = Mirror(source)
    async with serving(operations, directory, passthrough=True) as session:
        agreed(session)
        for _ in range(3):
            assert await outside((directory / "file").read_bytes) == b"0123456789" * 1000
    assert operations.seen["read"] >= 1
    assert [backing.WHY_NOT[number] in message for message in caplog.messages] == [True]


async def test_a_descriptor_that_is_not_open_is_eio_and_the_log_says_what_to_do(
    directory: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    operations = Mirror(source)
    fine = operations.opened

    def closed(path: Path, flags: int) -> fuse.Opened:
        opened = fine(path, flags)
        opened.passthrough = 1 << 20
        return opened

    operations.opened = closed  # type: ignore[method-assign]
    async with serving(operations, directory, passthrough=True) as session:
        agreed(session)
        with pytest.raises(OSError, match="error") as caught:
            await outside((directory / "file").read_bytes)
        assert caught.value.errno == errno.EIO
    assert "is not open; keep it open until the reply was sent" in caplog.text


async def test_a_file_on_a_stacked_file_system_needs_another_depth(
    directory: Path, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mount with passthrough is a stacked file system itself."""
    below, operations = Mirror(source), Mirror(directory)
    upper = tmp_path / "upper"
    upper.mkdir()
    code = "import sys; assert open(sys.argv[1], 'rb').read() == b'0123456789' * 1000"
    async with serving(below, directory, passthrough=True) as session:
        agreed(session)
        async with serving(Threaded(operations), upper, passthrough=True, max_stack_depth=2) as above:
            agreed(above)
            await client(code, upper / "file")
        assert operations.seen["read"] == 0
        async with serving(Threaded(operations), upper, passthrough=True):
            await client(code, upper / "file")
    assert operations.seen["read"] >= 1
    assert below.seen["read"] == 0
    assert "max_stack_depth=2 allows one layer" in caplog.text


class Threaded(fuse.Operations):
    """Handlers of a mirror in worker threads: what they look at is another mount of this process."""

    def __init__(self, inner: Mirror) -> None:
        self.inner = inner
        inner.inodes = self.inodes = fuse.InodeTable("")

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        if request.nodeid == fuse.ROOT_NODEID:
            return fuse.Attributes(1, stat.S_IFDIR | 0o755)
        return await outside(run, self.inner.getattr(request))

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        return await outside(run, self.inner.lookup(request))

    async def open(self, request: fuse.Open) -> fuse.Opened:
        return await outside(run, self.inner.open(request))

    async def read(self, request: fuse.Read) -> bytes:
        return await outside(run, self.inner.read(request))

    async def release(self, request: fuse.Release) -> None:
        await outside(run, self.inner.release(request))


def run(work: Any) -> Any:
    """A coroutine that never waits, to its end."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


async def test_passthrough_and_the_writeback_cache_exclude_each_other(directory: Path, source: Path) -> None:
    with pytest.raises(OptionError, match="passthrough and writeback_cache contradict each other"):
        async with serving(Mirror(source), directory, passthrough=True, writeback_cache=True):
            pytest.fail("the block must not be entered")


def test_the_numbers_of_the_ioctls_are_those_of_the_header() -> None:
    def iow(number: int, size: int) -> int:
        return 1 << 30 | size << 16 | 229 << 8 | number

    assert iow(1, 16) == backing.BACKING_OPEN
    assert iow(2, 4) == backing.BACKING_CLOSE


def test_a_release_that_nobody_counted_does_no_harm() -> None:
    backings = backing.Backings()
    backings.leave(7)
    assert backings.enter(7, fuse.Opened(passthrough=0)) == 0
    assert backings.state == {7: (1, 0)}
    backings.counting(lambda request: None)(m.Release(nodeid=7))
    assert backings.state == {}
