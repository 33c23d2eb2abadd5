"""Arithmetic of store paths."""

from __future__ import annotations

import errno

import pytest

from aiovfs.fs import paths


@pytest.mark.parametrize("path", ["", "a", "a/b", "a b/c..d/...", "\udcff"])
def test_a_path_in_normal_form_is_left_alone(path: str) -> None:
    assert paths.check(path) == path


@pytest.mark.parametrize("path", ["/", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b", "a\0"])
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside a store"):
        paths.check(path)


@pytest.mark.parametrize(
    ("root", "path", "full"),
    [
        ("", "", ""),
        ("", "a/b", "a/b"),
        ("/", "", "/"),
        ("/", "a", "/a"),
        ("bucket", "", "bucket"),
        ("bucket/p", "a", "bucket/p/a"),
        ("http://h/", "a", "http://h/a"),
    ],
)
def test_a_path_is_joined_to_any_root(root: str, path: str, full: str) -> None:
    assert paths.join(root, path) == full


def test_a_path_is_taken_apart() -> None:
    assert paths.split("a/b/c") == ("a/b", "c")
    assert (paths.parent_of("a"), paths.name_of("a")) == ("", "a")
    assert (paths.parent_of(""), paths.name_of("")) == ("", "")
    assert paths.ancestors("a/b/c") == ["", "a", "a/b"]
    assert paths.ancestors("") == []


def test_below_is_not_a_matter_of_letters() -> None:
    assert paths.is_below("a/b", "a")
    assert paths.is_below("a", "")
    assert not paths.is_below("ab", "a")
    assert not paths.is_below("a", "a")
    assert not paths.is_below("", "")


@pytest.mark.parametrize(
    ("old", "new", "number"), [("a", "a/b", errno.EINVAL), ("", "a", errno.EBUSY), ("a", "", errno.EBUSY)]
)
def test_a_rename_that_the_names_forbid_is_refused(old: str, new: str, number: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        paths.check_rename(old, new)
    assert caught.value.errno == number


def test_a_rename_to_a_longer_name_beside_it_is_allowed() -> None:
    paths.check_rename("a", "ab")
