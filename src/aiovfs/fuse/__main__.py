"""`python -m aiovfs.fuse keep COMMAND …`: run a server, and hold its mount while it is started anew."""

from __future__ import annotations

import sys

from aiovfs.fuse.keeper import keep

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] != "keep":
        sys.exit("usage: python -m aiovfs.fuse keep COMMAND [ARGUMENT …]")
    sys.exit(keep(sys.argv[2:]))
