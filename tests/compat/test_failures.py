"""A bug in a handler ends `main` with its exception, on every loop, and nobody is left waiting."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from pyfuse3_sample import Sample, is_mounted, serving, use

from aiovfs.compat import pyfuse3
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel


async def ended_by(fs: Sample, kernel: FakeKernel, request: m.Request) -> tuple[int, tuple[BaseException, ...]]:
    """The errno that the caller got, and what `main` raised."""
    pyfuse3.init(fs, kernel.path)
    error = -1
    raised: list[BaseException] = []

    async def run() -> None:
        try:
            await pyfuse3.main()
        except BaseExceptionGroup as group:
            raised.append(group)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(5):
            error = (await kernel.ask(request)).error
    (outcome,) = raised
    assert isinstance(outcome, BaseExceptionGroup)
    assert outcome.message == "Exceptions from Trio nursery"
    return error, outcome.exceptions


@pytest.mark.parametrize(
    "exc", [ZeroDivisionError("a bug"), OSError(errno.ENOENT, "not a FUSEError"), SystemExit(3)], ids=repr
)
async def test_an_exception_ends_main_and_its_caller_gets_eio(
    kernel: FakeKernel, fs: Sample, exc: BaseException
) -> None:
    fs.answers["lookup"] = exc
    assert await ended_by(fs, kernel, m.Lookup(nodeid=1, name=b"x")) == (errno.EIO, (exc,))
    assert pyfuse3.trio_token is None


async def test_an_exception_after_waiting_ends_main_just_so(kernel: FakeKernel, fs: Sample) -> None:
    exc = ZeroDivisionError("a bug")

    async def fails(*arguments: Any) -> None:
        await anyio.sleep(0.01)
        raise exc

    fs.answers["lookup"] = fails
    assert await ended_by(fs, kernel, m.Lookup(nodeid=1, name=b"x")) == (errno.EIO, (exc,))


@pytest.mark.parametrize(
    ("request_made", "handler", "answer", "text"),
    [
        (m.Lookup(nodeid=1, name=b"x"), "lookup", 5, r"Cannot convert int to .*EntryAttributes"),
        (m.Getattr(nodeid=1), "getattr", "x", r"Cannot convert str to .*EntryAttributes"),
        (m.Open(nodeid=1), "open", 5, r"Cannot convert int to .*FileInfo"),
        (m.Statfs(nodeid=1), "statfs", 0, r"Cannot convert int to .*StatvfsData"),
        (m.Create(nodeid=1, name=b"x"), "create", None, r"cannot unpack"),
        (m.Read(nodeid=1, size=5), "read", "text", r"bytes-like object is required"),
        (m.Readlink(nodeid=1), "readlink", "text", r"expected bytes, got 'text'"),
        (m.Opendir(nodeid=1), "opendir", "text", r"an integer is required"),
        (m.Write(nodeid=1, size=1, data=b"x"), "write", "text", r"an integer is required"),
        (m.Setxattr(nodeid=2, size=1, flags=8, name=b"x", value=b"x"), "setxattr", None, r"setxattr flags 0x8"),
    ],
)
async def test_a_value_of_the_wrong_type_ends_main(
    kernel: FakeKernel, fs: Sample, request_made: m.Request, handler: str, answer: Any, text: str
) -> None:
    fs.answers[handler] = answer
    error, (exc,) = await ended_by(fs, kernel, request_made)
    assert error == errno.EIO
    assert isinstance(exc, TypeError | ValueError)
    with pytest.raises(type(exc), match=text):
        raise exc


async def test_a_read_that_is_too_long_is_eio_and_serving_goes_on(
    kernel: FakeKernel, fs: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    fs.answers["read"] = b"too long"
    pyfuse3.init(fs, kernel.path)
    async with serving():
        assert (await kernel.ask(m.Read(nodeid=2, fh=2, size=3))).error == errno.EIO
        assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0
    assert "8 bytes" in caplog.text


async def test_an_exception_in_init_comes_out_of_main(kernel: FakeKernel, fs: Sample) -> None:
    def init() -> None:
        raise LookupError("no database")

    fs.init = init  # type: ignore[method-assign]
    pyfuse3.init(fs, kernel.path)
    with pytest.raises(ExceptionGroup) as caught:
        await pyfuse3.main()
    assert caught.group_contains(LookupError, match="no database")


async def test_an_exception_in_forget_ends_main(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["forget"] = LookupError("no such inode")
    pyfuse3.init(fs, kernel.path)
    kernel.send(m.Forget(nodeid=2, nlookup=1))
    with anyio.fail_after(5), pytest.raises(ExceptionGroup) as caught:
        await pyfuse3.main()
    assert caught.group_contains(LookupError)


async def test_handlers_that_wait_are_cancelled_and_their_callers_answered(kernel: FakeKernel, fs: Sample) -> None:
    cancelled = []

    async def waits(*arguments: Any) -> None:
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            cancelled.append(arguments[0])
            raise

    fs.answers["getattr"] = waits
    fs.answers["lookup"] = ZeroDivisionError("a bug")
    pyfuse3.init(fs, kernel.path)
    waiting = kernel.send(m.Getattr(nodeid=5))
    kernel.send(m.Lookup(nodeid=1, name=b"x"))
    with anyio.fail_after(10), pytest.raises(ExceptionGroup) as caught:
        await pyfuse3.main()
    assert caught.group_contains(ZeroDivisionError)
    assert cancelled == [5]
    assert (await kernel.receive(waiting)).error == errno.EINTR


async def test_cancelling_main_cancels_handlers_and_leaves_no_worker(kernel: FakeKernel, fs: Sample) -> None:
    cancelled = []

    async def waits(*arguments: Any) -> None:
        try:
            await anyio.sleep(60)
        finally:
            cancelled.append(arguments[0])

    fs.answers["lookup"] = waits
    pyfuse3.init(fs, kernel.path)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(pyfuse3.main)
            kernel.send(m.Lookup(nodeid=1, name=b"x"))
            await kernel.ask(m.Getattr(nodeid=1))
            group.cancel_scope.cancel()
    assert cancelled == [1]
    assert pyfuse3.trio_token is None
    # Nobody serves any more: what is asked now stays unanswered.
    calls = len(fs.calls)
    kernel.send(m.Getattr(nodeid=1))
    await anyio.sleep(0.05)
    assert len(fs.calls) == calls


async def test_after_a_bug_users_of_the_mount_get_an_error_at_once_and_close_unmounts(
    mountpoint: Path, fs: Sample
) -> None:
    pyfuse3.init(fs, str(mountpoint))
    fs.answers["open"] = ZeroDivisionError("a bug")
    outcome: list[BaseException] = []

    async def run() -> None:
        try:
            await pyfuse3.main()
        except ExceptionGroup as group:
            outcome.extend(group.exceptions)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with pytest.raises(OSError, match="Input/output error"):
            await use((mountpoint / "hello").read_bytes)
    assert [type(exc) for exc in outcome] == [ZeroDivisionError]
    # On pyfuse3 this very process would hang here, and could not be killed.
    with pytest.raises(OSError, match="not connected"):
        os.listdir(mountpoint)
    assert is_mounted(mountpoint)
    pyfuse3.close()
    assert not is_mounted(mountpoint)
    assert os.listdir(mountpoint) == []
