"""Which core serves requests: the one in C where it was built, else the one in Python. Both do the same.

`NATIVE` is the extension module or None, `REASON` says why; sessions ask `runner` when they start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from aiovfs.fuse.device import Device
from aiovfs.fuse.drain import Drain, Waiting
from aiovfs.fuse.native import load
from aiovfs.fuse.protocol.flags import InitFlags

__all__ = ["NATIVE", "REASON", "Run", "runner"]

Run: TypeAlias = Callable[[], tuple[Waiting | None, bool]]

NATIVE, REASON = load("_core")


def runner(drain: Drain, agreed: InitFlags) -> Run:
    """What serves the requests of `drain`, in a session that agreed to the features `agreed`."""
    if NATIVE is None or type(drain.device) is not Device:
        return drain.run
    run: Run = NATIVE.Core(drain, int(agreed)).run
    return run
