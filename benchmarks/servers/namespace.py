"""The in-memory name space that every metadata server serves, so that only the libraries differ.

    /file        256 MiB of a repeated block, for stat, open and reads
    /target      4 MiB that is written to
    /buffered    256 MiB as /file, opened without direct_io: for reads through the page cache
    /many/       10,000 empty files
    /new-PID     made and removed by the load generator

Standard library only: it is imported by the rivals' interpreter too.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

__all__ = ["BLOCK", "BUFFERED", "MANY", "TARGET_SIZE", "Node", "build"]

MANY = 10_000
FILE_SIZE = 256 << 20
TARGET_SIZE = 4 << 20
BUFFERED = 4
"""The number of /buffered."""
BLOCK = bytes(range(256)) * (1 << 12)
"""1 MiB; a read at any offset returns its beginning, as long as was asked for."""


class Node:
    """A file or a directory. `reply` is the library's own attributes object, made once for each node."""

    __slots__ = ("children", "data", "ino", "mode", "reply", "size")

    def __init__(self, ino: int, mode: int, size: int = 0) -> None:
        self.ino = ino
        self.mode = mode
        self.size = size
        self.children: dict[bytes, Node] | None = {} if stat.S_ISDIR(mode) else None
        self.data: bytearray | None = None
        self.reply: Any = None


def build(finish: Callable[[Node], None]) -> dict[int, Node]:
    """All nodes by number; the root is 1. `finish` gives each node its `reply`."""
    nodes: dict[int, Node] = {}

    def add(parent: Node | None, name: bytes, mode: int, size: int = 0) -> Node:
        node = Node(len(nodes) + 1, mode, size)
        nodes[node.ino] = node
        if parent is not None:
            assert parent.children is not None
            parent.children[name] = node
        return node

    root = add(None, b"", stat.S_IFDIR | 0o755)
    add(root, b"file", stat.S_IFREG | 0o644, FILE_SIZE)
    target = add(root, b"target", stat.S_IFREG | 0o644, TARGET_SIZE)
    target.data = bytearray(TARGET_SIZE)
    assert add(root, b"buffered", stat.S_IFREG | 0o644, FILE_SIZE).ino == BUFFERED
    many = add(root, b"many", stat.S_IFDIR | 0o755)
    for number in range(MANY):
        add(many, b"n%05d" % number, stat.S_IFREG | 0o644)
    for node in nodes.values():
        finish(node)
    return nodes
