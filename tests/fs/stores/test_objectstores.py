"""S3 through both clients, against a real server; through a proxy where bytes count or days are bad."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import fsspec.config
import pytest
from servers import Proxy, S3Server, free_port
from servers.s3 import storage_options

from aiovfs.errors import OptionError, StaleError, StoreError
from aiovfs.fs import open_store
from aiovfs.fs.info import Kind
from aiovfs.fs.store import Store

pytestmark = [pytest.mark.servers, pytest.mark.parametrize("client", ["obstore", "s3fs"])]

CONTENT = bytes(range(256)) * 4096  # 1 MiB
OPENING = 12
"""Seconds within which opening must have failed: a bound against hanging, not a measurement."""
STRANGE = "a b%20c#d?e&é+'(1).txt"


@pytest.fixture
async def store(s3_server: S3Server, bucket: str, client: str) -> AsyncIterator[Store]:
    """An empty prefix."""
    async with await open_store(
        f"s3://{bucket}/some/prefix", client=client, storage_options=s3_server.storage_options
    ) as opened:
        yield opened


@pytest.fixture
def put(s3_server: S3Server, bucket: str) -> Callable[[str, bytes], Path]:
    """Puts an object below the store's prefix, behind the client's back."""

    def put_object(name: str, content: bytes = b"content") -> Path:
        path = s3_server.path(bucket, f"some/prefix/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return put_object


@pytest.fixture
def proxy(s3_server: S3Server, proxied: Callable[[int], Proxy]) -> Proxy:
    return proxied(s3_server.port)


@pytest.fixture
async def slow_link(proxy: Proxy, bucket: str, client: str) -> AsyncIterator[Store]:
    """The same prefix through the proxy."""
    async with await open_store(
        f"s3://{bucket}/some/prefix", client=client, storage_options=storage_options(proxy.url)
    ) as opened:
        proxy.reset()
        yield opened


async def read_all(store: Store, path: str, *, block: int = 100_000) -> bytes:
    reader = await store.open_reader(path, await store.info(path))
    parts, offset = [], 0
    while part := await reader.read(offset, block):
        parts.append(part)
        offset += len(part)
    await reader.aclose()
    return b"".join(parts)


async def test_a_prefix_that_is_not_there_is_an_empty_directory(store: Store) -> None:
    assert (await store.info("")).kind is Kind.DIRECTORY
    assert await store.list("") == []


async def test_a_bucket_without_objects_is_an_empty_directory(s3_server: S3Server, bucket: str, client: str) -> None:
    async with await open_store(f"s3://{bucket}", client=client, storage_options=s3_server.storage_options) as store:
        assert await store.list("") == []


async def test_files_and_directories_are_listed_with_sizes_times_and_fingerprints(
    store: Store, put: Callable[..., Path]
) -> None:
    put("file", b"12345")
    put("dir/below")
    listed = {info.name: info for info in await store.list("")}
    assert set(listed) == {"file", "dir"}
    assert listed["dir"].kind is Kind.DIRECTORY
    assert listed["file"] == await store.info("file")
    assert (listed["file"].size, listed["file"].kind) == (5, Kind.FILE)
    assert listed["file"].mtime_ns
    assert listed["file"].fingerprint


async def test_a_listing_of_many_costs_no_request_a_file(
    slow_link: Store, proxy: Proxy, put: Callable[..., Path]
) -> None:
    for number in range(1500):
        put(f"many/{number:04d}", b"")
    assert len(await slow_link.list("many")) == 1500
    assert proxy.requests <= 3


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await store.info("nothing")
    assert caught.value.filename == "nothing"
    with pytest.raises(FileNotFoundError):
        await store.list("nothing")


async def test_listing_an_object_says_that_it_is_no_directory(store: Store, put: Callable[..., Path]) -> None:
    put("file")
    with pytest.raises(NotADirectoryError):
        await store.list("file")


async def test_strange_names_are_written_listed_and_read(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"strange")
    await store.upload(str(tmp_path / "source"), f"dir/{STRANGE}")
    assert [info.name for info in await store.list("dir")] == [STRANGE]
    assert await read_all(store, f"dir/{STRANGE}") == b"strange"


async def test_names_that_no_object_can_have_are_refused_beforehand(store: Store, client: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")
    store.check_name(STRANGE)
    for name, number in [("\udcff", errno.EILSEQ), ("a\nb", errno.EINVAL), ("\x7f", errno.EINVAL)]:
        if client == "s3fs" and number == errno.EINVAL:
            store.check_name(name)
            continue
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
            store.check_name(name)
        assert caught.value.errno == number
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await store.upload(str(tmp_path / "source"), name)
        assert caught.value.errno == number


async def test_reads_are_short_only_at_the_end_of_the_object(store: Store, put: Callable[..., Path]) -> None:
    put("data", CONTENT)
    reader = await store.open_reader("data", await store.info("data"))
    assert await reader.read(1000, 10) == CONTENT[1000:1010]
    assert await reader.read(len(CONTENT) - 5, 100) == CONTENT[-5:]
    assert await reader.read(len(CONTENT), 100) == b""
    await reader.aclose()


async def test_an_empty_object_reads_as_nothing(store: Store, put: Callable[..., Path]) -> None:
    put("empty", b"")
    assert await read_all(store, "empty") == b""


async def test_a_small_read_of_a_large_object_is_one_small_request(
    slow_link: Store, proxy: Proxy, put: Callable[..., Path]
) -> None:
    put("data", CONTENT)
    reader = await slow_link.open_reader("data", await slow_link.info("data"))
    proxy.reset()
    await reader.read(500_000, 4096)
    assert proxy.requests == 1
    assert proxy.received < 8192


async def test_reads_ask_for_the_version_that_was_opened(
    slow_link: Store, proxy: Proxy, put: Callable[..., Path]
) -> None:
    put("data", CONTENT)
    info = await slow_link.info("data")
    reader = await slow_link.open_reader("data", info)
    await reader.read(0, 10)
    assert proxy.exchanges[-1].header("If-Match") == f'"{info.fingerprint}"'


async def test_an_object_that_was_replaced_is_stale_for_its_reader(store: Store, put: Callable[..., Path]) -> None:
    put("data", b"one" * 1000)
    reader = await store.open_reader("data", await store.info("data"))
    put("data", b"two" * 1000)
    with pytest.raises(StaleError):
        await reader.read(0, 10)


async def test_a_refused_precondition_is_stale(slow_link: Store, proxy: Proxy, put: Callable[..., Path]) -> None:
    put("data", CONTENT)
    reader = await slow_link.open_reader("data", await slow_link.info("data"))
    proxy.answer(412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
    with pytest.raises(StaleError):
        await reader.read(0, 10)


@pytest.mark.parametrize("size", [0, 5, 100_000, 20 * 1024 * 1024])
async def test_an_upload_is_the_object_and_returns_its_fingerprint(
    store: Store, s3_server: S3Server, bucket: str, tmp_path: Path, size: int
) -> None:
    content = (CONTENT * (size // len(CONTENT) + 1))[:size]
    (tmp_path / "source").write_bytes(content)
    seen: list[int] = []
    info = await store.upload(str(tmp_path / "source"), "dir/new", progress=seen.append)
    assert s3_server.path(bucket, "some/prefix/dir/new").read_bytes() == content
    assert info == await store.info("dir/new")
    assert info.fingerprint
    assert seen[-1:] == [size] or size == 0


async def test_an_exclusive_upload_does_not_replace(store: Store, put: Callable[..., Path], tmp_path: Path) -> None:
    there = put("there", b"old")
    (tmp_path / "source").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        await store.upload(str(tmp_path / "source"), "there", exclusive=True)
    assert there.read_bytes() == b"old"
    assert (await store.upload(str(tmp_path / "source"), "not-there", exclusive=True)).size == 3


@pytest.mark.parametrize("size", [0, 5, 20 * 1024 * 1024])
async def test_a_download_is_the_object(store: Store, put: Callable[..., Path], tmp_path: Path, size: int) -> None:
    content = (CONTENT * (size // len(CONTENT) + 1))[:size]
    put("data", content)
    seen: list[int] = []
    await store.download("data", str(tmp_path / "copy"), progress=seen.append)
    assert (tmp_path / "copy").read_bytes() == content


async def test_objects_are_removed_copied_and_renamed(store: Store, put: Callable[..., Path]) -> None:
    put("a/one", b"1")
    put("a/two", b"2")
    await store.copy("a/one", "copied")
    await store.rename("a", "b")
    await store.remove("b/two")
    assert {info.name for info in await store.list("")} == {"b", "copied"}
    assert {info.name for info in await store.list("b")} == {"one"}
    assert await read_all(store, "b/one") == b"1"


async def test_an_empty_directory_stays_until_it_is_removed(store: Store) -> None:
    await store.mkdir("empty")
    assert (await store.info("empty")).kind is Kind.DIRECTORY
    assert await store.list("empty") == []
    await store.rmdir("empty")
    with pytest.raises(FileNotFoundError):
        await store.info("empty")


# Opening


async def test_a_missing_bucket_is_not_found_by_its_name(s3_server: S3Server, bucket: str, client: str) -> None:
    with anyio.fail_after(OPENING), pytest.raises(FileNotFoundError, match="no-such-bucket"):
        await open_store("s3://no-such-bucket/prefix", client=client, storage_options=s3_server.storage_options)


async def test_a_server_that_is_down_is_said_to_be_down(bucket: str, client: str) -> None:
    options = storage_options(f"http://127.0.0.1:{free_port()}")
    with anyio.fail_after(OPENING), pytest.raises(StoreError, match="is the server running"):
        await open_store(f"s3://{bucket}", client=client, storage_options=options)


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
async def test_refused_credentials_are_said_to_be_refused(proxy: Proxy, bucket: str, client: str, code: str) -> None:
    proxy.answer(403, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
    with anyio.fail_after(OPENING), pytest.raises(StoreError, match="check the credentials") as caught:
        await open_store(f"s3://{bucket}", client=client, storage_options=storage_options(proxy.url))
    assert "test-secret" not in str(caught.value)


async def test_an_object_is_no_root(s3_server: S3Server, bucket: str, client: str, put: Callable[..., Path]) -> None:
    put("file")
    with pytest.raises(NotADirectoryError):
        await open_store(f"s3://{bucket}/some/prefix/file", client=client, storage_options=s3_server.storage_options)


async def test_the_environment_of_aws_is_enough(
    s3_server: S3Server, bucket: str, client: str, put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put("file")
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    async with await open_store(f"s3://{bucket}/some/prefix", client=client) as store:
        assert [info.name for info in await store.list("")] == ["file"]


async def test_an_unknown_client_is_an_error_that_names_the_known_ones(bucket: str, client: str) -> None:
    with pytest.raises(OptionError, match="'obstore' and 's3fs'"):
        await open_store(f"s3://{bucket}", client=client + "2")


# Bad days


async def test_an_overloaded_server_is_asked_again(slow_link: Store, proxy: Proxy, put: Callable[..., Path]) -> None:
    put("data", CONTENT)
    proxy.answer(503, b"<Error><Code>SlowDown</Code></Error>", times=2)
    assert (await slow_link.info("data")).size == len(CONTENT)


async def test_a_transfer_that_breaks_off_is_repeated(slow_link: Store, proxy: Proxy, put: Callable[..., Path]) -> None:
    put("data", CONTENT)
    proxy.cut(200_000, times=1, only=lambda exchange: exchange.method == "GET")
    assert await read_all(slow_link, "data", block=500_000) == CONTENT


async def test_a_bucket_that_vanished_is_an_error_and_not_an_empty_directory(
    store: Store, s3_server: S3Server, bucket: str
) -> None:
    s3_server.path(bucket).rmdir()
    with pytest.raises(OSError, match="does not exist any more") as caught:
        await store.list("")
    assert not isinstance(caught.value, FileNotFoundError)


# Choosing


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "obstore"), ({"config_kwargs": {"user_agent": "x"}}, "s3fs"), ({"config": {"region": "x"}}, "obstore")],
)
async def test_without_a_choice_the_client_that_understands_the_options_is_taken(
    s3_server: S3Server, bucket: str, client: str, options: dict[str, Any], expected: str
) -> None:
    async with await open_store(f"s3://{bucket}", storage_options={**s3_server.storage_options, **options}) as store:
        assert expected in type(store.fs).__module__


async def test_obstore_is_not_made_to_ignore_an_option(s3_server: S3Server, bucket: str, client: str) -> None:
    options = {**s3_server.storage_options, "config_kwargs": {"user_agent": "x"}}
    with pytest.raises(StoreError, match="user_agent"):
        await open_store(f"s3://{bucket}", client="obstore", storage_options=options)


async def test_fsspecs_environment_is_heeded(
    s3_server: S3Server, bucket: str, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSPEC_S3", json.dumps(s3_server.storage_options))
    monkeypatch.setitem(fsspec.config.conf, "s3", s3_server.storage_options)
    async with await open_store(f"s3://{bucket}", client=client) as store:
        assert await store.list("") == []
