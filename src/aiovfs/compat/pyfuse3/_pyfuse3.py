"""`pyfuse3._pyfuse3`, once the top-level `_pyfuse3`: where pyfuse3 keeps `Operations`; some import it from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiovfs.compat.pyfuse3.operations import Operations
from aiovfs.compat.pyfuse3.values import FUSEError

__all__ = [
    "FUSEError",
    "FileHandleT",
    "FileNameT",
    "FlagT",
    "InodeT",
    "ModeT",
    "Operations",
    "XAttrNameT",
    "async_wrapper",
]

# Used as annotations and as constructors alike: `InodeT(x + 1)`, `InodeT | None`.
FileHandleT: TypeAlias = int
FlagT: TypeAlias = int
InodeT: TypeAlias = int
ModeT: TypeAlias = int
FileNameT: TypeAlias = bytes
XAttrNameT: TypeAlias = bytes


def async_wrapper(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
    """An `async def` that awaits `fn(…)` and drops what it returns."""

    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await fn(*args, **kwargs)

    return wrapper
