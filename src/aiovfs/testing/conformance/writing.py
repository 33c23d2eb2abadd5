"""Changing things: pipe, touch, copy and move of one file, removal, directories."""

from __future__ import annotations

from typing import Any

import pytest

from aiovfs.testing.conformance.backend import BINARY, TREE, Backend

__all__ = ["WritingTests"]

REFUSALS = (OSError, NotImplementedError)


class WritingTests(Backend):
    """What was written is stored, whole, under the name that was given, and nothing else has changed."""

    @pytest.mark.parametrize("content", [b"", b"x", BINARY, BINARY * 700], ids=["0", "1", "10K", "7M"])
    async def test_what_was_piped_is_what_is_read(self, fs: Any, root: str, content: bytes) -> None:
        self.need("write")
        await self.fill(fs, root, {"file": b""})
        await fs._pipe_file(f"{root}/file", content)
        assert await fs._cat_file(f"{root}/file") == content
        assert await fs._size(f"{root}/file") == len(content)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_any_buffer_can_be_piped(self, fs: Any, root: str, kind: Any) -> None:
        self.need("write")
        await self.fill(fs, root, {"other": b""})
        await fs._pipe_file(f"{root}/file", kind(b"content"))
        assert await fs._cat_file(f"{root}/file") == b"content"

    async def test_a_shorter_content_replaces_a_longer_one(self, fs: Any, root: str) -> None:
        self.need("write")
        await self.fill(fs, root, {"file": b"something long"})
        await fs._pipe_file(f"{root}/file", b"short")
        assert await fs._cat_file(f"{root}/file") == b"short"

    async def test_what_was_piped_does_not_change_with_the_callers_buffer(self, fs: Any, root: str) -> None:
        self.need("write")
        await self.fill(fs, root, {"other": b""})
        buffer = bytearray(b"before")
        await fs._pipe_file(f"{root}/file", buffer)
        buffer[:] = b"after!"
        assert await fs._cat_file(f"{root}/file") == b"before"

    async def test_pipe_stores_each_of_a_mapping(self, fs: Any, root: str) -> None:
        self.need("write")
        await self.fill(fs, root, {"other": b""})
        await fs._pipe({f"{root}/file-{n}": bytes([n]) for n in range(20)})
        assert [await fs._cat_file(f"{root}/file-{n}") for n in range(20)] == [bytes([n]) for n in range(20)]

    async def test_creating_what_exists_is_refused_and_changes_nothing(self, fs: Any, tree: str) -> None:
        self.need("write", "exclusive_create")
        with pytest.raises(FileExistsError):
            await fs._pipe_file(f"{tree}/a.txt", b"other", mode="create")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"
        await fs._pipe_file(f"{tree}/new", b"new", mode="create")
        assert await fs._cat_file(f"{tree}/new") == b"new"

    async def test_uploading_over_what_exists_is_refused_when_asked(self, fs: Any, tree: str, tmp_path: Any) -> None:
        self.need("write", "exclusive_create")
        (tmp_path / "local").write_bytes(b"local")
        with pytest.raises(FileExistsError):
            await fs._put_file(str(tmp_path / "local"), f"{tree}/a.txt", mode="create")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"

    async def test_touch_makes_and_empties_files(self, fs: Any, tree: str) -> None:
        self.need("write", "touch")
        await fs._touch(f"{tree}/new")
        assert await fs._size(f"{tree}/new") == 0
        await fs._touch(f"{tree}/a.txt", truncate=True)
        assert await fs._size(f"{tree}/a.txt") == 0

    async def test_cp_file_copies_and_keeps_the_source(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._cp_file(f"{tree}/b.bin", f"{tree}/copy")
        assert await fs._cat_file(f"{tree}/copy") == await fs._cat_file(f"{tree}/b.bin") == BINARY

    async def test_a_copy_does_not_change_with_its_source(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._cp_file(f"{tree}/a.txt", f"{tree}/copy")
        await fs._pipe_file(f"{tree}/a.txt", b"changed")
        assert await fs._cat_file(f"{tree}/copy") == b"alpha"

    async def test_copying_what_is_not_there_is_an_error_and_makes_nothing(self, fs: Any, tree: str) -> None:
        self.need("write")
        with pytest.raises(FileNotFoundError):
            await fs._cp_file(f"{tree}/absent", f"{tree}/copy")
        assert not await fs._exists(f"{tree}/copy")
        with pytest.raises(FileNotFoundError):
            await fs._copy(f"{tree}/absent", f"{tree}/copy")

    async def test_mv_file_moves(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._mv_file(f"{tree}/b.bin", f"{tree}/moved")
        assert await fs._cat_file(f"{tree}/moved") == BINARY
        assert not await fs._exists(f"{tree}/b.bin")

    async def test_mv_file_replaces_its_target(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._mv_file(f"{tree}/a.txt", f"{tree}/b.bin")
        assert await fs._cat_file(f"{tree}/b.bin") == b"alpha"
        assert not await fs._exists(f"{tree}/a.txt")

    async def test_moving_what_is_not_there_is_an_error_and_keeps_the_target(self, fs: Any, tree: str) -> None:
        self.need("write")
        with pytest.raises(FileNotFoundError):
            await fs._mv_file(f"{tree}/absent", f"{tree}/a.txt")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"

    async def test_moving_a_file_to_itself_loses_nothing(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._mv_file(f"{tree}/a.txt", f"{tree}/a.txt")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"

    async def test_rm_file_removes_that_file_only(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._rm_file(f"{tree}/dir/one")
        left = [name for name in TREE if await fs._exists(f"{tree}/{name}")]
        assert left == [name for name in TREE if name != "dir/one"]

    async def test_removing_what_is_not_there_is_an_error(self, fs: Any, tree: str) -> None:
        self.need("write")
        with pytest.raises(FileNotFoundError):
            await fs._rm(f"{tree}/absent")

    async def test_rm_takes_lists_and_patterns(self, fs: Any, tree: str) -> None:
        self.need("write", "listing")
        await fs._rm([f"{tree}/a.txt", f"{tree}/empty"])
        await fs._rm(f"{tree}/*.bin")
        assert self.names(fs, tree, await fs._find(tree)) == sorted(set(TREE) - {"a.txt", "empty", "b.bin"})

    async def test_rm_of_a_tree_removes_all_of_it_and_nothing_beside(self, fs: Any, tree: str) -> None:
        self.need("write", "listing")
        await fs._pipe_file(f"{tree}/dir-beside", b"stays")
        await fs._rm(f"{tree}/dir", recursive=True)
        assert not await fs._exists(f"{tree}/dir")
        assert self.names(fs, tree, await fs._find(tree)) == ["a.txt", "b.bin", "dir-beside", "empty", "other/one"]

    async def test_a_directory_is_made_and_is_empty(self, fs: Any, tree: str) -> None:
        self.need("write", "empty_directories")
        await fs._mkdir(f"{tree}/made")
        assert await fs._isdir(f"{tree}/made")
        assert await fs._ls(f"{tree}/made", detail=True) == []
        await fs._makedirs(f"{tree}/x/y/z")
        assert await fs._isdir(f"{tree}/x/y")

    async def test_a_directory_outlives_its_last_file(self, fs: Any, tree: str) -> None:
        self.need("write", "empty_directories")
        await fs._rm_file(f"{tree}/other/one")
        assert await fs._isdir(f"{tree}/other")

    async def test_makedirs_takes_what_exists_when_asked(self, fs: Any, tree: str) -> None:
        self.need("write")
        await fs._makedirs(f"{tree}/dir", exist_ok=True)
        assert await fs._cat_file(f"{tree}/dir/one") == b"1"

    async def test_making_what_exists_is_refused(self, fs: Any, tree: str) -> None:
        self.need("write", "empty_directories", "strict_directories")
        with pytest.raises(FileExistsError):
            await fs._mkdir(f"{tree}/dir")
        with pytest.raises(FileExistsError):
            await fs._makedirs(f"{tree}/dir", exist_ok=False)

    async def test_rmdir_removes_an_empty_directory_and_refuses_a_full_one(self, fs: Any, tree: str) -> None:
        self.need("write", "empty_directories", "strict_directories")
        await fs._mkdir(f"{tree}/made")
        await fs._rmdir(f"{tree}/made")
        assert not await fs._exists(f"{tree}/made")
        with pytest.raises(REFUSALS):
            await fs._rmdir(f"{tree}/dir")
        assert await fs._cat_file(f"{tree}/dir/one") == b"1"
