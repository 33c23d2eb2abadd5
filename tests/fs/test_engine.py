"""The engine under the synchronous face: loops, threads, forks, the interpreter's end, and what classes get from it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import backends
import pytest
import uvloop
from fsspec.exceptions import FSTimeoutError

from aiovfs._loop import companion as companions
from aiovfs._loop.companion import Companion, companion, companion_of_thread, inbox_of
from aiovfs._loop.forks import survives_fork
from aiovfs.fs import facade as face
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.carried import CarriedFileSystem, portable
from aiovfs.fs.facade import async_gen_wrapper, get_loop, sync, sync_teardown, sync_wrapper
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper

fork_warns = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Plain(AsyncFileSystem):
    """Waits once in every call, and says where it ran."""

    protocol = "plain"
    cachable = False

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """What is at the path: the thread and loop that the call ran on."""
        await asyncio.sleep(0)
        return {"name": path, "type": "file", "size": 0, "loop": asyncio.get_running_loop()}

    async def _numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0)
            yield number

    async def _sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        """A link to the path."""
        return f"{path}?{expiration}"

    async def _my_method(self, word: str) -> str:
        """Say a word."""
        await asyncio.sleep(0)
        return word * 2

    my_method = sync_wrapper(_my_method)
    numbers = async_gen_wrapper(_numbers)


class Anywhere(Plain):
    loop_per_thread = True


@contextlib.contextmanager
def loop_in_a_thread(make: Callable[[], Any]) -> Iterator[Any]:
    loop = make()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


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


# What a class gets


def test_a_wrapped_method_blocks_and_keeps_its_documentation() -> None:
    assert Plain().my_method("so") == "soso"
    assert Plain.my_method.__doc__ == "Say a word."
    assert list(Plain().numbers(3)) == [0, 1, 2]
    fs = Plain()
    assert sync_wrapper(fs._my_method, obj=fs)("x") == "xx"
    slow = sync_wrapper(_sleep, obj=fs)
    with pytest.raises(FSTimeoutError):
        slow(timeout=0.01)


async def _sleep() -> None:
    await asyncio.sleep(3600)


def test_coroutines_of_fsspecs_interface_get_blocking_methods_with_their_own_documentation_and_arguments() -> None:
    assert Plain().sign("a", expiration=3) == "a?3"
    assert Plain.sign.__doc__ == "A link to the path."
    assert Plain.info.__doc__ == "What is at the path: the thread and loop that the call ran on."
    assert list(inspect.signature(Plain().sign).parameters) == ["path", "expiration", "kwargs"]
    assert "path" in (Plain.ls.__doc__ or "")  # fsspec's words, where the class has none
    assert not hasattr(Plain, "_my_method_of_nobody")


def test_a_blocking_method_that_the_class_writes_itself_stays() -> None:
    class Own(Plain):
        def info(self, path: str, **kwargs: Any) -> Any:
            return "mine"

        async def _info(self, path: str, **kwargs: Any) -> Any:
            return "theirs"

    assert Own().info("a") == "mine"


def test_a_mixin_that_knows_nothing_of_file_systems_brings_its_coroutines() -> None:
    class Signing:
        async def _checksum(self, path: str) -> int:
            return 7

    class Mixed(Signing, Plain):
        pass

    assert Mixed().checksum("a") == 7


def test_names_can_be_added_to_the_list_of_what_is_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiovfs.fs import mirror

    monkeypatch.setattr(mirror, "async_methods", [*mirror.async_methods, "_grant"])

    class Granting(Plain):
        async def _grant(self, path: str) -> str:
            return f"granted {path}"

    assert Granting().grant("a") == "granted a"


def test_a_class_that_replaces_a_method_of_an_eager_one_is_not_eager() -> None:
    class Waiting(MemoryFileSystem):
        async def _info(self, path: str, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return await super()._info(path)

    assert MemoryFileSystem.eager
    assert Waiting.eager == frozenset()
    fs = Waiting(tree="not eager")
    fs.pipe_file("/a", b"x")
    assert fs.info("/a")["size"] == 1
    assert fs.exists("/a")


# Loops


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_loop_of_ones_own_in_another_thread_does_the_work(make: Callable[[], Any]) -> None:
    with loop_in_a_thread(make) as loop:
        fs = Plain(loop=loop)
        assert fs.info("a")["loop"] is loop
        assert fs.loop is loop
        assert sync(loop, fs._info, "b")["loop"] is loop
        with pytest.raises(FSTimeoutError):
            sync(loop, _sleep, timeout=0.01)
    with pytest.raises(RuntimeError, match="not running"):
        fs.info("a")


def test_a_loop_that_does_not_run_yet_is_waited_for() -> None:
    loop = asyncio.new_event_loop()
    begun = threading.Event()

    def serve() -> None:
        begun.wait()
        loop.run_forever()

    thread = threading.Thread(target=serve)
    thread.start()
    wake = loop.call_soon_threadsafe

    def put(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        return wake(*args, **kwargs)

    loop.call_soon_threadsafe = put  # type: ignore[method-assign]
    try:
        assert Plain(loop=loop).info("a")["loop"] is loop
    finally:
        wake(loop.stop)
        thread.join()
        loop.close()


def test_a_loop_that_nobody_runs_is_an_error_and_not_a_hang() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(RuntimeError, match="not running"):
            Plain(loop=loop).info("a")
    finally:
        loop.close()


def test_sync_refuses_what_cannot_work() -> None:
    with pytest.raises(RuntimeError, match="Loop is not running"):
        sync(None, _sleep)

    async def on_its_own_loop() -> None:
        with pytest.raises(NotImplementedError, match=r"running loop.*await _sleep"):
            sync(asyncio.get_running_loop(), _sleep)

    asyncio.run(on_its_own_loop())
    with pytest.raises(RuntimeError, match="blocks"):
        sync(get_loop(), _calls_back)


async def _calls_back() -> None:
    Plain().info("a")


def test_a_call_from_a_worker_thread_goes_to_the_loop_that_the_instance_was_made_on() -> None:
    async def main() -> None:
        fs = Plain(asynchronous=True)
        assert fs.loop is None
        found = await asyncio.to_thread(fs.info, "a")
        assert found["loop"] is asyncio.get_running_loop()

    asyncio.run(main())


async def test_in_a_notebook_a_blocking_call_may_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "is_notebook", lambda: True)
    assert Plain().info("a")["loop"] is companion().loop
    assert sync(get_loop(), Plain()._info, "a")["name"] == "a"
    if sniffed_asyncio():
        with pytest.raises(NotImplementedError):
            sync(asyncio.get_running_loop(), _sleep)
    monkeypatch.setattr(face, "ON_LOOP", "refuse")
    with pytest.raises(RuntimeError, match="await fs"):
        Plain().info("a")


def sniffed_asyncio() -> bool:
    return companions.current_asyncio_loop() is not None


def test_this_is_no_notebook() -> None:
    assert face.is_notebook() is False


async def test_the_callers_context_is_that_of_the_work() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Seeing(Plain):
        async def _info(self, path: str, **kwargs: Any) -> Any:
            return variable.get()

    fs = Seeing()

    def call() -> Any:
        variable.set("set")
        return fs.info("a")

    assert await anyio.to_thread.run_sync(call) == "set"


def test_what_would_end_a_loop_is_raised_in_the_caller_and_the_loop_goes_on() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    loop = get_loop()
    with pytest.raises(SystemExit):
        sync(loop, leave)
    assert get_loop() is loop
    assert Plain().info("a")["loop"] is loop


# Threads


def test_of_threads_that_come_together_one_wakes_the_loop() -> None:
    with loop_in_a_thread(asyncio.new_event_loop) as loop:
        busy, go_on = threading.Event(), threading.Event()
        inbox = inbox_of(loop)
        wakes: list[int] = []
        wake = inbox._wake

        def counted(*args: Any) -> Any:
            wakes.append(1)
            return wake(*args)

        inbox._wake = counted  # type: ignore[method-assign]
        waiting: list[Any] = []

        def hold_up() -> None:
            busy.set()
            go_on.wait()

        loop.call_soon_threadsafe(hold_up)
        busy.wait()
        fs = Plain(loop=loop)
        threads = [threading.Thread(target=lambda: waiting.append(fs.info("a"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(inbox._waiting) < 8:
            os.sched_yield()
        assert len(wakes) == 1
        go_on.set()
        for thread in threads:
            thread.join()
        assert len(waiting) == 8


def test_threads_are_spread_over_loops_where_the_work_belongs_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [Companion(f"spread-{number}") for number in range(2)]
    monkeypatch.setattr(companions, "_companions", own)
    monkeypatch.setattr(companions, "COMPANIONS", 2)
    fs, bound = Anywhere(), Plain()
    spread: set[Any] = set()
    single: set[Any] = set()

    def call() -> None:
        first = fs.info("a")["loop"]
        assert fs.info("b")["loop"] is first  # a thread keeps its loop
        spread.add(first)
        single.add(bound.info("a")["loop"])

    for _ in range(4):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert len(spread) == 2
    assert single == {own[0].loop}
    for each in own:
        each.stop()


def test_a_thread_has_a_companion_and_the_first_is_everybodys() -> None:
    assert companion_of_thread() is companion_of_thread()
    assert get_loop() is companion().loop


# Fork


@fork_warns
def test_a_child_that_is_forked_while_another_thread_starts_a_loop_has_loops() -> None:
    fs = Plain()
    fs.info("a")
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for each in companions._companions:
                stack.enter_context(each._lock)
            held.set()
            let_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(lambda: fs.info("a")["name"] == "a" and Anywhere().info("b")["name"] == "b") == 0
    finally:
        let_go.set()
        thread.join()


@fork_warns
def test_an_instance_with_a_loop_of_the_parents_uses_the_childs_in_the_child() -> None:
    with loop_in_a_thread(asyncio.new_event_loop) as loop:
        fs = Plain(loop=loop)
        fs.info("a")
        assert in_child(lambda: fs.loop is not loop and fs.info("a")["loop"] is companion().loop) == 0

        def inherited_loop_fails() -> bool:
            try:
                sync(loop, fs._info, "a")
            except RuntimeError as exc:
                return "not running" in str(exc)
            return False

        assert in_child(inherited_loop_fails) == 0


@fork_warns
def test_a_lock_held_at_the_fork_is_open_in_the_child() -> None:
    inner = backends.OneThread()
    inner.files["a"] = b"x"
    fs = AsyncFileSystemWrapper(inner, asynchronous=False)
    memory = MemoryFileSystem(tree="fork")
    memory.pipe_file("/a", b"x")
    lock = survives_fork(threading.Lock())
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with vars(inner)["_aiovfs_lock"], memory.tree.lock, lock:
            held.set()
            let_go.wait()

    fs.info("a")
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(lambda: fs.cat_file("a") == b"x" and memory.ls("/") != [] and lock.acquire(blocking=False)) == 0
    finally:
        let_go.set()
        thread.join()


# The interpreter's end


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)


HEAD = """
import asyncio, atexit, sys, threading
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.facade import get_loop, sync, sync_teardown

class Plain(AsyncFileSystem):
    cachable = False
    async def _info(self, path, **kwargs):
        await asyncio.sleep(0)
        return {"name": path}
    async def _close(self):
        await asyncio.sleep(0)
        print("closed")

fs = Plain()
fs.info("a")
"""


def test_calls_work_in_atexit_functions() -> None:
    ended = run(HEAD + 'atexit.register(lambda: print(fs.info("late")))')
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "late" in ended.stdout


def test_a_finalizer_that_calls_at_the_very_end_neither_hangs_nor_complains() -> None:
    program = (
        HEAD
        + """
class Late:
    def __del__(self, fs=fs, sync_teardown=sync_teardown, loop=get_loop(), print=print, RuntimeError=RuntimeError):
        try:
            fs.info("a")
        except RuntimeError as exc:
            print("refused:", exc)
        sync_teardown(loop, fs._close)

sys.modules["kept until the end"] = Late()
"""
    )
    ended = run(program)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "ending" in ended.stdout


def test_a_call_that_a_daemon_thread_waits_in_does_not_keep_the_process() -> None:
    program = (
        HEAD
        + """
begun = threading.Event()
async def forever():
    begun.set()
    await asyncio.sleep(3600)
threading.Thread(target=sync, args=(get_loop(), forever), daemon=True).start()
begun.wait()
"""
    )
    assert run(program).returncode == 0


async def test_a_session_is_closed_from_wherever_it_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    closed = threading.Event()

    async def close() -> str:
        await asyncio.sleep(0)
        closed.set()
        return "closed"

    loop = get_loop()
    assert await anyio.to_thread.run_sync(sync_teardown, loop, close) == "closed"
    closed.clear()
    sync_teardown(loop, close)  # on the thread of a running loop: begun, not waited for
    await anyio.to_thread.run_sync(closed.wait)
    failed = threading.Event()

    async def fail() -> None:
        loop.call_soon(failed.set)
        raise ValueError("no")

    sync_teardown(loop, fail, description="closing")
    await anyio.to_thread.run_sync(failed.wait)
    assert "closing failed: no" in caplog.text
    assert sync_teardown(loop, lambda: None) is None
    own = Companion("own")
    ended = own.loop
    await anyio.to_thread.run_sync(own.stop)
    with pytest.raises(RuntimeError, match="Skipping closing"):
        sync_teardown(ended, close, description="closing")


def test_a_session_that_does_not_close_is_given_up_in_time() -> None:
    with pytest.raises(FSTimeoutError):
        sync_teardown(get_loop(), _sleep, timeout=0.01)


# Backends of others, from any loop


async def test_a_backend_that_needs_asyncio_is_awaited_from_any_loop(tmp_path: Any) -> None:
    inner = backends.Objects()
    fs = portable(inner)
    assert isinstance(fs, CarriedFileSystem)
    await fs._pipe({f"b/{number}": b"x" * number for number in range(5)})
    assert await fs._cat(["b/1", "b/2"]) == {"b/1": b"x", "b/2": b"xx"}
    assert await fs._find("b") == [f"b/{number}" for number in range(5)]
    assert [files async for _, _, files in fs._walk("b")] == [["0", "1", "2", "3", "4"]]
    with pytest.raises(FileNotFoundError):
        await fs._info("b/missing")
    assert threading.get_ident() not in inner.threads


def test_a_backend_that_was_made_on_a_loop_is_carried_to_it() -> None:
    async def main() -> None:
        inner = backends.Objects(asynchronous=True)
        fs = portable(inner)
        await fs._pipe_file("b/a", b"x")
        await anyio.to_thread.run_sync(lambda: asyncio.run(fs._info("b/a")))
        assert inner.threads == {threading.get_ident()}

    asyncio.run(main())


def test_a_carried_backend_blocks_too() -> None:
    fs = CarriedFileSystem(backends.Objects(), asynchronous=False)
    fs.pipe("b/a", b"x")
    assert fs.cat("b/a") == b"x"
    assert list(fs.walk("b")) == [("b", [], ["a"])]


async def test_ours_and_synchronous_ones_need_not_be_carried() -> None:
    memory = MemoryFileSystem()
    assert portable(memory) is memory
    assert isinstance(portable(backends.OneThread()), AsyncFileSystemWrapper)
    with pytest.raises(TypeError, match="not async"):
        CarriedFileSystem(backends.OneThread())


# Sharing


def test_instances_of_loops_that_have_ended_are_let_go() -> None:
    class Cached(Plain):
        cachable = True

    async def make() -> Any:
        fs = Cached(asynchronous=True)
        fs.session = asyncio.get_running_loop()  # as sessions do, it knows its loop
        assert Cached(asynchronous=True) is fs
        return fs

    for _ in range(5):
        asyncio.run(make())
    kept = [key for instances in Cached._by_loop.values() for key in instances if key[0] is Cached]
    assert len(kept) <= 1
    Cached.clear_instance_cache()
    assert [key for instances in Cached._by_loop.values() for key in instances if key[0] is Cached] == []


def test_tokens_for_dask_are_the_same_in_every_process() -> None:
    program = """
from aiovfs.fs.local import LocalFileSystem
print(LocalFileSystem(auto_mkdir=True).__dask_tokenize__())
"""
    assert run(program).stdout.strip() == LocalFileSystem(auto_mkdir=True).__dask_tokenize__()
    assert LocalFileSystem().__dask_tokenize__() != LocalFileSystem(auto_mkdir=True).__dask_tokenize__()
