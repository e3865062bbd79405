"""This computer as a source: a reading at each beat, finite and complete; a file that grows by whole rows."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tidegate as tg
from tidegate import record


def readings(count: int) -> Iterator[tuple[int, record.Reading]]:
    for i in range(count):
        yield 1_700_000_000_000_000_000 + i * 10**9, {"cpu0": 12.5 + i, "load": 0.25}


def test_every_reading_is_finite_and_has_the_same_channels() -> None:
    pytest.importorskip("psutil")
    taken = list(itertools.islice(record.host(interval=0.05), 4))
    names = [list(reading) for _, reading in taken]
    assert names[0] == names[1] == names[2] == names[3]
    assert {"cpu0", "load_1min", "memory_used", "context_switches", "net_sent"} <= set(names[0])
    assert all(math.isfinite(value) for _, reading in taken for value in reading.values())
    assert all(reading["memory_used"] > 0 and reading["processes"] >= 1 for _, reading in taken)


def test_readings_come_at_the_beat() -> None:
    pytest.importorskip("psutil")
    began = time.monotonic()
    times = [when for when, _ in record.host(interval=0.1, seconds=0.5)]
    assert 0.4 < time.monotonic() - began < 5
    assert 1 <= len(times) <= 5
    assert times == sorted(set(times))
    assert abs(times[-1] - time.time_ns()) < 5e9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A made-up computer and clock: sleeping takes exactly as long as asked, and counters count 100 a second."""
    clock = SimpleNamespace(now=0.0, naps=[])

    def sleep(span: float) -> None:
        clock.naps.append(span)
        clock.now += span

    monkeypatch.setattr(
        record, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock.now, time_ns=lambda: int(clock.now * 1e9))
    )
    monkeypatch.setattr(
        record, "_psutil", lambda: SimpleNamespace(cpu_percent=lambda percpu: [1.0], cpu_times_percent=lambda: None)
    )
    monkeypatch.setattr(record, "_gauges", lambda psutil: {"cpu0": 1.0})
    monkeypatch.setattr(record, "_counters", lambda psutil: {"switches": 100 * clock.now})
    return clock


def test_counters_become_rates_a_second_at_any_beat(machine: Any) -> None:
    for interval in (0.5, 1.0, 4.0):
        assert [r["switches"] for _, r in itertools.islice(record.host(interval=interval), 3)] == [100.0] * 3


def test_a_late_reading_does_not_shift_those_after_it_and_a_missed_one_is_left_out(machine: Any) -> None:
    times = []
    for when, _ in itertools.islice(record.host(interval=1.0), 5):
        times.append(when // 10**9)
        machine.now += {1: 0.7, 2: 2.5}.get(
            len(times), 0.0
        )  # the caller dawdles: a little, then for longer than a beat
    assert times == [1, 2, 4, 5, 6]


def test_it_stops_when_it_was_told_to(machine: Any) -> None:
    assert len(list(record.host(interval=1.0, seconds=5))) == 5


@pytest.mark.parametrize("interval", [0, -1.0, float("nan")])
def test_a_beat_must_be_above_zero(interval: float) -> None:
    with pytest.raises(tg.SettingError, match="interval"):
        next(record.host(interval=interval))


def test_a_file_has_a_header_and_a_row_a_reading_that_can_be_read_back(tmp_path: Path) -> None:
    path, told = tmp_path / "host.csv", []
    assert record.to_csv(path, readings(5), progress=told.append) == 5
    assert told == [1, 2, 3, 4, 5]
    series = tg.read(path)
    assert series.channels == ("cpu0", "load")
    assert series.values[:, 0].tolist() == [12.5, 13.5, 14.5, 15.5, 16.5]
    assert series.times.tolist() == [when for when, _ in readings(5)]


def test_each_row_is_whole_in_the_file_before_the_next_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "host.csv"

    def watched() -> Iterator[tuple[int, record.Reading]]:
        for number, reading in enumerate(readings(3)):
            if number:
                assert path.read_text().count("\n") == number + 1
                assert path.read_text().endswith("\n")
            yield reading

    assert record.to_csv(path, watched()) == 3


def test_ctrl_c_ends_the_recording_and_keeps_what_is_there(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[int, record.Reading]]:
        yield from readings(2)
        raise KeyboardInterrupt

    assert record.to_csv(tmp_path / "host.csv", interrupted()) == 2
    assert len((tmp_path / "host.csv").read_text().splitlines()) == 3


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "host.csv"
    path.write_text("mine")
    with pytest.raises(tg.SettingError, match="exists"):
        record.to_csv(path, readings(1))
    assert path.read_text() == "mine"


def test_without_psutil_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(tg.MissingExtraError, match=r"pip install 'tidegate\[record\]'"):
        next(record.host())
