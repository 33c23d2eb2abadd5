"""Binary and text files: what is not a matter of comparing with the builtin (test_file_model.py)."""

from __future__ import annotations

import errno
import gc
import os
import stat
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs import aio
from aiovfs.aio import blocking
from aiovfs.aio.descriptor import Descriptor
from aiovfs.errors import ClosedError

pytestmark = pytest.mark.usefixtures("engine")

CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def open_descriptors() -> set[str]:
    """What this process has open, without what the loops and engines open when they like."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return {target for target in found if target.startswith("/") and not target.startswith(("/dev", "/proc"))}


async def test_positioned_calls_leave_the_position_alone(path: Path) -> None:
    async with aio.open(path, "rb+") as file:
        await file.seek(10)
        assert await file.pread(4, 254) == bytes((254, 255, 0, 1))
        assert await file.pwrite(b"xyz", 100) == 3
        buffer = bytearray(5)
        assert await file.preadinto(buffer, 99) == 5
        assert bytes(buffer) == b"cxyzg"
        assert await file.tell() == 10
        assert await file.read(2) == b"\x0a\x0b"


async def test_positioned_reads_are_short_only_at_the_end(path: Path) -> None:
    async with aio.open(path, "rb") as file:
        assert len(await file.pread(100, len(CONTENT) - 7)) == 7
        assert await file.pread(100, len(CONTENT)) == b""
        buffer = bytearray(100)
        assert await file.preadinto(memoryview(buffer)[:50], len(CONTENT) - 7) == 7


async def test_vectored_calls_fill_and_write_the_buffers_in_order(path: Path) -> None:
    async with aio.open(path, "rb+") as file:
        first, second = bytearray(3), bytearray(4)
        assert await file.preadv([first, second], 10) == 7
        assert bytes(first + second) == CONTENT[10:17]
        assert await file.pwritev([b"ab", bytearray(b"cde")], 20) == 5
        assert await file.pread(7, 19) == CONTENT[19:20] + b"abcde" + CONTENT[25:26]


async def test_many_ranges_come_in_their_order(path: Path) -> None:
    async with aio.open(path, "rb+") as file:
        ranges = [(offset, 16) for offset in range(0, 65536, 1024)]
        assert await file.read_many(ranges) == [CONTENT[offset : offset + size] for offset, size in ranges]
        buffers = [bytearray(8) for _ in range(20)]
        assert await file.readinto_many([(buffer, 3 * n) for n, buffer in enumerate(buffers)]) == [8] * 20
        assert [bytes(buffer) for buffer in buffers] == [CONTENT[3 * n : 3 * n + 8] for n in range(20)]
        assert await file.write_many([(bytes([n]) * 4, 100 + 4 * n) for n in range(30)]) == 120
        assert await file.pread(120, 100) == b"".join(bytes([n]) * 4 for n in range(30))


async def test_a_failure_among_many_is_raised_when_all_have_ended(tmp_path: Path) -> None:
    async with aio.open(tmp_path / "f", "wb") as file:
        with pytest.raises(OSError, match="Bad file descriptor"):
            await file.read_many([(0, 4)] * 10)
        await anyio.lowlevel.checkpoint()  # asyncio tells of the end in the next tick
        assert file._descriptor.running == 0


@pytest.mark.parametrize("sync", [None, "data", "full"])
async def test_a_write_can_be_made_durable(tmp_path: Path, sync: Any) -> None:
    async with aio.open(tmp_path / "f", "wb+") as file:
        assert await file.pwrite(b"safe", 3, sync=sync) == 4
        assert await file.pread(10, 0) == b"\0\0\0safe"
        with pytest.raises(ValueError, match="not 'never'"):
            file.pwrite(b"", 0, sync="never")  # type: ignore[arg-type]


async def test_positioned_calls_see_what_was_written_through_the_buffer(tmp_path: Path) -> None:
    async with aio.open(tmp_path / "f", "wb+") as file:
        await file.write(b"abc")
        assert (tmp_path / "f").read_bytes() == b""
        assert await file.pread(3, 0) == b"abc"
        await file.write(b"def")
        assert (await file.stat()).st_size == 6
        await file.write(b"g")
        await file.fsync()
        assert (tmp_path / "f").read_bytes() == b"abcdefg"
        await file.write(b"h")
        assert await file.read_many([(6, 2)]) == [b"gh"]
        await file.write(b"i")
        assert await file.pwrite(b"X", 8) == 1
        assert await file.pread(9, 0) == b"abcdefghX"


async def test_a_sequential_reader_sees_what_a_positioned_call_wrote(path: Path) -> None:
    async with aio.open(path, "rb+") as file:
        assert await file.read(4) == CONTENT[:4]
        await file.pwrite(b"new", 4)
        assert await file.read(3) == b"new"


async def test_lines_come_out_of_the_buffer_without_an_operation_each(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(5000)))
    started: list[str] = []
    start = Descriptor.start
    monkeypatch.setattr(
        Descriptor, "start", lambda self, kind, *args: (started.append(kind), start(self, kind, *args))[1]
    )
    async with aio.open(path, "rb") as file:
        started.clear()
        assert [line async for line in file] == [b"line %d\n" % number for number in range(5000)]
        assert len(started) == 2  # 48,890 bytes, and the end
    async with aio.open(path) as text:
        started.clear()
        assert len([line async for line in text]) == 5000
        assert len(started) <= 3


async def test_chunks_are_of_the_size_that_was_asked_for(path: Path) -> None:
    async with aio.open(path, "rb") as file:
        sizes = [len(chunk) async for chunk in file.chunks(100_000)]
        assert sizes == [100_000, 100_000, len(CONTENT) - 200_000]


async def test_append_writes_at_the_end_whoever_else_does(tmp_path: Path) -> None:
    async with aio.open(tmp_path / "log", "ab") as one, aio.open(tmp_path / "log", "ab") as other:
        await one.write(b"a\n")
        await other.write(b"b\n")
        await other.flush()
        await one.write(b"c\n")
        await one.flush()
        assert await one.tell() == 6
    assert (tmp_path / "log").read_bytes() == b"b\na\nc\n"


async def test_tasks_that_share_a_file_take_turns(path: Path) -> None:
    pieces: list[bytes] = []

    async def reader(file: aio.File) -> None:
        while piece := await file.read(1000):
            pieces.append(piece)

    async with aio.open(path, "rb", buffering=0) as file, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(reader, file)
    assert sorted(pieces) == sorted(CONTENT[at : at + 1000] for at in range(0, len(CONTENT), 1000))


async def test_a_waiter_for_its_turn_can_be_cancelled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aio.open(path, "rb") as file:
        async with file._turns:
            with anyio.move_on_after(0.01) as scope:
                await file.read(10)
            assert scope.cancelled_caught
        assert await file.read(10) == CONTENT[:10]


async def test_pipes_are_read_and_written_as_they_come(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    async with aio.open(reading, "rb") as source, aio.open(writing, "wb") as sink:
        assert not source.seekable()
        with pytest.raises(OSError, match="Illegal seek"):
            await source.tell()
        received: list[bytes] = []

        async def read() -> None:
            received.extend([await source.read(5), await source.readline(), await source.read()])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await sink.write(b"hello wor")
            await sink.flush()
            await sink.write(b"ld\nrest")
            await sink.aclose()
        assert received == [b"hello", b" world\n", b"rest"]


async def test_waiting_for_a_pipe_can_be_cancelled() -> None:
    reading, writing = os.pipe()
    try:
        async with aio.open(reading, "rb") as source:
            with anyio.move_on_after(0.02) as scope:
                await source.read(1)
            assert scope.cancelled_caught
            os.write(writing, b"x")
            assert await source.read1() == b"x"
    finally:
        os.close(writing)


async def test_files_that_do_not_know_their_size_are_read_to_the_end() -> None:
    async with aio.open("/proc/self/status", "rb") as file:
        assert b"VmRSS" in await file.read()
    async with aio.open("/proc/self/status") as text:
        assert [line async for line in text if line.startswith("Threads:")]


async def test_errors_of_open_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await aio.open(tmp_path / "none")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(tmp_path / "none")
    with pytest.raises(IsADirectoryError) as is_directory:
        await aio.open(tmp_path)
    assert is_directory.value.filename == str(tmp_path)
    (tmp_path / "there").touch()
    with pytest.raises(FileExistsError):
        await aio.open(tmp_path / "there", "x")
    await anyio.lowlevel.checkpoint()  # asyncio tells of the end of an operation in the next tick
    assert str(tmp_path) not in open_descriptors()


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "rw"},
        {"mode": "rbt"},
        {"mode": "b"},
        {"mode": "rb++"},
        {"mode": "U"},
        {"mode": 5},
        {"mode": "rb", "encoding": "utf-8"},
        {"mode": "rb", "newline": "\n"},
        {"mode": "rb", "errors": "strict"},
        {"mode": "r", "buffering": 0},
        {"mode": "r", "newline": "x"},
        {"mode": "r", "encoding": "no such"},
        {"mode": "r", "encoding": 3},
        {"mode": "r", "buffering": "1"},
        {"mode": "r", "closefd": False},
    ],
)
async def test_arguments_that_do_not_fit_are_refused_as_by_the_builtin(path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(Exception) as expected:  # noqa: PT011
        open(path, **arguments)  # noqa: SIM115
    with pytest.raises(type(expected.value)):
        await aio.open(path, **arguments)


async def test_what_the_mode_does_not_allow_is_refused(path: Path) -> None:
    async with aio.open(path, "rb") as file:
        for call in (file.write(b"x"), file.truncate(0)):
            with pytest.raises(OSError, match="not"):
                await call
        assert not file.writable()
    async with aio.open(path, "wb") as file:
        with pytest.raises(OSError, match="not readable"):
            await file.read()
        with pytest.raises(TypeError, match="bytes-like"):
            await file.write("text")  # type: ignore[arg-type]
    async with aio.open(path, "w") as text:
        with pytest.raises(TypeError, match="must be str"):
            await text.write(b"bytes")  # type: ignore[arg-type]


async def test_a_file_knows_its_name_mode_and_number(path: Path) -> None:
    async with aio.open(path, "rb+") as file:
        assert (file.name, file.mode, file.closed) == (str(path), "rb+", False)
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
        assert os.get_inheritable(file.fileno()) is False
        assert "rb+" in repr(file)
    async with aio.open(path, "r", encoding="latin-1", errors="replace") as text:
        assert (text.name, text.mode, text.encoding, text.errors) == (str(path), "r", "latin-1", "replace")
    fd = os.open(path, os.O_RDONLY)
    async with aio.open(fd, "rb", closefd=False) as by_number:
        assert by_number.name == fd
    os.close(fd)


async def test_an_opener_opens(path: Path) -> None:
    def opener(name: str, flags: int) -> int:
        return os.open(path, flags)

    async with aio.open("another", "rb", opener=opener) as file:
        assert await file.read(3) == CONTENT[:3]
    with pytest.raises(ValueError, match="returned -1"):
        await aio.open("another", "rb", opener=lambda name, flags: -1)


async def test_permissions_flags_and_a_directory_descriptor_are_heeded(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        async with aio.open("f", "xb", permissions=0o600, dir_fd=directory, flags=os.O_NOFOLLOW) as file:
            await file.write(b"x")
        assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
        (tmp_path / "l").symlink_to("f")
        with pytest.raises(OSError, match="symbolic links"):
            await aio.open("l", "rb", dir_fd=directory, flags=os.O_NOFOLLOW)
    finally:
        os.close(directory)


# --- the end of a file


async def test_use_after_close_is_a_closed_error_with_the_name(path: Path) -> None:
    file = await aio.open(path, "rb+")
    await file.aclose()
    await file.aclose()
    assert file.closed
    calls: list[Any] = [
        lambda: file.read(1),
        lambda: file.read(0),
        lambda: file.write(b"x"),
        lambda: file.pread(1, 0),
        lambda: file.pwrite(b"x", 0),
        lambda: file.readline(),
        lambda: file.seek(0),
        lambda: file.tell(),
        lambda: file.flush(),
        lambda: file.fsync(),
        lambda: file.stat(),
        lambda: file.truncate(0),
        lambda: file.read_many([(0, 1)]),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match=r"closed file '.*file'") as caught:
            await call()
        assert isinstance(caught.value, ValueError)
    with pytest.raises(ValueError, match="closed"):
        file.fileno()
    text = await aio.open(path, encoding="latin-1")
    await text.aclose()
    for call in (text.read, text.readline, text.tell, lambda: text.read(0)):
        with pytest.raises(ValueError, match="closed file"):
            await call()


async def test_closing_waits_for_what_is_on_its_way(path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    entered = threading.Event()
    said: list[str] = []

    def slow() -> None:
        entered.set()
        assert gate.wait(30)

    file = await aio.open(path, "rb")
    fd = file.fileno()
    async with anyio.create_task_group() as tasks:

        async def use() -> None:
            await file._descriptor.call(slow)
            said.append("used")

        async def close() -> None:
            await file.aclose()
            said.append("closed")

        tasks.start_soon(use)
        while not entered.is_set():
            await anyio.sleep(0.001)
        tasks.start_soon(close)
        while not file.closed:
            await anyio.sleep(0.001)
        with pytest.raises(ClosedError):
            file.pread(1, 0)
        assert os.fstat(fd).st_ino == path.stat().st_ino
        gate.set()
    assert sorted(said) == ["closed", "used"]
    assert str(path) not in open_descriptors()


async def test_a_cancelled_close_closes_when_the_last_operation_ends(path: Path) -> None:
    gate = threading.Event()
    entered = threading.Event()

    def slow() -> None:
        entered.set()
        assert gate.wait(30)

    file = await aio.open(path, "rb")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: _await(file._descriptor.call(slow)))
        while not entered.is_set():
            await anyio.sleep(0.001)
        async with anyio.create_task_group() as closers:
            closers.start_soon(file.aclose)
            while not file.closed:
                await anyio.sleep(0.001)
            closers.cancel_scope.cancel()
            gate.set()
    assert str(path) not in open_descriptors()


async def _await(operation: Any) -> None:
    await operation


async def test_an_error_while_flushing_is_raised_by_close_which_closes_all_the_same() -> None:
    file = await aio.open("/dev/full", "wb")
    await file.write(b"lost")
    with pytest.raises(OSError, match="No space left") as caught:
        await file.aclose()
    assert caught.value.errno == errno.ENOSPC
    assert file.closed


async def test_a_dropped_file_warns_writes_what_it_has_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "dropped"

    async def drop() -> None:
        file = await aio.open(path, "wb")
        await file.write(b"kept")

    with pytest.warns(ResourceWarning, match=r"unclosed file <aiovfs.aio.File name='.*dropped'"):  # noqa: PT031
        await drop()
        gc.collect()
    await anyio.lowlevel.checkpoint()
    assert path.read_bytes() == b"kept"
    assert str(path) not in open_descriptors()


async def test_a_cancelled_open_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")

    async def open_and_close() -> None:
        file = await aio.open(path, "rb")
        try:
            await anyio.sleep(10)
        finally:
            await file.aclose()

    for wait in range(40):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(open_and_close)
            for _ in range(wait % 8):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    for _ in range(1000):
        if str(path) not in open_descriptors():
            break
        await anyio.sleep(0.01)  # an open that was given up is closed when it has ended
    assert str(path) not in open_descriptors()


async def test_a_cancelled_readinto_returns_when_the_buffer_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    entered = threading.Event()
    buffer = bytearray(4)
    ended = []

    def slow_readinto(fd: int, target: Any, offset: int) -> int:
        entered.set()
        assert gate.wait(30)
        ended.append(True)
        return blocking.readinto(fd, target, offset)

    file = await aio.open(path, "rb")
    try:
        async with anyio.create_task_group() as tasks:

            async def fill() -> None:
                await file._descriptor.call(slow_readinto, file.fileno(), buffer, 10)

            tasks.start_soon(fill)
            while not entered.is_set():
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
            threading.Timer(0.05, gate.set).start()
        assert ended == [True]
        assert bytes(buffer) == CONTENT[10:14]
    finally:
        await file.aclose()


async def test_what_was_appended_before_a_cancellation_is_not_appended_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for checkpoints in range(12):
        path.unlink(missing_ok=True)
        file = await aio.open(path, "ab")
        await file.write(b"once")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.flush)
            for _ in range(checkpoints):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await file.aclose()
        assert path.read_bytes() == b"once"


# --- direct


async def test_direct_files_read_and_write_any_range(tmp_path: Path) -> None:
    path = tmp_path / "direct"
    path.write_bytes(CONTENT)
    model = bytearray(CONTENT)
    async with aio.open(path, "rb+", direct=True) as file:
        assert isinstance(file, aio.DirectFile)
        unit = file.alignment.offset
        for offset, size in ((0, unit), (1, 5), (unit - 1, 2), (unit, 3 * unit + 1), (len(model) - 3, 100)):
            assert await file.pread(size, offset) == model[offset : offset + size]
        assert await file.read(10) == model[:10]
        for offset, data in (
            (0, b"a" * unit),
            (7, b"b" * 10),
            (unit - 3, b"c" * (2 * unit)),
            (len(model) - 2, b"end!!"),
        ):
            assert await file.pwrite(data, offset, sync="data") == len(data)
            model[offset : offset + len(data)] = data
        with aio.alloc(4 * unit) as buffer:
            assert await file.preadinto(buffer, unit) == 4 * unit
            assert bytes(buffer) == model[unit : 5 * unit]
        odd = bytearray(100)
        assert await file.preadinto(odd, 3) == 100
        assert odd == model[3:103]
        pieces = [bytearray(10), bytearray(unit)]
        assert await file.preadv(pieces, 5) == 10 + unit
        assert b"".join(pieces) == model[5 : 15 + unit]
        assert (await file.stat()).st_size == len(model)
        await file.seek(20)
        await file.write(b"through the buffer")
        model[20:38] = b"through the buffer"
        await file.flush()
        assert await file.pread(len(model), 0) == bytes(model)
    assert path.read_bytes() == bytes(model)
    assert str(path) not in open_descriptors()


async def test_direct_files_append(tmp_path: Path) -> None:
    path = tmp_path / "direct"
    async with aio.open(path, "ab", direct=True) as file:
        await file.write(b"one ")
        await file.flush()
        await file.write(b"x" * 100_000)
        assert await file.tell() == 100_004
    assert path.read_bytes() == b"one " + b"x" * 100_000


def test_aligned_buffers_are_reused_and_never_while_they_are_used() -> None:
    first = aio.alloc(5000)
    assert len(first) == 5000
    kept = first.view[:10]
    kept[0] = 7
    first.release()
    first.release()
    with pytest.raises(ValueError, match="released"):
        bytes(first)
    with aio.alloc(6000) as second:  # the same class of sizes
        second.view[0] = 1
        assert kept[0] == 7
    with aio.alloc(7000) as third:
        assert third.view[0] == 1
    for size, align in ((-1, 4096), (10, 3), (10, 1 << 20)):
        with pytest.raises(ValueError, match=r"cannot|power|aligned"):
            aio.alloc(size, align=align)
