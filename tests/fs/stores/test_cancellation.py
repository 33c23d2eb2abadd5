"""Whoever waits for a server that says nothing can stop waiting."""

from __future__ import annotations

import zipfile
from collections.abc import Callable

import anyio
import pytest
from servers import Nginx, Proxy, S3Server
from servers.s3 import storage_options

from aiovfs.fs import open_store

pytestmark = pytest.mark.servers

SOON = 0.2
"""Seconds until the wait is given up; the clients' own time-outs are far longer."""


@pytest.fixture
def proxy(nginx: Nginx, proxied: Callable[[int], Proxy]) -> Proxy:
    (nginx.files / "file").write_bytes(b"x" * 1000)
    return proxied(nginx.port)


async def test_a_request_to_a_web_server_is_cancelled(proxy: Proxy) -> None:
    async with await open_store(proxy.url) as store:
        proxy.black_hole()
        with anyio.fail_after(10), anyio.move_on_after(SOON) as scope:
            await store.info("file")
        assert scope.cancelled_caught
        proxy.fair()
        assert (await store.info("file")).size == 1000


@pytest.mark.parametrize("client", ["obstore", "s3fs"])
async def test_a_request_to_an_object_store_is_cancelled(
    s3_server: S3Server, bucket: str, proxied: Callable[[int], Proxy], client: str
) -> None:
    s3_server.path(bucket, "file").write_bytes(b"x" * 1000)
    proxy = proxied(s3_server.port)
    async with await open_store(f"s3://{bucket}", client=client, storage_options=storage_options(proxy.url)) as store:
        reader = await store.open_reader("file", await store.info("file"))
        proxy.black_hole()
        with anyio.fail_after(10), anyio.move_on_after(SOON) as scope:
            await reader.read(0, 10)
        assert scope.cancelled_caught
        proxy.fair()
        assert await reader.read(0, 10) == b"x" * 10


async def test_reading_an_archives_index_is_cancelled(proxy: Proxy, nginx: Nginx) -> None:
    with zipfile.ZipFile(nginx.files / "a.zip", "w") as archive:
        archive.writestr("x", b"x" * 100_000)
    # Its size is told; its content never comes.
    proxy.black_hole(only=lambda exchange: exchange.method == "GET")
    with anyio.fail_after(10), anyio.move_on_after(SOON * 3) as scope:
        await open_store(f"zip::{proxy.url}/a.zip")
    assert scope.cancelled_caught
