"""The pure data structures of the session: inodes, handles, options, the mount table's escapes."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovfs import fuse
from aiovfs.errors import OptionError
from aiovfs.fuse.mountpoint import unescape
from aiovfs.fuse.options import parse_options
from aiovfs.fuse.packers import timeout_fields


def test_the_same_object_keeps_its_nodeid_and_numbers_are_not_used_again() -> None:
    table: fuse.InodeTable[object] = fuse.InodeTable("root")
    first, second = object(), object()
    nodeid = table.remember(first)
    assert table.remember(first) == nodeid
    table.add_lookup(nodeid)
    assert table.forget(nodeid, 1) is first
    assert table.remember(second) > nodeid


def test_the_root_is_never_forgotten() -> None:
    table: fuse.InodeTable[str] = fuse.InodeTable("root")
    assert table.forget(fuse.ROOT_NODEID, 10**9) is None
    assert table.get(fuse.ROOT_NODEID) == "root"


def test_a_node_that_was_never_sent_can_be_discarded_and_one_that_was_cannot() -> None:
    table: fuse.InodeTable[object] = fuse.InodeTable("root")
    sent, unsent = object(), object()
    table.add_lookup(table.remember(sent))
    assert table.discard(table.remember(unsent)) is unsent
    assert table.discard(table.remember(sent)) is None


def test_an_unknown_nodeid_is_estale() -> None:
    table: fuse.InodeTable[str] = fuse.InodeTable("root")
    with pytest.raises(OSError, match="nodeid 99") as caught:
        table.get(99)
    assert caught.value.errno == errno.ESTALE


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=40))
def test_the_table_agrees_with_counting_by_hand(steps: list[tuple[str, int]]) -> None:
    objects = {name: [name] for name in "abc"}
    table: fuse.InodeTable[Any] = fuse.InodeTable("root")
    counts: dict[int, int] = {}
    for name, count in steps:
        nodeid = table.remember(objects[name])
        table.add_lookup(nodeid)
        counts[nodeid] = counts.get(nodeid, 0) + 1
        if count <= counts[nodeid]:
            counts[nodeid] -= count
            dropped = table.forget(nodeid, count)
            assert (dropped is not None) == (counts[nodeid] == 0)
        assert table.lookup_count(nodeid) == counts[nodeid]


def test_a_closed_handle_is_ebadf_and_its_number_is_not_used_again() -> None:
    table: fuse.HandleTable[str] = fuse.HandleTable()
    fh = table.open("file")
    assert table.close(fh) == "file"
    with pytest.raises(OSError, match="not open") as caught:
        table.get(fh)
    assert caught.value.errno == errno.EBADF
    assert table.open("other") != fh


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow_othr": True}, "did you mean 'allow_other'"),
        ({"max_write": "1MiB"}, "expected int"),
        ({"max_write": 1}, "at least 4096"),
        ({"max_tasks": 0}, "at least 1"),
        ({"ro": 1}, "expected bool"),
        ({"grace": -1.0}, "must not be negative"),
        ({"fsname": "a\0b"}, "NUL"),
    ],
)
def test_a_bad_option_is_refused_and_says_why(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_options(options)


def test_flags_that_clear_win_over_defaults_that_set() -> None:
    default = parse_options({}).mount_flags
    assert default == 2 | 4  # MS_NOSUID, MS_NODEV
    assert parse_options({"suid": True, "ro": True}).mount_flags == 1 | 4


def test_commas_in_names_are_escaped_for_the_helper() -> None:
    words = parse_options({"fsname": "a,b\\c", "allow_other": True, "noexec": True}).helper_options()
    assert words == ["fsname=a\\,b\\\\c", "subtype=aiovfs", "allow_other", "noexec"]


@pytest.mark.parametrize(
    ("seconds", "fields"),
    [
        (0.0, (0, 0)),
        (-1.0, (0, 0)),
        (1.5, (1, 500_000_000)),
        (float("inf"), (0xFFFF_FFFF, 0)),
        (1e300, (0xFFFF_FFFF, 0)),
    ],
)
def test_timeouts_are_brought_into_the_kernels_range(seconds: float, fields: tuple[int, int]) -> None:
    assert timeout_fields(seconds) == fields


def test_mount_table_escapes_are_undone() -> None:
    assert unescape(rb"/mnt/a\040b\134c") == rb"/mnt/a b\c"
