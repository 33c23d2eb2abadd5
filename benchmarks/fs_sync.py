"""What the engine of `fs` costs: blocking calls that wait and that do not, from one thread and from many, and bulk.

    python -m benchmarks.fs_sync --quick
    python -m benchmarks.fs_sync --repeats 7 --output benchmarks/results/fs_sync-NAME.json
    python -m benchmarks.fs_sync --free

The same coroutines are put on fsspec's base class and on ours, in one process, measured in turn. `bare` is asyncio's
own way to hand a coroutine to a loop in another thread, `run_coroutine_threadsafe(…).result()`: no file system, no
time-out, no cancellation. Times are of the caller; CPU is of the whole process, all threads. All of it is pinned to one
CPU, unless `--free`: on two, a virtual machine measures its wake-ups.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec.asyn
from fsspec.implementations.memory import MemoryFileSystem as FsspecMemory

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.concurrency import run_coroutines
from aiovfs.fs.memory import MemoryFileSystem
from benchmarks.frame import Results, Sample, format_number

ANSWER = {"name": "a", "size": 0, "type": "file"}
FILES = 4000
BULK = 10_000
THREADS = (1, 4, 16)
DATA = bytes(128 * 1024)


class Coroutines:
    cachable = False

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return ANSWER

    async def _size(self, path: str) -> int:
        await asyncio.sleep(0)
        return 0

    async def _checksum(self, path: str) -> bytes:
        return hashlib.sha256(DATA).digest()


class Theirs(Coroutines, fsspec.asyn.AsyncFileSystem):  # type: ignore[misc]
    checksum = fsspec.asyn.sync_wrapper(Coroutines._checksum)


class Ours(Coroutines, AsyncFileSystem):
    pass


class OursEager(Ours):
    eager = frozenset({"_info"})


class OursSpread(Ours):
    loop_per_thread = True


def timed(work: Callable[[], Any], operations: int) -> dict[str, float]:
    """Wall and CPU microseconds per operation of `work()`, which does that many."""
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    work()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"us": wall / operations / 1000, "cpu_us": cpu / operations / 1000}


def calls(function: Callable[[], Any], count: int) -> dict[str, float]:
    """Of `count` calls, one after the other."""

    def work() -> None:
        for _ in range(count):
            function()

    function()
    return timed(work, count)


def from_threads(function: Callable[[], Any], threads: int, count: int) -> dict[str, float]:
    """Of `count` calls from each of several threads."""

    def work() -> None:
        def call() -> None:
            for _ in range(count):
                function()

        running = [threading.Thread(target=call) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    function()
    return timed(work, threads * count)


def bulk(run: Callable[..., Any], steps: int) -> dict[str, float]:
    """Of `BULK` coroutines, 128 at a time, each of which waits 0 to `steps` turns of the loop."""

    async def item(number: int) -> int:
        for _ in range(number % (steps + 1)):
            await asyncio.sleep(0)
        return number

    async def main() -> dict[str, float]:
        coros = [item(number) for number in range(BULK)]
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        await run(coros, batch_size=128)
        return {
            "us": (time.perf_counter_ns() - wall) / BULK / 1000,
            "cpu_us": (time.process_time_ns() - cpu) / BULK / 1000,
        }

    return asyncio.run(main())


def cases(scale: float) -> dict[str, dict[str, Callable[[], dict[str, float]]]]:
    """What is measured: case, subject, and how."""
    theirs, ours, eager, spread = Theirs(), Ours(), OursEager(), OursSpread()
    loop = fsspec.asyn.get_loop()
    some = max(int(2000 * scale), 50)
    their_memory, our_memory = FsspecMemory(skip_instance_cache=True), MemoryFileSystem(tree="benchmark")
    for number in range(FILES):
        their_memory.pipe_file(f"/benchmark/{number}", b"x")
        our_memory.pipe_file(f"/benchmark/{number}", b"x")

    def bare() -> int:
        return asyncio.run_coroutine_threadsafe(ours._size("a"), loop).result()

    chosen: dict[str, dict[str, Callable[[], dict[str, float]]]] = {
        "does not wait": {
            "fsspec": lambda: calls(lambda: theirs.info("a"), some),
            "aiovfs": lambda: calls(lambda: eager.info("a"), some * 20),
        },
        "waits": {
            "fsspec": lambda: calls(lambda: theirs.size("a"), some),
            "bare": lambda: calls(bare, some),
            "aiovfs": lambda: calls(lambda: ours.size("a"), some),
        },
    }
    for threads in THREADS:
        each = max(some // threads, 20)
        chosen[f"waits, {threads} threads"] = {
            "fsspec": lambda n=threads, c=each: from_threads(lambda: theirs.size("a"), n, c),  # type: ignore[misc]
            "bare": lambda n=threads, c=each: from_threads(bare, n, c),  # type: ignore[misc]
            "aiovfs": lambda n=threads, c=each: from_threads(lambda: ours.size("a"), n, c),  # type: ignore[misc]
            "aiovfs, several loops": lambda n=threads, c=each: from_threads(lambda: spread.size("a"), n, c),  # type: ignore[misc]
        }
    for threads in THREADS:
        each = max(some // 8 // threads, 10)
        chosen[f"hashes 128 KiB, {threads} threads"] = {
            "fsspec": lambda n=threads, c=each: from_threads(lambda: theirs.checksum("a"), n, c),  # type: ignore[misc]
            "aiovfs": lambda n=threads, c=each: from_threads(lambda: ours.checksum("a"), n, c),  # type: ignore[misc]
            "aiovfs, several loops": lambda n=threads, c=each: from_threads(lambda: spread.checksum("a"), n, c),  # type: ignore[misc]
        }
    chosen |= {
        "bulk of no-ops": {
            "fsspec": lambda: bulk(fsspec.asyn._run_coros_in_chunks, 0),
            "aiovfs": lambda: bulk(run_coroutines, 0),
        },
        "bulk that waits": {
            "fsspec": lambda: bulk(fsspec.asyn._run_coros_in_chunks, 8),
            "aiovfs": lambda: bulk(run_coroutines, 8),
        },
        f"info of {FILES}": {
            "fsspec": lambda: calls(lambda: their_memory.info(f"/benchmark/{FILES - 1}"), max(some // 20, 10)),
            "aiovfs": lambda: calls(lambda: our_memory.info(f"/benchmark/{FILES - 1}"), some * 10),
        },
        "new instance": {
            "fsspec": lambda: calls(Theirs, max(some // 5, 10)),
            "aiovfs": lambda: calls(Ours, max(some // 5, 10)),
        },
    }
    return chosen


def ratios(results: Results) -> str:
    """fsspec's over ours, of time and of CPU."""
    lines = []
    for case in results.cases():
        for subject in ("aiovfs", "aiovfs, several loops"):
            pairs = [
                [results.median(name, case, figure) for name in ("fsspec", subject)] for figure in ("us", "cpu_us")
            ]
            if all(value for pair in pairs for value in pair):
                times, cpu = (format_number(pair[0] / pair[1]) for pair in pairs)  # type: ignore[operator]
                lines.append(f"{case}: {subject} takes {times} times less time, {cpu} times less CPU")
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, save."""
    parser = argparse.ArgumentParser(description="What the engine of fs costs, beside fsspec's.")
    parser.add_argument("--quick", action="store_true", help="two short repeats: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer operations")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the CPU of all threads")
    parser.add_argument("--free", action="store_true", help="on any CPU: what several loops are for, and far noisier")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.scale = 2, 0.2
    results = Results("fs_sync", {k: v for k, v in vars(options).items() if k != "output"})
    if not options.free:
        os.sched_setaffinity(0, {options.cpu})  # before any thread is started
    chosen = cases(options.scale)
    for repeat in range(1, options.repeats + 1):
        for case, subjects in chosen.items():
            for subject, measure in subjects.items():
                results.add(Sample(subject, case, repeat, measure()))
    print("\nµs per operation · CPU µs per operation; medians\n")
    print(results.table(["us", "cpu_us"]))
    print(f"\n{ratios(results)}\n\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
