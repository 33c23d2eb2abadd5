"""`Attributes`, `Entry`, `Opened` and `DirEntry` in C are what those in Python are, as far as a user can see."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

from aiovfs.fuse import replies

NAMES = ["Attributes", "DirEntry", "Entry", "Opened"]
ARGUMENTS: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "Attributes": [
        ((1, 0o100644), {}),
        ((1, 0o100644, 513), {}),
        ((1, 0o100644, -1), {}),
        ((1, 0o100644, 2**80), {}),
        ((1, 0o100644, 513, 9), {"nlink": 2, "uid": 3, "gid": 4, "rdev": 5, "blksize": 6, "timeout": 0.5}),
        ((), {"ino": 2**64, "mode": "x", "atime_ns": None, "mtime_ns": -1, "ctime_ns": 3, "flags": []}),
    ],
    "DirEntry": [((b"n", 1, 2, 3), {}), ((), {"name": "text", "ino": 1, "mode": 2, "offset": 3, "entry": 4})],
    "Entry": [((5, None), {}), ((5, "attributes", 6, 7.0), {}), ((), {"nodeid": 1, "attributes": 2, "timeout": 3})],
    "Opened": [((), {}), ((1, True), {}), ((), {"fh": 3, "parallel_direct_writes": True, "stream": 1})],
}
CASES = [(name, args, options) for name in NAMES for args, options in ARGUMENTS[name]]


@pytest.fixture(autouse=True)
def _native(native: None) -> None:
    """Skips what cannot be compared."""


@pytest.mark.parametrize(("name", "args", "options"), CASES)
def test_the_same_arguments_give_the_same_attributes_and_repr(name: str, args: Any, options: Any) -> None:
    slow, fast = replies.PYTHON[name](*args, **options), getattr(replies, name)(*args, **options)
    assert type(fast) is not type(slow)
    assert type(fast).__name__ == name
    assert {slot: getattr(fast, slot) for slot in slow.__slots__} == {
        slot: getattr(slow, slot) for slot in slow.__slots__
    }
    assert repr(fast) == repr(slow)
    assert inspect.getdoc(type(fast)) == inspect.getdoc(type(slow))
    assert type(fast).__slots__ == type(slow).__slots__


@pytest.mark.parametrize(("name", "args", "options"), CASES)
def test_copies_and_pickles_are_equal(name: str, args: Any, options: Any) -> None:
    one = getattr(replies, name)(*args, **options)
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert other == one
        assert other is not one
        assert type(other) is type(one)


@pytest.mark.parametrize("name", NAMES)
def test_equality_is_by_value_and_class_and_there_is_no_hash(name: str) -> None:
    args, options = ARGUMENTS[name][0]
    cls = getattr(replies, name)
    one, same = cls(*args, **options), cls(*args, **options)
    assert one == same
    slot = cls.__slots__[-1]
    setattr(same, slot, "something else")
    assert one != same
    assert one != "text"
    assert one != type("Sub", (cls,), {})(*args, **options)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_unknown_argument_is_a_type_error(name: str) -> None:
    for cls in (replies.PYTHON[name], getattr(replies, name)):
        with pytest.raises(TypeError):
            cls(nonsense=1)
        if name != "Opened":
            with pytest.raises(TypeError):
                cls()


def test_a_subclass_keeps_its_own_state_when_pickled() -> None:
    one = Marked(1, 0o100644, 5)
    other = pickle.loads(pickle.dumps(one))
    assert type(other) is Marked
    assert other == one
    assert other.is_directory is False


def test_from_stat_and_negative_make_the_same(tmp_path: Any) -> None:
    result = tmp_path.stat()
    slow, fast = (cls.from_stat(result, timeout=2.0) for cls in (replies.PYTHON["Attributes"], replies.Attributes))
    assert repr(slow) == repr(fast)
    assert fast.is_directory
    assert repr(replies.Entry.negative(3.0)) == repr(replies.PYTHON["Entry"].negative(3.0))


@pytest.mark.parametrize(("writer", "reader"), [("0", "1"), ("1", "0")], ids=["native to python", "python to native"])
def test_pickles_are_read_with_and_without_native_code(writer: str, reader: str) -> None:
    write = "import pickle, sys; from aiovfs import fuse; " \
        "sys.stdout.buffer.write(pickle.dumps(fuse.Entry(5, fuse.Attributes(1, 0o100644, 7))))"  # fmt: skip
    read = "import pickle, sys; from aiovfs import fuse; " \
        "print(pickle.load(sys.stdin.buffer) == fuse.Entry(5, fuse.Attributes(1, 0o100644, 7)))"  # fmt: skip
    written = subprocess.run(
        [sys.executable, "-c", write], env=os.environ | {"AIOVFS_PURE": writer}, capture_output=True, check=True
    )
    done = subprocess.run(
        [sys.executable, "-c", read],
        env=os.environ | {"AIOVFS_PURE": reader},
        input=written.stdout,
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"True\n"


class Marked(replies.Attributes):
    """A user's subclass."""
