"""The table of options: strings, refusals, contradictions, and the page that is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovfs.errors import OptionError
from aiovfs.fuse.forgetting import Forgetting
from aiovfs.fuse.options import MOUNT_WORDS, OPTIONS, REFUSED, parse_option_string, parse_options

ROOT = Path(__file__).resolve().parents[2]
PYFUSE3 = (
    "default_permissions allow_other allow_root ro rw nonempty fsname subtype debug use_ino readdir_ino direct_io "
    "kernel_cache auto_cache noauto_cache umask uid gid entry_timeout attr_timeout ac_attr_timeout negative_timeout "
    "noforget intr intr_signal max_read max_write auto_unmount remember async_read sync_read dirsync"
)


def test_every_option_that_pyfuse3_documents_is_there() -> None:
    assert set(PYFUSE3.split()) <= {option.name for option in OPTIONS}


def test_the_page_is_in_step_with_the_table() -> None:
    command = [sys.executable, str(ROOT / "tools/generate_options.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_name_is_in_two_tables() -> None:
    names = [option.name for option in OPTIONS]
    assert len(set(names)) == len(names)
    assert not set(names) & (REFUSED.keys() | MOUNT_WORDS)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("ro,,noexec", {"ro": True, "noexec": True}),
        ("umask=022,uid=1000", {"umask": 0o22, "uid": 1000}),
        (r"fsname=a\,b,subtype=c\\d", {"fsname": "a,b", "subtype": "c\\d"}),
        ('context="system_u:object_r:tmp_t:s0:c127,c456",noatime', {
            "context": "system_u:object_r:tmp_t:s0:c127,c456", "noatime": True,
        }),
        ("attr_timeout=1.5,use_ino=no,readdirplus=always", {
            "attr_timeout": 1.5, "use_ino": False, "readdirplus": "always",
        }),
        ("defaults,noauto,user,_netdev,x-systemd.automount,x-gvfs-show=1", {}),
    ],
)  # fmt: skip
def test_option_strings_become_keywords(text: str, options: dict[str, Any]) -> None:
    assert parse_option_string(text) == options
    parse_options(options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uid", "needs a value"),
        ("uid=root", "expected int"),
        ("umask=089", "expected int"),
        ("use_ino=perhaps", "expected bool"),
        ("blksize=512", "fuseblk"),
        ("unmask=022", "did you mean 'umask'"),
    ],
)
def test_a_bad_option_string_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_option_string(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow_root": True, "allow_other": True}, "contradict"),
        ({"allow_root": True, "no_open": True}, "who opens"),
        ({"umask": 0o7777}, "more than 0o777"),
        ({"uid": 2**32 - 1}, "no such number"),
        ({"time_gran": 0}, "1 to 10"),
        ({"request_timeout": 70_000}, "at most 65535"),
        ({"intr_signal": 100}, "signals"),
        ({"entry_timeout": float("nan")}, "negative"),
        ({"readdirplus": "sometimes"}, "expected bool"),
        ({"max_write": None}, "expected int"),
    ],
)
def test_impossible_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_options(options)


@given(st.text(max_size=60))
def test_no_option_string_raises_anything_else(text: str) -> None:
    try:
        parse_options(parse_option_string(text))
    except OptionError:
        pass


def test_readdirplus_is_one_word_for_two_options() -> None:
    for word, pair in {"always": (True, False), "auto": (True, True), "never": (False, False)}.items():
        settings = parse_options({"readdirplus": word})
        assert (settings["readdirplus"], settings["readdirplus_auto"]) == pair


def test_forgets_come_out_when_they_are_due_or_never() -> None:
    later = Forgetting(10.0)
    assert list(later.due(0.0, 2, 1)) == []
    assert list(later.due(9.0, 3, 1)) == []
    assert list(later.due(10.5, 4, 5)) == [(2, 1)]
    assert list(later.due(30.0, 5, 1)) == [(3, 1), (4, 5)]
    never = Forgetting(float("inf"))
    assert [list(never.due(time, 2, 1)) for time in (0.0, 1e12)] == [[], []]
