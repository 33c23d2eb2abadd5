"""Transactions cover every way to change a file system: all at the end, or nothing."""

# ruff: noqa: PT012  (blocks that write and then fail are what is tested)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem


class Small(AsyncFileSystem):
    """A subclass of somebody else's: four coroutines, and removing."""

    protocol = "small"
    cachable = False
    runs_anywhere = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.objects: dict[str, bytes] = {}

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self.objects:
            if any(name.startswith(path + "/") for name in self.objects):
                return {"name": path, "type": "directory", "size": None}
            raise FileNotFoundError(path)
        return {"name": path, "type": "file", "size": len(self.objects[path])}

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        return [await self._info(name) for name in self.objects if self._parent(name) == path]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        await self._info(path)
        return self.objects[self._strip_protocol(path)][start:end]

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self._strip_protocol(path)
        if mode == "create" and path in self.objects:
            raise FileExistsError(path)
        self.objects[path] = bytes(value)

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.objects[self._strip_protocol(path2)] = await self._cat_file(path1)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        await self._info(path)
        del self.objects[self._strip_protocol(path)]


@pytest.fixture(params=["memory", "local", "small"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[AsyncFileSystem, str]:
    made: dict[str, Callable[[], tuple[AsyncFileSystem, str]]] = {
        "memory": lambda: (MemoryFileSystem(tree=str(tmp_path), skip_instance_cache=True), "/top"),
        "local": lambda: (LocalFileSystem(auto_mkdir=True, skip_instance_cache=True), str(tmp_path / "top")),
        "small": lambda: (Small(), "top"),
    }
    fs, top = made[request.param]()
    fs.pipe({f"{top}/old": b"old", f"{top}/gone": b"gone", f"{top}/moved": b"moved"})
    return fs, top


def content(fs: AsyncFileSystem, top: str) -> dict[str, bytes]:
    return {name.rpartition("top/")[2]: fs.cat_file(name) for name in fs.find(top)}


BEFORE = {"old": b"old", "gone": b"gone", "moved": b"moved"}
AFTER = {
    "old": b"old and more",
    "opened": b"opened",
    "text": b"text",
    "piped": b"piped",
    "bulk1": b"1",
    "bulk2": b"2",
    "put": b"from disk",
    "touched": b"",
    "copied": b"old",
    "new name": b"moved",
}


def change_everything(fs: AsyncFileSystem, top: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from disk")
    fs.cp_file(f"{top}/old", f"{top}/copied")
    with fs.open(f"{top}/opened", "wb") as file:
        file.write(b"opened")
    with fs.open(f"{top}/text", "w") as file:
        file.write("text")
    with fs.open(f"{top}/old", "ab") as file:
        file.write(b" and more")
    fs.pipe_file(f"{top}/piped", b"piped")
    fs.pipe({f"{top}/bulk1": b"1", f"{top}/bulk2": b"2"})
    fs.put_file(str(tmp_path / "source"), f"{top}/put")
    fs.touch(f"{top}/touched")
    fs.mv_file(f"{top}/moved", f"{top}/new name")
    fs.rm_file(f"{top}/gone")


def test_everything_is_done_at_the_end(place: tuple[AsyncFileSystem, str], tmp_path: Path) -> None:
    fs, top = place
    with fs.transaction:
        change_everything(fs, top, tmp_path)
        assert {name: data for name, data in content(fs, top).items() if not name.startswith(".")} == BEFORE
    assert content(fs, top) == AFTER
    fs.pipe_file(f"{top}/later", b"at once again")
    assert fs.cat_file(f"{top}/later") == b"at once again"


def test_nothing_is_done_when_the_block_fails(place: tuple[AsyncFileSystem, str], tmp_path: Path) -> None:
    fs, top = place
    with pytest.raises(ZeroDivisionError), fs.transaction:
        change_everything(fs, top, tmp_path)
        raise ZeroDivisionError
    assert content(fs, top) == BEFORE
    with fs.transaction:
        fs.pipe_file(f"{top}/another", b"x")
    assert content(fs, top) == {**BEFORE, "another": b"x"}


async def test_transactions_of_tasks(tmp_path: Path) -> None:
    fs = Small()
    async with fs.transaction:
        await fs._pipe_file("top/a", b"1")
        async with await fs.open_async("top/b", "wb") as file:
            await file.write(b"2")
        with pytest.raises(ZeroDivisionError):
            async with await fs.open_async("top/half", "wb") as file:
                await file.write(b"3")
                raise ZeroDivisionError
        assert fs.objects == {}
    assert fs.objects == {"top/a": b"1", "top/b": b"2"}
    with pytest.raises(ZeroDivisionError):
        async with fs.transaction:
            await fs._rm_file("top/a")
            async with await fs.open_async("top/c", "wb") as file:
                await file.write(b"2")
            raise ZeroDivisionError
    assert fs.objects == {"top/a": b"1", "top/b": b"2"}


def test_a_commit_that_fails_says_how_far_it_came_and_discards_the_rest() -> None:
    fs = Small()
    fs.pipe_file("b", b"there")
    with pytest.raises(FileExistsError) as caught, fs.transaction:
        fs.pipe_file("a", b"1")
        fs.pipe_file("b", b"2", mode="create")
        fs.pipe_file("c", b"3")
    assert fs.objects == {"a": b"1", "b": b"there"}
    assert caught.value.__notes__ == ["1 changes of the transaction were made before this one"]
    fs.pipe_file("c", b"after")
    assert fs.objects["c"] == b"after"


def test_a_file_left_open_in_a_transaction_is_stored_with_it(place: tuple[AsyncFileSystem, str]) -> None:
    fs, top = place
    with fs.transaction:
        file = fs.open(f"{top}/open", "wb")
        file.write(b"all of it")
    assert fs.cat_file(f"{top}/open") == b"all of it"
