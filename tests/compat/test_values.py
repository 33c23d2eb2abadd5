"""What programs see of pyfuse3's data classes: defaults, conversions at assignment, copies, pickles."""

from __future__ import annotations

import copy
import errno
import pickle
import stat
from decimal import Decimal
from typing import Any

import pytest

from aiovfs.compat import pyfuse3

DEFAULTS = {
    "st_ino": 0,
    "generation": 0,
    "entry_timeout": 300.0,
    "attr_timeout": 300.0,
    "st_mode": stat.S_IFREG,
    "st_nlink": 1,
    "st_uid": 0,
    "st_gid": 0,
    "st_rdev": 0,
    "st_size": 0,
    "st_blocks": 0,
    "st_blksize": 4096,
    "st_atime_ns": 0,
    "st_mtime_ns": 0,
    "st_ctime_ns": 0,
    "st_birthtime_ns": 0,
}


def test_entry_attributes_have_pyfuse3s_defaults() -> None:
    entry = pyfuse3.EntryAttributes()
    assert {name: getattr(entry, name) for name in DEFAULTS} == DEFAULTS
    assert entry.__getstate__() == DEFAULTS


def test_entry_attributes_ignore_extra_arguments_and_refuse_unknown_names() -> None:
    entry: Any = pyfuse3.EntryAttributes(1, size=2)
    assert entry.st_size == 0
    with pytest.raises(AttributeError):
        entry.st_sise = 1
    assert not hasattr(entry, "__dict__")


def test_a_subclass_need_not_call_init() -> None:
    class Mine(pyfuse3.EntryAttributes):
        def __init__(self, path: str) -> None:
            self.path = path

    assert Mine("/x").st_mode == stat.S_IFREG
    assert Mine("/x").path == "/x"


def test_entry_attributes_are_equal_only_to_themselves_and_can_be_hashed() -> None:
    one, other = pyfuse3.EntryAttributes(), pyfuse3.EntryAttributes()
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("st_size", 5.7, 5),
        ("st_size", -1, -1),
        ("st_size", (1 << 63) - 1, (1 << 63) - 1),
        ("st_nlink", 1.0, 1),
        ("st_ino", (1 << 64) - 1, (1 << 64) - 1),
        ("st_mtime_ns", 1.5e18, 1_500_000_000_000_000_000),
        ("st_mtime_ns", 1_500_000_000_123_456_789, 1_500_000_000_123_456_789),
        ("st_mtime_ns", -1, -1),
        ("st_uid", True, 1),
        ("st_blocks", Decimal("7.9"), 7),
        ("entry_timeout", 3, 3.0),
        ("attr_timeout", Decimal("0.5"), 0.5),
        ("st_birthtime_ns", 5, 0),
    ],
)
def test_values_are_converted_when_they_are_assigned(name: str, value: Any, kept: Any) -> None:
    entry = pyfuse3.EntryAttributes()
    setattr(entry, name, value)
    assert getattr(entry, name) == kept
    assert type(getattr(entry, name)) is type(kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("st_uid", -1),
        ("st_gid", 1 << 32),
        ("st_mode", 1 << 32),
        ("st_ino", -1),
        ("st_ino", 1 << 64),
        ("generation", -1),
        ("st_nlink", -1),
        ("st_size", 1 << 63),
        ("st_blocks", 1 << 63),
        ("st_blksize", -(1 << 63) - 1),
        ("st_ctime_ns", 1 << 100),
        ("st_size", float("inf")),
    ],
)
def test_a_value_out_of_range_overflows_at_the_assignment(name: str, value: Any) -> None:
    entry = pyfuse3.EntryAttributes()
    with pytest.raises(OverflowError):
        setattr(entry, name, value)


@pytest.mark.parametrize("value", [None, "5", b"5", [], object()])
@pytest.mark.parametrize("name", ["st_size", "st_mode", "st_mtime_ns", "entry_timeout"])
def test_a_value_of_the_wrong_type_is_refused_at_the_assignment(name: str, value: Any) -> None:
    entry = pyfuse3.EntryAttributes()
    with pytest.raises(TypeError):
        setattr(entry, name, value)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_entry_attributes_and_statvfs_data_can_be_copied_and_pickled(again: Any) -> None:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.entry_timeout = 7, 8, 9, 0.5
    assert again(entry).__getstate__() == entry.__getstate__()
    status = pyfuse3.StatvfsData()
    status.f_bsize, status.f_namemax = 512, 99
    assert again(status).__getstate__() == status.__getstate__()
    assert again(status).f_namemax == 99


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_entry_attributes_survive_every_pickle_protocol(protocol: int) -> None:
    entry = pyfuse3.EntryAttributes()
    entry.st_size = 1 << 40
    assert pickle.loads(pickle.dumps(entry, protocol)).st_size == 1 << 40


def test_file_info_keeps_the_cache_by_default_and_reads_flags_back_as_bool() -> None:
    opened = pyfuse3.FileInfo()
    assert (opened.fh, opened.direct_io, opened.keep_cache, opened.nonseekable) == (0, False, True, False)
    given: Any = pyfuse3.FileInfo(5, 1, 0, 2)
    assert (given.fh, given.direct_io, given.keep_cache, given.nonseekable) == (5, True, False, True)
    assert pyfuse3.FileInfo(fh=6, nonseekable=True).nonseekable is True


def test_file_info_refuses_impossible_handles_and_unknown_arguments() -> None:
    make: Any = pyfuse3.FileInfo
    with pytest.raises(OverflowError):
        make(fh=-1)
    with pytest.raises(TypeError):
        make(fh=None)
    with pytest.raises(TypeError):
        make(cache=True)


def test_statvfs_data_is_zero_and_unsigned() -> None:
    status = pyfuse3.StatvfsData()
    assert set(status.__getstate__().values()) == {0}
    assert len(status.__getstate__()) == 9
    with pytest.raises(OverflowError):
        status.f_blocks = -1


@pytest.mark.parametrize("make", [pyfuse3.RequestContext, pyfuse3.SetattrFields])
def test_what_belongs_to_one_request_is_read_only_and_cannot_be_copied(make: Any) -> None:
    thing = make()
    name = "uid" if make is pyfuse3.RequestContext else "update_size"
    assert not getattr(thing, name)
    with pytest.raises(AttributeError):
        setattr(thing, name, 1)
    with pytest.raises(pickle.PicklingError):
        copy.copy(thing)
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(thing)


def test_setattr_fields_are_all_false() -> None:
    fields = pyfuse3.SetattrFields()
    names = ("atime", "mtime", "ctime", "mode", "uid", "gid", "size")
    assert [getattr(fields, f"update_{name}") for name in names] == [False] * 7


def test_a_fuse_error_takes_exactly_one_positional_number() -> None:
    make: Any = pyfuse3.FUSEError
    error = make(errno.ENOENT)
    assert (error.errno, error.errno_, error.args) == (2, 2, (2,))
    assert (str(error), repr(error)) == ("No such file or directory", "FUSEError(2)")
    assert str(make(12345)) == "Unknown error 12345"
    assert not isinstance(error, OSError)
    for arguments, named in (((), {}), ((1, 2), {}), ((), {"errno": 2})):
        with pytest.raises(TypeError):
            make(*arguments, **named)
    with pytest.raises(AttributeError):
        error.errno = 3
    error.note = "kept"
    assert copy.copy(error).errno == 2
    assert copy.copy(error).note == "kept"
    assert pickle.loads(pickle.dumps(error)).errno == 2


def test_a_fuse_error_subclass_has_the_same_arity() -> None:
    class Bad(pyfuse3.FUSEError):
        def __init__(self, path: str, number: int) -> None:
            pass

    class Good(pyfuse3.FUSEError):
        pass

    make: Any = Bad
    with pytest.raises(TypeError):
        make("/x", 5)
    assert Good(5).errno == 5


def test_a_poll_handle_cannot_be_made_or_pickled() -> None:
    with pytest.raises(TypeError):
        pyfuse3.PollHandle()


def test_a_readdir_token_can_be_made_and_shows_nothing() -> None:
    token = pyfuse3.ReaddirToken()
    assert not [name for name in dir(token) if not name.startswith("_")]


def test_readdir_reply_checks_its_arguments() -> None:
    reply: Any = pyfuse3.readdir_reply
    entry = pyfuse3.EntryAttributes()
    with pytest.raises(TypeError):
        reply(pyfuse3.ReaddirToken(), "name", entry, 1)
    with pytest.raises(TypeError):
        reply(pyfuse3.ReaddirToken(), b"name", 5, 1)
    with pytest.raises(TypeError):
        reply(object(), b"name", entry, 1)
    assert reply(pyfuse3.ReaddirToken(), b"name", entry, 1) is True
