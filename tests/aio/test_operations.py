"""Every row of the table does what its blocking call does, on every engine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovfs._loop.caller import drive
from aiovfs.aio import engine as engines
from aiovfs.aio.engine import current, perform, perform_many
from aiovfs.aio.operations import KINDS, OPERATIONS, kind_of

CONTENT = bytes(range(256)) * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


async def test_read_returns_exactly_the_range(engine: str, fd: int) -> None:
    assert await perform("read", fd, 4, 254) == bytes((254, 255, 0, 1))


async def test_read_is_short_only_at_the_end_of_the_file(engine: str, fd: int) -> None:
    assert await perform("read", fd, 1000, len(CONTENT) - 10) == CONTENT[-10:]
    assert await perform("read", fd, 10, len(CONTENT)) == b""
    assert await perform("read", fd, 0, 0) == b""


async def test_readinto_fills_a_buffer_of_the_caller(engine: str, fd: int) -> None:
    buffer = bytearray(6)
    assert await perform("readinto", fd, buffer, 10) == 6
    assert buffer == CONTENT[10:16]
    assert await perform("readinto", fd, memoryview(buffer)[2:4], 0) == 2
    assert buffer == CONTENT[10:12] + CONTENT[:2] + CONTENT[14:16]


async def test_readinto_refuses_a_buffer_that_cannot_be_written(engine: str, fd: int) -> None:
    with pytest.raises((TypeError, BufferError)):
        await perform("readinto", fd, b"constant", 0)


async def test_readv_fills_buffers_in_turn_and_stops_at_the_end(engine: str, fd: int) -> None:
    buffers = [bytearray(3), bytearray(0), bytearray(5)]
    assert await perform("readv", fd, buffers, 1) == 8
    assert b"".join(buffers) == CONTENT[1:9]
    assert await perform("readv", fd, buffers, len(CONTENT) - 4) == 4
    assert bytes(buffers[0]) == CONTENT[-4:-1]


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
async def test_write_writes_everything_of_any_buffer(engine: str, fd: int, path: Path, make: type) -> None:
    assert await perform("write", fd, make(b"0123456789"), 5) == 10
    assert path.read_bytes() == CONTENT[:5] + b"0123456789" + CONTENT[15:]


async def test_writev_writes_buffers_in_turn(engine: str, fd: int, path: Path) -> None:
    assert await perform("writev", fd, [b"abc", bytearray(b"de"), memoryview(b"f")], 2) == 6
    assert path.read_bytes()[:9] == CONTENT[:2] + b"abcdef" + CONTENT[8:9]


@pytest.mark.parametrize("data_only", [True, False])
async def test_write_sync_writes_and_syncs(engine: str, fd: int, path: Path, data_only: bool) -> None:
    assert await perform("write_sync", fd, b"durable", 0, data_only) == 7
    assert path.read_bytes()[:7] == b"durable"


async def test_syncs_allocation_advice_and_truncation_reach_the_file(engine: str, fd: int, path: Path) -> None:
    assert await perform("fsync", fd) is None
    assert await perform("fdatasync", fd) is None
    assert await perform("fadvise", fd, 0, 0, os.POSIX_FADV_RANDOM) is None
    assert await perform("fallocate", fd, 0, 0, 100_000) is None
    assert path.stat().st_size == 100_000
    assert await perform("ftruncate", fd, 5) is None
    assert path.read_bytes() == CONTENT[:5]


async def test_open_gives_a_descriptor_that_is_not_inherited_and_close_closes_it(engine: str, path: Path) -> None:
    fd = await perform("open", path, os.O_RDONLY)
    assert os.get_inheritable(fd) is False
    assert os.read(fd, 3) == CONTENT[:3]
    assert await perform("close", fd) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


async def test_open_makes_files_with_a_mode_below_a_directory_descriptor(engine: str, tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fd = await perform("open", "made", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, directory)
        os.close(fd)
        assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
    finally:
        os.close(directory)


async def test_stat_has_every_field_that_os_stat_has(engine: str, path: Path, fd: int) -> None:
    expected = os.stat(path)
    assert await perform("stat", path) == expected
    for got in (await perform("stat", path), await perform("stat", os.fsencode(path)), await perform("fstat", fd)):
        for name in dir(expected):
            if name.startswith("st_"):
                assert getattr(got, name) == getattr(expected, name), name


async def test_stat_follows_symbolic_links_unless_told_not_to(engine: str, path: Path, tmp_path: Path) -> None:
    assert await perform("symlink", "file", tmp_path / "link") is None
    assert os.readlink(tmp_path / "link") == "file"
    assert (await perform("stat", tmp_path / "link")).st_ino == path.stat().st_ino
    assert (await perform("stat", tmp_path / "link", None, False)) == os.lstat(tmp_path / "link")


async def test_names_are_made_changed_and_removed(engine: str, path: Path, tmp_path: Path) -> None:
    await perform("mkdir", tmp_path / "directory", 0o700)
    assert (tmp_path / "directory").stat().st_mode & 0o777 == 0o700
    await perform("link", path, tmp_path / "directory" / "second")
    assert path.stat().st_nlink == 2
    await perform("rename", path, tmp_path / "third")
    await perform("unlink", tmp_path / "third")
    await perform("unlink", str(tmp_path / "directory" / "second"))
    await perform("rmdir", tmp_path / "directory")
    assert list(tmp_path.iterdir()) == []


async def test_rename_with_flags_keeps_or_exchanges(engine: str, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(FileExistsError) as caught:
        await perform("rename", path, other, None, None, 1)
    assert (caught.value.filename, caught.value.filename2) == (path, other) or (
        caught.value.filename,
        caught.value.filename2,
    ) == (str(path), str(other))
    await perform("rename", path, other, None, None, 2)
    assert path.read_bytes() == b"other"


async def test_extended_attributes_are_set_and_read(engine: str, path: Path, fd: int) -> None:
    await perform("setxattr", path, "user.colour", b"blue")
    await perform("fsetxattr", fd, b"user.shape", bytearray(b"round"))
    assert await perform("getxattr", path, b"user.shape") == b"round"
    assert await perform("fgetxattr", fd, "user.colour") == b"blue"
    with pytest.raises(OSError, match="No data available"):
        await perform("getxattr", path, "user.none")


async def test_an_error_has_errno_and_names_the_file(engine: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for kind, *args in (("open", missing, os.O_RDONLY), ("stat", missing), ("unlink", missing), ("rmdir", missing)):
        with pytest.raises(FileNotFoundError) as caught:
            await perform(kind, *args)
        assert caught.value.errno == errno.ENOENT
        assert str(caught.value.filename) == str(missing)


async def test_a_closed_descriptor_is_refused_with_its_errno(engine: str, tmp_path: Path) -> None:
    current()  # what the engine opens must not get the number that is closed here
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    os.close(fd)
    for kind, *args in (("read", fd, 1, 0), ("write", fd, b"x", 0), ("fsync", fd), ("close", fd)):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            await perform(kind, *args)
        assert caught.value.errno == errno.EBADF


async def test_call_runs_any_function_and_passes_its_exception_on(engine: str) -> None:
    assert await perform("call", divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await current().call(divmod, 1, 0)


async def test_an_operation_without_offset_moves_the_position(engine: str) -> None:
    reading, writing = os.pipe()
    try:
        assert await perform("write", writing, b"through a pipe", -1) == 14
        assert await perform("read", reading, 100, -1) == b"through a pipe"
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_file_is_read_whole_or_to_a_limit(engine: str, path: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the first time may find nothing in memory
        assert await perform("read_file", path) == CONTENT
        assert await perform("read_file", str(path), 10) == CONTENT[:10]
        assert await perform("read_file", path, len(CONTENT) + 5) == CONTENT
        assert await perform("read_file", path, 0) == b""
        assert (await perform("read_file", "/proc/self/status")).startswith(b"Name:")
    (tmp_path / "empty").touch()
    assert await perform("read_file", tmp_path / "empty") == b""
    with pytest.raises(FileNotFoundError) as caught:
        await perform("read_file", tmp_path / "missing")
    assert str(caught.value.filename) == str(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        await perform("read_file", tmp_path)
    with pytest.raises(ValueError, match="number of bytes"):
        await perform("read_file", path, -1)


async def test_many_operations_are_one_to_wait_for(engine: str, fd: int, path: Path, tmp_path: Path) -> None:
    ranges = [(fd, 16, 16 * index) for index in range(200)]
    assert await perform_many("read", ranges) == [CONTENT[16 * index : 16 * index + 16] for index in range(200)]
    assert await perform_many("read", []) == []
    buffers = [bytearray(3) for _ in range(5)]
    assert await perform_many("readinto", [(fd, buffer, 7) for buffer in buffers]) == [3] * 5
    assert buffers == [CONTENT[7:10]] * 5
    assert await perform_many("write", [(fd, b"ab", 2 * index) for index in range(4)]) == [2] * 4
    assert path.read_bytes()[:9] == b"abababab" + CONTENT[8:9]
    statuses = await perform_many("stat", [(path,), (tmp_path,)])
    assert [status.st_ino for status in statuses] == [path.stat().st_ino, tmp_path.stat().st_ino]
    assert await perform_many("call", [(divmod, 7, 2), (divmod, 9, 4)]) == [(3, 1), (2, 1)]
    assert current().in_flight == 0


async def test_many_operations_raise_a_failure_when_all_have_ended(engine: str, path: Path, tmp_path: Path) -> None:
    operation = perform_many("stat", [(path,), (tmp_path / "missing",), (path,)])
    with pytest.raises(FileNotFoundError):
        await operation
    assert current().in_flight == 0
    with pytest.raises(ValueError, match="could be lost"):
        perform_many("open", [(path, os.O_RDONLY)])


async def test_an_unknown_operation_is_refused_with_the_names_there_are(engine: str) -> None:
    with pytest.raises(ValueError, match="no disk operation is called 'readd'; there are read, readinto"):
        perform("readd", 1)


async def test_the_engine_is_one_a_loop(engine: str) -> None:
    assert current() is current()
    assert current().name == engine


def test_a_synchronous_caller_gets_operations_that_are_done(fd: int) -> None:
    async def work() -> bytes:
        operation = perform("read", fd, 3, 1)
        assert operation.done()
        with pytest.raises(FileNotFoundError):
            await perform("stat", "/nonexistent/file")
        return await operation

    assert drive(work()) == CONTENT[1:4]


def test_outside_of_loops_there_is_no_engine() -> None:
    with pytest.raises(RuntimeError, match="no loop of asyncio or Trio"):
        engines.current()


def test_every_row_is_known_by_its_name_and_place() -> None:
    for number, kind in enumerate(KINDS):
        assert kind_of(kind.name) is kind_of(kind) is kind
        assert kind.number == number
        assert list(OPERATIONS)[number] == kind.name
        assert kind.summary.endswith(".")
