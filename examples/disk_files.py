"""Files on disk without blocking the loop: whole files, lines, positions, directories, temporary files.

python examples/disk_files.py            # on asyncio
python examples/disk_files.py --trio
"""

from __future__ import annotations

import os
import sys

import anyio

from aiovfs import aio


async def whole_files(directory: str) -> None:
    """One call each. Readers see the old file or the new one, and after a power cut there is one of them."""
    path = os.path.join(directory, "settings")
    await aio.write_text(path, "colour = blue\n")
    await aio.write_bytes(path, b"colour = red\n", atomic=True, sync="full")
    print("settings:", (await aio.read_text(path)).strip())


async def lines(directory: str) -> None:
    """As with the builtin `open`; lines and small writes ask no disk each."""
    path = os.path.join(directory, "log")
    async with aio.open(path, "w") as file:
        for number in range(1000):
            await file.write(f"line {number}\n")
    async with aio.open(path) as file:
        print("lines:", len([line async for line in file if line.endswith("7\n")]))


async def positions(directory: str) -> None:
    """Positioned calls leave the position alone, and any number of them may run at once."""
    async with aio.open(os.path.join(directory, "data"), "wb+") as file:
        await file.pwrite(bytes(range(256)) * 256, 0, sync="data")
        first, last = await file.read_many([(0, 4), (65532, 4)])
        print("ends:", first.hex(), last.hex())
        buffer = bytearray(8)
        count = await file.preadinto(buffer, 100)
        print("in place:", count, buffer.hex())


async def past_the_page_cache(directory: str) -> None:
    """O_DIRECT: any range may be read; aligned buffers are filled without a copy."""
    path = os.path.join(directory, "data")
    try:
        async with aio.open(path, "rb", direct=True) as file:
            with aio.alloc(16384) as buffer:
                await file.preadinto(buffer, 0)
                print("direct:", buffer.view[255], len(await file.pread(10, 3)))
    except OSError as error:
        print("direct: this file system has none:", error.strerror)


async def directories(directory: str) -> None:
    """Entries come in batches; attributes of many paths are one operation."""
    names = sorted([entry.name async for entry in aio.scandir(directory) if entry.is_file])
    sizes = await aio.stat_many([os.path.join(directory, name) for name in names])
    print("sizes:", {name: status.st_size for name, status in zip(names, sizes, strict=True)})


async def main() -> None:
    """All of it, in a directory that is gone at the end."""
    async with aio.tempfile.TemporaryDirectory() as directory:
        await whole_files(directory)
        await lines(directory)
        await positions(directory)
        await past_the_page_cache(directory)
        await directories(directory)
    print("gone:", not await aio.exists(directory))


if __name__ == "__main__":
    anyio.run(main, backend="trio" if "--trio" in sys.argv else "asyncio")
