"""The command line as a process of its own, and directories to mount on that are free again after the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiovfs.mount import registry

TIMEOUT = 40.0  # seconds; a hang guard, never waited for


class Shell:
    """Runs `aiovfs …` with a home directory of its own. Processes that are still there at the end are killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_", "XDG_"))
        }
        self.environment |= {
            "HOME": str(home),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "PYTHONWARNINGS": "error",
        }
        self._started: list[subprocess.Popen[Any]] = []

    def __call__(
        self, *arguments: object, check: bool = True, text: bool = True, **more: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run to the end. With `check`, a failure fails the test and shows what was said."""
        done = subprocess.run(
            self.command(*arguments),
            **{
                "capture_output": True,
                "stdin": None if "input" in more else subprocess.DEVNULL,
                "text": text,
                "env": self.environment,
                "timeout": TIMEOUT,
                **more,
            },
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stderr}"
        return done

    def refusal(self, code: int, *arguments: object, **more: Any) -> str:
        """Run what must be refused: the exit code, nothing on standard output, one line that has no traceback."""
        done = self(*arguments, check=False, **more)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("aiovfs: ")
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1, done.stderr
        return str(done.stderr)

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        """Run it, and do not wait."""
        process: subprocess.Popen[str] = subprocess.Popen(
            self.command(*arguments),
            **{
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "stdin": subprocess.DEVNULL,
                "text": True,
                "env": self.environment,
                **more,
            },
        )
        self._started.append(process)
        return process

    def python(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a Python program."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self._started.append(process)
        return process

    @staticmethod
    def command(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "aiovfs", *map(str, arguments)]

    @staticmethod
    def is_mounted(directory: Path) -> bool:
        return registry.find_mount(directory) is not None

    @staticmethod
    def wait_until(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen"
            time.sleep(0.02)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    home = tmp_path / "home"
    home.mkdir()
    shell = Shell(home)
    yield shell
    shell.close()


@pytest.fixture
def mnt(tmp_path: Path) -> Iterator[Path]:
    """An empty directory. What is mounted there after the test is detached, and who serves it is killed."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened")
    directory = tmp_path / "mnt"
    directory.mkdir()
    yield directory
    while row := registry.find_mount(directory):
        record = registry.find_record(row)
        if record is not None and record.is_alive and record.pid != os.getpid():
            os.kill(record.pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", str(directory)], check=True)
        if record is not None:
            registry.forget(record)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A directory with a few files, to be mounted or copied."""
    directory = tmp_path / "store"
    (directory / "sub" / "deep").mkdir(parents=True)
    (directory / "hello.txt").write_bytes(b"hello\n")
    (directory / "sub" / "binary").write_bytes(bytes(range(256)) * 40)
    (directory / "sub" / "deep" / "ä ö.txt").write_bytes("ü".encode())
    (directory / "empty").mkdir()
    return directory
