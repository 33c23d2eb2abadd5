"""What serving a request may cost at most, in counts: these hold on a busy machine, where times do not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aiovfs import fuse
from aiovfs.errors import MountError
from aiovfs.fuse import drain, mountpoint
from aiovfs.fuse.device import DeviceGone
from aiovfs.fuse.protocol import encode_request
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel

from .conftest import Bench, Scripted, attributes

LARGE = 64 << 10
MANY = 256


@pytest.fixture(params=["python", "native"])
def is_native(request: pytest.FixtureRequest) -> bool:
    if request.param == "native":
        request.getfixturevalue("native")
    return bool(request.param == "native")


@pytest.fixture
def bench(is_native: bool) -> Iterator[Bench]:
    bench = Bench(Scripted(), native=is_native)
    yield bench
    bench.close()


def test_one_that_spins_answers_what_comes_later_without_going_back_to_the_loop(is_native: bool) -> None:
    """And lets other threads compute meanwhile: the one that asks is such a thread."""
    bench = Bench(Scripted(), native=is_native, spin=100_000)
    bench.drain.spin_s = 30.0  # however slow the machine is
    if bench.core is not None:
        bench.run = type(bench.core)(bench.drain, 0).run
    bench.drain.operations.script = lambda request: attributes()  # type: ignore[attr-defined]
    bench.kernel.settimeout(30)
    replies: list[bytes] = []

    def ask() -> None:
        for number in range(3):
            time.sleep(0.01)
            bench.send(m.Getattr(unique=2 + 2 * number, nodeid=1))
            replies.append(bench.kernel.recv(1000))
        bench.kernel.close()

    thread = threading.Thread(target=ask)
    thread.start()

    def serve() -> None:
        while bench.run() == (None, False):
            """The budget of one drain is used up: that is where a session lets its loop run."""

    with pytest.raises(DeviceGone):
        serve()
    thread.join()
    assert len(replies) == 3
    bench.close()


def test_one_that_does_not_spin_looks_twice(is_native: bool) -> None:
    bench = Bench(Scripted(), native=is_native)
    assert bench.run() == (None, True)
    if bench.core is not None:
        assert (bench.core.reads, bench.core.yields) == (2, 1)
    bench.close()


class Answers(fuse.Operations):
    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return attributes(mode=0o40755)


@contextlib.contextmanager
def tasks_made(backend: str) -> Iterator[list[object]]:
    """Each task that is made in the block, on the running loop."""
    made: list[object] = []
    if backend == "trio":
        import trio

        class Count(trio.abc.Instrument):
            def task_spawned(self, task: Any) -> None:
                made.append(task)

        instrument = Count()
        trio.lowlevel.add_instrument(instrument)
        yield made
        trio.lowlevel.remove_instrument(instrument)
    else:
        loop = asyncio.get_running_loop()

        def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_task_factory(factory)
        yield made
        loop.set_task_factory(None)


async def test_a_handler_that_does_not_wait_makes_no_task(core: str, anyio_backend_name: str) -> None:
    with FakeKernel() as kernel:
        async with fuse.mount(Answers(), kernel.path):
            await kernel.ask(m.Getattr(nodeid=1))
            with tasks_made(anyio_backend_name) as made:
                for _ in range(MANY):
                    assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0
    assert made == []


class AnswersLater(Answers):
    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        await anyio.lowlevel.checkpoint()
        return attributes(mode=0o40755)


async def test_handlers_that_wait_are_finished_by_tasks_that_are_there(core: str, anyio_backend_name: str) -> None:
    together = 5
    with FakeKernel() as kernel:
        async with fuse.mount(AnswersLater(), kernel.path):
            with tasks_made(anyio_backend_name) as made:
                for _ in range(MANY // together):
                    uniques = [kernel.send(m.Getattr(nodeid=1)) for _ in range(together)]
                    for unique in uniques:
                        assert (await kernel.receive(unique)).error == 0
    assert len(made) <= together + 1


def test_nothing_large_is_allocated_for_a_request(bench: Bench) -> None:
    payload = encode_request(m.Write(nodeid=1, size=4 * LARGE, data=b"w" * 4 * LARGE))
    reading = encode_request(m.Read(nodeid=1, size=4 * LARGE))
    listing = encode_request(m.Readdir(nodeid=1, size=LARGE - 4096))
    content = memoryview(bytes(4 * LARGE))
    entries = [fuse.DirEntry(b"n%05d" % number, number, 0o100644, number) for number in range(MANY)]
    answers = {m.Write: 4 * LARGE, m.Read: content, m.Readdir: entries}
    bench.drain.operations.script = lambda request: answers[type(request)]  # type: ignore[attr-defined]
    bench.drain.operations.seen = NeverFull()  # type: ignore[attr-defined]
    sink = bytearray(5 * LARGE)

    def serve(message: bytes) -> None:
        bench.kernel.send(message)
        bench.run()
        bench.kernel.recv_into(sink)

    for message in (payload, reading, listing):
        serve(message)  # what is allocated once and used again
    tracemalloc.start()
    try:
        for message in (payload, reading, listing):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            serve(message)
            assert tracemalloc.get_traced_memory()[1] - before < LARGE
    finally:
        tracemalloc.stop()


class NeverFull(list[Any]):
    def append(self, value: Any) -> None:
        """Keep nothing: requests hold views of the buffer."""


def test_requests_that_are_there_cost_a_read_and_a_write_each(is_native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Scripted(), native=is_native)
    bench.drain.operations.script = lambda request: attributes()  # type: ignore[attr-defined]
    calls = {"read": 0, "write": 0, "yield": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return function(*arguments)

        return call

    for name in ("read", "write"):
        monkeypatch.setattr(bench.device, name, counted(name, getattr(bench.device, name)))
    monkeypatch.setattr(os, "sched_yield", counted("yield", os.sched_yield))
    monkeypatch.setattr(drain, "SECONDS_PER_DRAIN", 60.0)
    for number in range(50):
        bench.send(m.Getattr(unique=2 + 2 * number, nodeid=1))
    assert bench.run() == (None, True)
    if is_native:
        assert calls == {"read": 0, "write": 0, "yield": 0}  # it makes the system calls itself
        calls = {"read": bench.core.reads, "write": bench.core.requests, "yield": bench.core.yields}
    assert calls == {"read": 52, "write": 50, "yield": 1}
    bench.close()


def test_a_drain_ends_after_its_budget(bench: Bench) -> None:
    bench.drain.operations.script = lambda request: attributes()  # type: ignore[attr-defined]
    for number in range(100):
        bench.send(m.Getattr(unique=2 + 2 * number, nodeid=1))
    assert bench.run() == (None, False)
    answered = 0
    while bench.receive() is not None:
        answered += 1
    assert 8 <= answered <= 64


ENTRY = fuse.Entry(5, attributes())
COMMON: dict[str, tuple[m.Request, Any]] = {
    "lookup": (m.Lookup(nodeid=1, name=b"n"), ENTRY),
    "no such name": (m.Lookup(nodeid=1, name=b"n"), fuse.Entry.negative(1.0)),
    "getattr": (m.Getattr(nodeid=1), attributes()),
    "mkdir": (m.Mkdir(nodeid=1, name=b"n"), ENTRY),
    "open": (m.Open(nodeid=1), fuse.Opened(3, direct_io=True, keep_cache=False)),
    "create": (m.Create(nodeid=1, name=b"n"), (ENTRY, fuse.Opened(3))),
    "read": (m.Read(nodeid=1, size=9), b"some data"),
    "read a view": (m.Read(nodeid=1, size=9), memoryview(bytearray(b"some data"))),
    "write": (m.Write(nodeid=1, size=4, data=b"abcd"), 4),
    "unlink": (m.Unlink(nodeid=1, name=b"n"), None),
    "readdir": (m.Readdir(nodeid=1, size=400), [fuse.DirEntry(b"n", 5, 0o100644, 1)]),
    "readdirplus": (m.Readdirplus(nodeid=1, size=400), [fuse.DirEntry(b"n", 5, 0o100644, 1, ENTRY)]),
}


@pytest.mark.parametrize("name", COMMON)
def test_the_core_in_c_serves_what_is_common_by_itself(native: None, name: str) -> None:
    request, value = COMMON[name]
    request.unique = 2
    operations = Scripted()
    operations.script = lambda request: value
    bench = Bench(operations, native=True)
    assert bench.ask(request) is not None
    assert (bench.core.requests, bench.core.by_python, bench.core.unusual) == (1, 0, 0)
    bench.close()


@pytest.mark.parametrize("name", COMMON)
def test_an_answer_that_comes_late_is_the_same_from_both_cores(native: None, name: str) -> None:
    request, value = COMMON[name]
    request.unique = 2
    bench = Bench(Scripted(), native=True)
    route = bench.drain.routes[request.opcode]
    bench.drain.answer(route, request, value)
    bench.core.finish(route, request, value)
    replies = [bench.receive(), bench.receive()]
    assert replies[0] == replies[1] is not None
    assert bench.core.unusual == 0
    bench.device.close()
    bench.core.finish(route, request, value)  # nobody waits for it any more
    bench.close()


SERVER = """
import sys, anyio
from aiovfs import fuse
class Directory(fuse.Operations):
    async def getattr(self, request):
        return fuse.Attributes(1, 0o40755, timeout=0)
async def main():
    async with fuse.mount(Directory(), sys.argv[1]) as session:
        print("ready", flush=True)
        await session.wait()
anyio.run(main, backend=sys.argv[2])
"""
COUNTED = "read,write,readv,writev,epoll_wait,epoll_pwait,epoll_ctl,sched_yield,getpid,futex,ioctl"


@pytest.mark.mounted
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("pure", ["0", "1"], ids=["native", "python"])
def test_a_stream_of_requests_costs_two_system_calls_each(tmp_path: Path, loop: str, pure: str, native: None) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    directory, output = tmp_path / "mnt", tmp_path / "counts"
    directory.mkdir()
    environment = os.environ | {"AIOVFS_PURE": pure}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(directory), loop], stdout=subprocess.PIPE, env=environment
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == b"ready\n"
        os.stat(directory)
        tracer = subprocess.Popen(
            [strace, "-f", "-c", "-U", "calls,name", "-e", f"trace={COUNTED}", "-o", output, "-p", str(server.pid)],
            stderr=subprocess.PIPE,
        )
        assert tracer.stderr is not None
        if b"attached" not in tracer.stderr.readline():
            tracer.wait()
            pytest.skip("strace may not attach to a process here")
        fd = os.open(directory, os.O_RDONLY)
        # Several clients at a time, so that there is always a next request: this is about what one costs.
        clients = [subprocess.Popen([sys.executable, "-c", CLIENT, str(directory)]) for _ in range(3)]
        for client in clients:
            assert client.wait(30) == 0
        os.close(fd)
        tracer.send_signal(2)
        tracer.wait(10)
        tracer.stderr.close()
    finally:
        with contextlib.suppress(MountError):
            mountpoint.unmount(str(directory), lazy=True)
        server.wait(10)
        server.stdout.close()
    counts = {}
    for line in output.read_text().splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdecimal() and name.strip() != "total":
            counts[name.strip()] = int(number)
    requests = counts.get("write", 0) + counts.get("writev", 0)
    assert requests >= 3 * CALLS
    # How often the loop is asked depends on how busy the machine is. What a return to it may cost does not, nor what a
    # request costs that is there when the last one was answered.
    yields = counts.pop("sched_yield", 0)
    waits = counts.pop("epoll_wait", 0) + counts.pop("epoll_pwait", 0)
    registrations = counts.pop("epoll_ctl", 0)
    assert waits <= 2.1 * requests, counts
    assert registrations <= (2 * waits if loop == "trio" else requests / 100), counts
    assert yields <= requests + waits + 10, counts
    assert sum(counts.values()) <= 2.1 * requests + yields + waits, counts


CALLS = 1000
CLIENT = f"""
import os, sys
for _ in range({CALLS}):
    os.stat(sys.argv[1])
"""
