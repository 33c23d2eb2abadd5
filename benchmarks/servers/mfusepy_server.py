# mypy: ignore-errors
# The interpreter of the rivals runs this; the type checker does not see their packages.
"""The name space served by mfusepy (synchronous, one thread): `python -m benchmarks.servers.mfusepy_server MOUNTPOINT`.

libfuse's high-level interface looks nodes up by path and keeps the numbers itself.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

import mfusepy

from benchmarks.servers.namespace import BLOCK, BUFFERED, Node, build


def finish(node: Node) -> None:
    """mfusepy takes attributes as a dictionary."""
    node.reply = {"st_mode": node.mode, "st_size": node.size, "st_nlink": 1, "st_ino": node.ino}


class Handlers:
    """In-memory handlers; not derived from mfusepy.Operations, so that libfuse itself answers what is not here."""

    use_ns = True

    def __init__(self) -> None:
        nodes = build(finish)
        self.root = nodes[1]
        self.by_path: dict[str, Node] = {"/": self.root}
        for name, node in self.root.children.items():
            path = f"/{name.decode()}"
            self.by_path[path] = node
            for child, below in (node.children or {}).items():
                self.by_path[f"{path}/{child.decode()}"] = below
        self.open_files: dict[int, Node] = {}
        self.next_ino = len(nodes) + 1

    def find(self, path):
        try:
            return self.by_path[path]
        except KeyError:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def getattr(self, path, fh=None):
        return self.find(path).reply

    def open(self, path, fi):
        node = self.find(path)
        fi.fh, fi.direct_io = node.ino, int(node.ino != BUFFERED)
        self.open_files[node.ino] = node
        return 0

    def create(self, path, mode, fi):
        node = Node(self.next_ino, stat.S_IFREG | mode)
        self.next_ino += 1
        finish(node)
        self.by_path[path] = self.root.children[os.fsencode(path[1:])] = node
        self.open_files[node.ino] = node
        fi.fh, fi.direct_io = node.ino, 1
        return 0

    def read(self, path, size, offset, fi):
        return BLOCK[:size]

    def write(self, path, data, offset, fi):
        memoryview(self.open_files[fi.fh].data)[offset : offset + len(data)] = data
        return len(data)

    def release(self, path, fi):
        return 0

    def unlink(self, path):
        node = self.find(path)
        del self.by_path[path], self.root.children[os.fsencode(path[1:])]
        self.open_files.pop(node.ino, None)
        return 0

    def readdir(self, path, fh):
        return [".", "..", *(name.decode() for name in self.find(path).children)]


if __name__ == "__main__":
    # The time-outs are given as options: set on the configuration structure in init(), they had no effect.
    timeouts = {"entry_timeout": 0, "attr_timeout": 0, "negative_timeout": 0}
    mfusepy.FUSE(Handlers(), sys.argv[1], raw_fi=True, foreground=True, nothreads=True, fsname="benchmark", **timeouts)
