"""Copying trees: inside the file system, from it, and to it. One table of rules, three operations.

The rules are those of "copying files and directories" in fsspec's documentation: whether the target exists, whether a
name ends with a slash, `recursive`, `maxdepth` and patterns decide where files go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aiovfs.testing.conformance.backend import BINARY, Backend

__all__ = ["TransferTests"]

SOURCE = {
    "source/file1": b"1",
    "source/file2": b"22",
    "source/subdir/subfile1": b"s1",
    "source/subdir/subfile2": b"s2",
    "source/subdir/nesteddir/nestedfile": b"nested",
    "source/subdir.txt": b"not in subdir",
}
SUB = ("subfile1", "subfile2")
DEEP = (*SUB, "nesteddir/nestedfile")


@dataclasses.dataclass(frozen=True)
class Rule:
    """One transfer: what is given, and the names below `target/` that there are then."""

    title: str
    source: str | tuple[str, ...]
    target: str | tuple[str, ...]
    expected: tuple[str, ...]
    recursive: bool = False
    maxdepth: int | None = None


def below(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """`names` in a folder."""
    return tuple(f"{folder}/{name}" for name in names)


SUBDIR, NEW = "source/subdir", "target/newdir"
SEVERAL = ("source/file1", "source/file2", "source/subdir/subfile1")

RULES = (
    Rule("file to an existing directory, with a slash", "source/subdir/subfile1", "target/", ("subfile1",)),
    Rule("file to an existing directory", "source/subdir/subfile1", "target", ("subfile1",)),
    Rule("file to a new directory", "source/subdir/subfile1", NEW + "/", ("newdir/subfile1",)),
    Rule("file to a name", "source/subdir/subfile1", "target/newfile", ("newfile",)),
    Rule("file to a name in a new directory", "source/subdir/subfile1", NEW + "/newfile", ("newdir/newfile",)),
    Rule("directory without recursive", SUBDIR, "target/", ()),
    Rule("directory to an existing one", SUBDIR, "target/", below("subdir", DEEP), True),
    Rule("directory to an existing one, no slash", SUBDIR, "target", below("subdir", DEEP), True),
    Rule("what is in a directory to an existing one", SUBDIR + "/", "target/", DEEP, True),
    Rule("what is in a directory to an existing one, no slash", SUBDIR + "/", "target", DEEP, True),
    Rule("directory, one level", SUBDIR, "target/", below("subdir", SUB), True, 1),
    Rule("what is in a directory, one level", SUBDIR + "/", "target/", SUB, True, 1),
    Rule("directory to a new one", SUBDIR, NEW, below("newdir", DEEP), True),
    Rule("directory with a slash to a new one", SUBDIR + "/", NEW, below("newdir", DEEP), True),
    Rule("directory to a new one, one level", SUBDIR + "/", NEW, below("newdir", SUB), True, 1),
    Rule("pattern to an existing directory", SUBDIR + "/*", "target/", SUB),
    Rule("pattern to an existing directory, no slash", SUBDIR + "/*", "target", SUB),
    Rule("pattern, recursive", SUBDIR + "/*", "target/", DEEP, True),
    Rule("pattern, recursive, one level", SUBDIR + "/*", "target/", SUB, True, 1),
    Rule("pattern to a new directory", SUBDIR + "/*", NEW, below("newdir", SUB)),
    Rule("pattern to a new directory, recursive", SUBDIR + "/*", NEW, below("newdir", DEEP), True),
    Rule("pattern to a new directory, one level", SUBDIR + "/*", NEW, below("newdir", SUB), True, 1),
    Rule("pattern of several files", SUBDIR + "/subfile*", "target", SUB),
    Rule("pattern of one file to a new directory", SUBDIR + "/*1", NEW, ("newdir/subfile1",)),
    Rule("pattern of letters", SUBDIR + "/subfile[12]", "target/", SUB),
    Rule("pattern with one letter free", SUBDIR + "/subfile?", NEW + "/", below("newdir", SUB)),
    Rule("pattern over directories", "source/*/nesteddir/*", "target/", ("nestedfile",)),
    Rule("list to an existing directory", SEVERAL, "target", ("file1", "file2", "subfile1")),
    Rule("list to a new directory", SEVERAL, NEW + "/", below("newdir", ("file1", "file2", "subfile1"))),
    Rule("list to a list", SEVERAL, ("target/x", "target/y/z", "target/w"), ("w", "x", "y/z")),
)

CONTENT = {name.rpartition("/")[2]: data for name, data in SOURCE.items()}


def put_below(top: str, names: str | tuple[str, ...]) -> Any:
    """The names of a rule below `top`, as the operations take them."""
    return f"{top}/{names}" if isinstance(names, str) else [f"{top}/{name}" for name in names]


def fill_local(top: Path, files: Mapping[str, bytes]) -> None:
    """Make local files."""
    for name, data in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read_local(top: Path) -> dict[str, bytes]:
    """Every local file below `top`."""
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


class TransferTests(Backend):
    """copy, get and put."""

    @pytest.mark.parametrize("rule", RULES, ids=[rule.title for rule in RULES])
    @pytest.mark.parametrize("operation", ["copy", "get", "put"])
    async def test_trees_arrive_where_the_rules_say(
        self, fs: Any, root: str, tmp_path: Path, operation: str, rule: Rule
    ) -> None:
        self.need("listing")
        if operation != "get":
            self.need("write")
        local = tmp_path / "local"
        here, there = {"source": SOURCE, "target": {"target/dummy": b""}}, str(local)
        if operation == "put":
            fill_local(local, here["source"])
        else:
            await self.fill(fs, root, here["source"])
        if operation == "get":
            fill_local(local, here["target"])
        else:
            await self.fill(fs, root, here["target"])
        options = {"recursive": rule.recursive, "maxdepth": rule.maxdepth}
        source = put_below(there if operation == "put" else root, rule.source)
        target = put_below(there if operation == "get" else root, rule.target)
        await getattr(fs, "_" + operation)(source, target, **options)
        if operation == "get":
            found = read_local(local / "target")
        else:
            names = self.names(fs, f"{root}/target", await fs._find(f"{root}/target"))
            found = {name: await fs._cat_file(f"{root}/target/{name}") for name in names}
        found.pop("dummy")
        assert sorted(found) == sorted(rule.expected)
        if rule.expected and rule.title != "list to a list" and not rule.title.startswith("file to a name"):
            assert found == {name: CONTENT[name.rpartition("/")[2]] for name in rule.expected}

    async def test_a_file_survives_the_way_there_and_back(self, fs: Any, root: str, tmp_path: Path) -> None:
        self.need("write")
        (tmp_path / "there").write_bytes(BINARY * 100)
        await self.fill(fs, root, {"other": b""})
        await fs._put_file(str(tmp_path / "there"), f"{root}/file")
        await fs._get_file(f"{root}/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == BINARY * 100

    async def test_an_empty_file_survives_the_way_there_and_back(self, fs: Any, root: str, tmp_path: Path) -> None:
        self.need("write")
        (tmp_path / "there").write_bytes(b"")
        await self.fill(fs, root, {"other": b""})
        await fs._put_file(str(tmp_path / "there"), f"{root}/file")
        (tmp_path / "back").write_bytes(b"was here before")
        await fs._get_file(f"{root}/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == b""

    async def test_progress_is_told_for_each_file_and_for_their_bytes(self, fs: Any, tree: str, tmp_path: Path) -> None:
        from fsspec.callbacks import Callback

        callback = Callback()
        await fs._get([f"{tree}/a.txt", f"{tree}/b.bin"], [str(tmp_path / "a"), str(tmp_path / "b")], callback=callback)
        assert (callback.size, callback.value) == (2, 2)
        one = Callback()
        await fs._get_file(f"{tree}/b.bin", str(tmp_path / "b"), callback=one)
        assert one.value == len(BINARY)

    async def test_getting_what_is_not_there_is_an_error_and_makes_no_file(
        self, fs: Any, tree: str, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError):
            await fs._get_file(f"{tree}/absent", str(tmp_path / "back"))
        assert not (tmp_path / "back").exists()

    async def test_putting_what_is_not_there_is_an_error_and_makes_no_file(
        self, fs: Any, tree: str, tmp_path: Path
    ) -> None:
        self.need("write")
        with pytest.raises(FileNotFoundError):
            await fs._put_file(str(tmp_path / "absent"), f"{tree}/new")
        assert not await fs._exists(f"{tree}/new")

    async def test_mv_moves_files_and_trees(self, fs: Any, tree: str) -> None:
        self.need("write", "listing")
        mv = getattr(fs, "_mv", None)
        if mv is None:
            return await self._mv_by_copying(fs, tree)
        await mv(f"{tree}/a.txt", f"{tree}/renamed")
        assert await fs._cat_file(f"{tree}/renamed") == b"alpha"
        await mv(f"{tree}/dir", f"{tree}/moved", recursive=True)
        assert not await fs._exists(f"{tree}/a.txt")
        assert not await fs._exists(f"{tree}/dir/one")
        found = self.names(fs, tree, await fs._find(f"{tree}/moved"))
        assert found == ["moved/one", "moved/sub/deep/four.txt", "moved/sub/three", "moved/two.txt"]
        return None

    async def _mv_by_copying(self, fs: Any, tree: str) -> None:
        """fsspec has no coroutine for this; its synchronous `mv` copies, then removes."""
        await fs._copy(f"{tree}/dir", f"{tree}/moved", recursive=True)
        await fs._rm(f"{tree}/dir", recursive=True)
        found = self.names(fs, tree, await fs._find(f"{tree}/moved"))
        assert found == ["moved/one", "moved/sub/deep/four.txt", "moved/sub/three", "moved/two.txt"]
