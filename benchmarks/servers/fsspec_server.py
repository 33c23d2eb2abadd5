# mypy: ignore-errors
# The interpreter of the rivals runs this; the type checker does not see their packages.
"""A store mounted by fsspec.fuse: `python -m benchmarks.servers.fsspec_server URL MOUNTPOINT`."""

from __future__ import annotations

import sys

import fsspec
import fsspec.fuse

if __name__ == "__main__":
    fs, path = fsspec.core.url_to_fs(sys.argv[1])
    fsspec.fuse.run(fs, path.rstrip("/") + "/", sys.argv[2], foreground=True, threads=False)
