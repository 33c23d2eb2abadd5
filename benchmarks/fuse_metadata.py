"""What one FUSE request costs: metadata and small I/O in memory, ours against pyfuse3, mfusepy and libfuse in C.

    python -m benchmarks.fuse_metadata --quick
    python -m benchmarks.fuse_metadata --repeats 5 --seconds 0.5 --clients 1

All servers serve the same name space (servers/namespace.py) with all time-outs 0, so that each operation reaches the
server: stat = LOOKUP + GETATTR, open_close = LOOKUP, OPEN, FLUSH, RELEASE, and so on. Client and server share one CPU
by default: that measures work; with two CPUs a virtual machine measures its wake-ups.
"""

from __future__ import annotations

from benchmarks.fuse_frame import Case, drive

NAMES = ("stat", "fstat", "open_close", "create_unlink", "read_4k", "write_4k", "readdir_10k")

if __name__ == "__main__":
    drive(
        "fuse_metadata",
        "Metadata and small I/O: ours against pyfuse3, mfusepy and libfuse in C.",
        [Case(name, name) for name in NAMES],
    )
