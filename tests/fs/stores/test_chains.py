"""Chained URLs of fsspec over our file systems: caches, archives, subdirectories."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from servers import Nginx, S3Server

pytestmark = pytest.mark.servers

CONTENT = random.Random(7).randbytes(300_000)


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inner/text", "in an archive\n")
        packed.writestr("inner/data", CONTENT)
    return buffer.getvalue()


@pytest.fixture(params=["aiomemory", "aiofile", "aios3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, dict[str, Any]]:
    """The protocol, the URL of a directory, and the options that fsspec's chains take."""
    options: dict[str, Any] = {}
    if request.param == "aios3":
        server: S3Server = request.getfixturevalue("s3_server")
        url = f"aios3://{request.getfixturevalue('bucket')}/top"
        options = dict(server.storage_options)
    else:
        url = f"{request.param}://{tmp_path}/top"
    fs = fsspec.filesystem(request.param, **options)
    top = fs._strip_protocol(url)
    fs.makedirs(top, exist_ok=True)
    fs.pipe({f"{top}/data": CONTENT, f"{top}/packed.zip": archive(), f"{top}/sub/text": b"below\n"})
    return request.param, url, {request.param: options}


# fsspec leaves the file of its blockcache to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_fsspecs_caches_keep_what_ours_have(place: tuple[str, str, dict[str, Any]], cache: str, tmp_path: Path) -> None:
    _, url, options = place
    options = {**options, cache: {"cache_storage": str(tmp_path / "cache")}}
    for _ in range(2):
        with fsspec.open(f"{cache}::{url}/data", "rb", **options) as file:
            assert file.read(10) == CONTENT[:10]
            file.seek(200_000)
            assert file.read() == CONTENT[200_000:]


def test_members_of_an_archive_are_read_through_files_of_ours(place: tuple[str, str, dict[str, Any]]) -> None:
    _, url, options = place
    with fsspec.open(f"zip://inner/data::{url}/packed.zip", "rb", **options) as file:
        assert file.read() == CONTENT
    fs, _ = fsspec.url_to_fs(f"zip::{url}/packed.zip", **options)
    assert fs.cat_file("inner/text") == b"in an archive\n"


def test_a_subdirectory_is_a_file_system(place: tuple[str, str, dict[str, Any]]) -> None:
    protocol, url, options = place
    inner = fsspec.filesystem(protocol, **options[protocol])
    fs = fsspec.filesystem("dir", path=inner._strip_protocol(url) + "/sub", fs=inner)
    assert fs.cat_file("text") == b"below\n"
    fs.pipe_file("new", b"x")
    assert inner.cat_file(inner._strip_protocol(url) + "/sub/new") == b"x"
    with fs.open("text", "r") as file:
        assert file.read() == "below\n"


def test_an_archive_on_a_web_server(nginx: Nginx, tmp_path: Path) -> None:
    (nginx.files / "chained.zip").write_bytes(archive())
    with fsspec.open(f"zip://inner/text::aio{nginx.url}/chained.zip", "rt") as file:
        assert file.read() == "in an archive\n"
