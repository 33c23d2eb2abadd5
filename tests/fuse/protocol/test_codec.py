"""Every opcode in both directions, and every way in which bytes can be wrong."""

from __future__ import annotations

import contextlib
import errno
import struct
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiovfs.errors import ProtocolError
from aiovfs.fuse.protocol import (
    BY_NAME,
    DECODERS,
    HEADER_IN_SIZE,
    HEADER_OUT_SIZE,
    OPERATIONS,
    Operation,
    Request,
    Unknown,
    decode,
    decoders_for,
    encode_error,
    encode_request,
    init_reply_size,
    messages,
    reply_header,
    reply_struct,
)
from aiovfs.fuse.protocol.codec import decoder_source
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.fuse.protocol.structs import EntryOut, InHeader, OpenOut, OutHeader
from aiovfs.testing import strategies
from aiovfs.testing.strategies import HEADER_NAMES, Message, with_length

ROWS = pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
# INIT reads as much as there is, and drops the upper half of the flags without INIT_EXT; it has tests of its own below.
ROWS_BUT_INIT = pytest.mark.parametrize(
    "row", [row for row in OPERATIONS if row.name != "init"], ids=lambda row: row.name
)
FEW = settings(max_examples=25, deadline=None)


def as_drawn(message: Message) -> None:
    """Decode one message and compare everything with what was drawn."""
    request = decode(memoryview(message.wire), decoders_for(message.agreed))
    assert type(request) is message.row.request
    assert {name: getattr(request, name) for name in HEADER_NAMES} == message.header
    assert request.values() == message.expected


@ROWS
def test_what_the_kernel_sends_is_what_the_handler_sees(row: Operation) -> None:
    @FEW
    @given(strategies.messages_of(row))
    def check(message: Message) -> None:
        as_drawn(message)

    check()


@ROWS_BUT_INIT
def test_encoding_a_decoded_request_gives_the_same_bytes(row: Operation) -> None:
    @FEW
    @given(strategies.messages_of(row))
    def check(message: Message) -> None:
        request = decode(memoryview(message.wire))
        assert encode_request(request) == message.wire

    check()


@ROWS
def test_extensions_at_the_end_change_nothing(row: Operation) -> None:
    @FEW
    @given(strategies.messages_of(row, extensions=True))
    def check(message: Message) -> None:
        as_drawn(message)

    check()


@ROWS_BUT_INIT
def test_bytes_after_the_last_part_are_ignored(row: Operation) -> None:
    @FEW
    @given(strategies.messages_of(row), st.binary(min_size=1, max_size=40))
    def check(message: Message, more: bytes) -> None:
        request = decode(memoryview(with_length(message.wire + more)))
        assert request.values() == message.expected

    check()


@ROWS
def test_a_message_cut_anywhere_is_refused(row: Operation) -> None:
    @settings(max_examples=10, deadline=None)
    @given(strategies.messages_of(row))
    def check(message: Message) -> None:
        for length in range(len(message.wire)):
            cut = message.wire[:length]
            with pytest.raises(ProtocolError):
                decode(memoryview(cut))  # the header still says the old length
            if length >= 4 and length < message.shortest:
                with pytest.raises(ProtocolError):
                    decode(memoryview(with_length(cut)))

    check()


@settings(max_examples=300, deadline=None)
@given(strategies.garbage())
def test_garbage_is_refused_or_decoded_but_never_fails_otherwise(wire: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(memoryview(wire)), Request)


@settings(max_examples=1500, deadline=None)
@given(strategies.near_misses(), st.sampled_from([InitFlags(0), InitFlags.SETXATTR_EXT]))
def test_nonsense_behind_a_true_opcode_and_length_fails_with_protocol_error_only(
    wire: bytes, agreed: InitFlags
) -> None:
    try:
        request = decode(memoryview(wire), decoders_for(agreed))
    except ProtocolError:
        return
    assert request.opcode == struct.unpack_from("=I", wire, 4)[0]


@given(strategies.messages())
@settings(max_examples=100, deadline=None)
def test_bytes_and_bytearray_are_taken_as_well_as_a_view(message: Message) -> None:
    for buffer in (message.wire, bytearray(message.wire)):
        assert decode(buffer).values() == message.expected


def test_data_of_a_write_is_a_view_of_the_buffer_and_not_a_copy() -> None:
    buffer = bytearray(encode_request(messages.Write(fh=1, offset=0, size=4, data=b"abcd")))
    request = decode(memoryview(buffer))
    assert isinstance(request, messages.Write)
    buffer[-4:] = b"wxyz"
    assert isinstance(request.data, memoryview)
    assert bytes(request.data) == b"wxyz"


def test_names_stay_when_the_buffer_is_used_again() -> None:
    buffer = bytearray(encode_request(messages.Symlink(name=b"link", target=b"../x/\xff")))
    request = decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert isinstance(request, messages.Symlink)
    assert (request.name, request.target) == (b"link", b"../x/\xff")


# Opcodes outside the table ------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1).filter(lambda opcode: opcode not in DECODERS), st.binary(max_size=60))
@settings(deadline=None)
def test_an_opcode_outside_the_table_decodes_to_unknown(opcode: int, body: bytes) -> None:
    header = InHeader(len=HEADER_IN_SIZE + len(body), opcode=opcode, unique=2**63 + 9, nodeid=3, uid=4, gid=5, pid=6)
    request = decode(memoryview(header.pack() + body))
    assert isinstance(request, Unknown)
    assert (request.opcode, request.unique, request.nodeid, request.body) == (opcode, 2**63 + 9, 3, body)
    assert encode_request(request) == header.pack() + body


def test_an_unknown_opcode_with_a_wrong_length_is_refused() -> None:
    header = InHeader(len=41, opcode=99, unique=1, nodeid=1, uid=0, gid=0, pid=0)
    with pytest.raises(ProtocolError, match="the header says 41 bytes, got 40"):
        decode(memoryview(header.pack()))
    with pytest.raises(ProtocolError, match="needs at least 40 bytes, got 20"):
        decode(memoryview(header.pack()[:20]))


def test_a_buffer_without_an_opcode_is_refused() -> None:
    for size in range(8):
        with pytest.raises(ProtocolError, match=f"the device gave {size} in all"):
            decode(memoryview(bytes(size)))


# Forms that depend on version and features ----------------------------------------------------------------------------


@FEW
@given(strategies.messages_of(BY_NAME["setxattr"], agreed=InitFlags.SETXATTR_EXT))
def test_setxattr_has_its_long_form_in_a_session_that_agreed_to_it(message: Message) -> None:
    as_drawn(message)
    assert encode_request(decode(message.wire, decoders_for(message.agreed)), agreed=message.agreed) == message.wire


def test_setxattr_has_its_short_form_by_default() -> None:
    body = struct.pack("=II", 3, 1) + b"user.a\0" + b"123"
    header = InHeader(len=HEADER_IN_SIZE + len(body), opcode=21, unique=1, nodeid=2, uid=0, gid=0, pid=0)
    request = decode(memoryview(header.pack() + body))
    assert request.values() == {"size": 3, "flags": 1, "setxattr_flags": 0, "name": b"user.a", "value": b"123"}


def test_the_two_forms_of_setxattr_are_not_mistaken_for_each_other() -> None:
    long = encode_request(
        messages.Setxattr(size=3, flags=1, name=b"user.a", value=b"123"), agreed=InitFlags.SETXATTR_EXT
    )
    with pytest.raises(ProtocolError, match="a name is empty"):
        decode(memoryview(long))


def test_features_that_change_no_form_share_the_default_decoders() -> None:
    assert decoders_for(InitFlags.ASYNC_READ | InitFlags.MAX_PAGES) is DECODERS
    assert decoders_for(InitFlags.SETXATTR_EXT)[15] is DECODERS[15]


@pytest.mark.parametrize("size", [8, 12, 16, 20, 64])
def test_a_short_init_reads_zeros_for_what_an_older_kernel_leaves_out(size: int) -> None:
    sent = messages.Init(major=7, minor=31, max_readahead=131072, flags=0x3FFF_FFFF)
    request = decode(memoryview(encode_request(sent, init_size=size)))
    assert isinstance(request, messages.Init)
    assert (request.major, request.minor) == (7, 31)
    assert request.max_readahead == (131072 if size >= 12 else 0)
    assert request.flags == (0x3FFF_FFFF if size >= 16 else 0)


def test_init_has_64_bits_of_flags_when_the_kernel_says_so() -> None:
    flags = InitFlags.INIT_EXT | InitFlags.PASSTHROUGH | InitFlags.ASYNC_READ
    request = decode(memoryview(encode_request(messages.Init(major=7, minor=45, flags=int(flags)))))
    assert isinstance(request, messages.Init)
    assert InitFlags(request.flags) == flags


def test_the_upper_flags_of_init_mean_nothing_without_init_ext() -> None:
    wire = bytearray(encode_request(messages.Init(major=7, minor=35, flags=1)))
    wire[HEADER_IN_SIZE + 16 : HEADER_IN_SIZE + 20] = b"\xff\xff\xff\xff"
    request = decode(memoryview(wire))
    assert isinstance(request, messages.Init)
    assert request.flags == 1


def test_an_init_longer_than_ours_is_read_as_far_as_we_know_it() -> None:
    wire = with_length(encode_request(messages.Init(major=8, minor=1)) + bytes(64))
    assert decode(memoryview(wire)).values()["major"] == 8


@pytest.mark.parametrize(("minor", "size"), [(4, 8), (5, 24), (22, 24), (23, 64), (45, 64)])
def test_the_reply_to_init_has_the_size_that_the_kernel_takes(minor: int, size: int) -> None:
    assert init_reply_size(minor) == size


def test_rename2_can_be_served_by_the_handler_of_rename() -> None:
    request = decode(memoryview(encode_request(messages.Rename2(newdir=3, flags=1, name=b"a", newname=b"b"))))
    assert isinstance(request, messages.Rename)
    assert type(request) is messages.Rename2
    assert request.flags == 1
    plain = decode(memoryview(encode_request(messages.Rename(newdir=3, name=b"a", newname=b"b"))))
    assert isinstance(plain, messages.Rename)
    assert plain.flags == 0


# What the errors say ----------------------------------------------------------------------------------------------


def test_the_error_names_operation_request_and_fault() -> None:
    wire = bytearray(encode_request(messages.Write(unique=77, nodeid=5, size=4, data=b"abcd")))
    wire[HEADER_IN_SIZE + 16 : HEADER_IN_SIZE + 20] = struct.pack("=I", 5)
    with pytest.raises(ProtocolError, match=r"^write unique=77 nodeid=5: size is 5, but 4 bytes follow$"):
        decode(memoryview(wire))


def test_a_count_of_items_that_do_not_fit_is_refused_before_memory_is_taken() -> None:
    wire = bytearray(encode_request(messages.BatchForget(items=[(1, 2)])))
    wire[HEADER_IN_SIZE : HEADER_IN_SIZE + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ProtocolError, match="4294967295 items of 16 bytes do not fit in 16 bytes"):
        decode(memoryview(wire))


def test_extensions_larger_than_the_message_are_refused() -> None:
    wire = bytearray(encode_request(messages.Read(fh=1, size=1)))
    wire[36:38] = struct.pack("=H", 2)
    with pytest.raises(ProtocolError, match="2 words of extensions leave no room"):
        decode(memoryview(wire))


def test_a_name_without_nul_is_refused_even_when_extensions_have_one() -> None:
    wire = encode_request(messages.Lookup(name=b"abcdefgh"))[:-1]
    with pytest.raises(ProtocolError, match="does not end with NUL"):
        decode(memoryview(with_length(wire[:36] + struct.pack("=HH", 1, 0) + wire[40:] + bytes(8))))


def test_an_empty_name_is_refused() -> None:
    header = InHeader(len=HEADER_IN_SIZE + 1, opcode=1, unique=1, nodeid=1, uid=0, gid=0, pid=0)
    with pytest.raises(ProtocolError, match="a name is empty"):
        decode(memoryview(header.pack() + b"\0"))


def test_a_traceback_shows_the_line_of_the_generated_decoder() -> None:
    try:
        decode(memoryview(with_length(encode_request(messages.Lookup(name=b"abc"))[:-1])))
    except ProtocolError as exc:
        shown = "".join(traceback.format_exception(exc))
    assert 'malformed("lookup"' in shown.replace("'", '"')
    assert "def decode_read(buffer)" in decoder_source("read")


# Encoding -----------------------------------------------------------------------------------------------------------


def test_a_request_that_cannot_be_sent_names_the_value() -> None:
    with pytest.raises(ValueError, match=r"Read.size = 4294967296 does not fit uint32_t"):
        encode_request(messages.Read(size=2**32))
    with pytest.raises(ValueError, match=r"Lookup.name = b'a\\x00b' is empty or has a NUL"):
        encode_request(messages.Lookup(name=b"a\0b"))
    with pytest.raises(ValueError, match=r"Write.data has 1 bytes, but size is 2"):
        encode_request(messages.Write(size=2, data=b"a"))


def test_extensions_are_padded_and_counted() -> None:
    wire = encode_request(messages.Mkdir(mode=0o755, name=b"d"), extensions=b"123456789")
    header = InHeader.unpack_from(wire)
    assert (header.total_extlen, header.len) == (2, len(wire))
    assert decode(memoryview(wire)).values()["name"] == b"d"


@given(st.integers(0, 2**64 - 1), st.integers(HEADER_OUT_SIZE, 2**32 - 1), st.integers(-4095, 0))
def test_the_head_of_a_reply_is_an_out_header(unique: int, length: int, error: int) -> None:
    assert OutHeader.unpack_from(reply_header(unique, length, error)) == OutHeader(
        len=length, error=error, unique=unique
    )


def test_one_struct_makes_a_whole_reply() -> None:
    whole = reply_struct(EntryOut, OpenOut)
    entry, opened = EntryOut.unpack_from(bytes(range(128))), OpenOut(fh=1, open_flags=2)
    values = (*struct.unpack(EntryOut.__layout__.struct.format, entry.pack()), 1, 2, 0)
    packed = whole.pack(whole.size, 0, 9, *values)
    assert packed == reply_header(9, whole.size) + entry.pack() + opened.pack()


def test_an_error_reply_is_a_header_with_the_negative_errno() -> None:
    assert OutHeader.unpack_from(encode_error(5, errno.ENOENT)) == OutHeader(len=16, error=-errno.ENOENT, unique=5)
    assert len(encode_error(5, errno.ENOENT)) == HEADER_OUT_SIZE
