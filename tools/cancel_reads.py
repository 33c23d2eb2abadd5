"""Cancel many operations while the kernel works at them, and see that nothing is lost, leaked or freed too early.

    python tools/cancel_reads.py --count 100000                 # as it is
    python tools/sanitize.py --sources aio -- python tools/cancel_reads.py --count 100000   # with sanitizers

Half of the operations run on asyncio, half on Trio. Reads of a pipe are in flight for certain; reads of a file whose
pages were dropped are, where there is a disk. Descriptors, threads and operations in flight must be as before, and the
process must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import trio

from aiovfs.aio.engine import current, perform, perform_many

BATCH = 400
FILE_SIZE = 16 << 20
MAY_GROW = 48 << 20
"""Bytes that the process may grow after its first quarter: allocators keep some of what they had."""


class Soak:
    """What was done so far."""

    def __init__(self, count: int, directory: str, seed: int) -> None:
        self.count = count
        self.cancelled = 0
        self.completed = 0
        self.random = random.Random(seed)
        self.path = Path(directory) / "cold"
        self.path.write_bytes(os.urandom(1 << 20) * (FILE_SIZE >> 20))
        self.fd = os.open(self.path, os.O_RDWR)
        os.fsync(self.fd)
        self.pipe = os.pipe()

    def close(self) -> None:
        for fd in (self.fd, *self.pipe):
            os.close(fd)

    async def one(self) -> None:
        """One operation of a random kind; counts how it ended."""
        choice = self.random.randrange(8)
        offset = self.random.randrange(FILE_SIZE - 65536)
        size = self.random.choice((512, 4096, 65536))
        try:
            if choice == 0:
                await perform("read", self.fd, size, offset)
            elif choice == 1:
                await perform("readinto", self.fd, bytearray(size), offset)
            elif choice in (2, 3):
                await perform("read", self.pipe[0], size, -1)
            elif choice == 4:
                await perform("readinto", self.pipe[0], bytearray(size), -1)
            elif choice == 5:
                os.close(await perform("open", self.path, os.O_RDONLY))
            elif choice == 6:
                await perform_many("read", [(self.pipe[0], 64, -1), (self.fd, size, offset)])
            else:
                await perform("write", self.fd, b"x" * size, offset)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        self.completed += 1

    async def until(self, count: int) -> None:
        """Batches, until `count` operations were cancelled."""
        while self.cancelled < count:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            async with anyio.create_task_group() as group:
                for _ in range(BATCH):
                    group.start_soon(self.one)
                for _ in range(self.random.randrange(4)):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        while current().in_flight:  # noqa: ASYNC110 — nothing tells of what nobody waits for any more
            await anyio.sleep(0.001)


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open descriptors of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def threads(at_most: int, patience: int = 30) -> int:
    """Threads of this process, also the kernel's for it, when those that end have ended; waits `patience` seconds."""
    for _ in range(100 * patience):
        if (count := len(os.listdir("/proc/self/task"))) <= at_most:
            break
        time.sleep(0.01)
    return count


def run(count: int, seed: int) -> dict[str, Any]:
    """Cancel `count` operations; what was seen. Raises `AssertionError` when something is left behind."""
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(count, directory, seed)
        asyncio.run(soak.until(count // 8))
        trio.run(soak.until, count // 4)
        opened, started, memory = descriptors(), threads(at_most=1, patience=1), resident()
        asyncio.run(soak.until(count * 5 // 8))
        trio.run(soak.until, count)
        seen = {
            "cancelled": soak.cancelled,
            "completed": soak.completed,
            "descriptors": descriptors() - opened,
            "threads": threads(at_most=started) - started,
            "growth": resident() - memory,
        }
        soak.close()
    is_sanitized = "libasan" in os.environ.get("LD_PRELOAD", "")  # which keeps what was freed
    assert seen["descriptors"] == 0, seen
    assert seen["threads"] <= 0, seen
    assert is_sanitized or seen["growth"] <= MAY_GROW, seen
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="operations to cancel")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    options = parser.parse_args()
    json.dump(run(options.count, options.seed), sys.stdout)
    print()
