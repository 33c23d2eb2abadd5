"""Use a store from async code, without a mount: list a directory and read its files side by side.

Usage: read_async.py URL [asyncio|trio]
"""

import sys

import anyio

from aiovfs import fs


async def main(url: str) -> None:
    store = await fs.open_store(url, read_only=True)
    try:
        sizes: dict[str, int] = {}

        async def measure(name: str) -> None:
            reader = await store.open_reader(name, await store.info(name))
            sizes[name] = len(await reader.read(0, 1 << 20))
            await reader.aclose()

        async with anyio.create_task_group() as group:
            for entry in await store.list(""):
                if entry.kind is fs.Kind.FILE:
                    group.start_soon(measure, entry.name)
        for name, size in sorted(sizes.items()):
            print(f"{size:>10} {name}")
    finally:
        await store.aclose()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[2] if len(sys.argv) > 2 else "asyncio")
