"""aiofiles' names, on `aiovfs.aio`: change the import, and files are asynchronous without a thread for each call.

    from aiovfs.compat import aiofiles

    async with aiofiles.open("notes.txt") as file:
        print(await file.read())

Works on Trio too, except with `executor`. `install()` puts these modules into `sys.modules` under aiofiles' own names,
for programs that cannot be edited.
"""

from __future__ import annotations

import importlib
import sys

from aiovfs.compat.aiofiles import tempfile
from aiovfs.compat.aiofiles.threadpool import open, stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes

__all__ = [
    "install",
    "open",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
]

MODULES = (
    "base",
    "os",
    "ospath",
    "tempfile",
    "tempfile.temptypes",
    "threadpool",
    "threadpool.binary",
    "threadpool.text",
)


def install() -> None:
    """Have `import aiofiles` find this package. `RuntimeError` when the other one was imported already."""
    other = sys.modules.get("aiofiles")
    if other is not None and other is not sys.modules[__name__]:
        raise RuntimeError(f"aiofiles was imported already, from {other.__file__}; call install() before that")
    sys.modules["aiofiles"] = sys.modules[__name__]
    for name in MODULES:
        sys.modules[f"aiofiles.{name}"] = importlib.import_module(f"{__name__}.{name}")
