"""Failures: what is reported as what. A store's bad day is never "not there", and nothing is left out in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.exceptions import FSTimeoutError

from aiovfs.testing.conformance.backend import TREE, Backend, open_files

__all__ = ["ErrorTests", "failing"]

TRANSIENT = (
    pytest.param(ConnectionResetError("the connection broke"), id="reset"),
    pytest.param(FSTimeoutError("no answer in time"), id="timeout"),
    pytest.param(PermissionError("refused"), id="permission"),
    pytest.param(OSError(5, "input/output error"), id="EIO"),
)
REFUSALS = (OSError, NotImplementedError)


@contextlib.contextmanager
def failing(
    fs: Any, error: Exception, *methods: str, at: Callable[[str], bool] = lambda path: True
) -> Iterator[list[str]]:
    """Make coroutine methods of one instance fail for the paths that `at` says yes to; yields the failed calls."""
    failed: list[str] = []

    def put_before(real: Any) -> Any:
        async def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if at(str(path).rstrip("/")):
                failed.append(str(path))
                raise error
            return await real(path, *args, **kwargs)

        return call

    for method in methods:
        setattr(fs, method, put_before(getattr(fs, method)))
    try:
        yield failed
    finally:
        for method in methods:
            delattr(fs, method)


async def told(failed: list[str], error: Exception, call: Callable[..., Any], *args: Any) -> None:
    """Whatever came upon the failure must raise it. A call that has a way of its own did not come upon it."""
    failed.clear()
    try:
        await call(*args)
    except type(error):
        return
    assert failed == []


class ErrorTests(Backend):
    """The author's coroutines fail; what is derived from them must say so."""

    @pytest.mark.parametrize("error", TRANSIENT)
    async def test_a_failure_to_look_is_not_an_absence(self, fs: Any, tree: str, error: Exception) -> None:
        self.need("honest_errors")
        with failing(fs, error, "_info", "_ls") as failed:
            for call in (fs._exists, fs._isfile, fs._isdir, fs._size):
                await told(failed, error, call, f"{tree}/a.txt")
        assert await fs._exists(f"{tree}/a.txt")

    @pytest.mark.parametrize("error", TRANSIENT)
    async def test_a_directory_that_cannot_be_read_is_not_left_out_of_what_is_found(
        self, fs: Any, tree: str, error: Exception
    ) -> None:
        self.need("honest_errors", "listing")
        with failing(fs, error, "_ls", at=lambda path: path.endswith("/dir/sub")) as failed:
            await told(failed, error, fs._find, tree)
            await told(failed, error, fs._glob, f"{tree}/**/*.txt")
            await told(failed, error, fs._du, tree)
            await told(failed, error, partial(fs._expand_path, recursive=True), tree)
        assert self.names(fs, tree, await fs._find(tree)) == sorted(TREE)

    @pytest.mark.parametrize("error", TRANSIENT[:2])
    async def test_a_tree_that_cannot_be_read_is_not_transferred_in_part_without_an_error(
        self, fs: Any, tree: str, tmp_path: Path, error: Exception
    ) -> None:
        self.need("honest_errors", "listing", "write")
        with failing(fs, error, "_ls", at=lambda path: path.endswith("/dir/sub")) as failed:
            await told(failed, error, partial(fs._get, recursive=True), f"{tree}/dir", str(tmp_path / "local"))
            await told(failed, error, partial(fs._copy, recursive=True), f"{tree}/dir", f"{tree}/copy")
        assert await fs._cat_file(f"{tree}/dir/sub/three") == b"333"

    @pytest.mark.parametrize("error", TRANSIENT[:2])
    async def test_a_tree_that_cannot_be_read_is_not_removed_in_part_without_an_error(
        self, fs: Any, tree: str, error: Exception
    ) -> None:
        self.need("honest_errors", "listing", "write")
        with failing(fs, error, "_ls", at=lambda path: path.endswith("/dir/sub")) as failed:
            await told(failed, error, partial(fs._rm, recursive=True), f"{tree}/dir")
        assert await fs._exists(f"{tree}/dir/sub/three") is bool(failed)

    @pytest.mark.parametrize("error", TRANSIENT[:2])
    async def test_one_file_that_fails_is_told_by_its_name_and_the_others_are_given(
        self, fs: Any, tree: str, error: Exception
    ) -> None:
        self.need("bounded_bulk")
        paths = [f"{tree}/a.txt", f"{tree}/dir/one", f"{tree}/empty"]
        with failing(fs, error, "_cat_file", at=lambda path: path.endswith("dir/one")):
            found = await fs._cat(paths, on_error="return")
            kinds = {self.names(fs, tree, [name])[0]: value for name, value in found.items()}
            assert kinds == {"a.txt": b"alpha", "dir/one": error, "empty": b""}
            with pytest.raises(type(error)):
                await fs._cat(paths)
            ranges = await fs._cat_ranges(paths, 0, 1)
            assert ranges[1] is error

    async def test_a_copy_of_many_reports_the_one_that_failed(self, fs: Any, tree: str) -> None:
        self.need("bounded_bulk", "write", "listing")
        error = ConnectionResetError("the connection broke")
        with failing(fs, error, "_cp_file", at=lambda path: path.endswith("two.txt")):
            with pytest.raises(ConnectionResetError):
                await fs._copy(f"{tree}/dir", f"{tree}/copy", recursive=True, on_error="raise")
            with pytest.raises(ConnectionResetError):
                await fs._copy(f"{tree}/dir", f"{tree}/copy2", recursive=True)

    async def test_walk_tells_its_caller_of_a_directory_it_could_not_read(self, fs: Any, tree: str) -> None:
        self.need("honest_errors", "listing")
        told: list[Exception] = []
        with failing(fs, PermissionError("refused"), "_ls", at=lambda path: path.endswith("/dir")):
            tops = [self.names(fs, tree, [top])[0] async for top, _, _ in fs._walk(tree, on_error=told.append)]
            assert "other" in tops
            assert [type(error) for error in told] == [PermissionError]
            tops = [self.names(fs, tree, [top])[0] async for top, _, _ in fs._walk(tree, on_error="omit")]
            assert "other" in tops
            with pytest.raises(PermissionError):
                [top async for top, _, _ in fs._walk(tree, on_error="raise")]

    async def test_what_is_a_directory_cannot_be_written_or_removed_as_a_file(self, fs: Any, tree: str) -> None:
        self.need("write", "empty_directories")
        with pytest.raises(REFUSALS):
            await fs._pipe_file(f"{tree}/dir", b"content")
        with pytest.raises(REFUSALS):
            await fs._rm_file(f"{tree}/dir")
        assert await fs._cat_file(f"{tree}/dir/one") == b"1"

    async def test_nothing_can_be_written_below_a_file(self, fs: Any, tree: str) -> None:
        self.need("write", "empty_directories")
        with pytest.raises(REFUSALS):
            await fs._pipe_file(f"{tree}/a.txt/below", b"content")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"

    async def test_a_download_that_fails_leaves_no_file_and_nothing_open(
        self, fs: Any, tree: str, tmp_path: Path
    ) -> None:
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            await fs._get([f"{tree}/a.txt", f"{tree}/absent"], [str(tmp_path / "l" / "a"), str(tmp_path / "l" / "b")])
        assert not (tmp_path / "l" / "b").exists()
        assert open_files(str(tmp_path / "l")) == []

    async def test_a_download_cannot_leave_its_target(self, fs: Any, tree: str, tmp_path: Path) -> None:
        self.need("listing", "bounded_bulk")
        target = tmp_path / "inside"
        real = fs._find

        async def find(path: str, **kwargs: Any) -> Any:
            found = await real(path, **kwargs)
            bad = f"{path.rstrip('/')}/../../escaped"
            return {**found, bad: {"name": bad, "type": "file", "size": 1}} if kwargs.get("detail") else [*found, bad]

        fs._find = find
        try:
            with pytest.raises((ValueError, OSError)):
                await fs._get(f"{tree}/dir", str(target), recursive=True)
        finally:
            del fs._find
        assert not (tmp_path / "escaped").exists()

    async def test_a_writer_that_fails_leaves_what_was_there(self, fs: Any, tree: str) -> None:
        self.need("write", "open_async", "open_async_write", "atomic_files")

        async def write_half() -> None:
            async with await fs.open_async(f"{tree}/a.txt", "wb") as file:
                await file.write(b"half")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await write_half()
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"
