"""Operations on many files: how many at once, in which order, what becomes of failures and of tired servers."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fsspec.callbacks import Callback
from hypothesis import given
from hypothesis import strategies as st

from aiovfs.fs import concurrency
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.bulk import Fetch, joined
from aiovfs.fs.concurrency import Pace, pace_of, window
from aiovfs.fs.failures import is_push_back
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.walking import plan_glob


class TooManyError(OSError):
    """What a client makes of a 429."""

    def __init__(self, status: int = 429) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


class Tree(AsyncFileSystem):
    """Objects by name, on any loop; `hook` is awaited before each answer."""

    protocol = "tree"
    cachable = False
    runs_anywhere = True

    def __init__(self, objects: dict[str, bytes] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.objects = dict(objects or {})
        self.calls: list[tuple[str, Any]] = []
        self.running = self.most = 0
        self.hook: Callable[[str, str], Any] | None = None

    async def _enter(self, call: str, path: str, *facts: Any) -> None:
        self.calls.append((call, (path, *facts) if facts else path))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await checkpoint()
            if self.hook is not None:
                await self.hook(call, path)
        finally:
            self.running -= 1

    def made(self, call: str) -> list[Any]:
        return [facts for name, facts in self.calls if name == call]

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        await self._enter("info", path)
        if path in self.objects:
            return {"name": path, "size": len(self.objects[path]), "type": "file"}
        if any(name.startswith(path + "/") for name in self.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        await self._enter("ls", path, *([kwargs["prefix"]] if "prefix" in kwargs else []))
        if path in self.objects:
            return [{"name": path, "size": len(self.objects[path]), "type": "file"}]
        below = {
            path + "/" + name[len(path) + 1 :].partition("/")[0] for name in self.objects if name.startswith(path + "/")
        }
        if not below:
            raise FileNotFoundError(path)
        return [
            {"name": name, "size": len(self.objects[name]), "type": "file"}
            if name in self.objects
            else {"name": name, "size": 0, "type": "directory"}
            for name in sorted(below)
        ]

    async def _cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        await self._enter("cat_file", path, start, end)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]

    async def _pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        await self._enter("pipe_file", path)
        self.objects[path] = bytes(value)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        await self._enter("rm_file", path)
        if self.objects.pop(path, None) is None:
            raise FileNotFoundError(path)


@pytest.fixture
def tree() -> Tree:
    return Tree({f"top/{number % 7}/{number}": str(number).encode() for number in range(100)}, asynchronous=True)


# The window


async def test_the_window_slides_and_keeps_order() -> None:
    slow, order = anyio.Event(), []

    async def call(number: int) -> int:
        if number == 0:
            await slow.wait()
        order.append(number)
        if number == 9:
            slow.set()  # the first ends last: chunks would have stood still for it
        return number

    results = await window(((lambda n=n: call(n)) for n in range(10)), size=2)  # type: ignore[misc]
    assert results == list(range(10))
    assert order == [*range(1, 10), 0]


async def test_calls_are_made_when_their_turn_comes() -> None:
    made: list[int] = []
    done: list[int] = []

    async def call() -> None:
        await checkpoint()
        assert len(made) - len(done) <= 3
        done.append(1)

    def calls() -> Any:
        for number in range(50):
            made.append(number)
            yield call

    await window(calls(), size=3)
    assert len(done) == 50


async def test_the_first_failure_cancels_the_rest_and_waits_for_its_end() -> None:
    cleaned: list[int] = []
    begun: list[int] = []

    async def call(number: int) -> None:
        begun.append(number)
        if number == 3:
            while len(begun) < 4:
                await checkpoint()
            raise PermissionError(number)
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(number)

    with pytest.raises(PermissionError):
        await window(((lambda n=n: call(n)) for n in range(10)), size=4)  # type: ignore[misc]
    assert sorted(cleaned) == [0, 1, 2]
    assert sorted(begun) == [0, 1, 2, 3]


async def test_failures_may_stand_in_the_place_of_results(tree: Tree) -> None:
    names = ["top/1/1", "missing", "top/2/2"]
    found = await tree._cat(names, on_error="return")
    assert isinstance(found["missing"], FileNotFoundError)
    assert found["top/2/2"] == b"2"
    assert await tree._cat(names, on_error="omit") == {"top/1/1": b"1", "top/2/2": b"2"}
    with pytest.raises(FileNotFoundError):
        await tree._cat(names)
    results = await tree._cat_ranges(names, 0, 1)
    assert [type(each) for each in results] == [bytes, FileNotFoundError, bytes]
    with pytest.raises(FileNotFoundError):
        await tree._cat_ranges(names, 0, 1, on_error="raise")


async def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 calls at a time"):
        await window([], size=0)
    assert await window([], size=-1) == []


# A server that pushes back


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "pauses", lambda: iter(lambda: 0.0, None))


async def test_a_server_that_takes_four_at_once_gets_no_more_for_long_and_every_answer_arrives(
    tree: Tree, no_pauses: None
) -> None:
    refused = 0

    async def at_most_four(call: str, path: str) -> None:
        nonlocal refused
        if call == "cat_file" and tree.running > 4:
            refused += 1
            raise TooManyError

    tree.hook = at_most_four
    names = sorted(tree.objects)
    found = await tree._cat(names, batch_size=64)
    assert found == {name: tree.objects[name] for name in names}
    assert refused > 0
    assert pace_of(tree).limit <= 8
    first = refused
    await tree._cat(names, batch_size=64)  # begins where the first had to
    assert refused - first <= first


async def test_a_server_that_stays_busy_is_an_error_after_a_while(
    tree: Tree, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency, "PATIENCE", 0.02)

    async def busy(call: str, path: str) -> None:
        raise TooManyError(503)

    tree.hook = busy
    with pytest.raises(TooManyError):
        await tree._cat_ranges(["top/1/1"], 0, 1, on_error="raise")
    assert len(tree.made("cat_file")) > 1


async def test_other_failures_are_not_tried_again(tree: Tree) -> None:
    async def broken(call: str, path: str) -> None:
        raise ConnectionResetError

    tree.hook = broken
    with pytest.raises(ConnectionResetError):
        await tree._cat(["top/1/1", "top/2/2"], batch_size=1)
    assert len(tree.made("cat_file")) == 1


def test_the_pace_halves_once_a_round_and_grows_one_by_one() -> None:
    pace = Pace()
    first = pace.round
    pace.pushed_back(first, running=40)
    for _ in range(39):
        pace.pushed_back(first, running=40)  # they were under way already
    assert pace.limit == 20
    for _ in range(20):
        pace.succeeded()
    assert pace.limit == 21
    for _ in range(10):
        pace.pushed_back(pace.round, running=2)
    assert pace.limit == 1


def test_what_is_a_push_back() -> None:
    class ClientError(Exception):
        def __init__(self, code: str, status: int) -> None:
            self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    assert is_push_back(TooManyError(429))
    assert is_push_back(TooManyError(503))
    assert is_push_back(ClientError("SlowDown", 503))
    hidden = OSError(16, "device or resource busy")  # s3fs hides it so
    hidden.__cause__ = ClientError("SlowDown", 503)
    assert is_push_back(hidden)
    assert not is_push_back(TooManyError(500))
    assert not is_push_back(ClientError("NoSuchKey", 404))
    assert not is_push_back(TimeoutError())


# Ranges


async def test_near_ranges_are_fetched_as_one_and_each_gets_its_part() -> None:
    content = bytes(range(200))
    tree = Tree({"a": content, "b": content[::-1]}, asynchronous=True)
    paths = ["a", "a", "b", "a", "a", "a"]
    starts = [0, 12, 5, 100, -3, 50]
    ends = [10, 20, 9, 110, None, 50]
    results = await tree._cat_ranges(paths, starts, ends, max_gap=2)
    assert results == [content[0:10], content[12:20], content[::-1][5:9], content[100:110], content[-3:], b""]
    assert sorted(tree.made("cat_file"), key=str) == [("a", -3, None), ("a", 0, 20), ("a", 100, 110), ("b", 5, 9)]
    tree.calls.clear()
    await tree._cat_ranges(paths[:2], starts[:2], ends[:2])
    assert len(tree.made("cat_file")) == 2  # nothing is joined unless it is asked for


async def test_a_failure_of_a_joined_request_is_one_of_all_that_were_joined() -> None:
    tree = Tree({"a": b"0123456789"}, asynchronous=True)
    results = await tree._cat_ranges(["x", "x", "a"], [0, 2, 0], [2, 4, 3], max_gap=0)
    assert [type(each) for each in results] == [FileNotFoundError, FileNotFoundError, bytes]
    assert len(tree.made("cat_file")) == 2


async def test_ranges_that_do_not_match_are_refused(tree: Tree) -> None:
    with pytest.raises(TypeError, match="list"):
        await tree._cat_ranges("a", 0, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not match"):
        await tree._cat_ranges(["a"], [0, 1], [1])
    with pytest.raises(ValueError, match="max_gap"):
        await tree._cat_ranges(["a"], [0], [1], max_gap=-1)


ends = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(ranges=st.lists(ends, max_size=12), max_gap=st.integers(0, 10))
def test_joining_loses_no_byte_and_asks_for_none_twice(ranges: list[tuple[int, int]], max_gap: int) -> None:
    fetches = [Fetch("a", start, end, [index]) for index, (start, end) in enumerate(ranges)]
    requests = joined(fetches, max_gap)
    for one, other in pairwise(requests):
        assert other.start > one.end + max_gap
    for request in requests:
        for index in request.for_whom:
            assert request.start <= ranges[index][0] <= ranges[index][1] <= request.end
    answered = sorted(index for request in requests for index in request.for_whom)
    assert answered == [index for index, (start, end) in enumerate(ranges) if end > start]


# Callbacks


class Noting(Callback):
    """Keeps what it is told, and a child a file."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.children: dict[tuple[str, str], Noting] = {}
        self.closed = False

    def branched(self, path_1: Any, path_2: Any, **kwargs: Any) -> Any:
        child = Noting()
        self.children[path_1, path_2] = child
        return child

    def close(self) -> None:
        self.closed = True


async def test_progress_is_told_by_file_and_by_byte(tmp_path: Path) -> None:
    fs = MemoryFileSystem(tree="progress", asynchronous=True)
    await fs._pipe({f"/d/{number}": b"x" * (number + 1) for number in range(5)})
    got, put = Noting(), Noting()
    await fs._get("/d", str(tmp_path / "d"), recursive=True, callback=got)
    assert (got.size, got.value) == (5, 5)
    assert sorted((child.size, child.value, child.closed) for child in got.children.values()) == [
        (size, size, True) for size in range(1, 6)
    ]
    await fs._put(str(tmp_path / "d"), "/put", recursive=True, callback=put)
    assert (put.size, put.value) == (5, 5)
    assert sum(child.value for child in put.children.values()) == 15


async def test_files_of_a_class_without_transfers_of_its_own_are_read_by_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiovfs.fs.base.PIECE", 4)
    tree = Tree({"a/b": b"0123456789"}, asynchronous=True)
    noting = Noting()
    await tree._get("a/b", str(tmp_path / "b"), callback=noting)
    assert (tmp_path / "b").read_bytes() == b"0123456789"
    assert tree.made("cat_file") == [("a/b", 0, 4), ("a/b", 4, 8), ("a/b", 8, 10)]
    (child,) = noting.children.values()
    assert (child.size, child.value) == (10, 10)


async def test_half_a_file_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiovfs.fs.base.PIECE", 4)
    tree = Tree({"a/b": b"0123456789"}, asynchronous=True)

    async def break_off(call: str, path: str) -> None:
        if len(tree.made("cat_file")) == 2:
            raise ConnectionResetError

    tree.hook = break_off
    with pytest.raises(ConnectionResetError):
        await tree._get("a/b", str(tmp_path / "b"))
    assert list(tmp_path.iterdir()) == []


async def test_a_name_that_leads_out_of_the_target_is_refused(tmp_path: Path) -> None:
    tree = Tree({"top/a": b"1", "top/../../escaped": b"2"}, asynchronous=True)

    async def listed(path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        return [{"name": name, "size": 1, "type": "file"} for name in tree.objects]

    tree._ls = listed  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="outside"):
        await tree._get("top", str(tmp_path / "in"), recursive=True)
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path.parent / "escaped").exists()


# Trees


async def test_removing_a_tree_asks_for_no_type_twice_and_takes_files_first(tree: Tree) -> None:
    await tree._rm("top", recursive=True)
    assert tree.objects == {}
    removed = tree.made("rm_file")
    assert set(removed[:100]) == {f"top/{number % 7}/{number}" for number in range(100)}
    assert removed[-1] == "top"
    assert len(tree.made("info")) <= 4


async def test_a_tree_moves_file_by_file_and_what_came_meanwhile_stays(tree: Tree) -> None:
    before = dict(tree.objects)

    async def another_comes(call: str, path: str) -> None:
        if call == "pipe_file":
            tree.objects["top/late"] = b"late"

    tree.hook = another_comes
    await tree._mv("top", "moved", recursive=True)
    assert tree.objects.pop("top/late") == b"late"
    assert tree.objects.keys() == {name.replace("top/", "moved/") for name in before}


async def test_a_directory_is_not_moved_by_accident_nor_into_itself(tree: Tree) -> None:
    before = dict(tree.objects)
    with pytest.raises(IsADirectoryError, match="recursive=True"):
        await tree._mv("top", "moved")
    with pytest.raises(ValueError, match="into itself"):
        await tree._mv("top", "top/1/x", recursive=True)
    assert tree.objects == before


async def test_moving_knows_patterns_lists_and_directories() -> None:
    tree = Tree({"a/1": b"1", "a/2": b"2", "b/x": b"x", "c": b"c"}, asynchronous=True)
    await tree._mv("a/*", "b")
    assert set(tree.objects) == {"b/1", "b/2", "b/x", "c"}
    await tree._mv("c", "b/")
    await tree._mv(["b/1", "b/2"], ["one", "two"])
    await tree._mv("b/x", "b/y")
    assert set(tree.objects) == {"b/c", "one", "two", "b/y"}
    memory = MemoryFileSystem(tree="moving", asynchronous=True)
    await memory._pipe({"/from/a": b"1", "/from/sub/b": b"2"})
    await memory._mv("/from", "/to", recursive=True)
    assert await memory._find("/to") == ["/to/a", "/to/sub/b"]
    assert not await memory._exists("/from")
    await memory._rm("/to", recursive=True)  # the tree is the process's


async def test_find_lists_directories_side_by_side(tree: Tree) -> None:
    all_begun, begun = anyio.Event(), []

    async def together(call: str, path: str) -> None:
        if call == "ls" and path != "top":
            begun.append(path)
            if len(begun) == 7:
                all_begun.set()
            await all_begun.wait()

    tree.hook = together
    assert await tree._find("top") == sorted(tree.objects)
    assert len(tree.made("ls")) == 8


async def test_a_listing_of_pages_streams_and_stops_when_it_is_left() -> None:
    pages: list[int] = []

    class Paged(Tree):
        async def _iter_ls(self, path: str, **kwargs: Any) -> AsyncIterator[dict[str, Any]]:
            for page in range(1000):
                pages.append(page)
                for number in range(10):
                    yield {"name": f"{path}/{page:03}{number}", "size": 1, "type": "file"}

    fs = Paged(asynchronous=True)
    found = []
    async with aclosing(fs._iter_find("top")) as infos:
        async for info in infos:
            found.append(info["name"])
            if len(found) == 25:
                break
    assert pages == [0, 1, 2]
    matched = [info["name"] async for info in fs._iter_glob("top/000?")]
    assert matched == [f"top/000{number}" for number in range(10)]


def test_streams_have_a_blocking_form() -> None:
    tree = Tree({"top/a": b"1", "top/b/c": b"2"})
    assert sorted(info["name"] for info in tree.iter_find("top")) == ["top/a", "top/b/c"]
    assert [info["name"] for info in tree.iter_glob("top/*")] == ["top/a", "top/b"]
    assert [info["type"] for info in tree.iter_ls("top")] == ["file", "directory"]


async def test_the_names_that_a_pattern_begins_with_are_a_hint_for_one_directory(tree: Tree) -> None:
    assert await tree._glob("top/1*/**") == ["top/1", *sorted(n for n in tree.objects if n.startswith("top/1/"))]
    hints = [facts for facts in tree.made("ls") if isinstance(facts, tuple)]
    assert hints == [("top", "1")]


async def test_a_directory_that_goes_while_the_tree_is_read_is_left_out(tree: Tree) -> None:
    async def gone(call: str, path: str) -> None:
        if (call, path) == ("ls", "top/3"):
            raise FileNotFoundError(path)

    tree.hook = gone
    assert await tree._find("top") == sorted(name for name in tree.objects if not name.startswith("top/3/"))
    assert await tree._find("nowhere") == []
    assert [item async for item in tree._walk("nowhere")] == []


async def test_sizes_come_from_the_listing(tree: Tree) -> None:
    assert await tree._du("top") == sum(len(content) for content in tree.objects.values())
    assert tree.made("info") == []
    sizes = await tree._du("top", total=False, withdirs=True)
    assert sizes["top/3/3"] == 1
    assert sizes["top"] == 0


@pytest.mark.parametrize(
    ("pattern", "root", "prefix", "depth"),
    [
        ("a/b*", "a/", "b", 1),
        ("a/*/c", "a/", "", 2),
        ("*", "", "", 1),
        ("a/b[0-9]/c/*", "a/", "b", 3),
        ("a/**", "a/", "", None),
        ("a/x?/**/y", "a/", "x", None),
    ],
)
def test_a_pattern_is_asked_for_below_its_literal_part(pattern: str, root: str, prefix: str, depth: int | None) -> None:
    plan = plan_glob(pattern, is_directory_pattern=False)
    assert (plan.root, plan.prefix, plan.depth) == (root, prefix, depth)


async def test_depths_below_one_are_refused(tree: Tree) -> None:
    for refused in (
        tree._find("top", maxdepth=0),
        tree._glob("top/*", maxdepth=0),
        tree._expand_path("top", maxdepth=0),
    ):
        with pytest.raises(ValueError, match="maxdepth"):
            await refused


def test_many_threads_use_one_instance_at_once() -> None:
    tree = Tree({f"t/{number}": bytes([number]) for number in range(50)})
    names = sorted(tree.objects)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(tree.cat(names))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tree.objects] * 8
    assert os.getpid() == tree._pid
