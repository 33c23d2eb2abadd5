"""Which core serves requests: the one in C where it was built, else the one in Python. Both do the same.

`AIOVFS_PURE=1` in the environment chooses Python. `NATIVE` is the extension module or None, `REASON` says why; sessions
ask `runner` when they start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

from aiovfs.fuse.drain import Drain, Waiting
from aiovfs.fuse.protocol.flags import InitFlags

__all__ = ["NATIVE", "REASON", "Run", "runner"]

Run = Callable[[], tuple[Waiting | None, bool]]


def load() -> tuple[ModuleType | None, str]:
    """The extension module, or None, and why."""
    if os.environ.get("AIOVFS_PURE") == "1":
        return None, "AIOVFS_PURE=1 chooses Python"
    if os.environ.get("AIOVFS_NATIVE") != "1":
        return None, "AIOVFS_NATIVE=1 would choose C"
    try:
        from aiovfs.fuse import _core
    except ImportError as error:
        return None, f"the extension cannot be loaded: {error}"
    return _core, f"loaded from {_core.__file__}"


NATIVE, REASON = load()


def runner(drain: Drain, agreed: InitFlags) -> Run:
    """What serves the requests of `drain`, in a session that agreed to the features `agreed`."""
    if NATIVE is None:
        return drain.run
    run: Run = NATIVE.Core(drain, int(agreed)).run
    return run
