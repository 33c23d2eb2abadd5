"""The faults of fsspec's engine, one by one: first that they are there, on fsspec, then that ours has none of them.

A class body of coroutines is put on fsspec's base and on ours. A test of the first kind that fails says that fsspec has
mended the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fsspec.asyn
import pytest
import trio
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper as FsspecWrapper
from fsspec.implementations.memory import MemoryFileSystem as FsspecMemory

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper


class Coroutines:
    """What an author writes: a tree of two directories, and a server that may be told to misbehave."""

    protocol = "faulty"
    cachable = False
    FILES = ("top/a", "top/sub/b")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fail: Callable[[str, str], None] = lambda call, path: None
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.endings: list[str] = []

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        self.fail("info", path)
        if path in self.FILES:
            return {"name": path, "size": 1, "type": "file"}
        if any(name.startswith(path + "/") for name in self.FILES):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        self.fail("ls", path)
        below = {name[len(path) + 1 :].partition("/")[0] for name in self.FILES if name.startswith(path + "/")}
        infos = [await self._info(f"{path}/{name}") for name in sorted(below)]
        return infos if detail else [info["name"] for info in infos]

    async def _cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        return path.encode()[start:end]

    async def _long(self) -> str:
        self.begun.set()
        try:
            while not self.go_on.is_set():
                await asyncio.sleep(0.001)
            self.endings.append("done")
        except asyncio.CancelledError:
            self.endings.append("cancelled")
            raise
        finally:
            self.ended.set()
        return "done"

    async def _cancelled(self) -> None:
        raise asyncio.CancelledError

    async def _exception_as_result(self) -> Exception:
        return ValueError("a result, not a failure")


class Theirs(Coroutines, fsspec.asyn.AsyncFileSystem):
    long = fsspec.asyn.sync_wrapper(Coroutines._long)
    cancelled = fsspec.asyn.sync_wrapper(Coroutines._cancelled)
    exception_as_result = fsspec.asyn.sync_wrapper(Coroutines._exception_as_result)


class Ours(Coroutines, AsyncFileSystem):
    from aiovfs.fs.facade import sync_wrapper

    long = sync_wrapper(Coroutines._long)
    cancelled = sync_wrapper(Coroutines._cancelled)
    exception_as_result = sync_wrapper(Coroutines._exception_as_result)


# 1. Cancelled work


def test_fsspec_returns_none_for_work_that_was_cancelled() -> None:
    assert Theirs().cancelled() is None


def test_work_that_was_cancelled_raises() -> None:
    with pytest.raises(asyncio.CancelledError):
        Ours().cancelled()


# 2. Ctrl-C


def interrupted(fs: Any) -> None:
    """Call `fs.long()`, and press Ctrl-C as soon as the work has begun."""

    def press() -> None:
        fs.begun.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fs.long()
    finally:
        fs.begun.set()
        thread.join()


def test_fsspec_lets_the_work_go_on_after_ctrl_c() -> None:
    fs = Theirs()
    interrupted(fs)
    assert fs.endings == []
    fs.go_on.set()
    fs.ended.wait()
    assert fs.endings == ["done"]


def test_ctrl_c_ends_the_work_before_it_is_raised() -> None:
    fs = Ours()
    interrupted(fs)
    assert fs.endings == ["cancelled"]


def test_a_time_out_ends_the_work_before_it_is_raised() -> None:
    fs = Ours()
    with pytest.raises(FSTimeoutError):
        fs.long(timeout=0.01)
    assert fs.endings == ["cancelled"]


# 3. The wrapper


@pytest.fixture
def memory() -> Iterator[FsspecMemory]:
    fs = FsspecMemory(skip_instance_cache=True)
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_fsspecs_wrapper_loses_writes_and_does_not_pass_on_what_the_class_can_do(memory: FsspecMemory) -> None:
    memory.pipe_file("/there", b"x")
    fs = FsspecWrapper(memory, asynchronous=False)
    with fs.open("/a", "wb") as file:
        file.write(b"lost")
    assert not memory.exists("/a")
    with pytest.raises(NotImplementedError):
        fs.created("/there")
    with pytest.raises(NotImplementedError):
        asyncio.run(fs.open_async("/there"))


def test_the_wrapper_keeps_writes_and_passes_everything_on(memory: FsspecMemory) -> None:
    fs = AsyncFileSystemWrapper(memory, asynchronous=False)
    with fs.open("/a", "wb") as file:
        file.write(b"kept")
    fs.touch("/b")
    fs.mkdir("/d")
    fs.rmdir("/d")
    assert memory.cat_file("/a") == b"kept"
    assert memory.exists("/b")
    assert not memory.exists("/d")
    assert fs.created("/a") == memory.created("/a")
    assert fs.modified("/a") == memory.modified("/a")

    async def read() -> bytes:
        async with await AsyncFileSystemWrapper(memory).open_async("/a") as opened:
            content: bytes = await opened.read()
            return content

    assert asyncio.run(read()) == b"kept"


def test_fsspecs_wrapper_makes_one_call_of_a_bulk_operation_and_ours_one_a_file(memory: FsspecMemory) -> None:
    calls: list[str] = []
    for name in ("cat", "cat_file"):
        method = getattr(memory, name)

        def spy(*args: Any, _method: Any = method, _name: str = name, **kwargs: Any) -> Any:
            calls.append(_name)
            return _method(*args, **kwargs)

        setattr(memory, name, spy)
    memory.pipe({f"/{number}": b"x" for number in range(3)})

    async def cat(wrapper: Any) -> list[str]:
        calls.clear()
        await wrapper(memory)._cat([f"/{number}" for number in range(3)])
        return list(calls)

    assert asyncio.run(cat(FsspecWrapper))[0] == "cat"
    assert asyncio.run(cat(AsyncFileSystemWrapper)) == ["cat_file"] * 3


# 4. Listings


def lost_connection(call: str, path: str) -> None:
    if (call, path) == ("ls", "top/sub"):
        raise ConnectionResetError("the network went away")


def no_answer(call: str, path: str) -> None:
    raise FSTimeoutError("no answer")


def test_fsspec_leaves_out_what_it_could_not_list_and_answers_no_when_it_does_not_know() -> None:
    fs = Theirs()
    assert fs.find("top") == ["top/a", "top/sub/b"]
    fs.fail = lost_connection
    assert fs.find("top") == ["top/a"]
    fs.fail = no_answer
    assert fs.isdir("top") is False


def test_a_listing_is_whole_or_an_error() -> None:
    fs = Ours()
    assert fs.find("top") == ["top/a", "top/sub/b"]
    fs.fail = lost_connection
    for listing in (
        lambda: fs.find("top"),
        lambda: fs.glob("top/**"),
        lambda: fs.du("top"),
        lambda: list(fs.walk("top")),
        lambda: list(fs.iter_find("top")),
        lambda: fs.get("top", "/nowhere", recursive=True),
        lambda: fs.rm("top", recursive=True),
        lambda: fs.copy("top", "other", recursive=True),
    ):
        with pytest.raises(ConnectionResetError):
            listing()
    fs.fail = no_answer
    for question in (fs.isdir, fs.isfile, fs.exists):
        with pytest.raises(FSTimeoutError):
            question("top")


def test_what_to_leave_out_can_be_said() -> None:
    fs = Ours()
    fs.fail = lost_connection
    told: list[OSError] = []
    assert fs.find("top", on_error="omit") == ["top/a"]
    assert fs.find("top", on_error=told.append) == ["top/a"]
    assert [type(each) for each in told] == [ConnectionResetError]
    assert list(fs.walk("top", on_error="omit")) == [("top", ["sub"], ["a"]), ("top/sub", [], [])]


# 5. Instances and loops


async def the_loop_is_mine(cls: Any) -> Any:
    return cls(asynchronous=True)


class TheirsCached(Theirs):
    cachable = True


class OursCached(Ours):
    cachable = True


def test_fsspec_gives_a_second_run_the_instance_of_the_first_whose_loop_is_closed() -> None:
    assert asyncio.run(the_loop_is_mine(TheirsCached)) is asyncio.run(the_loop_is_mine(TheirsCached))


def test_a_second_run_gets_an_instance_of_its_own() -> None:
    first = asyncio.run(the_loop_is_mine(OursCached))
    assert asyncio.run(the_loop_is_mine(OursCached)) is not first
    with pytest.raises(RuntimeError, match="loop that has ended"):
        first.info("top")


# 6. Blocking calls on a running loop


def test_fsspec_holds_up_the_loop_that_it_is_called_on() -> None:
    ticks: list[int] = []

    async def main() -> int:
        asyncio.get_running_loop().call_soon(ticks.append, 1)
        Theirs().info("top")
        return len(ticks)

    assert asyncio.run(main()) == 0  # the callback was due, and had to wait for the call


def test_a_blocking_call_on_a_running_loop_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await fs\._info"):
            Ours().info("top")
        assert await Ours(asynchronous=True)._info("top")

    asyncio.run(main())


# 7. Trio


def test_a_bulk_operation_of_fsspec_dies_on_trio() -> None:
    program = """
import fsspec.asyn, trio

class Their(fsspec.asyn.AsyncFileSystem):
    async def _cat_file(self, path, **kwargs):
        return b""

trio.run(Their(asynchronous=True)._cat, ["a", "b"])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)  # it leaves coroutines
    assert ended.returncode != 0
    assert "event loop" in ended.stderr


def test_a_bulk_operation_runs_on_trio() -> None:
    found = trio.run(Ours(asynchronous=True)._cat, ["top/a", "top/sub/b"])
    assert found == {"top/a": b"top/a", "top/sub/b": b"top/sub/b"}


# 8. Exceptions that are results


def test_fsspec_raises_an_exception_that_was_returned() -> None:
    with pytest.raises(ValueError, match="a result"):
        Theirs().exception_as_result()


def test_an_exception_that_was_returned_is_returned() -> None:
    assert isinstance(Ours().exception_as_result(), ValueError)


# Fork


def in_child(work: Callable[[], bool]) -> int:
    """The exit status of a forked child that does `work`: 0 true, 1 false, 2 an exception, 14 it hung."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        with contextlib.suppress(BaseException):
            os._exit(0 if work() else 1)
        os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 14 if status == -signal.SIGALRM else status


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fsspecs_objects_are_of_no_use_in_a_forked_child() -> None:
    fs = Theirs()
    fs.info("top")
    assert in_child(lambda: bool(fs.info("top"))) == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_objects_go_on_in_a_forked_child() -> None:
    fs = Ours()
    fs.info("top")
    assert in_child(lambda: bool(fs.info("top")) and fs.find("top") == ["top/a", "top/sub/b"]) == 0
    assert fs.info("top")


# What an instance and a bulk operation cost


def test_fsspec_hangs_closures_on_every_instance_and_ours_has_methods() -> None:
    assert len([name for name in vars(Theirs()) if callable(getattr(Theirs, name, None))]) > 20
    assert [name for name in vars(Ours()) if callable(getattr(Ours, name, None))] == []
    assert Ours.info.__name__ == "info"


def test_fsspec_makes_every_coroutine_before_the_first_runs_and_ours_when_its_turn_comes() -> None:
    def most_alive(base: Any) -> int:
        alive = most = 0

        class Counting(base):  # type: ignore[misc]
            def _cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> Any:
                nonlocal alive, most
                alive += 1
                most = max(most, alive)
                return self._finish(path)

            async def _finish(self, path: str) -> bytes:
                nonlocal alive
                await asyncio.sleep(0)
                alive -= 1
                return b""

        Counting(batch_size=10).cat([f"f/{number}" for number in range(500)])
        return most

    assert most_alive(Theirs) == 500
    assert most_alive(Ours) <= 10
