"""Archives inside other stores: what is in them, that nothing leads out of them, and how little is fetched."""

from __future__ import annotations

import errno
import io
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from servers import Nginx, Proxy, S3Server
from servers.s3 import storage_options

from aiovfs.errors import StaleError, StoreError, UnsupportedError
from aiovfs.fs import open_store
from aiovfs.fs.info import Kind
from aiovfs.fs.store import Store

RANDOM = random.Random(1).randbytes(300_000)
TEXT = b"a line that compresses well\n" * 100_000

ZIPS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}
TARS = ["w", "w:gz", "w:bz2", "w:xz"]


def make_zip(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {"dir/deep/text.txt": TEXT, "dir/random.bin": RANDOM, "empty": b"", **members}.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 21, 13, 24, 0)), content, compression)


def make_tar(path: Path, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in {"./dir/deep/text.txt": TEXT, "./dir/random.bin": RANDOM, "./empty": b""}.items():
            item = tarfile.TarInfo(name)
            item.size, item.mtime, item.mode = len(content), 1_795_267_440, 0o640
            archive.addfile(item, io.BytesIO(content))


@asynccontextmanager
async def opened(kind: str, path: Path, prefix: str = "") -> AsyncIterator[Store]:
    async with await open_store(f"{kind}://{prefix}::file://{path}") as store:
        yield store


@pytest.fixture(params=[*ZIPS, *TARS])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """The same files in every kind of archive."""
    path = tmp_path / "archive"
    if request.param in ZIPS:
        make_zip(path, ZIPS[request.param])
    else:
        make_tar(path, request.param)
    async with opened("zip" if request.param in ZIPS else "tar", path) as archive:
        yield archive


async def read_all(store: Store, path: str, *, block: int = 100_000) -> bytes:
    reader = await store.open_reader(path, await store.info(path))
    parts, offset = [], 0
    while part := await reader.read(offset, block):
        parts.append(part)
        offset += len(part)
    await reader.aclose()
    return b"".join(parts)


async def test_directories_exist_that_the_archive_does_not_mention(store: Store) -> None:
    assert {info.name: info.kind for info in await store.list("")} == {"dir": Kind.DIRECTORY, "empty": Kind.FILE}
    assert {info.name for info in await store.list("dir")} == {"deep", "random.bin"}
    assert (await store.info("dir/deep")).kind is Kind.DIRECTORY


async def test_members_have_sizes_times_and_fingerprints(store: Store) -> None:
    info = await store.info("dir/deep/text.txt")
    assert (info.name, info.size, info.mtime_ns) == ("text.txt", len(TEXT), 1_795_267_440 * 10**9)
    assert info.fingerprint != (await store.info("dir/random.bin")).fingerprint


async def test_members_are_read_as_they_were_packed(store: Store) -> None:
    assert await read_all(store, "dir/deep/text.txt") == TEXT
    assert await read_all(store, "dir/random.bin") == RANDOM
    assert await read_all(store, "empty") == b""


async def test_members_are_read_at_any_offset_in_any_order(store: Store) -> None:
    reader = await store.open_reader("dir/random.bin", await store.info("dir/random.bin"))
    for offset, size in ((250_000, 100), (10, 100), (100_000, 5000), (299_990, 100), (0, 10), (300_000, 10)):
        assert await reader.read(offset, size) == RANDOM[offset : offset + size]
    await reader.aclose()


async def test_downloads_are_the_member(store: Store, tmp_path: Path) -> None:
    seen: list[int] = []
    await store.download("dir/random.bin", str(tmp_path / "copy"), progress=seen.append)
    assert (tmp_path / "copy").read_bytes() == RANDOM
    assert seen[-1] == len(RANDOM)


async def test_writing_is_refused_as_on_a_read_only_file_system(store: Store, tmp_path: Path) -> None:
    for change in (store.remove("empty"), store.mkdir("new"), store.upload("/dev/null", "new")):
        with pytest.raises(OSError, match="Read-only") as caught:
            await change
        assert caught.value.errno == errno.EROFS


async def test_what_is_not_in_the_archive_is_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        await store.info("dir/nothing")
    with pytest.raises(NotADirectoryError):
        await store.list("empty")


async def test_a_directory_of_the_archive_can_be_the_root(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip")
    async with opened("zip", tmp_path / "a.zip", "dir/deep") as store:
        assert [info.name for info in await store.list("")] == ["text.txt"]
        assert await read_all(store, "text.txt") == TEXT
    with pytest.raises(FileNotFoundError):
        await open_store(f"zip://nowhere::file://{tmp_path}/a.zip")


async def test_archives_nest(tmp_path: Path) -> None:
    make_zip(tmp_path / "inner.zip")
    with tarfile.open(tmp_path / "outer.tar", "w") as archive:
        archive.add(tmp_path / "inner.zip", "some/inner.zip")
    async with await open_store(f"zip::tar://some/inner.zip::file://{tmp_path}/outer.tar") as store:
        assert await read_all(store, "dir/random.bin") == RANDOM


# Names from strangers

HOSTILE = ["../escape", "a/../../escape", "/etc/passwd", "dir\\back", "..\\escape", "C:\\windows", "//host/share"]


async def test_zip_members_whose_names_lead_out_are_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_zip(tmp_path / "a.zip", **dict.fromkeys(HOSTILE, b"x"))
    async with opened("zip", tmp_path / "a.zip") as store:
        assert {info.name for info in await store.list("")} == {"dir", "empty"}
    assert f"{len(HOSTILE)} members" in caplog.text


async def test_a_zip_member_without_a_name_is_hidden(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", nameless=b"x")
    nameless = (tmp_path / "a.zip").read_bytes()
    header = nameless.rindex(b"PK\x01\x02")
    # The name becomes the comment: the index keeps its length.
    renamed = nameless[: header + 28] + struct.pack("<HHH", 0, 0, 8) + nameless[header + 34 :]
    (tmp_path / "a.zip").write_bytes(renamed)
    async with opened("zip", tmp_path / "a.zip") as store:
        assert {info.name for info in await store.list("")} == {"dir", "empty"}


async def test_tar_members_that_lead_out_are_hidden(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("good", *HOSTILE):
            archive.addfile(tarfile.TarInfo(name))
        for name, target in (("inside", "good"), ("outside", "../up"), ("absolute", "/etc/passwd")):
            item = tarfile.TarInfo(name)
            item.type, item.linkname = tarfile.SYMTYPE, target
            archive.addfile(item)
        device = tarfile.TarInfo("device")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    async with opened("tar", tmp_path / "a.tar") as store:
        assert {info.name for info in await store.list("")} == {"good", "inside"}
        assert await store.readlink("inside") == "good"


async def test_zip_symlinks_are_symlinks_when_they_stay_inside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, target in (("inside", "dir/x"), ("outside", "../../etc/passwd")):
            item = zipfile.ZipInfo(name)
            item.create_system, item.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(item, target)
    async with opened("zip", tmp_path / "a.zip") as store:
        assert [(info.name, info.kind, info.target) for info in await store.list("")] == [
            ("inside", Kind.SYMLINK, "dir/x")
        ]


async def test_hard_links_in_a_tar_have_the_content_of_their_target(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        item = tarfile.TarInfo("first")
        item.size = 5
        archive.addfile(item, io.BytesIO(b"12345"))
        link = tarfile.TarInfo("second")
        link.type, link.linkname = tarfile.LNKTYPE, "first"
        archive.addfile(link)
    async with opened("tar", tmp_path / "a.tar") as store:
        assert await read_all(store, "second") == b"12345"


async def test_the_last_of_several_members_with_one_name_is_meant(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for content in (b"old", b"new!"):
            item = tarfile.TarInfo("file")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    async with opened("tar", tmp_path / "a.tar") as store:
        assert await read_all(store, "file") == b"new!"


# Damage


async def test_a_file_that_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no archive" * 1000)
    for kind in ("zip", "tar"):
        with pytest.raises(StoreError, match=f"not a {kind} archive"):
            await open_store(f"{kind}::file://{tmp_path}/a")


async def test_an_archive_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await open_store(f"zip::file://{tmp_path}/nothing.zip")


async def test_a_damaged_member_is_an_io_error_and_others_are_readable(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        offset = archive.getinfo("dir/deep/text.txt").header_offset
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[offset + 50 : offset + 500] = b"\xff" * 450
    (tmp_path / "a.zip").write_bytes(data)
    async with opened("zip", tmp_path / "a.zip") as store:
        with pytest.raises(OSError, match="damaged") as caught:
            await read_all(store, "dir/deep/text.txt")
        assert caught.value.errno == errno.EIO
        assert await read_all(store, "dir/random.bin") == RANDOM


async def test_a_method_that_we_do_not_know_is_said_by_its_number(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", zipfile.ZIP_LZMA)
    async with opened("zip", tmp_path / "a.zip") as store:
        with pytest.raises(UnsupportedError, match="method 14"):
            await read_all(store, "dir/random.bin")


async def test_an_archive_that_was_replaced_is_stale_for_its_readers(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", zipfile.ZIP_STORED)
    async with opened("zip", tmp_path / "a.zip") as store:
        reader = await store.open_reader("dir/random.bin", await store.info("dir/random.bin"))
        make_zip(tmp_path / "b.zip", zipfile.ZIP_STORED, more=b"more")
        content = (tmp_path / "b.zip").read_bytes()
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(StaleError):
            await reader.read(0, 10)
        await reader.aclose()


# How little is fetched


@pytest.fixture(scope="module")
def large_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 MB: stored and deflated members of 100 KB and more, most of them incompressible."""
    path = tmp_path_factory.mktemp("large") / "large.zip"
    noise = random.Random(2)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100):
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            archive.writestr(f"large/{number:03d}", noise.randbytes(400_000), method)
        for number in range(100):
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            archive.writestr(f"small/{number:03d}", noise.randbytes(100_000), method)
    return path


@pytest.mark.servers
@pytest.mark.parametrize("client", ["obstore", "s3fs"])
@pytest.mark.parametrize("name", ["small/050", "small/051"], ids=["stored", "deflated"])
async def test_one_small_member_of_a_large_zip_in_s3_costs_less_than_half_a_mebibyte(
    large_zip: Path, s3_server: S3Server, bucket: str, proxied: Callable[[int], Proxy], client: str, name: str
) -> None:
    s3_server.path(bucket, "large.zip").hardlink_to(large_zip)
    proxy = proxied(s3_server.port)
    async with await open_store(
        f"zip::s3://{bucket}/large.zip", client=client, storage_options=storage_options(proxy.url)
    ) as store:
        content = await read_all(store, name)
    with zipfile.ZipFile(large_zip) as archive:
        assert content == archive.read(name)
    assert proxy.received < 512 * 1024
    assert proxy.requests <= 12


@pytest.mark.servers
@pytest.mark.parametrize("name", ["large/000", "large/001"], ids=["stored", "deflated"])
async def test_reading_a_member_in_order_fetches_each_byte_once(
    large_zip: Path, nginx: Nginx, proxied: Callable[[int], Proxy], name: str
) -> None:
    link = nginx.files / "large.zip"
    link.unlink(missing_ok=True)
    link.hardlink_to(large_zip)
    proxy = proxied(nginx.port)
    async with await open_store(f"zip::{proxy.url}/large.zip") as store:
        proxy.reset()
        assert len(await read_all(store, name, block=4096 * 8)) == 400_000
    assert proxy.received < 450_000


@pytest.mark.servers
async def test_a_zip_behind_a_server_that_is_down_is_a_clear_error(
    proxied: Callable[[int], Proxy], nginx: Nginx
) -> None:
    proxy = proxied(nginx.port)
    proxy.refuse()
    with pytest.raises(StoreError, match="is the server running"):
        await open_store(f"zip::{proxy.url}/large.zip", storage_options={"retry_seconds": 0.5})
