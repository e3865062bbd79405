"""Settings refuse what is wrong where it is given, and times and budgets mean the same however they are written."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from tidegate.errors import SettingError
from tidegate.settings import SIZES, UNITS, WORDS, Alarming, Network, Training, Window, one_of, rate, seconds

SPANS = [
    ("250ms", 0.25),
    ("1s", 1.0),
    ("1 sec", 1.0),
    ("90 seconds", 90.0),
    ("5min", 300.0),
    ("5 m", 300.0),
    ("1 minute", 60.0),
    ("1.5h", 5400.0),
    ("2 Hours", 7200.0),
    ("12 hrs", 43_200.0),
    ("1d", 86_400.0),
    ("2 days", 172_800.0),
    ("1 week", 604_800.0),
    ("week", 604_800.0),
    ("2weeks", 1_209_600.0),
    (" 3 w ", 1_814_400.0),
    ("year", 31_556_952.0),
    (2.5, 2.5),
    (60, 60.0),
]


@pytest.mark.parametrize(("text", "wanted"), SPANS)
def test_a_span_of_time_is_read_as_people_write_it(text: Any, wanted: float) -> None:
    assert seconds(text) == pytest.approx(wanted, rel=1e-12)


@given(
    st.decimals(min_value="0.01", max_value=10_000, places=2),
    st.sampled_from([*UNITS, *WORDS]),
    st.sampled_from(["", " "]),
)
def test_a_span_is_its_number_times_its_unit(number: Any, unit: str, space: str) -> None:
    assert seconds(f"{number}{space}{unit}") == pytest.approx(float(number) * UNITS[WORDS.get(unit, unit)])


@pytest.mark.parametrize(
    "text", ["", " ", "5", "five minutes", "5 fortnights", "-5min", "1e3s", "5 min 3", "min5", "1..5s", "5µs"]
)
def test_what_is_no_span_of_time_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(SettingError, match="not a span of time") as refused:
        seconds(text)
    assert all(unit in str(refused.value) for unit in UNITS)


@pytest.mark.parametrize("value", [0, -1, "0s", float("inf"), float("nan")])
def test_a_span_must_be_above_zero(value: Any) -> None:
    with pytest.raises(SettingError, match="not above zero"):
        seconds(value)


@given(st.text(max_size=12))
def test_any_text_is_a_span_or_is_refused_by_name(text: str) -> None:
    said = repr(text)
    try:
        value = seconds(text)
    except SettingError as refused:
        value, said = 1.0, str(refused)
    assert value > 0
    assert repr(text) in said


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1/week", 1 / 604_800),
        ("3 per day", 3 / 86_400),
        ("0.5/h", 0.5 / 3600),
        ("2/3 days", 2 / 259_200),
        ("1 / week", 1 / 604_800),
    ],
)
def test_a_budget_is_alarms_a_second(text: str, wanted: float) -> None:
    assert rate(text) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    ["", "1", "week", "/week", "1/", "often", "0/week", "-1/day", "1/fortnight", "inf/day", "nan/day", "1/day/week"],
)
def test_what_is_no_budget_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match="is not a budget of alarms") as refused:
        rate(text)
    assert "1/week" in str(refused.value)


def test_a_choice_outside_the_list_is_refused_with_the_list() -> None:
    assert one_of("cell", "gru", ("gru", "lstm")) == "gru"
    for wrong in ("tcn", None, 3, ["gru"]):
        with pytest.raises(SettingError, match=re.escape(f"cell is {wrong!r}")) as refused:
            one_of("cell", wrong, ("gru", "lstm"))
        assert "gru, lstm" in str(refused.value)


@pytest.mark.parametrize("kind", [Window, Network, Training, Alarming])
def test_a_struct_is_frozen_prints_as_its_call_and_survives_json(kind: Any) -> None:
    value = kind()
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], 1)
    assert eval(repr(value), {kind.__name__: kind}) == value
    assert msgspec.json.decode(msgspec.json.encode(value), type=kind) == value
    with pytest.raises(TypeError):
        kind(colour="blue")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Network, {"layers": 4}),
        (Network, {"layers": 0}),
        (Network, {"cell": "tcn"}),
        (Network, {"hidden": 0}),
        (Network, {"dropout": 1.0}),
        (Window, {"length": 0}),
        (Window, {"valid": -0.1}),
        (Training, {"learning_rate": 0.0}),
        (Training, {"epochs": 0}),
        (Alarming, {"merge": 0}),
    ],
    ids=str,
)
def test_a_value_outside_its_range_is_refused_when_a_file_gives_it(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert(wrong, kind)


def test_each_size_is_larger_than_the_one_before() -> None:
    hidden = [net.hidden for net, _ in SIZES.values()]
    assert hidden == sorted(set(hidden))
    assert list(SIZES) == ["small", "medium", "large"]
