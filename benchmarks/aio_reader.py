"""The program that is measured: random 4 KiB reads of one file by one library, and nothing else in the process.

    python benchmarks/aio_reader.py LIBRARY CASE DEPTH SECONDS FILE

Prints one line of JSON: reads a second, CPU microseconds a read (all threads), and for the case `timer` how late a
timer of one millisecond was. Cases: `cached`, `cold` (the page cache of the file was dropped; no read-ahead), `timer`
(cached, with the timer). Imports nothing of this project but what `LIBRARY` names: it runs in the rivals' environment
too.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

PAGE = 4096
TIMER = 0.001
Read = Callable[[int], Awaitable[bytes]]


async def ours(name: str, path: str) -> Callable[[], Awaitable[Read]]:
    from aiovfs import aio
    from aiovfs.aio import select

    if name != "default":
        select._chosen = select.choose(name)
    engine: Any = aio.current()
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    async def reader() -> Read:
        return lambda offset: engine.read(fd, PAGE, offset)  # type: ignore[no-any-return]

    return reader


async def caio(module: Any, path: str) -> Callable[[], Awaitable[Read]]:
    context = module.AsyncioContext()
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    async def reader() -> Read:
        return lambda offset: context.read(PAGE, fd, offset)  # type: ignore[no-any-return]

    return reader


async def one_file_each(open_file: Callable[[], Awaitable[Any]], read_at: Any) -> Callable[[], Awaitable[Read]]:
    async def reader() -> Read:
        file = await open_file()
        return lambda offset: read_at(file, offset)  # type: ignore[no-any-return]

    return reader


async def library(name: str, path: str) -> Callable[[], Awaitable[Read]]:
    """What makes a function that reads at an offset, for each task one."""
    kind, _, variant = name.partition(":")
    if kind == "aiovfs":
        return await ours(variant or "default", path)
    if kind == "compat":
        from aiovfs.compat import caio as compat

        return await caio(getattr(compat, f"{variant}_asyncio") if variant else compat, path)
    if kind == "caio":
        import caio as original

        return await caio(getattr(original, f"{variant}_asyncio") if variant else original, path)
    if kind == "aiofiles":
        import aiofiles

        async def seek_and_read(file: Any, offset: int) -> bytes:
            await file.seek(offset)
            return await file.read(PAGE)  # type: ignore[no-any-return]

        async def opened() -> Any:
            return await aiofiles.open(path, "rb", buffering=0)

        return await one_file_each(opened, seek_and_read)
    if kind == "ayafileio":
        import ayafileio

        async def aya() -> Any:
            return await ayafileio.open(path, "rb").__aenter__()

        return await one_file_each(aya, lambda file, offset: file.read_at(offset, PAGE))
    if kind == "asyncfiles":
        import asyncfiles

        async def files() -> Any:
            return await asyncfiles.open(path, "rb").__aenter__()

        def seek_then_read(file: Any, offset: int) -> Awaitable[bytes]:
            file.seek(offset)
            return file.read(PAGE)  # type: ignore[no-any-return]

        return await one_file_each(files, seek_then_read)
    if kind == "pread":
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

        async def blocking(offset: int) -> bytes:
            return os.pread(fd, PAGE, offset)

        async def blocked() -> Read:
            return blocking

        return blocked
    if kind == "anyio":
        import anyio

        async def any_file() -> Any:
            return await anyio.open_file(path, "rb", buffering=0)

        return await one_file_each(any_file, seek_and_read_both)
    raise SystemExit(f"no library {name!r}")


async def seek_and_read_both(file: Any, offset: int) -> bytes:
    await file.seek(offset)
    return await file.read(PAGE)  # type: ignore[no-any-return]


async def measure_on_trio(name: str, case: str, depth: int, seconds: float, path: str) -> dict[str, float]:
    """As `measure`, without the timer, for `trio:aiovfs` and `trio:open_file`."""
    import trio

    pages = os.path.getsize(path) // PAGE
    fd = os.open(path, os.O_RDONLY)
    if case == "cold":
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    while case != "cold" and os.read(fd, 1 << 20):
        pass
    reads = 0
    until = 0.0
    engine: Any = None
    if name == "trio:aiovfs":
        from aiovfs import aio

        engine = aio.current()

    prepared = []
    for seed in range(depth):
        pick = random.Random(seed).randrange
        file = None if engine is not None else await trio.open_file(path, "rb", buffering=0)
        prepared.append((file, [pick(pages) * PAGE for _ in range(8192)]))

    async def task(file: Any, offsets: list[int]) -> None:
        nonlocal reads
        while time.monotonic() < until:
            at = reads % 8192
            for offset in offsets[at : at + 16]:
                data = await (engine.read(fd, PAGE, offset) if file is None else seek_and_read_both(file, offset))
                if not data:
                    raise SystemExit("read nothing")
            reads += 16

    until = time.monotonic() + seconds
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    async with trio.open_nursery() as nursery:
        for each in prepared:
            nursery.start_soon(task, *each)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"k_ops": reads / wall * 1e6, "cpu_us": cpu / reads / 1000}


async def measure(name: str, case: str, depth: int, seconds: float, path: str) -> dict[str, float]:
    pages = os.path.getsize(path) // PAGE
    fd = os.open(path, os.O_RDONLY)
    if case == "cold":
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    else:
        while os.read(fd, 1 << 20):
            pass
    make = await library(name, path)
    reads = 0
    late: list[float] = []
    begun: list[int] = []
    start = asyncio.Event()
    until = time.monotonic() + 60

    async def task(seed: int) -> None:
        nonlocal reads
        pick = random.Random(seed).randrange
        offsets = [pick(pages) * PAGE for _ in range(8192)]
        read = await make()
        begun.append(seed)
        await start.wait()
        while time.monotonic() < until:
            at = reads % 8192
            for offset in offsets[at : at + 16]:
                if not await read(offset):
                    raise SystemExit("read nothing")
            reads += 16

    async def timer() -> None:
        while time.monotonic() < until:
            expected = time.monotonic() + TIMER
            await asyncio.sleep(TIMER)
            late.append(time.monotonic() - expected)

    tasks = [asyncio.create_task(task(seed)) for seed in range(depth)]
    while len(begun) < depth:  # opening files, and what the reads are, is not measured
        await asyncio.sleep(0.005)
    until = time.monotonic() + seconds
    ticking = asyncio.create_task(timer()) if case == "timer" else None
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    start.set()
    await asyncio.gather(*tasks)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    figures = {"k_ops": reads / wall * 1e6, "cpu_us": cpu / reads / 1000}
    if ticking is not None:
        ticking.cancel()
        late.sort()
        figures["ticks"] = len(late)
        figures["late_p50_ms"] = late[len(late) // 2] * 1000 if late else seconds * 1000
        figures["late_p99_ms"] = late[len(late) * 99 // 100] * 1000 if late else seconds * 1000
    return figures


def main() -> None:
    name, case, depth, seconds, path = sys.argv[1:]
    if name.startswith("trio:"):
        import trio

        figures = trio.run(measure_on_trio, name, case, int(depth), float(seconds), path)
    elif name.endswith("@uvloop"):
        import uvloop

        uvloop.install()
        figures = asyncio.run(measure(name.removesuffix("@uvloop"), case, int(depth), float(seconds), path))
    else:
        figures = asyncio.run(measure(name, case, int(depth), float(seconds), path))
    print(json.dumps(figures), flush=True)
    os._exit(0)  # files that are still open are nobody's concern


if __name__ == "__main__":
    main()
