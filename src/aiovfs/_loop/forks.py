"""Locks that a forked child finds open, whoever held them in the parent.

The child has one thread, a copy of the one that forked. A lock that another thread held at that moment stays locked in
the child for ever, since its holder is not there to open it. What it protected may have been half done, so this is for
locks around steps that leave nothing half done in Python's terms (one dictionary, one counter), and for those that
only keep callers apart.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TypeVar

__all__ = ["survives_fork"]

L = TypeVar("L", threading.Lock, threading.RLock)  # type: ignore[valid-type,unused-ignore]

_locks: weakref.WeakSet[object] = weakref.WeakSet()


def survives_fork(lock: L) -> L:
    """The same lock, which a forked child will find open."""
    _locks.add(lock)
    return lock


def _open_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_open_all)
