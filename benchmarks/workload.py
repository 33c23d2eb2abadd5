"""What a user's programs do in a mounted directory; run by `mount_stores` in a process of its own, one case a run.

    python -m benchmarks.workload CASE DIRECTORY [ARGUMENT]

Prints figures as JSON. A process of its own, because a mount that hangs must not hang the driver, and because a client
shares nothing (page tables, cached directories of the C library) with the one before.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["CASES"]

MIB = 1 << 20
RANDOM_LIMIT = 12.0
RANDOM_COUNT = 500
SMALL_SIZE = 100_000


def read_sequentially(directory: Path) -> dict[str, float]:
    """/big from start to end in pieces of 1 MiB, as `cat` and `cp` do."""
    start, total = time.perf_counter(), 0
    with open(directory / "big", "rb", buffering=0) as file:
        buffer = bytearray(MIB)
        while size := file.readinto(buffer):
            total += size
    seconds = time.perf_counter() - start
    return {"mb_s": total / 1e6 / seconds, "seconds": seconds}


def read_at_random(directory: Path) -> dict[str, float]:
    """4 KiB at random aligned offsets of /big, one after another, for at most 12 s; the operations and their median."""
    rng, times = random.Random(42), []
    fd = os.open(directory / "big", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    blocks = os.fstat(fd).st_size // 4096
    end = time.perf_counter() + RANDOM_LIMIT
    for _ in range(RANDOM_COUNT):
        offset = rng.randrange(blocks) * 4096
        before = time.perf_counter()
        if len(os.pread(fd, 4096, offset)) != 4096:
            raise OSError(f"short read at {offset}")
        times.append(time.perf_counter() - before)
        if before > end:
            break
    os.close(fd)
    times.sort()
    return {"iops": len(times) / sum(times), "p50_ms": times[len(times) // 2] * 1e3, "reads": len(times)}


def find(directory: Path, expected: str) -> dict[str, float]:
    """Every file below /tree with its size, as `find -printf %s` does."""

    def fail(error: OSError) -> None:
        raise error

    start, files = time.perf_counter(), 0
    for folder, _, names in os.walk(directory / "tree", onerror=fail):
        for name in names:
            os.lstat(os.path.join(folder, name))
            files += 1
    seconds = time.perf_counter() - start
    if files != int(expected):
        raise OSError(f"{files} files were listed, {expected} are there")
    return {"seconds": seconds}


def read_small_files(directory: Path, expected: str) -> dict[str, float]:
    """Each file of /small, whole, one after another."""
    start, total = time.perf_counter(), 0
    names = sorted(os.listdir(directory / "small"))
    for name in names:
        total += len((directory / "small" / name).read_bytes())
    seconds = time.perf_counter() - start
    if total != int(expected) * SMALL_SIZE:
        raise OSError(f"{len(names)} files with {total} bytes were read, {expected} of {SMALL_SIZE} bytes are there")
    return {"seconds": seconds}


def write(directory: Path, size: int) -> dict[str, float]:
    """A new file in pieces of 128 KiB, until close() returns."""
    piece = random.Random(7).randbytes(128 * 1024)
    start = time.perf_counter()
    with open(directory / "written", "wb", buffering=0) as file:
        file.writelines(piece for _ in range(size // len(piece)))
    return {"close_s": time.perf_counter() - start}


def untar(directory: Path, archive: str) -> dict[str, float]:
    """tar x of a small source tree, until the shell returns."""
    (directory / "untarred").mkdir()
    start = time.perf_counter()
    subprocess.run(["tar", "-C", str(directory / "untarred"), "--no-same-owner", "-xf", archive], check=True)
    return {"shell_s": time.perf_counter() - start}


CASES: dict[str, Callable[..., dict[str, float]]] = {
    "read": read_sequentially,
    "random": read_at_random,
    "find": find,
    "small": read_small_files,
    "write": lambda directory, size: write(directory, int(size)),
    "untar": untar,
}

if __name__ == "__main__":
    try:
        print(json.dumps(CASES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
