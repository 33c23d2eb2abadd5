"""S3, Google Cloud Storage and Azure as fsspec file systems, natively, each against a real server of its kind."""

# ruff: noqa: PT012  (blocks that write and then fail are what is tested)

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import fsspec
import pytest
from servers import Proxy, S3Server
from servers.s3 import storage_options

from aiovfs.errors import OptionError, StaleError
from aiovfs.fs.obstore_fs import PART_SIZE, AzureFileSystem, GCSFileSystem, ObstoreFileSystem, S3FileSystem
from aiovfs.fs.published_objects import AioAzureFileSystem, AioGCSFileSystem, AioS3FileSystem

pytestmark = pytest.mark.servers

MIB = 1024 * 1024
CONTENT = random.Random(5).randbytes(3 * MIB + 77)


class Service(NamedTuple):
    cls: type[ObstoreFileSystem]
    published: type[ObstoreFileSystem]
    options: dict[str, Any]
    top: str


@pytest.fixture(params=["s3", "gs", "az"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    """One service, and an empty bucket in it."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        return Service(
            S3FileSystem, AioS3FileSystem, request.getfixturevalue("s3_server").storage_options, f"{bucket}/top"
        )
    if request.param == "gs":
        gcs = request.getfixturevalue("gcs_server")
        options = {"endpoint_url": gcs.xml_url, "token": "anon"}
        return Service(GCSFileSystem, AioGCSFileSystem, options, f"{gcs.new_bucket()}/top")
    azure = request.getfixturevalue("azure_server")
    options = {"connection_string": azure.storage_options["connection_string"]}
    return Service(AzureFileSystem, AioAzureFileSystem, options, f"{azure.new_container()}/top")


@pytest.fixture
async def fs(service: Service) -> ObstoreFileSystem:
    return service.cls(asynchronous=True, skip_instance_cache=True, retry_seconds=2.0, **service.options)


@pytest.fixture
def top(service: Service) -> str:
    return service.top


async def test_objects_are_written_looked_at_read_and_removed(fs: ObstoreFileSystem, top: str) -> None:
    await fs._pipe({f"{top}/a": b"0123456789", f"{top}/dir/b": b"bb", f"{top}/dir/deep/c": b""})
    info = await fs._info(f"{top}/a")
    assert (info["name"], info["type"], info["size"]) == (f"{top}/a", "file", 10)
    assert (await fs._info(f"{top}/dir"))["type"] == "directory"
    assert await fs._cat_file(f"{top}/a") == b"0123456789"
    assert await fs._cat_file(f"{top}/a", 2, 5) == b"234"
    assert await fs._cat_file(f"{top}/a", 7) == b"789"
    assert await fs._cat_file(f"{top}/a", -3) == b"789"
    assert await fs._cat_file(f"{top}/a", 1, -1) == b"12345678"
    assert await fs._cat_file(f"{top}/a", 20, 30) == b""
    assert await fs._cat_file(f"{top}/dir/deep/c") == b""
    assert sorted(await fs._ls(top, detail=False)) == [f"{top}/a", f"{top}/dir"]
    assert await fs._ls(f"{top}/a", detail=False) == [f"{top}/a"]
    assert await fs._find(top) == [f"{top}/a", f"{top}/dir/b", f"{top}/dir/deep/c"]
    assert list(await fs._find(f"{top}/dir", withdirs=True)) == [
        f"{top}/dir",
        f"{top}/dir/b",
        f"{top}/dir/deep",
        f"{top}/dir/deep/c",
    ]
    assert await fs._glob(f"{top}/**/c") == [f"{top}/dir/deep/c"]
    assert await fs._du(top) == 12
    await fs._cp_file(f"{top}/a", f"{top}/copy")
    await fs._mv_file(f"{top}/copy", f"{top}/moved")
    assert await fs._cat_file(f"{top}/moved") == b"0123456789"
    assert not await fs._exists(f"{top}/copy")
    await fs._rm(f"{top}/dir", recursive=True)
    assert await fs._find(top) == [f"{top}/a", f"{top}/moved"]
    for missing in (fs._info, fs._cat_file, fs._ls, fs.open_async):
        with pytest.raises(FileNotFoundError):
            await missing(f"{top}/dir")
    with pytest.raises(FileNotFoundError):
        await fs._rm(f"{top}/dir", recursive=True)


async def test_exclusive_creation_is_the_stores_own(fs: ObstoreFileSystem, top: str) -> None:
    await fs._pipe_file(f"{top}/a", b"1", mode="create")
    with pytest.raises(FileExistsError):
        await fs._pipe_file(f"{top}/a", b"2", mode="create")
    with pytest.raises(FileExistsError):
        async with await fs.open_async(f"{top}/a", "xb") as file:
            await file.write(b"3")
    assert await fs._cat_file(f"{top}/a") == b"1"


async def test_files_are_written_in_parts_read_at_any_place_and_appended_to(fs: ObstoreFileSystem, top: str) -> None:
    content = CONTENT * 6  # more than two parts
    async with await fs.open_async(f"{top}/large", "wb") as file:
        for start in range(0, len(content), MIB):
            await file.write(content[start : start + MIB])
    assert len(content) > 2 * PART_SIZE
    assert await fs._cat_file(f"{top}/large") == content
    async with await fs.open_async(f"{top}/large") as file:
        assert file.size == len(content)
        assert await file.pread(1000, offset=PART_SIZE - 500) == content[PART_SIZE - 500 :][:1000]
        assert await file.read() == content
    for _ in range(2):
        async with await fs.open_async(f"{top}/log", "ab") as file:
            await file.write(b"line\n")
    assert await fs._cat_file(f"{top}/log") == b"line\nline\n"
    async with await fs.open_async(f"{top}/empty", "wb"):
        pass
    async with await fs.open_async(f"{top}/empty") as file:
        assert (file.size, await file.read()) == (0, b"")
    with pytest.raises(ZeroDivisionError):
        async with await fs.open_async(f"{top}/half", "wb") as file:
            await file.write(content)
            raise ZeroDivisionError
    assert not await fs._exists(f"{top}/half")
    with pytest.raises(IsADirectoryError):
        await fs.open_async(top)


async def test_an_object_that_was_replaced_is_stale(fs: ObstoreFileSystem, top: str) -> None:
    await fs._pipe_file(f"{top}/a", CONTENT)
    async with await fs.open_async(f"{top}/a") as file:
        assert await file.read(10) == CONTENT[:10]
        await fs._pipe_file(f"{top}/a", CONTENT[::-1])
        with pytest.raises(StaleError):
            await file.pread(10, offset=2 * MIB)


async def test_trees_are_put_and_got(fs: ObstoreFileSystem, top: str, tmp_path: Path) -> None:
    (tmp_path / "up/sub").mkdir(parents=True)
    (tmp_path / "up/a").write_bytes(CONTENT)
    (tmp_path / "up/sub/b").write_bytes(b"b")
    await fs._put(f"{tmp_path}/up", f"{top}/tree", recursive=True)
    assert await fs._find(top) == [f"{top}/tree/a", f"{top}/tree/sub/b"]
    await fs._get(f"{top}/tree", f"{tmp_path}/down", recursive=True)
    assert (tmp_path / "down/a").read_bytes() == CONTENT
    assert (tmp_path / "down/sub/b").read_bytes() == b"b"
    (tmp_path / "large").write_bytes(CONTENT * 6)
    await fs._put_file(f"{tmp_path}/large", f"{top}/large")
    await fs._get_file(f"{top}/large", f"{tmp_path}/large again")
    assert (tmp_path / "large again").read_bytes() == CONTENT * 6


async def test_many_are_written_listed_and_removed(fs: ObstoreFileSystem, top: str, service: Service) -> None:
    names = [f"{top}/many/{number:04d}" for number in range(300)]
    await fs._pipe(dict.fromkeys(names, b"x"))
    assert await fs._find(f"{top}/many") == names
    assert len(await fs._ls(f"{top}/many")) == 300
    await fs._rm(f"{top}/many", recursive=True)
    assert await fs._find(f"{top}/many") == []


def test_fsspecs_users_reach_them_by_url(service: Service) -> None:
    scheme = service.published.protocol
    url = f"{scheme}://{service.top}/file.csv"
    with fsspec.open(url, "w", **service.options) as file:
        file.write("a,b\n1,2\n")
    fs, path = fsspec.url_to_fs(url, **service.options)
    assert isinstance(fs, service.published)
    assert fs.cat_file(path) == b"a,b\n1,2\n"
    with fsspec.open(url, "r", **service.options) as file:
        assert file.read() == "a,b\n1,2\n"
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert type(fs).from_json(fs.to_json()).cat_file(path) == b"a,b\n1,2\n"
    assert json.loads(fs.to_json())["cls"].endswith(service.published.__name__)
    with fs.transaction:
        fs.pipe_file(f"{service.top}/t", b"1")
        assert not fs.exists(f"{service.top}/t")
    assert fs.cat_file(f"{service.top}/t") == b"1"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_after_it_was_used_is_told_so(service: Service) -> None:
    fs = service.cls(skip_instance_cache=True, **service.options)
    fs.pipe_file(f"{service.top}/a", b"1")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fs.cat_file(f"{service.top}/a")
        except RuntimeError as exc:
            os.write(writing, str(exc).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    assert b"forked" in os.read(reading, 1000)
    os.close(reading)


def test_an_option_that_is_not_known_is_refused_by_its_name() -> None:
    with pytest.raises(OptionError, match="profile"):
        S3FileSystem(profile="somebody")


# What it costs, and bad days: S3 behind a proxy


@pytest.fixture
def proxy(s3_server: S3Server, proxied: Callable[[int], Proxy], bucket: str) -> Proxy:
    return proxied(s3_server.port)


@pytest.fixture
async def behind(proxy: Proxy) -> ObstoreFileSystem:
    return S3FileSystem(
        asynchronous=True,
        skip_instance_cache=True,
        retry_seconds=5.0,
        retry_config={"max_retries": 0},
        **storage_options(proxy.url),
    )


async def test_a_small_object_costs_one_request_and_many_one_each(
    behind: ObstoreFileSystem, proxy: Proxy, bucket: str
) -> None:
    names = [f"{bucket}/many/{number:03d}" for number in range(100)]
    await behind._pipe(dict.fromkeys(names, b"x" * 4096))
    proxy.reset()
    async with await behind.open_async(names[0]) as file:
        assert len(await file.read()) == 4096
    assert answered(proxy) == 1
    assert len(await behind._cat(names)) == 100
    assert answered(proxy) == 101
    assert {exchange.method for exchange in proxy.exchanges} == {"GET"}


def answered(proxy: Proxy) -> int:
    """Requests that were answered. A connection that breaks under load costs an attempt, and is not what is counted."""
    return sum(exchange.status in (200, 206) for exchange in list(proxy.exchanges))


async def test_fifty_random_reads_of_a_large_object_fetch_little(
    behind: ObstoreFileSystem, proxy: Proxy, bucket: str, s3_server: S3Server
) -> None:
    with s3_server.path(bucket, "large").open("wb") as sparse:
        sparse.truncate(256 * MIB)
    draw = random.Random(6)
    proxy.reset()
    async with await behind.open_async(f"{bucket}/large") as file:
        for _ in range(50):
            assert len(await file.pread(4096, offset=draw.randrange(65536) * 4096)) == 4096
    assert answered(proxy) <= 51
    assert proxy.received <= 8 * MIB


async def test_a_body_that_breaks_off_is_asked_for_again_and_never_short(
    behind: ObstoreFileSystem, proxy: Proxy, bucket: str, tmp_path: Path
) -> None:
    await behind._pipe_file(f"{bucket}/a", CONTENT)
    proxy.cut(100_000, times=2)
    assert await behind._cat_file(f"{bucket}/a") == CONTENT
    proxy.cut(100_000, times=1)
    await behind._get_file(f"{bucket}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    async with await behind.open_async(f"{bucket}/a") as file:
        proxy.cut(100_000, times=1)
        assert await file.read() == CONTENT
    proxy.cut(100_000)
    behind.retry_seconds = 0.5
    with pytest.raises(OSError) as caught:  # noqa: PT011  (what it is not is looked at)
        await behind._get_file(f"{bucket}/a", tmp_path / "b")
    assert not isinstance(caught.value, FileNotFoundError)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_is_asked_again_and_never_taken_for_empty(
    behind: ObstoreFileSystem, proxy: Proxy, bucket: str, status: int
) -> None:
    await behind._pipe({f"{bucket}/dir/{number}": b"x" for number in range(3)})
    for call in (
        partial_of(behind._find, f"{bucket}/dir"),
        partial_of(behind._ls, f"{bucket}/dir"),
        partial_of(behind._cat_file, f"{bucket}/dir/1"),
        partial_of(behind._info, f"{bucket}/dir/1"),
    ):
        proxy.answer(status, times=1)
        assert await call()
    behind.retry_seconds = 0.3
    proxy.answer(status)
    for call in (
        partial_of(behind._find, f"{bucket}/dir"),
        partial_of(behind._exists, f"{bucket}/dir/1"),
        partial_of(behind._isdir, f"{bucket}/dir"),
        partial_of(behind.open_async, f"{bucket}/dir/1"),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011  (what it is not is looked at)
            await call()
        assert not isinstance(caught.value, FileNotFoundError)


def partial_of(func: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: func(*args)


class Pages:
    """A store whose listings come in pages of two. After a page that failed it reports its end, as obstore does."""

    def __init__(self, keys: list[str], failing: set[int]) -> None:
        self.keys = keys
        self.failing = failing
        self.asked: list[str | None] = []

    def list(self, prefix: str | None, *, offset: str | None, chunk_size: int) -> AsyncIterator[Any]:
        self.asked.append(offset)
        return self.pages([key for key in self.keys if offset is None or key > offset])

    async def pages(self, keys: list[str]) -> AsyncIterator[Any]:
        for start in range(0, len(keys), 2):
            first = self.keys.index(keys[start])
            if first in self.failing:
                self.failing.remove(first)
                raise ConnectionResetError(f"at {keys[start]}")
            yield [{"path": key, "size": 1, "e_tag": None, "last_modified": None} for key in keys[start : start + 2]]


async def test_a_listing_whose_later_pages_fail_goes_on_behind_the_last_name() -> None:
    fs = S3FileSystem(asynchronous=True, skip_instance_cache=True, **storage_options("http://127.0.0.1:1"))
    keys = [f"dir/{number}" for number in range(9)]
    pages = Pages(keys, {2, 6})
    fs._stores["bucket"] = pages
    assert await fs._find("bucket/dir") == [f"bucket/{key}" for key in keys]
    assert pages.asked == [None, "dir/1", "dir/5"]
    fs.retry_seconds = 0.0
    fs._stores["bucket"] = Pages(keys, {4})
    with pytest.raises(ConnectionResetError):
        await fs._find("bucket/dir")


async def test_an_answer_of_another_version_is_refused_though_the_server_heeds_no_condition(
    behind: ObstoreFileSystem, bucket: str, s3_server: S3Server
) -> None:
    await behind._pipe_file(f"{bucket}/a", CONTENT)
    async with await behind.open_async(f"{bucket}/a") as file:
        s3_server.path(bucket, "a").write_bytes(CONTENT[::-1])
        with pytest.raises(StaleError):
            await file.pread(10, offset=MIB)


async def test_a_silent_server_is_a_time_out(proxy: Proxy, bucket: str) -> None:
    fs = S3FileSystem(
        asynchronous=True,
        skip_instance_cache=True,
        retry_seconds=0.0,
        retry_config={"max_retries": 0},
        client_options={"read_timeout": "300ms"},
        **storage_options(proxy.url),
    )
    proxy.black_hole()
    with anyio.fail_after(30), pytest.raises(OSError) as caught:  # noqa: PT011  (what it is not is looked at)
        await fs._exists(f"{bucket}/a")
    assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("service", ["gs", "az"], indirect=True)  # the S3 server here heeds no condition
async def test_two_who_append_at_once_lose_nothing(fs: ObstoreFileSystem, top: str) -> None:
    async def append(text: bytes) -> None:
        async with await fs.open_async(f"{top}/log", "ab") as file:
            await file.write(text)

    for round_ in range(3):
        async with anyio.create_task_group() as group:
            for who in (b"a", b"b"):
                group.start_soon(append, who)
        assert len(await fs._cat_file(f"{top}/log")) == 2 * (round_ + 1)


def test_no_upload_holds_the_whole_file(
    behind_sync: ObstoreFileSystem, bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiovfs.fs.obstore_fs.PART_SIZE", 5 * MIB)
    with behind_sync.open(f"{bucket}/large", "wb") as file:
        for _ in range(45):
            file.write(bytes(MIB))
        # Four parts may be on their way, and two wait.
        assert sum(exchange.sent for exchange in list(proxy.exchanges)) > 10 * MIB
    assert behind_sync.size(f"{bucket}/large") == 45 * MIB


@pytest.fixture
def behind_sync(proxy: Proxy) -> ObstoreFileSystem:
    return S3FileSystem(skip_instance_cache=True, **storage_options(proxy.url))
