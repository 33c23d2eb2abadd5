"""Random histories on a file of ours and on the builtin's: each call must say the same, and leave the same file."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiovfs import aio

SIZES = st.integers(-1, 60) | st.none() | st.sampled_from([8191, 8192, 8193, 70_000])
OFFSETS = st.integers(0, 80) | st.sampled_from([4096, 8192, 20_000])
BINARY_MODES = ["rb", "wb", "ab", "rb+", "wb+", "ab+", "xb+"]
TEXT_MODES = ["r", "w", "a", "r+", "w+", "a+"]
ENCODINGS = ["utf-8", "latin-1", "utf-16", "utf-8-sig", "utf-32-le", "shift_jis", "ascii", "utf-7"]
BITS = ["a", "b\n", "\r", "\r\n", "ü", "日本", "\n", "é\r\n", "𝄞", " ", "x" * 40]

TEXTS = st.lists(st.sampled_from(BITS), max_size=12).map("".join)
LONG_TEXTS = st.tuples(TEXTS, st.sampled_from([1, 1, 1, 400, 900])).map(lambda pair: pair[0] * pair[1])

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def calls(*rows: tuple[Any, ...]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    return st.lists(st.one_of(*(st.tuples(st.just(name), *arguments) for name, *arguments in rows)), max_size=12)


BINARY_CALLS = calls(
    ("read", SIZES),
    ("readinto", st.integers(0, 50) | st.just(70_000)),
    ("readline", SIZES),
    ("readlines", st.integers(-1, 30)),
    ("write", st.binary(max_size=30) | st.sampled_from([b"z" * 5000, b"y" * 70_000])),
    ("seek", OFFSETS, st.just(0)),
    ("seek", st.integers(-30, 30), st.sampled_from([1, 2])),
    ("tell",),
    ("truncate", OFFSETS | st.none()),
    ("flush",),
)

TEXT_CALLS = calls(
    ("read", st.integers(-1, 30) | st.sampled_from([5000, 20_000])),
    ("readline", st.integers(-1, 12)),
    ("readlines", st.just(-1)),  # with a hint, io forbids tell afterwards
    ("write", TEXTS),
    ("seek", st.just(0), st.sampled_from([0, 1, 2])),
    ("go back", st.integers(0, 5)),
    ("tell",),
    ("flush",),
)


def outcome_of(exception: Exception) -> tuple[str, Any]:
    kind = next(kind for kind in (UnicodeError, OSError, ValueError, TypeError) if isinstance(exception, kind))
    return "raised", kind.__name__ if kind is not OSError else (kind.__name__, exception.errno)  # type: ignore[attr-defined]


def builtin_call(file: Any, call: tuple[Any, ...], places: list[int]) -> Any:
    name, *arguments = call
    try:
        if name == "readinto":
            buffer = bytearray(arguments[0])
            return file.readinto(buffer), bytes(buffer)
        if name == "go back":
            return file.seek(places[arguments[0] % len(places)]) if places else None
        result = getattr(file, name)(*arguments)
        if name == "tell":
            places.append(result)
        return result
    except Exception as exc:
        return outcome_of(exc)


def is_moot(call: tuple[Any, ...], mode: str) -> bool:
    """Whether nothing may be read from a file that is only written: io says no, each class its own way.

    (`read(None)` is a TypeError there since Python 3.12.)
    """
    return call in (("readline", 0), ("readinto", 0), ("read", None)) and "r" not in mode and "+" not in mode


async def our_call(file: Any, call: tuple[Any, ...], places: list[int]) -> Any:
    name, *arguments = call
    try:
        if name == "readinto":
            buffer = bytearray(arguments[0])
            return await file.readinto(buffer), bytes(buffer)
        if name == "go back":
            return await file.seek(places[arguments[0] % len(places)]) if places else None
        result = await getattr(file, name)(*arguments)
        if name == "tell":
            places.append(result)
        return result
    except Exception as exc:
        return outcome_of(exc)


async def compare(content: bytes | None, mode: str, history: list[tuple[Any, ...]], **options: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        theirs, ours = Path(directory, "theirs"), Path(directory, "ours")
        if content is not None:
            theirs.write_bytes(content)
            ours.write_bytes(content)
        places: tuple[list[int], list[int]] = ([], [])
        async with aio.open(ours, mode, **options) as file:
            with open(theirs, mode, **options) as builtin:
                for call in with_seeks(history) if "b" not in mode else history:
                    if is_moot(call, mode):
                        continue
                    expected = builtin_call(builtin, call, places[0])
                    assert await our_call(file, call, places[1]) == expected, call
                    if is_confused(builtin, expected):
                        return
                    if "a" in mode and call[0] in ("write", "writelines"):
                        # Where an append ends is known when it is done, which depends on the size of the buffer; and
                        # io then goes on reading where the position would have been.
                        builtin.seek(0, 2)
                        await file.seek(0, 2)
        assert ours.read_bytes() == theirs.read_bytes()


def with_seeks(history: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """A seek wherever reading and writing meet: without one, where io's text files read ahead to shows in the file."""
    last = ""
    for call in history:
        kind = "write" if call[0] == "write" else "read" if call[0].startswith("read") else ""
        if kind and last and kind != last:
            yield ("tell",)
            yield ("go back", -1)
        last = kind or last
        yield call


def is_confused(builtin: Any, expected: Any) -> bool:
    """After an error in the middle of decoding, io's own objects are in no defined state."""
    return isinstance(builtin, io.TextIOBase) and isinstance(expected, tuple) and expected[0] == "raised"


@QUICK
@given(content=st.binary(max_size=200) | st.sampled_from([b"line\n" * 4000]), mode=st.sampled_from(BINARY_MODES),
       history=BINARY_CALLS)  # fmt: skip
def test_a_binary_file_does_what_the_builtin_does(
    loop: asyncio.AbstractEventLoop, content: bytes, mode: str, history: list[tuple[Any, ...]]
) -> None:
    loop.run_until_complete(compare(None if "x" in mode else content, mode, history))


@QUICK
@given(text=LONG_TEXTS, encoding=st.sampled_from(ENCODINGS), newline=st.sampled_from([None, "", "\n", "\r", "\r\n"]),
       mode=st.sampled_from(TEXT_MODES), errors=st.sampled_from(["strict", "replace", "surrogateescape"]),
       history=TEXT_CALLS)  # fmt: skip
def test_a_text_file_does_what_the_builtin_does(
    loop: asyncio.AbstractEventLoop,
    text: str,
    encoding: str,
    newline: str | None,
    mode: str,
    errors: str,
    history: list[tuple[Any, ...]],
) -> None:
    content = text.encode(encoding, "replace")
    loop.run_until_complete(compare(content, mode, history, encoding=encoding, errors=errors, newline=newline))


@QUICK
@given(content=st.binary(max_size=300), encoding=st.sampled_from(["utf-8", "utf-16", "ascii"]), history=TEXT_CALLS)
def test_bytes_that_are_no_text_fail_as_with_the_builtin(
    loop: asyncio.AbstractEventLoop, content: bytes, encoding: str, history: list[tuple[Any, ...]]
) -> None:
    loop.run_until_complete(compare(content, "r", history, encoding=encoding))


@pytest.mark.parametrize("buffering", [-1, 0, 1, 7, 4096, 1 << 20])
def test_the_size_of_the_buffer_does_not_show(loop: asyncio.AbstractEventLoop, buffering: int) -> None:
    history = [
        ("write", b"0123456789" * 100),
        ("seek", 3, 0),
        ("read", 5),
        ("write", b"xy"),
        ("readline", -1),
        ("tell",),
    ]
    expected: list[Any] = []

    async def run(size: int) -> tuple[list[Any], bytes]:
        with tempfile.TemporaryDirectory() as directory:
            async with aio.open(os.path.join(directory, "f"), "wb+", buffering=size) as file:
                said = [await our_call(file, call, []) for call in history]
            return said, Path(directory, "f").read_bytes()

    expected = list(loop.run_until_complete(run(-1)))
    assert list(loop.run_until_complete(run(buffering))) == expected
