"""The laws of the main job: whole = in pieces = one reading at a time = after a restart from disk, bit for bit.

And bad data answered well, what is found, and how it is learned.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import tidegate as tg
from tidegate.series import SECOND, Series, check, time_text
from tidegate.tasks import learning

pytest.importorskip("torch")

FORMS = ("streaming", "classical")
KINDS = [
    (cell, layers, form) for cell in ("rnn_tanh", "rnn_relu", "lstm", "gru") for layers in (1, 2, 3) for form in FORMS
]
ROWS = (
    "score",
    "score_fast",
    "p_value",
    "alarm",
    "by_channel",
    "contributions",
    "expected",
    "low",
    "high",
    "reason_code",
    "times",
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))


def bits(array: Any) -> tuple[bytes, bytes]:
    """The bits of an array; one NaN is as good as another."""
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(0, bool)
    return (np.where(missing, 0, array) if missing.size else array).tobytes(), missing.tobytes()


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The names under which two tables of arrays do not have the same bits."""
    assert first.keys() == second.keys()
    return [name for name in first if bits(first[name]) != bits(second[name])]


def table(found: tg.Found) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ROWS}


def joined(parts: Sequence[tg.Found]) -> dict[str, Any]:
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in ROWS}


def alarms(parts: Sequence[tg.Found]) -> list[tg.Alarm]:
    """Those that closed in some piece, and the one still open after the last."""
    closed = [alarm for part in parts for alarm in part.alarms if not alarm.open]
    return closed + [alarm for alarm in parts[-1].alarms if alarm.open]


def in_pieces(detector: tg.AnomalyDetector, series: Series, cuts: Sequence[int]) -> list[tg.Found]:
    """Read the series in pieces, each going on from the state after the one before."""
    edges, state, parts = sorted({0, len(series), *cuts}), None, []
    for first, last in pairwise(edges):
        parts.append(detector.apply(series[first:last], state))
        state = parts[-1].state
    return parts


def budgeted(detector: tg.AnomalyDetector, budget: str) -> tg.AnomalyDetector:
    """The same detector at another budget; the one given stays as it was."""
    return copy.copy(detector).set_params(false_alarms=budget)


def altered(series: Series, values: Any = None, times: Any = None) -> Series:
    return check(
        series.values if values is None else values,
        series.times if times is None else times,
        series.channels,
        name=series.name,
    )


def rows_of(series: Series, rows: Any) -> Series:
    return check(series.values[rows], series.times[rows], series.channels, name=series.name)


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restarted(fitted: Any, troubled: Series, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, dict[str, Any]]:
    """What a new process, which loads model and state from disk, makes of the rows from 60 on; for every kind."""
    folder = tmp_path_factory.mktemp("restart")
    np.savez(folder / "rows.npz", values=troubled.values[60:], times=troubled.times[60:])
    for number, kind in enumerate(KINDS):
        fitted(*kind).save(folder / f"{number}.model.safetensors")
        fitted(*kind).apply(troubled[:60]).state.save(folder / f"{number}.state.safetensors")
    program = """
import sys, numpy as np, pathlib
import tidegate as tg
from tidegate.series import check
folder, count, names = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
rows = np.load(folder / "rows.npz")
for number in range(count):
    detector = tg.load(folder / f"{number}.model.safetensors")
    series = check(rows["values"], rows["times"], detector.channels_)
    found = detector.apply(series, detector.load_state(folder / f"{number}.state.safetensors"))
    alarms = np.array([(a.start, a.end, a.first_row, a.last_row, a.open) for a in found.alarms], dtype=np.int64)
    chances = np.array([a.p_value for a in found.alarms])
    said = np.array([", ".join(a.channels) for a in found.alarms], dtype="U200")
    state = {f"state {name}": array for name, array in found.state.arrays.items()}
    rest = {name: getattr(found, name) for name in names}
    np.savez(folder / f"{number}.found.npz", alarms=alarms, chances=chances, said=said, **state, **rest)
assert "torch" not in sys.modules, "running imported torch"
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(folder), str(len(KINDS)), ",".join(ROWS)],
        check=True,
        timeout=300,
    )
    return {kind: dict(np.load(folder / f"{number}.found.npz")) for number, kind in enumerate(KINDS)}


@every_kind
def test_after_a_restart_in_a_new_process_the_bits_are_those_of_the_whole(
    kind: Any, fitted: Any, troubled: Series, restarted: Any
) -> None:
    whole, there = fitted(*kind).apply(troubled), dict(restarted[kind])
    listed = np.array(
        [(a.start, a.end, a.first_row, a.last_row, a.open) for a in whole.alarms if a.last_row >= 60], dtype=np.int64
    )
    assert there.pop("alarms").tolist() == listed.tolist()
    assert there.pop("chances").tolist() == [a.p_value for a in whole.alarms if a.last_row >= 60]
    assert there.pop("said").tolist() == [", ".join(a.channels) for a in whole.alarms if a.last_row >= 60]
    here = {name: array[60:] for name, array in table(whole).items()}
    here |= {f"state {name}": array for name, array in whole.state.arrays.items()}
    assert differing(here, there) == []


@every_kind
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 95), min_size=1, max_size=6))
def test_in_pieces_the_bits_are_those_of_the_whole(kind: Any, fitted: Any, troubled: Series, cuts: list[int]) -> None:
    detector = fitted(*kind)
    whole, parts = detector.apply(troubled), in_pieces(detector, troubled, cuts)
    assert differing(table(whole), joined(parts)) == []
    assert differing(whole.state.arrays, parts[-1].state.arrays) == []
    assert alarms([whole]) == alarms(parts)


@every_kind
def test_one_reading_at_a_time_the_bits_are_those_of_the_whole(kind: Any, fitted: Any, troubled: Series) -> None:
    detector, first = fitted(*kind), 28  # from row 28 on, for time: inside the missing stretch, up to the end
    whole = detector.apply(troubled)
    state, said = detector.apply(troubled[:first]).state, []
    for row, time in zip(troubled.values[first:], troubled.times[first:], strict=True):
        verdict, state = detector.step(row, state, time=int(time))
        said.append(verdict)
    assert [v.reason for v in said] == whole.reason[first:].tolist()
    for name in ("score", "score_fast", "p_value", "bar", "alarm", "open", "time"):
        rows = getattr(whole, "times" if name == "time" else name)[first:]
        assert bits(np.array([getattr(v, name) for v in said])) == bits(rows), name
    for name in ("by_channel", "expected"):
        assert bits(np.array([list(getattr(v, name).values()) for v in said])) == bits(getattr(whole, name)[first:]), (
            name
        )
    assert differing(whole.state.arrays, state.arrays) == []


@pytest.mark.parametrize("method", ["prediction", "reconstruction"])
@pytest.mark.parametrize("form", FORMS)
def test_the_law_holds_for_each_method_alone(fitted: Any, troubled: Series, method: str, form: str) -> None:
    detector = fitted("gru", 1, form, method)
    whole, parts = detector.apply(troubled), in_pieces(detector, troubled, range(1, 96))
    assert differing(table(whole), joined(parts)) == []
    assert alarms([whole]) == alarms(parts)
    assert np.isfinite(whole.score).sum() > 40


def test_a_long_history_has_the_bits_of_its_pieces_where_chunks_meet(detector: tg.AnomalyDetector) -> None:
    series = tg.synth.machine(rows=9000, channels=3, seed=0)
    whole, parts = detector.apply(series), in_pieces(detector, series, [1000, 4095, 4097, 8192, 8200])
    assert differing(table(whole), joined(parts)) == []
    assert alarms([whole]) == alarms(parts)


@pytest.mark.parametrize("kind", [("gru", 2, "streaming"), ("lstm", 1, "classical")], ids=str)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 95), seed=st.integers(0, 99))
def test_rows_that_come_later_change_nothing_before_them(
    kind: Any, fitted: Any, troubled: Series, rows: int, seed: int
) -> None:
    values = troubled.values.copy()
    values[rows:] = 1e3 * np.random.default_rng(seed).standard_normal(values[rows:].shape)
    detector = fitted(*kind)
    other, before = detector.apply(altered(troubled, values)), detector.apply(troubled[:rows])
    assert differing({name: array[:rows] for name, array in table(other).items()}, table(before)) == []
    closed = [alarm for alarm in before.alarms if not alarm.open]
    assert other.alarms[: len(closed)] == closed


def test_an_alarm_open_across_the_cut_keeps_start_channels_and_chance(
    detector: tg.AnomalyDetector, troubled: Series
) -> None:
    whole = detector.apply(troubled)
    (alarm,) = [a for a in whole.alarms if a.first_row < 62 < a.last_row]
    before = detector.apply(troubled[:62])
    assert before.alarms[-1].open
    assert before.alarms[-1].start == alarm.start
    after = detector.apply(troubled[62:], before.state)
    assert after.alarms[0] == alarm
    assert alarm.start == troubled.times[alarm.first_row]
    assert alarm.end == troubled.times[alarm.last_row]
    assert alarm.channels[0] == "s2"
    assert 0 < alarm.p_value < 0.1


def test_the_state_that_is_given_stays_as_it_was(detector: tg.AnomalyDetector, troubled: Series) -> None:
    state = detector.apply(troubled[:50]).state
    copy = state.copy()
    for array in state.arrays.values():
        array.setflags(write=False)
    detector.apply(troubled[50:], state)
    detector.step(troubled.values[50], state)
    assert differing(state.arrays, copy.arrays) == []


def test_a_copied_state_shares_nothing(detector: tg.AnomalyDetector, troubled: Series) -> None:
    state = detector.apply(troubled[:50]).state
    copy = state.copy()
    assert not any(np.shares_memory(state.arrays[name], copy.arrays[name]) for name in state.arrays)


def test_no_state_is_the_state_of_the_start(detector: tg.AnomalyDetector, later: Series) -> None:
    assert differing(table(detector.apply(later)), table(detector.apply(later, detector.start()))) == []


def test_a_state_of_another_model_is_refused(fitted: Any, later: Series, tmp_path: Path) -> None:
    mine, other = fitted(), fitted(seed=1)
    mine.apply(later).state.save(tmp_path / "state")
    with pytest.raises(tg.ModelFileError, match="another model"):
        other.load_state(tmp_path / "state")
    with pytest.raises(tg.TidegateError, match="another model"):
        other.apply(later, mine.start())
    with pytest.raises(tg.TidegateError, match="another model"):
        other.step(later.values[0], mine.start())


def test_readings_must_come_in_the_order_of_their_times(detector: tg.AnomalyDetector, later: Series) -> None:
    state = detector.apply(later[:20]).state
    with pytest.raises(tg.DataError, match=r"a reading of .* after one of"):
        detector.apply(later[:20], state)
    with pytest.raises(tg.DataError, match="in the order of their times"):
        detector.step(later.values[19], state, time=int(later.times[19]))


def test_a_reading_without_a_time_comes_one_interval_after_the_last(
    detector: tg.AnomalyDetector, later: Series
) -> None:
    state = detector.apply(later[:20]).state
    verdict, _ = detector.step(later.values[20], state)
    assert verdict.time == later.times[20]


def test_a_reading_may_be_given_by_name(detector: tg.AnomalyDetector, later: Series) -> None:
    state = detector.apply(later[:40]).state
    named = dict(zip(reversed(later.channels), reversed(later.values[40].tolist()), strict=True))
    assert detector.step(named, state)[0] == detector.step(later.values[40], state)[0]
    silent, _ = detector.step({**named, "s1": None}, state)
    assert np.isnan(silent.by_channel["s1"]) or silent.by_channel["s1"] >= 0
    refused: tuple[tuple[Any, str], ...] = (
        ({"s0": 1.0}, "lacks s1, s2"),
        ([1.0], "1 values"),
        ([1.0, np.inf, 2.0], "inf in channel s1"),
        ([1.0, 2.0, -1e200], "-1e.200 in channel s2"),
        ([1.0, "stuck", 2.0], "'stuck' in a reading"),
    )
    for bad, said in refused:
        with pytest.raises(tg.DataError, match=said):
            detector.step(bad, state)


@pytest.fixture(scope="module")
def now(steady: Series) -> Series:
    """Normal rows after those that `learned` learned from."""
    return steady[1200:]


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_row_without_any_reading_has_no_score_and_says_why(detector: tg.AnomalyDetector, troubled: Series) -> None:
    found = detector.apply(troubled)
    empty = np.isnan(troubled.values).all(axis=1)
    assert (found.reason[empty] == "nothing observed").all()
    assert np.isnan(found.score[empty]).all()
    assert np.isnan(found.p_value[empty]).all()
    assert np.isnan(found.by_channel[empty]).all()


def test_every_row_has_a_score_or_a_reason_never_both_never_neither(
    detector: tg.AnomalyDetector, troubled: Series
) -> None:
    found = detector.apply(troubled)
    scored = ~np.isnan(found.score)
    assert ((found.reason == "") == scored).all()
    assert scored.sum() > 40
    assert (np.isnan(found.p_value) == ~scored).all()
    assert ((found.p_value[scored] > 0) & (found.p_value[scored] <= 1)).all()
    np.testing.assert_allclose(found.by_channel[scored].sum(axis=1), 1)


def test_missing_rows_do_not_poison_what_comes_after(learned: tg.AnomalyDetector, now: Series) -> None:
    values = now.values.copy()
    values[60:70] = np.nan
    clean, found = learned.apply(now), learned.apply(altered(now, values))
    assert np.isfinite(found.score[70:]).all()
    assert np.isfinite(found.expected[72:]).all()
    settled = slice(170, None)
    assert np.abs(found.score[settled] - clean.score[settled]).max() < 0.5 * clean.score[settled].mean()


def test_a_third_of_the_readings_may_be_missing(learned: tg.AnomalyDetector, now: Series) -> None:
    values = now.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.3] = np.nan
    found = learned.apply(altered(now, values))
    seen = ~np.isnan(values).all(axis=1)
    assert np.isfinite(found.score[seen][20:]).all()
    assert not np.isfinite(found.score[~seen]).any()
    assert np.median(found.score[seen][20:]) < 2 * np.median(learned.apply(now).score[20:])


def test_a_history_with_missing_readings_can_be_learned_from(normal: Series, later: Series) -> None:
    values = normal.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.3] = np.nan
    values[300:304] = np.nan
    found = quick().fit(altered(normal, values)).apply(later)
    assert np.isfinite(found.score[20:]).all()


@pytest.mark.parametrize("value", [7.0, np.nan], ids=["constant", "all missing"])
def test_a_channel_that_says_nothing_does_no_harm(normal: Series, later: Series, value: float) -> None:
    past, now = normal.values.copy(), later.values.copy()
    past[:, 1] = now[:, 1] = value
    detector = quick().fit(altered(normal, past))
    found = detector.apply(altered(later, now))
    assert np.isfinite(found.score[20:]).all()
    assert np.isfinite(detector.threshold_.value)
    share = np.nan_to_num(found.by_channel[20:, 1])
    assert share.mean() < 0.3
    assert any("s1" in note for note in detector.notes_)


def test_a_constant_channel_that_moves_is_unusual(normal: Series, later: Series) -> None:
    past, now = normal.values.copy(), later.values.copy()
    past[:, 1] = now[:, 1] = 7.0
    detector = quick().fit(altered(normal, past))
    now[100:, 1] = 8.0
    found = detector.apply(altered(later, now))
    assert found.score[100:120].max() > found.score[20:100].max()
    assert found.by_channel[100:105, 1].mean() > 0.5


def test_a_channel_that_stops_saying_anything_is_left_out_of_the_score(
    learned: tg.AnomalyDetector, now: Series
) -> None:
    values = now.values.copy()
    values[:, 0] = np.nan
    found = learned.apply(altered(now, values))
    assert np.isfinite(found.score[20:]).all()
    assert (np.nan_to_num(found.by_channel[:, 0]) == 0).all()


# --- what is odd ------------------------------------------------------------------------------------------------------


def test_a_gap_begins_memory_anew_and_says_so(detector: tg.AnomalyDetector, later: Series) -> None:
    times = later.times.copy()
    times[100:] += 3 * 3600 * SECOND
    found = detector.apply(altered(later, times=times))
    assert any("memory began anew at 2024-01-01 16:20:00" in note for note in found.notes), found.notes
    alone = detector.apply(altered(later[100:], times=times[100:]))
    assert bits(found.score[100:]) == bits(alone.score)
    assert bits(found.expected[100:]) == bits(alone.expected)
    assert (found.reason[100:110] == "warming up").all()


def test_a_short_hole_does_not_begin_memory_anew(detector: tg.AnomalyDetector, later: Series) -> None:
    times = later.times.copy()
    times[100:] += 5 * 60 * SECOND
    found = detector.apply(altered(later, times=times))
    assert not any("anew" in note for note in found.notes)
    assert np.isfinite(found.score[20:]).all()


@pytest.mark.parametrize("rows", [1, 10, 40, 100])
def test_empty_rows_are_the_hole_that_absent_rows_are(learned: tg.AnomalyDetector, now: Series, rows: int) -> None:
    values = now.values.copy()
    values[60 : 60 + rows] = np.nan
    empty, absent = learned.apply(altered(now, values)), learned.apply(rows_of(now, np.r_[:60, 60 + rows : 200]))
    for name in ("score", "score_fast", "expected", "contributions", "bar", "alarm", "p_value"):
        np.testing.assert_array_equal(getattr(empty, name)[60 + rows : 200], getattr(absent, name)[60:])
    assert any("memory began anew" in note for note in empty.notes) == (rows > 90)
    assert (empty.reason[60 + rows] == "warming up") == (rows > 90)


@pytest.mark.parametrize("rows", [5, 20, 30, 60])
def test_a_hole_is_no_alarm(learned: tg.AnomalyDetector, steady: Series, rows: int) -> None:
    """Neither a forecast from before a hole nor a reading held through it is a measure of what comes after."""
    place = np.arange(400)
    assert not learned.apply(steady[1000:]).alarm.any()
    holed = rows_of(steady[1000:], np.flatnonzero((place % 130 >= rows) | (place < 130)))
    found = learned.apply(holed)
    assert not found.alarm.any(), found.alarms
    assert np.isfinite(found.score[20:]).all()


def test_an_alarm_does_not_bridge_a_gap(detector: tg.AnomalyDetector, troubled: Series) -> None:
    found = detector.apply(troubled)
    assert not any(a.first_row < 76 <= a.last_row for a in found.alarms)


@pytest.mark.parametrize("jump", [1e30, -1e30, 1e150])
def test_a_jump_does_not_poison_the_rows_after_it(learned: tg.AnomalyDetector, now: Series, jump: float) -> None:
    values = now.values.copy()
    values[60, 1] = jump
    clean, found = learned.apply(now), learned.apply(altered(now, values))
    assert np.isfinite(found.score[20:]).all()
    assert found.score[60] > clean.score[60]
    assert np.argmax(found.by_channel[60]) == 1
    assert np.abs(found.score[190:] - clean.score[190:]).max() < 0.5 * clean.score[20:].mean()


def test_a_wild_reading_is_told_of_whatever_its_score(learned: tg.AnomalyDetector, now: Series) -> None:
    values = now.values.copy()
    values[60, 1], values[61:63, 1] = 1e30, -1e9
    found = learned.apply(altered(now, values))
    (note,) = [note for note in found.notes if "usual distances" in note]
    channel, at = now.channels[1], time_text(now.times[60])
    assert note.startswith(f"{channel} read 1e+30 at {at} (and 2 readings besides), more than 1,000 usual")
    assert not any("usual distances" in note for note in learned.apply(now).notes)
    verdict, state = learned.step(values[60], learned.start())
    assert "read 1e+30" in verdict.notes[0]
    assert learned.step(values[59], state)[0].notes == ()
    assert "read 1e+30" in learned.step(values[60], learned.start(), learn=True)[0].notes[0]


def test_a_jump_in_the_history_does_not_spoil_what_is_learned(normal: Series, later: Series) -> None:
    values = normal.values.copy()
    values[100, 1] = 1e30
    found = quick(epochs=2).fit(altered(normal, values)).apply(later)
    clean = quick(epochs=2).fit(normal).apply(later)
    assert 0.5 < np.median(found.score[20:]) / np.median(clean.score[20:]) < 2


def test_infinity_is_refused_by_channel_and_row(detector: tg.AnomalyDetector, later: Series) -> None:
    values = later.values.copy()
    values[7, 2] = np.inf
    with pytest.raises(tg.DataError, match="channel c2, row 8"):
        detector.apply(values)


def test_reordered_columns_give_the_same_bits(detector: tg.AnomalyDetector, later: Series) -> None:
    order = ["s2", "s0", "s1"]
    found = detector.apply(later.select(order))
    assert found.channels == later.channels
    assert differing(table(found), table(detector.apply(later))) == []


def test_extra_columns_are_left_out_with_a_note(detector: tg.AnomalyDetector, later: Series) -> None:
    more = check(np.column_stack([later.values[:, :1] * 3, later.values]), later.times, ["humidity", *later.channels])
    found = detector.apply(more)
    assert differing(table(found), table(detector.apply(later))) == []
    assert any("humidity" in note for note in found.notes)


@pytest.mark.parametrize("names", [["s0", "s1", "pressure"], ["s0", "s1"]], ids=["renamed", "missing"])
def test_a_renamed_or_missing_column_is_refused_by_name(
    detector: tg.AnomalyDetector, later: Series, names: list[str]
) -> None:
    with pytest.raises(tg.DataError, match="not in the data: s2") as refused:
        detector.apply(check(later.values[:, : len(names)], later.times, names))
    assert ("pressure" in str(refused.value)) == ("pressure" in names)


def test_data_at_another_pace_is_refused(detector: tg.AnomalyDetector, later: Series) -> None:
    with pytest.raises(tg.DataError, match="a row every 1 s"):
        detector.apply(altered(later, times=later.times[0] + np.arange(len(later)) * SECOND))


def test_a_model_of_rows_without_times_refuses_data_at_another_pace(normal: Series, later: Series) -> None:
    plain = quick(epochs=1).fit(normal.values)
    with pytest.raises(tg.DataError, match="a row every 1 min"):
        plain.apply(check(later.values, later.times))


def test_a_short_piece_with_a_hole_in_it_is_no_other_pace(detector: tg.AnomalyDetector, later: Series) -> None:
    whole = detector.apply(rows_of(later, np.r_[:41, 80:120]))
    state = detector.apply(later[:40]).state
    piece = detector.apply(rows_of(later, [40, 80, 81]), state)
    assert bits(piece.score) == bits(whole.score[40:43])


def test_rows_without_times_go_on_where_the_stream_stands(detector: tg.AnomalyDetector, later: Series) -> None:
    state = detector.apply(later[:40]).state
    found = detector.apply(later.values[40:50], state)
    assert found.times.tolist() == later.times[40:50].tolist()


def test_one_row_is_warming_up(detector: tg.AnomalyDetector, later: Series) -> None:
    found = detector.apply(later[:1])
    assert len(found) == 1
    assert found.reason.tolist() == ["warming up"]
    assert np.isnan(found.score[0])
    assert found.alarms == []


@pytest.mark.parametrize("rows", [1, 2, 40, 100])
def test_a_history_shorter_than_its_windows_is_refused_with_the_numbers(normal: Series, rows: int) -> None:
    with pytest.raises(tg.DataError, match=rf"^{rows} rows") as refused:
        quick().fit(normal[:rows])
    assert "at least 120" in str(refused.value)
    assert "do: give a longer history" in str(refused.value)


def test_a_history_of_holes_only_is_refused(normal: Series) -> None:
    times = normal.times + (np.arange(len(normal)) // 20) * 86_400 * SECOND
    with pytest.raises(tg.DataError, match="without a gap in the training stretch"):
        quick().fit(altered(normal, times=times))


def test_an_array_without_a_clock_gives_the_scores_of_the_series(normal: Series, later: Series) -> None:
    timed = quick().fit(normal)
    plain = quick().fit(normal.values, interval="1min")
    found = plain.apply(later.values)
    assert bits(found.score) == bits(timed.apply(later).score)
    assert found.times[1] == 60 * SECOND
    assert plain.channels_ == ("c0", "c1", "c2")
    assert not plain.clock_
    again = plain.apply(later.values[:5], found.state)
    assert again.times[0] == found.times[-1] + 60 * SECOND


def test_one_channel_may_be_a_flat_array() -> None:
    wave = tg.synth.sine(rows=700, noise=0.05).values[:, 0]
    found = quick().fit(wave).apply(wave[:100])
    assert found.by_channel.shape == (100, 1)
    assert np.isfinite(found.score[20:]).all()


def test_frames_give_the_numbers_of_the_series(detector: tg.AnomalyDetector, later: Series) -> None:
    polars = pytest.importorskip("polars")
    columns = {"time": polars.Series(later.times).cast(polars.Datetime("ns", "UTC"))}
    frame = polars.DataFrame({**columns, **dict(zip(later.channels, later.values.T, strict=True))})
    expected = table(detector.apply(later))
    assert differing(table(detector.apply(frame)), expected) == []
    assert differing(table(detector.apply(frame.to_pandas())), expected) == []


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["level", "noise", "unlinked"])
def test_a_planted_fault_scores_higher_and_names_its_channel(
    learned: tg.AnomalyDetector, now: Series, fault: Any
) -> None:
    broken = tg.synth.plant(now, fault, 120, 40, channels=("level",), size=3.0)
    clean, found = learned.apply(now), learned.apply(broken)
    assert found.score[125:160].mean() > 1.5 * clean.score[125:160].mean()
    assert found.open[130:160].all()
    assert not found.open[70:120].any()
    (alarm,) = [alarm for alarm in found.alarms if alarm.last_row >= 120]
    assert 120 <= alarm.first_row <= 130
    assert alarm.channels[0] == "level"


def test_a_looser_budget_lowers_the_threshold(learned: tg.AnomalyDetector) -> None:
    asked = ("90/hour", "60/hour", "30/hour")  # what 322 seconds of calibration can tell apart
    values = [budgeted(learned, budget).threshold_.value for budget in asked]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_a_budget_that_cannot_be_kept_says_so(normal: Series) -> None:
    detector = quick(false_alarms="1/year").fit(normal)
    limit = detector.threshold_
    assert limit.kept > limit.asked
    assert "of it would be needed" in limit.note


def test_recalibration_takes_a_new_level_for_normal(
    learned: tg.AnomalyDetector, steady: Series, tmp_path: Path
) -> None:
    moved = altered(steady, steady.values + np.array([0.0, 2 * steady.values[:, 1].std(), 0.0]))
    learned.save(tmp_path / "model")
    detector = tg.load(tmp_path / "model")
    before = detector.apply(moved)
    after = detector.recalibrate(moved).apply(moved)
    assert after.alarm.mean() < 0.5 * before.alarm.mean()
    assert all(np.array_equal(detector.model_.weights[name], w) for name, w in learned.model_.weights.items())


def test_a_recalibration_that_is_refused_changes_nothing(detector: tg.AnomalyDetector, later: Series) -> None:
    before = table(detector.apply(later))
    silent = np.where(np.arange(len(later))[:, None] < 5, later.values, np.nan)
    for rows in (later[:12], altered(later, silent)):
        with pytest.raises(tg.DataError):
            detector.recalibrate(rows)
        assert differing(table(detector.apply(later)), before) == []


def test_after_recalibration_a_fault_at_the_new_level_is_found_and_the_old_level_is_not_normal(
    learned: tg.AnomalyDetector, steady: Series, tmp_path: Path
) -> None:
    shift = np.array([0.0, 5 * steady.values[:, 1].std(), 0.0])
    moved = altered(steady, steady.values + shift)
    learned.save(tmp_path / "model")
    detector = tg.load(tmp_path / "model").recalibrate(moved[:1000])
    faulty = tg.synth.plant(moved[1000:], "level", 200, 60, size=2.0, channels=("level",))
    assert detector.apply(faulty).open[220:260].any()
    assert not detector.apply(moved[1000:]).open[50:].any()
    assert detector.apply(steady[1000:]).alarm[50:].mean() > 0.5
    assert detector.split_ == {"calibrate": (0, 1000)}
    assert detector.learned_["rows"].startswith("1,000 of 1,000")


def test_what_was_expected_is_in_the_units_of_the_data_with_a_band_that_holds(
    learned: tg.AnomalyDetector, now: Series
) -> None:
    found = learned.apply(now)
    assert (found.low[1:] <= found.expected[1:]).all()
    assert (found.expected[1:] <= found.high[1:]).all()
    inside = (found.low <= now.values) & (now.values <= found.high)
    assert inside[20:].mean() > 0.95
    missed = np.abs(found.expected - now.values)[20:]
    assert (missed.mean(axis=0) < 0.5 * now.values.std(axis=0)).all()


def test_the_frame_of_what_was_found_has_a_row_for_every_row(detector: tg.AnomalyDetector, troubled: Series) -> None:
    found = detector.apply(troubled)
    frame = found.to_frame()
    assert frame.height == len(troubled) == len(found)
    assert {"time", "score", "score_fast", "p_value", "alarm", "reason", "blame s0"} <= set(frame.columns)
    assert frame["alarm"].sum() == found.alarm.sum() > 0
    assert "Found in troubled" in repr(found)
    assert f"{len(found.alarms)} alarm" in repr(found)
    assert list(found.to_pandas().columns) == frame.columns


# --- how it is learned ------------------------------------------------------------------------------------------------


def quick(epochs: int = 1, **params: Any) -> tg.AnomalyDetector:
    """A detector whose training takes a moment."""
    training = tg.Training(epochs=epochs, batches=3, batch=4, patience=2)
    return tg.AnomalyDetector(
        **{"network": tg.Network(hidden=5), "training": training, "false_alarms": "1/hour", **params}
    )


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(normal: Series) -> None:
    first, again, other = (
        quick(seed=seed, network=tg.Network(hidden=5, layers=2, dropout=0.3)).fit(normal) for seed in (3, 3, 4)
    )
    assert first.start().model == again.start().model != other.start().model
    assert differing(first.model_.weights, again.model_.weights) == []
    assert (
        [e.train_loss for e in first.history_]
        == [e.train_loss for e in again.history_]
        != [e.train_loss for e in other.history_]
    )


def test_fitting_again_forgets_what_was_learned_before(normal: Series, later: Series) -> None:
    detector = quick().fit(later_twice(later))
    assert detector.fit(normal).start().model == quick().fit(normal).start().model


def later_twice(later: Series) -> Series:
    return check(np.concatenate([later.values] * 3), None, later.channels)


def test_training_comes_first_a_window_before_early_stopping_and_calibration_last(normal: Series) -> None:
    split = quick(window=tg.Window(length=40, valid=0.5)).fit(normal).split_
    assert list(split) == ["train", "valid", "calibrate"]
    assert split["train"][0] == 0
    assert split["calibrate"][1] == len(normal)
    assert (
        split["valid"][0] - split["train"][1] >= learning.SHORTEST
    )  # no window that trains touches one that stops training
    assert split["calibrate"][0] >= split["valid"][1]
    assert all(last - first >= learning.SHORTEST for first, last in split.values())


def test_a_history_too_short_to_validate_on_is_trained_whole_and_says_so(normal: Series) -> None:
    detector = quick(epochs=3).fit(normal)
    assert list(detector.split_) == ["train", "calibrate"]
    assert detector.split_["train"][1] == detector.split_["calibrate"][0]
    assert [epoch.valid_loss for epoch in detector.history_] == [None, None, None]
    assert any("too little history to stop training" in note for note in detector.notes_)


def test_the_scale_never_sees_the_calibration_stretch(normal: Series) -> None:
    detector = quick().fit(normal)
    values = normal.values.copy()
    values[detector.split_["calibrate"][0] :] += 100 * values.std(axis=0)
    other = quick().fit(altered(normal, values))
    assert differing({"center": detector.model_.scale.center}, {"center": other.model_.scale.center}) == []


def test_early_stopping_and_training_never_see_the_calibration_stretch(normal: Series) -> None:
    detector = quick(epochs=3).fit(normal)
    values = normal.values.copy()
    values[detector.split_["calibrate"][0] :] *= 5
    other = quick(epochs=3).fit(altered(normal, values))
    assert differing(detector.model_.weights, other.model_.weights) == []
    assert detector.threshold_ != other.threshold_


def test_excluded_rows_are_in_none_of_the_windows(normal: Series) -> None:
    values = normal.values.copy()
    values[200:230] += 1e6  # a known fault
    values[600:620] *= -1e6
    bad = [("2024-01-01 03:20", "2024-01-01 03:50"), ("2024-01-01 10:00", "2024-01-01 10:20")]
    first, second = (quick(epochs=2).fit(altered(normal, v), exclude=bad) for v in (normal.values, values))
    assert first.start().model == second.start().model
    assert first.start().model != quick(epochs=2).fit(normal).start().model


def test_rows_can_be_excluded_by_number_where_there_is_no_clock(normal: Series) -> None:
    values = normal.values.copy()
    values[200:230] += 1e6
    first, second = (quick().fit(v, exclude=[(200, 230)]) for v in (normal.values, values))
    assert first.start().model == second.start().model


def test_to_resume_takes_a_checkpoint(normal: Series) -> None:
    with pytest.raises(tg.SettingError, match="without a checkpoint"):
        tg.AnomalyDetector().fit(normal, resume=True)


def test_each_epoch_leaves_a_record(normal: Series) -> None:
    seen: list[Any] = []
    detector = quick(epochs=3).fit(normal, on_epoch=seen.append)
    assert detector.history_ == seen
    assert [e.epoch for e in seen] == [0, 1, 2]
    assert all(np.isfinite([e.train_loss, e.loss]).all() and e.learning_rate > 0 and e.seconds > 0 for e in seen)


def test_training_learns(learned: tg.AnomalyDetector) -> None:
    losses = [e.loss for e in learned.history_]
    assert min(losses) < 0.9 * losses[0]


def test_ctrl_c_keeps_the_best_so_far_and_says_so(normal: Series, later: Series) -> None:
    def interrupt(epoch: Any) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    detector = quick(epochs=6)
    try:
        detector.fit(normal, on_epoch=interrupt)
    except KeyboardInterrupt:  # let out, it would end the whole test run
        pytest.fail("the interrupt got out of fit")
    assert len(detector.history_) == 2
    assert any("interrupted" in note for note in detector.notes_)
    assert np.isfinite(detector.apply(later).score[20:]).all()


def test_the_device_that_was_taken_is_told(detector: tg.AnomalyDetector) -> None:
    import torch

    assert detector.device == "auto"
    assert detector.device_ == ("cuda" if torch.cuda.is_available() else "cpu")


WRONG = [
    ({"cell": "transformer", "network": None}, "rnn_tanh, rnn_relu, lstm, gru"),
    ({"method": "magic"}, "prediction, reconstruction, both"),
    ({"form": "round"}, "streaming, classical"),
    ({"size": "huge", "network": None}, "small, medium, large"),
    ({"size": "huge", "network": None, "training": None}, "small, medium, large"),
    ({"false_alarms": "often"}, "a count and a span of time"),
    ({"false_alarms": "0/week"}, "a count and a span of time"),
    ({"false_alarms": "1/fortnight"}, "a count and a span of time"),
    ({"device": "abacus"}, "auto"),
]


@pytest.mark.parametrize(("params", "said"), WRONG, ids=[str(params) for params, _ in WRONG])
def test_a_wrong_setting_is_refused_with_what_is_allowed_before_training(
    normal: Series, params: dict[str, Any], said: str
) -> None:
    begun: list[Any] = []
    with pytest.raises(tg.SettingError) as refused:
        quick(**params).fit(normal, on_epoch=begun.append)
    assert said in str(refused.value)
    assert begun == []
