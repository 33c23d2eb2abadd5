"""Files on any store, from blocking code and from tasks: positioned reads, text, compression, transactions.

python examples/open_files.py                # in memory
python examples/open_files.py aios3://bucket/prefix
"""

from __future__ import annotations

import sys

import anyio
import fsspec


async def read_here_and_there(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Any number of reads of one file at once."""
    async with await fs.open_async(path) as file, anyio.create_task_group() as group:

        async def show(offset: int) -> None:
            print(f"at {offset}:", (await file.pread(8, offset=offset)).decode().strip())

        for offset in (0, 8000, 72):
            group.start_soon(show, offset)


async def count_lines(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Text out of a compressed file, line by line."""
    async with await fs.open_async(path, "r", compression="infer") as file:
        print("lines:", len([line async for line in file]))


def main() -> None:
    """Write, read, and change several files in one step."""
    fs, top = fsspec.url_to_fs(sys.argv[1] if len(sys.argv) > 1 else "aiomemory://example")
    with fs.open(f"{top}/numbers", "w") as file:
        file.writelines(f"{number:7d}\n" for number in range(5000))
    with fs.open(f"{top}/numbers.gz", "wt", compression="infer") as file:
        file.writelines(f"{number}\n" for number in range(5000))
    anyio.run(read_here_and_there, fs, f"{top}/numbers")
    anyio.run(count_lines, fs, f"{top}/numbers.gz", backend="trio" if "--trio" in sys.argv else "asyncio")
    try:
        with fs.open(f"{top}/numbers", "w") as file:
            file.write("half a file")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        print("still whole:", fs.size(f"{top}/numbers"))
    with fs.transaction:
        fs.pipe_file(f"{top}/new", b"both or neither")
        fs.rm(f"{top}/numbers")
        print("before the end:", sorted(name.rpartition("/")[2] for name in fs.find(top)))
    print("after it:", sorted(name.rpartition("/")[2] for name in fs.find(top)))


if __name__ == "__main__":
    main()
