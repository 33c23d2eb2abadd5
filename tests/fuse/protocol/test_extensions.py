"""Extensions at the end of a request, laid out as fs/fuse/dir.c does."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiovfs.errors import ProtocolError
from aiovfs.fuse.protocol import encode_request, messages
from aiovfs.fuse.protocol.extensions import Extensions, SecurityContext, read_extensions


def context(name: bytes, label: bytes) -> bytes:
    body = struct.pack("=II", len(label), 0) + name + b"\0" + label
    body += bytes(-len(body) % 8)
    return struct.pack("=II", 8 + len(body), 1) + body


def groups(*numbers: int) -> bytes:
    body = struct.pack(f"=I{len(numbers)}I", len(numbers), *numbers)
    body += bytes(-len(body) % 8)
    return struct.pack("=II", 8 + len(body), 32) + body


def mkdir(extensions: bytes) -> bytes:
    return encode_request(messages.Mkdir(mode=0o755, name=b"d"), extensions=extensions)


def test_context_and_groups_are_read_in_any_order() -> None:
    expected = Extensions((SecurityContext(b"security.selinux", b"system_u:object_r\0"),), (1000,))
    one, other = context(b"security.selinux", b"system_u:object_r\0"), groups(1000)
    assert read_extensions(mkdir(one + other)) == expected
    assert read_extensions(mkdir(other + one)) == expected


def test_a_request_without_extensions_has_none() -> None:
    assert read_extensions(mkdir(b"")) == Extensions()


def test_no_security_context_at_all_is_a_header_alone() -> None:
    assert read_extensions(mkdir(struct.pack("=II", 8, 0))) == Extensions()


def test_an_extension_of_an_unknown_type_is_passed_over() -> None:
    assert read_extensions(mkdir(struct.pack("=IIQ", 16, 99, 1) + groups(5, 6))) == Extensions(groups=(5, 6))


@pytest.mark.parametrize(
    "extension",
    [
        struct.pack("=II", 4, 32),
        struct.pack("=II", 64, 32),
        struct.pack("=IIII", 16, 32, 2, 0),
        struct.pack("=IIQ", 16, 1, 0),
        struct.pack("=IIII", 16, 1, 200, 0),
    ],
    ids=["too small", "too large", "too many groups", "no name", "label too long"],
)
def test_a_malformed_extension_is_a_protocol_error(extension: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_extensions(mkdir(extension))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_gives_a_protocol_error_or_a_value(noise: bytes) -> None:
    for wire in (noise, mkdir(noise)):
        with contextlib.suppress(ProtocolError):
            assert isinstance(read_extensions(wire), Extensions)


def test_extensions_that_would_begin_inside_the_header_are_refused() -> None:
    wire = bytearray(encode_request(messages.Statfs()))
    wire[36:38] = struct.pack("=H", 2)
    with pytest.raises(ProtocolError, match="16 bytes of extensions do not fit in a message of 40"):
        read_extensions(wire)
