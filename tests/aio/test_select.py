"""The engine is found by trying, named by the environment, and says why."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiovfs.aio import select

SETUP, ENTER, REGISTER = 425, 426, 427

PROGRAM = """
import asyncio, dataclasses, json, os, sys, tempfile
import trio
from aiovfs.aio.engine import current, perform
from aiovfs.aio.select import engine_info

async def work():
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        assert await perform("write", fd, b"0123456789", 0) == 10
        await perform("fdatasync", fd)
        assert await perform("read", fd, 4, 3) == b"3456"
        assert (await perform("fstat", fd)).st_size == 10
        opened = await perform("open", "/dev/null", os.O_RDONLY)
        await perform("close", opened)
        return current().name

names = [asyncio.run(work()), trio.run(work)]
info = engine_info()
print(json.dumps([names, info.name, info.reason, dict(info.others)]))
"""


def run(*prefix: str, **environment: str) -> tuple[list[str], str, str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, *prefix, "-c", PROGRAM],
        env={**{key: value for key, value in os.environ.items() if key != "AIOVFS_ENGINE"}, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, name, reason, others = json.loads(done.stdout)
    return names, name, reason, others


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("calls", [(SETUP, ENTER, REGISTER), (ENTER,), (REGISTER,)], ids=["all", "enter", "register"])
def test_where_rings_are_forbidden_another_engine_serves_both_libraries(number: int, calls: tuple[int, ...]) -> None:
    filter_program = str(Path(__file__).with_name("seccomp.py"))
    names, name, _reason, others = run(filter_program, str(number), ",".join(map(str, calls)))
    assert names == [name, name]
    assert name != "uring"
    assert os.strerror(number) in others["uring"]
    assert "io_uring_" in others["uring"]


def test_the_environment_names_the_engine() -> None:
    names, name, reason, others = run(AIOVFS_ENGINE="python")
    assert names == ["python", "python"]
    assert (name, reason) == ("python", "AIOVFS_ENGINE chooses it")
    assert set(others) == {"uring", "linux", "pool"}


def test_pure_python_is_chosen_by_the_environment() -> None:
    names, _name, _reason, others = run(AIOVFS_PURE="1")
    assert names == ["python", "python"]
    assert others["uring"] == "AIOVFS_PURE=1 chooses Python"


def test_a_named_engine_that_cannot_be_used_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOVFS_PURE", "1")
    with pytest.raises(RuntimeError, match="'uring' cannot be used here: AIOVFS_PURE=1"):
        select.choose("uring")


def test_an_engine_that_does_not_exist_is_an_error_with_those_that_do() -> None:
    with pytest.raises(RuntimeError, match="no disk engine 'threads'; AIOVFS_ENGINE may be one of uring, "):
        select.choose("threads")


def test_rings_are_never_polled_by_a_kernel_thread() -> None:
    try:
        from aiovfs.aio import _uring
    except ImportError:
        pytest.skip("the parts in C are not built")
    setup_sqpoll = 1 << 1
    for _kernel, flags in _uring.SETUPS:
        assert not flags & setup_sqpoll
