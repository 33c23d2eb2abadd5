"""`memory` and `local` by the same tests: what a file system in place does."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from blockbuster import BlockBuster

from aiovfs import aio
from aiovfs.errors import ClosedError, StaleError
from aiovfs.fs import Kind, Store, open_store


@pytest.fixture(params=["memory", "local"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    (tmp_path / "root").mkdir()
    url = f"memory://{tmp_path}" if request.param == "memory" else str(tmp_path / "root")
    async with await open_store(url) as store:
        yield store


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Store]:
    (tmp_path / "root").mkdir()
    async with await open_store(str(tmp_path / "root")) as store:
        yield store


async def write(store: Store, path: str, content: bytes) -> None:
    file = await store.open_file(path, writable=True, create=True, truncate=True)
    await file.pwrite(content, 0)
    await file.aclose()


async def read(store: Store, path: str) -> bytes:
    file = await store.open_file(path, writable=False)
    try:
        return await file.pread(1 << 20, 0)
    finally:
        await file.aclose()


async def names(store: Store, path: str = "") -> set[str]:
    return {info.name for info in await store.list(path)}


async def test_writes_at_any_offset_leave_the_rest_alone(store: Store) -> None:
    file = await store.open_file("a", writable=True, create=True)
    assert await file.pwrite(b"0123456789", 0) == 10
    assert await file.pwrite(memoryview(b"ab"), 3) == 2
    assert await file.pwrite(b"end", 12) == 3
    assert await file.pread(100, 0) == b"012ab56789\0\0end"
    assert await file.pread(3, 14) == b"d"
    assert await file.pread(3, 100) == b""
    assert await file.pwrite(b"", 50) == 0
    await file.fsync()
    assert (await file.info()).size == 15
    await file.aclose()


async def test_truncate_cuts_and_lengthens_with_zeros(store: Store) -> None:
    await write(store, "a", b"0123456789")
    file = await store.open_file("a", writable=True)
    await file.truncate(3)
    await file.truncate(5)
    await file.aclose()
    assert await read(store, "a") == b"012\0\0"
    await store.set_attributes("a", size=1)
    assert await read(store, "a") == b"0"


async def test_opening_makes_a_file_only_when_asked(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        await store.open_file("a", writable=True)
    file = await store.open_file("a", writable=True, create=True, exclusive=True, mode=0o600)
    await file.aclose()
    assert stat.S_IMODE((await store.info("a")).mode or 0) == 0o600
    with pytest.raises(FileExistsError):
        await store.open_file("a", writable=True, create=True, exclusive=True)


async def test_opening_with_truncate_empties_an_existing_file(store: Store) -> None:
    await write(store, "a", b"content")
    file = await store.open_file("a", writable=True, create=True, truncate=True)
    assert (await file.info()).size == 0
    await file.aclose()


async def test_a_file_opened_for_reading_cannot_be_written(store: Store) -> None:
    await write(store, "a", b"content")
    file = await store.open_file("a", writable=False)
    with pytest.raises(OSError, match=r".") as caught:
        await file.pwrite(b"x", 0)
    assert caught.value.errno == errno.EBADF
    await file.aclose()


async def test_a_directory_or_a_symlink_is_not_opened_as_a_file(store: Store) -> None:
    await store.mkdir("d")
    with pytest.raises(IsADirectoryError):
        await store.open_file("d", writable=True)
    await store.symlink("d/target", "l")
    with pytest.raises(OSError, match=r".") as caught:
        await store.open_file("l", writable=True, create=True)
    assert caught.value.errno == errno.ELOOP
    assert await store.list("d") == []


async def test_an_unlinked_file_stays_usable(store: Store) -> None:
    await write(store, "a", b"content")
    file = await store.open_file("a", writable=True)
    await store.remove("a")
    assert await file.pread(100, 0) == b"content"
    await file.pwrite(b"C", 0)
    assert await file.pread(100, 0) == b"Content"
    assert (await file.info()).nlink == 0
    await file.aclose()
    with pytest.raises(FileNotFoundError):
        await store.info("a")


async def test_an_open_file_keeps_its_content_when_another_takes_its_name(store: Store) -> None:
    await write(store, "a", b"old")
    await write(store, "b", b"new")
    file = await store.open_file("a", writable=False)
    await store.rename("b", "a")
    assert await file.pread(100, 0) == b"old"
    assert await read(store, "a") == b"new"
    await file.aclose()


async def test_rename_is_of_the_node(store: Store) -> None:
    await write(store, "a", b"x")
    before = await store.info("a")
    await store.mkdir("d")
    await store.rename("a", "d/b")
    after = await store.info("d/b")
    assert (after.ino, after.fingerprint) == (before.ino, before.fingerprint)
    assert await names(store) == {"d"}


async def test_rename_moves_a_directory_with_what_is_in_it_over_an_empty_one(store: Store) -> None:
    await store.mkdir("d")
    await write(store, "d/a", b"x")
    await store.mkdir("e")
    await store.rename("d", "e")
    assert await names(store) == {"e"}
    assert await read(store, "e/a") == b"x"


@pytest.mark.parametrize(
    ("old", "new", "numbers"),
    [
        ("d", "d/x", {errno.EINVAL}),
        ("d", "d/sub/x", {errno.EINVAL}),
        ("a", "d", {errno.EISDIR}),
        ("d", "a", {errno.ENOTDIR}),
        ("e", "d", {errno.ENOTEMPTY, errno.EEXIST}),
        ("missing", "x", {errno.ENOENT}),
        ("a", "missing/x", {errno.ENOENT}),
        ("a", "a/x", {errno.EINVAL, errno.ENOTDIR}),
        ("", "x", {errno.EBUSY}),
    ],
)
async def test_an_impossible_rename_says_why_and_changes_nothing(
    store: Store, old: str, new: str, numbers: set[int]
) -> None:
    await store.mkdir("d")
    await store.mkdir("d/sub")
    await store.mkdir("e")
    await write(store, "a", b"x")
    with pytest.raises(OSError, match=r".") as caught:
        await store.rename(old, new)
    assert caught.value.errno in numbers
    assert (await names(store), await names(store, "d")) == ({"a", "d", "e"}, {"sub"})


async def test_renaming_to_itself_does_nothing(store: Store) -> None:
    await write(store, "a", b"x")
    await store.rename("a", "a")
    assert await read(store, "a") == b"x"


async def test_directories_are_made_and_removed_strictly(store: Store) -> None:
    await store.mkdir("d", mode=0o2770)
    assert (await store.info("d")).mode == stat.S_IFDIR | 0o2770
    for path, error in (("d", FileExistsError), ("missing/d", FileNotFoundError)):
        with pytest.raises(error):
            await store.mkdir(path)
    await write(store, "d/a", b"")
    with pytest.raises(OSError, match="not empty"):
        await store.rmdir("d")
    with pytest.raises(NotADirectoryError):
        await store.rmdir("d/a")
    with pytest.raises(NotADirectoryError):
        await store.list("d/a")
    with pytest.raises(NotADirectoryError):
        await store.info("d/a/b")
    with pytest.raises(IsADirectoryError):
        await store.remove("d")
    await store.remove("d/a")
    await store.rmdir("d")
    assert await store.list("") == []


async def test_a_directory_counts_its_subdirectories(store: Store, tmp_path: Path) -> None:
    if store.protocol == "file" and os.stat(tmp_path).st_nlink == 1:
        pytest.skip(f"the file system of {tmp_path} does not count the links of directories")
    await store.mkdir("d")
    assert (await store.info("d")).nlink == 2
    await store.mkdir("d/e")
    await write(store, "d/a", b"")
    assert (await store.info("d")).nlink == 3
    await store.rename("d/e", "e")
    assert (await store.info("d")).nlink == 2


async def test_symlinks_keep_their_target_uninterpreted(store: Store) -> None:
    await store.symlink("../../etc/passwd", "l")
    info = await store.info("l")
    assert (info.kind, info.target, info.size) == (Kind.SYMLINK, "../../etc/passwd", 16)
    assert await store.readlink("l") == "../../etc/passwd"
    await write(store, "a", b"")
    with pytest.raises(OSError, match=r".") as caught:
        await store.readlink("a")
    assert caught.value.errno == errno.EINVAL
    await store.remove("l")
    assert await names(store) == {"a"}


async def test_attributes_are_kept(store: Store) -> None:
    await write(store, "a", b"x")
    await store.set_attributes("a", mode=0o4711, atime_ns=1_000_000_001, mtime_ns=2_000_000_002)
    info = await store.info("a")
    assert (info.mode, info.atime_ns, info.mtime_ns) == (stat.S_IFREG | 0o4711, 1_000_000_001, 2_000_000_002)
    await store.set_attributes("a", mtime_ns=5)
    assert (await store.info("a")).atime_ns == 1_000_000_001
    await store.set_attributes("a", uid=os.getuid(), gid=os.getgid())
    assert ((await store.info("a")).uid, (await store.info("a")).gid) == (os.getuid(), os.getgid())


async def test_attributes_of_an_open_file_are_set_without_its_name(store: Store) -> None:
    file = await store.open_file("a", writable=True, create=True)
    await store.remove("a")
    await file.set_attributes(mode=0o600, mtime_ns=7, size=3)
    info = await file.info()
    assert (stat.S_IMODE(info.mode or 0), info.mtime_ns, info.size) == (0o600, 7, 3)
    await file.aclose()


async def test_attributes_are_never_set_through_a_symlink(local: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"content")
    outside.chmod(0o600)
    await local.symlink(str(outside), "l")
    for change in ({"mode": 0o777}, {"size": 0}):
        with pytest.raises(OSError, match=r"."):
            await local.set_attributes("l", **change)
    await local.set_attributes("l", mtime_ns=5)
    assert (stat.S_IMODE(outside.stat().st_mode), outside.read_bytes()) == (0o600, b"content")
    assert outside.stat().st_mtime_ns != 5
    assert (await local.info("l")).mtime_ns == 5


async def test_names_may_hold_any_bytes(store: Store) -> None:
    odd = b"\xff\n \xc3\xa9%2F".decode("utf-8", "surrogateescape")
    await write(store, odd, b"x")
    assert await names(store) == {odd}
    assert await read(store, odd) == b"x"


async def test_a_fingerprint_changes_with_the_content_and_only_with_it(store: Store) -> None:
    await write(store, "a", b"one")
    first = (await store.info("a")).fingerprint
    assert first is not None
    assert (await store.info("a")).fingerprint == first
    await store.set_attributes("a", mode=0o600)
    assert (await store.info("a")).fingerprint == first
    await write(store, "a", b"three")
    assert (await store.info("a")).fingerprint != first


async def test_a_reader_reads_its_version_or_says_that_it_is_gone(store: Store) -> None:
    await write(store, "a", b"0123456789")
    reader = await store.open_reader("a", await store.info("a"))
    assert (await reader.read(2, 3), await reader.read(8, 9), await reader.read(99, 1)) == (b"234", b"89", b"")
    await write(store, "a", b"changed in place")
    with pytest.raises(StaleError):
        await reader.read(0, 1)
    await reader.aclose()


async def test_a_reader_keeps_its_version_when_another_file_takes_its_name(store: Store) -> None:
    await write(store, "a", b"old")
    await write(store, "b", b"new")
    reader = await store.open_reader("a", await store.info("a"))
    await store.rename("b", "a")
    assert await reader.read(0, 9) == b"old"
    await reader.aclose()
    await reader.aclose()


async def test_upload_and_download_move_whole_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    done: list[int] = []
    info = await store.upload(str(tmp_path / "source"), "a", progress=done.append)
    assert (info, done[-1]) == (await store.info("a"), 100_000)
    await store.download("a", str(tmp_path / "target"), progress=done.append)
    assert (tmp_path / "target").read_bytes() == b"x" * 100_000
    with pytest.raises(FileExistsError):
        await store.upload(str(tmp_path / "source"), "a", exclusive=True)
    with pytest.raises(FileNotFoundError):
        await store.download("missing", str(tmp_path / "target2"))
    assert not (tmp_path / "target2").exists()
    assert await names(store) == {"a"}


async def test_copy_makes_a_file_of_its_own(store: Store) -> None:
    await write(store, "a", b"content")
    await store.set_attributes("a", mode=0o600)
    await store.copy("a", "b")
    await write(store, "a", b"changed")
    assert await read(store, "b") == b"content"
    assert stat.S_IMODE((await store.info("b")).mode or 0) == 0o600
    await store.copy("b", "b")
    assert await read(store, "b") == b"content"


async def test_a_file_that_is_replaced_as_a_whole_is_a_new_one(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    for replace in (lambda: store.upload(str(tmp_path / "source"), "a"), lambda: store.copy("other", "a")):
        await write(store, "a", b"old")
        await write(store, "other", b"new")
        await store.set_attributes("a", mode=0o640)
        file = await store.open_file("a", writable=False)
        await replace()
        assert await file.pread(9, 0) == b"old"
        await file.aclose()
        assert await read(store, "a") == b"new"
        assert stat.S_IMODE((await store.info("a")).mode or 0) == 0o640


async def test_replacing_a_symlink_leaves_what_it_leads_to_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    await write(store, "a", b"old")
    await store.symlink("a", "l")
    await store.upload(str(tmp_path / "source"), "l")
    assert (await store.info("l")).kind is Kind.FILE
    assert (await read(store, "a"), await read(store, "l")) == (b"old", b"new")


async def test_usage_is_plausible(store: Store) -> None:
    usage = await store.usage()
    assert usage is not None
    assert 0 <= usage.available <= usage.size
    assert usage.free <= usage.size


async def test_a_read_only_store_opens_files_for_reading_only(store: Store) -> None:
    await write(store, "a", b"x")
    async with await open_store(store.fs, root=store.root, read_only=True) as frozen:
        assert await read(frozen, "a") == b"x"
        assert not frozen.capabilities.writable
        for attempt in (
            frozen.open_file("a", writable=True),
            frozen.open_file("b", writable=False, create=True),
            frozen.set_attributes("a", mode=0),
            frozen.symlink("a", "b"),
            frozen.rename("a", "b"),
        ):
            with pytest.raises(OSError, match="Read-only"):
                await attempt


async def test_paths_outside_of_the_root_are_refused(store: Store) -> None:
    for path in ("../x", "/x", "a/../../x", "a//b"):
        with pytest.raises(ValueError, match="not a path inside a store"):
            await store.info(path)


async def test_a_closed_file_says_so_and_its_descriptor_is_never_reused(local: Store) -> None:
    file = await local.open_file("a", writable=True, create=True)
    await file.aclose()
    await file.aclose()
    with pytest.raises(ClosedError):
        await file.pread(1, 0)


async def test_a_file_is_closed_when_the_last_call_on_it_has_ended(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = anyio.Event(), anyio.Event()
    original = aio.pwrite

    async def gated(fd: int, data: bytes, offset: int) -> int:
        begun.set()
        await may_go_on.wait()
        return await original(fd, data, offset)

    monkeypatch.setattr(aio, "pwrite", gated)
    file = await local.open_file("a", writable=True, create=True)
    async with anyio.create_task_group() as group:
        group.start_soon(file.pwrite, b"x", 0)
        await begun.wait()
        await file.aclose()
        may_go_on.set()
    assert (await local.info("a")).size == 1


async def test_a_fifo_is_listed_but_never_waited_for(local: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/fifo")
    assert (await local.info("fifo")).kind is Kind.OTHER
    with pytest.raises(OSError, match=r".") as caught:
        await local.open_file("fifo", writable=False)
    assert caught.value.errno == errno.EOPNOTSUPP


async def test_the_mode_asked_for_is_given_whatever_the_umask(local: Store) -> None:
    before = os.umask(0o077)
    try:
        await (await local.open_file("a", writable=True, create=True, mode=0o666)).aclose()
        await local.mkdir("d", mode=0o777)
    finally:
        os.umask(before)
    assert stat.S_IMODE((await local.info("a")).mode or 0) == 0o666
    assert stat.S_IMODE((await local.info("d")).mode or 0) == 0o777


async def test_nothing_blocks_the_loop(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    guard = BlockBuster()
    guard.activate()
    try:
        await store.upload(str(tmp_path / "source"), "a")
        await store.mkdir("d")
        await store.rename("a", "d/a")
        await store.list("d")
        reader = await store.open_reader("d/a", await store.info("d/a"))
        await reader.read(0, 10)
        await reader.aclose()
        file = await store.open_file("d/a", writable=True)
        await file.pwrite(b"y", 0)
        await file.truncate(0)
        await file.aclose()
        await store.usage()
        await store.remove("d/a")
    finally:
        guard.deactivate()


async def test_two_roots_of_one_tree_see_each_other(tmp_path: Path) -> None:
    async with await open_store(f"memory://{tmp_path}") as outer, await open_store(f"memory://{tmp_path}/in") as inner:
        await write(inner, "a", b"x")
        assert await read(outer, "in/a") == b"x"
