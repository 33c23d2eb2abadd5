"""Trying again."""

from __future__ import annotations

import itertools

import pytest

from aiovfs.fs.retries import LONGEST_PAUSE, pauses, retrying


class Attempts:
    """Fails with each of `errors` in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_pauses_double_up_to_the_longest() -> None:
    assert list(itertools.islice(pauses(lambda: 1.0), 8)) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_jitter_takes_at_most_half_of_a_pause_away() -> None:
    assert list(itertools.islice(pauses(lambda: 0.0), 3)) == [0.05, 0.1, 0.2]
    assert max(itertools.islice(pauses(), 50)) <= LONGEST_PAUSE


async def test_failures_that_may_pass_are_tried_again() -> None:
    attempts = Attempts(TimeoutError(), ConnectionResetError())
    assert await retrying(attempts, seconds=10, about="it") == "done"
    assert attempts.count == 3


async def test_other_failures_are_raised_at_once() -> None:
    attempts = Attempts(FileNotFoundError("x"))
    with pytest.raises(FileNotFoundError):
        await retrying(attempts, seconds=10, about="it")
    assert attempts.count == 1


async def test_without_patience_the_first_failure_is_raised() -> None:
    attempts = Attempts(TimeoutError())
    with pytest.raises(TimeoutError):
        await retrying(attempts, seconds=0, about="it")
    assert attempts.count == 1


async def test_what_is_logged_of_a_failure_has_no_signature(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [ConnectionResetError("GET http://h/container/blob?sv=1&sig=SECRET%3D broke")]

    async def attempt() -> str:
        if failures:
            raise failures.pop()
        return "done"

    with caplog.at_level("INFO", logger="aiovfs.fs"):
        assert await retrying(attempt, seconds=30, about="az://container/blob") == "done"
    assert "trying again" in caplog.text
    assert "SECRET" not in caplog.text
