"""Put this package where programs look for pyfuse3, for those that cannot be edited."""

from __future__ import annotations

import importlib
import sys

__all__ = ["ALIASES", "install"]

HOME = __name__.rpartition(".")[0]
ALIASES = {
    "pyfuse3": HOME,
    "pyfuse3.asyncio": f"{HOME}.asyncio",
    "pyfuse3._pyfuse3": f"{HOME}._pyfuse3",
    "pyfuse3_asyncio": f"{HOME}.asyncio",
    "_pyfuse3": f"{HOME}._pyfuse3",
}
"""Module name → the module of ours that answers to it. The last two are where pyfuse3 had them up to 3.4.1."""


def install() -> None:
    """Let `import pyfuse3` (and `pyfuse3.asyncio`, `pyfuse3_asyncio`, `_pyfuse3`) mean this package, in this process.

    To be called before any of them is imported; again is fine. Raises `ImportError` when the real pyfuse3 was imported
    already: some modules would then hold the one and some the other.
    """
    for name in ALIASES:
        there = sys.modules.get(name)
        if there is not None and not there.__name__.startswith(HOME):
            raise ImportError(
                f"{name} was imported already, from {getattr(there, '__file__', None)}; "
                f"call {HOME}.install() before anything imports it",
                name=name,
            )
    for name, ours in ALIASES.items():
        sys.modules[name] = importlib.import_module(ours)
