"""The report: what it says in words, what it embeds, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from tidegate.errors import DataError, MissingExtraError, SettingError
from tidegate.pages import anomaly as rep, frame, packed

if TYPE_CHECKING:
    from browser import Visit
    from playwright.sync_api import Browser

WEEK = 604_800
START = 1_709_971_200_000_000_000  # 2024-03-09 08:00:00 UTC
NAMES = ("flow", "inlet pressure", "outlet pressure", "motor current")
HOSTILE = (
    '<script>window.taken = "raw"</script>',
    "<b>bold</b>&amp;",
    "</script><script>window.taken = 'json'</script>",
    "流量 «é»",
)
FIGURES = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "f32": "<f4", "f64": "<f8"}


def demo(rows: int = 6_000, names: tuple[str, ...] = NAMES, *, clock: bool = True) -> rep.Report:
    """A pump for `rows` seconds: two faults found, one missed, a stretch missing, a hole in time, a one-row spike."""
    rng, wide = np.random.default_rng(0), (rows, len(names))
    rhythm = np.sin(np.arange(rows)[:, None] / rows * 12 + np.arange(len(names)))
    values = rhythm + rng.normal(0, 0.1, wide)
    score, blame = np.abs(values - rhythm).mean(1) * 5, np.full(wide, np.nan)
    for first, last, sensor in ((rows // 4, rows // 4 + 90, 1), (rows // 2, rows // 2 + 200, 2)):
        values[first:last, sensor] += 2
        score[first:last] += 2
        blame[first:last] = np.eye(len(names))[sensor] * 0.8 + 0.2 / len(names)
    values[rows // 3, 1] = 9
    values[rows * 3 // 5 : rows * 3 // 5 + rows // 30, 0] = np.nan
    times = START + np.arange(rows) * 1_000_000_000 + (np.arange(rows) > rows * 4 // 5) * 300_000_000_000
    seen = rep.Seen(
        times=times if clock else times - START, channels=names, values=values, score=score, score_fast=score * 1.2,
        expected=rhythm, low=rhythm - 0.3, high=rhythm + 0.3, by_channel=blame, clock=clock,
    )  # fmt: skip
    alarms = [_alarm(seen, rows // 4, 90, 3e-4), _alarm(seen, rows // 2, 200, 4e-8)]
    missed = (int(seen.times[rows // 9]), int(seen.times[rows // 9 + 30]))
    counts = ((1, 0), (9, 8), (90, 97))
    checks = [rep.Kept(asked=k / WEEK, observed=o / WEEK, low=0.4 * k / WEEK, high=2 * k / WEEK) for k, o in counts]
    budget = rep.Budget(
        threshold=1.5, asked=1 / WEEK, kept=1 / 172_800, note="52 hours were set aside for calibration.", checks=checks
    )
    return rep.Report(
        title="pump.csv", generated="22 November 2026", seen=seen, budget=budget, alarms=alarms,
        events=[*((a.start, a.end) for a in alarms), missed], learned=_learned(), table=_table(), notes=["masked"],
    )  # fmt: skip


def _alarm(seen: rep.Seen, row: int, rows: int, p_value: float) -> rep.Alarm:
    assert seen.by_channel is not None
    share = seen.by_channel[row]
    blamed = [seen.channels[c] for c in np.argsort(-share, kind="stable")[:1]]
    start, end = int(seen.times[row]), int(seen.times[row + rows])
    return rep.Alarm(start=start, end=end, p_value=p_value, channels=blamed, share=share.tolist())


def _learned() -> frame.Learned:
    rows = {"train": (0, 4_000), "valid": (4_060, 5_000), "calibrate": (5_060, 6_000)}
    split = [
        frame.Part(name=n, rows=(a, b), start=START + a * 10**9, end=START + b * 10**9) for n, (a, b) in rows.items()
    ]
    history = [(epoch, 1 / epoch, 1 / epoch + epoch / 100) for epoch in range(1, 21)]
    return frame.Learned(facts=[("Cell", "GRU, 1 layer of 32"), ("Seed", "0")], split=split, history=history)


def _table() -> frame.Table:
    rows = [
        frame.Row(name="Tidegate", metrics={"AUROC": 0.93, "false alarms per day": 0.2}, baseline=False),
        frame.Row(name="smoothed level", metrics={"AUROC": 0.95, "false alarms per day": math.nan}),
    ]
    verdict = "The smoothed level does better here: AUROC 0.95 against 0.93."
    return frame.Table(rows=rows, verdict=verdict, smaller_is_better=frozenset({"false alarms per day"}))


def unpack(block: dict[str, Any]) -> NDArray[Any]:
    """What the page's JavaScript makes of a block."""
    codes = np.frombuffer(zlib.decompress(base64.b64decode(block["data"])), FIGURES[block["kind"]])
    if block["kind"] in ("u8", "u16"):
        return np.where(codes > 0, block["offset"] + block["step"] * (codes.astype(float) - 1), np.nan)
    return codes if block["kind"] == "u32" else codes.astype(float) + block["offset"]


# ---- words


def test_the_verdict_names_the_surest_alarm_its_sensor_and_the_budget() -> None:
    headline, sentences = rep.verdict(demo())
    assert headline == "2 alarms in 1 h 44 min of data"
    assert "2024-03-09 08:50:00 UTC" in sentences[0]
    assert "outlet pressure (85\u00a0%)" in sentences[0]
    assert sentences[1] == "2 of the 3 known events met an alarm."
    assert "1 false alarm per week" in sentences[2]
    assert "3.5 false alarms per week" in sentences[2]


def test_a_budget_that_is_kept_is_stated_without_excuse() -> None:
    report = demo()
    sentences = rep.verdict(replace(report, budget=replace(report.budget, kept=report.budget.asked)))[1]
    assert sentences[-1].startswith("Alarms run at a budget of 1 false alarm per week")


def test_alarms_that_meet_no_known_event_are_counted() -> None:
    report = demo()
    assert rep.verdict(replace(report, events=report.events[1:]))[1][1] == (
        "1 of the 2 known events met an alarm; 1 alarm met none of them."
    )


def test_without_alarms_the_headline_says_so() -> None:
    assert rep.verdict(replace(demo(), alarms=[]))[0] == "No alarm in 1 h 44 min of data"


def test_a_baseline_that_wins_is_the_first_thing_said() -> None:
    report = demo()
    loud = replace(report, table=replace(report.table, baseline_wins=True))
    assert rep.verdict(loud)[1][0] == report.table.verdict
    assert report.table.verdict not in rep.verdict(report)[1]


def test_the_most_blamed_sensor_comes_first() -> None:
    report = demo()
    assert rep.blame_order(report)[0] in (1, 2)
    assert sorted(rep.blame_order(report)) == [0, 1, 2, 3]
    assert rep.blame_order(replace(report, alarms=[])) == [0, 1, 2, 3]


def test_many_alarms_and_sensors_are_listed_surest_first_to_be_kept_and_the_rest_summed() -> None:
    names = tuple(f"s{i}" for i in range(14))
    report = demo(600, names)
    alarms = [rep.Alarm(start=i, end=i + 1, p_value=1 / (i + 2), share=[1 / 14] * 14) for i in range(300)]
    table = rep.blame_table(replace(report, alarms=alarms), range(14))
    assert [number for number, _, _ in table["rows"]] == list(range(101, 301))
    assert table["all"] == 300
    assert len(table["names"]) == 10
    assert table["others"]
    assert math.isclose(sum(table["rows"][0][2]), 1)


# ---- numbers


@given(
    steps=st.lists(st.integers(1, 40), min_size=30, max_size=300),
    seed=st.integers(0, 99),
    missing=st.floats(0, 0.9),
    points=st.integers(6, 60),
)
def test_downsampling_keeps_first_last_least_and_greatest_of_every_bucket_and_every_gap(
    steps: list[int], seed: int, missing: float, points: int
) -> None:
    times, rng = np.cumsum(steps), np.random.default_rng(seed)
    values = np.where(rng.random(len(times)) < missing, np.nan, rng.integers(-9, 9, len(times)).astype(float))
    kept = packed.downsample(times, values, points)
    assert len(kept) <= max(points, 1)
    assert np.all(np.diff(kept) > 0)
    if len(times) <= points:
        assert len(kept) == len(times)
        return
    width = (times[-1] - times[0]) / ((points - 1) // 5)
    bucket = np.minimum((times - times[0]) // width, (points - 1) // 5 - 1)
    seen = np.flatnonzero(np.isfinite(values))
    for each in np.unique(bucket[seen]):
        rows = seen[bucket[seen] == each]
        there = kept[(bucket[kept] == each) & np.isfinite(values[kept])]
        assert {rows[0], rows[-1]} <= set(there)
        assert values[there].min() == values[rows].min()
        assert values[there].max() == values[rows].max()
    for a, b in itertools.pairwise(seen):
        if b - a > 1 and times[b] - times[a] >= width:
            assert np.any((kept > a) & (kept < b))


def test_downsampling_nothing_but_missing_rows_gives_one_missing_row() -> None:
    assert packed.downsample(np.arange(100), np.full(100, np.nan), 10).tolist() == [0]


def test_a_hole_in_time_becomes_a_missing_row_and_an_ordinary_step_does_not() -> None:
    seen = rep._with_holes(demo(600).seen)
    assert len(seen.times) == 601
    assert np.isnan(seen.score[481])
    assert np.isnan(seen.values[481]).all()
    assert np.all(np.diff(seen.times) > 0)


@pytest.mark.parametrize(("kind", "worst"), [("f32", 1e-6), ("f64", 0), ("u16", 20 / 65_534), ("u8", 20 / 254)])
def test_embedded_numbers_come_back_within_their_step_and_missing_stays_missing(kind: str, worst: float) -> None:
    values = 1e9 + np.linspace(-10, 10, 500)  # a counter: float32 alone would lose all of it
    if kind != "f64":
        values[7] = np.nan
    back = unpack(packed.block(values, kind))
    np.testing.assert_allclose(back, values, rtol=0, atol=worst or 0)


@pytest.mark.parametrize("kind", ["f32", "u16", "u8"])
@pytest.mark.parametrize("values", [np.full(9, np.nan), np.full(9, 4.0), np.array([1e300, -1e300, 0.0])])
def test_odd_columns_are_embedded_without_a_warning(kind: str, values: NDArray[np.float64]) -> None:
    assert len(unpack(packed.block(values, kind))) == len(values)


def test_a_hundred_thousand_rows_of_ten_sensors_travel_in_full_below_fifteen_megabytes() -> None:
    report = demo(100_000, tuple(f"sensor {i}" for i in range(10)))
    payload = rep._payload(report, range(10))
    assert "rows" not in payload["sensors"][0]
    assert len(unpack(payload["times"])) == 100_001
    assert len(rep.html(report)) < 15_000_000


def test_longer_records_are_thinned_to_a_bounded_size_with_their_extremes_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "CELLS", 8_000)
    report = demo(6_000)
    page, sensor = rep.html(report), rep._payload(report, range(4))["sensors"][1]
    assert len(unpack(sensor["rows"])) <= 2_000
    assert np.nanmax(unpack(sensor["seen"])) == pytest.approx(9, abs=1e-6)
    assert "thinned to keep this page small" in page


# ---- the file


def test_the_file_asks_for_nothing_and_forbids_asking() -> None:
    page = rep.html(demo())
    head, body = page[: page.index("</head>")], page[page.index("<body>") : page.index("<script")]
    assert "default-src 'none'" in head
    assert head.count("sha256-") == 2
    assert not any(word in head + body for word in ("http:", "https:", "src=", "href=", "url(", "@import"))


def test_names_are_text_in_html_and_in_the_embedded_data() -> None:
    page = rep.html(replace(demo(600, HOSTILE), title="<script>window.taken = 'title'</script>"))
    assert "<script>window" not in page
    assert "</script><script>window" not in page
    assert "&lt;script&gt;window.taken" in page
    assert "\\u003cscript>window.taken" in page


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_missing_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (package, "plotly.offline") if package == "plotly" else (package,):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"the package {package} .*\n.*extra 'report'"):
        rep.html(demo(600))


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    report = demo(600)
    with pytest.raises(DataError, match=r"expected has shape \(600, 3\)\n.*\(600, 4\)"):
        rep.html(replace(report, seen=replace(report.seen, expected=np.zeros((600, 3)))))


def test_a_bare_report_of_two_rows_is_a_page() -> None:
    seen = rep.Seen(times=np.array([0, 10**9]), channels=["x"], values=np.zeros((2, 1)), score=np.zeros(2), clock=False)
    budget = rep.Budget(threshold=math.inf, asked=1 / WEEK, kept=1 / WEEK)
    assert "No alarm in 1 s of data" in rep.html(rep.Report(title="x", generated="now", seen=seen, budget=budget))
    short = rep.Seen(times=np.zeros(1, np.int64), channels=["x"], values=np.zeros((1, 1)), score=np.zeros(1))
    with pytest.raises(DataError, match="a report of 1 rows"):
        rep.html(rep.Report(title="x", generated="now", seen=short, budget=budget))


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "report.html"
    frame.write(old, rep.html(demo(600)))
    before = old.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingError, match="No space left"):
        frame.write(old, rep.html(demo(700)))
    assert old.read_text() == before
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_is_not_there_is_a_named_refusal(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot write it: No such file"):
        frame.write(tmp_path / "nowhere" / "report.html", rep.html(demo(600)))


# ---- in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    import browser

    browser.need()
    with browser.started() as running:
        yield running


@pytest.fixture(scope="module")
def desk(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """The demo on a desk: light, 1200 pixels wide."""
    import browser

    file = tmp_path_factory.mktemp("report") / "desk.html"
    frame.write(file, rep.html(demo()))
    with browser.visit(chromium, file) as visit:
        yield visit


@pytest.fixture(scope="module")
def phone(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """Sensors with hostile names on a phone: dark, 390 pixels wide, no clock."""
    import browser

    file = tmp_path_factory.mktemp("report") / "phone.html"
    frame.write(file, rep.html(demo(600, HOSTILE, clock=False)))
    with browser.visit(chromium, file, width=390, height=844, dark=True) as visit:
        yield visit


def shown(visit: Visit) -> tuple[float, float]:
    """The stretch in view as shares of the whole record."""
    low, high = visit.page.evaluate("view.map((x) => (x - whole[0]) / (whole[1] - whole[0]))")
    return low, high


def test_every_chart_is_drawn_and_the_console_stays_silent(desk: Visit) -> None:
    page = desk.page
    charts = {
        "#record .scatterlayer .trace": 10,  # the score; of three sensors what was seen, expected and the band
        "#record .heatmaplayer image": 1,
        "#record .shapelayer path": 6,  # two alarms, three events, the threshold
        "#losses .scatterlayer path.js-line": 2,
        "#checks .scatterlayer .point": 3,
    }
    assert {selector: page.locator(selector).count() for selector in charts} == charts
    assert desk.complaints == []
    assert not page.locator("#problem").is_visible()


def test_nothing_is_asked_of_the_network(desk: Visit, phone: Visit) -> None:
    for visit in (desk, phone):
        assert len(visit.asked) == 1
        assert visit.asked[0].startswith("file://")


def test_the_whole_record_is_drawn_with_few_points_and_its_spike_of_one_row(desk: Visit) -> None:
    desk.page.evaluate("choose([data.sensors.findIndex((s) => s.name === 'inlet pressure')]); show(...whole)")
    drawn = desk.page.evaluate("show(...whole).then(() => record.data.at(-1).y)")
    assert len(drawn) < 6_000
    assert max(value for value in drawn if value is not None) == pytest.approx(9, abs=1e-5)


def test_the_page_keeps_every_row_that_python_keeps(desk: Visit) -> None:
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.integers(1, 9, 3_000)).astype(float)
    values = np.where(rng.random(3_000) < 0.3, np.nan, rng.integers(-99, 99, 3_000))
    values[700:1_100] = np.nan
    texts = [None if math.isnan(value) else value for value in values]
    width = (times[-1] - times[0]) / 40
    rule = "([t, y, width]) => worth(t, y.map((v) => v ?? NaN), 0, t.length, width)"
    assert set(packed.downsample(times, values, 201)) <= set(desk.page.evaluate(rule, [times.tolist(), texts, width]))


def test_zooming_in_shows_every_row(desk: Visit) -> None:
    rows = desk.page.evaluate("show(times[1000], times[1400]).then(() => record.data.at(-1).x)")
    assert sum(START / 1e6 + 1_000_000 <= x <= START / 1e6 + 1_400_000 for x in rows) == 401


def test_dragging_zooms_and_a_double_click_shows_all(desk: Visit) -> None:
    page = desk.page
    page.evaluate("show(...whole)")
    page.locator("#record").scroll_into_view_if_needed()
    plot = page.locator("#record .nsewdrag").first.bounding_box()
    assert plot is not None
    left, middle = plot["x"] + plot["width"] * 0.4, plot["y"] + plot["height"] / 2
    page.mouse.move(left, middle)
    page.mouse.down()
    page.mouse.move(left + plot["width"] * 0.2, middle, steps=4)
    page.mouse.up()
    desk.until("view[1] - view[0] < 0.3 * (whole[1] - whole[0])")
    assert shown(desk) == pytest.approx((0.4, 0.6), abs=0.02)
    page.mouse.dblclick(left, middle)
    desk.until("view[1] - view[0] === whole[1] - whole[0]")


def test_a_click_on_an_alarm_looks_at_it_with_its_sensor(desk: Visit) -> None:
    desk.page.click("tr[data-alarm='1']")
    desk.until("view[1] - view[0] < 0.3 * (whole[1] - whole[0])")
    start, end = desk.page.evaluate("data.alarms[1].slice(0, 2)")
    low, high = desk.page.evaluate("view")
    assert low < start
    assert end < high
    pressed = desk.page.locator("#sensors button[aria-pressed=true]").all_text_contents()
    assert "outlet pressure" in {name[: len("outlet pressure")] for name in pressed}


def test_buttons_and_keys_move_the_view(desk: Visit) -> None:
    page = desk.page
    for move, wanted in {"all": (0, 1), "in": (0.25, 0.75), "later": (0.5, 1)}.items():
        page.click(f"[data-move={move}]")
        assert shown(desk) == pytest.approx(wanted, abs=1e-6)
    page.focus("#record")
    page.keyboard.press("ArrowLeft")
    assert shown(desk) == pytest.approx((0.25, 0.75), abs=1e-6)


def test_a_click_adds_a_sensor_and_takes_it_away(desk: Visit) -> None:
    page, counted = desk.page, "Object.keys(record.layout).filter((k) => k.startsWith('yaxis')).length"
    page.evaluate("choose([0]); draw()")
    desk.until(f"{counted} === 3")  # score, blame, one sensor
    page.click("#sensors button:nth-child(4)")
    desk.until(f"{counted} === 4")
    page.click("#sensors button:nth-child(4)")
    desk.until(f"{counted} === 3")


def test_the_toggle_changes_page_and_charts(desk: Visit) -> None:
    page = desk.page
    colours = "[css('paper'), record.layout.xaxis.gridcolor, $('losses').layout.font.color]"
    before = page.evaluate(colours)
    page.click("#theme")
    desk.until(f"{colours}.every((colour, i) => colour !== {before}[i])")
    page.click("#theme")
    desk.until(f"{colours}.every((colour, i) => colour === {before}[i])")


def test_a_dark_system_gets_a_dark_page(phone: Visit) -> None:
    red, green, blue = phone.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(red, green, blue) < 60
    assert phone.page.inner_text("#theme") == "Light"


def test_hostile_names_are_shown_and_never_run(phone: Visit) -> None:
    phone.page.evaluate("choose([0, 1, 2, 3]); draw()")
    phone.until("record.data.length >= 14")
    assert phone.page.evaluate("window.taken") is None
    assert phone.complaints == []
    titles = phone.page.locator("#record .annotation").all_text_contents()
    assert "<b>bold</b>&amp;" in titles
    assert any(title.startswith("<script>window.taken") for title in titles)


def test_a_phone_never_scrolls_sideways(phone: Visit) -> None:
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390


def test_paper_gets_light_charts_that_fit_and_the_screen_gets_its_own_back(desk: Visit) -> None:
    page = desk.page
    wide, grid = page.evaluate("[record.layout.width, record.layout.xaxis.gridcolor]")
    page.evaluate("theme('dark').then(() => dispatchEvent(new Event('beforeprint')))")
    desk.until("record.layout.width === 680")
    assert page.evaluate("record.layout.xaxis.gridcolor") == grid
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    desk.until(f"record.layout.width === {wide} && isDark()")
    page.evaluate("theme('light')")
