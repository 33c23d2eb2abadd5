"""A file system becomes a directory: the VFS, its caches, and the ways to serve it.

This package is also a function: `aiovfs.mount(url, directory)` is `aiovfs.mount.embedding.mount`. The name is the
obvious one for both, and whichever submodule is imported first would otherwise replace the function by the package.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiovfs.mount.embedding import Mount

__all__ = ["Mount"]


class _CallableModule(ModuleType):
    def __call__(self, url_or_fs: Any, directory: Any, **options: Any) -> Mount:
        """Mount `url_or_fs` on `directory`; the contract is at `aiovfs.mount.embedding.mount`."""
        from aiovfs.mount.embedding import mount

        return mount(url_or_fs, directory, **options)


sys.modules[__name__].__class__ = _CallableModule


def __getattr__(name: str) -> Any:
    if name == "Mount":
        from aiovfs.mount.embedding import Mount

        return Mount
    raise AttributeError(f"module 'aiovfs.mount' has no attribute {name!r}")
