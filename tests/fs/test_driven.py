"""Driving fsspec file systems of every kind: what is promised of a store holds for all of them."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import backends
import pytest

from aiovfs.errors import StaleError
from aiovfs.fs import failures
from aiovfs.fs.driven import MARKER, DrivenStore
from aiovfs.fs.info import Info, Kind
from aiovfs.fs.registry import open_store
from aiovfs.fs.store import Store


class ObjectStore(DrivenStore):
    object_store = True


@pytest.fixture
async def objects() -> AsyncIterator[Store]:
    store = ObjectStore(
        backends.Objects(asynchronous=True), "bucket/top", url="objects://bucket/top", protocol="objects"
    )
    yield store
    await store.aclose()


@pytest.fixture
async def one_thread() -> AsyncIterator[Store]:
    fs = backends.OneThread()
    fs.directories.add("top")
    store = await open_store(fs, root="top")
    yield store
    await store.aclose()


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], str]:
    def make(content: bytes) -> str:
        path = tmp_path / "source"
        path.write_bytes(content)
        return str(path)

    return make


@pytest.fixture(params=["objects", "one_thread"])
async def store(request: pytest.FixtureRequest, objects: Store, one_thread: Store) -> Store:
    return objects if request.param == "objects" else one_thread


def names(infos: list[Info]) -> set[str]:
    return {info.name for info in infos}


async def read_all(store: Store, path: str) -> bytes:
    reader = await store.open_reader(path, await store.info(path))
    try:
        return await reader.read(0, 1 << 20)
    finally:
        await reader.aclose()


async def test_what_is_uploaded_is_read_back_by_ranges(store: Store, source: Callable[[bytes], str]) -> None:
    progress: list[int] = []
    info = await store.upload(source(b"0123456789"), "a", progress=progress.append)
    assert (info.name, info.kind, info.size) == ("a", Kind.FILE, 10)
    assert info.fingerprint is not None
    reader = await store.open_reader("a", info)
    assert await reader.read(2, 3) == b"234"
    assert await reader.read(8, 10) == b"89"
    assert await reader.read(10, 10) == b""
    assert await reader.read(100, 10) == b""
    await reader.aclose()
    await reader.aclose()
    assert max(progress) == 10


async def test_a_download_writes_the_whole_file(store: Store, source: Callable[[bytes], str], tmp_path: Path) -> None:
    await store.upload(source(b"content"), "a")
    await store.download("a", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"content"


async def test_a_failed_download_leaves_no_file(objects: Store, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        await objects.download("missing", str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()


async def test_a_reader_notices_that_its_version_is_gone(store: Store, source: Callable[[bytes], str]) -> None:
    reader = await store.open_reader("a", await store.upload(source(b"old content"), "a"))
    assert await reader.read(0, 3) == b"old"
    await store.upload(source(b"new, longer content"), "a")
    with pytest.raises(StaleError):
        await reader.read(0, 3)
    await reader.aclose()


async def test_a_reader_notices_that_its_file_was_removed(store: Store, source: Callable[[bytes], str]) -> None:
    reader = await store.open_reader("a", await store.upload(source(b"content"), "a"))
    await store.remove("a")
    with pytest.raises((StaleError, FileNotFoundError)):
        await reader.read(0, 3)
    await reader.aclose()


async def test_an_exclusive_upload_refuses_an_existing_file(store: Store, source: Callable[[bytes], str]) -> None:
    await store.upload(source(b"first"), "a", exclusive=True)
    with pytest.raises(FileExistsError):
        await store.upload(source(b"second"), "a", exclusive=True)
    assert await read_all(store, "a") == b"first"


async def test_a_made_directory_is_there_and_empty(store: Store) -> None:
    await store.mkdir("d")
    assert await store.list("d") == []
    assert (await store.info("d")).kind is Kind.DIRECTORY
    assert names(await store.list("")) == {"d"}


async def test_a_directory_is_not_made_twice(store: Store) -> None:
    await store.mkdir("d")
    with pytest.raises(FileExistsError):
        await store.mkdir("d")


async def test_rmdir_refuses_a_directory_with_content(store: Store, source: Callable[[bytes], str]) -> None:
    await store.mkdir("d")
    await store.upload(source(b"x"), "d/a")
    with pytest.raises(OSError, match="not empty") as caught:
        await store.rmdir("d")
    assert caught.value.errno == errno.ENOTEMPTY
    assert names(await store.list("d")) == {"a"}


async def test_rmdir_removes_an_empty_directory(store: Store) -> None:
    await store.mkdir("d")
    await store.mkdir("d/e")
    await store.rmdir("d/e")
    assert await store.list("d") == []
    await store.rmdir("d")
    with pytest.raises(FileNotFoundError):
        await store.info("d")


async def test_rmdir_refuses_a_file(store: Store, source: Callable[[bytes], str]) -> None:
    await store.upload(source(b"x"), "a")
    with pytest.raises(NotADirectoryError):
        await store.rmdir("a")


async def test_remove_refuses_a_directory(store: Store) -> None:
    await store.mkdir("d")
    with pytest.raises(IsADirectoryError):
        await store.remove("d")


async def test_listing_a_file_or_nothing_says_which(store: Store, source: Callable[[bytes], str]) -> None:
    await store.upload(source(b"x"), "a")
    with pytest.raises(NotADirectoryError):
        await store.list("a")
    with pytest.raises(FileNotFoundError):
        await store.list("missing")


async def test_a_directory_outlives_its_last_file(store: Store, source: Callable[[bytes], str]) -> None:
    await store.mkdir("d")
    await store.upload(source(b"x"), "d/a")
    await store.remove("d/a")
    assert await store.list("d") == []


async def test_a_directory_that_only_its_files_made_outlives_the_last_of_them(objects: Store) -> None:
    objects.fs.objects.update({f"bucket/top/d/{name}": b"" for name in "abc"})
    objects.fs.versions.update(dict.fromkeys(objects.fs.objects, 1))
    for name in "abc":
        await objects.remove(f"d/{name}")
    assert await objects.list("d") == []
    assert list(objects.fs.objects) == [f"bucket/top/d/{MARKER}"]


async def test_removing_all_files_of_a_directory_lists_it_only_twice(objects: Store) -> None:
    objects.fs.objects.update({f"bucket/top/d/{number}": b"" for number in range(50)})
    objects.fs.versions.update(dict.fromkeys(objects.fs.objects, 1))
    for number in range(50):
        await objects.remove(f"d/{number}")
    assert objects.fs.calls.count("ls") == 2


async def test_the_marker_is_hidden(objects: Store) -> None:
    await objects.mkdir("d")
    with pytest.raises(FileNotFoundError):
        await objects.info(f"d/{MARKER}")


async def test_an_absent_prefix_is_an_empty_root(objects: Store) -> None:
    assert await objects.list("") == []
    assert (await objects.info("")).kind is Kind.DIRECTORY


async def test_changes_of_others_are_seen_at_once(objects: Store) -> None:
    await objects.mkdir("d")
    assert await objects.list("d") == []
    objects.fs._put("bucket/top/d/new", b"x")
    assert names(await objects.list("d")) == {"new"}
    objects.fs._put("bucket/top/d/new", b"longer")
    assert (await objects.info("d/new")).size == 6


async def test_changes_are_seen_in_a_file_system_that_somebody_else_made() -> None:
    fs = backends.Objects()  # with a loop of its own, and its listing cache on
    fs._put("bucket/a", b"x")
    async with await open_store(fs, root="bucket") as store:
        assert names(await store.list("")) == {"a"}
        fs._put("bucket/b", b"x")
        assert names(await store.list("")) == {"a", "b"}
    assert fs.threads == {fs.threads.copy().pop()}
    assert threading.get_ident() not in fs.threads


async def test_rename_moves_a_file_over_another(store: Store, source: Callable[[bytes], str]) -> None:
    await store.upload(source(b"old"), "a")
    await store.upload(source(b"new"), "b")
    await store.rename("b", "a")
    assert await read_all(store, "a") == b"new"
    assert names(await store.list("")) == {"a"}


async def test_rename_moves_a_whole_directory(store: Store, source: Callable[[bytes], str]) -> None:
    await store.mkdir("d")
    await store.mkdir("d/empty")
    await store.upload(source(b"1"), "d/a")
    await store.mkdir("d/e")
    await store.upload(source(b"2"), "d/e/b")
    await store.rename("d", "new")
    assert names(await store.list("")) == {"new"}
    assert names(await store.list("new")) == {"a", "e", "empty"}
    assert await store.list("new/empty") == []
    assert await read_all(store, "new/e/b") == b"2"


async def test_rename_of_a_directory_replaces_only_an_empty_one(store: Store, source: Callable[[bytes], str]) -> None:
    await store.mkdir("d")
    await store.upload(source(b"1"), "d/a")
    await store.mkdir("full")
    await store.upload(source(b"2"), "full/b")
    with pytest.raises(OSError, match="not empty") as caught:
        await store.rename("d", "full")
    assert caught.value.errno == errno.ENOTEMPTY
    await store.mkdir("empty")
    await store.rename("d", "empty")
    assert names(await store.list("empty")) == {"a"}


@pytest.mark.parametrize(
    ("old", "new", "number"),
    [
        ("d", "d/e", errno.EINVAL),
        ("a", "d", errno.EISDIR),
        ("d", "a", errno.ENOTDIR),
        ("missing", "b", errno.ENOENT),
        ("", "b", errno.EBUSY),
    ],
)
async def test_an_impossible_rename_says_why(
    store: Store, source: Callable[[bytes], str], old: str, new: str, number: int
) -> None:
    await store.mkdir("d")
    await store.upload(source(b"1"), "a")
    with pytest.raises(OSError, match=r".") as caught:
        await store.rename(old, new)
    assert caught.value.errno == number


async def test_a_directory_rename_that_fails_is_undone(objects: Store, source: Callable[[bytes], str]) -> None:
    for number in range(40):
        await objects.upload(source(b"x"), f"d/{number}")
    before = dict(objects.fs.objects)
    copies = []

    def fail_once(call: str, path: str) -> None:
        if call == "cp_file":
            copies.append(path)
            if len(copies) == 20:
                raise PermissionError(errno.EACCES, "no")

    objects.fs.fail = fail_once
    with pytest.raises(PermissionError):
        await objects.rename("d", "e")
    assert objects.fs.objects == before


async def test_nothing_is_deleted_before_everything_is_copied(objects: Store, source: Callable[[bytes], str]) -> None:
    for number in range(10):
        await objects.upload(source(b"x"), f"d/{number}")
    objects.fs.calls.clear()
    await objects.rename("d", "e")
    changes = [call for call in objects.fs.calls if call in ("cp_file", "rm_file")]
    assert changes == ["cp_file"] * 10 + ["rm_file"] * 10


async def test_a_file_in_the_way_of_a_failing_move_is_put_back(
    one_thread: Store, source: Callable[[bytes], str]
) -> None:
    await one_thread.upload(source(b"old"), "a")
    await one_thread.upload(source(b"new"), "b")
    moves = []

    def fail_second(call: str) -> None:
        if call == "mv":
            moves.append(call)
            if len(moves) == 2:
                raise PermissionError(errno.EACCES, "no")

    one_thread.fs.fail = fail_second
    with pytest.raises(PermissionError):
        await one_thread.rename("b", "a")
    assert await read_all(one_thread, "a") == b"old"
    assert await read_all(one_thread, "b") == b"new"


async def test_copy_copies_a_file_and_refuses_a_directory(store: Store, source: Callable[[bytes], str]) -> None:
    await store.upload(source(b"x"), "a")
    await store.copy("a", "b")
    assert await read_all(store, "b") == b"x"
    await store.mkdir("d")
    with pytest.raises(IsADirectoryError):
        await store.copy("d", "e")


async def test_a_read_only_store_changes_nothing(tmp_path: Path, source: Callable[[bytes], str]) -> None:
    fs = backends.OneThread()
    fs.directories.add("top")
    store = await open_store(fs, root="top", read_only=True)
    name = source(b"x")
    for attempt in (
        store.upload(name, "a"),
        store.remove("a"),
        store.mkdir("d"),
        store.rmdir("d"),
        store.rename("a", "b"),
        store.copy("a", "b"),
        store.symlink("a", "b"),
        store.set_attributes("a", mode=0),
    ):
        with pytest.raises(OSError, match="Read-only") as caught:
            await attempt
        assert caught.value.errno == errno.EROFS


async def test_a_passing_failure_is_never_file_not_found(objects: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(call: str, path: str) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "gone")

    objects.fs.fail = fail
    for attempt in (objects.info("a"), objects.list(""), objects.rmdir("d"), objects.rename("a", "b")):
        with pytest.raises(OSError, match="gone") as caught:
            await attempt
        assert caught.value.errno == errno.ECONNRESET


async def test_looking_is_tried_again_after_a_passing_failure(
    objects: Store, source: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await objects.verify()
    await objects.upload(source(b"x"), "a")
    failures_left = [2]

    def fail(call: str, path: str) -> None:
        if failures_left[0]:
            failures_left[0] -= 1
            raise ConnectionResetError(errno.ECONNRESET, "gone")

    objects.fs.fail = fail
    assert (await objects.info("a")).size == 1
    assert failures_left == [0]


async def test_exceptions_of_the_backend_go_through_the_table(objects: Store) -> None:
    def fail(call: str, path: str) -> None:
        raise KeyError("surprise")

    objects.fs.fail = fail
    with pytest.raises(OSError, match="surprise") as caught:
        await objects.info("a")
    assert caught.value.errno == failures.classify(KeyError("surprise")).errno


async def test_one_thread_at_a_time_is_in_a_file_system_that_is_not_thread_safe(
    one_thread: Store, source: Callable[[bytes], str]
) -> None:
    await one_thread.upload(source(bytes(range(100))), "a")
    info = await one_thread.info("a")
    reader = await one_thread.open_reader("a", info)

    async def use(number: int) -> None:
        assert await reader.read(number, 1) == bytes([number])
        assert names(await one_thread.list("")) == {"a"}

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(use, number)
    await reader.aclose()


async def test_a_reader_of_a_synchronous_file_system_opens_the_file_once(
    one_thread: Store, source: Callable[[bytes], str]
) -> None:
    info = await one_thread.upload(source(b"0123456789"), "a")
    one_thread.fs.opened = 0
    reader = await one_thread.open_reader("a", info)
    for offset in (5, 0, 9):
        await reader.read(offset, 1)
    await reader.aclose()
    assert one_thread.fs.opened == 1


async def test_paths_outside_of_the_root_are_refused(store: Store) -> None:
    for path in ("../x", "/x", "a/../../x"):
        with pytest.raises(ValueError, match="not a path inside a store"):
            await store.info(path)
