"""Runs the load generator: the C program when there is a compiler, else the same operations in Python.

The Python fallback costs the client 1 to 3 µs more an operation, so its throughput is lower; the server's CPU time per
operation is the same figure either way.
"""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benchmarks.frame import BenchmarkError, Mounted, cpu_time_ns, pinned
from benchmarks.native import compiled

__all__ = ["OPERATIONS", "run"]

SIZES = {"4k": 4096, "128k": 128 << 10, "1m": 1 << 20}
WRITTEN = 4 << 20
OPERATIONS = (
    *("stat", "fstat", "open_close", "create_unlink"),
    *("read_4k", "read_128k", "read_1m", "write_4k", "write_128k", "write_1m"),
    *("cold_128k", "cold_1m", "map_cold", "map_warm"),
    "readdir_10k",
)


@cache
def command() -> list[str]:
    """How the load generator is started."""
    if program := compiled("loadgen"):
        return [str(program)]
    print("no C compiler was found (cc or $CC): the load generator is Python, which is slower", file=sys.stderr)
    return [sys.executable, "-m", "benchmarks.loadgen"]


def run(
    server: Mounted, operation: str, seconds: float, *, clients: int = 1, cpu: int | None = None
) -> dict[str, float]:
    """Repeat one operation on a mounted server; `us` and the CPU of both sides per operation, `operations` in all."""
    arguments = [operation, f"{seconds:g}", str(server.mountpoint), str(server.pid), str(clients)]
    with pinned(cpu):
        process = subprocess.Popen(
            [*command(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    try:
        output, errors = process.communicate(timeout=seconds * 4 + 20)
    except subprocess.TimeoutExpired:
        # A client may wait in the kernel for an answer, unkillable; it goes away when the server is unmounted.
        os.killpg(process.pid, 9)
        raise server.complain(f"{operation} did not end") from None
    if process.returncode:
        raise BenchmarkError(errors.strip() or f"the load generator ended with status {process.returncode}")
    figures: dict[str, float] = json.loads(output)
    return figures


def action(operation: str, directory: Path) -> Callable[[], object]:
    """The operation as a function without arguments."""
    rng = random.Random(42)
    path = directory / "file"
    size = path.stat().st_size

    def open_and_close() -> None:
        os.close(os.open(path, os.O_RDONLY))

    def create_and_unlink() -> None:
        new = directory / f"new-{os.getpid()}"
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        new.unlink()

    match operation:
        case "stat":
            return lambda: os.stat(path)
        case "open_close":
            return open_and_close
        case "create_unlink":
            return create_and_unlink
        case "readdir_10k":
            return lambda: os.listdir(directory / "many")
        case "fstat":
            fd = os.open(path, os.O_RDONLY)
            return lambda: os.fstat(fd)
        case "write_4k" | "write_128k" | "write_1m":
            length = SIZES[operation.removeprefix("write_")]
            fd, data = os.open(directory / "target", os.O_WRONLY), b"w" * length
            return lambda: os.pwrite(fd, data, rng.randrange(WRITTEN // length) * length)
        case "cold_128k" | "cold_1m" | "map_cold" | "map_warm":
            raise BenchmarkError(f"{operation} needs the C load generator: install a C compiler")
        case "read_4k" | "read_128k" | "read_1m":
            length = SIZES[operation.removeprefix("read_")]
            fd = os.open(path, os.O_RDONLY)
            return lambda: os.pread(fd, length, rng.randrange(size // length) * length)
    raise BenchmarkError(f"unknown operation {operation}; known are {', '.join(OPERATIONS)}")


def main(operation: str, seconds: str, directory: str, server_pid: str, clients: str = "1") -> None:
    """What loadgen.c does, for one client."""
    if int(clients) != 1:
        raise BenchmarkError("several clients need the C load generator: install a C compiler")
    assert stat.S_ISREG(os.stat(Path(directory, "file")).st_mode)
    act = action(operation, Path(directory))
    act()
    cpu, start = cpu_time_ns(int(server_pid)), time.monotonic_ns()
    end, count = start + int(float(seconds) * 1e9), 0
    while time.monotonic_ns() < end:
        act()
        count += 1
    elapsed, cpu = time.monotonic_ns() - start, cpu_time_ns(int(server_pid)) - cpu
    figures = {"us": elapsed / 1e3 / count, "server_cpu_us": cpu / 1e3 / count}
    print(json.dumps({"operations": count, "seconds": elapsed / 1e9, **figures}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (BenchmarkError, OSError) as error:
        sys.exit(f"loadgen: {error}")
