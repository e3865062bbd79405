"""Windows are views, splits do not leak, and no window bridges a gap."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tidegate.errors import DataError, SettingError
from tidegate.windows import split, starts_inside, windows


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 10), st.integers(1, 5))
def test_each_window_is_the_rows_it_should_be_and_none_is_left_out(rows, channels, length, step):
    values = np.arange(rows * channels, dtype=float).reshape(rows, channels)
    if rows < length:
        with pytest.raises(DataError, match="fewer than a window"):
            windows(values, length, step)
        return
    cut = windows(values, length, step)
    expected = [values[i : i + length] for i in range(0, rows - length + 1, step)]
    assert np.array_equal(cut, np.stack(expected))
    assert np.shares_memory(cut, values)
    assert not cut.flags.writeable


@given(st.integers(1, 500), st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4), st.integers(0, 40))
def test_stretches_follow_each_other_with_exactly_the_gap_between(rows, shares, gap):
    try:
        spans = split(rows, *shares, gap=gap)
    except DataError:
        shortest = (rows - gap * (len(shares) - 1)) * min(shares) / sum(shares)
        assert shortest <= 1.0
        return
    assert spans[0][0] == 0
    assert spans[-1][1] == rows
    assert all(start < stop for start, stop in spans)
    assert all(after[0] - before[1] == gap for before, after in itertools.pairwise(spans))


def test_with_a_gap_of_a_window_no_row_is_in_windows_of_two_stretches():
    length = 7
    (_, end), (start, _) = split(100, 0.5, 0.5, gap=length)
    assert set(range(end)).isdisjoint(range(start, 100))
    assert start - end >= length


def test_a_split_that_leaves_a_stretch_empty_is_refused_with_what_it_takes():
    with pytest.raises(DataError, match="more than 130 rows"):
        split(100, 0.5, 0.3, gap=128)
    with pytest.raises(SettingError):
        split(100, 0.5, 0.0)


@given(st.data())
def test_windows_inside_touch_one_stretch_and_no_excluded_row(data):
    rows = data.draw(st.integers(1, 30))
    length = data.draw(st.integers(1, 8))
    starts = np.array(sorted({0, *data.draw(st.lists(st.integers(0, rows - 1), max_size=4))}))
    excluded = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    stretch = np.searchsorted(starts, np.arange(rows), side="right")
    expected = [
        i
        for i in range(rows - length + 1)
        if len(set(stretch[i : i + length])) == 1 and not excluded[i : i + length].any()
    ]
    assert starts_inside(starts, rows, length, excluded).tolist() == expected


def test_no_window_fits_where_every_stretch_is_too_short():
    assert len(starts_inside(np.array([0, 3, 6]), rows=9, length=4)) == 0
    assert len(starts_inside(np.array([0]), rows=3, length=4)) == 0
