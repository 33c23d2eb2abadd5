"""Looking at files and directories: info, ls, exists, walk, find, glob, du."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from aiovfs.testing.conformance.backend import BINARY, TREE, Backend

__all__ = ["FindingTests", "LookingTests"]

ABSENT = (FileNotFoundError, NotADirectoryError)

ODD_NAMES = ("with blank", "50%", "a+b", "#1", "why?", "é中", "a&b=c", "semi;colon", "%41", "[x]", "~tilde", "dot.")


class LookingTests(Backend):
    """info, ls, exists, isfile, isdir, size."""

    async def test_info_of_a_file_tells_name_size_and_type(self, fs: Any, tree: str) -> None:
        info = await fs._info(f"{tree}/b.bin")
        assert (info["size"], info["type"]) == (len(BINARY), "file")
        assert fs._strip_protocol(info["name"]) == fs._strip_protocol(f"{tree}/b.bin")

    async def test_info_of_an_empty_file_tells_size_zero(self, fs: Any, tree: str) -> None:
        info = await fs._info(f"{tree}/empty")
        assert (info["size"], info["type"]) == (0, "file")

    async def test_info_of_a_directory_tells_its_type(self, fs: Any, tree: str) -> None:
        self.need("listing")
        assert (await fs._info(f"{tree}/dir"))["type"] == "directory"
        assert (await fs._info(f"{tree}/dir/sub/"))["type"] == "directory"

    async def test_info_takes_a_path_with_its_protocol(self, fs: Any, tree: str) -> None:
        info = await fs._info(fs.unstrip_protocol(f"{tree}/a.txt"))
        assert (info["size"], info["type"]) == (5, "file")

    @pytest.mark.parametrize("name", ["absent", "absent/below", "dir/absent", "a.txt/below"])
    async def test_info_of_what_is_not_there_is_an_error_that_says_so(self, fs: Any, tree: str, name: str) -> None:
        with pytest.raises(ABSENT):
            await fs._info(f"{tree}/{name}")

    async def test_a_part_of_a_name_is_not_there(self, fs: Any, tree: str) -> None:
        for name in ("a", "a.tx", "di", "dir/s"):
            assert not await fs._exists(f"{tree}/{name}")

    async def test_exists_isfile_and_isdir_tell_files_from_directories(self, fs: Any, tree: str) -> None:
        async def look(name: str) -> tuple[bool, bool, bool]:
            path = f"{tree}/{name}"
            return await fs._exists(path), await fs._isfile(path), await fs._isdir(path)

        assert await look("a.txt") == (True, True, False)
        assert await look("absent") == (False, False, False)
        assert await look("absent/below") == (False, False, False)
        if self.capabilities.listing is True:
            assert await look("dir") == (True, False, True)

    async def test_size_and_sizes_are_those_of_info(self, fs: Any, tree: str) -> None:
        assert await fs._size(f"{tree}/b.bin") == len(BINARY)
        names = ["a.txt", "empty", "dir/two.txt", "b.bin"]
        assert await fs._sizes([f"{tree}/{name}" for name in names]) == [len(TREE[name]) for name in names]

    async def test_size_of_what_is_not_there_is_an_error(self, fs: Any, tree: str) -> None:
        with pytest.raises(FileNotFoundError):
            await fs._size(f"{tree}/absent")

    async def test_ls_names_what_is_in_a_directory_and_nothing_else(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = await fs._ls(tree, detail=True)
        assert self.names(fs, tree, found) == ["a.txt", "b.bin", "dir", "empty", "other"]
        kinds = {self.names(fs, tree, [each])[0]: each["type"] for each in found}
        assert kinds == {name: "directory" if name in ("dir", "other") else "file" for name in kinds}

    async def test_ls_tells_sizes(self, fs: Any, tree: str) -> None:
        self.need("listing")
        sizes = {self.names(fs, tree, [each])[0]: each["size"] for each in await fs._ls(f"{tree}/dir", detail=True)}
        assert (sizes["dir/one"], sizes["dir/two.txt"]) == (1, 2)

    async def test_ls_without_detail_gives_names(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = await fs._ls(f"{tree}/dir", detail=False)
        assert all(isinstance(name, str) for name in found)
        assert self.names(fs, tree, found) == ["dir/one", "dir/sub", "dir/two.txt"]

    async def test_ls_takes_a_slash_at_the_end(self, fs: Any, tree: str) -> None:
        self.need("listing")
        assert self.names(fs, tree, await fs._ls(f"{tree}/dir/", detail=True)) == ["dir/one", "dir/sub", "dir/two.txt"]

    async def test_ls_of_a_file_gives_that_file(self, fs: Any, tree: str) -> None:
        self.need("listing", "write")
        found = await fs._ls(f"{tree}/a.txt", detail=True)
        assert [(self.names(fs, tree, [each]), each["type"]) for each in found] == [(["a.txt"], "file")]

    async def test_ls_of_what_is_not_there_is_an_error(self, fs: Any, tree: str) -> None:
        self.need("listing")
        with pytest.raises(FileNotFoundError):
            await fs._ls(f"{tree}/absent", detail=True)

    async def test_ls_shows_what_was_written_and_removed_since(self, fs: Any, tree: str) -> None:
        self.need("listing", "write")
        await fs._ls(f"{tree}/other", detail=True)
        await fs._pipe_file(f"{tree}/other/new", b"n")
        assert self.names(fs, tree, await fs._ls(f"{tree}/other", detail=True)) == ["other/new", "other/one"]
        await fs._rm_file(f"{tree}/other/one")
        assert self.names(fs, tree, await fs._ls(f"{tree}/other", detail=True)) == ["other/new"]

    async def test_info_shows_what_was_written_since_a_listing(self, fs: Any, tree: str) -> None:
        self.need("listing", "write")
        await fs._ls(tree, detail=True)
        await fs._pipe_file(f"{tree}/a.txt", b"longer than before")
        assert await fs._size(f"{tree}/a.txt") == 18

    async def test_modified_is_a_point_in_time_with_its_zone(self, fs: Any, tree: str) -> None:
        self.need("modified")
        when = await fs._modified(f"{tree}/a.txt")
        assert isinstance(when, datetime.datetime)
        assert when.tzinfo is not None
        assert when.year > 2000

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_any_name_can_be_found_listed_and_read(self, fs: Any, root: str, name: str) -> None:
        self.need("odd_names")
        await self.fill(fs, root, {f"d/{name}": b"content", "d/plain": b""})
        assert (await fs._info(f"{root}/d/{name}"))["size"] == 7
        assert await fs._cat_file(f"{root}/d/{name}") == b"content"
        if self.capabilities.listing is True:
            assert self.names(fs, root, await fs._ls(f"{root}/d", detail=True)) == sorted([f"d/{name}", "d/plain"])
            assert self.names(fs, root, await fs._find(root)) == sorted([f"d/{name}", "d/plain"])
        if self.capabilities.write is True:
            await fs._rm_file(f"{root}/d/{name}")
            assert not await fs._exists(f"{root}/d/{name}")


GLOBS: list[tuple[str, int | None, list[str]]] = [
    ("*", None, ["a.txt", "b.bin", "dir", "empty", "other"]),
    ("*.txt", None, ["a.txt"]),
    ("?.*", None, ["a.txt", "b.bin"]),
    ("[ab].*", None, ["a.txt", "b.bin"]),
    ("[!a].*", None, ["b.bin"]),
    ("dir/*", None, ["dir/one", "dir/sub", "dir/two.txt"]),
    ("*/one", None, ["dir/one", "other/one"]),
    ("*/*.txt", None, ["dir/two.txt"]),
    ("dir/*/*", None, ["dir/sub/deep", "dir/sub/three"]),
    ("**/*.txt", None, ["a.txt", "dir/sub/deep/four.txt", "dir/two.txt"]),
    ("dir/**/*.txt", None, ["dir/sub/deep/four.txt", "dir/two.txt"]),
    ("dir/**", 1, ["dir", "dir/one", "dir/sub", "dir/two.txt"]),
    ("**/three", None, ["dir/sub/three"]),
    ("*/", None, ["dir", "other"]),
    ("dir/s*/", None, ["dir/sub"]),
    ("nothing*", None, []),
    ("absent/*", None, []),
    ("a.txt", None, ["a.txt"]),
]


class FindingTests(Backend):
    """walk, find, glob, du, expand_path."""

    async def test_walk_yields_each_directory_before_what_is_below_it(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = [
            (self.names(fs, tree, [top])[0], sorted(above), sorted(files)) async for top, above, files in fs._walk(tree)
        ]
        assert found[0][1:] == (["dir", "other"], ["a.txt", "b.bin", "empty"])
        assert sorted(found[1:]) == [
            ("dir", ["sub"], ["one", "two.txt"]),
            ("dir/sub", ["deep"], ["three"]),
            ("dir/sub/deep", [], ["four.txt"]),
            ("other", [], ["one"]),
        ]
        order = [name for name, _, _ in found]
        assert order.index("dir") < order.index("dir/sub") < order.index("dir/sub/deep")

    async def test_walk_bottom_up_yields_each_directory_after_what_is_below_it(self, fs: Any, tree: str) -> None:
        self.need("listing")
        order = [self.names(fs, tree, [top])[0] async for top, _, _ in fs._walk(tree, topdown=False)]
        assert len(order) == 5
        assert order.index("dir/sub/deep") < order.index("dir/sub") < order.index("dir")

    async def test_walk_goes_no_deeper_than_it_was_told(self, fs: Any, tree: str) -> None:
        self.need("listing")
        tops = [self.names(fs, tree, [top])[0] async for top, _, _ in fs._walk(tree, maxdepth=2)]
        assert sorted(tops[1:]) == ["dir", "other"]

    async def test_walk_does_not_enter_what_its_caller_took_out(self, fs: Any, tree: str) -> None:
        self.need("listing")
        tops = []
        async for top, directories, _ in fs._walk(tree):
            tops += self.names(fs, tree, [top])
            if "dir" in directories:
                directories.remove("dir")
        assert tops[1:] == ["other"]

    async def test_walk_tells_details(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = [item async for item in fs._walk(tree, detail=True, maxdepth=1)]
        _, directories, files = found[0]
        assert directories["dir"]["type"] == "directory"
        assert files["b.bin"]["size"] == len(BINARY)

    async def test_find_names_every_file_and_no_directory(self, fs: Any, tree: str) -> None:
        self.need("listing")
        assert self.names(fs, tree, await fs._find(tree)) == sorted(TREE)

    async def test_find_names_directories_when_asked(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = self.names(fs, tree, await fs._find(f"{tree}/dir", withdirs=True))
        assert [name for name in found if name != "dir"] == [
            "dir/one",
            "dir/sub",
            "dir/sub/deep",
            "dir/sub/deep/four.txt",
            "dir/sub/three",
            "dir/two.txt",
        ]

    async def test_find_goes_no_deeper_than_it_was_told(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = self.names(fs, tree, await fs._find(tree, maxdepth=2))
        assert found == ["a.txt", "b.bin", "dir/one", "dir/two.txt", "empty", "other/one"]

    async def test_find_tells_details(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = await fs._find(tree, detail=True)
        sizes = {self.names(fs, tree, [name])[0]: info["size"] for name, info in found.items()}
        assert sizes == {name: len(content) for name, content in TREE.items()}

    async def test_find_of_a_file_is_that_file(self, fs: Any, tree: str) -> None:
        self.need("listing", "write")
        assert self.names(fs, tree, await fs._find(f"{tree}/a.txt")) == ["a.txt"]

    async def test_find_of_what_is_not_there_finds_nothing(self, fs: Any, tree: str) -> None:
        self.need("listing")
        assert await fs._find(f"{tree}/absent") == []

    @pytest.mark.parametrize(("pattern", "maxdepth", "expected"), GLOBS, ids=[row[0] for row in GLOBS])
    async def test_glob_matches(
        self, fs: Any, tree: str, pattern: str, maxdepth: int | None, expected: list[str]
    ) -> None:
        self.need("listing")
        assert self.names(fs, tree, await fs._glob(f"{tree}/{pattern}", maxdepth=maxdepth)) == expected

    async def test_glob_tells_details(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = await fs._glob(f"{tree}/*", detail=True)
        kinds = {self.names(fs, tree, [name])[0]: info["type"] for name, info in found.items()}
        assert kinds == {"a.txt": "file", "b.bin": "file", "dir": "directory", "empty": "file", "other": "directory"}

    async def test_du_adds_up_what_files_hold(self, fs: Any, tree: str) -> None:
        self.need("listing")
        assert await fs._du(tree) == sum(map(len, TREE.values()))
        each = await fs._du(f"{tree}/dir", total=False)
        assert sorted(each.values()) == [1, 2, 3, 4]

    async def test_expand_path_expands_patterns_and_trees(self, fs: Any, tree: str) -> None:
        self.need("listing")
        assert self.names(fs, tree, await fs._expand_path(f"{tree}/*.txt")) == ["a.txt"]
        assert self.names(fs, tree, await fs._expand_path([f"{tree}/a.txt", f"{tree}/*.bin"])) == ["a.txt", "b.bin"]
        found = self.names(fs, tree, await fs._expand_path(f"{tree}/other", recursive=True))
        assert found == ["other", "other/one"]

    async def test_expand_path_of_what_is_not_there_is_an_error(self, fs: Any, tree: str) -> None:
        self.need("listing")
        with pytest.raises(FileNotFoundError):
            await fs._expand_path(f"{tree}/absent*")
