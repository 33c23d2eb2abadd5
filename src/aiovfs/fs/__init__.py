"""One interface to every store: file systems with a root, driven on the loop they belong to.

`open_store` turns a URL, or a live fsspec file system, into a `Store`.
"""

from __future__ import annotations

from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.registry import known_protocols, open_store, redact, storage_option_names
from aiovfs.fs.store import Progress, Reader, Store, StoreFile

__all__ = [
    "Capabilities",
    "Info",
    "Kind",
    "Progress",
    "Reader",
    "Store",
    "StoreFile",
    "known_protocols",
    "open_store",
    "redact",
    "storage_option_names",
]
