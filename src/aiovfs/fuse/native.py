"""Are the parts in C used? Each has a twin in Python that does the same; this decides, and says why.

`AIOVFS_PURE=1` in the environment chooses Python, read once when aiovfs is imported.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

__all__ = ["load"]


def load(name: str, package: str = "aiovfs.fuse") -> tuple[ModuleType | None, str]:
    """The extension module `name` of a package, or None; and why."""
    if os.environ.get("AIOVFS_PURE") == "1":
        return None, "AIOVFS_PURE=1 chooses Python"
    try:
        module = importlib.import_module(f"{package}.{name}")
    except ImportError as error:
        return None, f"the extension cannot be loaded: {error}"
    return module, f"loaded from {module.__file__}"
