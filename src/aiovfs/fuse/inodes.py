"""nodeid ↔ object, with the lookup counts that the kernel holds. A pure data structure.

The kernel counts a lookup for every `Entry` that it receives, also for a name it already knew. It gives them back
with FORGET, which may come much later, or never (unmount). So the session counts when a reply has been *sent*, not
when a handler made it; an object that was remembered for a reply that was never sent has a count of zero and is
dropped by `discard`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Generic, TypeVar

from aiovfs.types import NodeId

__all__ = ["ROOT_NODEID", "InodeTable"]

T = TypeVar("T")

ROOT_NODEID = NodeId(1)


class InodeTable(Generic[T]):
    """The nodes that the kernel knows. The same object always gets the same nodeid; numbers are never used again.

    The root, nodeid 1, is there from the start and is never dropped. Objects are told apart by identity.
    """

    def __init__(self, root: T) -> None:
        self._objects: dict[int, T] = {ROOT_NODEID: root}
        self._nodeids: dict[int, NodeId] = {id(root): ROOT_NODEID}
        self._lookup_counts: dict[int, int] = {ROOT_NODEID: 1}
        self._next = 2

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, nodeid: int) -> bool:
        return nodeid in self._objects

    def get(self, nodeid: int) -> T:
        """The object of `nodeid`; `OSError(ESTALE)` for a number that was never given out or was forgotten."""
        try:
            return self._objects[nodeid]
        except KeyError:
            raise OSError(errno.ESTALE, f"nodeid {nodeid} is not known (any more)") from None

    def nodeid_of(self, obj: T) -> NodeId | None:
        """The nodeid of an object, if it has one."""
        return self._nodeids.get(id(obj))

    def remember(self, obj: T) -> NodeId:
        """Give `obj` a nodeid, or return the one it has. Does not count a lookup: sending the Entry does."""
        nodeid = self._nodeids.get(id(obj))
        if nodeid is None:
            nodeid = NodeId(self._next)
            self._next += 1
            self._nodeids[id(obj)] = nodeid
            self._objects[nodeid] = obj
            self._lookup_counts[nodeid] = 0
        return nodeid

    def lookup_count(self, nodeid: int) -> int:
        return self._lookup_counts.get(nodeid, 0)

    def add_lookup(self, nodeid: int, count: int = 1) -> None:
        """Count lookups of an Entry that was sent; numbers that are not in the table are the handler's own business."""
        if nodeid in self._lookup_counts:
            self._lookup_counts[nodeid] += count

    def dump(self) -> list[tuple[int, int, T]]:
        """(nodeid, lookup count, object) of every node, the root first: what `load` takes in another process."""
        return [(nodeid, self._lookup_counts[nodeid], obj) for nodeid, obj in self._objects.items()]

    def load(self, nodes: Iterable[tuple[int, int, T]]) -> None:
        """Know the nodes of a table that was dumped, instead of those that are here. New numbers are above theirs."""
        kept = list(nodes)
        if not any(nodeid == ROOT_NODEID for nodeid, _, _ in kept):
            raise ValueError("the root, nodeid 1, is not among the nodes to load; pass on all that dump() gave")
        self._objects = {nodeid: obj for nodeid, _, obj in kept}
        self._nodeids = {id(obj): NodeId(nodeid) for nodeid, _, obj in kept}
        self._lookup_counts = {nodeid: count for nodeid, count, _ in kept}
        self._next = max(self._objects) + 1

    def forget(self, nodeid: int, count: int) -> T | None:
        """Take lookups back; returns the object when these were the last ones and it was dropped."""
        if nodeid == ROOT_NODEID or nodeid not in self._lookup_counts:
            return None
        self._lookup_counts[nodeid] -= count
        return self.discard(nodeid)

    def discard(self, nodeid: int) -> T | None:
        """Drop a node that the kernel holds no lookup of (any more); returns it if it was dropped."""
        if nodeid == ROOT_NODEID or self._lookup_counts.get(nodeid, 1) > 0:
            return None
        del self._lookup_counts[nodeid]
        obj = self._objects.pop(nodeid)
        del self._nodeids[id(obj)]
        return obj
