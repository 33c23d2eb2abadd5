"""One interface to every store, in two forms.

`AsyncFileSystem` is what authors derive from: fsspec's contract on an engine of ours, with coroutines for any loop and
blocking methods made from them. `sync_wrapper`, `async_gen_wrapper`, `sync`, `sync_teardown` and `get_loop` are
fsspec's tools for that. `AsyncFileSystemWrapper` makes an async file system out of a synchronous one, and
`portable(fs)` gives any of fsspec's file systems coroutines that may be awaited on every loop.

`open_store` turns a URL, or a live fsspec file system, into a `Store`: a file system with a root, driven on the loop it
belongs to. Mounts are made of those.
"""

from __future__ import annotations

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.carried import CarriedFileSystem, portable
from aiovfs.fs.facade import async_gen_wrapper, get_loop, sync, sync_teardown, sync_wrapper
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.registry import known_protocols, open_store, redact, storage_option_names
from aiovfs.fs.store import Progress, Reader, Store, StoreFile
from aiovfs.fs.wrapper import AsyncFileSystemWrapper

__all__ = [
    "AsyncFileSystem",
    "AsyncFileSystemWrapper",
    "Capabilities",
    "CarriedFileSystem",
    "Info",
    "Kind",
    "LocalFileSystem",
    "MemoryFileSystem",
    "Progress",
    "Reader",
    "Store",
    "StoreFile",
    "async_gen_wrapper",
    "get_loop",
    "known_protocols",
    "open_store",
    "portable",
    "redact",
    "storage_option_names",
    "sync",
    "sync_teardown",
    "sync_wrapper",
]
