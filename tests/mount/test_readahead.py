from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiovfs.fs.ranges import ByteRange
from aiovfs.mount.readahead import KIB, MIB, Readahead

STEP = 128 * KIB


def test_the_window_doubles_while_a_reader_goes_on() -> None:
    policy = Readahead(max_window=8 * MIB)
    windows = []
    for i in range(200):
        ahead = policy.on_read(i * STEP, STEP)
        if ahead is not None:
            windows.append(ahead.end - (i + 1) * STEP)
    assert windows[:6] == [256 * KIB, 512 * KIB, MIB, 2 * MIB, 4 * MIB, 8 * MIB]
    assert set(windows[6:]) == {8 * MIB}


def test_ranges_ahead_of_a_sequential_reader_have_no_gap_and_no_overlap() -> None:
    policy = Readahead(max_window=4 * MIB)
    end = None
    for i in range(200):
        ahead = policy.on_read(i * STEP, STEP)
        if ahead is not None:
            assert end is None or ahead.start == end
            end = ahead.end


def test_a_jump_closes_the_window() -> None:
    policy = Readahead(max_window=8 * MIB)
    policy.on_read(0, STEP)
    assert policy.on_read(100 * MIB, STEP) is None


def test_after_two_jumps_nothing_is_read_ahead_until_reads_are_contiguous_again() -> None:
    policy = Readahead(max_window=8 * MIB)
    for offset in (50 * MIB, 10 * MIB, 70 * MIB):
        assert policy.on_read(offset, 4 * KIB) is None
    assert policy.is_random
    assert policy.on_read(70 * MIB + 4 * KIB, 4 * KIB) is None
    assert policy.on_read(70 * MIB + 8 * KIB, 4 * KIB) is not None
    assert not policy.is_random


def test_a_limit_of_zero_turns_readahead_off() -> None:
    policy = Readahead(max_window=0)
    assert all(policy.on_read(i * STEP, STEP) is None for i in range(20))


def test_a_small_step_forward_is_reading_on() -> None:
    policy = Readahead(max_window=8 * MIB)
    policy.on_read(0, STEP)
    policy.on_read(STEP + 4 * KIB, STEP)
    assert not policy.is_random
    assert policy._jumps == 0


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 20)), max_size=50), st.integers(0, 1 << 24))
def test_whatever_is_read_the_range_ahead_starts_behind_the_read_and_is_bounded(
    reads: list[tuple[int, int]], max_window: int
) -> None:
    policy = Readahead(max_window=max_window)
    for offset, size in reads:
        ahead = policy.on_read(offset, size)
        assert ahead is None or (isinstance(ahead, ByteRange) and ahead.start >= offset + size)
        assert ahead is None or 0 < ahead.size <= 2 * max_window
