"""The synchronous face, the instance cache and the companion loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fsspec.exceptions import FSTimeoutError

from aiovfs._loop.caller import NEEDS_LOOP, drive, finish, in_caller, leave_caller
from aiovfs._loop.companion import Companion, companion, run_on
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem


class Slow(AsyncFileSystem):
    """Does what its methods are told, on the loop, and notes how each call ended."""

    protocol = "slow"
    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.begun = threading.Event()
        self.ended: list[str] = []
        self.threads: list[int] = []

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        self.threads.append(threading.get_ident())
        self.begun.set()
        try:
            await asyncio.sleep(3600 if path == "forever" else 0)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        if path == "cancelled":
            raise asyncio.CancelledError
        if path == "exception":
            return ValueError("a result")  # type: ignore[return-value]
        if path == "refused":
            raise PermissionError(path)
        self.ended.append("done")
        return {"name": path, "size": 1, "type": "file"}

    async def _items(self) -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number


@pytest.fixture
def slow() -> Slow:
    return Slow()


def test_a_call_that_waits_runs_on_the_companion_loop(slow: Slow) -> None:
    assert slow.info("a")["name"] == "a"
    assert slow.threads != [threading.get_ident()]
    assert slow.loop is companion().loop


def test_an_error_is_raised_in_the_caller(slow: Slow) -> None:
    with pytest.raises(PermissionError, match="refused"):
        slow.info("refused")


def test_work_that_is_cancelled_raises_and_never_returns_none(slow: Slow) -> None:
    with pytest.raises(asyncio.CancelledError):
        slow.info("cancelled")


def test_an_exception_that_is_a_result_is_returned(slow: Slow) -> None:
    assert isinstance(slow.info("exception"), ValueError)


def test_a_time_out_cancels_the_work(slow: Slow) -> None:
    with pytest.raises(FSTimeoutError):
        slow.info("forever", timeout=0.01)
    assert slow.ended == ["cancelled"]


def test_ctrl_c_cancels_the_work(slow: Slow) -> None:
    def interrupt() -> None:
        slow.begun.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        slow.info("forever")
    thread.join()
    assert slow.ended == ["cancelled"]


async def test_a_blocking_call_on_a_running_loop_is_refused_with_the_async_name() -> None:
    with pytest.raises(RuntimeError, match=r"await fs\._info"):
        MemoryFileSystem().info("/")


async def test_a_blocking_call_in_a_worker_thread_is_allowed(slow: Slow) -> None:
    assert (await anyio.to_thread.run_sync(slow.info, "a"))["name"] == "a"


def test_a_call_that_does_not_wait_starts_no_thread() -> None:
    fs = MemoryFileSystem(tree="no thread")
    before = threading.active_count()
    fs.pipe_file("/a", b"x")
    assert fs.cat("/a") == b"x"
    assert list(fs.walk("/")) == [("/", [], ["a"])]
    assert threading.active_count() == before
    fs.rm("/a")


def test_the_local_disk_is_read_on_the_callers_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    lstat = os.lstat

    def spy(path: Any, **kwargs: Any) -> os.stat_result:
        seen.append(threading.get_ident())
        return lstat(path, **kwargs)

    monkeypatch.setattr(os, "lstat", spy)
    LocalFileSystem().info(str(tmp_path))
    assert seen[0] == threading.get_ident()


def test_a_coroutine_that_needs_a_loop_says_so_and_goes_on_there() -> None:
    async def work() -> list[bool]:
        before = in_caller()
        await leave_caller()
        await asyncio.sleep(0)
        return [before, in_caller()]

    started = work()
    assert drive(started) is NEEDS_LOOP

    async def rest() -> list[bool]:
        return await finish(started)

    assert asyncio.run(rest()) == [True, False]


def test_an_eager_method_may_still_wait() -> None:
    class Late(Slow):
        eager = frozenset({"_info"})

        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            self.threads.append(threading.get_ident())
            await leave_caller()
            return await super()._info(path)

    late = Late()
    assert late.info("a")["name"] == "a"
    assert late.threads[0] == threading.get_ident()
    assert late.threads[1] != threading.get_ident()
    with pytest.raises(FSTimeoutError):
        late.info("forever", timeout=0.01)


def test_a_coroutine_that_breaks_the_rule_is_named() -> None:
    class Future:
        def __await__(self) -> Iterator[str]:
            yield "a future"

    async def work() -> None:
        await Future()

    with pytest.raises(RuntimeError, match="leave_caller"):
        drive(work())


def test_a_loop_of_the_callers_own_is_used() -> None:
    own = Companion("own")
    fs = Slow(loop=own.loop)
    fs.info("a")
    assert fs.loop is own.loop
    own.stop()
    with pytest.raises(RuntimeError, match="not running"):
        fs.info("a")


def test_a_companion_starts_anew_after_it_was_stopped() -> None:
    own = Companion("own")
    first = own.loop
    own.stop()
    assert own.loop is not first
    own.stop()
    own.stop()


def test_stopping_a_companion_ends_the_calls_that_wait_for_it() -> None:
    own = Companion("own")
    begun = threading.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.sleep(3600)

    def stop() -> None:
        begun.wait()
        own.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(asyncio.CancelledError):
        own.run_blocking(forever)
    thread.join()


def test_a_forked_child_has_a_companion_of_its_own(slow: Slow) -> None:
    slow.info("a")
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(10)
            os._exit(0 if slow.info("b")["name"] == "b" and MemoryFileSystem().exists("/") else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def test_asyncio_only_code_runs_on_the_companion_from_any_loop(slow: Slow) -> None:
    result = await companion().run(slow._info, "a")
    assert result["name"] == "a"
    with pytest.raises(PermissionError):
        await companion().run(slow._info, "refused")


async def test_cancelling_a_call_on_the_companion_ends_the_work_there_first(slow: Slow) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(companion().run, slow._info, "forever")
        await anyio.to_thread.run_sync(slow.begun.wait)
        group.cancel_scope.cancel()
    assert slow.ended == ["cancelled"]


async def test_work_cancelled_over_there_does_not_look_like_a_cancelled_task_here(slow: Slow) -> None:
    with pytest.raises(OSError, match="cancelled on the loop"):
        await companion().run(slow._info, "cancelled")


async def test_work_for_a_closed_loop_fails_at_once(slow: Slow) -> None:
    own = Companion("own")
    loop = own.loop
    own.stop()
    with pytest.raises(RuntimeError, match="closed"):
        await run_on(loop, slow._info, "a")


def test_asynchronous_instances_are_cached_per_loop_and_not_per_thread() -> None:
    async def make() -> tuple[MemoryFileSystem, MemoryFileSystem]:
        return MemoryFileSystem(asynchronous=True), MemoryFileSystem(asynchronous=True)

    one, same = asyncio.run(make())
    other, _ = asyncio.run(make())
    assert one is same
    assert one is not other


def test_synchronous_instances_are_shared_as_in_fsspec() -> None:
    assert MemoryFileSystem() is MemoryFileSystem()
    assert MemoryFileSystem(tree="a") is not MemoryFileSystem(tree="b")


def test_an_instance_survives_pickling_and_json() -> None:
    fs = MemoryFileSystem(tree="t")
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert type(fs).from_json(fs.to_json()).tree is fs.tree


async def test_bulk_operations_run_on_every_loop(tmp_path: Path) -> None:
    fs = LocalFileSystem(asynchronous=True)
    names = [str(tmp_path / str(number)) for number in range(20)]
    await fs._pipe({name: name.encode() for name in names})
    assert await fs._cat(names) == {name: name.encode() for name in names}
    assert await fs._cat_ranges(names[:2], [0, -1], [1, None]) == [b"/", b"1"]
    await fs._copy(names, [name + ".copy" for name in names])
    assert len(await fs._glob(f"{tmp_path}/*.copy")) == 20
    await fs._rm(names)
    assert len(await fs._find(str(tmp_path))) == 20


async def test_a_failure_stops_the_rest_of_a_bulk_operation(tmp_path: Path) -> None:
    fs = LocalFileSystem(asynchronous=True)
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        await fs._cat([str(tmp_path / "missing"), str(tmp_path / "a")])
    result = await fs._cat([str(tmp_path / "missing"), str(tmp_path / "a")], on_error="return")
    assert isinstance(result[str(tmp_path / "missing")], FileNotFoundError)
    assert result[str(tmp_path / "a")] == b"x"


async def test_isdir_and_exists_raise_what_is_not_absence() -> None:
    class Down(AsyncFileSystem):
        cachable = False

        async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            raise TimeoutError("no answer")

    down = Down(asynchronous=True)
    for question in (down._exists, down._isdir, down._isfile):
        with pytest.raises(TimeoutError):
            await question("a")
