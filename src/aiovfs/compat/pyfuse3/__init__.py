"""pyfuse3's interface (3.5) on `aiovfs.fuse`: no libfuse, no compiler, asyncio and Trio alike.

    from aiovfs.compat import pyfuse3          # instead of: import pyfuse3

    class Hello(pyfuse3.Operations): ...

    pyfuse3.init(Hello(), "/mnt/hello")
    try:
        asyncio.run(pyfuse3.main())            # or trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()

`install()` makes `import pyfuse3` mean this package, for programs that cannot be edited.

Names, defaults, conversions and errors are pyfuse3's. What differs is listed in docs/howto/move-from-pyfuse3.md: what
hangs or crashes there, does not here. Like pyfuse3, one mount per process; `aiovfs.fuse` has no such limit.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from typing import Any, TypeAlias

from aiovfs.compat.pyfuse3 import asyncio as asyncio  # not in __all__: `import *` must not hide the standard one
from aiovfs.compat.pyfuse3._pyfuse3 import (
    FileHandleT,
    FileNameT,
    FlagT,
    InodeT,
    ModeT,
    Operations,
    XAttrNameT,
    async_wrapper,
)
from aiovfs.compat.pyfuse3.installing import install
from aiovfs.compat.pyfuse3.lifecycle import close, default_options, init, main, terminate
from aiovfs.compat.pyfuse3.notifications import (
    invalidate_entry,
    invalidate_entry_async,
    invalidate_inode,
    notify_store,
)
from aiovfs.compat.pyfuse3.requests import PollHandle, ReaddirToken, RequestContext, SetattrFields, readdir_reply
from aiovfs.compat.pyfuse3.tools import NamespaceT, get_sup_groups, getxattr, listdir, setxattr, syncfs
from aiovfs.compat.pyfuse3.values import EntryAttributes, FileInfo, FUSEError, StatvfsData

__all__ = [
    "ENOATTR",
    "RENAME_EXCHANGE",
    "RENAME_NOREPLACE",
    "ROOT_INODE",
    "EntryAttributes",
    "FUSEError",
    "FileHandleT",
    "FileInfo",
    "FileNameT",
    "FlagT",
    "InodeT",
    "ModeT",
    "NamespaceT",
    "Operations",
    "PollHandle",
    "ReaddirToken",
    "RequestContext",
    "SetattrFields",
    "StatDict",
    "StatvfsData",
    "XAttrNameT",
    "__version__",
    "async_wrapper",
    "close",
    "default_options",
    "get_sup_groups",
    "getxattr",
    "init",
    "install",
    "invalidate_entry",
    "invalidate_entry_async",
    "invalidate_inode",
    "listdir",
    "main",
    "notify_store",
    "readdir_reply",
    "setxattr",
    "syncfs",
    "terminate",
    "trio_token",
]

__version__ = "3.5.0"
"""The version of pyfuse3 whose interface this is."""

ROOT_INODE = 1
ENOATTR = errno.ENODATA
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

StatDict: TypeAlias = Mapping[str, int]

_NANOS_PER_SEC = 1_000_000_000

log = logging.getLogger("pyfuse3")

trio_token: Any = None
"""While `main` runs: Trio's token, or the string "asyncio". None otherwise."""


def __getattr__(name: str) -> Any:
    # Only looked at by programs that use Trio, or have called asyncio.enable(): nobody else needs Trio installed.
    if name == "trio":
        import trio

        return trio
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
