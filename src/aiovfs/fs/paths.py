"""Arithmetic of store paths. Pure: no file system is asked.

A path inside a store is relative to the store's root: `""` is the root, `"a/b"` something below. It never begins or
ends with a slash and has no empty, `"."` or `".."` component, so two paths are the same file name exactly when they are
the same string. The full path of a backend is the root in the backend's own form joined with such a path.
"""

from __future__ import annotations

import errno

__all__ = ["ancestors", "check", "is_below", "join", "name_of", "parent_of", "split"]


def check(path: str) -> str:
    """`path` itself when it is in normal form; `ValueError` saying what is wrong with it otherwise."""
    if path and ("\0" in path or any(part in ("", ".", "..") for part in path.split("/"))):
        raise ValueError(
            f"{path!r} is not a path inside a store; write it relative to the root, without leading, trailing or "
            "double slashes and without '.' and '..'"
        )
    return path


def join(root: str, path: str) -> str:
    """The full path of `path` below `root`; `root` may be `""`, `"/"` or anything, with or without a final slash."""
    if not path:
        return root
    if not root or root.endswith("/"):
        return root + path
    return f"{root}/{path}"


def split(path: str) -> tuple[str, str]:
    """(parent, name); both `""` for the root."""
    parent, _, name = path.rpartition("/")
    return parent, name


def parent_of(path: str) -> str:
    """The path of the directory that `path` is in; the root is its own parent."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """The last component; `""` for the root."""
    return path.rpartition("/")[2]


def is_below(path: str, directory: str) -> bool:
    """True when `path` is in the tree under `directory`, and not `directory` itself."""
    return bool(path) if not directory else path.startswith(directory + "/")


def ancestors(path: str) -> list[str]:
    """The directories above `path`, the root first: `"a/b/c"` gives `["", "a", "a/b"]`."""
    parts = path.split("/")[:-1] if path else []
    return ["/".join(parts[:end]) for end in range(len(parts) + 1)] if path else []


def check_rename(old: str, new: str) -> None:
    """Refuse what rename(2) refuses by the names alone: moving the root, or a directory into itself."""
    if not old or not new:
        raise OSError(errno.EBUSY, "the root of a file system cannot be renamed or replaced", old, None, new)
    if is_below(new, old):
        raise OSError(errno.EINVAL, "a directory cannot be moved into itself", old, None, new)
