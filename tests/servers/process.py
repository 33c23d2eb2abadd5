"""A server process: started, waited for, stopped."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = ["ServerProcess", "free_port", "require_binary"]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_binary(name: str, *, install: str) -> str:
    """The path of a program. Without it the test is skipped on a developer's machine, and fails in CI."""
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.exists() else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        missing = f"{name} is not installed; {install}"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"CI must have every server: {missing}", pytrace=False)
        pytest.skip(missing)
    return found


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """A test session that is killed (pytest-timeout does that) runs no teardown; its servers must not outlive it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class ServerProcess:
    """One server in the foreground, ready once its port accepts a connection."""

    def __init__(self, command: Sequence[str], port: int, log: Path, *, seconds: float = 15) -> None:
        self.port = port
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        try:
            self._wait_until_ready(time.monotonic() + seconds)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, deadline: float) -> None:
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"{self._process.args} ended with {self._process.returncode}: {self.log.read_text()}"
                )
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self._process.args} does not listen on {self.port}: {exc}") from exc
                time.sleep(0.02)

    def stop(self) -> None:
        """End the process; by force when it does not obey."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
