"""What a real kernel wrote decodes, is shown right, and encodes back to the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from aiovfs.fuse.protocol import decode, decoders_for, encode_request, trace_request
from aiovfs.fuse.protocol.extensions import Extensions, read_extensions
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.fuse.protocol.structs import InHeader

if sys.byteorder != "little":
    pytest.skip("the requests were recorded on a little-endian machine", allow_module_level=True)


MAKERS = {"Create", "Mkdir", "Mknod", "Symlink", "Tmpfile"}


class Recorded(NamedTuple):
    agreed: InitFlags
    wire: bytes
    line: str


def recorded() -> list[Recorded]:
    text = Path(__file__).with_name("recorded_linux_6_18.txt").read_text()
    rows = [line.split(" ", 2) for line in text.splitlines() if not line.startswith("#")]
    return [Recorded(InitFlags(int(agreed, 16)), bytes.fromhex(wire), line) for agreed, wire, line in rows]


REQUESTS = pytest.mark.parametrize("request_", recorded(), ids=lambda row: row.line.partition(" ")[0])


@REQUESTS
def test_a_recorded_request_is_shown_as_it_was_meant(request_: Recorded) -> None:
    decoded = decode(memoryview(request_.wire), decoders_for(request_.agreed))
    assert trace_request(decoded) == request_.line


@REQUESTS
def test_a_recorded_request_encodes_back_to_the_kernel_s_bytes(request_: Recorded) -> None:
    decoded = decode(memoryview(request_.wire), decoders_for(request_.agreed))
    size = 8 * InHeader.unpack_from(request_.wire).total_extlen
    extensions = request_.wire[len(request_.wire) - size :]
    assert encode_request(decoded, agreed=request_.agreed, extensions=extensions) == request_.wire


@REQUESTS
def test_only_a_session_that_asked_for_extensions_gets_them(request_: Recorded) -> None:
    makes_something = type(decode(request_.wire, decoders_for(request_.agreed))).__name__ in MAKERS
    has_extensions = InHeader.unpack_from(request_.wire).total_extlen > 0
    assert has_extensions == (InitFlags.SECURITY_CTX in request_.agreed and makes_something)
    # The machine had no security module and the directories no set-group-ID bit: an empty list of contexts was sent.
    assert read_extensions(request_.wire) == Extensions()
