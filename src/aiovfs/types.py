"""Values that several layers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, TypeAlias

__all__ = ["Buffer", "FileHandle", "NodeId", "Usage"]

NodeId = NewType("NodeId", int)
"""The 64-bit number that the kernel and we use for a node during one mount. The root is 1."""

FileHandle = NewType("FileHandle", int)
"""The number of one open file, chosen by the file system."""

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a file system is: what statfs(2) reports. Sizes are bytes."""

    size: int
    free: int
    available: int
    files: int = 0
    files_free: int = 0
    block_size: int = 4096
    name_length: int = 255
