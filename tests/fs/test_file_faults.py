"""What goes wrong with fsspec's own files, and not with ours: the same author's class on either base."""

# ruff: noqa: PT012  (blocks that write and then fail are what is tested)

from __future__ import annotations

import random
from typing import Any

import fsspec.asyn
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper as FsspecWrapper
from fsspec.implementations.memory import MemoryFileSystem as FsspecMemory

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper

MIB = 1024 * 1024


class Counting:
    """Files of zeros of any size; it counts what is fetched, and keeps what is piped."""

    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fetched = 0
        self.requests = 0
        self.objects: dict[str, bytes] = {}

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": 256 * MIB}

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        return []

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        size = min(end or 256 * MIB, 256 * MIB) - (start or 0)
        self.fetched += size
        self.requests += 1
        return bytes(size)

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self.objects[path] = bytes(value)


class Theirs(Counting, fsspec.asyn.AsyncFileSystem):  # type: ignore[misc]
    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return fsspec.spec.AbstractBufferedFile(self, path, mode, **kwargs)


class Ours(Counting, AsyncFileSystem):
    runs_anywhere = True


def read_at_random(fs: Any, reads: int) -> None:
    draw = random.Random(1)
    with fs.open("large", "rb") as file:
        for _ in range(reads):
            file.seek(draw.randrange(65536) * 4096)
            assert len(file.read(4096)) == 4096


def test_random_reads_fetch_a_hundredfold_less() -> None:
    theirs, ours = Theirs(), Ours()
    read_at_random(theirs, 50)
    read_at_random(ours, 50)
    assert theirs.fetched > 200 * MIB
    assert ours.fetched <= 4 * MIB


def test_a_block_that_fails_leaves_half_a_file_there_and_none_here() -> None:
    theirs, ours = FsspecMemory(skip_instance_cache=True), MemoryFileSystem(tree="half", skip_instance_cache=True)
    for fs in (theirs, ours):
        with pytest.raises(ZeroDivisionError), fs.open("/half-written", "wb") as file:
            file.write(b"half")
            raise ZeroDivisionError
    assert theirs.cat_file("/half-written") == b"half"
    theirs.rm("/half-written")
    assert not ours.exists("/half-written")


def test_a_subclass_without_an_open_of_its_own_loses_writes_there_and_stores_them_here() -> None:
    class Bare(Counting, fsspec.asyn.AsyncFileSystem):  # type: ignore[misc]
        pass

    theirs, ours = Bare(), Ours()
    for fs in (theirs, ours):
        with fs.open("a", "wb") as file:
            file.write(b"written")
    assert theirs.objects == {}
    assert ours.objects == {"a": b"written"}


def test_the_wrapper_loses_what_is_written_there_and_stores_it_here() -> None:
    store = FsspecMemory(skip_instance_cache=True)
    with FsspecWrapper(store, asynchronous=False).open("/lost", "wb") as file:
        file.write(b"x")
    assert not store.exists("/lost")
    with AsyncFileSystemWrapper(store, asynchronous=False).open("/kept", "wb") as file:
        file.write(b"x")
    assert store.cat_file("/kept") == b"x"
    store.rm("/kept")


def test_a_transaction_does_not_wait_with_pipe_file_there_and_does_here() -> None:
    theirs, ours = Theirs(), Ours()
    for fs in (theirs, ours):
        with pytest.raises(ZeroDivisionError), fs.transaction:
            fs.pipe_file("a", b"x")
            raise ZeroDivisionError
    assert theirs.objects == {"a": b"x"}
    assert ours.objects == {}


async def test_there_is_no_async_file_there_and_there_is_one_here() -> None:
    with pytest.raises(NotImplementedError):
        await Theirs(asynchronous=True).open_async("a")
    async with await Ours(asynchronous=True).open_async("a") as file:
        assert await file.seek(-10, 2) == 256 * MIB - 10
        assert len(await file.read()) == 10


async def test_text_is_refused_there_and_decoded_here() -> None:
    ours = Ours(asynchronous=True)
    async with await ours.open_async("text", "w", encoding="utf-8") as file:
        await file.write("ü")
    assert ours.objects["text"] == "ü".encode()
