"""Files on disk for async code. For now `disk`: positioned reads and writes, and blocking calls in threads."""

from __future__ import annotations

from aiovfs.aio import disk
from aiovfs.aio.disk import fsync, ftruncate, pread, pwrite, run

__all__ = ["disk", "fsync", "ftruncate", "pread", "pwrite", "run"]
