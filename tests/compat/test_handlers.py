"""Which arguments handlers get and what becomes of their answers, against a scripted kernel on all loops."""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
import time
from typing import Any

import anyio
import pytest
from pyfuse3_sample import Sample, serving

from aiovfs import fuse
from aiovfs.compat import pyfuse3
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags, PollFlags, SetattrValid, XattrFlags
from aiovfs.testing.fake_kernel import FakeKernel, FakeReply

WHO = {"uid": 11, "gid": 22, "pid": 33}


async def answered(kernel: FakeKernel, fs: Sample, request: m.Request) -> FakeReply:
    """Serve one request and end."""
    pyfuse3.init(fs, kernel.path)
    async with serving():
        return await kernel.ask(request)


def made(inode: int = 5, mode: int = stat.S_IFREG | 0o600) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino, entry.st_mode, entry.generation = inode, mode, 3
    entry.entry_timeout, entry.attr_timeout = 1.5, 2.5
    return entry


async def test_the_session_agrees_with_the_kernel_as_pyfuse3_does(kernel: FakeKernel, fs: Sample) -> None:
    pyfuse3.init(fs, kernel.path)
    async with serving():
        reply = await kernel.receive(kernel.init_unique)
    flags = InitFlags(struct.unpack_from("=IIII", reply.body)[3])
    for flag in (
        *("ASYNC_READ", "ATOMIC_O_TRUNC", "EXPORT_SUPPORT", "BIG_WRITES"),
        *("AUTO_INVAL_DATA", "DO_READDIRPLUS", "ASYNC_DIO"),
    ):
        assert InitFlags[flag] in flags
    for flag in ("READDIRPLUS_AUTO", "WRITEBACK_CACHE", "POSIX_ACL", "DONT_MASK", "POSIX_LOCKS", "FLOCK_LOCKS"):
        assert InitFlags[flag] not in flags
    assert struct.unpack_from("=I", reply.body, 20)[0] == 1 << 20
    assert fs.calls[0] == ("init",)


@pytest.mark.parametrize(
    ("attribute", "value", "flag"),
    [
        ("supports_dot_lookup", False, InitFlags.EXPORT_SUPPORT),
        ("enable_writeback_cache", True, InitFlags.WRITEBACK_CACHE),
        ("enable_acl", True, InitFlags.POSIX_ACL),
    ],
)
async def test_features_are_read_from_the_instance(
    kernel: FakeKernel, fs: Sample, attribute: str, value: bool, flag: InitFlags
) -> None:
    pyfuse3.init(fs, kernel.path)
    setattr(fs, attribute, value)
    async with serving():
        reply = await kernel.receive(kernel.init_unique)
    assert (flag in InitFlags(struct.unpack_from("=IIII", reply.body)[3])) is value


async def test_lookup_gets_parent_name_and_context_and_answers_an_entry(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["lookup"] = lambda *_: later(made(5))
    reply = await answered(kernel, fs, m.Lookup(nodeid=1, name=b"caf\xe9", **WHO))
    parent, name, ctx = fs.arguments("lookup")
    assert (parent, name) == (1, b"caf\xe9")
    assert (ctx.uid, ctx.gid, ctx.pid, ctx.umask) == (11, 22, 33, 0)
    nodeid, generation, entry_s, attr_s, entry_ns, attr_ns, ino = struct.unpack_from("=QQQQIIQ", reply.body)
    assert (nodeid, generation, ino) == (5, 3, 5)
    assert (entry_s, entry_ns, attr_s, attr_ns) == (1, 500_000_000, 2, 500_000_000)


async def later(value: Any) -> Any:
    """An answer that takes a while."""
    await anyio.sleep(0)
    return value


async def test_a_lookup_of_inode_0_is_a_negative_entry(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["lookup"] = made(0)
    reply = await answered(kernel, fs, m.Lookup(nodeid=1, name=b"x"))
    assert reply.error == 0
    assert struct.unpack_from("=QQQ", reply.body) == (0, 3, 1)


async def test_handlers_may_be_plain_callables_that_return_awaitables(kernel: FakeKernel, fs: Sample) -> None:
    fs.lookup = lambda parent_inode_p, the_name, _ctx: later(made(9))  # type: ignore[method-assign, misc]
    reply = await answered(kernel, fs, m.Lookup(nodeid=1, name=b"x"))
    assert struct.unpack_from("=Q", reply.body) == (9,)


async def test_handlers_may_be_replaced_while_the_file_system_is_served(kernel: FakeKernel, fs: Sample) -> None:
    pyfuse3.init(fs, kernel.path)
    async with serving():
        first = await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))
        fs.lookup = lambda *_: later(made(77))  # type: ignore[method-assign, misc]
        second = await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))
    assert [struct.unpack_from("=Q", reply.body)[0] for reply in (first, second)] == [2, 77]


@pytest.mark.parametrize(
    ("request_made", "handler", "arguments", "umask"),
    [
        (m.Mknod(nodeid=1, name=b"n", mode=0o100640, rdev=9, umask=0o22), "mknod", (1, b"n", 0o100640, 9), 0o22),
        (m.Mkdir(nodeid=1, name=b"d", mode=0o750, umask=0o27), "mkdir", (1, b"d", stat.S_IFDIR | 0o750), 0o27),
        (m.Symlink(nodeid=1, name=b"s", target=b"../t"), "symlink", (1, b"s", b"../t"), 0),
        (m.Link(nodeid=1, oldnodeid=4, name=b"l"), "link", (4, 1, b"l"), 0),
    ],
)
async def test_what_makes_a_name_answers_an_entry(
    kernel: FakeKernel, fs: Sample, request_made: m.Request, handler: str, arguments: tuple[Any, ...], umask: int
) -> None:
    mode = {"mkdir": stat.S_IFDIR, "symlink": stat.S_IFLNK}.get(handler, stat.S_IFREG) | 0o777
    fs.answers[handler] = made(6, mode)
    reply = await answered(kernel, fs, request_made)
    *given, ctx = fs.arguments(handler)
    assert tuple(given) == arguments
    assert ctx.umask == umask
    assert (reply.error, struct.unpack_from("=Q", reply.body)) == (0, (6,))


@pytest.mark.parametrize(
    ("request_made", "handler", "arguments"),
    [
        (m.Unlink(nodeid=1, name=b"n"), "unlink", (1, b"n")),
        (m.Rmdir(nodeid=1, name=b"n"), "rmdir", (1, b"n")),
        (m.Rename(nodeid=1, newdir=2, name=b"a", newname=b"b"), "rename", (1, b"a", 2, b"b", 0)),
        (m.Rename2(nodeid=1, newdir=2, flags=2, name=b"a", newname=b"b"), "rename", (1, b"a", 2, b"b", 2)),
        (m.Removexattr(nodeid=3, name=b"user.x"), "removexattr", (3, b"user.x")),
        (m.Setxattr(nodeid=3, size=1, name=b"user.x", value=b"v"), "setxattr", (3, b"user.x", b"v")),
    ],
)
async def test_what_returns_nothing_is_told_the_context(
    kernel: FakeKernel, fs: Sample, request_made: m.Request, handler: str, arguments: tuple[Any, ...]
) -> None:
    reply = await answered(kernel, fs, request_made)
    *given, ctx = fs.arguments(handler)
    assert tuple(given) == arguments
    assert isinstance(ctx, pyfuse3.RequestContext)
    assert (reply.error, reply.body) == (0, b"")


@pytest.mark.parametrize(
    ("request_made", "handler", "arguments"),
    [
        (m.Flush(nodeid=2, fh=7, lock_owner=1), "flush", (7,)),
        (m.Release(nodeid=2, fh=7), "release", (7,)),
        (m.Releasedir(nodeid=2, fh=7), "releasedir", (7,)),
        (m.Fsync(nodeid=2, fh=7, fsync_flags=0), "fsync", (7, False)),
        (m.Fsync(nodeid=2, fh=7, fsync_flags=1), "fsync", (7, True)),
        (m.Fsyncdir(nodeid=2, fh=7, fsync_flags=1), "fsyncdir", (7, True)),
    ],
)
async def test_what_is_about_a_handle_is_told_the_handle_only(
    kernel: FakeKernel, fs: Sample, request_made: m.Request, handler: str, arguments: tuple[Any, ...]
) -> None:
    reply = await answered(kernel, fs, request_made)
    assert fs.arguments(handler) == arguments
    assert (reply.error, reply.body) == (0, b"")


async def test_getattr_answers_attributes_with_their_timeout(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["getattr"] = made(5)
    reply = await answered(kernel, fs, m.Getattr(nodeid=5))
    assert struct.unpack_from("=QI4xQ", reply.body) == (2, 500_000_000, 5)


async def test_setattr_gets_only_what_changes(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["setattr"] = made(5)
    valid = SetattrValid.SIZE | SetattrValid.MODE | SetattrValid.MTIME | SetattrValid.FH | SetattrValid.UID
    request = m.Setattr(
        nodeid=5, valid=int(valid), fh=8, size=99, mode=0o100600, mtime=10, mtimensec=5, new_uid=44, new_gid=55, atime=7
    )
    await answered(kernel, fs, request)
    inode, attr, fields, fh, _ctx = fs.arguments("setattr")
    assert (inode, fh) == (5, 8)
    assert (attr.st_size, attr.st_mode, attr.st_mtime_ns, attr.st_uid) == (99, 0o100600, 10_000_000_005, 44)
    assert (attr.st_ino, attr.st_gid, attr.st_atime_ns, attr.st_nlink, attr.st_blksize) == (0, 0, 0, 0, 0)
    updated = {name for name in dir(fields) if name.startswith("update_") and getattr(fields, name)}
    assert updated == {"update_size", "update_mode", "update_mtime", "update_uid"}


async def test_setattr_resolves_now_and_has_no_handle_unless_given(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["setattr"] = made(5)
    valid = SetattrValid.ATIME | SetattrValid.ATIME_NOW | SetattrValid.MTIME | SetattrValid.CTIME
    before = time.time_ns()
    await answered(kernel, fs, m.Setattr(nodeid=5, valid=int(valid), mtime=(1 << 64) - 1, mtimensec=5, ctime=3))
    _inode, attr, fields, fh, _ctx = fs.arguments("setattr")
    assert fh is None
    assert before <= attr.st_atime_ns <= time.time_ns()
    assert attr.st_mtime_ns == -999_999_995
    assert attr.st_ctime_ns == 3_000_000_000
    assert fields.update_atime
    assert fields.update_ctime


async def test_open_answers_file_info_and_sees_the_flags_as_they_are(kernel: FakeKernel, fs: Sample) -> None:
    flags = os.O_RDWR | os.O_TRUNC | os.O_LARGEFILE
    reply = await answered(kernel, fs, m.Open(nodeid=2, flags=flags))
    assert fs.arguments("open")[:2] == (2, flags)
    fh, open_flags = struct.unpack_from("=QI", reply.body)
    assert (fh, fuse.protocol.flags.OpenFlags(open_flags).name) == (2, "KEEP_CACHE")


async def test_create_answers_handle_and_entry(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["create"] = (pyfuse3.FileInfo(fh=3, direct_io=True, keep_cache=False, nonseekable=True), made(6))
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    reply = await answered(kernel, fs, m.Create(nodeid=1, name=b"n", mode=0o100644, flags=flags, umask=0o22))
    assert fs.arguments("create")[:4] == (1, b"n", 0o100644, flags)
    assert fs.arguments("create")[4].umask == 0o22
    assert struct.unpack_from("=Q", reply.body) == (6,)
    fh, open_flags = struct.unpack_from("=QI", reply.body, 128)
    assert (fh, open_flags) == (3, 1 | 4)


@pytest.mark.parametrize(
    "data", [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]], ids=lambda data: str(type(data))
)
async def test_read_answers_any_buffer_in_one_piece(kernel: FakeKernel, fs: Sample, data: Any) -> None:
    fs.answers["read"] = data
    reply = await answered(kernel, fs, m.Read(nodeid=2, fh=2, offset=10, size=100))
    assert fs.arguments("read") == (2, 10, 100)
    assert reply.body == b"abc"


async def test_write_gets_bytes_that_may_be_kept(kernel: FakeKernel, fs: Sample) -> None:
    pyfuse3.init(fs, kernel.path)
    async with serving():
        reply = await kernel.ask(m.Write(nodeid=2, fh=2, offset=6, size=5, data=b"there"))
        await kernel.ask(m.Write(nodeid=2, fh=2, offset=0, size=5, data=b"XXXXX"))
    assert struct.unpack_from("=I", reply.body) == (5,)
    writes = [call[1:] for call in fs.calls if call[0] == "write"]
    assert writes == [(2, 6, b"there"), (2, 0, b"XXXXX")]
    assert type(writes[0][2]) is bytes


async def test_statfs_answers_statvfs_data(kernel: FakeKernel, fs: Sample) -> None:
    status = pyfuse3.StatvfsData()
    for number, name in enumerate(("blocks", "bfree", "bavail", "files", "ffree", "bsize", "namemax", "frsize"), 1):
        setattr(status, f"f_{name}", number)
    fs.answers["statfs"] = status
    reply = await answered(kernel, fs, m.Statfs(nodeid=1))
    assert struct.unpack_from("=QQQQQIII", reply.body) == (1, 2, 3, 4, 5, 6, 7, 8)


async def test_access_is_granted_or_refused_with_eacces(kernel: FakeKernel, fs: Sample) -> None:
    pyfuse3.init(fs, kernel.path)
    async with serving():
        fs.answers["access"] = True
        assert (await kernel.ask(m.Access(nodeid=2, mask=4))).error == 0
        fs.answers["access"] = False
        assert (await kernel.ask(m.Access(nodeid=2, mask=4))).error == errno.EACCES
    assert fs.arguments("access")[:2] == (2, 4)


async def test_xattr_values_and_names_answer_size_value_and_erange(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["getxattr"] = b"value"
    fs.answers["listxattr"] = (name for name in (b"user.a", b"user.b"))
    pyfuse3.init(fs, kernel.path)
    async with serving():
        size = await kernel.ask(m.Getxattr(nodeid=2, size=0, name=b"user.a"))
        value = await kernel.ask(m.Getxattr(nodeid=2, size=10, name=b"user.a"))
        too_small = await kernel.ask(m.Getxattr(nodeid=2, size=2, name=b"user.a"))
        names = await kernel.ask(m.Listxattr(nodeid=2, size=100))
    assert struct.unpack_from("=I", size.body) == (5,)
    assert (value.body, too_small.error) == (b"value", errno.ERANGE)
    assert names.body == b"user.a\0user.b\0"
    assert fs.arguments("getxattr")[:2] == (2, b"user.a")


@pytest.mark.parametrize(
    ("flags", "there", "expected", "is_set"),
    [
        (XattrFlags.CREATE, b"old", errno.EEXIST, False),
        (XattrFlags.CREATE, pyfuse3.FUSEError(pyfuse3.ENOATTR), 0, True),
        (XattrFlags.CREATE, pyfuse3.FUSEError(errno.EPERM), errno.EPERM, False),
        (XattrFlags.REPLACE, b"old", 0, True),
        (XattrFlags.REPLACE, pyfuse3.FUSEError(pyfuse3.ENOATTR), errno.ENODATA, False),
        (0, b"old", 0, True),
    ],
)
async def test_flags_of_setxattr_are_checked_with_getxattr(
    kernel: FakeKernel, fs: Sample, flags: int, there: Any, expected: int, is_set: bool
) -> None:
    fs.answers["getxattr"] = there
    reply = await answered(kernel, fs, m.Setxattr(nodeid=3, size=3, flags=int(flags), name=b"user.x", value=b"new"))
    assert reply.error == expected
    assert any(call[0] == "setxattr" for call in fs.calls) is is_set


async def test_the_stacktrace_attribute_of_the_root_logs_where_threads_are(
    kernel: FakeKernel, fs: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await answered(kernel, fs, m.Setxattr(nodeid=1, size=1, name=b"fuse_stacktrace", value=b"1"))
    assert reply.error == 0
    assert not any(call[0] == "setxattr" for call in fs.calls)
    assert "MainThread" in caplog.text
    assert {(record.name, record.levelno) for record in caplog.records} == {("pyfuse3._pyfuse3", logging.ERROR)}


async def test_opendir_answers_a_handle(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["opendir"] = 42
    reply = await answered(kernel, fs, m.Opendir(nodeid=1))
    assert struct.unpack_from("=QI", reply.body) == (42, 0)


async def test_readdir_takes_what_fits_and_the_attributes_as_they_were(kernel: FakeKernel, fs: Sample) -> None:
    stored: list[bool] = []

    async def many(fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        entry = made()
        for number in range(start, 100):
            entry.st_ino = number + 2
            stored.append(pyfuse3.readdir_reply(token, b"file%04d" % number, entry, number + 1))
            if not stored[-1]:
                break

    fs.readdir = many  # type: ignore[method-assign]
    reply = await answered(kernel, fs, m.Readdirplus(nodeid=1, fh=9, offset=3, size=1000))
    record = 128 + 24 + 8
    assert stored == [True] * (1000 // record) + [False]
    assert len(reply.body) == 1000 // record * record
    for position in range(0, len(reply.body), record):
        number = 3 + position // record
        nodeid, generation = struct.unpack_from("=QQ", reply.body, position)
        ino, offset, length, kind = struct.unpack_from("=QQII", reply.body, position + 128)
        assert (nodeid, generation, ino, offset) == (number + 2, 3, number + 2, number + 1)
        assert (length, kind) == (8, stat.S_IFREG >> 12)
        assert reply.body[position + 152 : position + 160] == b"file%04d" % number


async def test_a_readdir_without_entries_ends_the_directory(kernel: FakeKernel, fs: Sample) -> None:
    reply = await answered(kernel, fs, m.Readdirplus(nodeid=1, fh=1, offset=1, size=1000))
    assert (reply.error, reply.body) == (0, b"")


async def test_an_error_after_entries_discards_them(kernel: FakeKernel, fs: Sample) -> None:
    async def failing(fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        pyfuse3.readdir_reply(token, b"x", made(), 1)
        raise pyfuse3.FUSEError(errno.EIO)

    fs.readdir = failing  # type: ignore[method-assign]
    reply = await answered(kernel, fs, m.Readdirplus(nodeid=1, fh=1, size=1000))
    assert (reply.error, reply.body) == (errno.EIO, b"")


async def test_a_kernel_without_readdirplus_gets_a_listing_and_its_lookups_are_given_back(
    kernel: FakeKernel, fs: Sample
) -> None:
    reply = await answered(kernel, fs, m.Readdir(nodeid=1, fh=1, size=1000))
    ino, offset, length, kind = struct.unpack_from("=QQII", reply.body)
    assert (ino, offset, length, kind, reply.body[24:29]) == (2, 1, 5, stat.S_IFREG >> 12, b"hello")
    assert fs.arguments("forget") == ([(2, 1)],)


async def test_forgets_arrive_as_a_list_and_may_wait(kernel: FakeKernel, fs: Sample) -> None:
    fs.answers["forget"] = later
    pyfuse3.init(fs, kernel.path)
    async with serving():
        kernel.send(m.Forget(nodeid=2, nlookup=3))
        await kernel.ask(m.Getattr(nodeid=1))
        kernel.send(m.BatchForget(items=[(3, 1), (4, 2)]))
        await kernel.ask(m.Getattr(nodeid=1))
    calls = [item for call in fs.calls if call[0] == "forget" for item in call[1]]
    assert calls == [(2, 3), (3, 1), (4, 2)]


async def test_poll_gets_a_handle_when_somebody_waits_and_notify_wakes_the_kernel(
    kernel: FakeKernel, fs: Sample
) -> None:
    fs.answers["poll"] = 5
    pyfuse3.init(fs, kernel.path)
    async with serving():
        reply = await kernel.ask(m.Poll(nodeid=2, fh=3, kh=77, flags=int(PollFlags.SCHEDULE_NOTIFY), events=1))
        inode, fh, handle, _ctx = fs.arguments("poll")
        assert (inode, fh, struct.unpack_from("=I", reply.body)) == (2, 3, (5,))
        handle.notify()
        await kernel.ask(m.Poll(nodeid=2, fh=3, kh=77, flags=0, events=1))
        assert fs.arguments("poll")[2] is None
        fs.answers["poll"] = None
        assert struct.unpack_from("=I", (await kernel.ask(m.Poll(nodeid=2, fh=3))).body) == (0,)
    assert kernel.notifications == [struct.pack("=IiQQ", 24, 1, 0, 77)]


NOT_OVERRIDDEN = [
    m.Lookup(nodeid=1, name=b"x"),
    m.Getattr(nodeid=1),
    m.Setattr(nodeid=1),
    m.Readlink(nodeid=1),
    m.Mknod(nodeid=1, name=b"x"),
    m.Mkdir(nodeid=1, name=b"x"),
    m.Unlink(nodeid=1, name=b"x"),
    m.Rmdir(nodeid=1, name=b"x"),
    m.Symlink(nodeid=1, name=b"x", target=b"y"),
    m.Rename(nodeid=1, newdir=1, name=b"x", newname=b"y"),
    m.Link(nodeid=1, oldnodeid=1, name=b"x"),
    m.Open(nodeid=1),
    m.Read(nodeid=1, size=1),
    m.Write(nodeid=1, size=1, data=b"x"),
    m.Flush(nodeid=1),
    m.Release(nodeid=1),
    m.Fsync(nodeid=1),
    m.Opendir(nodeid=1),
    m.Readdir(nodeid=1, size=100),
    m.Readdirplus(nodeid=1, size=100),
    m.Releasedir(nodeid=1),
    m.Fsyncdir(nodeid=1),
    m.Statfs(nodeid=1),
    m.Setxattr(nodeid=2, size=1, name=b"x", value=b"y"),
    m.Getxattr(nodeid=1, name=b"x"),
    m.Listxattr(nodeid=1),
    m.Removexattr(nodeid=1, name=b"x"),
    m.Access(nodeid=1),
    m.Create(nodeid=1, name=b"x"),
    m.Poll(nodeid=1),
]


async def test_whatever_is_not_overridden_is_enosys(kernel: FakeKernel) -> None:
    pyfuse3.init(pyfuse3.Operations(), kernel.path)
    async with serving():
        kernel.send(m.Forget(nodeid=2, nlookup=1))
        for request in NOT_OVERRIDDEN:
            request.unique = 0
            assert (await kernel.ask(request)).error == errno.ENOSYS, request


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM, errno.ENOTSUP, 511])
async def test_a_fuse_error_is_answered_with_its_errno(kernel: FakeKernel, fs: Sample, number: int) -> None:
    fs.answers["unlink"] = pyfuse3.FUSEError(number)
    assert (await answered(kernel, fs, m.Unlink(nodeid=1, name=b"x"))).error == number


@pytest.mark.parametrize("number", [-2, 512, 5000])
async def test_an_errno_that_the_kernel_would_refuse_is_erange(
    kernel: FakeKernel, fs: Sample, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    fs.answers["unlink"] = pyfuse3.FUSEError(number)
    assert (await answered(kernel, fs, m.Unlink(nodeid=1, name=b"x"))).error == errno.ERANGE
    assert f"FUSEError({number})" in caplog.text


async def test_errno_0_is_success_where_nothing_is_returned_and_eio_elsewhere(
    kernel: FakeKernel, fs: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    fs.answers["unlink"] = fs.answers["lookup"] = pyfuse3.FUSEError(0)
    pyfuse3.init(fs, kernel.path)
    async with serving():
        assert (await kernel.ask(m.Unlink(nodeid=1, name=b"x"))).error == 0
        assert (await kernel.ask(m.Lookup(nodeid=1, name=b"x"))).error == errno.EIO
    assert "fuse_lookup(): fuse_reply_* failed" in caplog.text


async def test_no_more_than_max_tasks_handlers_run_at_a_time(kernel: FakeKernel, fs: Sample) -> None:
    running = most = 0
    go_on = anyio.Event()

    async def waits(*arguments: Any) -> pyfuse3.EntryAttributes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return made()

    fs.answers["lookup"] = waits
    pyfuse3.init(fs, kernel.path)
    async with serving(min_tasks=1, max_tasks=3):
        uniques = [kernel.send(m.Lookup(nodeid=1, name=b"x")) for _ in range(8)]
        while running < 3:
            await anyio.sleep(0.01)
        await anyio.sleep(0.05)
        go_on.set()
        for unique in uniques:
            assert (await kernel.receive(unique)).error == 0
    assert most == 3


async def test_an_interrupt_is_not_passed_on_to_a_handler(kernel: FakeKernel, fs: Sample) -> None:
    go_on = anyio.Event()

    async def waits(*arguments: Any) -> pyfuse3.EntryAttributes:
        await go_on.wait()
        return made()

    fs.answers["lookup"] = waits
    pyfuse3.init(fs, kernel.path)
    async with serving():
        unique = kernel.send(m.Lookup(nodeid=1, name=b"x", pid=2**22 + 1))
        await kernel.ask(m.Getattr(nodeid=1))
        kernel.send(m.Interrupt(target=unique))
        await kernel.ask(m.Getattr(nodeid=1))
        await anyio.sleep(0.05)
        go_on.set()
        assert (await kernel.receive(unique)).error == 0
