"""What a handler returns becomes the same bytes in C and in Python; so do errors, refusals and counts."""

from __future__ import annotations

import errno
import itertools
import logging
import pickle
import stat
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiovfs import fuse
from aiovfs.fuse.protocol import messages as m

from .conftest import Bench, Scripted, attributes

DRAWN = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
U32 = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, -1, True]) | st.integers(0, 2**32 - 1)
U64 = st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1]) | st.integers(0, 2**64 - 1)
MODES = st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, 0o644, 0, 2**32 - 1]) | U32
TIMES = st.sampled_from([0, -1, -(10**9), 10**18, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1]) | st.integers(
    -(2**64), 2**64
)
TIMEOUTS = (
    st.sampled_from(
        [0, 1, -1, 2**32, 2**32 - 1, 2**70, True, float("inf"), float("-inf"), float("nan"), 0.1, 2.5, 4294967295.5]
    )
    | st.floats(0, 1e10)
    | st.integers(-5, 2**33)
)
WRONG = st.sampled_from([None, "text", b"bytes", 1.5, (), object()])
ATTRIBUTES = st.builds(
    fuse.Attributes,
    ino=U64,
    mode=MODES,
    size=U64,
    blocks=st.none() | U64,
    nlink=U32,
    uid=U32,
    gid=U32,
    rdev=U32,
    blksize=U32,
    atime_ns=TIMES,
    mtime_ns=TIMES,
    ctime_ns=TIMES,
    flags=U32,
    timeout=TIMEOUTS,
)
PLAIN = st.builds(fuse.Attributes, ino=st.integers(1, 9), mode=st.just(stat.S_IFREG | 0o600), timeout=TIMEOUTS)
ENTRIES = st.builds(fuse.Entry, nodeid=U64, attributes=PLAIN | ATTRIBUTES | WRONG, generation=U64, timeout=TIMEOUTS)
FLAGS = st.booleans() | st.sampled_from([0, 1, None, "x"])
OPENED = st.builds(
    fuse.Opened,
    fh=U64,
    direct_io=FLAGS,
    keep_cache=FLAGS,
    nonseekable=st.booleans(),
    cache_dir=st.booleans(),
    stream=st.booleans(),
    noflush=st.booleans(),
    parallel_direct_writes=FLAGS,
)
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name) | st.sampled_from(
    [b"", b"a/b", b"n" * 255, b"n" * 1024, b"n" * 1025, "text", bytearray(b"array")]
)
DIRENTS = st.builds(fuse.DirEntry, name=NAMES, ino=U64, mode=MODES, offset=U64, entry=st.none() | ENTRIES)
GOOD_DIRENTS = st.builds(
    fuse.DirEntry,
    name=st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name),
    ino=st.integers(0, 2**64 - 1),
    mode=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 2**64 - 1),
    entry=st.none() | st.builds(fuse.Entry, nodeid=st.integers(0, 2**64 - 1), attributes=PLAIN),
)
unique = itertools.count(2, 2)


def outcome(bench: Bench, request: m.Request, value: Any) -> bytes | None:
    def script(_: Any) -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    bench.drain.operations.script = script  # type: ignore[attr-defined]
    return bench.ask(request)


def agree(both: tuple[Bench, Bench], request: m.Request, value: Any) -> bytes:
    request.unique = next(unique)
    slow, fast = outcome(both[0], request, value), outcome(both[1], request, value)
    assert fast == slow
    assert fast is not None
    assert struct.unpack_from("=I4xQ", fast) == (len(fast), request.unique)
    return fast


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("aiovfs.fuse").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("aiovfs.fuse").setLevel(logging.NOTSET)


@DRAWN
@given(value=ATTRIBUTES | PLAIN | WRONG)
def test_attributes(both: Any, value: Any) -> None:
    agree(both, m.Getattr(nodeid=1), value)


@DRAWN
@given(value=ENTRIES | WRONG)
def test_entries_of_lookup_and_of_what_was_made(both: Any, value: Any) -> None:
    agree(both, m.Lookup(nodeid=1, name=b"n"), value)
    agree(both, m.Mkdir(nodeid=1, name=b"n"), value)


@DRAWN
@given(value=OPENED | WRONG)
def test_open_files(both: Any, value: Any) -> None:
    agree(both, m.Open(nodeid=1), value)


@DRAWN
@given(value=st.tuples(ENTRIES | WRONG, OPENED | WRONG) | st.tuples(ENTRIES) | ENTRIES | WRONG)
def test_created_files(both: Any, value: Any) -> None:
    agree(both, m.Create(nodeid=1, name=b"n"), value)


@DRAWN
@given(value=U32 | WRONG | st.integers(-3, 20), size=st.integers(0, 16))
def test_counts_of_writes(both: Any, value: Any, size: int) -> None:
    agree(both, m.Write(nodeid=1, size=size, data=b"w" * size), value)


@DRAWN
@given(
    value=st.binary(max_size=40)
    | st.binary(max_size=40).map(bytearray)
    | st.binary(max_size=40).map(memoryview)
    | st.binary(min_size=2, max_size=40).map(lambda data: memoryview(data)[::2])
    | st.binary(max_size=5).map(lambda data: memoryview(data * 8).cast("Q"))
    | WRONG,
    size=st.integers(0, 48),
)
def test_data_of_reads(both: Any, value: Any, size: int) -> None:
    agree(both, m.Read(nodeid=1, size=size), value)


@pytest.mark.parametrize("size", [4096, (128 << 10) - 1, 128 << 10, 1 << 20])
def test_data_of_large_reads(both: Any, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    assert agree(both, m.Read(nodeid=1, size=size), content[:size])[16:] == content[:size]
    assert agree(both, m.Read(nodeid=1, size=size), memoryview(content)[:size])[16:] == content[:size]


@DRAWN
@given(value=st.none() | WRONG | U32)
def test_nothing(both: Any, value: Any) -> None:
    agree(both, m.Unlink(nodeid=1, name=b"n"), value)


@DRAWN
@given(
    entries=st.lists(GOOD_DIRENTS, max_size=12)
    | st.lists(DIRENTS | GOOD_DIRENTS, max_size=4)
    | st.lists(DIRENTS | WRONG),
    size=st.integers(0, 1500),
    kind=st.sampled_from([list, iter, tuple]),
)
def test_listings(both: Any, entries: list[Any], size: int, kind: Any) -> None:
    for cls in (m.Readdir, m.Readdirplus):
        request = cls(nodeid=1, size=size)
        request.unique = next(unique)
        slow, fast = (outcome(bench, request, kind(entries)) for bench in both)
        assert fast == slow


@DRAWN
@given(
    entries=st.lists(GOOD_DIRENTS, max_size=4),
    failure=st.sampled_from([OSError(errno.EACCES, "no"), ValueError("bug"), OSError("no number")]),
)
def test_a_listing_that_fails_on_the_way(both: Any, entries: list[Any], failure: Exception) -> None:
    def listing() -> Iterator[Any]:
        yield from entries
        raise failure

    for cls in (m.Readdir, m.Readdirplus):
        request = cls(nodeid=1, size=4096)
        request.unique = next(unique)
        slow, fast = (outcome(bench, request, listing()) for bench in both)
        assert fast == slow


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOENT, "no such name"),
        FileNotFoundError(errno.ENOENT, "no such name"),
        OSError("no number"),
        OSError(0, "zero"),
        OSError(-1, "negative"),
        OSError(511, "the largest"),
        OSError(512, "too large"),
        OSError(True, "a bool"),
        OSError("2", "text"),
        ValueError("a bug"),
        StopIteration(5),
    ],
    ids=repr,
)
def test_errors_of_handlers(both: Any, failure: Exception) -> None:
    agree(both, m.Lookup(nodeid=1, name=b"n"), failure)


def test_what_the_file_system_does_not_have_gets_the_same_answer(benches: Any) -> None:
    pair = benches(fuse.Operations)
    requests: list[m.Request] = [
        m.Open(nodeid=1), m.Opendir(nodeid=1), m.Release(nodeid=1), m.Releasedir(nodeid=1), m.Statfs(nodeid=1),
        m.Flush(nodeid=1), m.Mkdir(nodeid=1, name=b"n"), m.Access(nodeid=1), m.Destroy(), m.Unknown(opcode=63),
        m.Unknown(opcode=64), m.Unknown(opcode=999), m.Statx(nodeid=1), m.Ioctl(nodeid=1, data=b""),
    ]  # fmt: skip
    for request in requests:
        request.unique = next(unique)
        slow, fast = (bench.ask(request) for bench in pair)
        assert fast == slow, request


def test_lookups_are_counted_alike(both: Any) -> None:
    tables = []
    for bench in both:
        root, child, sibling = object(), object(), object()
        table: fuse.InodeTable[object] = fuse.InodeTable(root)
        bench.drain.operations.inodes = table
        first, second = table.remember(child), table.remember(sibling)
        entry = fuse.Entry(first, attributes())
        outcome(bench, m.Lookup(unique=2, nodeid=1, name=b"a"), entry)
        outcome(bench, m.Create(unique=4, nodeid=1, name=b"a"), (entry, fuse.Opened()))
        outcome(bench, m.Lookup(unique=6, nodeid=1, name=b"gone"), fuse.Entry.negative(1.0))
        listing = [
            fuse.DirEntry(b".", 1, stat.S_IFDIR, 1),
            fuse.DirEntry(b"a", first, stat.S_IFREG, 2, entry),
            fuse.DirEntry(b"b", second, stat.S_IFREG, 3, fuse.Entry(second, attributes())),
        ]
        outcome(bench, m.Readdirplus(unique=8, nodeid=1, size=400), listing)
        tables.append([(number, number in table, table.lookup_count(number)) for number in (1, first, second)])
        bench.send(m.Forget(nodeid=first, nlookup=2))
        bench.run()
        assert table.lookup_count(first) == 1
    assert tables[0] == tables[1]


def test_a_forget_that_fails_is_logged_and_serving_goes_on(benches: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(fuse.Operations):
        def forget(self, nodeid: int, count: int) -> None:
            raise ZeroDivisionError("a bug")

    logging.getLogger("aiovfs.fuse").setLevel(logging.NOTSET)
    for bench in benches(Broken):
        bench.send(m.Forget(nodeid=5, nlookup=2))
        bench.run()
        assert bench.ask(m.Open(unique=2, nodeid=1)) is not None
    assert caplog.text.count("nodeid=5: the file system failed to give 2 lookups back") == 2


def test_a_malformed_request_is_eio(both: Any) -> None:
    replies = []
    for bench in both:
        bench.kernel.send(struct.pack("=IIQQIIII", 41, m.Lookup.opcode, 77, 1, 0, 0, 0, 0) + b"x")
        bench.run()
        replies.append(bench.receive())
    assert replies[0] == replies[1] == struct.pack("=IiQ", 16, -errno.EIO, 77)


def test_handlers_that_are_plain_functions_answer_too(benches: Any) -> None:
    class Plain(fuse.Operations):
        def readlink(self, request: Any) -> bytes:  # type: ignore[override]
            return b"target"

        def getattr(self, request: Any) -> fuse.Attributes:  # type: ignore[override]
            raise OSError(errno.EACCES, "no")

    pair = benches(Plain)
    for request in (m.Readlink(unique=2, nodeid=1), m.Getattr(unique=4, nodeid=1)):
        slow, fast = (bench.ask(request) for bench in pair)
        assert fast == slow


def test_a_write_buffer_that_a_handler_holds_on_to_is_not_used_again(both: Any) -> None:
    for bench in both:
        kept: list[Any] = []

        def keep(request: Any, kept: list[Any] = kept) -> int:
            kept.append(pickle.PickleBuffer(request.data))  # something that holds on to the view itself
            return 4

        bench.drain.operations.script = keep
        before = bench.drain.buffer
        bench.ask(m.Write(unique=2, nodeid=1, size=4, data=b"abcd"))
        assert bench.drain.buffer is not before
        bench.drain.operations.script = lambda request: 4
        bench.ask(m.Write(unique=4, nodeid=1, size=4, data=b"wxyz"))
        assert bytes(kept[0]) == b"abcd"
        with pytest.raises(ValueError, match="released"):
            bytes(bench.drain.operations.seen[-1].data)


def test_no_such_name_may_be_something_to_remember(benches: Any) -> None:
    pair = benches(Scripted, negative_timeout=2.5)
    reply = agree(pair, m.Lookup(nodeid=1, name=b"n"), OSError(errno.ENOENT, "no such name"))
    assert len(reply) > 16
    agree(pair, m.Lookup(nodeid=1, name=b"n"), OSError(errno.EACCES, "no"))


@pytest.mark.parametrize(
    "options", [{"uid": 7}, {"umask": 0o77}, {"attr_timeout": 3.0}, {"kernel_cache": True}], ids=str
)
def test_options_that_change_replies(benches: Any, options: dict[str, Any]) -> None:
    pair = benches(Scripted, **options)
    entry = fuse.Entry(5, attributes())
    agree(pair, m.Getattr(nodeid=1), attributes())
    agree(pair, m.Lookup(nodeid=1, name=b"n"), entry)
    agree(pair, m.Open(nodeid=1), fuse.Opened(3))
    agree(pair, m.Create(nodeid=1, name=b"n"), (entry, fuse.Opened(3)))
    agree(pair, m.Readdirplus(nodeid=1, size=4096), [fuse.DirEntry(b"n", 5, stat.S_IFREG, 1, entry)])
