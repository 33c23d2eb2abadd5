"""Handlers that return what cannot be sent: EIO, a line in the log that names the handler, and serving goes on."""

from __future__ import annotations

import errno
import math
import select
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiovfs import fuse
from aiovfs.fuse.dispatch import METHOD_OF
from aiovfs.fuse.packers import PACKERS
from aiovfs.fuse.protocol import BY_NAME
from aiovfs.fuse.protocol import messages as m
from aiovfs.testing.fake_kernel import FakeKernel


class Awkward:
    """An object that fails however it is looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


def file(**changes: Any) -> fuse.Attributes:
    return fuse.Attributes(**{"ino": 2, "mode": stat.S_IFREG | 0o644, **changes})


class Failing:
    """A listing that ends in the middle, for a reason that is no answer."""

    def __iter__(self) -> Iterator[fuse.DirEntry]:
        yield fuse.DirEntry(b"first", 2, stat.S_IFREG, 1)
        raise ZeroDivisionError("a bug in the listing")


FOR_ALL: list[Any] = [object(), "text", -2, 3.5, Awkward(), [None]]
ATTRIBUTES: list[Any] = [
    None, b"", file(mode=0o644), file(size=-1), file(ino="2"), file(mtime_ns=1.5), file(timeout=math.nan),
    fuse.Opened(),
]  # fmt: skip
ENTRIES: list[Any] = [
    None, (), fuse.Entry(2, None), fuse.Entry(-1, file()), fuse.Entry(2, file(mode=0o644)),  # type: ignore[arg-type]
    fuse.Entry(2, file(uid=-1)), fuse.Entry(2, file(), timeout="1"),  # type: ignore[arg-type]
]  # fmt: skip
MADE = [*ENTRIES, fuse.Entry.negative(1)]
CREATED: list[Any] = [
    None, fuse.Entry(2, file()), (fuse.Entry(2, file()),), (fuse.Entry.negative(1), fuse.Opened()),
    (fuse.Entry(2, file()), None), (fuse.Opened(), fuse.Entry(2, file())),
]  # fmt: skip
OPENED: list[Any] = [None, 1, fuse.Opened(-1), fuse.Opened(2**64), fuse.Opened(None)]  # type: ignore[arg-type]
NOTHING: list[Any] = [0, False, -errno.ENOENT, b"", ()]
COUNTS: list[Any] = [None, -1, 2**40, "5", b"12345"]
OFFSETS: list[Any] = [None, -1, 2**64, "5"]
DATA: list[Any] = [None, "text", bytes(101), memoryview(bytes(64))[::2], [1, 2]]
NAMES: list[Any] = [None, "user.a", b"user.a", ["user.a"], [b""], [b"a\0"], 5]
LISTINGS: list[Any] = [
    None, [b"name"], [fuse.DirEntry(b"", 1, 0, 1)], [fuse.DirEntry("name", 1, 0, 1)], Failing(),  # type: ignore[arg-type]
    [fuse.DirEntry(b"a/b", 1, 0, 1)], [fuse.DirEntry(b"x" * 2000, 1, 0, 1)], [fuse.DirEntry(b"a", -1, 0, 1)],
    [fuse.DirEntry(b"a", 1, 0, -1)],
]  # fmt: skip

WRONG: dict[str, list[Any]] = {
    "lookup": ENTRIES,
    **dict.fromkeys(("symlink", "mknod", "mkdir", "link"), MADE),
    **dict.fromkeys(("create", "tmpfile"), CREATED),
    **dict.fromkeys(("getattr", "setattr", "statx"), ATTRIBUTES),
    **dict.fromkeys(("open", "opendir"), OPENED),
    **dict.fromkeys(
        ("unlink", "rmdir", "rename", "rename2", "access", "flush", "release", "releasedir", "fsync", "fsyncdir",
         "fallocate", "syncfs", "setxattr", "removexattr", "setlk", "setlkw"), NOTHING,
    ),
    **dict.fromkeys(("write", "copy_file_range", "copy_file_range_64"), COUNTS),
    **dict.fromkeys(("lseek", "bmap"), OFFSETS),
    "read": DATA,
    "readlink": [None, "target", b"", b"a\0b", b"x" * 5000, bytearray(b"target")],
    "getxattr": [None, "text", bytes(70_000), memoryview(bytes(64))[::2]],
    "listxattr": NAMES,
    "readdir": LISTINGS,
    "readdirplus": [*LISTINGS, [fuse.DirEntry(b"a", 1, 0, 1, file())]],  # type: ignore[arg-type]
    "statfs": [None, fuse.Statfs(blocks=-1), fuse.Statfs(bsize=2**32), ()],
    "getlk": [fuse.Lock(-1, 0, 0), fuse.Lock(0, -1, 0), fuse.Lock("r", 0, 0), ()],  # type: ignore[arg-type]
    "ioctl": [None, bytes(101), fuse.IoctlResult(2**31), fuse.IoctlResult(0, "text"), fuse.IoctlResult(None)],  # type: ignore[arg-type]
    "poll": [None, "in", 2**32, select],
}  # fmt: skip
# Of the values for all, those that are right for some.
RIGHT: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("ioctl", "poll"), (int, float)),
    "getlk": (),
}
FIELDS: dict[str, dict[str, Any]] = {
    "read": {"size": 100},
    "write": {"size": 5, "data": b"12345"},
    "readdir": {"size": 4096},
    "readdirplus": {"size": 4096},
    "getxattr": {"size": 100_000, "name": b"user.a"},
    "listxattr": {"size": 1000},
    "setxattr": {"name": b"user.a", "size": 0, "value": b""},
    "copy_file_range": {"len": 100},
    "copy_file_range_64": {"len": 100},
    "ioctl": {"out_size": 100},
    "symlink": {"target": b"t"},
    "rename": {"newname": b"n"},
    "rename2": {"newname": b"n"},
}


def cases() -> Iterator[Any]:
    for name, values in WRONG.items():
        for value in [*values, *FOR_ALL]:
            if value not in values and isinstance(value, RIGHT.get(name, ())):
                continue
            yield pytest.param(name, value, id=f"{name}-{type(value).__name__}")


def question(name: str) -> m.Request:
    """A request for an operation, as a kernel would send it."""
    operation = BY_NAME[name]
    fields = {"nodeid": 1, **FIELDS.get(name, {})}
    if "name" in operation.request.fields:
        fields.setdefault("name", b"n")
    return operation.request(**fields)


def test_every_operation_that_has_a_reply_is_tried() -> None:
    assert set(PACKERS) | set(METHOD_OF) | {"readdir", "readdirplus"} == set(WRONG)


def answering(name: str, value: Any) -> tuple[fuse.Operations, Callable[[Any], Any]]:
    async def handler(request: Any) -> Any:
        return value

    operations = fuse.Operations()
    handler.__qualname__ = f"Author.{METHOD_OF.get(name, name)}"
    setattr(operations, METHOD_OF.get(name, name), handler)
    return operations, handler


async def test_what_cannot_be_sent_is_eio_names_the_handler_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for case in cases():
        name, value = case.values
        operations, handler = answering(name, value)
        caplog.clear()
        with FakeKernel() as kernel:
            async with fuse.mount(operations, kernel.path) as session:
                reply = await kernel.ask(question(name))
                assert reply.error == errno.EIO, (case.id, reply)
                assert handler.__qualname__ in caplog.text, case.id
                assert "which cannot be sent" in caplog.text, case.id
                assert (await kernel.ask(m.Unknown(opcode=999))).error == errno.ENOSYS
                assert session.is_serving


@pytest.mark.parametrize("name", [name for name in WRONG if name not in METHOD_OF])
async def test_an_exception_that_is_no_oserror_is_eio(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for failure in (
        ZeroDivisionError("bug"),
        OSError("no number"),
        OSError(100_000, "no such number"),
        StopAsyncIteration(),
    ):
        operations = fuse.Operations()

        async def handler(request: Any, failure: Exception = failure) -> Any:
            raise failure

        setattr(operations, name, handler)
        with FakeKernel() as kernel:
            async with fuse.mount(operations, kernel.path):
                assert (await kernel.ask(question(name))).error == errno.EIO
                assert (await kernel.ask(m.Unknown(opcode=999))).error == errno.ENOSYS
