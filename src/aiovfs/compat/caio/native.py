"""The parts in C, unless `AIOVFS_PURE=1` chooses Python; then importing this is an `ImportError` that says so."""

from __future__ import annotations

import os

if os.environ.get("AIOVFS_PURE") == "1":
    raise ImportError("AIOVFS_PURE=1 chooses Python; of caio's implementations that leaves `python`")

from aiovfs.compat.caio import _contexts as contexts

__all__ = ["contexts"]
