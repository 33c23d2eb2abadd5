from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovfs.fs.info import Info, Kind
from aiovfs.mount.listing import HiddenNames, Listing
from aiovfs.mount.names import check_name, decode_name, encode_name, ino_of

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: check_ok(name))


def check_ok(name: bytes) -> bool:
    return name not in (b".", b"..") and b"/" not in name and b"\0" not in name


@given(NAMES)
def test_every_name_that_a_file_can_have_survives_the_way_to_the_store_and_back(name: bytes) -> None:
    assert encode_name(decode_name(name)) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "x" * 256, "\ud800", "é" * 128])
def test_names_that_no_directory_can_show_are_not_encoded(name: str) -> None:
    assert encode_name(name) is None


def test_a_name_of_more_than_255_bytes_is_too_long() -> None:
    assert check_name(b"x" * 255)
    with pytest.raises(OSError, match="File name too long"):
        check_name(b"x" * 256)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_impossible_names_are_refused(name: bytes) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        check_name(name)


@given(st.text())
def test_inode_numbers_are_stable_positive_and_leave_out_the_root(path: str) -> None:
    assert ino_of(path) == ino_of(path)
    assert 1 < ino_of(path) < 1 << 63
    assert ino_of(path) != ino_of(path, salt=1)


def test_names_that_differ_in_normalisation_only_are_two_files() -> None:
    """States N2."""
    infos = [Info("é", Kind.FILE, size=1), Info("e\u0301", Kind.FILE, size=2)]
    assert len(Listing.of("", infos, 0.0, HiddenNames())) == 2


def test_unusable_names_are_hidden_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """States N1."""
    hidden = HiddenNames()
    infos = [Info("ok", Kind.FILE), Info("..", Kind.FILE), Info("", Kind.FILE)]
    with caplog.at_level(logging.WARNING, "aiovfs.mount"):
        for _ in range(3):
            listing = Listing.of("dir", infos, 0.0, hidden)
    assert [name for name, _ in listing] == [b"ok"]
    assert len(caplog.records) == 2
    assert len(hidden) == 2


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_directory_wins_over_a_file_of_the_same_name(order: list[int]) -> None:
    """States N3."""
    infos = [Info("a", Kind.FILE, size=1), Info("a", Kind.DIRECTORY)]
    hidden = HiddenNames()
    listing = Listing.of("", [infos[index] for index in order], 0.0, hidden)
    found = listing.get(b"a")
    assert found is not None
    assert found.is_directory
    assert len(hidden) == 1
