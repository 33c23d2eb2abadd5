from __future__ import annotations

import errno

import pytest

from aiovfs.errors import MissingPackageError, StaleError, StoreError, UnsupportedError
from aiovfs.mount.errors import ERRNO_OF, errno_of, error


@pytest.mark.parametrize(
    ("exception", "number"),
    [
        (OSError(errno.EDQUOT, "quota"), errno.EDQUOT),
        (FileNotFoundError("no errno"), errno.ENOENT),
        (ConnectionResetError("no errno"), errno.EIO),
        (ConnectionResetError(errno.ECONNRESET, "reset"), errno.ECONNRESET),
        (TimeoutError("late"), errno.ETIMEDOUT),
        (PermissionError("403"), errno.EACCES),
        (StaleError("changed"), errno.ESTALE),
        (UnsupportedError("cannot"), errno.EOPNOTSUPP),
        (StoreError("down"), errno.EIO),
        (MissingPackageError("x"), errno.ENOPKG),
        (OSError("bare"), errno.EIO),
        (OSError(99999, "not an errno"), errno.EIO),
    ],
)
def test_what_a_store_raises_has_an_errno(exception: BaseException, number: int) -> None:
    assert errno_of(exception) == number


@pytest.mark.parametrize("exception", [KeyError("x"), AssertionError(), ValueError("x")])
def test_a_bug_has_no_errno(exception: BaseException) -> None:
    assert errno_of(exception) is None


def test_every_row_is_found_by_its_own_class() -> None:
    for cls, number in ERRNO_OF.items():
        assert errno_of(cls("x")) == number


def test_error_makes_the_subclass_that_belongs_to_the_errno() -> None:
    made = error(errno.ENOENT, b"name")
    assert isinstance(made, FileNotFoundError)
    assert made.filename == b"name"
