"""Open files: async and synchronous, over the block cache, on a file system of which only the four coroutines exist."""

# ruff: noqa: PT012  (blocks that write and then fail are what is tested)

from __future__ import annotations

import errno
import gzip
import io
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs.errors import StaleError
from aiovfs.fs import blocks
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.blocks import BLOCK_SIZE, BlockMemory, Blocks
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.ranges import ByteRange
from aiovfs.fs.windows import LARGEST, SMALLEST, Window

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(3 * MIB + 12345)


class Four(AsyncFileSystem):
    """What an author writes who writes as little as possible. It counts, and can be made to wait or fail."""

    protocol = "four"
    cachable = False
    runs_anywhere = True
    objects: dict[str, bytes]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.objects = {}
        self.tags: dict[str, int] = {}
        self.ranges: list[tuple[int | None, int | None]] = []
        self.infos = 0
        self.gate: Callable[[], Any] | None = None
        self.fail: Callable[[int | None], None] = lambda start: None

    @property
    def fetched(self) -> int:
        return sum((end or len(CONTENT)) - (start or 0) for start, end in self.ranges)

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        self.infos += 1
        path = self._strip_protocol(path)
        if path in self.objects:
            return {"name": path, "type": "file", "size": len(self.objects[path]), "ETag": f"v{self.tags.get(path)}"}
        if any(name.startswith(path + "/") for name in self.objects):
            return {"name": path, "type": "directory", "size": None}
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        return [await self._info(name) for name in self.objects if self._parent(name) == path]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        self.ranges.append((start, end))
        if self.gate is not None:
            await self.gate()
        self.fail(start)
        await self._info(path)
        self.infos -= 1
        return self.objects[self._strip_protocol(path)][start:end]

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self._strip_protocol(path)
        if mode == "create" and path in self.objects:
            raise FileExistsError(path)
        self.objects[path] = bytes(value)
        self.tags[path] = self.tags.get(path, 0) + 1


@pytest.fixture
def fs() -> Four:
    """One large file, "big", and a text, "lines"."""
    made = Four()
    made.objects |= {"big": CONTENT, "lines": b"one\ntwo\nthree"}
    return made


@pytest.fixture(autouse=True)
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> BlockMemory:
    fresh = BlockMemory()
    monkeypatch.setattr(blocks, "_memory", fresh)
    return fresh


# Reading


async def test_reads_at_any_place_give_what_is_there(fs: Four) -> None:
    draw = random.Random(2)
    async with await fs.open_async("big") as file:
        for _ in range(60):
            offset, size = draw.randrange(len(CONTENT) + 100), draw.choice([0, 1, 4096, BLOCK_SIZE, 300_000])
            assert await file.pread(size, offset=offset) == CONTENT[offset : offset + size]
        assert file.tell() == 0
        assert file.size == len(CONTENT)
        assert await file.read() == CONTENT


async def test_seek_tell_read_and_readinto(fs: Four) -> None:
    async with await fs.open_async("lines", "rb") as file:
        assert await file.read(3) == b"one"
        assert file.tell() == 3
        assert await file.seek(-5, os.SEEK_END) == 8
        buffer = bytearray(10)
        assert await file.readinto(buffer) == 5
        assert bytes(buffer[:5]) == b"three"
        assert await file.read(1) == b""
        assert await file.seek(2, os.SEEK_SET) == 2
        assert await file.seek(2, os.SEEK_CUR) == 4
        assert await file.readline() == b"two\n"
        with pytest.raises(ValueError, match="before the start"):
            await file.seek(-1)
        with pytest.raises(io.UnsupportedOperation, match="'rb'"):
            await file.write(b"")
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        await file.read()


async def test_lines_are_iterated_over(fs: Four) -> None:
    fs.objects["long"] = b"x" * 100_000 + b"\n" + b"y" * 70_000
    async with await fs.open_async("lines") as file:
        assert [line async for line in file] == [b"one\n", b"two\n", b"three"]
    async with await fs.open_async("long") as file:
        assert [len(line) async for line in file] == [100_001, 70_000]


async def test_text_and_compression_are_decoded_and_encoded(fs: Four) -> None:
    async with await fs.open_async("text", "w", encoding="utf-16") as file:
        assert await file.write("größer\n") == 7
    assert fs.objects["text"] == "größer\n".encode("utf-16")
    async with await fs.open_async("text", "r", encoding="utf-16") as file:
        assert [line async for line in file] == ["größer\n"]
    async with await fs.open_async("packed.gz", "wb", compression="infer") as file:
        await file.write(CONTENT)
    assert gzip.decompress(fs.objects["packed.gz"]) == CONTENT
    async with await fs.open_async("packed.gz", compression="gzip") as file:
        assert await file.read(10) == CONTENT[:10]
        assert await file.seek(MIB) == MIB
        assert await file.read() == CONTENT[MIB:]
    for name in ("bz2", "xz", "lzma"):
        async with await fs.open_async(f"t.{name}", "wt", compression=name, encoding="utf-8") as file:
            await file.write("a\nb\n")
        async with await fs.open_async(f"t.{name}", "rt", compression=name, encoding="utf-8") as file:
            assert await file.readlines() == ["a\n", "b\n"]


async def test_what_is_not_there_and_what_is_a_directory_cannot_be_opened(fs: Four) -> None:
    fs.objects["dir/below"] = b""
    with pytest.raises(FileNotFoundError):
        await fs.open_async("nothing")
    with pytest.raises(IsADirectoryError):
        await fs.open_async("dir")
    with pytest.raises(ValueError, match="in place"):
        await fs.open_async("big", "r+b")


async def test_random_reads_fetch_one_block_each(fs: Four) -> None:
    fs.objects["big"] = bytes(64 * MIB)
    draw = random.Random(3)
    async with await fs.open_async("big") as file:
        for _ in range(50):
            assert len(await file.pread(4096, offset=draw.randrange(16000) * 4096)) == 4096
    assert fs.fetched <= 50 * 2 * BLOCK_SIZE <= 8 * MIB


async def test_reading_on_fetches_every_byte_once_and_no_more_ahead_than_the_window(fs: Four) -> None:
    fs.objects["big"] = bytes(20 * MIB)
    async with await fs.open_async("big") as file:
        while file.tell() < 6 * MIB:
            await file.read(128 * 1024)
        assert fs.fetched <= 6 * MIB + LARGEST
        while await file.read(128 * 1024):
            pass
    assert fs.fetched == 20 * MIB
    async with await fs.open_async("big") as file:
        assert len(await file.read(MIB)) == MIB
    assert fs.fetched == 20 * MIB, "two openings of one version share what they have"


async def test_several_requests_are_in_flight_ahead_of_a_reader(fs: Four) -> None:
    fs.objects["big"] = bytes(40 * MIB)
    async with await fs.open_async("big") as file:
        for _ in range(6):
            await file.read(MIB)
        held = anyio.Event()
        most, now = 0, 0

        async def gate() -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            if most >= 4:
                held.set()
            await held.wait()
            now -= 1

        fs.gate = gate
        while not held.is_set():
            assert await file.read(MIB)
        assert most >= 4


async def test_one_request_serves_all_who_wait_for_it(fs: Four) -> None:
    opened = anyio.Event()
    fs.gate = opened.wait
    async with await fs.open_async("big") as file, anyio.create_task_group() as group:

        async def read(number: int) -> None:
            assert await file.pread(number + 1, offset=1000) == CONTENT[1000 : 1001 + number]

        for number in range(20):
            group.start_soon(read, number)
        await anyio.wait_all_tasks_blocked()
        opened.set()
    assert len(fs.ranges) == 1


async def test_a_reader_that_is_cancelled_leaves_the_others_their_bytes(fs: Four) -> None:
    opened = anyio.Event()
    fs.gate = opened.wait
    got: list[bytes] = []
    async with await fs.open_async("big") as file, anyio.create_task_group() as group:
        first = anyio.CancelScope()

        async def read(scope: anyio.CancelScope) -> None:
            with scope:
                got.append(await file.pread(10, offset=0))

        group.start_soon(read, first)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(read, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        opened.set()
    assert got == [CONTENT[:10]]
    assert len(fs.ranges) == 2


async def test_a_failure_is_raised_and_the_next_read_asks_again(fs: Four) -> None:
    failures = [TimeoutError("first"), None]

    def fail(start: int | None) -> None:
        if (failure := failures.pop(0)) is not None:
            raise failure

    fs.fail = fail
    async with await fs.open_async("big") as file:
        with pytest.raises(TimeoutError, match="first"):
            await file.read(10)
        assert file.tell() == 0
        assert await file.read(10) == CONTENT[:10]


async def test_failed_readahead_is_nobodys_failure(fs: Four) -> None:
    fs.objects["big"] = bytes(10 * MIB)

    def fail(start: int | None) -> None:
        if start and start >= 3 * 128 * 1024 and len(fs.ranges) < 6:
            raise TimeoutError

    fs.fail = fail
    async with await fs.open_async("big") as file:
        for _ in range(3):
            await file.read(128 * 1024)
        while len(fs.ranges) < 6:
            fs.ranges.append((0, 0))
        assert len(await file.read()) == 10 * MIB - 3 * 128 * 1024


async def test_a_file_that_was_replaced_is_stale_and_not_a_mixture(fs: Four) -> None:
    async with await fs.open_async("big") as file:
        assert await file.read(10) == CONTENT[:10]
        await fs._pipe_file("big", bytes(len(CONTENT)))
        with pytest.raises(StaleError):
            await file.pread(10, offset=2 * MIB)
        # What was read before stays readable, of that version.
        assert await file.pread(10, offset=0) == CONTENT[:10]
    async with await fs.open_async("big") as file:
        assert await file.read(10) == bytes(10)


async def test_a_file_that_became_shorter_is_an_error_and_never_a_short_read(fs: Four) -> None:
    class Nameless(Four):
        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            return {**await super()._info(path), "ETag": None}

    nameless = Nameless()
    nameless.objects["a"] = CONTENT
    async with await nameless.open_async("a") as file:
        nameless.objects["a"] = CONTENT[: 2 * MIB]
        with pytest.raises(StaleError, match="shorter"):
            await file.read()


async def test_a_file_of_unknown_size_is_read_to_learn_it() -> None:
    class Sizeless(Four):
        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            return {**await super()._info(path), "size": None}

    sizeless = Sizeless()
    sizeless.objects["a"] = CONTENT
    async with await sizeless.open_async("a") as file:
        assert file.size == len(CONTENT)
        assert await file.pread(5, offset=MIB) == CONTENT[MIB : MIB + 5]
    assert sizeless.ranges == [(None, None)]


async def test_memory_stays_within_its_limit(fs: Four, fresh_memory: BlockMemory) -> None:
    fresh_memory.limit = MIB
    async with await fs.open_async("big") as file:
        while await file.read(100_000):
            assert fresh_memory.size <= MIB
        fresh_memory.limit = 0
        assert fresh_memory.size == 0
        assert await file.pread(200_000, offset=50_000) == CONTENT[50_000:250_000]


async def test_closing_gives_up_what_is_on_its_way(fs: Four) -> None:
    fs.objects["big"] = bytes(20 * MIB)
    async with await fs.open_async("big") as file:
        await file.read(MIB)
        await file.read(MIB)
        cancelled: list[int] = []

        async def gate() -> None:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                cancelled.append(1)
                raise

        fs.gate = gate
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(file.read, MIB)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
    while len(cancelled) < len(fs.ranges) - 2:
        await anyio.sleep(0)
    assert blocks.memory()._ahead == 0


def test_a_window_opens_when_reading_goes_on_and_closes_at_a_jump() -> None:
    window = Window()
    assert window.on_read(0, 4096) is None
    assert window.on_read(4096, 4096) is None
    first = window.on_read(8192, 4096)
    assert first == ByteRange(12288, 12288 + SMALLEST)
    offset, furthest = 12288, first.end
    while offset < 64 * MIB:
        ahead = window.on_read(offset, 65536)
        offset += 65536
        if ahead is not None:
            assert ahead.start in (furthest, offset)
            furthest = ahead.end
        assert furthest - offset <= window.size <= LARGEST
    assert window.size == LARGEST
    assert window.on_read(0, 4096) is None
    assert window.size == 0
    assert [Window(0).on_read(offset, 10) for offset in (0, 10, 20, 30)] == [None] * 4


async def test_blocks_of_different_versions_never_meet(fresh_memory: BlockMemory) -> None:
    async def ones(start: int, end: int) -> bytes:
        return b"1" * (end - start)

    async def twos(start: int, end: int) -> bytes:
        return b"2" * (end - start)

    first = Blocks(ones, 1000, key=("a", 1), cache=fresh_memory)
    second = Blocks(twos, 1000, key=("a", 2), cache=fresh_memory)
    third = Blocks(twos, 1000, cache=fresh_memory)
    for one, expected in ((first, b"1"), (second, b"2"), (third, b"2")):
        assert await one.read(0, 10) == expected * 10
        assert one.cached(990, 100) == expected * 10
    third.close()
    assert third.cached(0, 10) is None
    assert first.cached(0, 10) is not None


# Writing


async def test_nothing_is_seen_before_close_and_everything_after(fs: Four) -> None:
    file = await fs.open_async("new", "wb")
    assert await file.write(CONTENT[:MIB]) == MIB
    assert await file.write(memoryview(CONTENT)[MIB:]) == len(CONTENT) - MIB
    assert file.tell() == len(CONTENT)
    assert "new" not in fs.objects
    await file.close()
    await file.close()
    assert fs.objects["new"] == CONTENT


async def test_a_block_that_fails_stores_nothing(fs: Four) -> None:
    for mode in ("wb", "w", "ab"):
        for compression in (None, "gzip"):
            with pytest.raises(ZeroDivisionError):
                async with await fs.open_async("lines", mode, compression=compression) as file:
                    await file.write("half" if mode == "w" else b"half")
                    raise ZeroDivisionError
    assert fs.objects["lines"] == b"one\ntwo\nthree"


async def test_append_and_exclusive_creation(fs: Four) -> None:
    async with await fs.open_async("lines", "ab") as file:
        assert file.tell() == 13
        await file.write(b"\nfour")
    async with await fs.open_async("made by append", "ab") as file:
        await file.write(b"x")
    assert fs.objects["lines"] == b"one\ntwo\nthree\nfour"
    assert fs.objects["made by append"] == b"x"
    async with await fs.open_async("exclusive", "xb") as file:
        await file.write(b"1")
    with pytest.raises(FileExistsError):
        async with await fs.open_async("exclusive", "xb") as file:
            await file.write(b"2")
    assert fs.objects["exclusive"] == b"1"


async def test_exclusive_creation_is_kept_where_the_author_forgot_about_it() -> None:
    class Careless(Four):
        async def _pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:  # type: ignore[override]
            self.objects[self._strip_protocol(path)] = bytes(value)

    careless = Careless()
    careless.objects["a"] = b"1"
    with pytest.raises(FileExistsError):
        async with await careless.open_async("a", "xb") as file:
            await file.write(b"2")
    assert careless.objects["a"] == b"1"


async def test_a_store_that_refuses_is_heard_from_close(fs: Four, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("full up")

    monkeypatch.setattr(fs, "_pipe_file", refuse)
    file = await fs.open_async("new", "wb")
    await file.write(b"x")
    with pytest.raises(PermissionError, match="full up"):
        await file.close()
    assert file.closed


async def test_a_large_upload_does_not_stay_in_memory(fs: Four, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiovfs.fs import sources

    monkeypatch.setattr(sources, "SPOOL_LIMIT", MIB)
    async with await fs.open_async("large", "wb") as file:
        for start in range(0, len(CONTENT), 100_000):
            await file.write(CONTENT[start : start + 100_000])
    assert fs.objects["large"] == CONTENT


# The synchronous file


def test_open_reads_writes_seeks_and_iterates(fs: Four) -> None:
    with fs.open("big") as file:
        assert (file.size, file.tell(), file.seekable(), file.readable()) == (len(CONTENT), 0, True, True)
        assert file.read(10) == CONTENT[:10]
        assert file.seek(-10, 2) == len(CONTENT) - 10
        buffer = bytearray(20)
        assert file.readinto(buffer) == 10
        assert file.read() == b""
        file.seek(0)
        assert file.read() == CONTENT
        assert file.pread(4, 100) == CONTENT[100:104]
    assert file.closed
    with fs.open("lines", "r") as text:
        assert list(text) == ["one\n", "two\n", "three"]
    with fs.open("lines", "rb") as lines:
        assert lines.readline() == b"one\n"
        assert lines.readline(2) == b"tw"
        assert list(lines) == [b"o\n", b"three"]
    with fs.open("new", "wb") as file:
        assert file.write(CONTENT) == len(CONTENT)
        assert file.write(b"tail") == 4
        assert file.tell() == len(CONTENT) + 4
    assert fs.objects["new"] == CONTENT + b"tail"
    with fs.open("new.gz", "wt", compression="infer") as file:
        file.write("text")
    assert gzip.decompress(fs.objects["new.gz"]) == b"text"
    with fs.open("new.gz", "rt", compression="infer") as file:
        assert file.read() == "text"


def test_random_reads_through_open_fetch_little(fs: Four) -> None:
    fs.objects["big"] = bytes(64 * MIB)
    draw = random.Random(4)
    with fs.open("big") as file:
        for _ in range(50):
            file.seek(draw.randrange(16000) * 4096)
            assert len(file.read(4096)) == 4096
    assert fs.fetched <= 8 * MIB


def test_a_read_from_memory_stays_on_the_callers_thread(fs: Four, monkeypatch: pytest.MonkeyPatch) -> None:
    with fs.open("big") as file:
        file.read(10)
        with monkeypatch.context() as patch:
            patch.setattr(file, "_run", None)
            assert file.read(10) == CONTENT[10:20]


@pytest.mark.parametrize("cache_type", ["none", "all", "readahead", "bytes", "blockcache", "mmap", "first", "parts"])
def test_every_cache_type_of_fsspec_is_taken(fs: Four, cache_type: str) -> None:
    options = {"data": {(0, 100): CONTENT[:100]}} if cache_type == "parts" else {"maxblocks": 3}
    with fs.open("big", cache_type=cache_type, block_size=MIB, cache_options=options) as file:
        assert file.read(100) == CONTENT[:100]
        file.seek(MIB)
        assert file.read(1000) == CONTENT[MIB : MIB + 1000]
    if cache_type == "none":
        assert fs.fetched == 1100
    if cache_type == "all":
        assert fs.fetched == len(CONTENT)
    if cache_type == "parts":
        assert (0, BLOCK_SIZE) not in fs.ranges


class Everywhere(Four):
    """One set of objects for all instances, as a real store has."""

    cachable = True
    shared: dict[str, bytes] = {"big": CONTENT}  # noqa: RUF012
    shared_tags: dict[str, int] = {"big": 1}  # noqa: RUF012

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.objects, self.tags = self.shared, self.shared_tags


@pytest.fixture
def everywhere() -> Iterator[Everywhere]:
    yield Everywhere()
    Everywhere.shared["big"] = CONTENT
    Everywhere.shared_tags["big"] = 1


def test_an_open_file_pickles_and_goes_on_where_it_was(everywhere: Everywhere, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pickle finds classes by their module, and this one is imported from a file.
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Everywhere=Everywhere))
    with everywhere.open("big", block_size=MIB) as file:
        file.seek(1000)
        packed = pickle.dumps(file)
        with pickle.loads(packed) as again:
            assert again.tell() == 1000
            assert again.read(10) == CONTENT[1000:1010]
        everywhere.shared_tags["big"] = 2
        with pytest.raises(StaleError):
            pickle.loads(packed)
    with everywhere.open("other", "wb") as writing, pytest.raises(TypeError, match="pickled"):
        pickle.dumps(writing)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_open_file_can_be_read_in_a_forked_child(fs: Four) -> None:
    with fs.open("big") as file:
        assert file.read(10) == CONTENT[:10]
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                file.seek(2 * MIB)
                os.write(writing, b"yes" if file.read(100) == CONTENT[2 * MIB :][:100] else b"no")
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(pid, 0)
        assert os.read(reading, 10) == b"yes"
        os.close(reading)
        assert file.read(10) == CONTENT[10:20]


def test_a_failed_block_of_open_stores_nothing(fs: Four) -> None:
    for mode, compression in (("wb", None), ("w", None), ("ab", None), ("wb", "gzip"), ("w", "gzip")):
        with pytest.raises(ZeroDivisionError), fs.open("lines", mode, compression=compression) as file:
            file.write("half" if mode == "w" else b"half")
            raise ZeroDivisionError
    assert fs.objects["lines"] == b"one\ntwo\nthree"


def test_many_threads_read_one_version_at_once(fs: Four) -> None:
    wrong: list[int] = []
    with fs.open("big") as file:

        def read(seed: int) -> None:
            draw = random.Random(seed)
            for _ in range(50):
                offset = draw.randrange(len(CONTENT))
                if file.pread(4096, offset) != CONTENT[offset : offset + 4096]:
                    wrong.append(offset)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_open_is_refused_where_it_would_block_a_loop(fs: Four) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="running event loop"):
            fs.open("big")

    anyio.run(main)


# Local files and memory


@pytest.fixture(params=["local", "memory"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[AsyncFileSystem, str]:
    if request.param == "local":
        return LocalFileSystem(skip_instance_cache=True), str(tmp_path)
    return MemoryFileSystem(tree=str(tmp_path), skip_instance_cache=True), "/here"


async def test_files_in_place_are_read_written_and_changed(places: tuple[AsyncFileSystem, str]) -> None:
    fs, top = places
    async with await fs.open_async(f"{top}/a", "wb") as file:
        await file.write(b"one\ntwo\n")
    async with await fs.open_async(f"{top}/a", "ab") as file:
        assert file.tell() == 8
        await file.write(b"three\n")
    async with await fs.open_async(f"{top}/a", "r+b") as file:
        await file.seek(4)
        await file.write(b"TWO")
        await file.seek(0)
        assert await file.read() == b"one\nTWO\nthree\n"
        assert await file.pread(3, offset=4) == b"TWO"
    async with await fs.open_async(f"{top}/a", "r") as file:
        assert [line async for line in file] == ["one\n", "TWO\n", "three\n"]
    with pytest.raises(FileExistsError):
        await fs.open_async(f"{top}/a", "xb")
    with pytest.raises(FileNotFoundError):
        await fs.open_async(f"{top}/none")


def test_files_of_both_pickle_at_their_position(places: tuple[AsyncFileSystem, str]) -> None:
    fs, top = places
    fs.pipe_file(f"{top}/a", b"0123456789")
    with fs.open(f"{top}/a") as file:
        file.seek(4)
        with pickle.loads(pickle.dumps(file)) as again:
            assert again.read() == b"456789"
        assert file.size == 10


def test_content_on_disk_is_replaced_in_one_step_keeping_mode_and_links(tmp_path: Path) -> None:
    fs = LocalFileSystem(skip_instance_cache=True)
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "link").symlink_to("a")
    held = (tmp_path / "a").open("rb")
    fs.pipe_file(str(tmp_path / "link"), b"new content")
    assert held.read() == b"old"
    held.close()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new content"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    os.link(tmp_path / "a", tmp_path / "second name")
    fs.pipe_file(str(tmp_path / "a"), b"both")
    assert (tmp_path / "second name").read_bytes() == b"both"
    assert sorted(os.listdir(tmp_path)) == ["a", "link", "second name"]


def test_an_atomic_file_on_disk_appears_when_it_is_closed(tmp_path: Path) -> None:
    fs = LocalFileSystem(skip_instance_cache=True)
    name = str(tmp_path / "a")
    with fs.open(name, "wb", atomic=True) as file:
        file.write(b"whole")
        assert not os.path.exists(name)
    with pytest.raises(ZeroDivisionError), fs.open(name, "wb", atomic=True) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a"]


async def test_what_may_not_be_looked_at_is_an_error_and_not_an_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = LocalFileSystem(asynchronous=True, skip_instance_cache=True)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    answers = {name: await fs._exists(f"{tmp_path}/{name}") for name in ("file", "file/x", "loop", "dangling", "no")}
    assert answers == {"file": True, "file/x": False, "loop": False, "dangling": False, "no": False}
    assert await fs._lexists(f"{tmp_path}/dangling")
    real = os.stat

    def refuse(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if path == f"{tmp_path}/file":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(PermissionError):
        await fs._exists(f"{tmp_path}/file")
