"""A synchronous file system made async, with nothing lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import backends
import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper as FsspecWrapper
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from aiovfs.fs.wrapper import AsyncFileSystemWrapper


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    fs = MemoryFileSystem(skip_instance_cache=True)
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_fsspecs_wrapper_loses_what_is_written(memory: MemoryFileSystem) -> None:
    """Why ours exists. When this fails, fsspec has mended it."""
    with FsspecWrapper(memory, asynchronous=False).open("/a", "wb") as file:
        file.write(b"lost")
    assert not memory.exists("/a")


def test_open_writes_what_is_written(memory: MemoryFileSystem) -> None:
    with AsyncFileSystemWrapper(memory, asynchronous=False).open("/a", "wb") as file:
        file.write(b"kept")
    assert memory.cat_file("/a") == b"kept"


def test_open_takes_text_and_compression(memory: MemoryFileSystem) -> None:
    fs = AsyncFileSystemWrapper(memory, asynchronous=False)
    with fs.open("/a.gz", "wt", compression="gzip") as file:
        file.write("text\n")
    with fs.open("/a.gz", "rt", compression="infer") as file:
        assert file.read() == "text\n"
    assert memory.cat_file("/a.gz")[:2] == b"\x1f\x8b"


async def test_open_async_reads_and_writes(memory: MemoryFileSystem) -> None:
    fs = AsyncFileSystemWrapper(memory)
    async with await fs.open_async("/a", "wb") as file:
        assert await file.write(b"one\ntwo\n") == 8
    async with await fs.open_async("/a") as file:
        assert await file.seek(4) == 4
        assert await file.read() == b"two\n"
        await file.seek(0)
        assert [line async for line in file] == [b"one\n", b"two\n"]
        assert file.tell() == 8
    assert file.closed
    async with await fs.open_async("/a", "r") as text:
        assert await text.read() == "one\ntwo\n"
    async with await fs.open_async("/a.gz", "w", compression="infer") as text:
        await text.write("packed\n")
    assert memory.cat_file("/a.gz")[:2] == b"\x1f\x8b"
    async with await fs.open_async("/a.gz", "r", compression="infer") as text:
        assert [line async for line in text] == ["packed\n"]


async def test_every_method_reaches_the_wrapped_file_system() -> None:
    inner = backends.OneThread()
    fs = AsyncFileSystemWrapper(inner)
    await fs._touch("a")
    assert inner.files == {"a": b""}
    await fs._mkdir("d")
    await fs._rmdir("d")
    assert "d" not in inner.directories
    assert await fs._created("a") == "long ago"
    await fs._chmod("a", 0o600)  # not a method of fsspec at all
    assert inner.modes == {"a": 0o600}
    await fs._mv_file("a", "b")
    assert set(inner.files) == {"b"}


def test_every_method_reaches_the_wrapped_file_system_for_synchronous_callers() -> None:
    inner = backends.OneThread()
    fs = AsyncFileSystemWrapper(inner, asynchronous=False)
    fs.touch("a")
    fs.chmod("a", 0o600)
    fs.mkdir("d")
    fs.rmdir("d")
    fs.pipe_file("b", b"content")
    assert (inner.files, inner.modes, inner.directories) == ({"a": b"", "b": b"content"}, {"a": 0o600}, {""})
    assert fs.ukey("b") == inner.ukey("b")
    assert fs.created("b") == "long ago"
    assert fs.head("b", 3) == b"con"


def test_a_public_method_is_never_one_that_silently_does_nothing() -> None:
    """Whatever the wrapped class overrides is either written out in the wrapper or passed on."""
    fs = AsyncFileSystemWrapper(backends.OneThread(), asynchronous=False)
    passed_on = {name for name in vars(backends.OneThread) if not name.startswith("_") and callable(getattr(fs, name))}
    for name in passed_on - {"fail"}:
        owner = next(cls for cls in type(fs).__mro__ if name in vars(cls)) if hasattr(type(fs), name) else None
        assert owner not in (fsspec.AbstractFileSystem, fsspec.asyn.AsyncFileSystem), name


async def test_bulk_operations_go_file_by_file(tmp_path: Path) -> None:
    inner = LocalFileSystem(skip_instance_cache=True)
    running, most, lock, gate = 0, 0, threading.Lock(), threading.Event()
    cat_file = inner.cat_file

    def watched(path: str, **kwargs: Any) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 4:
                gate.set()
        gate.wait(10)
        with lock:
            running -= 1
        return cat_file(path, **kwargs)

    inner.cat_file = watched
    fs = AsyncFileSystemWrapper(inner, max_concurrent_tasks=4)
    names = [str(tmp_path / str(number)) for number in range(12)]
    await fs._pipe({name: name.encode() for name in names})
    assert await fs._cat(names) == {name: name.encode() for name in names}
    assert most == 4


async def test_a_semaphore_is_held_during_each_call(memory: MemoryFileSystem) -> None:
    semaphore = anyio.Semaphore(2)
    most = 0
    inner_info = memory.info

    def info(path: str, **kwargs: Any) -> Any:
        nonlocal most
        most = max(most, 2 - semaphore.value)
        return inner_info(path, **kwargs)

    memory.info = info
    fs = AsyncFileSystemWrapper(memory, semaphore=semaphore)
    memory.pipe_file("/a", b"")
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(fs._info, "/a")
    assert 0 < most <= 2


async def test_a_class_that_is_not_thread_safe_gets_one_call_at_a_time() -> None:
    inner = backends.OneThread()
    fs, other = AsyncFileSystemWrapper(inner), AsyncFileSystemWrapper(inner)
    await fs._pipe({str(number): b"x" for number in range(30)})
    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(fs._info, str(number))
            group.start_soon(other._ls, "")


async def test_get_and_put_copy_trees(memory: MemoryFileSystem, tmp_path: Path) -> None:
    fs = AsyncFileSystemWrapper(memory)
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/a").write_bytes(b"1")
    (tmp_path / "in/sub/b").write_bytes(b"2")
    await fs._put(str(tmp_path / "in"), "/tree", recursive=True)
    assert await fs._find("/tree") == ["/tree/a", "/tree/sub/b"]
    await fs._get("/tree", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/sub/b").read_bytes() == b"2"
    await fs._rm("/tree", recursive=True)
    assert not await fs._exists("/tree")


async def test_a_network_error_in_a_walk_is_raised() -> None:
    inner = backends.OneThread()
    fs = AsyncFileSystemWrapper(inner)
    await fs._mkdir("d")
    await fs._pipe_file("d/a", b"x")

    def fail(call: str) -> None:
        if call == "ls":
            raise ConnectionResetError("gone")

    inner.fail = fail
    with pytest.raises(ConnectionResetError):
        await fs._find("")


def test_an_async_file_system_is_not_wrapped() -> None:
    with pytest.raises(TypeError, match="async already"):
        AsyncFileSystemWrapper(backends.Objects(), asynchronous=False)
