"""The programs that fsspec's page on asynchronous file systems leads its reader to write, section by section, on ours.

Source: the section names of fsspec's documentation, "Async".
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import fsspec
import fsspec.asyn
import pytest
from fsspec.config import conf

import aiovfs.compat.fsspec as asyn
from aiovfs.compat.fsspec import AsyncFileSystem, get_loop, sync, sync_wrapper
from aiovfs.fs import concurrency
from aiovfs.fs.published import AioFileSystem, AioMemoryFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper


@pytest.fixture
def urls(nginx: Any) -> list[str]:
    folder = nginx.files / "documented"
    folder.mkdir(exist_ok=True)
    for number in range(1, 4):
        (folder / f"{number}.txt").write_text(f"content {number}")
    return [f"{nginx.url}documented/{number}.txt" for number in range(1, 4)]


CONTENTS = [b"content 1", b"content 2", b"content 3"]


# Async


def test_the_class_attribute_tells_which_are_async() -> None:
    from aiovfs.fs.http import HTTPFileSystem

    assert HTTPFileSystem.async_impl
    assert AsyncFileSystemWrapper.async_impl
    assert issubclass(HTTPFileSystem, fsspec.asyn.AsyncFileSystem)
    for name in ("_info", "_ls", "_cat_file", "_get", "_put", "_find", "_glob", "_walk", "_rm"):
        assert hasattr(AsyncFileSystem, name)


# Synchronous API


@pytest.mark.servers
def test_synchronous_api(urls: list[str]) -> None:
    fs = fsspec.filesystem("aiohttp")
    out = fs.cat(urls)  # fetches data concurrently
    assert list(out.values()) == CONTENTS
    sync(fs.loop, fs._close)


@pytest.mark.servers
def test_synchronous_api_from_many_threads(urls: list[str]) -> None:
    fs = fsspec.filesystem("aiohttp")
    outs: list[Any] = []
    threads = [threading.Thread(target=lambda: outs.append(list(fs.cat(urls).values()))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outs == [CONTENTS] * 10
    sync(fs.loop, fs._close)


def test_documentation_of_the_synchronous_methods_is_fsspecs_unless_the_class_has_its_own() -> None:
    class Documented(AsyncFileSystem):
        async def _cat_file(self, path: str, **kwargs: Any) -> bytes:
            """Read it all."""
            return b""

    assert Documented.cat_file.__doc__ == "Read it all."
    assert Documented.ls.__doc__ == (fsspec.AbstractFileSystem.ls.__doc__ or "").strip() or "List objects" in (
        Documented.ls.__doc__ or ""
    )


# Coroutine batching


class Counting(AsyncFileSystem):
    """Knows how many of its coroutines were in flight together."""

    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.running = self.most = 0

    async def _cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return path.encode()


def test_coroutine_batching_is_affected_in_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"f/{number}" for number in range(100)]
    monkeypatch.setattr(concurrency, "_NOFILES_DEFAULT_BATCH_SIZE", None)
    monkeypatch.delitem(conf, "nofiles_gather_batch_size", raising=False)

    def most(**kwargs: Any) -> int:
        fs = Counting()
        fs.cat(paths, **kwargs)
        return fs.most

    assert most() == 100
    asyn._NOFILES_DEFAULT_BATCH_SIZE = 20  # type: ignore[attr-defined]
    assert most() == 20
    monkeypatch.setitem(conf, "nofiles_gather_batch_size", 10)
    assert most() == 10
    assert most(batch_size=5) == 5
    assert most(batch_size=-1) == 100


# Using from Async


@pytest.mark.servers
def test_using_from_async(urls: list[str]) -> None:
    async def work_coroutine() -> Any:
        fs = fsspec.filesystem("aiohttp", asynchronous=True)
        session = await fs.set_session()  # creates client
        out = await fs._cat(urls)  # fetches data concurrently
        await session.close()  # explicit destructor
        return out

    for _ in range(2):  # a second run has a loop, and a session, of its own
        assert list(asyncio.run(work_coroutine()).values()) == CONTENTS


async def test_using_from_any_async_library(tmp_path: Path) -> None:
    fs = fsspec.filesystem("aiofile", asynchronous=True)
    assert isinstance(fs, AioFileSystem)
    names = [str(tmp_path / str(number)) for number in range(10)]
    await fs._pipe({name: name.encode() for name in names})
    assert await fs._cat(names) == {name: name.encode() for name in names}


# Bring your own loop


@pytest.mark.servers
def test_bring_your_own_loop(urls: list[str]) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        fs = fsspec.filesystem("aiohttp", loop=loop, skip_instance_cache=True)
        out = fs.cat(urls)  # fetches data concurrently
        assert list(out.values()) == CONTENTS
        assert fs.loop is loop
        sync(loop, fs._close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# Implementing new backends


class MyFileSystem(AsyncFileSystem):
    """Nothing but the coroutines of the page, a session made in `__init__`, and one method of its own."""

    protocol = "mine"
    cachable = False

    def __init__(self, asynchronous: bool = False, **kwargs: Any) -> None:
        super().__init__(asynchronous=asynchronous, **kwargs)
        self.objects: dict[str, bytes] = {}
        self.session = ""
        if not asynchronous:
            sync(self.loop, self._connect)

    async def _connect(self) -> None:
        await asyncio.sleep(0)
        self.session = "connected"

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path in self.objects:
            return {"name": path, "size": len(self.objects[path]), "type": "file"}
        if path == "" or any(name.startswith(path + "/") for name in self.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        if path in self.objects:
            infos = [await self._info(path)]
        else:
            top = path + "/" if path else ""
            names = {top + name[len(top) :].partition("/")[0] for name in self.objects if name.startswith(top)}
            if not names:
                raise FileNotFoundError(path)
            infos = [await self._info(name) for name in sorted(names)]
        return infos if detail else [info["name"] for info in infos]

    async def _cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        await asyncio.sleep(0)
        try:
            return self.objects[self._strip_protocol(path)][start:end]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def _pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self.objects[self._strip_protocol(path)] = bytes(value)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        if self.objects.pop(path, None) is None:
            raise FileNotFoundError(path)

    async def _my_method(self) -> str:
        await asyncio.sleep(0)
        return self.session

    my_method = sync_wrapper(_my_method)


def test_implementing_new_backends(tmp_path: Path) -> None:
    fs = MyFileSystem()
    assert fs.my_method() == "connected"
    fs.pipe({"d/a": b"1", "d/e/b": b"22", "d/e/c": b"333"})
    assert fs.cat("mine://d/a") == b"1"
    assert fs.cat_ranges(["d/e/c", "d/e/c", "d/e/b"], [0, 2, 0], [1, 3, 1], max_gap=1) == [b"3", b"3", b"2"]
    assert fs.find("d") == ["d/a", "d/e/b", "d/e/c"]
    assert fs.glob("d/*/?") == ["d/e/b", "d/e/c"]
    assert fs.du("d") == 6
    assert fs.isdir("d/e")
    assert not fs.exists("d/x")
    assert list(fs.walk("d")) == [("d", ["e"], ["a"]), ("d/e", [], ["b", "c"])]
    fs.copy("d", "copy", recursive=True)
    assert fs.cat("copy/e/b") == b"22"
    fs.get("d", str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got" / "e" / "c").read_bytes() == b"333"
    fs.put(str(tmp_path / "got"), "put", recursive=True)
    assert fs.find("put") == ["put/a", "put/e/b", "put/e/c"]
    fs.mv("d/a", "moved")
    assert fs.cat("moved") == b"1"
    fs.rm("put", recursive=True)
    assert not fs.exists("put")
    fs.touch("empty")
    assert fs.size("empty") == 0
    assert fs.info("moved")["size"] == 1
    with pytest.raises(FileNotFoundError):
        fs.cat("missing")


def test_resources_are_made_by_a_coroutine_when_the_instance_is_asynchronous() -> None:
    async def main() -> str:
        fs = MyFileSystem(asynchronous=True)
        await fs._connect()
        return await fs._my_method()

    assert asyncio.run(main()) == "connected"


def test_a_destructor_calls_sync_with_the_loop_attribute() -> None:
    closed: list[str] = []

    class Closing(MyFileSystem):
        async def _disconnect(self) -> None:
            closed.append(self.session)

        def close(self) -> None:
            sync(self.loop, self._disconnect)

    Closing().close()
    assert closed == ["connected"]
    assert MyFileSystem().loop is get_loop()


# AsyncFileSystemWrapper


async def test_async_file_system_wrapper(tmp_path: Path) -> None:
    source, destination = tmp_path / "file.txt", tmp_path / "destination.txt"
    source.write_text("content")
    sync_fs = fsspec.filesystem("file")  # by-default synchronous, local filesystem
    async_fs = AsyncFileSystemWrapper(sync_fs)
    await async_fs._copy(str(source), str(destination))
    assert destination.read_text() == "content"


def test_our_schemes_shadow_none_of_fsspecs() -> None:
    from importlib.metadata import entry_points

    names = {each.name for each in entry_points(group="fsspec.specs") if each.value.startswith("aiovfs.")}
    assert names >= {"aiofile", "aiomemory", "aiohttp", "aiohttps"}
    assert all(name.startswith("aio") for name in names)
    fs, path = fsspec.core.url_to_fs("aiomemory://documented/a")
    assert isinstance(fs, AioMemoryFileSystem)
    with fsspec.open("aiomemory://documented/a", "wb") as file:
        file.write(b"x")
    assert fs.cat(path) == b"x"
    assert fs.unstrip_protocol(path) == "aiomemory:///documented/a"
    assert type(fsspec.filesystem("memory")).__module__ == "fsspec.implementations.memory"
