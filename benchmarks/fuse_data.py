"""What moving data through FUSE costs: large reads and writes, direct, through a cold page cache, and by mapping.

    python -m benchmarks.fuse_data --quick
    python -m benchmarks.fuse_data --repeats 3

read_… and write_… go to the server each time (direct_io). cold_… read a file from start to end through the page cache,
which is dropped before each pass: the kernel reads ahead, so requests are up to 128 KiB (its read-ahead window), or
1 MiB with the option `readahead`. map_cold touches a page of each 128 KiB of a mapping.
"""

from __future__ import annotations

from benchmarks.fuse_frame import Case, drive

NAMES = ("read_128k", "read_1m", "write_128k", "write_1m", "cold_128k", "cold_1m", "map_cold")

if __name__ == "__main__":
    drive("fuse_data", "Large reads and writes: ours against the others.", [Case(name, name) for name in NAMES])
