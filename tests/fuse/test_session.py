"""The session against a scripted kernel: no mount, no root."""

from __future__ import annotations

import errno
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

import anyio
import pytest

from aiovfs import fuse
from aiovfs.errors import OptionError, ProtocolError
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel

pytestmark = pytest.mark.usefixtures("core")


def nodeid_of(body: bytes) -> int:
    return int.from_bytes(body[:8], "little")


async def test_init_is_answered_with_what_both_sides_can_do(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path, max_write=128 << 10) as session:
        reply = await kernel.receive(kernel.init_unique)
        major, minor, readahead, flags = struct.unpack_from("=IIII", reply.body)
        assert (reply.error, major) == (0, 7)
        assert minor >= 45
        assert readahead == 1 << 20
        assert fuse.InitFlags.PARALLEL_DIROPS in session.features
        assert fuse.InitFlags.WRITEBACK_CACHE not in session.features
        assert flags == int(session.features.agreed) & 0xFFFFFFFF
        assert session.features.max_write == 128 << 10
    assert sample.events == ["init", "destroy"]


async def test_a_flag_that_the_kernel_does_not_offer_is_not_agreed_to(sample: Any) -> None:
    with FakeKernel(flags=int(fuse.InitFlags.ASYNC_READ)) as kernel:
        async with fuse.mount(sample, kernel.path) as session:
            assert session.features.agreed == fuse.InitFlags.ASYNC_READ


async def test_a_kernel_of_another_major_version_is_refused(sample: Any) -> None:
    with FakeKernel(major=8) as kernel, pytest.raises(ProtocolError, match=r"8\.45"):
        async with fuse.mount(sample, kernel.path):
            pytest.fail("the block must not be entered")


async def test_an_error_in_init_comes_out_of_mount(kernel: FakeKernel, sample: Any) -> None:
    async def failing(session: fuse.Session) -> None:
        raise LookupError("no database")

    sample.init = failing
    with pytest.raises(LookupError, match="no database"):
        async with fuse.mount(sample, kernel.path):
            pytest.fail("the block must not be entered")


async def test_an_exception_in_the_block_comes_out_as_it_is(kernel: FakeKernel, sample: Any) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with fuse.mount(sample, kernel.path):
            raise KeyError("mine")


async def test_an_unknown_option_is_refused_with_the_nearest_name(kernel: FakeKernel, sample: Any) -> None:
    with pytest.raises(OptionError, match="max_write"):
        async with fuse.mount(sample, kernel.path, max_wrte=4096):
            pytest.fail("the block must not be entered")


async def test_lookups_are_counted_when_sent_and_given_back_by_forget(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        first = await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))
        second = await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))
        nodeid = nodeid_of(first.body)
        assert nodeid == nodeid_of(second.body)
        assert sample.inodes.lookup_count(nodeid) == 2
        kernel.send(m.Forget(nodeid=nodeid, nlookup=1))
        await kernel.ask(m.Getattr(nodeid=nodeid))
        assert "forgotten 2" not in sample.events
        kernel.send(m.BatchForget(items=[(nodeid, 1)]))
        gone = await kernel.ask(m.Getattr(nodeid=nodeid))
        assert gone.error == errno.ESTALE
        assert "forgotten 2" in sample.events


async def test_a_readdirplus_entry_counts_only_when_it_fits(kernel: FakeKernel, sample: Any) -> None:
    for number in range(40):
        sample.root.children[b"file%02d" % number] = type(sample.root)(0o100644)
    async with fuse.mount(sample, kernel.path):
        reply = await kernel.ask(m.Readdirplus(nodeid=1, size=4096))
        sent = 0
        position = 0
        while position < len(reply.body):
            namelen = struct.unpack_from("=I", reply.body, position + 128 + 16)[0]
            position += (128 + 24 + namelen + 7) // 8 * 8
            sent += 1
        assert 0 < sent < 41
        assert len(sample.inodes) == sent + 1
        assert f"forgotten {sent + 2}" in sample.events
        assert all(sample.inodes.lookup_count(nodeid) == 1 for nodeid in range(2, 2 + sent))


async def test_an_oserror_is_answered_with_its_errno(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"absent"))).error == errno.ENOENT


async def test_an_unexpected_exception_is_eio_with_a_traceback_and_serving_goes_on(
    kernel: FakeKernel, sample: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with fuse.mount(sample, kernel.path):
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"bug"))).error == errno.EIO
        assert "ZeroDivisionError: a bug in the handler" in caplog.text
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).error == 0


async def test_a_reply_of_the_wrong_type_is_eio_and_names_the_handler(
    kernel: FakeKernel, sample: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with fuse.mount(sample, kernel.path):
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"wrong-type"))).error == errno.EIO
        assert "Sample.lookup returned 'not an entry'" in caplog.text


async def test_a_read_reply_that_is_too_long_is_eio_and_says_by_how_much(
    kernel: FakeKernel, sample: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with fuse.mount(sample, kernel.path):
        assert (await kernel.ask(m.Read(nodeid=1, offset=999, size=10))).error == errno.EIO
        assert "returned 11 bytes, the kernel asked for at most 10" in caplog.text


async def test_what_is_not_overridden_is_enosys_but_open_and_statfs_succeed(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        assert (await kernel.ask(m.Mkdir(nodeid=1, name=b"d"))).error == errno.ENOSYS
        assert (await kernel.ask(m.Flush(nodeid=1))).error == errno.ENOSYS
        assert (await kernel.ask(m.Open(nodeid=1))).error == 0
        assert (await kernel.ask(m.Release(nodeid=1))).error == 0
        assert (await kernel.ask(m.Statfs(nodeid=1))).error == 0


async def test_an_opcode_of_a_newer_kernel_is_enosys_and_logged_once(
    kernel: FakeKernel, sample: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiovfs.fuse")
    async with fuse.mount(sample, kernel.path):
        for _ in range(3):
            assert (await kernel.ask(m.Unknown(opcode=999))).error == errno.ENOSYS
    assert caplog.text.count("opcode 999") == 1


async def test_a_malformed_request_is_answered_and_serving_goes_on(
    kernel: FakeKernel, sample: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with fuse.mount(sample, kernel.path):
        kernel.send_raw(struct.pack("=IIQQIIII", 41, m.Lookup.opcode, 77, 1, 0, 0, 0, 0) + b"x")  # no NUL
        assert (await kernel.receive(77)).error == errno.EIO
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).error == 0
    assert "cannot be decoded" in caplog.text


async def test_a_handler_that_waits_holds_up_nobody(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        waiting = kernel.send(m.Lookup(nodeid=1, name=b"wait"))
        await sample.now_waiting.wait()
        for _ in range(200):  # more than the budget of one drain
            assert (await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).error == 0
        sample.release_waiting.set()
        assert (await kernel.receive(waiting)).error == 0


async def test_timeouts_work_inside_of_handlers(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        for _ in range(3):
            assert (await kernel.ask(m.Lookup(nodeid=1, name=b"timeout"))).error == 0


async def test_no_more_handlers_than_max_tasks_wait_at_a_time_and_forgets_still_pass(sample: Any) -> None:
    with FakeKernel() as kernel:
        async with fuse.mount(sample, kernel.path, max_tasks=3):
            nodeid = nodeid_of((await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).body)
            waiting = [kernel.send(m.Lookup(nodeid=1, name=b"wait")) for _ in range(3)]
            queued = kernel.send(m.Lookup(nodeid=1, name=b"hello"))
            kernel.send(m.Forget(nodeid=nodeid, nlookup=1))
            with anyio.fail_after(5):
                while f"forgotten {nodeid}" not in sample.events:
                    await anyio.sleep(0.01)
            with anyio.move_on_after(0.1) as scope:
                await kernel.receive(queued)
            assert scope.cancelled_caught
            sample.release_waiting.set()
            for unique in [*waiting, queued]:
                assert (await kernel.receive(unique)).error == 0


async def test_an_interrupt_by_a_fatal_signal_cancels_the_handler(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        # A process that is gone counts as one that must not be waited for.
        waiting = kernel.send(m.Lookup(nodeid=1, name=b"wait", pid=2**22 + 1))
        await sample.now_waiting.wait()
        kernel.send(m.Interrupt(target=waiting))
        assert (await kernel.receive(waiting)).error == errno.EINTR
        assert "cancelled" in sample.events
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).error == 0


async def test_an_interrupt_by_a_harmless_signal_is_not_heeded_until_a_fatal_one_follows(
    kernel: FakeKernel, sample: Any
) -> None:
    child = subprocess.Popen([sys.executable, "-c", BLOCKS_SIGNALS], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        await anyio.to_thread.run_sync(child.stdout.readline)
        async with fuse.mount(sample, kernel.path):
            waiting = kernel.send(m.Lookup(nodeid=1, name=b"wait", pid=child.pid))
            await sample.now_waiting.wait()
            kernel.send(m.Interrupt(target=waiting))
            with anyio.move_on_after(0.4) as scope:
                await kernel.receive(waiting)
            assert scope.cancelled_caught
            await anyio.to_thread.run_sync(lambda: (child.kill(), child.wait()))
            assert (await kernel.receive(waiting)).error == errno.EINTR
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


BLOCKS_SIGNALS = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
os.kill(os.getpid(), signal.SIGALRM)
print("ready", flush=True)
time.sleep(60)
"""


async def test_a_payload_that_a_handler_kept_cannot_be_read_afterwards(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path):
        nodeid = nodeid_of((await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).body)
        await kernel.ask(m.Write(nodeid=nodeid, size=3, flags=1, data=b"abc"))
        with pytest.raises(ValueError, match="released"):
            bytes(sample.kept[0])


async def test_payloads_of_writes_that_wait_are_not_overwritten_by_the_next_request(
    kernel: FakeKernel, sample: Any
) -> None:
    async with fuse.mount(sample, kernel.path):
        nodeid = nodeid_of((await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))).body)
        size = 4096
        uniques = [
            kernel.send(m.Write(nodeid=nodeid, offset=n * size, size=size, flags=2, data=bytes([n]) * size))
            for n in range(20)
        ]
        for unique in uniques:
            assert (await kernel.receive(unique)).error == 0
        node = sample.inodes.get(nodeid)
        assert bytes(node.data) == b"".join(bytes([n]) * size for n in range(20))


async def test_the_session_ends_when_the_connection_does(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path) as session:
        kernel.unmount()
        with anyio.fail_after(5):
            await session.wait()
        assert not session.is_serving


async def test_terminate_from_another_thread_ends_serve(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path) as session:
        thread = threading.Thread(target=session.terminate)
        thread.start()
        with anyio.fail_after(5):
            await session.wait()
        thread.join()


async def test_terminate_after_the_end_does_no_harm(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path) as session:
        session.terminate()
        await session.wait()
        session.terminate()
    session.terminate()


async def test_running_handlers_finish_before_the_session_ends(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path) as session:
        waiting = kernel.send(m.Lookup(nodeid=1, name=b"wait"))
        await sample.now_waiting.wait()
        session.terminate()
        await anyio.sleep(0.05)
        assert not session.is_serving
        sample.release_waiting.set()
        assert (await kernel.receive(waiting)).error == 0
        with anyio.fail_after(5):
            await session.wait()


async def test_handlers_that_outlast_the_grace_are_cancelled(kernel: FakeKernel, sample: Any) -> None:
    with anyio.fail_after(10):
        async with fuse.mount(sample, kernel.path, grace=0.1):
            waiting = kernel.send(m.Lookup(nodeid=1, name=b"wait"))
            await sample.now_waiting.wait()
    assert "cancelled" in sample.events
    assert (await kernel.receive(waiting)).error == errno.EINTR


async def test_a_cancelled_serve_lets_handlers_finish(kernel: FakeKernel, sample: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(fuse.serve, sample, kernel.path)
        waiting = kernel.send(m.Lookup(nodeid=1, name=b"wait"))
        await sample.now_waiting.wait()
        group.cancel_scope.cancel()
        sample.release_waiting.set()
    assert (await kernel.receive(waiting)).error == 0
    assert "cancelled" not in sample.events


async def test_a_signal_handler_may_terminate(kernel: FakeKernel, sample: Any) -> None:
    async with fuse.mount(sample, kernel.path) as session:
        previous = signal.signal(signal.SIGUSR1, lambda *_: session.terminate())
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            with anyio.fail_after(5):
                await session.wait()
        finally:
            signal.signal(signal.SIGUSR1, previous)


async def test_a_blocking_handler_runs_in_a_worker_thread(kernel: FakeKernel) -> None:
    class Blocking(fuse.Operations):
        @fuse.blocking
        def readlink(self, request: Any) -> bytes:
            return threading.current_thread().name.encode()

    async with fuse.mount(Blocking(), kernel.path):
        reply = await kernel.ask(m.Readlink(nodeid=1))
        assert reply.body != threading.current_thread().name.encode()


async def test_a_plain_function_is_a_handler(kernel: FakeKernel) -> None:
    class Plain(fuse.Operations):
        def readlink(self, request: Any) -> bytes:  # type: ignore[override]
            return b"target"

    async with fuse.mount(Plain(), kernel.path):
        assert (await kernel.ask(m.Readlink(nodeid=1))).body == b"target"


async def test_times_before_1970_and_attributes_survive_the_wire(kernel: FakeKernel, sample: Any) -> None:
    sample.attributes = lambda node: fuse.Attributes(7, 0o100600, 123, mtime_ns=-1, uid=1, gid=2, timeout=float("inf"))
    async with fuse.mount(sample, kernel.path):
        body = (await kernel.ask(m.Getattr(nodeid=1))).body
        valid, valid_nsec, _, ino, size = struct.unpack_from("=QIIQQ", body)
        mtime = struct.unpack_from("=q", body, 16 + 32)[0]
        mtimensec = struct.unpack_from("=I", body, 16 + 52)[0]
        assert (ino, size) == (7, 123)
        assert (valid, valid_nsec) == (0xFFFFFFFF, 0)
        assert (mtime, mtimensec) == (-1, 999_999_999)
