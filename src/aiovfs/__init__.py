"""Mount any fsspec URL as a directory; write file systems in async Python.

    >>> with aiovfs.mount("s3://bucket/data", "/mnt/data") as mounted:      # doctest: +SKIP
    ...     subprocess.run(["ffmpeg", "-i", mounted.directory / "film.mkv", "film.mp4"])

The layers are importable by themselves: `aiovfs.aio` (files on disk), `aiovfs.fs` (stores), `aiovfs.fuse` (the FUSE
server) and `aiovfs.mount` (which is also the function above). Importing this package imports none of them: what is
named here is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiovfs.errors import AiovfsError as AiovfsError
    from aiovfs.errors import ClosedError as ClosedError
    from aiovfs.errors import MissingPackageError as MissingPackageError
    from aiovfs.errors import MountError as MountError
    from aiovfs.errors import OptionError as OptionError
    from aiovfs.errors import ProtocolError as ProtocolError
    from aiovfs.errors import ReplyError as ReplyError
    from aiovfs.errors import StaleError as StaleError
    from aiovfs.errors import StoreError as StoreError
    from aiovfs.errors import UnknownProtocolError as UnknownProtocolError
    from aiovfs.errors import UnsupportedError as UnsupportedError
    from aiovfs.mount.embedding import Mount as Mount
    from aiovfs.mount.embedding import mount as mount

    __version__: str

__all__ = [
    "AiovfsError",
    "ClosedError",
    "MissingPackageError",
    "Mount",
    "MountError",
    "OptionError",
    "ProtocolError",
    "ReplyError",
    "StaleError",
    "StoreError",
    "UnknownProtocolError",
    "UnsupportedError",
    "__version__",
    "mount",
]

_MODULES = frozenset({"aio", "errors", "fs", "fuse", "mount", "testing", "types"})


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__version__":
        value: Any = _version()
    elif name == "Mount":
        value = importlib.import_module("aiovfs.mount.embedding").Mount
    elif name in _MODULES:
        # `mount` among them: that module can be called, see there.
        value = importlib.import_module(f"aiovfs.{name}")
    elif name in __all__:
        value = getattr(importlib.import_module("aiovfs.errors"), name)
    else:
        raise AttributeError(f"module 'aiovfs' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("aiovfs")
    except PackageNotFoundError:  # used from a source tree that nobody installed
        return "0+unknown"
