"""caio's name for `aiovfs.compat.caio`: the same classes, chosen by the `default_implementation` of this folder."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiovfs.compat import caio as _served
from aiovfs.compat.caio import selection as _selection
from caio import python_aio, python_aio_asyncio
from caio.abstract import AbstractContext as AbstractContext
from caio.abstract import AbstractOperation as AbstractOperation

try:
    __version__ = version("caio")
except PackageNotFoundError:
    __version__ = _served.__version__
__author__ = _served.__author__

__all__ = _served.__all__


def _import(name):
    try:
        return importlib.import_module(f"caio.{name}")
    except ImportError:
        return None


linux_uring = _import("linux_uring")
linux_uring_asyncio = _import("linux_uring_asyncio")
linux_aio = _import("linux_aio")
linux_aio_asyncio = _import("linux_aio_asyncio")
thread_aio = _import("thread_aio")
thread_aio_asyncio = _import("thread_aio_asyncio")

variants = tuple(filter(None, (linux_uring, linux_aio, thread_aio, python_aio)))
variants_asyncio = tuple(filter(None, (linux_uring_asyncio, linux_aio_asyncio, thread_aio_asyncio, python_aio_asyncio)))

_chosen = _selection.IMPLEMENTATIONS[
    _selection.choose(
        {"uring": linux_uring, "linux": linux_aio, "thread": thread_aio, "python": python_aio}, Path(__file__).parent
    )
]
preferred = globals()[_chosen]
preferred_asyncio = globals()[f"{_chosen}_asyncio"]

Context = preferred.Context
Operation = preferred.Operation
AsyncioContext = preferred_asyncio.AsyncioContext
