"""Parsing of `-o`, and where an option goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiovfs.cli.locations import locate
from aiovfs.cli.mount_cmd import mount_option_names, mount_options
from aiovfs.cli.options import parse_words, split_options
from aiovfs.errors import OptionError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anon", {"anon": True}),
        ("anon=true,key=x", {"anon": True, "key": "x"}),
        ("a=1,b=2.5,c=null,d=text", {"a": 1, "b": 2.5, "c": None, "d": "text"}),
        ('kwargs={"region":"x","n":[1,2]},anon', {"kwargs": {"region": "x", "n": [1, 2]}, "anon": True}),
        ('a={"b":"}],\\""},c=1', {"a": {"b": '}],"'}, "c": 1}),
        ("list=[1,2],x", {"list": [1, 2], "x": True}),
        ('quoted="1,2"', {"quoted": "1,2"}),
        (r"comma=a\,b,c=d", {"comma": "a,b", "c": "d"}),
        (r"path=C:\dir", {"path": r"C:\dir"}),
        ("url=http://h/?a=b", {"url": "http://h/?a=b"}),
        ("empty=", {"empty": ""}),
        (",,a,", {"a": True}),
        ("secret=0123,password=456,token=7", {"secret": "0123", "password": "456", "token": "7"}),
        ("version=1.10,account=12", {"version": "1.10", "account": "12"}),
        ("nan=NaN", {"nan": "NaN"}),
        ("date=2024-01-01", {"date": "2024-01-01"}),
    ],
)  # fmt: skip
def test_words_become_values(text: str, expected: dict[str, Any]) -> None:
    assert parse_words([text]) == expected


def test_options_of_the_mount_stay_text_for_their_own_notation() -> None:
    assert parse_words(["umask=022,cache_size=1GiB"], text_names={"umask", "cache_size"}) == {
        "umask": "022",
        "cache_size": "1GiB",
    }


def test_later_words_win() -> None:
    assert parse_words(["a=1", "a=2"]) == {"a": 2}


def test_values_come_from_files_and_variables_as_text(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("12345\n")
    assert parse_words([f"x=@{file},y=env:Y"], environment={"Y": "67"}) == {"x": "12345", "y": "67"}


def test_error_about_a_secret_does_not_show_it() -> None:
    with pytest.raises(OptionError) as caught:
        parse_words(["secret={hidden"])
    assert "hidden" not in str(caught.value)


def test_name_must_be_there() -> None:
    with pytest.raises(OptionError, match="name is missing"):
        parse_words(["=x"])


def test_options_go_to_the_mount_or_to_the_file_system() -> None:
    given = {"ro": True, "cache-size": "1", "anon": True, "key": "x"}
    assert split_options("s3://b", given, mount_option_names()) == (
        {"ro": True, "cache_size": "1"},
        {"anon": True, "key": "x"},
    )


def test_inner_protocols_of_a_chain_are_options() -> None:
    assert split_options("zip::s3://b/a.zip", {"s3": {"anon": True}})[1] == {"s3": {"anon": True}}


def test_words_of_mount_8_and_negations_are_understood() -> None:
    assert mount_options({"ro": True, "noallow_other": True, "umask": "022"}) == {
        "read_only": True,
        "allow_other": False,
        "umask": "022",
    }


@pytest.mark.parametrize(
    ("text", "parent", "name", "origin"),
    [
        ("s3://bucket", "s3://bucket", "", "s3://bucket"),
        ("s3://bucket/", "s3://bucket", "", "s3://bucket"),
        ("s3://bucket/a", "s3://bucket", "a", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a", "b", "s3://bucket"),
        ("http://host:80/a/b", "http://host:80/a", "b", "http://host:80"),
        ("memory://a", "memory://", "a", "memory://"),
        ("memory://a/b", "memory://a", "b", "memory://"),
        ("memory:///a", "memory:///", "a", "memory://"),
        ("zip://a/b::s3://x/y.zip", "zip://a::s3://x/y.zip", "b", "zip://::s3://x/y.zip"),
        ("zip::s3://x/y.zip", "zip://::s3://x/y.zip", "", "zip://::s3://x/y.zip"),
        ("simplecache::s3://x/y", "simplecache::s3://x", "y", "simplecache::s3://x"),
        ("github://org:repo@main/a", "github://org:repo@main", "a", "github://org:repo@main"),
    ],
)
def test_url_is_taken_apart(text: str, parent: str, name: str, origin: str) -> None:
    location = locate(text)
    assert (location.parent, location.name, location.origin) == (parent, name, origin)
    assert not location.is_local


@pytest.mark.parametrize("text", ["/a/b", "file:///a/b", "file:///a/b/", "/a/./b"])
def test_local_path_is_taken_apart(text: str) -> None:
    location = locate(text)
    assert (location.parent, location.name, location.local_path, location.is_local) == ("/a", "b", "/a/b", True)


def test_path_in_the_origin_is_all_behind_the_host() -> None:
    assert locate("s3://bucket/a/b/c").path_in_origin == "a/b/c"
    assert locate("s3://bucket").path_in_origin == ""
