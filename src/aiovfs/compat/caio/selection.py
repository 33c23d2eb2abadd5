"""Which implementation is the preferred one: `CAIO_IMPL`, the file `default_implementation`, or the best that works.

The shim distribution calls the same function with its own folder and modules, so that both choose alike.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

__all__ = ["IMPLEMENTATIONS", "choose"]

IMPLEMENTATIONS = {
    "uring": "linux_uring",
    "linux": "linux_aio",
    "thread": "thread_aio",
    "python": "python_aio",
}
"""The names that may be asked for, and their modules, best first."""


def choose(available: Mapping[str, ModuleType | None], folder: Path, *, stacklevel: int = 2) -> str:
    """The name of the implementation to use, among those of `available` that are there.

    `CAIO_IMPL` decides; an unknown or unavailable name there is a `RuntimeWarning`, and the best is taken. Without it,
    the first line of `folder/default_implementation` that is such a name (and no comment) decides.
    """
    names = tuple(name for name in IMPLEMENTATIONS if available.get(name) is not None)
    requested = os.environ.get("CAIO_IMPL")
    if requested:
        if requested in names:
            return requested
        warnings.warn(
            f"CAIO_IMPL contains unsupported value {requested!r}. Use one of {names!r}",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )
        return names[0]
    try:
        lines = (folder / "default_implementation").read_text().splitlines()
    except OSError:
        return names[0]
    return next((line.strip() for line in lines if line.strip() in names), names[0])
