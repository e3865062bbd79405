"""The command line as a user meets it: what it prints where, what it writes, how it fails; and nothing is half done."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest
from shell import commands, files, frame, tidegate

import tidegate as tg
from tidegate import demo, fits, outputs, settings, terminal
from tidegate.series import SECOND, Series, instant
from tidegate.tasks.anomaly import METHODS
from tidegate.tasks.expect import WIDTHS
from tidegate.tasks.verbs import CELLS

DOCS = Path(__file__).parents[1] / "docs" / "cli.md"
NOBODY = 65_534
HEAVY = ("numpy", "torch", "polars", "rich", "msgspec", "plotly", "sklearn")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small size, made much smaller."""
    monkeypatch.setitem(settings.SIZES, "small", (tg.Network(hidden=4), tg.Training(epochs=2, batches=2, batch=4)))


@pytest.fixture
def quick(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, and how well it does is not measured."""
    monkeypatch.setattr(fits, "_held_out", lambda detector, series: None)


@pytest.fixture(scope="session")
def normal() -> Series:
    """What a healthy machine read, once a minute."""
    return tg.synth.machine(rows=1_500, channels=3, seed=0)[:1_300]


@pytest.fixture(scope="session")
def later() -> Series:
    """What it read after that."""
    return tg.synth.machine(rows=1_500, channels=3, seed=0)[1_300:]


@pytest.fixture(scope="session")
def trained(normal: Series) -> tg.AnomalyDetector:
    """A detector that knows a little."""
    pytest.importorskip("torch")
    training = tg.Training(epochs=4, batches=10)
    return tg.AnomalyDetector(network=tg.Network(hidden=8), training=training, false_alarms="1/hour").fit(normal)


@pytest.fixture(scope="session")
def stranger(normal: Series) -> tg.AnomalyDetector:
    """Another detector for the same machine."""
    pytest.importorskip("torch")
    training = tg.Training(epochs=1, batches=2, batch=4)
    return tg.AnomalyDetector(network=tg.Network(hidden=8), training=training, seed=1).fit(normal)


@pytest.fixture
def history(normal: Series, tmp_path: Path) -> Path:
    """A file of normal running."""
    frame(normal).write_csv(tmp_path / "history.csv")
    return tmp_path / "history.csv"


@pytest.fixture
def today(later: Series, tmp_path: Path) -> Path:
    """A file of later running, in which nothing is wrong."""
    frame(later).write_csv(tmp_path / "today.csv")
    return tmp_path / "today.csv"


@pytest.fixture
def broken(later: Series, tmp_path: Path) -> Path:
    """The same with a fault in s1 in its rows 100 to 139, and a column that marks it."""
    planted = tg.synth.plant(later, "level", 100, 40, channels=("s1",), size=12.0)
    frame(planted).with_columns(pl.Series("bad", planted.labels)).write_csv(tmp_path / "broken.csv")
    return tmp_path / "broken.csv"


@pytest.fixture
def model(trained: tg.AnomalyDetector, tmp_path: Path) -> Path:
    """A model file."""
    trained.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


# ---- help, versions, usage -------------------------------------------------------------------------------------------


def test_no_help_imports_anything_heavy() -> None:
    calls = [list(words) for words, _ in commands()]
    code = f"""
import sys
from tidegate.cli import main
for words in {[[], *calls]!r}:
    main([*words, "--help"], standalone_mode=False)
print("heavy:", *(name for name in {HEAVY!r} if name in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "heavy:"


def test_it_runs_as_a_module_too() -> None:
    ran = subprocess.run([sys.executable, "-m", "tidegate", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"tidegate, version {tg.__version__}\n"


def test_help_leads_with_an_example_of_the_command() -> None:
    for words, _ in commands():
        shown = tidegate(*words, "--help").stdout
        assert f"  tidegate {' '.join(words)}" in shown.split("Options:")[0], words
        assert shown.index("    tidegate") < 300, words


def test_every_command_and_option_is_in_the_docs_and_says_what_it_is_for() -> None:
    told = DOCS.read_text()
    for words, command in commands():
        assert f"tidegate {' '.join(words)}" in told, words
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (words, option.name)
                assert f"`{option.opts[-1]}" in told, (words, option.opts)


def test_the_choices_are_those_of_the_library() -> None:
    fit = dict(commands())["fit", "anomaly"]
    choices = {o.name: tuple(o.type.choices) for o in fit.params if isinstance(o.type, click.Choice)}
    assert set(choices["size"]) == set(settings.SIZES)
    assert set(choices["cell"]) == set(CELLS)
    assert set(choices["method"]) == set(METHODS)
    assert set(choices["form"]) == set(WIDTHS)


def test_the_version_is_that_of_the_package() -> None:
    assert tidegate("--version").stdout == f"tidegate, version {tg.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["aply"], "Did you mean 'apply'?"),
        (["fit", "a.csv"], "Give one of anomaly, forecast, complete, classify, tag."),
        (["fit", "anomaly", "a.csv", "-o", "m", "--channels", "a,b", "--ignore", "b"], "both name b"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--report", "m.pdf"], "end its name with .html or .htm"),
        (["apply", "m", "a.csv", "--report", "m"], "end its name with .html or .htm"),
        (["fit", "anomaly", "a.csv", "-o", "m.html", "--report", "./m.html"], "two different things"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--checkpoint", "m"], "two different things"),
        (["apply", "m", "a.csv", "-o", "x.csv", "--state", "x.csv"], "two different things"),
        (["apply", "m", "a.csv", "--state", "x.html", "--report", "x.html"], "two different things"),
        (["apply", "m", "a.csv", "--quantiles", "0.9,0.1,0.10"], "write each number once"),
        (["fit", "anomali"], "Did you mean 'anomaly'?"),
        (["fit", "anomaly", "a.csv"], "Missing option '-o'"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--sise", "small"], "--size"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--size", "huge"], "'small', 'medium', 'large'"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--false-alarms", "weekly"], "not a budget of alarms"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--exclude", "2024-01-01"], "write START..END"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--exclude", "2024-02-30..2024-03-01"], "cannot read '2024-02-30'"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--until", "yesterday"], "cannot read 'yesterday'"),
        (["fit", "anomaly", "a.csv", "-o", "m", "--resume"], "give --checkpoint FILE too"),
        (["fit", "anomaly", "a.csv", "-o", "."], "is a folder"),
        (["apply", "m", "a.csv", "-o", "out.xlsx"], ".csv, .parquet, .jsonl"),
        (["apply", "m", "a.csv", "-o", "-", "--json"], "both write to stdout"),
        (["evaluate", "m", "a.csv", "--labels", "x", "--events", "y"], "give one of them"),
        (["record", "host", "-o", "x.csv", "--for", "ages"], "not a span of time"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_would_be_right(words: list[str], said: str) -> None:
    result = tidegate(*words, code=2)
    assert said in result.stderr
    assert result.stdout == ""


def test_advice_is_given_as_options_of_the_command() -> None:
    known = ["channels", "labels", "encoding", "time"]
    assert terminal.as_options('do: layout=Layout(encoding="latin-1"), say', known) == "do: --encoding latin-1, say"
    assert terminal.as_options("wanted: time='a b', or id=\"x\"", known) == "wanted: --time 'a b', or id=\"x\""
    assert terminal.as_options('do: id="..."', ["sequence"]) == "do: --sequence ..."
    assert terminal.as_options("do: leave calendar=True out", ["calendar"]) == "do: leave --calendar out"
    assert terminal.as_options("wanted: ahead=: the next 12 rows", ["ahead"]) == "wanted: --ahead: the next 12 rows"
    assert terminal.as_options("ahead= says nothing of it", ["ahead"]) == "--ahead says nothing of it"
    assert terminal.as_options('do: use Tagger(target="label")', ["target"]) == "do: use --target label"
    assert terminal.as_options("do: missing='n/a (x)'", ["missing"]) == "do: --missing 'n/a (x)'"
    assert (
        terminal.as_options("do: give ignore=(\"it's\", 'b c')", ["ignore"]) == """do: give --ignore 'it'"'"'s,b c'"""
    )


def test_what_is_said_otherwise_on_the_command_line_is_still_said_by_the_library() -> None:
    package = Path(terminal.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py") if path.name != "terminal.py"]
    for python, words in terminal.SPOKEN.items():
        assert any(python in text for text in texts), python
        assert terminal.as_options(f"do: give more{python}", []) == f"do: give more{words}"


# ---- the main job ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_fit_writes_a_model_and_says_what_it_learned_from_on_stderr(history: Path, tmp_path: Path) -> None:
    result = tidegate("fit", "anomaly", history, "-o", tmp_path / "m.safetensors")
    assert result.stdout == ""
    for said in (
        "1,300 of 1,300 rows x 3 channels, every 1 min",
        "train ",
        "calibrate ",
        "2 epochs",
        "budget: ",
        "m.safetensors",
        "last_value",
        "network",
    ):
        assert said in result.stderr
    assert tg.load(tmp_path / "m.safetensors").channels_ == ("s0", "s1", "s2")


@pytest.mark.usefixtures("small")
def test_fit_tells_the_same_as_json_on_stdout(history: Path, tmp_path: Path) -> None:
    words = ["--seed", 3, "--cell", "lstm", "--method", "prediction", "--false-alarms", "2/day", "--channels", "s2,s0"]
    told = json.loads(tidegate("fit", "anomaly", history, "-o", tmp_path / "m.safetensors", *words, "--json").stdout)
    assert told["channels"] == ["s2", "s0"]
    assert told["budget"]["asked"] == "2 false alarms per day"
    assert told["network"].startswith("lstm, 1 layer of 4 units")
    assert (told["seed"], told["method"]) == (3, "prediction, streaming")
    assert {"network", "level", "pca", "last_value"} <= told["held_out"]["methods"].keys()


@pytest.mark.usefixtures("quick")
def test_the_same_seed_gives_the_same_file(history: Path, tmp_path: Path) -> None:
    made = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in made:
        tidegate("fit", "anomaly", history, "-o", path, "--seed", 5)
    first, second = (tg.load(path).model_.weights for path in made)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("quick")
def test_history_that_is_known_to_be_bad_is_left_out(normal: Series, history: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    assert (
        "1,240 of 1,300"
        in tidegate("fit", "anomaly", history, "-o", out, "--exclude", "2024-01-01T01:00..2024-01-01T02:00").stderr
    )
    assert (
        "1,240 of 1,300"
        in tidegate("fit", "anomaly", history, "-o", out, "--exclude", "60..90", "--exclude", "90..120").stderr
    )
    bad = np.zeros(len(normal), dtype=int)
    bad[60:120] = 1
    frame(normal).with_columns(pl.Series("bad", bad)).write_csv(history)
    result = tidegate("fit", "anomaly", history, "-o", out, "--labels", "bad")
    assert "1,240 of 1,300" in result.stderr
    assert tg.load(out).channels_ == ("s0", "s1", "s2")


@pytest.mark.usefixtures("quick")
def test_a_part_of_the_file_can_be_taken_and_a_column_ignored(history: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    words = ["--from", "2024-01-01T00:50", "--until", "650", "--ignore", "s1"]
    assert "600 of 600" in tidegate("fit", "anomaly", history, "-o", out, *words).stderr
    assert tg.load(out).channels_ == ("s0", "s2")
    assert "no column named s9" in tidegate("fit", "anomaly", history, "-o", out, "--ignore", "s9", code=1).stderr


@pytest.mark.usefixtures("quick")
def test_what_is_noticed_is_of_the_part_that_was_taken(model: Path, history: Path, tmp_path: Path) -> None:
    table = pl.read_csv(history).with_columns(s0=pl.when(pl.int_range(1_300) >= 650).then("s0"))
    table.write_csv(history)
    out = tmp_path / "m.safetensors"
    words = {
        "fit": ["fit", "anomaly", history, "-o", out],
        "apply": ["apply", model, history],
        "evaluate": ["evaluate", model, history],
    }
    for verb, first in words.items():
        assert "16.7 % of the values are missing" in tidegate(*first).stderr, verb
        assert "missing" not in tidegate(*first, "--from", 650).stderr, verb
        assert "33.3 % of the values are missing" in tidegate(*words["apply"], "--until", 650).stderr, verb
    assert not any("missing" in note for note in tg.load(out).notes_)


@pytest.mark.usefixtures("quick")
def test_an_interval_that_contradicts_the_times_is_refused(history: Path, tmp_path: Path) -> None:
    refused = tidegate("fit", "anomaly", history, "-o", tmp_path / "m", "--interval", "5min", code=1).stderr
    assert "an interval of 5 min, and times of which most are 1 min apart" in refused
    assert "leave --interval out" in refused


@pytest.mark.usefixtures("quick")
def test_training_goes_on_from_its_checkpoint(history: Path, tmp_path: Path) -> None:
    out, point = tmp_path / "m.safetensors", tmp_path / "point"
    tidegate("fit", "anomaly", history, "-o", out, "--checkpoint", point)
    whole = out.read_bytes()
    tidegate("fit", "anomaly", history, "-o", out, "--checkpoint", point, "--resume")
    assert tg.load(out).history_[0].seconds >= 0
    assert out.read_bytes() == whole  # the epochs' seconds too: nothing was trained again
    other = tidegate("fit", "anomaly", history, "-o", out, "--checkpoint", point, "--resume", "--seed", 9, code=1)
    assert "checkpoint is of another run" in other.stderr
    assert out.read_bytes() == whole


def test_a_database_is_read_by_url_and_query(
    trained: tg.AnomalyDetector, later: Series, model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sqlalchemy")
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "plant.db")) as link:
        link.execute("create table pump (time text, s0 real, s1 real, s2 real)")
        link.executemany("insert into pump values (?, ?, ?, ?)", frame(later).rows())
        link.commit()
    told = tidegate("apply", model, f"sqlite:///{tmp_path}/plant.db", "--query", "select * from pump", "--json").stdout
    assert json.loads(told)["rows"] == len(later)


def test_apply_writes_a_row_for_each_row_in_every_form(
    trained: tg.AnomalyDetector, later: Series, model: Path, today: Path
) -> None:
    expected = trained.apply(later)
    out = [today.with_name(name) for name in ("a.csv", "a.parquet", "a.jsonl")]
    for path in out:
        assert tidegate("apply", model, today, "-o", path).stdout == ""
    tables = [pl.read_csv(out[0], try_parse_dates=True), pl.read_parquet(out[1]), pl.read_ndjson(out[2])]
    for table in tables:
        assert table.columns == [
            "time",
            "score",
            "score_fast",
            "p_value",
            "bar",
            "alarm",
            "open",
            "reason",
            "blame s0",
            "blame s1",
            "blame s2",
        ]
        assert table["score"].null_count() == int(np.isnan(expected.score).sum()) > 0
        np.testing.assert_array_equal(table["score"].fill_null(np.nan).to_numpy(), expected.score)
    assert tables[0]["time"].dt.epoch("ns").to_list() == later.times.tolist()


def test_apply_to_stdout_prints_csv_and_nothing_else(model: Path, today: Path) -> None:
    tidegate("apply", model, today, "-o", today.with_name("a.csv"))
    result = tidegate("apply", model, today, "-o", "-")
    assert result.stdout == today.with_name("a.csv").read_text()
    assert "200 rows" in result.stderr


def test_a_state_carries_a_stream_from_one_call_to_the_next(model: Path, broken: Path, later: Series) -> None:
    state, out = broken.with_name("s.state"), [broken.with_name(f"{name}.csv") for name in ("whole", "first", "second")]
    tidegate("apply", model, broken, "-o", out[0])
    tidegate("apply", model, broken, "--until", 120, "-o", out[1], "--state", state)
    tidegate("apply", model, broken, "--from", 120, "-o", out[2], "--state", state)
    head, *rows = out[0].read_text().splitlines()
    assert out[1].read_text().splitlines() == [head, *rows[:120]]
    assert out[2].read_text().splitlines() == [head, *rows[120:]]


def test_a_fault_is_told_with_its_time_and_channel_and_can_fail_the_command(
    model: Path, broken: Path, later: Series
) -> None:
    result = tidegate("apply", model, broken, "--json", "--fail-on-anomaly", code=terminal.ANOMALY)
    alarm = next(a for a in json.loads(result.stdout)["alarms"] if a["last_row"] >= 100)
    assert instant(alarm["start"]) == later.times[alarm["first_row"]]
    assert alarm["channels"][0] == "s1"
    assert f"{alarm['start'][:10]} {alarm['start'][11:19]} to " in result.stderr
    tidegate("apply", model, broken, "--until", 40, "--fail-on-anomaly")


def test_a_looser_budget_can_be_asked_for_when_applying(model: Path, today: Path) -> None:
    values = [
        json.loads(tidegate("apply", model, today, "--json", *b).stdout)["threshold"]
        for b in ((), ("--false-alarms", "30/h"))
    ]
    assert values[0]["asked"] < values[1]["asked"]
    assert values[0]["value"] >= values[1]["value"]


@pytest.mark.usefixtures("quick")
def test_an_interval_that_nobody_gave_is_said(model: Path, history: Path, tmp_path: Path) -> None:
    pl.read_csv(history).drop("time").write_csv(history)
    words = ["fit", "anomaly", history, "-o", tmp_path / "m.safetensors"]
    result = tidegate(*words)
    assert "every 1 s" in result.stderr
    assert "rows count as 1 s apart: --interval 5min (say) gives their real interval" in result.stderr
    assert "count as" not in tidegate(*words, "--interval", "1min").stderr
    assert "count as" not in tidegate("apply", model, history).stderr  # the model's


def test_the_budget_is_called_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from tidegate import tellers
    from tidegate.calibrate import Threshold

    for kept, said in ((1e-6, "as asked"), (2e-6, "the least that can be kept"), (5e-7, "fewer than asked for")):
        tellers.say_budget(Threshold(1.0, 1e-6, kept))
        assert said in capsys.readouterr().err


def test_the_budget_in_json_has_its_unit(model: Path, today: Path) -> None:
    told = json.loads(tidegate("apply", model, today, "--json").stdout)["threshold"]
    assert told["asked"] == pytest.approx(1 / 3600)
    assert told["unit"] == "false alarms a second, of asked and kept"


@pytest.mark.usefixtures("quick")
def test_a_fit_that_is_interrupted_keeps_its_best_and_ends_with_a_code_of_its_own(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    @contextmanager
    def pressed(what: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
        yield lambda done, note: os.kill(os.getpid(), signal.SIGINT)

    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, found))
    before = signal.getsignal(signal.SIGINT)
    out = tmp_path / "m.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(fits, "progress", pressed)
        result = tidegate("fit", "anomaly", history, "-o", out, "--json", code=terminal.INTERRUPTED)
    assert result.stderr.splitlines()[-1].startswith(f"interrupted: {out} holds the best so far")
    assert json.loads(result.stdout)["interrupted"] is True
    assert len(tg.load(out).history_) == 1
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted: " not in tidegate("fit", "anomaly", history, "-o", out).stderr


def test_each_note_has_a_line_of_its_own(trained: tg.AnomalyDetector, tmp_path: Path) -> None:
    trained.save(tmp_path / "m")
    noted = tg.load(tmp_path / "m")
    noted.notes_ = ["one, with a comma", "another"]
    noted.save(tmp_path / "m")
    assert "notes        one, with a comma\n             another\n" in tidegate("info", tmp_path / "m").stdout


def test_rows_without_a_clock_are_numbered(model: Path, today: Path) -> None:
    pl.read_csv(today).drop("time").write_csv(today)
    tidegate("apply", model, today, "-o", today.with_name("a.csv"))
    assert pl.read_csv(today.with_name("a.csv"))["row"].to_list() == list(range(200))


def test_apply_and_info_never_import_torch(model: Path, today: Path) -> None:
    code = f"""
import sys
from tidegate.cli import main
main(["apply", {str(model)!r}, {str(today)!r}, "-o", {str(today) + ".parquet"!r}], standalone_mode=False)
main(["info", {str(model)!r}], standalone_mode=False)
main(["info"], standalone_mode=False)
print("torch" in sys.modules, "sklearn" in sys.modules, "plotly" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False False False"


def test_a_report_is_one_html_file(model: Path, broken: Path) -> None:
    pytest.importorskip("plotly")
    page = broken.with_name("page.html")
    assert f"report: {page}" in tidegate("apply", model, broken, "--report", page).stderr
    assert page.read_text().startswith("<!doctype html>")


def test_evaluate_puts_baselines_beside_by_labels_or_by_events(model: Path, broken: Path, later: Series) -> None:
    by_labels = json.loads(tidegate("evaluate", model, broken, "--labels", "bad", "--json").stdout)
    spans = broken.with_name("events.csv")
    first, last = (datetime.fromtimestamp(later.times[row] / SECOND, UTC).isoformat() for row in (100, 140))
    spans.write_text(f"start,end\n{first},{last}\n1999-01-01,1999-01-02\n")
    result = tidegate("evaluate", model, broken, "--events", spans, "--json")
    assert json.loads(result.stdout) == by_labels
    assert "1 of 2 events lie outside the data" in result.stderr
    assert by_labels["methods"]["network"]["AUROC"] > 0.9
    table = tidegate("evaluate", model, broken, "--labels", "bad").stdout
    assert by_labels["verdict"] in table
    assert "AUROC" in table


def test_evaluate_checks_the_split_where_the_history_is_given(
    model: Path, broken: Path, normal: Series, tmp_path: Path
) -> None:
    frame(normal).write_csv(tmp_path / "history.csv")
    clean = tidegate("evaluate", model, broken, "--labels", "bad", "--history", tmp_path / "history.csv")
    assert "no leak between the history and this data" in clean.stderr
    leaky = tidegate("evaluate", model, tmp_path / "history.csv", "--history", tmp_path / "history.csv")
    assert "have the times of training rows" in leaky.stderr


def test_evaluate_without_labels_says_how_often_each_rule_alarms(model: Path, today: Path) -> None:
    told = json.loads(tidegate("evaluate", model, today, "--json").stdout)
    assert "alarms" in told["methods"]["level"]


@pytest.mark.usefixtures("quick")
def test_labels_that_are_no_labels_are_refused(model: Path, broken: Path) -> None:
    table = pl.read_csv(broken).with_columns(coded=pl.col("bad") + 1)
    table.write_csv(broken)
    for label, said in (("s0", "neither 0 nor 1: "), ("coded", "neither 0 nor 1: 2")):
        words = {
            "fit": ["fit", "anomaly", broken, "-o", broken.with_name("m"), "--ignore", "bad,coded"],
            "evaluate": ["evaluate", model, broken],
        }
        for first in words.values():
            assert said in tidegate(*first, "--labels", label, code=1).stderr
    table.with_columns(bad=pl.col("bad") == 1).write_csv(broken)  # true and false are labels
    assert "1 known event" in tidegate("evaluate", model, broken, "--labels", "bad").stdout


@pytest.mark.usefixtures("quick")
def test_rows_without_a_label_count_as_normal_and_it_is_said(model: Path, broken: Path) -> None:
    table = pl.read_csv(broken).with_columns(bad=pl.when(pl.int_range(200) >= 30).then("bad"))
    table.write_csv(broken)
    said = "30 rows without a label, counted as normal"
    assert said in tidegate("evaluate", model, broken, "--labels", "bad").stderr
    out = broken.with_name("m.safetensors")
    assert said in tidegate("fit", "anomaly", broken, "-o", out, "--labels", "bad").stderr
    assert said in tg.load(out).notes_


def test_that_a_model_is_judged_on_what_it_learned_from_is_said(model: Path, history: Path, today: Path) -> None:
    seen = tidegate("evaluate", model, history, "--from", 1_000).stderr
    assert "300 of 300 rows from the time that the model learned from, 2024-01-01 00:00:00 to" in seen
    assert "learned from" not in tidegate("evaluate", model, today).stderr


def test_labels_that_are_text_are_refused_with_what_they_say(model: Path, broken: Path) -> None:
    table = pl.read_csv(broken)
    table.with_columns(pl.when(pl.col("bad") == 1).then(pl.lit("bad")).otherwise(pl.lit("ok")).alias("bad")).write_csv(
        broken
    )
    assert "'bad', 'ok'" in tidegate("evaluate", model, broken, "--labels", "bad", code=1).stderr


def test_events_that_cannot_be_are_refused(model: Path, broken: Path) -> None:
    spans = broken.with_name("events.csv")
    spans.write_text("start,end\n2024-01-01T13:00,2024-01-01T12:00\n")
    assert "line 2: an event from" in tidegate("evaluate", model, broken, "--events", spans, code=1).stderr
    spans.write_text("start,end\n1999-01-01,1999-01-02\n")
    assert "no event lies in the data" in tidegate("evaluate", model, broken, "--events", spans, code=1).stderr


def test_a_date_and_a_time_of_day_in_two_columns(model: Path, later: Series, tmp_path: Path) -> None:
    whole = frame(later)
    parts = whole["time"].cast(pl.String).str.replace("T", " ").str.split(" ")
    split = whole.drop("time").with_columns(day=parts.list.get(0), clock=parts.list.get(1).str.slice(0, 8))
    split.write_csv(tmp_path / "two.csv")
    told = tidegate("apply", model, tmp_path / "two.csv", "--time", "day,clock", "--json").stdout
    assert json.loads(told)["rows"] == len(later)
    refused = tidegate("apply", model, tmp_path / "two.csv", "--time", "day", code=1).stderr
    assert "--time DATE,TIME" in refused


def test_events_need_a_start_and_an_end(model: Path, today: Path) -> None:
    today.with_name("e.csv").write_text("from,to\n1,2\n")
    assert "columns from, to" in tidegate("evaluate", model, today, "--events", today.with_name("e.csv"), code=1).stderr


def test_info_says_what_a_model_holds_and_what_is_installed(model: Path) -> None:
    assert "s0, s1, s2" in tidegate("info", model).stdout
    assert json.loads(tidegate("info", model, "--json").stdout)["channels"] == ["s0", "s1", "s2"]
    here = json.loads(tidegate("info", "--json").stdout)
    assert here["tidegate"] == tg.__version__
    assert any("NumPy" in backend for backend in here["runs on"])


def test_every_extra_that_a_message_names_can_be_installed_and_brings_the_package() -> None:
    extras = tomllib.loads((DOCS.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in outputs.EXTRAS.items():
        assert any(want.startswith(package + ">") for want in extras[extra])


def test_the_host_is_recorded_to_a_new_file(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    out = tmp_path / "here.csv"
    told = json.loads(tidegate("record", "host", "-o", out, "--for", "200ms", "--interval", "50ms", "--json").stdout)
    assert told["rows"] == len(pl.read_csv(out)) >= 2
    assert "exists" in tidegate("record", "host", "-o", out, "--for", "100ms", code=1).stderr


# ---- nothing half done -----------------------------------------------------------------------------------------------


@contextmanager
def full_disk(room: int = 2_000) -> Iterator[None]:
    """No file can grow beyond `room` bytes: what a full disk does to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Another user, who may enter the folder but not write to it."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    parents = [folder, *folder.parents]
    modes = {parent: parent.stat().st_mode for parent in parents}
    for parent in parents:
        parent.chmod(modes[parent] | 0o055 if parent == folder else modes[parent] | 0o011)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent in parents:
            parent.chmod(modes[parent] & 0o7777)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_on_a_full_disk_the_old_scores_stay(model: Path, today: Path, form: str) -> None:
    out = today.with_name(f"a.{form}")
    out.write_text("old")
    before = files(today.parent)
    with full_disk():
        result = tidegate("apply", model, today, "-o", out, code=1)
    assert "free space" in result.stderr
    assert out.read_text() == "old"
    assert files(today.parent) == before


@pytest.mark.usefixtures("quick")
def test_on_a_full_disk_the_old_model_stays(history: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    out.write_text("old")
    with full_disk():
        result = tidegate("fit", "anomaly", history, "-o", out, code=1)
    assert "File too large" in result.stderr
    assert out.read_text() == "old"
    assert files(tmp_path) == {"m.safetensors", "history.csv"}


def test_a_folder_that_may_not_be_written_to_is_refused_before_any_work(
    model: Path, today: Path, tmp_path: Path
) -> None:
    before = files(tmp_path)
    with as_nobody(tmp_path):
        applied = tidegate("apply", model, today, "-o", tmp_path / "a.csv", code=1)
        fitted = tidegate("fit", "anomaly", today, "-o", tmp_path / "m.safetensors", code=1)
    for result in (applied, fitted):
        assert f"you may not write to {tmp_path}" in result.stderr
    assert files(tmp_path) == before


def test_a_write_protected_file_is_not_replaced(model: Path, today: Path, tmp_path: Path) -> None:
    out = tmp_path / "anyone" / "a.csv"
    out.parent.mkdir()
    out.parent.chmod(0o777)
    out.write_text("old")
    out.chmod(0o444)
    with as_nobody(tmp_path):
        assert "write-protected" in tidegate("apply", model, today, "-o", out, code=1).stderr
    assert out.read_text() == "old"


def test_data_that_may_not_be_read_is_refused(model: Path, today: Path, tmp_path: Path) -> None:
    today.chmod(0)
    with as_nobody(tmp_path):
        result = tidegate("apply", model, today, "--json", code=1)
    assert "Permission denied" in result.stderr
    assert str(today) in result.stderr


def test_a_folder_that_does_not_exist_is_refused_before_any_work(model: Path, today: Path) -> None:
    assert "there is no folder" in tidegate("apply", model, today, "-o", today.parent / "no" / "a.csv", code=1).stderr
    assert "there is no folder" in tidegate("fit", "anomaly", "no.csv", "-o", today.parent / "no" / "m", code=1).stderr


def test_an_input_is_never_overwritten(model: Path, today: Path) -> None:
    content = today.read_bytes(), model.read_bytes()
    link = today.with_name("link.csv")
    link.symlink_to(today)
    page = today.with_name("page.html")
    page.symlink_to(today)
    for words in (["-o", today], ["-o", link], ["--state", model], ["--report", page], ["--ahead", link, "-o", link]):
        assert "is an input" in tidegate("apply", model, today, *words, code=2).stderr
    assert "is an input" in tidegate("fit", "anomaly", today, "-o", today, code=2).stderr
    assert (today.read_bytes(), model.read_bytes()) == content


def test_no_output_is_written_over_another(model: Path, today: Path) -> None:
    answer, link = today.with_name("a.csv"), today.with_name("link.state")
    answer.write_text("old")
    link.symlink_to(answer)
    assert "two different things" in tidegate("apply", model, today, "-o", answer, "--state", link, code=2).stderr
    assert answer.read_text() == "old"


def test_a_pipe_is_written_to_and_not_replaced(model: Path, today: Path) -> None:
    pipe = today.with_name("pipe.csv")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        tidegate("apply", model, today, "--until", 50, "-o", pipe)
        assert os.read(reader, 1 << 16).startswith(b"time,score")
    finally:
        os.close(reader)
    assert pipe.is_fifo()


# ---- bad input -------------------------------------------------------------------------------------------------------

Change = Callable[[pl.DataFrame], pl.DataFrame]


def put(row: int, column: str, value: object) -> Change:
    """A table with one cell changed, its column as text."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        cells = [str(cell) for cell in table[column]]
        cells[row] = str(value)
        return table.with_columns(pl.Series(column, cells))

    return change


def long_with_text(table: pl.DataFrame) -> pl.DataFrame:
    """80,000 rows, a word in row 70,001."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    many = pl.concat([table] * 120)[:80_000].with_columns(
        time=pl.datetime_range(start, start + timedelta(minutes=79_999), "1m", eager=True).dt.to_string("iso")
    )
    return put(70_000, "s1", "stuck")(many)


REFUSED: dict[str, tuple[Change, tuple[str, ...]]] = {
    "header only": (lambda t: t[:0], ("a header but no rows",)),
    "one row": (lambda t: t[:1], ("1 row", "wanted:")),
    "fewer rows than a window": (lambda t: t[:50], ("50 rows of normal history are too few", "at least")),
    "times only": (lambda t: t.select("time"), ("no column of numbers",)),
    "all missing": (lambda t: t.with_columns(pl.lit(None).alias(c) for c in ("s0", "s1", "s2")), ("missing",)),
    "text at row 70,001": (long_with_text, ("'stuck'", "70,001", "s1")),
    "mixed time formats": (put(33, "time", "09/03/2024 10:30"), ("09/03/2024 10:30", "row 34")),
    "duplicate times": (lambda t: t[[*range(100), *range(99, 1_300)]], ("rows 100 and 101", "--duplicates last")),
    "brackets in names": (
        lambda t: t.rename({"s0": "load [kW]"}).with_columns(pl.lit("ok").alias("its state (raw)")),
        ("--ignore 'its state (raw)'",),
    ),
    "a footer": (put(1_299, "time", "Total"), ("'Total'", "do: repair or remove the row\n")),
    "text in a reading": (put(44, "s2", "n/a?"), ("--missing 'n/a?' if it stands for no reading\n",)),
    "infinity": (put(44, "s2", "inf"), ("inf", "s2", "row 45")),
    "a column of text": (lambda t: t.with_columns(pl.lit("ok").alias("status")), ("status ('ok')", "--ignore status")),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", REFUSED)
def test_history_that_cannot_be_used_is_refused_with_what_was_seen(case: str, normal: Series, tmp_path: Path) -> None:
    change, said = REFUSED[case]
    change(frame(normal)).write_csv(tmp_path / "bad.csv")
    result = tidegate("fit", "anomaly", tmp_path / "bad.csv", "-o", tmp_path / "m.safetensors", code=1)
    for words in (*said, "bad.csv"):
        assert words in result.stderr
    assert result.stdout == ""
    assert files(tmp_path) == {"bad.csv"}


@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["empty", "blank"])
def test_an_empty_file_is_refused(content: bytes, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    assert "an empty file" in tidegate("fit", "anomaly", tmp_path / "bad.csv", "-o", tmp_path / "m", code=1).stderr
    assert "an empty file" in tidegate("apply", model, tmp_path / "bad.csv", "-o", tmp_path / "a.csv", code=1).stderr
    assert files(tmp_path) == {"bad.csv", "model.safetensors"}


def test_a_file_that_is_not_there_is_named(model: Path, tmp_path: Path) -> None:
    for words in (
        ["apply", model, tmp_path / "no.csv"],
        ["apply", tmp_path / "no.csv", model],
        ["info", tmp_path / "no.csv"],
        ["fit", "anomaly", tmp_path / "no.csv", "-o", tmp_path / "m"],
    ):
        refused = tidegate(*words, code=1).stderr
        assert "no.csv" in refused
        assert "o such file" in refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename({"s1": "flow"}), ("s1", "flow")),
        (lambda t: t.drop("s1"), ("s1",)),
        (put(44, "s2", "inf"), ("inf", "s2", "row 45")),
        (lambda t: t.with_columns(pl.lit(None).alias(c) for c in ("s0", "s1", "s2")), ("missing",)),
        (lambda t: t[::10], ("every 10 min", "every 1 min")),
    ],
    ids=["renamed", "missing", "infinity", "nothing observed", "another pace"],
)
def test_data_that_the_model_cannot_score_is_refused(
    change: Change, said: tuple[str, ...], model: Path, today: Path
) -> None:
    change(pl.read_csv(today)).write_csv(today)
    before = files(today.parent)
    result = tidegate("apply", model, today, "-o", today.with_name("a.csv"), "--state", today.with_name("s"), code=1)
    for words in said:
        assert words in result.stderr
    assert files(today.parent) == before


def test_a_state_of_another_model_is_refused(stranger: tg.AnomalyDetector, model: Path, today: Path) -> None:
    state, out = today.with_name("s.state"), today.with_name("a.csv")
    stranger.start().save(state)
    content = state.read_bytes()
    assert "belongs to another model" in tidegate("apply", model, today, "-o", out, "--state", state, code=1).stderr
    assert state.read_bytes() == content
    assert not out.exists()


def test_a_file_that_is_no_model_is_refused(today: Path, model: Path, stranger: tg.AnomalyDetector) -> None:
    assert "today.csv" in tidegate("apply", today, today, code=1).stderr
    stranger.start().save(today.with_name("s.state"))
    assert "s.state" in tidegate("info", today.with_name("s.state"), code=1).stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.select("s2", "time", "s0", "s1"),
        lambda t: t.with_columns(pl.lit("ok").alias("status"), pl.lit(1.5).alias("extra")),
        lambda t: t[::-1],
    ],
    ids=["reordered columns", "extra columns", "unsorted rows"],
)
def test_the_same_readings_in_another_arrangement_give_the_same_scores(
    change: Change, model: Path, today: Path
) -> None:
    out = today.with_name("plain.csv"), today.with_name("changed.csv")
    tidegate("apply", model, today, "-o", out[0])
    change(pl.read_csv(today)).write_csv(today)
    tidegate("apply", model, today, "-o", out[1])
    assert out[0].read_text() == out[1].read_text()


def holes(table: pl.DataFrame) -> pl.DataFrame:
    """30 % of the readings missing."""
    lost = np.random.default_rng(0).random((len(table), 3)) < 0.3
    return table.with_columns(pl.when(~pl.Series(lost[:, i])).then(pl.col(f"s{i}")).alias(f"s{i}") for i in range(3))


def stop(table: pl.DataFrame) -> pl.DataFrame:
    """Three hours without rows before row 100."""
    times = [datetime.fromisoformat(text) + timedelta(hours=3 * (row >= 100)) for row, text in enumerate(table["time"])]
    return table.with_columns(time=pl.Series([time.isoformat() for time in times]))


USABLE: dict[str, tuple[Change, str]] = {
    "a third missing": (holes, "% of the values are missing"),
    "three hours without rows": (stop, "the longest of 3.0"),
    "unsorted": (lambda t: t[::-1], "sorted"),
    "in the future": (
        lambda t: t.with_columns(pl.col("time").str.replace("2024", "2124")),
        "rows lie in the future",
    ),
    "a constant sensor": (lambda t: t.with_columns(pl.lit(5.0).alias("s0")), "constant channel: s0"),
    "a sensor that says nothing": (lambda t: t.with_columns(pl.lit(None).alias("s0")), "without a single reading: s0"),
    "-200 for missing": (
        lambda t: t.with_columns(s0=pl.when(pl.int_range(len(t)) % 20 == 7).then(-200.0).otherwise("s0")),
        "far from all else there: if it stands for no reading, say --missing -200\n",
    ),
    "a jump to 1e30": (
        lambda t: t.with_columns(pl.when(pl.int_range(len(t)) == 99).then(1e30).otherwise("s0").alias("s0")),
        "alarm",
    ),
}


@pytest.mark.parametrize("case", USABLE)
def test_data_that_can_be_used_is_scored_and_what_was_noticed_is_said(case: str, model: Path, today: Path) -> None:
    change, said = USABLE[case]
    change(pl.read_csv(today)).write_csv(today)
    result = tidegate("apply", model, today, "-o", today.with_name("a.csv"))
    assert said in result.stderr
    scored = pl.read_csv(today.with_name("a.csv"))
    assert scored["score"].is_not_null().any()
    assert len(scored) == len(pl.read_csv(today))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", USABLE)
def test_history_that_can_be_used_is_learned_and_what_was_noticed_is_said(
    case: str, normal: Series, tmp_path: Path
) -> None:
    change, said = USABLE[case]
    change(frame(normal)).write_csv(tmp_path / "h.csv")
    result = tidegate("fit", "anomaly", tmp_path / "h.csv", "-o", tmp_path / "m.safetensors")
    assert said in result.stderr
    left = ("s1", "s2") if case == "a sensor that says nothing" else ("s0", "s1", "s2")
    assert tg.load(tmp_path / "m.safetensors").channels_ == left
    assert "Warning" not in result.stderr


@pytest.mark.usefixtures("quick")
def test_one_column_without_times_is_enough(normal: Series, tmp_path: Path) -> None:
    frame(normal).select("s0").write_csv(tmp_path / "h.csv")
    result = tidegate("fit", "anomaly", tmp_path / "h.csv", "-o", tmp_path / "m.safetensors", "--interval", "5min")
    assert "every 5 min, row 0 to row 1,299" in result.stderr


@pytest.mark.usefixtures("quick")
def test_local_times_through_a_change_of_clocks_are_read_in_their_zone(normal: Series, tmp_path: Path) -> None:
    start = datetime(2024, 3, 30, 22, tzinfo=UTC)
    local = pl.datetime_range(start, start + timedelta(minutes=1_299), "1m", eager=True, time_zone="Europe/Rome")
    table = frame(normal).with_columns(time=local.dt.to_string("%Y-%m-%d %H:%M:%S"))
    table.write_csv(tmp_path / "h.csv")
    words = ["fit", "anomaly", tmp_path / "h.csv", "-o", tmp_path / "m.safetensors"]
    assert "every 1 min, 2024-03-30 22:00:00 to 2024-03-31 19:39:00" in tidegate(*words, "--zone", "Europe/Rome").stderr
    assert "gap in time" in tidegate(*words).stderr


# ---- the demo --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_the_demo_finds_faults_and_says_which_it_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    series = tg.synth.machine(rows=1_200, channels=3, seed=1)
    times = [datetime.fromtimestamp(second, UTC) for second in range(1_704_067_200, 1_704_067_200 + 1_200)]
    planted = tg.synth.plant(series, "level", 900, 60, size=30.0, channels=("s0", "s1"))
    table = frame(planted).with_columns(time=pl.Series(times).dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
    import gzip

    (tmp_path / "host.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    rows = [("leak", times[900], times[959]), ("nothing", times[1_150], times[1_160])]
    text = "".join(f"{name},{first.isoformat()},{last.isoformat()}\n" for name, first, last in rows)
    (tmp_path / "faults.csv").write_text("fault,start,end\n" + text)
    outcome = demo.run(tmp_path, recording=tmp_path)
    assert outcome.findings[0].after is not None
    assert outcome.findings[0].after <= 10
    assert set(outcome.findings[0].channels) <= {"s0", "s1"}
    assert outcome.report.read_text().startswith("<!doctype html>")
    monkeypatch.setattr(demo, "run", lambda out, on_epoch: outcome)
    shown = tidegate("demo", "--out", tmp_path / "d").stdout
    assert "2024-01-01 00:15:00" in shown
    assert "last_value" in shown
    assert json.loads(tidegate("demo", "--out", tmp_path / "d", "--json").stdout)["faults"][0]["fault"] == "leak"
