"""Live file systems that somebody else made, put behind a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import s3fs
from obstore.fsspec import FsspecStore
from servers import Nginx, S3Server

from aiovfs.errors import StaleError
from aiovfs.fs import open_store
from aiovfs.fs.http import HTTPFileSystem

pytestmark = pytest.mark.servers


def make_s3fs(server: S3Server) -> Any:
    # Cached by fsspec, as its users have it: collected while another loop runs, s3fs would close its session there.
    return s3fs.S3FileSystem(**server.storage_options)


def make_obstore_adapter(server: S3Server) -> Any:
    return FsspecStore(
        "s3",
        skip_instance_cache=True,
        asynchronous=True,
        config={
            "endpoint": server.url,
            "access_key_id": "k",
            "secret_access_key": "s",
            "region": "us-east-1",
            "disable_bulk_delete": True,
        },
        client_options={"allow_http": True},
    )


@pytest.mark.parametrize("make", [make_s3fs, make_obstore_adapter])
async def test_a_live_object_store_is_read_and_written(
    s3_server: S3Server, bucket: str, tmp_path: Path, make: Callable[[S3Server], Any]
) -> None:
    (tmp_path / "source").write_bytes(b"content" * 1000)
    async with await open_store(make(s3_server), root=f"{bucket}/prefix") as store:
        assert await store.list("") == []
        info = await store.upload(str(tmp_path / "source"), "dir/file")
        with pytest.raises(FileExistsError):
            await store.upload(str(tmp_path / "source"), "dir/file", exclusive=True)
        reader = await store.open_reader("dir/file", info)
        assert await reader.read(7, 7) == b"content"
        s3_server.path(bucket, "prefix/dir/file").write_bytes(b"another" * 1000)
        with pytest.raises(StaleError):
            await reader.read(0, 7)
        await store.rename("dir", "moved")
        await store.remove("moved/file")
        assert await store.list("moved") == []


async def test_our_live_web_file_system_is_a_store(nginx: Nginx) -> None:
    (nginx.files / "live").mkdir(exist_ok=True)
    (nginx.files / "live" / "file").write_bytes(b"content")
    fs = HTTPFileSystem(skip_instance_cache=True)
    async with await open_store(fs, root=nginx.url + "live") as store:
        assert [info.name for info in await store.list("")] == ["file"]
        reader = await store.open_reader("file", await store.info("file"))
        assert await reader.read(3, 10) == b"tent"
    # The store is closed; the file system stays its owner's.
    assert fs.loop is not None
