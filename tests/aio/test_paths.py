"""Paths: the words of os, whole files, and temporary ones."""

from __future__ import annotations

import errno
import gc
import os
import stat
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs import aio

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    return tmp_path


async def test_attributes_are_those_of_os(tree: Path) -> None:
    for name in ("file", "directory", "link"):
        assert await aio.stat(tree / name) == os.stat(tree / name)
        assert await aio.lstat(tree / name) == os.lstat(tree / name)
    directory = os.open(tree, os.O_RDONLY)
    try:
        assert await aio.stat("file", dir_fd=directory) == os.stat(tree / "file")
        assert await aio.stat(directory) == os.stat(tree)
    finally:
        os.close(directory)
    assert (await aio.statvfs(tree)).f_bsize == os.statvfs(tree).f_bsize
    assert await aio.access(tree / "file", os.R_OK)
    assert not await aio.access(tree / "none", os.F_OK)


async def test_existence_is_denied_only_when_that_is_sure(tree: Path) -> None:
    assert await aio.exists(tree / "file")
    assert not await aio.exists(tree / "none")
    assert not await aio.exists(tree / "file" / "below")
    assert not await aio.exists(tree / "broken")
    assert await aio.exists(tree / "broken", follow_symlinks=False)
    assert await aio.is_file(tree / "link")
    assert await aio.is_dir(tree / "directory")
    assert not await aio.is_dir(tree / "none")
    with pytest.raises(OSError, match="File name too long"):
        await aio.exists(tree / ("x" * 300))


async def test_names_are_made_moved_and_removed(tree: Path) -> None:
    await aio.mkdir(tree / "new", 0o700)
    assert stat.S_IMODE((tree / "new").stat().st_mode) == 0o700
    await aio.makedirs(tree / "a" / "b" / "c")
    await aio.makedirs(tree / "a" / "b" / "c", exist_ok=True)
    await aio.rename(tree / "file", tree / "a" / "moved")
    await aio.replace(tree / "a" / "moved", tree / "new" / "file")
    await aio.link(tree / "new" / "file", tree / "second")
    assert (tree / "second").stat().st_nlink == 2
    await aio.symlink("second", tree / "third")
    assert await aio.readlink(tree / "third") == "second"
    assert await aio.readlink(os.fsencode(tree / "third")) == b"second"
    await aio.unlink(tree / "third")
    await aio.rmdir(tree / "directory")
    assert sorted(os.listdir(tree)) == ["a", "broken", "link", "new", "second"]


async def test_a_rename_can_refuse_to_replace_and_can_exchange(tree: Path) -> None:
    (tree / "other").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        await aio.rename(tree / "file", tree / "other", flags=1)
    await aio.rename(tree / "file", tree / "other", flags=2)
    assert (tree / "file").read_bytes() == b"other"


async def test_attributes_are_changed(tree: Path) -> None:
    await aio.chmod(tree / "file", 0o640)
    await aio.utime(tree / "file", ns=(1_000_000_000, 2_000_000_000))
    await aio.chown(tree / "file", -1, -1)
    await aio.truncate(tree / "file", 3)
    status = (tree / "file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o640, 3)
    await aio.utime(tree / "file", ns=(1_000_000_000, 2_000_000_000))
    assert (tree / "file").stat().st_mtime_ns == 2_000_000_000
    async with aio.open(tree / "file", "rb+") as file:
        await aio.fallocate(file, 0, 10_000)
        assert (await file.stat()).st_size == 10_000
        await aio.truncate(file.fileno(), 5)
        assert (await aio.stat(file.fileno())).st_size == 5


async def test_extended_attributes_come_and_go(tree: Path) -> None:
    await aio.setxattr(tree / "file", "user.colour", b"blue")
    assert await aio.getxattr(tree / "file", "user.colour") == b"blue"
    assert "user.colour" in await aio.listxattr(tree / "file")
    async with aio.open(tree / "file", "rb") as file:
        await aio.setxattr(file.fileno(), "user.shape", bytearray(b"round"))
        assert await aio.getxattr(file.fileno(), "user.shape") == b"round"
    await aio.removexattr(tree / "file", "user.colour")
    with pytest.raises(OSError, match="No data") as caught:
        await aio.getxattr(tree / "file", "user.colour")
    assert caught.value.errno == errno.ENODATA


@pytest.mark.parametrize(
    "call",
    [
        lambda path: aio.stat(path),
        lambda path: aio.lstat(path),
        lambda path: aio.unlink(path),
        lambda path: aio.rmdir(path),
        lambda path: aio.rename(path, f"{path}2"),
        lambda path: aio.readlink(path),
        lambda path: aio.listdir(path),
        lambda path: aio.scandir(path).next_batch(),
        lambda path: aio.read_bytes(path),
        lambda path: aio.truncate(path, 1),
        lambda path: aio.chmod(path, 0o600),
        lambda path: aio.utime(path),
        lambda path: aio.getxattr(path, "user.x"),
        lambda path: aio.statvfs(path),
        lambda path: aio.copy_file(path, f"{path}2"),
        lambda path: aio.write_bytes(f"{path}/x", b""),
        lambda path: aio.write_bytes(f"{path}/x", b"", atomic=True),
    ],
)
async def test_errors_have_errno_and_the_name(tmp_path: Path, call: Any) -> None:
    path = str(tmp_path / "none")
    with pytest.raises(FileNotFoundError) as caught:
        await call(path)
    assert caught.value.errno == errno.ENOENT
    assert str(caught.value.filename).startswith(path)


async def test_both_names_of_a_failed_rename_are_told(tree: Path) -> None:
    with pytest.raises(OSError, match=r"Not a directory|Is a directory|exists|not empty") as caught:
        await aio.rename(tree / "directory", tree / "file")
    assert (caught.value.filename, caught.value.filename2) == (str(tree / "directory"), str(tree / "file"))


# --- directories


async def test_scandir_brings_batches_without_asking_for_each_entry(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"f{number}").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    seen = {}
    async with aio.scandir(tmp_path, batch_size=100) as scan:
        async for entry in scan:
            seen[entry.name] = entry
    assert len(seen) == 1002
    assert seen.keys() == set(os.listdir(tmp_path))
    assert (seen["d"].is_dir, seen["f1"].is_file, seen["l"].is_symlink, seen["l"].is_dir) == (True, True, True, False)
    assert seen["f7"].inode == (tmp_path / "f7").stat().st_ino
    assert os.fspath(seen["f7"]) == str(tmp_path / "f7")
    assert (await seen["l"].stat()) == os.stat(tmp_path / "d")
    assert len(await aio.listdir(tmp_path)) == 1002


async def test_scandir_may_end_early_and_bring_attributes(tree: Path) -> None:
    async with aio.scandir(tree, with_stat=True, batch_size=1) as scan:
        async for entry in scan:
            assert entry.status == os.lstat(entry.path)
            break
    assert [entry async for entry in scan] == []
    with pytest.raises(ValueError, match="at least one"):
        aio.scandir(tree, batch_size=0)
    left = aio.scandir(tree, batch_size=1)
    await left.next_batch()
    del left
    gc.collect()  # no ResourceWarning: it closes itself


# --- whole files


async def test_whole_files_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert await aio.write_bytes(path, b"first") == 5
    assert await aio.read_bytes(path) == b"first"
    assert await aio.read_bytes(path, limit=2) == b"fi"
    assert await aio.write_bytes(path, memoryview(b"second"), sync="full") == 6
    assert await aio.write_bytes(path, bytearray(b"third"), atomic=True) == 5
    assert await aio.write_bytes(path, b"", atomic=True, sync="data") == 0
    assert await aio.read_bytes(path) == b""
    big = os.urandom(3_000_000)
    await aio.write_bytes(path, big, atomic=True, sync="full")
    assert await aio.read_bytes(path) == big
    assert b"VmRSS" in await aio.read_bytes("/proc/self/status")
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(ValueError, match="'always'"):
        aio.write_bytes(path, b"", sync="always")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        aio.write_bytes(path, "text")  # type: ignore[arg-type]


async def test_text_comes_and_goes_with_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert await aio.write_text(path, "größe\n", encoding="latin-1", newline="\r\n") == 6
    assert path.read_bytes() == "größe\r\n".encode("latin-1")
    assert await aio.read_text(path, encoding="latin-1") == "größe\n"
    assert await aio.read_text(path, encoding="latin-1", newline="") == "größe\r\n"
    await aio.write_text(path, "x", atomic=True, sync="data")
    assert await aio.read_text(path) == "x"


async def test_an_atomic_write_keeps_permissions_and_follows_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    await aio.write_bytes(tmp_path / "link", b"new", atomic=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    with pytest.raises(IsADirectoryError):
        await aio.write_bytes(tmp_path, b"", atomic=True)


@pytest.mark.parametrize("has_unnamed", [True, False])
async def test_a_failed_atomic_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_unnamed: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    if not has_unnamed:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_EXCL | os.O_CREAT)  # EINVAL, as where there are none

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("write", "replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space") as caught:
                await aio.write_bytes(path, b"new", atomic=True, sync="full")
        assert caught.value.filename == str(path)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
    await aio.write_bytes(path, b"new", atomic=True, sync="full")
    assert path.read_bytes() == b"new"


async def test_a_cancelled_atomic_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    entered, gate = threading.Event(), threading.Event()
    before = os.fdatasync

    def slow(fd: int) -> None:
        entered.set()
        assert gate.wait(30)
        before(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: _await(aio.write_bytes(path, b"new", atomic=True, sync="data")))
        while not entered.is_set():
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
        gate.set()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


async def _await(operation: Any) -> None:
    await operation


async def test_readers_see_all_of_one_version(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([letter]) * 50_000 for letter in b"abcdefgh"]
    await aio.write_bytes(path, versions[0])
    seen = set()

    async def write() -> None:
        for version in versions:
            await aio.write_bytes(path, version, atomic=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        for _ in range(50):
            seen.add(await aio.read_bytes(path))
    assert seen <= set(versions)


async def test_many_paths_at_once_keep_their_order_and_their_errors(tmp_path: Path) -> None:
    names = [tmp_path / f"f{number}" for number in range(150)]
    for number, name in enumerate(names):
        name.write_bytes(b"x" * number)
    assert [status.st_size for status in await aio.stat_many(names)] == list(range(150))
    assert [len(content) for content in await aio.read_bytes_many(names)] == list(range(150))
    with pytest.raises(FileNotFoundError):
        await aio.stat_many([names[0], tmp_path / "none", names[1]])
    said = await aio.read_bytes_many([names[3], tmp_path / "none"], on_error="return")
    assert said[0] == b"xxx"
    assert isinstance(said[1], FileNotFoundError)
    said_of_stat = await aio.stat_many([tmp_path / "none"], on_error="return")
    assert isinstance(said_of_stat[0], FileNotFoundError)


async def test_files_and_ranges_are_copied(tmp_path: Path) -> None:
    content = os.urandom(9_000_000)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "a").chmod(0o600)
    told: list[int] = []
    assert await aio.copy_file(tmp_path / "a", tmp_path / "b", progress=told.append) == 9_000_000
    assert (tmp_path / "b").read_bytes() == content
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    assert told[-1] == 9_000_000
    assert len(told) == 2
    with pytest.raises(OSError, match="same file"):
        await aio.copy_file(tmp_path / "a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content
    async with aio.open(tmp_path / "a", "rb") as source, aio.open(tmp_path / "c", "wb+") as target:
        await target.write(b"0123456789")
        assert await aio.copy_range(source, target, 5, offset_src=100, offset_dst=3) == 5
        assert await target.pread(20, 0) == b"012" + content[100:105] + b"89"
        assert await aio.copy_range(source, target, 100, offset_src=9_000_000 - 10) == 10
    assert await aio.copy_file("/proc/self/status", tmp_path / "d") > 100


# --- temporary files


@pytest.mark.parametrize("mode", ["w+b", "w+"])
async def test_temporary_files_are_gone_when_closed(tmp_path: Path, mode: str) -> None:
    data: Any = b"line\n" if "b" in mode else "line\n"
    async with aio.tempfile.TemporaryFile(mode, dir=tmp_path) as file:
        await file.write(data * 3)
        await file.seek(0)
        assert [line async for line in file] == [data] * 3
        assert os.listdir(tmp_path) == []
    async with aio.tempfile.NamedTemporaryFile(mode, dir=tmp_path, prefix="p", suffix=".s") as named:
        await named.write(data)
        await named.flush()
        assert os.listdir(tmp_path) == [os.path.basename(named.name)]
        assert named.name.endswith(".s")
        assert Path(named.name).read_bytes() == b"line\n"
        assert stat.S_IMODE(os.stat(named.name).st_mode) == 0o600
    assert os.listdir(tmp_path) == []


async def test_a_named_temporary_file_may_outlive_its_closing(tmp_path: Path) -> None:
    async with aio.tempfile.NamedTemporaryFile(dir=tmp_path, delete_on_close=False) as file:
        await file.write(b"x")
        await file.aclose()
        assert Path(file.name).read_bytes() == b"x"
    assert os.listdir(tmp_path) == []
    async with aio.tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as file:
        pass
    assert os.listdir(tmp_path) == [os.path.basename(file.name)]
    os.unlink(file.name)
    awaited = await aio.tempfile.NamedTemporaryFile(dir=tmp_path)
    await awaited.aclose()
    assert os.listdir(tmp_path) == []


async def test_a_cancelled_temporary_file_leaves_nothing_behind(tmp_path: Path) -> None:
    async def make() -> None:
        async with aio.tempfile.NamedTemporaryFile(dir=tmp_path):
            await anyio.sleep(10)

    for checkpoints in range(8):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make)
            for _ in range(checkpoints):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    for _ in range(1000):
        if not os.listdir(tmp_path):
            break
        await anyio.sleep(0.01)
    assert os.listdir(tmp_path) == []


async def test_temporary_directories_are_removed_with_all_that_is_in_them(tmp_path: Path) -> None:
    async with aio.tempfile.TemporaryDirectory(dir=tmp_path, prefix="p") as name:
        await aio.makedirs(os.path.join(name, "a", "b"))
        await aio.write_bytes(os.path.join(name, "a", "f"), b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", ["w+b", "w+"])
async def test_a_spooled_file_moves_to_the_disk_when_it_grows(tmp_path: Path, mode: str) -> None:
    data: Any = b"12345\n" if "b" in mode else "12345\n"
    async with aio.tempfile.SpooledTemporaryFile(10, mode, dir=tmp_path) as file:
        await file.write(data)
        assert not file.is_rolled
        await file.write(data)
        assert file.is_rolled
        await file.seek(0)
        assert await file.readlines() == [data] * 2
        await file.seek(0)
        assert await file.read(3) == data[:3]
        assert os.fstat(await file.fileno()).st_size == 12
    with pytest.raises(ValueError, match="closed"):
        await file.read()
    async with aio.tempfile.SpooledTemporaryFile(mode=mode) as small:
        await small.writelines([data, data])
        await small.truncate(6)
        await small.seek(0)
        assert [line async for line in small] == [data]
        assert await small.tell() == 6
        assert not small.is_rolled
