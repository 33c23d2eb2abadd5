"""Are the parts in C used? The engine of threads does their work otherwise; this decides, and says why.

`AIOVFS_PURE=1` in the environment chooses Python.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

__all__ = ["load"]


def load(name: str) -> ModuleType:
    """The extension module `name` of this package. Raises `ImportError` that says why it is not used."""
    if os.environ.get("AIOVFS_PURE") == "1":
        raise ImportError("AIOVFS_PURE=1 chooses Python")
    try:
        return importlib.import_module(f"aiovfs.aio.{name}")
    except ImportError as error:
        raise ImportError(f"the extension cannot be loaded: {error}") from error
