"""Names between the kernel, which speaks bytes, and stores, which speak `str`; and the inode numbers made of them.

Names are never normalised: two names that differ in one byte are two files. A name of a store that no Unix directory
can show (empty, ".", "..", with a slash or NUL, longer than 255 bytes) is hidden; see `Listing`.
"""

from __future__ import annotations

import errno
import hashlib

from aiovfs.mount.errors import error

__all__ = ["NAME_MAX", "check_name", "decode_name", "encode_name", "ino_of"]

NAME_MAX = 255
"""Bytes in the longest name that the kernel accepts (linux/limits.h)."""

_INO_BITS = (1 << 63) - 1
_RESERVED_INOS = 2  # 0 is "no inode" to readdir(3), 1 is the root's


def decode_name(name: bytes) -> str:
    """The form of a kernel's name that stores take; undecodable bytes become surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes | None:
    """The kernel's form of a store's name, or None when no directory can show it."""
    try:
        encoded = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    if not encoded or len(encoded) > NAME_MAX or encoded in (b".", b"..") or b"/" in encoded or b"\0" in encoded:
        return None
    return encoded


def check_name(name: bytes) -> bytes:
    """`name` itself if a file can be called so; `OSError` ENAMETOOLONG or EINVAL otherwise."""
    if len(name) > NAME_MAX:
        raise error(errno.ENAMETOOLONG, name)
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise error(errno.EINVAL, name)
    return name


def ino_of(path: str, salt: int = 0) -> int:
    """A stable `st_ino` for a path: 63 bits, never 0 or 1. `salt` gives another one when two files would share it."""
    text = path.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8, salt=salt.to_bytes(8, "little")).digest()
    return max(int.from_bytes(digest, "little") & _INO_BITS, _RESERVED_INOS)
