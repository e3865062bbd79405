"""A Series is checked once: what is refused, what is noted, and how it is cut."""

import time
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tidegate.errors import DataError, SettingError
from tidegate.series import SECOND, check, instant, span_text, time_text

HOUR = 3600 * SECOND
START = instant("2024-03-09")


def hourly(rows=48, channels=2):
    values = np.random.default_rng(0).standard_normal((rows, channels))
    return check(values, START + np.arange(rows) * HOUR)


def test_values_and_times_are_copies_that_cannot_be_written():
    values, times = np.ones((3, 2)), np.arange(3) * SECOND
    series = check(values, times)
    values[:], times[:] = 9, 9
    assert series.values.max() == 1
    assert series.times.tolist() == [0, SECOND, 2 * SECOND]
    for array in (series.values, series.times, series[1:].values, series.select(["c1"]).values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        series.interval = 2.0


def test_one_dimension_booleans_integers_and_masked_arrays_become_float64_columns():
    assert check([1, 2, 3]).values.shape == (3, 1)
    assert check([[True], [False]]).values.tolist() == [[1.0], [0.0]]
    masked = np.ma.masked_array([[1, 2], [3, 4]], mask=[[False, True], [False, False]])
    assert np.isnan(check(masked).values[0, 1])


@pytest.mark.parametrize("values", [[], [[]], np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 2, 2)), 5.0])
def test_what_is_no_table_with_rows_and_columns_is_refused(values):
    with pytest.raises(DataError, match="at least one row and one column"):
        check(values)


@pytest.mark.parametrize("values", [[["a"]], [[1], [2, 3]], np.array([[1j]]), None, np.array(["2024"], "M8[s]")])
def test_what_is_not_numbers_is_refused(values):
    with pytest.raises(DataError):
        check(values)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e200])
def test_inf_is_refused_naming_the_first_row_and_channel(bad):
    values = np.zeros((10, 3))
    values[6, 2] = values[8, 0] = bad
    with pytest.raises(DataError, match=r"in channel c2, row 7"):
        check(values)


def test_jumps_of_1e30_are_data():
    assert check([[1.0], [1e30], [2.0]]).values.max() == 1e30


@given(st.permutations(range(12)))
def test_unsorted_rows_are_sorted_with_their_values_and_labels_and_it_is_noted(order):
    values, times = np.arange(12.0)[:, None], START + np.arange(12) * HOUR
    series = check(values[order], times[order], labels=np.arange(12)[order])
    assert series.values[:, 0].tolist() == series.labels.tolist() == list(range(12))
    assert (np.diff(series.times) > 0).all()
    assert any("not in order" in note for note in series.notes) == (list(order) != list(range(12)))


def test_duplicate_times_are_refused_by_name_or_the_last_is_kept():
    times = START + np.array([0, 1, 1, 2, 2, 2]) * HOUR
    with pytest.raises(DataError, match=r"3 rows repeat a time: 2024-03-09 01:00:00 \(rows 2 and 3\)"):
        check(np.arange(6.0), times)
    series = check(np.arange(6.0), times, duplicates="last")
    assert series.values[:, 0].tolist() == [0, 2, 5]
    assert "3 rows dropped: a later row has the same time" in series.notes


def test_of_unsorted_duplicates_the_last_in_the_file_is_kept():
    series = check([1.0, 2.0, 3.0], np.array([HOUR, 0, HOUR]), duplicates="last")
    assert series.values[:, 0].tolist() == [2.0, 3.0]


def test_constant_and_empty_channels_and_missing_values_are_noted():
    values = np.column_stack([np.arange(10.0), np.full(10, 7.0), np.full(10, np.nan)])
    notes = check(values, channels=["flow", "stuck", "dead"]).notes
    assert notes == (
        "channel without a single reading: dead",
        "constant channel: stuck",
        "33.3 % of the values are missing",
    )


def test_thirty_percent_missing_is_kept_as_nan():
    values = np.random.default_rng(0).standard_normal((1000, 4))
    values[np.random.default_rng(1).random((1000, 4)) < 0.3] = np.nan
    assert np.array_equal(check(values).values, values, equal_nan=True)


def test_what_is_noted_of_a_part_is_of_that_part():
    values = np.random.default_rng(0).standard_normal((100, 2))
    values[:50, 1] = np.nan
    times = np.where(np.arange(100) < 80, 0, 5) * HOUR + START + np.arange(100) * HOUR
    series = check(values, times, name="half")
    assert series.notes == (
        "1 gap in time, the longest of 6 h after 2024-03-12 07:00:00",
        "25 % of the values are missing",
    )
    assert series[50:80].notes == series.select(["c0"])[:80].notes == ()
    assert series.where(np.arange(100) < 50).notes == (
        "channel without a single reading: c1",
        "50 % of the values are missing",
    )
    assert series[40:60].notes == ("25 % of the values are missing",)
    assert "note" not in repr(series[50:80])


def test_rows_that_were_sorted_stay_noted_in_a_part():
    series = check(np.arange(4.0), (START + np.array([0, 2, 1, 3]) * HOUR))
    assert (
        series.notes == series[:2].notes == ("the times were not in order (1 row earlier than the one before): sorted",)
    )


def readings(edge, share, rows=1000):
    """A temperature, in a share of whose rows stands another number."""
    rng = np.random.default_rng(0)
    values = np.round(20 + 5 * rng.standard_normal((rows, 1)), 1)
    values[rng.permutation(rows)[: round(share * rows)]] = edge
    return values


@pytest.mark.parametrize("edge", [-200, 9999, 65_535])
def test_a_number_that_may_stand_for_no_reading_is_noted(edge):
    (note,) = check(readings(edge, 0.05), channels=["t"]).notes
    assert note.startswith(f"{edge} in over 1 % of the rows of t, far from all else there")
    assert f"missing='{edge}'" in note
    blank = np.where(readings(edge, 0.05) == edge, np.nan, readings(edge, 0.05))
    assert check(blank).notes == ("5 % of the values are missing",)


@pytest.mark.parametrize(
    "values",
    [
        readings(-200, 0.005),  # seldom: an outlier
        readings(0, 0.3),  # a machine that is off
        readings(15, 0.05),  # amid the others
        readings(-199.5, 0.05),  # no spelling of anything
        np.repeat([1.0, 2, 9], 100)[:, None],  # states
        np.clip(readings(60, 0.0), 15, 25),  # a sensor at its limits
    ],
)
def test_other_numbers_at_the_edge_of_a_column_are_not(values):
    assert check(values).notes == ()


def test_an_interval_that_contradicts_the_times_is_refused_with_both():
    times = START + np.arange(100) * HOUR
    for interval, said in (("5min", "5 min"), ("1d", "1 d"), ("2.5h", "2.5 h")):
        with pytest.raises(DataError, match=f"an interval of {said}, and times of which most are 1 h apart"):
            check(np.arange(100.0), times, interval=interval)
    assert check(np.arange(100.0), times, interval="1h").interval == 3600


def test_an_interval_may_be_that_of_a_clock_with_many_rows_missing():
    kept = np.sort(np.random.default_rng(0).permutation(1000)[:200])
    series = check(np.arange(200.0), START + kept * HOUR, interval="1h")
    assert series.interval == 3600
    assert check(np.arange(5.0), START + 24 * np.arange(5) * HOUR, interval="1h").interval == 3600  # too few to tell


def test_all_missing_is_refused():
    with pytest.raises(DataError, match="every value is missing"):
        check(np.full((5, 2), np.nan))


def test_one_row_is_a_series():
    series = check([[1.0, 2.0]], np.array([START]))
    assert len(series) == 1
    assert series.interval == 1.0
    assert series.notes == ()


def test_future_times_are_noted():
    soon = time.time_ns() + 3600 * SECOND
    assert check([1.0, 2.0], np.array([soon, soon + SECOND])).notes == ()
    late = soon + 3 * 86_400 * SECOND
    assert "1 row lies in the future" in check([1.0, 2.0], np.array([soon, late])).notes[0]
    assert "2 rows lie in the future" in check([1.0, 2.0], np.array([late, late + SECOND])).notes[0]


def test_a_hole_of_three_hours_is_noted_and_begins_a_new_stretch():
    times = np.delete(START + np.arange(600) * 60 * SECOND, slice(200, 380))
    series = check(np.arange(420.0), times)
    assert series.interval == 60
    assert series.notes == ("1 gap in time, the longest of 3.017 h after 2024-03-09 03:19:00",)
    assert series.starts(90.0).tolist() == [0, 200]
    assert series.starts(4 * 3600.0).tolist() == [0]


def test_names_must_be_as_many_as_columns_and_all_different():
    with pytest.raises(DataError, match="2 channel names for 3 columns"):
        check(np.ones((2, 3)), channels=["a", "b"])
    with pytest.raises(DataError, match="twice: a"):
        check(np.ones((2, 3)), channels=["a", "b", "a"])


def test_without_a_clock_rows_count_by_the_interval():
    series = check(np.arange(4.0), interval="250ms")
    assert series.times.tolist() == [0, SECOND // 4, SECOND // 2, 3 * SECOND // 4]
    assert not series.clock
    with pytest.raises(DataError, match="no clock"):
        series["2024-01-01":]


def test_a_slice_by_time_is_half_open_so_that_no_row_is_in_both_parts():
    series = hourly()
    before, after = series[:"2024-03-10"], series["2024-03-10":]
    assert len(before) == 24
    assert len(after) == 24
    assert before.times[-1] < instant("2024-03-10") == after.times[0]


def test_a_slice_takes_rows_strings_dates_datetimes_and_offsets():
    series, noon = hourly(), datetime(2024, 3, 9, 12, tzinfo=UTC)
    assert len(series[10:20]) == 10
    assert len(series[-5:]) == 5
    assert len(series[:noon]) == len(series[: np.datetime64("2024-03-09T12:00")]) == 12
    assert len(series[: date(2024, 3, 10)]) == 24
    assert len(series[:"2024-03-09T12:00+02:00"]) == 10
    assert len(series[: datetime(2024, 3, 9, 12, tzinfo=timezone(timedelta(hours=2)))]) == 10


@pytest.mark.parametrize("part", [slice("2025-01-01", None), slice(5, 5), slice("2024-03-10", "2024-03-09")])
def test_a_slice_without_rows_is_refused_with_the_span_there_is(part):
    with pytest.raises(DataError, match="2024-03-09 00:00:00 to 2024-03-10 23:00:00"):
        hourly()[part]


@pytest.mark.parametrize("part", [3, slice(None, None, 2), "2024-03-09"])
def test_a_series_is_cut_by_slices_only(part):
    with pytest.raises(SettingError, match="start:stop"):
        hourly()[part]


def test_a_time_that_cannot_be_read_says_how_to_write_it():
    with pytest.raises(SettingError, match="ISO 8601"):
        hourly()["yesterday":]


def test_select_reorders_channels_and_lists_them_when_one_is_unknown():
    series = hourly()
    assert np.array_equal(series.select(["c1", "c0"]).values, series.values[:, ::-1])
    with pytest.raises(DataError, match="some of c0, c1"):
        series.select(["c7"])


def test_the_repr_fits_on_a_line():
    assert repr(hourly()) == (
        "<Series array: 48 rows x 2 channels, every 1 h, 2024-03-09 00:00:00 to 2024-03-10 23:00:00>"
    )


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))
def test_instant_and_time_text_are_inverse(moment):
    assert instant(time_text(instant(moment))) == instant(moment)


@pytest.mark.parametrize(("seconds", "text"), [(1e-9, "1 ns"), (0.5, "500 ms"), (86_400, "1 d"), (5400, "1.5 h")])
def test_spans_are_told_in_the_unit_people_use(seconds, text):
    assert span_text(seconds) == text


def test_rows_outside_of_stretches() -> None:
    series = check(np.arange(10.0), np.arange(10) * SECOND, labels=np.arange(10))
    kept = series.outside([(2, 4), ("1970-01-01T00:00:07", "1970-01-01T00:00:08")])
    assert np.flatnonzero(~kept).tolist() == [2, 3, 7]
    part = series.where(kept)
    assert part.values[:, 0].tolist() == part.labels.tolist() == [0, 1, 4, 5, 6, 8, 9]
    assert part.times.tolist() == [i * SECOND for i in (0, 1, 4, 5, 6, 8, 9)]
