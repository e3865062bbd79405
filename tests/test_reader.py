"""Every way in, and every bad input of a file answered with what was seen and what to do."""

import datetime
import gzip
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from tidegate.errors import DataError, MissingExtraError, SettingError
from tidegate.layout import Layout
from tidegate.reader import read, read_many
from tidegate.series import SECOND, check, instant, time_text
from tidegate.tasks.verbs import as_series


@pytest.fixture
def file(tmp_path):
    """A function that writes a file and gives its path."""

    def write(content, name="pump.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


TIMES = ["2024-03-09 10:00:00", "2024-03-09 10:01:00", "2024-03-09 10:02:00"]
PLAIN = "time,flow,pressure\n" + "".join(f"{at},{i}.5,{i * 10}\n" for i, at in enumerate(TIMES))
NANOSECONDS = [instant(at) for at in TIMES]


def is_plain(series):
    assert series.values.tolist() == [[0.5, 0.0], [1.5, 10.0], [2.5, 20.0]]
    assert series.times.tolist() == NANOSECONDS
    assert series.channels == ("flow", "pressure")
    assert series.notes == ()
    return True


# --- text files: how they are laid out -------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_delimiter_and_the_line_end_are_found(file, delimiter, end):
    assert is_plain(read(file(PLAIN.replace(",", delimiter).replace("\n", end))))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_the_encoding_is_found_or_given(file, encoding):
    layout = Layout(encoding=encoding if encoding == "utf-16-le" else None)
    assert is_plain(read(file(PLAIN.encode(encoding)), layout=layout))


def test_latin_1_names_are_read(file):
    assert read(file("t °C,µm\n1,2\n3,4\n".encode("latin-1"))).channels == ("t °C", "µm")


def test_a_packed_file_is_unpacked(file):
    assert is_plain(read(file(gzip.compress(PLAIN.encode()), "pump.csv.gz")))


def test_a_decimal_comma_is_found(file):
    text = PLAIN.replace(",", ";").replace(".5", ",5")
    assert is_plain(read(file(text)))
    quoted = 'flow,level\n"1,5","2,5"\n"3,5","4,5"\n'
    assert read(file(quoted), layout=Layout(decimal=",")).values.tolist() == [[1.5, 2.5], [3.5, 4.5]]


def test_spaces_around_numbers_and_quotes_do_no_harm(file):
    text = 'time, flow ,"pressure"\n' + "".join(f'"{at}", {i}.5 ,"{i * 10}"\n' for i, at in enumerate(TIMES))
    assert is_plain(read(file(text)))


def test_a_file_without_a_header_gets_names(file):
    series = read(file("2024-03-09 10:00:00,1,2\n2024-03-09 10:01:00,3,4\n"))
    assert series.channels == ("c1", "c2")
    assert series.values.tolist() == [[1, 2], [3, 4]]
    assert len(read(file("1,2\n3,4\n"), layout=Layout(header=False))) == 2


def test_names_that_are_numbers_are_a_header_where_they_count_from_zero(file):
    series = read(file(",0,1\n0,7,8\n1,9,10\n"))
    assert series.channels == ("0", "1")
    assert series.values.tolist() == [[7, 8], [9, 10]]


def test_row_numbers_and_empty_columns_without_a_name_are_dropped_and_noted(file):
    series = read(file("a;b;;\n1;2;;\n3;4;;\n"))
    assert series.channels == ("a", "b")
    assert len([note for note in series.notes if "dropped" in note]) == 2
    r = read(file('"date","a"\n"7","2024-03-09 10:00",1\n"8","2024-03-09 10:05",2\n'))
    assert (r.channels, r.clock, r.interval) == (("a",), True, 300.0)


def test_empty_rows_at_the_end_are_dropped_and_noted(file):
    series = read(file(PLAIN + ",,\n,,\n"))
    assert len(series) == 3
    assert series.notes == ("2 empty rows dropped",)


def test_each_spelling_of_a_missing_value_is_nan(file):
    spellings = ["", "NA", "NaN", "null", "nan", "-", "-200", "-200.0", "broken"]
    series = read(file("a,b\n" + "".join(f"{text},1\n" for text in spellings) + "5,2\n"), missing=[-200, "broken"])
    assert np.isnan(series.values[:-1, 0]).all()
    assert series.values[-1].tolist() == [5, 2]


def test_true_and_false_become_one_and_zero(file):
    assert read(file("on,x\nTrue,1\nfalse,2\n")).values.tolist() == [[1, 1], [0, 2]]


def test_labels_leave_the_channels(file):
    series = read(file("a,anomaly,state\n1,0,ok\n2,1,bad\n3,1.0,ok\n"), labels="anomaly", channels=["a"])
    assert series.channels == ("a",)
    assert series.labels.tolist() == [0, 1, 1]
    assert read(file("a,state\n1,ok\n2,bad\n"), labels="state").labels.tolist() == ["ok", "bad"]
    assert "labels='anomaly'" in read(file("a,anomaly\n1,0\n2,1\n")).notes[0]


def test_channels_are_taken_in_the_order_asked_for(file):
    series = read(file(PLAIN), channels=["pressure", "flow"])
    assert series.channels == ("pressure", "flow")
    assert series.values[1].tolist() == [10, 1.5]


@given(arrays(np.float64, st.tuples(st.integers(2, 20), st.integers(1, 4)), elements=st.floats(-1e100, 1e100)))
def test_numbers_come_back_bit_for_bit_from_csv_json_lines_and_frames(values):
    frame = pl.DataFrame(values, schema=[f"s{i}" for i in range(values.shape[1])])
    with tempfile.TemporaryDirectory() as folder:
        frame.write_csv(f"{folder}/a[1].csv")
        frame.write_ndjson(f"{folder}/a.jsonl")
        for source in (f"{folder}/a[1].csv", f"{folder}/a.jsonl", frame, frame.to_dict(as_series=False)):
            assert (read(pd.DataFrame(source) if isinstance(source, dict) else source).values + 0.0).tobytes() == (
                values + 0.0
            ).tobytes()


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S UTC",
        "%Y-%m-%d %H:%M:%S.250",
        "%Y-%m-%d %H:%M:%S,250",
        "%Y-%m-%dT%H:%M:%S+00:00",
        "%Y-%m-%d %H:%M",
        "%Y/%m/%d %H:%M:%S",
        "%d.%m.%Y %H:%M:%S",
        "%d/%m/%Y %H.%M.%S",
        "%d.%m.%y %H:%M",
        "%m/%d/%Y %I:%M:%S %p",
        "%d-%b-%Y %H:%M:%S",
        "%Y%m%dT%H%M%S",
        "%Y%m%d%H%M%S",
        "%Y%m%d%H%M",
    ],
)
def test_a_spelling_of_times_is_found(file, form):
    days = [datetime.datetime(2024, 3, day, 13, 30) for day in (9, 10, 25)]
    lines = "".join(f'"{day.strftime(form)}",{i}\n' for i, day in enumerate(days))
    series = read(file("when,x\n" + lines), time="when")
    part = SECOND // 4 if "250" in form else 0
    assert series.times.tolist() == [instant(day) + part for day in days]
    assert read(file("timestamp,x\n" + lines)).times.tolist() == series.times.tolist()


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_the_unit_of_an_epoch_is_told_by_its_size(file, unit):
    stamps = [at * unit // SECOND + (unit == 10**9) * 7 for at in NANOSECONDS]
    series = read(file("ts,x\n" + "".join(f"{stamp},{i}\n" for i, stamp in enumerate(stamps))))
    assert series.times.tolist() == [stamp * SECOND // unit for stamp in stamps]


def test_seconds_with_a_fraction_are_kept_to_the_microsecond(file):
    series = read(file("ts,x\n1709978400.250001,1\n1709978401.5,2\n"))
    assert series.times.tolist() == [1709978400_250001_000, 1709978401_500000_000]


def test_small_numbers_in_a_column_of_times_are_seconds_and_noted(file):
    series = read(file("time,x\n0,1\n0.25,2\n0.5,3\n"))
    assert series.interval == 0.25
    assert series.notes == ("the times are small numbers: taken as seconds",)
    assert read(file("time,x\n0,1\n0.25,2\n"), time=False).channels == ("time", "x")


def test_mixed_offsets_become_utc_across_a_change_of_the_clock(file):
    lines = ["2024-10-27T02:30:00+02:00,1", "2024-10-27T02:30:00+01:00,2", "2024-10-27T03:30:00+01:00,3"]
    series = read(file("time,x\n" + "\n".join(lines)))
    assert series.interval == 3600
    assert time_text(series.times[0]) == "2024-10-27 00:30:00"


def test_date_and_time_in_two_columns_are_joined_found_or_given(file):
    text = "Date;Time;x\n10/03/2004;18.00.00;1,5\n10/03/2004;19.00.00;2\n30/03/2004;20.00.00;3\n"
    found = read(file(text))
    assert [time_text(found.times[0]), found.channels] == ["2004-03-10 18:00:00", ("x",)]
    given = read(file(text.replace("Date", "Tag").replace("Time", "Zeit")), time=("Tag", "Zeit"))
    assert given.times.tolist() == found.times.tolist()


def test_day_first_and_month_first_are_told_apart_by_order_or_refused(file):
    rising = "time,x\n" + "".join(f"{day:02d}/03/2024 00:00,{day}\n" for day in range(1, 11))
    assert "read as %d/%m/%Y %H:%M" in read(file(rising)).notes[0]
    turning = "time,x\n01/03/2024 00:00,1\n01/04/2024 00:00,2\n02/02/2024 00:00,3\n"
    assert time_text(read(file(turning)).times[-1]) == "2024-02-02 00:00:00"
    one_day = "time,x\n10/03/2024 10:00,1\n10/03/2024 11:00,2\n"
    with pytest.raises(DataError, match="can be read in 2 ways"):
        read(file(one_day))
    chosen = read(file(one_day), layout=Layout(time_format="%d/%m/%Y %H:%M"))
    assert time_text(chosen.times[0]) == "2024-03-10 10:00:00"


@pytest.mark.parametrize("bad", ["09.03.2024 10:02", "soon", "2024-03-09T10:02:00Z", "1709978400"])
def test_of_mixed_time_formats_the_first_bad_row_is_named(file, bad):
    with pytest.raises(DataError) as error:
        read(file(PLAIN + f"{bad},1,2\n{bad},1,2\n"))
    assert f"'{bad}' is not written like the times before it" in error.value.saw
    assert error.value.where == "pump.csv, column time, row 4"


def test_a_row_without_a_time_is_named(file):
    with pytest.raises(DataError, match="no time in a row") as error:
        read(file(PLAIN + ",1,2\n"))
    assert error.value.where.endswith("row 4")


def test_times_that_cannot_be_read_are_shown_with_what_to_do(file):
    with pytest.raises(DataError, match="cannot read 'week 1' as a time") as error:
        read(file("timestamp,x\nweek 1,1\nweek 2,2\n"))
    assert "time_format" in error.value.do


def test_years_beyond_what_nanoseconds_hold_are_refused(file):
    with pytest.raises(DataError, match="before 1678 or after 2262"):
        read(file("time,x\n2999-01-01 00:00,1\n2999-01-02 00:00,2\n"))


def test_future_times_are_noted(file):
    assert "2 rows lie in the future" in read(file("time,x\n2200-01-01,1\n2200-01-02,2\n")).notes[0]


def local(step, zone="Europe/Rome"):
    """Four hours of local time around the end of summer time, every `step` minutes, and the times in UTC."""
    start = instant("2024-10-26T23:00Z")
    times = np.arange(start, start + 4 * 3600 * SECOND, step * 60 * SECOND)
    walls = pl.Series(times).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    text = walls.dt.strftime("%Y-%m-%d %H:%M:%S")
    return "time,x\n" + "".join(f"{wall},{i}\n" for i, wall in enumerate(text)), times


@pytest.mark.parametrize("step", [1, 10, 17])
def test_local_times_that_go_back_an_hour_are_refused_until_their_zone_is_known(file, step):
    text, times = local(step)
    with pytest.raises(DataError, match="the clock goes back") as error:
        read(file(text))
    assert 'zone="Europe/Rome"' in error.value.do
    series = read(file(text), zone="Europe/Rome")
    assert series.times.tolist() == times.tolist()
    assert series.notes == ()


@pytest.mark.parametrize("step", [30, 60])
def test_hours_told_twice_are_duplicates_until_their_zone_is_known(file, step):
    text, times = local(step)
    with pytest.raises(DataError, match=r"(?s)(repeats? a time|goes back).*zone="):
        read(file(text))
    assert read(file(text), zone="Europe/Rome").times.tolist() == times.tolist()


def test_a_local_time_that_spring_skips_is_named(file):
    with pytest.raises(DataError, match=r"'2024-03-31 02:30:00.*' does not exist in Europe/Rome"):
        read(file("time,x\n2024-03-31 01:30,1\n2024-03-31 02:30,2\n"), zone="Europe/Rome")


def test_an_unknown_zone_is_refused(file):
    with pytest.raises(SettingError, match="no time zone named 'Rome'"):
        read(file(PLAIN), zone="Rome")


def test_unsorted_rows_are_sorted_and_noted(file):
    head, *rows = PLAIN.splitlines()
    series = read(file("\n".join([head, *rows[::-1]])))
    assert series.values[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert "not in order" in series.notes[0]


def test_duplicate_times_are_named_or_the_last_is_kept(file):
    text = PLAIN + "2024-03-09 10:02:00,9,9\n"
    with pytest.raises(DataError, match=r"2024-03-09 10:02:00 \(rows 3 and 4\)"):
        read(file(text))
    assert read(file(text), duplicates="last").values[-1].tolist() == [9, 9]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"  \n\n"])
@pytest.mark.parametrize("name", ["pump.csv", "pump.jsonl", "pump.csv.gz", "pump.parquet"])
def test_an_empty_file_says_so(file, content, name):
    packed = gzip.compress(content) if name.endswith(".gz") else content
    with pytest.raises(DataError, match=r"an empty file|not a parquet file"):
        read(file(packed, name))


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_file_with_only_a_byte_order_mark_is_empty(file, mark):
    with pytest.raises(DataError, match="an empty file"):
        read(file(mark))


def test_an_unknown_or_wrong_encoding_says_so(file):
    with pytest.raises(SettingError, match="no encoding named 'klingon'"):
        read(file(PLAIN), layout=Layout(encoding="klingon"))
    for encoding in ("ascii", "utf-8"):
        with pytest.raises(DataError, match="text in another encoding"):
            read(file(PLAIN.replace("flow", "fløw").encode("latin-1")), layout=Layout(encoding=encoding))
    long = file("aaa,b\n" + "1,ø\n" * 60_000)  # the sample that is looked at ends amid an ø
    assert read(long, labels="b", layout=Layout(encoding="utf-8")).labels[-1] == "ø"


def test_a_header_without_rows_says_so(file):
    for text in ("time,flow", "time,flow\n", "time;flow\r\n"):
        with pytest.raises(DataError, match="a header but no rows"):
            read(file(text))


def test_one_row_and_one_column_are_series(file):
    assert read(file("time,x\n2024-03-09 10:00,5\n")).values.tolist() == [[5]]
    one = read(file("value\n1\n2\n3\n"))
    assert (one.channels, one.clock, len(one)) == (("value",), False, 3)


def test_only_times_are_no_series(file):
    with pytest.raises(DataError, match="no column of numbers"):
        read(file("time\n2024-03-09 10:00\n2024-03-09 10:01\n"))


def test_all_missing_is_refused_and_one_empty_sensor_is_named(file):
    with pytest.raises(DataError, match="every value is missing"):
        read(file("time,a\n2024-03-09,\n2024-03-10,NA\n"))
    series = read(file("a,b,c\n1,,7\n2,,7\n"))
    assert series.notes[:2] == ("channel without a single reading: b", "constant channel: c")


def test_text_in_a_number_column_at_row_70_001_is_named(file):
    rows = ["1.5,2"] * 70_000 + ["1.5,two"] + ["1.5,2"] * 1000
    with pytest.raises(DataError) as error:
        read(file("flow,level\n" + "\n".join(rows)))
    assert error.value.saw == "'two' in a column of numbers"
    assert error.value.where == "pump.csv, column level, row 70,001"


def test_text_columns_are_refused_with_the_list_of_numeric_ones_unless_channels_are_named(file):
    path = file("time,flow,site,mode,level\n2024-03-09,1,north,a,2\n2024-03-10,3,south,b,4\n")
    with pytest.raises(DataError, match=r"not numbers: site \('north'\), mode \('a'\)") as error:
        read(path)
    assert error.value.do == "leave them out: layout=Layout(ignore=('site', 'mode'))"
    assert error.value.wanted.endswith("these are: flow, level")
    assert read(path, layout=Layout(ignore=("site", "mode"))).channels == ("flow", "level")
    with pytest.raises(DataError, match="not numbers: mode") as error:
        read(path, channels=["mode", "flow"])
    assert error.value.do == "write them as numbers, or say missing='a' if that stands for no reading"
    assert read(path, channels=["flow", "level"]).values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("cell", ["5,827.00", "1,234,567", "5.827,00", "5 827", "5'827.0"])
def test_thousands_separators_are_shown_and_named(file, cell):
    with pytest.raises(DataError, match="not numbers: a") as error:
        read(file(f'a;b\n"{cell}";1\n"{cell}";2\n"{cell}";3\n'), layout=Layout(decimal="."))
    assert cell in error.value.saw
    assert "separators of thousands" in error.value.do


def test_decimal_commas_that_were_said_to_be_none_are_shown(file):
    with pytest.raises(DataError, match="a \\('1,5'\\)") as error:
        read(file("a;b\n1,5;2\n2,5;3\n"), layout=Layout(decimal="."))
    assert "layout=Layout(decimal=',')" in error.value.do
    with pytest.raises(DataError, match="a \\('5,827'\\)") as error:  # the first cell alone might be a thousand
        read(file("a;b\n5,827;1\n12,5;2\n3,25;3\n"), layout=Layout(decimal="."))
    assert error.value.do == "if these are decimal commas, leave decimal= out, or say layout=Layout(decimal=',')"
    with pytest.raises(DataError) as error:
        read(file("a;b\n5,827;1\n1,234;2\n"), layout=Layout(decimal="."))
    assert re.fullmatch(r"write numbers without separators of thousands; if these are dec.*", error.value.do)


def test_lines_above_a_table_are_shown(file):
    for above in ("# export from DCS\n", "# export\nplant: north\n\n", "made,by\nan export\n"):
        with pytest.raises(DataError, match=r"above the table, the first '(# export|made by)") as error:
            read(file(above + PLAIN))
        assert "above the row of column names" in error.value.do


def test_a_row_of_units_is_shown(file):
    head, *rows = PLAIN.splitlines()
    for units in (",l/s,bar", "UTC,l/s,-", ",flow in litres,"):
        with pytest.raises(DataError, match="under the column names that holds no value") as error:
            read(file("\n".join([head, units, *rows])))
        assert "units" in error.value.do
    assert len(read(file("\n".join([head, ",,", *rows])))) == 3  # an empty row is no row of units
    with pytest.raises(DataError, match="'stuck' in a column of numbers"):
        read(file("\n".join([head, rows[0].replace("0.5", "stuck"), *rows[1:]])))


def test_what_cannot_be_a_time_is_not_called_a_spelling_of_missing(file):
    for last in ("Total,6,7\n", ",6,7\n"):
        with pytest.raises(DataError) as error:
            read(file(PLAIN + last))
        assert error.value.do == "repair or remove the row"
    with pytest.raises(DataError, match="'n/a\\?' in a column of numbers") as error:
        read(file(PLAIN.replace("1.5", "n/a?")))
    assert error.value.do == "repair or remove the row; missing='n/a?' if it stands for no reading"


def test_a_time_format_that_does_not_fit_is_refused_with_one_that_does(file):
    with pytest.raises(DataError, match=r"'2024-03-09 10:00:00' is not written as '%d.%m.%Y'") as error:
        read(file(PLAIN), layout=Layout(time_format="%d.%m.%Y"))
    assert "time_format='%Y-%m-%d %H:%M:%S" in error.value.do


def test_category_columns_of_frames_are_refused_like_text():
    frame = pd.DataFrame({"a": [1, 2], "kind": pd.Categorical(["x", "y"])})
    with pytest.raises(DataError, match="not numbers: kind"):
        read(frame)


@pytest.mark.parametrize("text", ["inf", "-inf", "Infinity", "1e999"])
def test_inf_is_refused_naming_row_and_channel(file, text):
    with pytest.raises(DataError, match="in channel b, row 3"):
        read(file(f"a,b\n1,2\n1,2\n1,{text}\n"))


def test_jumps_of_1e30_are_read(file):
    assert read(file("a\n1\n1e30\n2\n")).values.max() == 1e30


@pytest.mark.parametrize("cells", ["1", "1,2,3"])
def test_a_row_of_another_length_is_named_or_its_end_is_missing(file, cells):
    path = file("a,b\n" + "1,2\n" * 5 + cells + "\n" + "1,2\n")
    if cells == "1":
        assert np.isnan(read(path).values[5, 1])
    else:
        with pytest.raises(DataError, match="3 cells in a row") as error:
            read(path)
        assert error.value.where == "pump.csv, row 6"


ROWS = "time,flow,site,level\n" + "".join(f"2024-03-09 10:{i:02d}:00,{i}.25,7,1.5\n" for i in range(40))


@pytest.mark.parametrize("missing", [0, 40_000])
@pytest.mark.parametrize("kept", [-5, -9, -12, -20])
def test_a_last_row_that_was_cut_off_is_refused_and_not_half_believed(file, kept, missing):
    long = ROWS + "2024-03-09 10:00:00,1.5,7,1.5\n" * missing  # longer than the end that is looked at
    cells = long[:kept].splitlines()[-1].count(",") + 1
    packed = (
        (long[:kept].encode(), ""),
        (gzip.compress(long[:kept].encode()), ".gz"),
        (long[:kept].encode("utf-16"), ""),
    )
    for content, ending in packed:
        with pytest.raises(DataError, match=f"^its last row has {cells} of 4 cells") as error:
            read(file(content, f"pump.csv{ending}"), duplicates="last")
        assert (error.value.wanted, error.value.where) == ("4, as the header", f"pump.csv{ending}")
        assert error.value.do == "was the file cut off? remove that row, or fetch the file again"


def test_a_last_row_that_is_whole_or_cannot_be_judged_is_read(file):
    for end in ("", "\n", "\n\n", "\r\n"):
        assert len(read(file(ROWS.rstrip("\n") + end))) == 40
    assert len(read(file(ROWS + ",,,\n"))) == 40  # blanks only
    with pytest.raises(DataError, match="its last row has 2 of 4 cells"):
        read(file(ROWS[:-7] + "\n,,,\n"))
    assert np.isnan(read(file("a,b\n1,2\n1\n1,2\n1\n")).values[[1, 3], 1]).all()  # short rows are its way
    notes = read(file('a,note,b\n1,"x, ""y""\nz",2\n2,"x\ny",3\n'), channels=["a", "b"])
    assert notes.values.tolist() == [[1, 2], [2, 3]]
    with pytest.raises(DataError, match="its last row has 2 of 3 cells"):
        read(file('a,note,b\n1,"x, y",2\n2,"x, '), channels=["a", "b"])
    many = read_many(file("t0,t1,t2\n1,2,3\n4,5\n"), layout=Layout(wide=True))
    assert len(many["1"]) == 2  # a shorter sequence


def test_columns_that_occur_twice_or_not_at_all_are_named(file):
    with pytest.raises(DataError, match="twice: a"):
        read(file("a,a\n1,2\n"))
    for asked in ({"channels": ["speed"]}, {"time": "when"}, {"labels": "fault"}):
        with pytest.raises(DataError, match=r"(?s)no column named .*flow, pressure"):
            read(file(PLAIN), **asked)


def test_a_file_that_is_not_there_or_no_file_or_no_text_says_so(file, tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="directory"):
        read(tmp_path)
    with pytest.raises(DataError, match="not a text file"):
        read(file(b"PK\x03\x04\x00\x00", "pump.xlsx"))
    for name in ("pump.parquet", "pump.jsonl"):
        with pytest.raises(DataError, match=r"not a .* file"):
            read(file(b"nonsense", name))
    with pytest.raises(DataError, match="cannot read it"):
        read(file(b"\x1f\x8bxx", "pump.csv.gz"))
    with pytest.raises(DataError, match="data of type int"):
        read(5)


def test_no_permission_says_so(file, monkeypatch):
    path = file(PLAIN)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root may read anything, so the refusal is played
    with pytest.raises(DataError, match="Permission denied"):
        read(path)


# --- other sources ---------------------------------------------------------------------------------------------------

FRAME = pl.DataFrame({"time": TIMES, "flow": [0.5, 1.5, 2.5], "pressure": [0, 10, 20]})
TYPED = FRAME.with_columns(pl.col("time").str.to_datetime())


def test_parquet_json_lines_and_json_are_read(tmp_path):
    TYPED.write_parquet(tmp_path / "pump.parquet")
    FRAME.write_ndjson(tmp_path / "pump.jsonl")
    FRAME.write_json(tmp_path / "pump.json")
    for name in ("pump.parquet", "pump.jsonl", "pump.json"):
        assert is_plain(read(tmp_path / name))


def test_json_lines_may_lack_keys_hold_nan_and_stray_text(file):
    lines = [{"x": 1.5}, {"x": float("nan"), "y": 2}, {"y": 3, "x": 4}]
    series = read(file("\n".join(map(json.dumps, lines)), "a.jsonl"))
    assert np.array_equal(series.values, [[1.5, np.nan], [np.nan, 2], [4, 3]], equal_nan=True)
    with pytest.raises(DataError, match="'high' in a column of numbers"):
        read(file('{"x": 1}\n{"x": 2}\n{"x": "high"}\n', "b.jsonl"))


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame,
        lambda frame: frame.lazy(),
        lambda frame: pd.DataFrame(frame.to_dict(as_series=False)),
        lambda frame: pd.DataFrame(frame.to_dict(as_series=False)).set_index("time"),
        lambda frame: pd.DataFrame(frame.to_dict(as_series=False)).assign(
            time=lambda table: pd.to_datetime(table["time"]).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
        ),
        lambda frame: pa.table(frame.to_dict(as_series=False)),
    ],
)
def test_every_kind_of_frame_gives_the_same_numbers(convert):
    frame = convert(TYPED)
    assert is_plain(read(frame))


def test_missing_values_and_booleans_of_frames_are_kept():
    frame = pd.DataFrame(
        {
            "a": pd.array([1, None, 3], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "c": ["1.5", None, "NA"],
        }
    )
    for source in (frame, pa.table(frame)):
        values = read(source).values
        assert np.array_equal(values, [[1, 1, 1.5], [np.nan] * 3, [3, 0, np.nan]], equal_nan=True)


def test_a_frame_of_plain_columns_and_one_column_are_read():
    assert read(pd.DataFrame(np.eye(2))).channels == ("0", "1")
    assert read(pd.Series([1.0, 2.0], name="flow")).channels == ("flow",)
    assert read(pl.Series("flow", [1.0, 2.0])).channels == ("flow",)


def test_frames_need_no_pyarrow():
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import pandas as pd\nfrom tidegate.reader import read\n"
        "print(read(pd.DataFrame({'t': pd.to_datetime(['2024-01-01', '2024-01-02']), 'x': [1, 2]})).interval)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "86400.0", ran.stderr


def test_arrays_lists_series_and_paths_are_series_to_every_verb(file):
    assert as_series(np.ones(3), interval="5min").interval == 300
    assert as_series([[1, 2], [3, 4]], channels=["a", "b"]).channels == ("a", "b")
    series = check(np.ones((3, 2)))
    assert as_series(series) is series
    assert as_series(series, interval=2.0, channels=["c1"]).times.tolist() == [0, 2 * SECOND, 4 * SECOND]
    assert is_plain(as_series(file(PLAIN)))
    assert is_plain(as_series(read(file(PLAIN)), interval="1h"))
    assert np.isnan(read(np.array([1.0, -200.0]), missing=-200).values[1, 0])


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "plant.db") as link:
        link.execute("create table readings (time text, flow real, pressure integer)")
        link.executemany("insert into readings values (?, ?, ?)", FRAME.rows())
    link.close()
    return f"sqlite:///{tmp_path / 'plant.db'}"


def test_a_database_is_read_by_address_and_query(database):
    assert is_plain(read(database, query="select * from readings where time > '2024-03-09 09:00:00'"))


def test_a_query_can_only_read(database):
    with pytest.raises(DataError, match="readonly"):
        read(database, query="delete from readings")
    assert len(read(database, query="select * from readings")) == 3


def test_mistakes_with_a_database_say_what_is_wrong(database, tmp_path):
    with pytest.raises(SettingError, match="no query"):
        read(database)
    with pytest.raises(DataError, match="no such table: absent"):
        read(database, query="select * from absent")
    with pytest.raises(DataError, match="no such database file"):
        read(f"sqlite:///{tmp_path}/none.db", query="select 1")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DataError, match="no rows"):
        read(database, query="select * from readings where flow > 100")


@pytest.mark.parametrize("address", ["nosuch://ann:se:c@ret@host/db", "postgresql+nosuch://ann:se:c@ret@host/db"])
def test_a_password_is_in_no_message(address):
    with pytest.raises(DataError) as error:
        read(address, query="select 1")
    assert "se:c@ret" not in str(error.value)
    assert error.value.__cause__ is None
    assert "ann:***@host" in str(error.value)


def test_a_database_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=r"tidegate\[sql\]"):
        read("sqlite:///x.db", query="select 1")


# --- long tables and many series -------------------------------------------------------------------------------------

TIDY = pl.DataFrame(
    {
        "time": TIMES + TIMES[:2],
        "sensor": ["flow"] * 3 + ["level"] * 2,
        "value": [1.0, 2.0, 3.0, 10.0, 20.0],
    }
)


@pytest.mark.parametrize("names", [("time", "sensor", "value"), ("ds", "unique_id", "y")])
def test_tidy_tables_and_nixtla_s_become_wide(names):
    frame = TIDY.rename(dict(zip(TIDY.columns, names, strict=True)))
    for source in (frame, frame.sample(fraction=1.0, shuffle=True, seed=1)):
        series = read(source).select(["flow", "level"])
        assert np.array_equal(series.values, [[1, 10], [2, 20], [3, np.nan]], equal_nan=True)
        assert not any("order" in note for note in series.notes)


def test_a_long_table_of_other_names_is_told_by_its_layout():
    frame = TIDY.rename({"sensor": "point", "value": "level"})
    assert read(frame, layout=Layout(sensor="point", value="level")).channels == ("flow", "level")


def test_readings_that_repeat_a_time_are_named_or_the_last_is_kept():
    frame = pl.concat([TIDY, TIDY[:1].with_columns(value=99.0)])
    with pytest.raises(DataError, match="the first of flow at 2024-03-09 10:00:00"):
        read(frame)
    assert read(frame, duplicates="last").values[0].tolist() == [99, 10]


def test_a_long_table_with_more_columns_points_to_read_many():
    frame = TIDY.rename({"time": "ds", "sensor": "unique_id", "value": "y"}).with_columns(price=pl.lit(5.0))
    with pytest.raises(DataError, match=r"(?s)more columns: price.*read_many"):
        read(frame)
    many = read_many(frame)
    assert {name: (len(series), series.channels) for name, series in many.items()} == {
        "flow": (3, ("y", "price")),
        "level": (2, ("y", "price")),
    }


def test_read_many_takes_an_id_column_a_folder_a_pattern_or_a_list(file, tmp_path):
    by_id = read_many(pl.DataFrame({"unit": [1, 1, 2], "a": [1.0, 2.0, 3.0]}), id="unit")
    assert {name: series.values[:, 0].tolist() for name, series in by_id.items()} == {"1": [1, 2], "2": [3]}
    paths = [file(PLAIN, name) for name in ("a.csv", "b.csv")]
    for source in (tmp_path, str(tmp_path / "*.csv"), paths):
        assert [(name, is_plain(series)) for name, series in read_many(source).items()] == [("a", True), ("b", True)]
    with pytest.raises(DataError, match="no column that names the series"):
        read_many(FRAME)


def test_files_of_the_same_name_stay_apart(file, tmp_path):
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        for name in ("run.1.csv", "run.2.csv"):
            (tmp_path / folder / name).write_text("a,b\n1,2\n3,4\n")
    assert list(read_many(tmp_path / "left")) == ["run.1", "run.2"]
    classes = read_many(tmp_path)
    assert list(classes) == ["left/run.1", "left/run.2", "right/run.1", "right/run.2"]
    assert {series.name: series.labels.tolist() for series in classes.values()}["left/run.1.csv"] == ["left", "left"]
    many = read_many(str(tmp_path / "*" / "run.1.csv"))
    assert len(many) == 2
    assert [series.labels for series in many.values()] == [None, None]
    (tmp_path / "left" / "run.1.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"run\.1\.parquet"):
        read_many(tmp_path / "left")


def test_files_that_are_no_data_are_left_out_of_a_folder_and_noted(file, tmp_path):
    for name in ("a.csv", "b.TXT", "c.json.gz", "notes.md", "plan.pdf"):
        content = PLAIN if "c." not in name else gzip.compress(b'[{"flow": 1, "pressure": 2}]')
        file(content, name)
    many = read_many(tmp_path)
    assert [*many] == ["a", "b", "c"]
    note = "left out, a file whose name does not end as those of data do: notes.md, plan.pdf"
    assert all(note in series.notes for series in many.values())
    with pytest.raises(DataError, match="twice: a") as error:
        read_many([file("a,a\n1,2\n", "bad.csv")])
    assert error.value.where == str(tmp_path / "bad.csv")
    (tmp_path / "own").mkdir()
    for name in ("run.001", "run.002"):  # where no name ends as data does, all are read
        (tmp_path / "own" / name).write_text(PLAIN)
    assert all(is_plain(series) for series in read_many(tmp_path / "own").values())


def test_a_row_a_sequence_and_a_ts_file_with_missing_readings(file, tmp_path):
    path = file("kind\tt0\tt1\tt2\nup\t1\t\t3\ndown\t3\t2\t\n", "wide.tsv")
    many = read_many(path, labels="kind", layout=Layout(wide=True))
    assert [series.values[:, 0].tolist() for series in many.values()][1] == [3, 2]
    assert np.isnan(many["0"].values[1, 0])
    assert [series.labels[0] for series in many.values()] == ["up", "down"]
    (tmp_path / "a.ts").write_text("# why\n@dimensions 2\n@classLabel true 1 2\n@data\n1,?,3:4,5:2\n")
    series = read_many(tmp_path / "a.ts")["0"]
    np.testing.assert_array_equal(series.values, [[1, 4], [np.nan, 5], [3, np.nan]])
    assert series.labels.tolist() == [2, 2, 2]


# --- real files ------------------------------------------------------------------------------------------------------


def test_skab_is_read(shared_data):
    many = read_many(shared_data / "skab" / "valve1", labels="anomaly")
    assert len(many) == 16
    assert many["0"].values.shape == (1147, 9)
    assert many["0"].labels.sum() == 401
    assert many["0"].interval == 1


def test_nab_is_read_and_its_repeated_times_are_named(shared_data):
    for path in sorted((shared_data / "nab").glob("*/*.csv")):
        series = read(path, duplicates="last")
        assert (series.channels, series.clock) == (("value",), True)
    with pytest.raises(DataError, match="11 rows repeat a time: 2014-03-09 03:00:00"):
        read(shared_data / "nab" / "realAWSCloudwatch" / "ec2_network_in_5abac7.csv")


def test_italian_air_is_read(shared_data):
    series = read(shared_data / "italy_air" / "AirQualityUCI.csv", missing=-200)
    assert series.values.shape == (9357, 13)
    assert time_text(series.times[0]) == "2004-03-10 18:00:00"
    assert series.interval == 3600
    assert np.nanmin(series.values) > -10


def test_occupancy_electricity_and_water_are_read(shared_data):
    rooms = read(shared_data / "occupancy" / "datatraining.txt", labels="Occupancy")
    assert rooms.channels == ("Temperature", "Humidity", "Light", "CO2", "HumidityRatio")
    assert set(rooms.labels.tolist()) == {0, 1}
    power = read(shared_data / "ett" / "ETTh1.csv")
    assert (power.values.shape, power.interval, power.notes) == ((17420, 7), 3600.0, ())
    assert len(read(shared_data / "water_flow" / "water-flow.csv")) == 1268
    assert not read(shared_data / "elec" / "elec.csv.gz").clock


# --- sequences by name -----------------------------------------------------------------------------------------------


def test_whole_numbers_name_series_without_decimals(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("unit,x\n1,0.5\n1,0.6\n25,0.1\n25,0.2\n")
    assert [*read_many(tmp_path / "long.csv", id="unit")] == ["1", "25"]
    frame = pl.DataFrame({"n": [7.0, 8.0], "t0": [1.0, 2.0], "t1": [3.0, 4.0]})
    assert [*read_many(frame, id="n", layout=Layout(wide=True))] == ["7", "8"]


def test_a_misspelt_label_column_is_named_and_not_taken_for_a_sensor(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("unit,x,kind\n1,0.5,a\n1,0.6,a\n2,0.1,b\n2,0.2,b\n")
    for reader in (read, partial(read_many, id="unit")):
        with pytest.raises(DataError, match="no column named kin"):
            reader(tmp_path / "long.csv", labels="kin")


def test_what_can_only_be_one_thing_is_refused_as_two(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("day,x\n2024-01-01,0.5\n2024-01-02,0.6\n")
    with pytest.raises(DataError, match="as the times and as what names"):
        read_many(tmp_path / "long.csv", id="day")
    with pytest.raises(SettingError, match="one character"):
        Layout(delimiter=";;")
