"""Which core serves requests: the one in C where it was built, else the one in Python. Both do the same.

`NATIVE` is the extension module or None, `REASON` says why; sessions ask `runner` when they start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from aiovfs.fuse.device import Device
from aiovfs.fuse.drain import Drain, Waiting
from aiovfs.fuse.native import load
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.fuse.protocol.messages import Request
from aiovfs.fuse.routes import Route

__all__ = ["NATIVE", "REASON", "Answer", "Run", "runner"]

Run: TypeAlias = Callable[[], tuple[Waiting | None, bool]]
Answer: TypeAlias = Callable[[Route, Request, Any], None]

NATIVE, REASON = load("_core")


def runner(drain: Drain, agreed: InitFlags) -> tuple[Run, Answer]:
    """What serves the requests of `drain`, in a session that agreed to the features `agreed`; and what answers late."""
    if NATIVE is None or type(drain.device) is not Device:
        return drain.run, drain.answer
    core = NATIVE.Core(drain, int(agreed))
    return core.run, core.finish
