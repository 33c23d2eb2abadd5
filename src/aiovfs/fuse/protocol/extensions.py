"""What a kernel may append to requests that make something: security contexts and supplementary groups.

Sent only when the session agreed to `InitFlags.SECURITY_CTX` or `CREATE_SUPP_GROUP`. Decoders cut extensions off; who
wants them reads them here, from the same buffer. Each begins with its own size and is padded to 8 bytes.
Source: linux/fuse.h (fuse_ext_header, fuse_secctx_header, fuse_supp_groups).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ...errors import ProtocolError
from ...types import Buffer
from .flags import ExtType
from .structs import ExtHeader, InHeader, Secctx, SuppGroups

__all__ = ["Extensions", "SecurityContext", "read_extensions"]

_HEADER_SIZE: Final = ExtHeader.__layout__.size
_CONTEXT_SIZE: Final = Secctx.__layout__.size
_GROUPS_SIZE: Final = SuppGroups.__layout__.size


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """One label that a new node is to have: name of the attribute ("security.selinux") and its value."""

    name: bytes
    label: bytes


@dataclass(frozen=True, slots=True)
class Extensions:
    """All that was appended to one request. Extensions of unknown types are left out."""

    security_contexts: tuple[SecurityContext, ...] = ()
    groups: tuple[int, ...] = ()


def read_extensions(buffer: Buffer) -> Extensions:
    """The extensions of the request in `buffer` (one whole message). Raises `ProtocolError` for malformed ones."""
    header = InHeader.unpack_from(buffer)
    rest = bytes(buffer)[max(len(buffer) - 8 * header.total_extlen, InHeader.__layout__.size) :]
    if len(rest) != 8 * header.total_extlen:
        raise ProtocolError(
            f"opcode {header.opcode} unique={header.unique}: {8 * header.total_extlen} bytes of extensions "
            f"do not fit in a message of {len(buffer)}"
        )
    contexts: list[SecurityContext] = []
    groups: list[int] = []
    while rest:
        head = ExtHeader.unpack_from(rest)
        if not _HEADER_SIZE <= head.size <= len(rest):
            raise ProtocolError(f"an extension of type {head.type} says {head.size} bytes, {len(rest)} are left")
        body = rest[_HEADER_SIZE : head.size]
        if head.type <= ExtType.MAX_NR_SECCTX:
            contexts += _contexts(body, head.type)
        elif head.type == ExtType.GROUPS:
            groups += _groups(body)
        rest = rest[(head.size + 7) & ~7 :]
    return Extensions(tuple(contexts), tuple(groups))


def _contexts(body: bytes, count: int) -> list[SecurityContext]:
    found = []
    for _ in range(count):
        size = Secctx.unpack_from(body).size
        name, nul, rest = body[_CONTEXT_SIZE:].partition(b"\0")
        if not nul or size > len(rest):
            raise ProtocolError(f"a security context of {size} bytes does not fit in {len(body)} with its name")
        found.append(SecurityContext(name, rest[:size]))
        body = rest[size:]
    return found


def _groups(body: bytes) -> list[int]:
    count = SuppGroups.unpack_from(body).nr_groups
    if _GROUPS_SIZE + 4 * count > len(body):
        raise ProtocolError(f"{count} supplementary groups do not fit in {len(body)} bytes")
    return list(struct.unpack_from(f"={count}I", body, _GROUPS_SIZE))
