"""The program that is measured: files and paths by one library, and nothing else in the process.

    python benchmarks/aio_files_program.py LIBRARY CASE SECONDS DIRECTORY

Prints one line of JSON: thousand items a second and CPU microseconds an item (all threads). Cases: `lines` (of a text
file of 20,000), `writes` (of 100 bytes, sequential), `small` (4 KiB files read whole), `stat`, `durable` (a file of
4 KiB replaced in one step and synced). Imports nothing of this project but what `LIBRARY` names: it runs in the rivals'
environment too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LINES = 20_000
WRITES = 5_000
FILES = 500
REPLACED = 20


def aiovfs_calls() -> dict[str, Any]:
    from aiovfs import aio

    async def durable(path: str, data: bytes) -> None:
        await aio.write_bytes(path, data, atomic=True, sync="data")

    return {"open": aio.open, "read": aio.read_bytes, "stat": aio.stat, "durable": durable}


def aiofiles_calls(module: Any) -> dict[str, Any]:
    import importlib

    files_os = importlib.import_module(f"{module.__name__}.os")

    async def read(path: str) -> bytes:
        async with module.open(path, "rb") as file:
            return await file.read()  # type: ignore[no-any-return]

    async def durable(path: str, data: bytes) -> None:
        async with module.open(f"{path}.new", "wb") as file:
            await file.write(data)
            await file.flush()
            await asyncio.to_thread(os.fdatasync, file.fileno())
        await files_os.rename(f"{path}.new", path)
        await asyncio.to_thread(sync_directory, os.path.dirname(path))

    return {"open": module.open, "read": read, "stat": files_os.stat, "durable": durable}


def anyio_calls() -> dict[str, Any]:
    import anyio

    class Opening:
        def __init__(self, path: str, mode: str = "r") -> None:
            self._coroutine = anyio.open_file(path, mode)  # type: ignore[call-overload]

        async def __aenter__(self) -> Any:
            self._file = await self._coroutine
            return self._file

        async def __aexit__(self, *exc: object) -> None:
            await self._file.aclose()

    async def durable(path: str, data: bytes) -> None:
        async with Opening(f"{path}.new", "wb") as file:
            await file.write(data)
            await file.flush()
            await anyio.to_thread.run_sync(os.fdatasync, file.wrapped.fileno())
        await anyio.Path(f"{path}.new").rename(path)
        await anyio.to_thread.run_sync(sync_directory, os.path.dirname(path))

    return {
        "open": Opening,
        "read": lambda path: anyio.Path(path).read_bytes(),
        "stat": lambda path: anyio.Path(path).stat(),
        "durable": durable,
    }


def sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def calls_of(name: str) -> dict[str, Any]:
    if name == "aiovfs":
        return aiovfs_calls()
    if name == "anyio":
        return anyio_calls()
    if name == "compat":
        from aiovfs.compat import aiofiles as ours

        return aiofiles_calls(ours)
    import aiofiles

    return aiofiles_calls(aiofiles)


async def once(calls: dict[str, Any], case: str, directory: str) -> int:
    """Do the case once; how many items that were."""
    if case == "lines":
        async with calls["open"](f"{directory}/lines") as file:
            return len([None async for _ in file])
    if case == "writes":
        async with calls["open"](f"{directory}/written", "wb") as file:
            for _ in range(WRITES):
                await file.write(b"x" * 100)
        return WRITES
    if case == "durable":
        for _ in range(REPLACED):
            await calls["durable"](f"{directory}/durable", b"y" * 4096)
        return REPLACED
    call = calls["read" if case == "small" else "stat"]
    for number in range(FILES):
        await call(f"{directory}/small/{number}")
    return FILES


async def measure(name: str, case: str, seconds: float, directory: str) -> dict[str, float]:
    Path(directory, "small").mkdir(exist_ok=True)
    Path(directory, "lines").write_text("".join(f"a line of text, number {number}\n" for number in range(LINES)))
    for number in range(FILES):
        Path(directory, "small", str(number)).write_bytes(b"z" * 4096)
    calls = calls_of(name)
    await once(calls, case, directory)
    items, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        items += await once(calls, case, directory)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"k_ops": items / wall / 1000, "cpu_us": cpu / items * 1e6}


if __name__ == "__main__":
    library, wanted, duration, place = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(library, wanted, float(duration), place))))
