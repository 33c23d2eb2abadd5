"""Replies that a handler has packed itself.

`Packed` is for adapters in C between other interfaces and ours (`compat.pyfuse3` has one): what they return is sent as
it is, where making an `Entry` and its `Attributes` would only be work for the packer. Nobody checks them, an option
that changes replies cannot change them, and a file system that keeps an `InodeTable` must not return them, as nobody
would count the lookups.

Made in C only: without the extension module no value is a `Packed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiovfs.fuse.native import load

__all__ = ["NATIVE", "Packed", "errno_of"]


class Packed:
    """Stands for the class in C where that was not built."""

    if TYPE_CHECKING:

        def __buffer__(self, flags: int, /) -> memoryview: ...


def errno_of(reply: Packed) -> int:
    """The errno that is sent in the place of a body; 0: the buffer is the body."""
    return 0


NATIVE, REASON = load("_packed")

if not TYPE_CHECKING and NATIVE is not None:
    Packed, errno_of = NATIVE.Packed, NATIVE.errno_of
