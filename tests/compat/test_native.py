"""The parts in C do what their twins in Python do: values, and every reply, byte by byte."""

from __future__ import annotations

import math
import pickle
import stat
from collections.abc import Callable
from types import CoroutineType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovfs.compat import pyfuse3
from aiovfs.compat.pyfuse3 import adapter, requests, values
from aiovfs.errors import ReplyError
from aiovfs.fuse.dispatch import Dispatcher
from aiovfs.fuse.protocol import messages as m

pytestmark = pytest.mark.skipif(values.NATIVE is None, reason=f"not built: {values.REASON}")

NUMBERS = st.one_of(
    st.integers(-(1 << 66), 1 << 66),
    st.sampled_from([0, 1, -1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.booleans(),
    st.none(),
    st.text(max_size=2),
)
NAMES = [name for name in values.ATTRIBUTE_NAMES if name != "st_birthtime_ns"]


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as exc:
        return type(exc), str(exc)


def assigned(cls: type, name: str, value: Any) -> Any:
    instance = cls()
    setattr(instance, name, value)
    return getattr(instance, name), type(getattr(instance, name))


@given(st.sampled_from(NAMES), NUMBERS)
def test_attributes_take_and_refuse_the_same(name: str, value: Any) -> None:
    python, native = values.PYTHON["EntryAttributes"], values.EntryAttributes
    assert outcome(lambda: assigned(native, name, value)) == outcome(lambda: assigned(python, name, value))


@given(st.sampled_from(["fh", "direct_io", "keep_cache", "nonseekable"]), NUMBERS)
def test_file_infos_take_and_refuse_the_same(name: str, value: Any) -> None:
    python, native = values.PYTHON["FileInfo"], values.FileInfo
    assert outcome(lambda: assigned(native, name, value)) == outcome(lambda: assigned(python, name, value))
    as_arguments = [outcome(lambda cls=cls: getattr(cls(**{name: value}), name)) for cls in (python, native)]
    assert as_arguments[0] == as_arguments[1]


@given(NUMBERS)
def test_errors_take_and_refuse_the_same(value: Any) -> None:
    def shown(cls: Any) -> Any:
        error = cls(value)
        return error.errno, error.errno_, error.args, str(error), repr(error)

    assert outcome(lambda: shown(values.FUSEError)) == outcome(lambda: shown(values.PYTHON["FUSEError"]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_numbers_that_are_none_are_treated_the_same(name: str, value: float) -> None:
    python, native = values.PYTHON["EntryAttributes"], values.EntryAttributes
    theirs, ours = (outcome(lambda cls=cls: assigned(cls, name, value)) for cls in (python, native))
    assert repr(ours) == repr(theirs)


def test_attributes_of_either_kind_are_pickled_as_the_kind_that_is_used() -> None:
    old = values.PYTHON["EntryAttributes"]()
    old.st_size = 5
    again = pickle.loads(pickle.dumps(old))
    assert type(again) is pyfuse3.EntryAttributes
    assert again.st_size == 5


def attributes(**changes: Any) -> pyfuse3.EntryAttributes:
    made = pyfuse3.EntryAttributes()
    for name, value in {"st_ino": 7, "st_mode": stat.S_IFREG | 0o644, **changes}.items():
        setattr(made, name, value)
    return made


FULL = {
    "generation": 3,
    "entry_timeout": 1.25,
    "attr_timeout": math.inf,
    "st_nlink": (1 << 32) + 2,
    "st_uid": 1000,
    "st_gid": 1001,
    "st_rdev": (1 << 40) + 5,
    "st_size": 1 << 40,
    "st_blksize": 1 << 33,
    "st_blocks": 99,
    "st_atime_ns": -1,
    "st_mtime_ns": 1_700_000_000_123_456_789,
    "st_ctime_ns": 1 << 70,
}
ENTRIES = [
    {},
    FULL,
    {"st_ino": 0, "entry_timeout": 5},
    {"st_mode": 0o644},
    {"st_size": -1},
    {"entry_timeout": -1.0, "attr_timeout": 0.0},
    {"entry_timeout": math.nan},
]
MADE = [
    m.Symlink(nodeid=1, name=b"x", target=b"y"),
    m.Mknod(nodeid=1, name=b"x", mode=stat.S_IFREG | 0o600),
    m.Mkdir(nodeid=1, name=b"x", mode=0o700),
    m.Link(nodeid=1, name=b"x", oldnodeid=7),
]


class Scripted(pyfuse3.Operations):
    """Every handler gives or raises `answer`."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    async def serve(self, *arguments: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer(*arguments) if callable(self.answer) else self.answer

    lookup = getattr = symlink = mknod = mkdir = link = create = open = opendir = read = write = readlink = serve
    getxattr = access = unlink = flush = readdir = serve


def replied(request: m.Request, answer: Any, *, uses_native: bool) -> tuple[bytes | str, list[BaseException]]:
    """What is sent for a request, or what the log is told, and what would end `main`."""
    fs = Scripted(answer)
    failures: list[BaseException] = []
    serving = adapter.Adapter(fs, failed=failures.append, wake_poll=lambda kh: None, uses_native=uses_native)
    dispatcher = Dispatcher(serving)
    route = dispatcher.routes[request.opcode]
    try:
        value = route.handler(request)
        if isinstance(value, CoroutineType):
            try:
                value.send(None)
            except StopIteration as stop:
                value = stop.value
        return b"".join(dispatcher.reply_for(route, request, value)), failures
    except ReplyError as exc:
        return exc.message.partition("which cannot be sent")[2], failures
    except Exception as exc:
        return b"".join(dispatcher.error_for(route, request, exc)), failures


CASES: list[tuple[m.Request, Any]] = [
    *((m.Lookup(nodeid=1, name=b"x"), attributes(**changes)) for changes in ENTRIES),
    *((m.Getattr(nodeid=1), attributes(**changes)) for changes in ENTRIES),
    *((request, attributes(**changes)) for request in MADE for changes in ENTRIES[:4]),
    *((m.Create(nodeid=1, name=b"x"), (pyfuse3.FileInfo(5), attributes(**changes))) for changes in ENTRIES[:4]),
    (m.Create(nodeid=1, name=b"x"), [pyfuse3.FileInfo(5), attributes()]),
    (m.Create(nodeid=1, name=b"x"), (attributes(), pyfuse3.FileInfo(5))),
    (m.Create(nodeid=1, name=b"x"), None),
    (m.Open(nodeid=7), pyfuse3.FileInfo(fh=(1 << 64) - 1, direct_io=True, keep_cache=False, nonseekable=True)),
    (m.Open(nodeid=7), pyfuse3.FileInfo()),
    (m.Open(nodeid=7), 5),
    (m.Opendir(nodeid=7), 5),
    (m.Opendir(nodeid=7), 5.5),
    (m.Opendir(nodeid=7), -1),
    (m.Opendir(nodeid=7), None),
    (m.Lookup(nodeid=1, name=b"x"), 5),
    (m.Getattr(nodeid=1), None),
    (m.Read(nodeid=7, size=4), b"four"),
    (m.Read(nodeid=7, size=4), b""),
    (m.Read(nodeid=7, size=4), memoryview(b"four")[::2]),
    (m.Read(nodeid=7, size=4), bytearray(b"fours")),
    (m.Read(nodeid=7, size=4), None),
    (m.Write(nodeid=7, size=3, data=b"abc"), 3),
    (m.Write(nodeid=7, size=3, data=b"abc"), 2.9),
    (m.Write(nodeid=7, size=3, data=b"abc"), 4),
    (m.Write(nodeid=7, size=3, data=b"abc"), -1),
    (m.Write(nodeid=7, size=3, data=b"abc"), None),
    (m.Readlink(nodeid=7), b"target"),
    (m.Readlink(nodeid=7), "target"),
    (m.Getxattr(nodeid=7, name=b"user.x", size=10), b"value"),
    (m.Getxattr(nodeid=7, name=b"user.x", size=0), b"value"),
    (m.Getxattr(nodeid=7, name=b"user.x", size=1), b"value"),
    (m.Access(nodeid=7), True),
    (m.Access(nodeid=7), False),
    (m.Access(nodeid=7), pyfuse3.FUSEError(5)),
    (m.Unlink(nodeid=7, name=b"x"), "whatever"),
    *((m.Lookup(nodeid=1, name=b"x"), pyfuse3.FUSEError(number)) for number in (2, 0, -2, 511, 512, 5000)),
    *((m.Flush(nodeid=7), pyfuse3.FUSEError(number)) for number in (2, 0, -2)),
    (m.Flush(nodeid=7), OSError(5, "a bug")),
]


@pytest.mark.parametrize(("request_made", "answer"), CASES)
def test_every_reply_is_the_same_byte_by_byte(request_made: m.Request, answer: Any) -> None:
    ours, our_failures = replied(request_made, answer, uses_native=True)
    theirs, their_failures = replied(request_made, answer, uses_native=False)
    if isinstance(answer, pyfuse3.EntryAttributes) and math.isnan(answer.entry_timeout):
        return  # a time-out that is no number is 0 in C, and refused in Python
    assert ours == theirs
    assert [(type(exc), str(exc)) for exc in our_failures] == [(type(exc), str(exc)) for exc in their_failures]


LISTINGS: list[list[tuple[bytes, dict[str, Any]]]] = [
    [],
    [(b".", {}), (b"..", {}), (b"x" * 255, FULL), (b"12345678", {}), (b"1", {"st_ino": 0})],
    [(b"n%d" % number, {"st_ino": number + 2, "st_mode": stat.S_IFDIR}) for number in range(100)],
    [(b"good", {}), (b"a/b", {})],
    [(b"good", {}), (b"", {})],
    [(b"good", {}), (b"x" * 1025, {})],
    [(b"good", {}), (b"typeless", {"st_mode": 0})],
]


@pytest.mark.parametrize("size", [0, 200, 4096, 1 << 17])
@pytest.mark.parametrize("names", LISTINGS)
def test_listings_are_the_same_byte_by_byte(names: list[tuple[bytes, dict[str, Any]]], size: int) -> None:
    said: list[list[bool]] = []

    def listing(fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        said.append([])
        for number, (name, changes) in enumerate(names):
            said[-1].append(pyfuse3.readdir_reply(token, name, attributes(**changes), number + 1))
            if not said[-1][-1]:
                break

    request = m.Readdirplus(nodeid=1, size=size)
    ours, theirs = (replied(request, listing, uses_native=native) for native in (True, False))
    assert ours == theirs
    assert said[0] == said[1]


def test_a_token_takes_nothing_more_once_its_handler_has_ended() -> None:
    token = requests.make_token(4096)
    assert pyfuse3.readdir_reply(token, b"x", attributes(), 1)
    assert [entry.name for entry in requests.listing_of(token)] == [b"x"]
    assert not pyfuse3.readdir_reply(token, b"y", attributes(), 2)
    assert [entry.name for entry in requests.listing_of(token)] == [b"x"]


def test_large_payloads_stay_with_who_keeps_them() -> None:
    """The memory of one is used again, but only when nobody holds it, or a part of it, any more."""
    kept: list[Any] = []
    identities: list[int] = []

    def write(fh: int, offset: int, data: bytes) -> int:
        assert type(data) is bytes
        identities.append(id(data))
        hash(data)
        if offset == 1:
            kept.append(data)
        elif offset == 2:
            kept.append(memoryview(data))
        return len(data)

    def sent(offset: int, letter: bytes) -> None:
        data = letter * (1 << 17)
        request = m.Write(nodeid=7, size=len(data), offset=offset, data=memoryview(data))
        assert replied(request, write, uses_native=True)[1] == []

    for offset, letter in ((0, b"a"), (0, b"b"), (1, b"c"), (2, b"d"), (0, b"e"), (0, b"f")):
        sent(offset, letter)
    assert bytes(kept[0]) == b"c" * (1 << 17)
    assert hash(kept[0]) == hash(b"c" * (1 << 17))
    assert bytes(kept[1]) == b"d" * (1 << 17)
    assert identities[4] not in identities[2:4]
