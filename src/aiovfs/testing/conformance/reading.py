"""Reading contents: cat_file, cat, cat_ranges."""

from __future__ import annotations

from typing import Any

import pytest

from aiovfs.testing.conformance.backend import BINARY, TREE, Backend

__all__ = ["ReadingTests"]

SIZE = len(BINARY)

RANGES: list[tuple[int | None, int | None]] = [
    (0, 10),
    (5, 6),
    (100, 300),
    (0, SIZE),
    (SIZE - 1, SIZE),
    (SIZE - 5, SIZE + 100),
    (None, 10),
    (10, None),
    (-10, None),
    (None, -10),
    (-20, -10),
    (0, 0),
    (7, 7),
]


class ReadingTests(Backend):
    """Whole files, ranges of them, and many at a time."""

    async def test_cat_file_gives_all_of_a_file(self, fs: Any, tree: str) -> None:
        for name in ("a.txt", "b.bin", "empty", "dir/sub/deep/four.txt"):
            assert await fs._cat_file(f"{tree}/{name}") == TREE[name]

    @pytest.mark.parametrize(("start", "end"), RANGES)
    async def test_cat_file_gives_a_range(self, fs: Any, tree: str, start: int | None, end: int | None) -> None:
        assert await fs._cat_file(f"{tree}/b.bin", start=start, end=end) == BINARY[start:end]

    async def test_a_range_of_an_empty_file_is_empty(self, fs: Any, tree: str) -> None:
        assert await fs._cat_file(f"{tree}/empty", start=0, end=10) == b""
        assert [bytes(each) for each in await fs._cat_ranges([f"{tree}/empty"], [0], [10])] == [b""]

    async def test_cat_file_of_what_is_not_there_is_an_error(self, fs: Any, tree: str) -> None:
        with pytest.raises(FileNotFoundError):
            await fs._cat_file(f"{tree}/absent")
        with pytest.raises(FileNotFoundError):
            await fs._cat_file(f"{tree}/absent", start=0, end=1)

    async def test_cat_file_of_a_directory_is_an_error(self, fs: Any, tree: str) -> None:
        self.need("listing", "write")
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            await fs._cat_file(f"{tree}/dir")

    async def test_cat_of_one_name_gives_bytes(self, fs: Any, tree: str) -> None:
        assert await fs._cat(f"{tree}/a.txt") == b"alpha"

    async def test_cat_of_a_list_gives_each_by_name(self, fs: Any, tree: str) -> None:
        names = ["a.txt", "dir/one", "empty"]
        found = await fs._cat([f"{tree}/{name}" for name in names])
        assert {self.names(fs, tree, [name])[0]: data for name, data in found.items()} == {
            name: TREE[name] for name in names
        }

    async def test_cat_of_a_tree_gives_every_file(self, fs: Any, tree: str) -> None:
        self.need("listing")
        found = await fs._cat(f"{tree}/*.txt")
        assert {self.names(fs, tree, [name])[0]: data for name, data in found.items()} == {"a.txt": b"alpha"}

    async def test_cat_raises_for_what_is_not_there(self, fs: Any, tree: str) -> None:
        with pytest.raises(FileNotFoundError):
            await fs._cat([f"{tree}/a.txt", f"{tree}/absent"])

    async def test_cat_returns_or_omits_failures_when_asked(self, fs: Any, tree: str) -> None:
        paths = [f"{tree}/a.txt", f"{tree}/absent"]
        found = await fs._cat(paths, on_error="return")
        kinds = {self.names(fs, tree, [name])[0]: type(value) for name, value in found.items()}
        assert kinds == {"a.txt": bytes, "absent": FileNotFoundError}
        found = await fs._cat(paths, on_error="omit")
        assert self.names(fs, tree, found) == ["a.txt"]

    async def test_cat_ranges_gives_each_range_in_order(self, fs: Any, tree: str) -> None:
        starts, ends = [500, 0, 9000, 100], [600, 10, 9001, 300]
        found = await fs._cat_ranges([f"{tree}/b.bin"] * 4, starts, ends)
        assert [bytes(each) for each in found] == [BINARY[a:b] for a, b in zip(starts, ends, strict=True)]

    async def test_cat_ranges_takes_one_start_and_end_for_all(self, fs: Any, tree: str) -> None:
        found = await fs._cat_ranges([f"{tree}/a.txt", f"{tree}/b.bin"], 1, 3)
        assert [bytes(each) for each in found] == [b"lp", BINARY[1:3]]

    async def test_cat_ranges_with_a_gap_to_bridge_gives_the_same(self, fs: Any, tree: str) -> None:
        self.need("max_gap")
        starts = list(range(0, 4000, 50))
        ends = [start + 20 for start in starts]
        paths = [f"{tree}/b.bin"] * len(starts)
        found = await fs._cat_ranges(paths, starts, ends, max_gap=64)
        assert [bytes(each) for each in found] == [BINARY[a:b] for a, b in zip(starts, ends, strict=True)]

    async def test_cat_ranges_returns_failures_in_their_place(self, fs: Any, tree: str) -> None:
        found = await fs._cat_ranges([f"{tree}/a.txt", f"{tree}/absent", f"{tree}/b.bin"], [0, 0, 1], [2, 2, 3])
        assert isinstance(found[1], FileNotFoundError)
        assert (bytes(found[0]), bytes(found[2])) == (b"al", BINARY[1:3])

    async def test_cat_ranges_raises_when_asked(self, fs: Any, tree: str) -> None:
        with pytest.raises(FileNotFoundError):
            await fs._cat_ranges([f"{tree}/a.txt", f"{tree}/absent"], [0, 0], [2, 2], on_error="raise")

    async def test_cat_ranges_refuses_lists_that_do_not_match(self, fs: Any, tree: str) -> None:
        with pytest.raises((ValueError, TypeError)):
            await fs._cat_ranges([f"{tree}/a.txt"] * 2, [0, 0, 0], [1, 1])

    async def test_no_ranges_are_no_results(self, fs: Any, tree: str) -> None:
        assert await fs._cat_ranges([], [], []) == []
