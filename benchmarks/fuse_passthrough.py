"""What passthrough gains: files of a directory through a mount, served by the kernel, by handlers, and natively.

    python -m benchmarks.fuse_passthrough --quick
    python -m benchmarks.fuse_passthrough --repeats 3

`native` is the same directory bind-mounted: the backing file system itself, with everything in its page cache. Needs
root and Linux 6.9.
"""

from __future__ import annotations

import sys

from benchmarks.frame import Subject
from benchmarks.fuse_frame import Case, drive

NAMES = ("read_4k", "read_128k", "read_1m", "write_4k", "write_128k", "map_warm", "open_close")
SERVER = (sys.executable, "-m", "benchmarks.servers.directory_server", "{scratch}/source", "{mountpoint}")

if __name__ == "__main__":
    drive(
        "fuse_passthrough",
        "Files of a directory: passed through, served by handlers, and natively.",
        [Case(name, name) for name in NAMES],
        pairs=[
            ("aiovfs passthrough", "native"),
            ("aiovfs passthrough", "aiovfs handlers"),
            ("aiovfs handlers", "native"),
        ],
        all_subjects=[
            Subject(name, (*SERVER, mode))
            for name, mode in (
                ("native", "native"),
                ("aiovfs passthrough", "passthrough"),
                ("aiovfs handlers", "handlers"),
            )
        ],
        cpu="client_cpu_us",  # passed through, an operation is the client's own work, and the server has none
    )
