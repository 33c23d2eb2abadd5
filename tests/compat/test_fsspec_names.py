"""Backends written for `fsspec.asyn` run on ours with an import changed, and its names do here what they do there."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import anyio
import fsspec.asyn
import pytest
from fsspec.callbacks import Callback
from fsspec.config import conf

import aiovfs.compat.fsspec as asyn
from aiovfs.compat import fsspec as ours
from aiovfs.fs import concurrency
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.bulk import Bulk


def ported(name: str) -> ModuleType:
    """The module `name` as installed, with `fsspec.asyn` replaced in its text, and not known to anybody else."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        source = file.read()
    changed = source.replace("from fsspec.asyn import", "from aiovfs.compat.fsspec import")
    assert changed != source
    module = ModuleType(name)
    module.__file__ = spec.origin
    module.__package__ = name.rpartition(".")[0]
    exec(compile(changed, spec.origin, "exec"), module.__dict__)
    return module


@pytest.mark.servers
def test_fsspecs_http_file_system_runs_on_ours_with_its_import_changed(nginx: Any, tmp_path: Any) -> None:
    folder = nginx.files / "ported"
    folder.mkdir(exist_ok=True)
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 10)
    module = ported("fsspec.implementations.http")
    fs = module.HTTPFileSystem(skip_instance_cache=True)
    assert isinstance(fs, AsyncFileSystem)
    urls = [f"{nginx.url}ported/{number}.bin" for number in range(20)]
    assert fs.cat(urls) == {url: bytes([number]) * 10 for number, url in enumerate(urls)}
    assert fs.cat_ranges(urls, 2, 4, max_gap=0) == [bytes([number]) * 2 for number in range(20)]
    assert sorted(fs.find(f"{nginx.url}ported/")) == sorted(urls)
    assert fs.glob(f"{nginx.url}ported/1*.bin") == sorted([urls[1], *urls[10:]])
    fs.get(f"{nginx.url}ported/", str(tmp_path) + "/", recursive=True)
    assert (tmp_path / "7.bin").read_bytes() == b"\x07" * 10
    with fs.open(urls[3], "rb") as file:
        file.seek(8)
        assert file.read() == b"\x03\x03"
    asyn.sync(fs.loop, fs._session.close)


@pytest.mark.servers
def test_s3fs_runs_on_ours_with_its_import_changed(bucket: str, s3_server: Any, tmp_path: Any) -> None:
    module = ported("s3fs.core")
    fs = module.S3FileSystem(**s3_server.storage_options, skip_instance_cache=True)
    assert isinstance(fs, AsyncFileSystem)
    names = [f"{bucket}/tree/{number}" for number in range(10)]
    fs.pipe({name: name.encode() for name in names})
    assert fs.cat(names) == {name: name.encode() for name in names}
    assert fs.find(f"{bucket}/tree") == names
    with fs.open(f"{bucket}/written", "wb") as file:
        file.write(b"x" * 1000)
    assert fs.info(f"{bucket}/written")["size"] == 1000
    fs.get(f"{bucket}/tree", str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got" / "3").read_bytes() == names[3].encode()
    asyn.sync(fs.loop, fs.s3.__aexit__, None, None, None)


def test_every_name_that_backends_take_from_fsspec_is_there() -> None:
    taken = [
        "AsyncFileSystem",
        "AbstractAsyncStreamedFile",
        "FSTimeoutError",
        "_run_coros_in_chunks",
        "sync",
        "sync_wrapper",
        "_get_batch_size",
        "get_loop",
        "loop",
        "iothread",
        "trailing_sep",
        "running_async",
        "async_methods",
        "mirror_sync_methods",
        "async_gen_wrapper",
        "get_lock",
        "reset_lock",
        "reset_after_fork",
        "get_running_loop",
        "_DEFAULT_BATCH_SIZE",
        "_NOFILES_DEFAULT_BATCH_SIZE",
        "private",
        "AbstractBufferedFile",
        "AbstractFileSystem",
        "DEFAULT_CALLBACK",
        "_dump_running_tasks",
        "sync_teardown",
        "_on_loop_thread",
        "_defer_task",
    ]
    assert [name for name in taken if not hasattr(asyn, name)] == []
    assert set(fsspec.asyn.async_methods) <= set(asyn.async_methods)


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("gather_batch_size", "nofiles_gather_batch_size"):
        monkeypatch.delitem(conf, key, raising=False)
    for name in ("_DEFAULT_BATCH_SIZE", "_NOFILES_DEFAULT_BATCH_SIZE"):
        monkeypatch.setattr(concurrency, name, None)
        monkeypatch.setattr(fsspec.asyn, name, getattr(fsspec.asyn, name))


@pytest.mark.parametrize(
    ("variable", "key", "nofiles"),
    [
        ("_DEFAULT_BATCH_SIZE", "gather_batch_size", False),
        ("_NOFILES_DEFAULT_BATCH_SIZE", "nofiles_gather_batch_size", True),
    ],
)
def test_the_batch_size_comes_from_the_variable_then_the_key_then_the_instance_then_the_call(
    batch_sizes: None, monkeypatch: pytest.MonkeyPatch, variable: str, key: str, nofiles: bool
) -> None:
    fs = AsyncFileSystem(asynchronous=True, skip_instance_cache=True)

    def size(given: int | None = None) -> int:
        return concurrency.batch_size_of(fs, given, nofiles=nofiles)

    monkeypatch.setattr(fsspec.asyn, variable, 7)
    assert size() == asyn._get_batch_size(nofiles) == 7
    assert getattr(ours, variable) == 7
    setattr(ours, variable, 9)
    assert size() == asyn._get_batch_size(nofiles) == 9
    monkeypatch.setitem(conf, key, 11)
    assert size() == asyn._get_batch_size(nofiles) == 11
    fs.batch_size = 13
    assert size() == 13
    assert size(15) == 15
    assert size(-1) == -1
    delattr(ours, variable)
    del conf[key]
    fs.batch_size = None
    assert size() == 7


def test_fsspec_does_not_heed_its_own_variable_for_calls_that_involve_files(
    batch_sizes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its documentation says that it does. When this fails, it does."""
    monkeypatch.setattr(fsspec.asyn, "_DEFAULT_BATCH_SIZE", 7)
    assert fsspec.asyn._get_batch_size() != 7


async def test_coroutines_run_in_a_window_in_order_with_progress() -> None:
    running = most = 0
    callback = Callback()

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(number % 3):
            await checkpoint()
        running -= 1
        return number

    results = await asyn._run_coros_in_chunks([work(number) for number in range(50)], batch_size=4, callback=callback)
    assert results == list(range(50))
    assert most == 4
    assert callback.value == 50


async def test_coroutines_are_taken_from_a_generator_when_their_turn_comes() -> None:
    made: list[int] = []
    ended: list[int] = []
    ahead: list[int] = []

    async def work(number: int) -> None:
        await checkpoint()
        ahead.append(len(made) - len(ended))
        ended.append(number)

    def coros() -> Iterator[Any]:
        for number in range(100):
            made.append(number)
            yield work(number)

    await asyn._run_coros_in_chunks(coros(), batch_size=5)
    assert len(ended) == 100
    assert max(ahead) <= 5


async def test_the_first_failure_stops_the_rest_and_nothing_is_left_unawaited() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> None:
        if number == 2:
            raise PermissionError(number)
        try:
            await forever()
        except BaseException:
            cancelled.append(number)
            raise

    with pytest.raises(PermissionError):
        await asyn._run_coros_in_chunks([work(number) for number in range(20)], batch_size=5)
    assert set(cancelled) <= {0, 1, 3, 4}
    results = await asyn._run_coros_in_chunks(
        [work(2), immediately(5)], batch_size=2, return_exceptions=True, timeout=30
    )
    assert isinstance(results[0], PermissionError)
    assert results[1] == 5


async def test_a_time_out_is_for_each_coroutine() -> None:
    results = await asyn._run_coros_in_chunks(
        [forever(), immediately(1)], batch_size=-1, timeout=0.01, return_exceptions=True
    )
    assert isinstance(results[0], TimeoutError)
    assert results[1] == 1
    with pytest.raises(ValueError, match="batch_size=0"):
        await asyn._run_coros_in_chunks([], batch_size=0)


async def forever() -> None:
    await anyio.sleep_forever()


async def checkpoint() -> None:
    await anyio.lowlevel.checkpoint()


async def immediately(value: int) -> int:
    return value


def test_an_object_gets_the_blocking_form_of_the_coroutines_it_has() -> None:
    class Bare(fsspec.AbstractFileSystem):
        cachable = False
        loop = property(lambda self: asyn.get_loop())

        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"name": path}

        async def _walk(self, path: str) -> Any:
            yield path
            await asyncio.sleep(0)
            yield path + "/a"

        def exists(self, path: str, **kwargs: Any) -> bool:
            return True

        async def _exists(self, path: str, **kwargs: Any) -> bool:
            raise AssertionError

    bare = Bare()
    asyn.mirror_sync_methods(bare)
    assert bare.info("x") == {"name": "x"}
    assert list(bare.walk("x")) == ["x", "x/a"]
    assert bare.exists("x") is True


def test_the_loop_is_in_its_slot_and_can_be_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    first = asyn.get_loop()
    assert asyn.loop[0] is first
    assert asyn.iothread[0].is_alive()
    asyn.reset_lock()
    assert asyn.loop[0] is None
    second = asyn.get_loop()
    assert second is not first
    asyn.loop[0] = None
    assert asyn.get_loop() is not second
    for old in (first, second):
        old.call_soon_threadsafe(old.stop)
    with pytest.raises(TypeError):
        asyn.loop[0] = first
    with asyn.get_lock():
        pass


def test_tasks_on_the_loop_are_shown_and_ended(capsys: pytest.CaptureFixture[str]) -> None:
    begun = threading.Event()
    outcome: list[BaseException] = []

    async def stuck() -> None:
        begun.set()
        await asyncio.sleep(3600)

    def call() -> None:
        try:
            asyn.sync(asyn.get_loop(), stuck)
        except BaseException as exc:
            outcome.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    begun.wait()
    found = asyn._dump_running_tasks()
    thread.join()
    assert isinstance(outcome[0], asyncio.CancelledError)
    assert any(
        "stuck" in "".join(each["stack"]) or "stuck" in each["file"] or each["locals"] is not None for each in found
    )


def test_the_contract_is_one_class_for_ours_and_the_ported() -> None:
    assert asyn.AsyncFileSystem is AsyncFileSystem
    assert issubclass(AsyncFileSystem, (Bulk, fsspec.asyn.AsyncFileSystem))
    make: Callable[..., Any] = asyn.sync_wrapper
    assert make.__module__ == "aiovfs.fs.facade"


async def test_a_streamed_file_finds_its_size_without_holding_up_the_loop() -> None:
    class Streamed(asyn.AbstractAsyncStreamedFile):
        async def _fetch_range(self, start: int, end: int) -> bytes:
            return b"0123456789"[start:end]

    class Streaming(AsyncFileSystem):
        cachable = False

        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            await checkpoint()
            return {"name": path, "size": 10, "type": "file"}

        async def open_async(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
            return Streamed(self, path, mode, **kwargs)

    fs = Streaming(asynchronous=True)
    async with await fs.open_async("a") as file:
        assert await file.read(4) == b"0123"
        assert await file.read() == b"456789"
    async with await fs.open_async("a", size=3) as file:
        assert await file.read() == b"012"


def test_a_class_may_do_without_blocking_methods() -> None:
    class Bare(AsyncFileSystem):
        mirror_sync_methods = False

        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            return {}

    assert Bare.info is fsspec.AbstractFileSystem.info
    assert Bare.find is fsspec.AbstractFileSystem.find
    assert AsyncFileSystem.info is not fsspec.AbstractFileSystem.info
    assert AsyncFileSystem.info.__qualname__ == "AsyncFileSystem._info"


def test_a_wrapped_method_that_calls_another_on_the_loop_is_refused_as_fsspec_does() -> None:
    class Nested:
        def __init__(self) -> None:
            self.loop = asyn.get_loop()

        async def _inner(self) -> None:
            await asyncio.sleep(0)

        inner = asyn.sync_wrapper(_inner)

        async def _outer(self) -> None:
            self.inner()

        outer = asyn.sync_wrapper(_outer)

    with pytest.raises(NotImplementedError, match="await fs"):
        Nested().outer()
    assert Nested().inner() is None
