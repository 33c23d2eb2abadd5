"""HTTP stores against nginx and its habits, through a proxy where bytes count or days are bad."""

from __future__ import annotations

import errno
import http.server
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from servers import Nginx, Proxy, free_port

from aiovfs.errors import StaleError, StoreError
from aiovfs.fs import open_store
from aiovfs.fs.http import HTTPFileSystem
from aiovfs.fs.info import Kind
from aiovfs.fs.store import Store

pytestmark = pytest.mark.servers

CONTENT = bytes(range(256)) * 4096  # 1 MiB
STRANGE = "a b%20c#d?e&é+'(1).txt"


@pytest.fixture(scope="module")
def tree(nginx: Nginx) -> Path:
    """A directory of files, below the server's top."""
    top = nginx.files / "tree"
    (top / "sub dir").mkdir(parents=True)
    (top / "data.bin").write_bytes(CONTENT)
    (top / "empty").write_bytes(b"")
    (top / "page.html").write_text('<a href="elsewhere">a file that is HTML</a>')
    (top / "sub dir" / STRANGE).write_bytes(b"strange")
    os.utime(top / "data.bin", ns=(10**18, 10**18))
    return top


@pytest.fixture
async def store(nginx: Nginx, tree: Path) -> AsyncIterator[Store]:
    async with await open_store(nginx.url + "tree") as opened:
        yield opened


@pytest.fixture
def proxy(nginx: Nginx, tree: Path, proxied: Callable[[int], Proxy]) -> Proxy:
    return proxied(nginx.port)


@pytest.fixture
async def slow_link(proxy: Proxy) -> AsyncIterator[Store]:
    """The store behind the proxy. It gives up soon, so that tests of failing are short."""
    async with await open_store(f"{proxy.url}/tree", storage_options={"retry_seconds": 1.5, "timeout": 1}) as opened:
        proxy.reset()
        yield opened


async def read_all(store: Store, path: str, *, block: int = 100_000) -> bytes:
    info = await store.info(path)
    reader = await store.open_reader(path, info)
    parts, offset = [], 0
    while part := await reader.read(offset, block):
        parts.append(part)
        offset += len(part)
    await reader.aclose()
    return b"".join(parts)


async def test_a_file_has_size_time_and_fingerprint(store: Store) -> None:
    info = await store.info("data.bin")
    assert (info.name, info.kind, info.size, info.mtime_ns) == ("data.bin", Kind.FILE, len(CONTENT), 10**18)
    assert info.fingerprint


async def test_a_directory_is_known_by_its_redirect(store: Store) -> None:
    assert (await store.info("sub dir")).kind is Kind.DIRECTORY


async def test_a_name_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await store.info("nothing")
    assert caught.value.filename == "nothing"


async def test_a_listing_gives_names_sizes_and_times(store: Store) -> None:
    listed = {info.name: info for info in await store.list("")}
    assert set(listed) == {"data.bin", "empty", "page.html", "sub dir"}
    assert listed["sub dir"].kind is Kind.DIRECTORY
    assert listed["data.bin"].size == len(CONTENT)
    assert abs((listed["data.bin"].mtime_ns or 0) - 10**18) < 60 * 10**9


async def test_strange_names_are_listed_found_and_read(store: Store) -> None:
    assert [info.name for info in await store.list("sub dir")] == [STRANGE]
    assert await read_all(store, f"sub dir/{STRANGE}") == b"strange"


@pytest.mark.parametrize("path", ["data.bin", "page.html"])
async def test_listing_a_file_says_that_it_is_no_directory(store: Store, path: str) -> None:
    with pytest.raises(NotADirectoryError):
        await store.list(path)


async def test_listing_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        await store.list("nothing")


async def test_an_empty_file_reads_as_nothing(store: Store) -> None:
    assert (await store.info("empty")).size == 0
    assert await read_all(store, "empty") == b""


async def test_reads_are_short_only_at_the_end_of_the_file(store: Store) -> None:
    reader = await store.open_reader("data.bin", await store.info("data.bin"))
    assert await reader.read(1000, 10) == CONTENT[1000:1010]
    assert await reader.read(len(CONTENT) - 5, 100) == CONTENT[-5:]
    assert await reader.read(len(CONTENT), 100) == b""
    await reader.aclose()


async def test_a_download_is_the_file(store: Store, tmp_path: Path) -> None:
    seen: list[int] = []
    await store.download("data.bin", str(tmp_path / "copy"), progress=seen.append)
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)


async def test_writing_is_refused_as_on_a_read_only_file_system(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(OSError, match="Read-only") as caught:
        await store.upload(str(tmp_path / "x"), "x")
    assert caught.value.errno == errno.EROFS


async def test_a_small_read_of_a_large_file_transfers_little(slow_link: Store, proxy: Proxy) -> None:
    reader = await slow_link.open_reader("data.bin", await slow_link.info("data.bin"))
    proxy.reset()
    await reader.read(500_000, 4096)
    assert proxy.requests == 1
    assert proxy.received < 8192


# The habits of servers


@pytest.mark.parametrize("habit", ["whole", "gzip", "anonymous", "undated", "headless", "moved", "unlisted"])
async def test_every_kind_of_server_gives_the_right_bytes(nginx: Nginx, tree: Path, habit: str) -> None:
    async with await open_store(f"{nginx.site(habit)}tree/") as store:
        reader = await store.open_reader("data.bin", await store.info("data.bin"))
        for offset, size in ((0, 10), (300_000, 1000), (301_000, 1000), (5, 20), (len(CONTENT) - 3, 10)):
            assert await reader.read(offset, size) == CONTENT[offset : offset + size]
        await reader.aclose()
        assert (await store.info("data.bin")).size == len(CONTENT)


async def test_a_server_without_ranges_is_noticed(nginx: Nginx, tree: Path) -> None:
    async with await open_store(f"{nginx.site('whole')}tree/") as store:
        assert await read_all(store, "data.bin") == CONTENT
        assert not store.capabilities.ranged_reads


async def test_a_server_without_ranges_sends_a_file_once_for_a_sequential_reader(proxy: Proxy) -> None:
    async with await open_store(f"{proxy.url}/_/whole/tree/") as store:
        proxy.reset()
        assert await read_all(store, "data.bin") == CONTENT
        # The first range is answered with everything and given up; what follows is one stream.
        whole = [exchange for exchange in proxy.exchanges if exchange.method == "GET"]
        assert len(whole) == 2


async def test_a_directory_that_is_not_listed_still_opens_files_by_name(nginx: Nginx, tree: Path) -> None:
    async with await open_store(f"{nginx.site('unlisted')}tree/") as store:
        assert await read_all(store, "data.bin") == CONTENT
        with pytest.raises(PermissionError, match="does not list"):
            await store.list("")


async def test_a_redirected_directory_lists_its_children(nginx: Nginx, tree: Path) -> None:
    async with await open_store(f"{nginx.site('moved')}tree/") as store:
        assert {info.name for info in await store.list("")} == {"data.bin", "empty", "page.html", "sub dir"}


@pytest.fixture
def plain_server(tree: Path) -> Iterator[str]:
    """Python's own server: lists of links, no ranges, no ETags."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients may hang up

    server = Server(("127.0.0.1", free_port()), partial(Quiet, directory=str(tree)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_plain_list_of_links_is_a_directory(plain_server: str) -> None:
    async with await open_store(plain_server) as store:
        assert {info.name for info in await store.list("sub dir")} == {STRANGE}
        assert await read_all(store, "data.bin") == CONTENT


# Versions


@pytest.fixture
def changing(nginx: Nginx, request: pytest.FixtureRequest) -> Path:
    """A file of its own, for a test that changes it."""
    path = nginx.files / "tree" / f"changing-{abs(hash(request.node.name))}"
    path.write_bytes(b"one" * 200_000)
    os.utime(path, (1000, 1000))
    return path


@pytest.mark.parametrize("habit", ["", "_/whole/", "_/anonymous/", "_/gzip/"])
async def test_a_file_that_changed_is_stale_for_its_reader(
    nginx: Nginx, tree: Path, changing: Path, habit: str
) -> None:
    async with await open_store(f"{nginx.url}{habit}tree/") as store:
        reader = await store.open_reader(changing.name, await store.info(changing.name))
        changing.write_bytes(b"two" * 200_000)
        with pytest.raises(StaleError):
            await reader.read(0, 10)
        await reader.aclose()
    changing.unlink()


async def test_a_file_that_was_removed_is_not_found_by_its_reader(store: Store, changing: Path) -> None:
    reader = await store.open_reader(changing.name, await store.info(changing.name))
    changing.unlink()
    with pytest.raises(FileNotFoundError):
        await reader.read(0, 10)


# Opening


@pytest.mark.parametrize("suffix", ["", "/"])
async def test_the_root_may_be_given_with_and_without_a_slash(nginx: Nginx, tree: Path, suffix: str) -> None:
    async with await open_store(nginx.url + "tree" + suffix) as store:
        assert "data.bin" in {info.name for info in await store.list("")}


@pytest.mark.parametrize("path", ["tree/data.bin", "tree/page.html"])
async def test_a_file_is_no_root(nginx: Nginx, tree: Path, path: str) -> None:
    with pytest.raises(NotADirectoryError):
        await open_store(nginx.url + path)


async def test_a_root_that_is_not_there_is_not_found(nginx: Nginx) -> None:
    with pytest.raises(FileNotFoundError):
        await open_store(nginx.url + "nowhere/")


async def test_a_server_that_is_down_is_said_to_be_down() -> None:
    with pytest.raises(StoreError, match="is the server running"):
        await open_store(f"http://127.0.0.1:{free_port()}/", storage_options={"retry_seconds": 0.5})


async def test_a_query_in_the_roots_url_is_refused_without_repeating_it(nginx: Nginx) -> None:
    with pytest.raises(StoreError, match="query") as caught:
        await open_store(nginx.url + "?token=secret")
    assert "secret" not in str(caught.value)


async def test_headers_are_sent_with_every_request(proxy: Proxy) -> None:
    async with await open_store(f"{proxy.url}/tree", storage_options={"headers": {"X-Token": "1"}}) as store:
        await store.list("")
        await read_all(store, "data.bin")
    assert all(exchange.header("X-Token") == "1" for exchange in proxy.exchanges)
    assert all(exchange.header("Accept-Encoding") == "identity" for exchange in proxy.exchanges)


# Bad days


async def test_an_overloaded_server_is_asked_again(slow_link: Store, proxy: Proxy) -> None:
    proxy.answer(503, times=2)
    assert (await slow_link.info("data.bin")).size == len(CONTENT)
    assert proxy.requests == 3


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_stays_overloaded_is_a_timeout_and_never_not_found(
    slow_link: Store, proxy: Proxy, status: int
) -> None:
    proxy.answer(status)
    with pytest.raises(TimeoutError, match=str(status)):
        await slow_link.info("data.bin")


async def test_a_transfer_that_breaks_off_is_repeated(slow_link: Store, proxy: Proxy) -> None:
    proxy.cut(30_000, times=1, only=lambda exchange: exchange.method == "GET")
    assert await read_all(slow_link, "data.bin") == CONTENT


async def test_a_transfer_that_always_breaks_off_is_a_connection_error(slow_link: Store, proxy: Proxy) -> None:
    info = await slow_link.info("data.bin")
    proxy.cut(30_000)
    reader = await slow_link.open_reader("data.bin", info)
    with pytest.raises(ConnectionError):
        await reader.read(0, 100_000)


async def test_a_download_goes_on_where_it_broke_off(slow_link: Store, proxy: Proxy, tmp_path: Path) -> None:
    proxy.cut(600_000, times=1, only=lambda exchange: exchange.method == "GET")
    await slow_link.download("data.bin", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == CONTENT
    continued = proxy.exchanges[-1].header("Range")
    assert continued is not None
    assert continued != "bytes=0-"


async def test_a_download_that_fails_leaves_nothing_behind(slow_link: Store, proxy: Proxy, tmp_path: Path) -> None:
    proxy.answer(503, only=lambda exchange: exchange.method == "GET")
    with pytest.raises(TimeoutError):
        await slow_link.download("data.bin", str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


async def test_a_server_that_says_nothing_is_a_timeout(slow_link: Store, proxy: Proxy) -> None:
    proxy.black_hole()
    with pytest.raises(TimeoutError):
        await slow_link.info("data.bin")


async def test_a_server_that_went_away_is_a_connection_error(slow_link: Store, proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionError):
        await slow_link.info("data.bin")


async def test_a_listing_behind_a_failing_server_is_an_error_and_not_empty(slow_link: Store, proxy: Proxy) -> None:
    proxy.answer(503)
    with pytest.raises(TimeoutError):
        await slow_link.list("")


async def test_a_refused_file_is_a_permission_error(nginx: Nginx, tree: Path) -> None:
    async with await open_store(nginx.url) as store:
        with pytest.raises(PermissionError):
            await store.info("_/locked/file")


async def test_redirects_in_a_circle_end_in_a_loop_error(nginx: Nginx, tree: Path) -> None:
    async with await open_store(nginx.url) as store:
        with pytest.raises(OSError, match=r".") as caught:
            await store.info("_/loop/file")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    "content_range", ["bytes 0-9/1048576", "bytes 100-105/9999999", "bytes 90-99/1048576", "nonsense", ""]
)
async def test_a_range_that_was_not_asked_for_is_refused(slow_link: Store, proxy: Proxy, content_range: str) -> None:
    reader = await slow_link.open_reader("data.bin", await slow_link.info("data.bin"))
    proxy.answer(206, b"x" * 10, headers=f"Content-Range: {content_range}\r\n")
    with pytest.raises(OSError, match=r"Content-Range|changed"):
        await reader.read(100, 10)


# As an fsspec file system


def test_synchronous_callers_are_served(nginx: Nginx, tree: Path) -> None:
    fs = HTTPFileSystem(skip_instance_cache=True)
    url = nginx.url + "tree"
    assert fs.info(url + "/data.bin")["size"] == len(CONTENT)
    assert f"{url}/sub%20dir" in fs.ls(url, detail=False)
    assert fs.cat_file(url + "/data.bin", start=-10) == CONTENT[-10:]
    assert fs.cat_file(url + "/data.bin", start=10, end=20) == CONTENT[10:20]
    assert fs.cat_file(url + "/data.bin") == CONTENT
    assert fs.isdir(url)
    assert not fs.exists(url + "/nothing")


def test_a_file_is_opened_for_fsspecs_users_and_reads_little(proxy: Proxy) -> None:
    fs = HTTPFileSystem(skip_instance_cache=True)
    with fs.open(f"{proxy.url}/tree/data.bin", "rb", block_size=4096, cache_type="bytes") as file:
        file.seek(500_000)
        assert file.read(100) == CONTENT[500_000:500_100]
        assert file.size == len(CONTENT)
    assert proxy.received < 70_000, "more than one block and the heads of two answers"


# Open files


@pytest.fixture
async def web() -> AsyncIterator[HTTPFileSystem]:
    fs = HTTPFileSystem(asynchronous=True, skip_instance_cache=True)
    yield fs
    await fs._close()


HABITS = ["", "_/whole/", "_/anonymous/", "_/undated/"]


@pytest.mark.parametrize("habit", HABITS)
async def test_files_are_opened_on_servers_of_every_habit(nginx: Nginx, web: HTTPFileSystem, habit: str) -> None:
    async with await web.open_async(f"{nginx.url}{habit}tree/data.bin") as file:
        assert file.size == len(CONTENT)
        assert await file.pread(1000, offset=400_000) == CONTENT[400_000:401_000]
        assert await file.pread(1000, offset=100) == CONTENT[100:1100]
        assert await file.read() == CONTENT
        assert await file.read(1) == b""
    with pytest.raises(OSError, match="read-only"):
        await web.open_async(f"{nginx.url}tree/data.bin", "wb")
    with pytest.raises(FileNotFoundError):
        await web.open_async(f"{nginx.url}{habit}tree/nothing")


@pytest.mark.parametrize("habit", HABITS)
def test_the_synchronous_file_too(nginx: Nginx, habit: str) -> None:
    fs = HTTPFileSystem(skip_instance_cache=True)
    with fs.open(f"{nginx.url}{habit}tree/data.bin") as file:
        file.seek(-1000, 2)
        assert file.read() == CONTENT[-1000:]
        file.seek(0)
        assert file.read(1000) == CONTENT[:1000]


async def test_a_body_that_breaks_off_is_read_again_and_a_change_is_stale(
    proxy: Proxy, nginx: Nginx, web: HTTPFileSystem
) -> None:
    path = nginx.files / "tree" / "changing.bin"
    path.write_bytes(CONTENT)
    async with await web.open_async(f"{proxy.url}/tree/changing.bin") as file:
        proxy.cut(10_000, times=1)
        assert await file.pread(100_000, offset=0) == CONTENT[:100_000]
        proxy.answer(503, times=1)
        assert await file.pread(10, offset=200_000) == CONTENT[200_000:200_010]
        path.write_bytes(CONTENT + b"more")
        with pytest.raises(StaleError):
            await file.pread(10, offset=400_000)
