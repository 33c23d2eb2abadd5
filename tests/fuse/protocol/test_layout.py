"""The struct language."""

import struct

import pytest
from hypothesis import given, settings

from aiovfs.errors import ProtocolError
from aiovfs.fuse.protocol.layout import Record, Scalar, pad, u16, u32, u64, zeros
from aiovfs.fuse.protocol.structs import STRUCTS, Attr, EntryOut, InitOut, LkIn, ReadIn, SetxattrIn, Statx
from aiovfs.testing import strategies


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_a_struct_survives_packing(cls: type[Record]) -> None:
    @settings(max_examples=30, deadline=None)
    @given(strategies.records(cls))
    def check(record: Record) -> None:
        packed = record.pack()
        assert len(packed) == cls.__layout__.size
        assert cls.unpack_from(packed) == record
        assert cls.unpack_from(b"?" * 3 + packed, 3) == record

    check()


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_fields_follow_each_other_without_gaps(cls: type[Record]) -> None:
    position = 0
    for field in cls.__layout__.fields:
        assert field.offset == position
        position += field.size
    assert cls.__layout__.size == position == cls.__layout__.struct.size


def test_a_field_named_like_a_fact_about_the_class_is_still_a_field() -> None:
    read = ReadIn(fh=1, offset=2, size=3, read_flags=4, lock_owner=5, flags=6)
    assert (read.size, read.flags) == (3, 6)
    assert ReadIn.__layout__.size == 40


def test_values_are_where_the_struct_module_would_put_them() -> None:
    read = ReadIn(fh=1, offset=2**63, size=3, read_flags=4, lock_owner=5, flags=6)
    assert read.pack() == struct.pack("=QQIIQII", 1, 2**63, 3, 4, 5, 6, 0)


def test_reserved_bytes_read_as_zero_and_are_written_as_zero() -> None:
    read = ReadIn.unpack_from(b"\xff" * 40)
    assert read.padding == 0
    assert read.pack()[-4:] == bytes(4)
    with pytest.raises(TypeError, match="has no field 'padding'"):
        ReadIn(fh=1, offset=2, size=3, read_flags=4, lock_owner=5, flags=6, padding=7)  # type: ignore[call-arg]


def test_names_that_python_mangles_keep_the_header_s_spelling() -> None:
    assert [field.name for field in Statx.__layout__.fields if field.is_reserved] == ["__spare0", "__spare2"]


def test_a_missing_value_and_an_unknown_name_are_told_apart() -> None:
    with pytest.raises(TypeError, match=r"SetxattrIn\(\) needs a value for 'flags'"):
        SetxattrIn(size=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no field 'colour'; its fields: size, flags, setxattr_flags"):
        SetxattrIn(size=1, flags=0, colour=3)  # type: ignore[call-arg]


def test_a_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"SetxattrIn.size = -1 does not fit uint32_t"):
        SetxattrIn(size=-1, flags=0).pack()
    entry = EntryOut.unpack_from(bytes(128))
    entry.attr.mode = 2**32
    with pytest.raises(ValueError, match=r"EntryOut.attr.mode = 4294967296 does not fit uint32_t"):
        entry.pack()


def test_a_buffer_that_ends_too_early_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="fuse_read_in needs 40 bytes at offset 8, the buffer has 40 in all"):
        ReadIn.unpack_from(bytes(40), 8)


def test_records_are_equal_by_value_and_type() -> None:
    attr = Attr.unpack_from(bytes(88))
    assert attr == Attr.unpack_from(bytes(88))
    attr.size = 1
    assert attr != Attr.unpack_from(bytes(88))
    assert attr != object()
    assert "size=1" in repr(attr)


def test_nested_structs_are_flattened_in_wire_order() -> None:
    assert [path for path, _ in LkIn.__layout__.leaves] == [
        *("fh", "owner", "lk.start", "lk.end", "lk.type", "lk.pid", "lk_flags")
    ]


def test_a_prefix_ends_where_a_field_ends() -> None:
    assert SetxattrIn.__layout__.prefix(8).size == 8
    assert InitOut.__layout__.prefix(24).size == 24
    with pytest.raises(ValueError, match="no field that ends at byte 6"):
        SetxattrIn.__layout__.prefix(6)


def test_an_annotation_outside_the_language_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong.size: <class 'int'> is not of the struct language"):

        class Wrong(Record, c_name="fuse_wrong"):
            size: int


def test_scalars_know_their_range() -> None:
    class Some(Record, c_name="fuse_some"):
        small: u16
        middle: u32
        large: u64
        padding: pad = zeros(2)

    ranges = [(kind.minimum, kind.maximum) for _, kind in Some.__layout__.leaves if isinstance(kind, Scalar)]
    assert ranges == [(0, 2**16 - 1), (0, 2**32 - 1), (0, 2**64 - 1)]
    assert (Scalar("int64_t", "q", 8).minimum, Scalar("int64_t", "q", 8).maximum) == (-(2**63), 2**63 - 1)
