"""One test per row of the quirks tables."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from aiovfs.fs import quirks
from aiovfs.fs.info import Info, Kind

WHEN = datetime(2026, 11, 21, 13, 0, 5, tzinfo=UTC)
WHEN_NS = 1795266005 * 10**9


def normalise(**raw: Any) -> Info:
    return quirks.normalise({"name": "a", "size": 3, "type": "file", **raw}, name="a")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(1795266005, WHEN_NS, id="int seconds"),
        pytest.param(1795266005.25, WHEN_NS + 250_000_000, id="float seconds"),
        pytest.param(1795266005250, WHEN_NS + 250_000_000, id="milliseconds"),
        pytest.param(1795266005250000, WHEN_NS + 250_000_000, id="microseconds"),
        pytest.param(WHEN_NS + 7, WHEN_NS + 7, id="nanoseconds"),
        pytest.param(WHEN, WHEN_NS, id="datetime"),
        pytest.param(WHEN.replace(tzinfo=None), WHEN_NS, id="naive datetime is UTC"),
        pytest.param(WHEN.astimezone(timezone(timedelta(hours=5))), WHEN_NS, id="datetime elsewhere"),
        pytest.param((2026, 11, 21, 13, 0, 5), WHEN_NS, id="tuple"),
        pytest.param(time.gmtime(1795266005), WHEN_NS, id="struct_time"),
        pytest.param("20261121130005", WHEN_NS, id="YYYYMMDDHHMMSS"),
        pytest.param("20261121130005.25", WHEN_NS + 250_000_000, id="YYYYMMDDHHMMSS.fff"),
        pytest.param("2026-11-21T13:00:05Z", WHEN_NS, id="ISO with Z"),
        pytest.param("2026-11-21T14:00:05+01:00", WHEN_NS, id="ISO with an offset"),
        pytest.param("2026-11-21T13:00:05.250000", WHEN_NS + 250_000_000, id="ISO without"),
        pytest.param("Sat, 21 Nov 2026 13:00:05 GMT", WHEN_NS, id="HTTP header"),
        pytest.param("1795266005.25", WHEN_NS + 250_000_000, id="seconds as text"),
        pytest.param("yesterday", None, id="something else"),
        pytest.param("20269921130005", None, id="fourteen digits that are no date"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(True, None, id="a bool"),
    ],
)
def test_a_time_is_understood_in_every_format(value: Any, expected: int | None) -> None:
    assert quirks.to_ns(value) == expected


@pytest.mark.parametrize("key", [key for key in quirks.MTIME_KEYS if not key.endswith("_ns")])
def test_the_time_of_change_is_found_under_every_key(key: str) -> None:
    assert normalise(**{key: WHEN}).mtime_ns == WHEN_NS


@pytest.mark.parametrize("key", [key for key in quirks.BIRTHTIME_KEYS if not key.endswith("_ns")])
def test_the_time_of_creation_is_found_under_every_key(key: str) -> None:
    assert normalise(**{key: WHEN}).birthtime_ns == WHEN_NS


def test_created_is_never_taken_for_the_time_of_change() -> None:
    assert normalise(created=WHEN).mtime_ns is None


def test_nanoseconds_are_taken_as_they_are() -> None:
    assert normalise(mtime_ns=5, atime_ns=6, ctime_ns=7) == Info(
        "a", Kind.FILE, size=3, mtime_ns=5, atime_ns=6, ctime_ns=7, fingerprint="3-5"
    )


@pytest.mark.parametrize(("value", "kind"), quirks.KINDS.items())
def test_every_type_is_understood_in_any_case(value: str, kind: Kind) -> None:
    assert normalise(type=value).kind is kind
    assert normalise(type=value.upper()).kind is kind


def test_an_unknown_type_is_other() -> None:
    assert normalise(type="os.unix=slink").kind is Kind.OTHER


def test_without_a_type_a_final_slash_makes_a_directory() -> None:
    assert quirks.normalise({"name": "a/"}, name="a").kind is Kind.DIRECTORY
    assert quirks.normalise({"name": "a"}, name="a").kind is Kind.FILE


def test_a_local_symlink_is_one_although_its_type_is_that_of_its_target() -> None:
    info = normalise(type="directory", islink=True, destination="../b", mode=stat.S_IFDIR | 0o755)
    assert (info.kind, info.target) == (Kind.SYMLINK, "../b")
    assert info.mode == stat.S_IFLNK | 0o755


def test_the_target_of_a_symlink_may_be_bytes() -> None:
    assert normalise(type="link", destination=b"\xff").target == "\udcff"


@pytest.mark.parametrize("key", quirks.SIZE_KEYS)
def test_the_size_is_found_under_every_key(key: str) -> None:
    assert quirks.normalise({"type": "file", key: 12}, name="a").size == 12


@pytest.mark.parametrize(("value", "size"), [(None, None), ("17", 17), (-1, None), (0, 0), (4.0, 4)])
def test_a_size_may_be_unknown_or_text(value: Any, size: int | None) -> None:
    assert normalise(size=value).size == size


def test_a_directory_has_no_size() -> None:
    assert normalise(type="directory", size=4096).size is None


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        pytest.param(0o640, stat.S_IFREG | 0o640, id="int"),
        pytest.param(stat.S_IFREG | 0o640, stat.S_IFREG | 0o640, id="st_mode"),
        pytest.param("640", stat.S_IFREG | 0o640, id="octal text"),
        pytest.param("0o640", stat.S_IFREG | 0o640, id="Python's octal text"),
        pytest.param("100640", stat.S_IFREG | 0o640, id="st_mode as octal text"),
        pytest.param("-rw-r-----", stat.S_IFREG | 0o640, id="as ls shows it"),
        pytest.param("-rwsr-xr-T", stat.S_IFREG | 0o5754, id="as ls shows it, with special bits"),
        pytest.param("no mode", None, id="something else"),
        pytest.param(None, None, id="none"),
    ],
)
def test_a_mode_is_understood_in_every_format(value: Any, mode: int | None) -> None:
    assert normalise(mode=value).mode == mode


@pytest.mark.parametrize("key", quirks.MODE_KEYS)
def test_the_mode_is_found_under_every_key(key: str) -> None:
    assert normalise(**{key: 0o600}).mode == stat.S_IFREG | 0o600


@pytest.mark.parametrize("key", quirks.UID_KEYS)
def test_the_owner_is_found_under_every_key(key: str) -> None:
    assert normalise(**{key: "1000"}).uid == 1000


@pytest.mark.parametrize("key", quirks.GID_KEYS)
def test_the_group_is_found_under_every_key(key: str) -> None:
    assert normalise(**{key: 1000}).gid == 1000


@pytest.mark.parametrize("key", quirks.FINGERPRINT_KEYS)
def test_the_fingerprint_is_found_under_every_key(key: str) -> None:
    assert normalise(**{key: 'W/"abc"'}).fingerprint == "abc"


def test_a_version_is_stronger_than_an_etag() -> None:
    assert normalise(ETag="e", VersionId="v").fingerprint == "v"


@pytest.mark.parametrize("nothing", [None, "null", "", '""'])
def test_a_version_that_says_nothing_gives_way_to_the_etag(nothing: str | None) -> None:
    assert normalise(ETag="e", VersionId=nothing).fingerprint == "e"


def test_size_and_time_make_a_fingerprint_where_the_store_has_none() -> None:
    assert normalise(mtime=1.5).fingerprint == "3-1500000000"
    assert normalise(mtime=1.5, ino=7).fingerprint == "3-1500000000-7"


def test_nothing_makes_no_fingerprint() -> None:
    assert normalise().fingerprint is None
    assert normalise(type="directory", ETag="e").fingerprint is None


class Slashless(AbstractFileSystem):
    protocol = "store"


def listed(directory: str, *names: str, kind: str = "file", strip: Any = Slashless._strip_protocol) -> quirks.Listing:
    return quirks.listing([{"name": name, "size": 1, "type": kind} for name in names], directory, strip=strip)


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        pytest.param("d/e", "d/e/a", id="full"),
        pytest.param("/d/e", "d/e/a", id="without the leading slash"),
        pytest.param("d/e", "/d/e/a", id="with a leading slash"),
        pytest.param("d/e/", "d/e/a", id="directory with a final slash"),
        pytest.param("d/e", "store://d/e/a", id="with the protocol"),
        pytest.param("d/e", "a", id="the name alone"),
        pytest.param("", "a", id="in the root"),
        pytest.param("/", "/a", id="in a root that is a slash"),
        pytest.param("", "store://a", id="in the root, with the protocol"),
    ],
)
def test_a_name_is_found_in_every_form(directory: str, name: str) -> None:
    assert [info.name for info in listed(directory, name).entries] == ["a"]


def test_a_directory_may_end_with_a_slash() -> None:
    assert [(info.name, info.kind) for info in listed("d", "d/a/", kind="directory").entries] == [("a", Kind.DIRECTORY)]


@pytest.mark.parametrize("own", ["d/e", "/d/e", "d/e/", "", ".", "store://d/e"])
def test_the_directory_itself_is_no_entry_of_it(own: str) -> None:
    result = listed("d/e", own, "d/e/a", kind="directory")
    assert ([info.name for info in result.entries], result.has_self) == (["a"], True)


@pytest.mark.parametrize("name", ["d/..", "d/.", "d/a\0b", "d/a/b"])
def test_impossible_names_and_names_further_down_are_left_out(name: str) -> None:
    assert listed("d", name).entries == []


def test_a_file_that_lists_itself_is_a_file() -> None:
    assert listed("d/a", "d/a").is_file


def test_a_marker_named_with_a_slash_is_not_taken_for_a_file() -> None:
    result = listed("d/a", "d/a/")
    assert (result.is_file, result.has_self, result.entries) == (False, True, [])


def test_an_object_named_with_a_slash_is_a_directory() -> None:
    assert listed("d", "d/a/").entries == [Info("a", Kind.DIRECTORY)]


def test_a_directory_wins_over_a_file_of_the_same_name() -> None:
    raw = [{"name": "d/a", "type": "file", "size": 1}, {"name": "d/a", "type": "directory"}]
    for order in (raw, raw[::-1]):
        entries = quirks.listing(order, "d", strip=Slashless._strip_protocol).entries
        assert [info.kind for info in entries] == [Kind.DIRECTORY]


def test_names_keep_undecodable_bytes(tmp_path: Any) -> None:
    directory = str(tmp_path)
    entries = listed(directory, f"{directory}/\udcff", strip=LocalFileSystem._strip_protocol).entries
    assert [info.name for info in entries] == ["\udcff"]
