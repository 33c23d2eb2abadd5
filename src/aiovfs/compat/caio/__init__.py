"""caio's interface on `aiovfs.aio`: `from aiovfs.compat import caio`.

Programs written for caio 0.12 run with that import, or unchanged with the distribution under `packaging/caio-shim`.
The four implementations are what they say: `uring` a ring, `linux` kernel AIO, `thread` a pool of threads in C,
`python` threads of Python; those that the kernel or a container forbids are None. What differs from caio, and why, is
in `docs/howto/move-from-caio.md`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aiovfs.compat.caio import python_aio, python_aio_asyncio, selection
from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation

__version__ = "0.12.10"
"""The version of caio whose interface this is."""

__author__ = "the authors of aiovfs"

__all__ = (
    "AbstractContext",
    "AbstractOperation",
    "AsyncioContext",
    "Context",
    "Operation",
    "__author__",
    "__version__",
    "linux_aio",
    "linux_aio_asyncio",
    "linux_uring",
    "linux_uring_asyncio",
    "python_aio",
    "python_aio_asyncio",
    "thread_aio",
    "thread_aio_asyncio",
    "variants",
    "variants_asyncio",
)


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError:
        return None  # forbidden here, or the parts in C were not built


linux_uring = _import("linux_uring")
linux_uring_asyncio = _import("linux_uring_asyncio")
linux_aio = _import("linux_aio")
linux_aio_asyncio = _import("linux_aio_asyncio")
thread_aio = _import("thread_aio")
thread_aio_asyncio = _import("thread_aio_asyncio")

variants: tuple[ModuleType, ...] = tuple(filter(None, (linux_uring, linux_aio, thread_aio, python_aio)))
variants_asyncio: tuple[ModuleType, ...] = tuple(
    filter(None, (linux_uring_asyncio, linux_aio_asyncio, thread_aio_asyncio, python_aio_asyncio))
)

_chosen = selection.IMPLEMENTATIONS[
    selection.choose(
        {"uring": linux_uring, "linux": linux_aio, "thread": thread_aio, "python": python_aio}, Path(__file__).parent
    )
]
preferred: Any = globals()[_chosen]
preferred_asyncio: Any = globals()[f"{_chosen}_asyncio"]

if TYPE_CHECKING:
    from aiovfs.compat.caio.python_aio import Context, Operation
    from aiovfs.compat.caio.python_aio_asyncio import AsyncioContext
else:
    Context = preferred.Context
    Operation = preferred.Operation
    AsyncioContext = preferred_asyncio.AsyncioContext
