"""The command line of the tasks beside anomalies: every verb on small files, each task by the same sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shell import commands, files, frame, tidegate

import tidegate as tg
from tidegate import measures
from tidegate.series import Series
from tidegate.tasks import TASKS
from tidegate.tasks.complete import SIZES as COMPLETING
from tidegate.tasks.segments import FORECASTING
from tidegate.tasks.steps import TAGGING
from tidegate.tasks.whole import CLASSIFYING

pytest.importorskip("torch")

LEARNED = [name for name in TASKS if name != "anomaly"]
OPTIONS: dict[str, list[Any]] = {
    "forecast": ["--horizon", 4, "--lookback", 16],
    "complete": ["--direction", "past"],
    "classify": ["--labels", "kind", "--sequence", "id"],
    "tag": ["--labels", "state", "--channels", "s0,s1"],
}
READ: dict[str, list[Any]] = {"classify": ["--sequence", "id"]}
every_task = pytest.mark.parametrize("task", LEARNED)
streams = pytest.mark.parametrize("task", ["forecast", "complete", "tag"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small size of every task, made much smaller."""
    tiny = (tg.Network(hidden=4), tg.Training(epochs=2, batches=2, batch=4, noise=0.0))
    for sizes in (FORECASTING, COMPLETING, CLASSIFYING, TAGGING):
        monkeypatch.setitem(sizes, "small", tiny)


@pytest.fixture(scope="session")
def machine() -> Series:
    """A machine that reads once a minute, now and then nothing."""
    series = tg.synth.machine(rows=700, channels=2, seed=0)
    values = series.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    return tg.series.check(values, series.times, series.channels)  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="session")
def spikes() -> pl.DataFrame:
    """48 sequences of two kinds in a long table: id, kind, level."""
    X, y = tg.synth.spikes(48, length=20, seed=0)
    rows = [
        {"id": f"n{i}", "kind": ["plain", "spiked"][int(label)], "level": float(value)}
        for i, (one, label) in enumerate(zip(X, y, strict=True))
        for value in np.ravel(one)
    ]
    return pl.DataFrame(rows)


@pytest.fixture
def data(machine: Series, spikes: pl.DataFrame, tmp_path: Path) -> dict[str, Path]:
    """The file from which each task learns here."""
    table = frame(machine)
    table.write_csv(tmp_path / "machine.csv")
    level = np.nan_to_num(machine.values[:, 0], nan=np.nanmedian(machine.values[:, 0]))
    states = pl.Series("state", np.where(level > np.median(level), "busy", "idle"))
    table.with_columns(states, load=pl.Series(level), rest=pl.Series(-level)).write_csv(tmp_path / "states.csv")
    spikes.write_csv(tmp_path / "spikes.csv")
    own = {"classify": tmp_path / "spikes.csv", "tag": tmp_path / "states.csv"}
    return dict.fromkeys(LEARNED, tmp_path / "machine.csv") | own


@pytest.fixture
def model(data: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A function that gives the model file of a task, learned by the command line."""

    def learn(task: str, *more: Any) -> Path:
        out = tmp_path / f"{task}.safetensors"
        tidegate("fit", task, data[task], "-o", out, *OPTIONS[task], *more)
        return out

    return learn


def sequences(path: Path) -> list[Series]:
    """The sequences of a long table."""
    return [*tg.read_many(path, id="id", channels=["level"]).values()]


def wide(long: pl.DataFrame) -> pl.DataFrame:
    """The long table of sequences with a row a sequence."""
    steps = long.with_columns(pl.int_range(pl.len()).over("id").alias("step"))
    return steps.pivot(on="step", index=["id", "kind"], values="level")


# ---- fit -------------------------------------------------------------------------------------------------------------


@every_task
def test_fit_writes_a_model_and_says_how_well_it_does_beside_the_rules(
    task: str, data: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    result = tidegate("fit", task, data[task], "-o", out, *OPTIONS[task])
    assert result.stdout == ""
    rule = {"forecast": "seasonal", "complete": "last_value"}.get(task, "largest class")
    for said in ("learned from ", "2 epochs", "m.safetensors", rule):
        assert said in result.stderr
    assert type(tg.load(out)) is TASKS[task]()
    assert tg.load(out).device_ == "cpu"


@every_task
def test_fit_tells_the_same_as_json(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    words = [*OPTIONS[task], "--seed", 3, "--cell", "lstm", "--json"]
    told = json.loads(tidegate("fit", task, data[task], "-o", tmp_path / "m.safetensors", *words).stdout)
    assert (told["task"], told["seed"]) == (task, 3)
    assert told["network"].startswith("lstm, 1 layer of 4 units")
    assert len(told["held_out"]["methods"]) >= 2
    assert told["held_out"]["verdict"]


@every_task
def test_the_same_seed_gives_the_same_weights_as_in_python(
    task: str, data: dict[str, Path], machine: Series, tmp_path: Path
) -> None:
    made = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in made:
        tidegate("fit", task, data[task], "-o", path, *OPTIONS[task], "--seed", 5)
    ours, again = (tg.load(path).model_.weights for path in made)
    if task == "classify":
        many = tg.read_many(data[task], id="id", labels="kind")
        labels = [str(one.labels[0]) for one in many.values() if one.labels is not None]
        theirs = tg.Classifier(seed=5).fit(list(many.values()), labels)
    elif task == "tag":
        series = tg.read(data[task], labels="state", channels=["s0", "s1"])
        theirs = tg.Tagger(seed=5).fit(series)
    elif task == "forecast":
        theirs = tg.Forecaster(horizon=4, lookback=16, seed=5).fit(machine)
    else:
        theirs = tg.Completer(direction="past", seed=5).fit(machine)
    for name, weights in theirs.model_.weights.items():
        np.testing.assert_array_equal(ours[name], weights)
        np.testing.assert_array_equal(again[name], weights)


@every_task
def test_training_goes_on_from_its_checkpoint(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    out, point = tmp_path / "m.safetensors", tmp_path / "point"
    words = ["fit", task, data[task], "-o", out, *OPTIONS[task], "--checkpoint", point]
    tidegate(*words)
    whole = out.read_bytes()
    tidegate(*words, "--resume")
    assert out.read_bytes() == whole  # the epochs' seconds too: nothing was trained again
    assert "another run: seed is 0, here 9" in tidegate(*words, "--resume", "--seed", 9, code=1).stderr
    pl.read_csv(data[task])[1:].write_csv(data[task])
    assert "what is learned from, rows, channels" in tidegate(*words, "--resume", code=1).stderr
    assert "give --checkpoint FILE too" in tidegate("fit", task, data[task], "-o", out, "--resume", code=2).stderr


def test_settings_are_tried_where_that_is_asked_for(data: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    result = tidegate("fit", "complete", data["complete"], "-o", out, "--tune")
    assert result.stderr.count("  tried ") == 9
    assert result.stderr.count(" (taken)") == 1


@every_task
def test_the_choices_are_those_of_the_library(task: str) -> None:
    from tidegate.tasks.filling import WAYS
    from tidegate.tasks.verbs import CELLS

    choices = {o.name: set(getattr(o.type, "choices", ())) for o in dict(commands())["fit", task].params}
    assert choices["size"] == set(FORECASTING) == set(COMPLETING) == set(CLASSIFYING)
    assert choices["cell"] == set(CELLS)
    assert choices.get("direction", set(WAYS)) == (set(WAYS) - {"none"} if task == "tag" else set(WAYS))


def test_known_bad_history_and_columns_are_left_out(data: dict[str, Path], tmp_path: Path) -> None:
    table = pl.read_csv(data["forecast"]).with_columns(pl.lit("ok").alias("status"))
    table.write_csv(data["forecast"])
    out = tmp_path / "m.safetensors"
    words = ["fit", "forecast", data["forecast"], "-o", out, *OPTIONS["forecast"]]
    tidegate(*words, "--ignore", "status,s1", "--exclude", "100..200")
    assert tg.load(out).channels_ == ("s0",)
    assert "status" in tidegate(*words, code=1).stderr


@every_task
def test_a_channel_without_a_reading_is_left_out_unless_it_was_asked_for(
    task: str, data: dict[str, Path], tmp_path: Path
) -> None:
    pl.read_csv(data[task]).with_columns(dead=pl.lit(None, pl.Float64)).write_csv(data[task])
    out, ours = tmp_path / "m.safetensors", {"classify": ("level",), "tag": ("s0", "s1")}.get(task, ("s0", "s1"))
    own = {"tag": ["--labels", "state", "--ignore", "load,rest"]}.get(task, OPTIONS[task])
    result = tidegate("fit", task, data[task], "-o", out, *own)
    assert "left out, a channel without a single reading: dead" in result.stderr
    assert tg.load(out).channels_ == ours
    words = ["fit", task, data[task], "-o", out, *own, "--channels", ",".join([*ours, "dead"])]
    if task == "tag":
        words = [word for word in words if word not in ("--ignore", "load,rest")]
    assert "not a single reading in dead" in tidegate(*words, code=1).stderr
    if task == "forecast":
        assert "not a single reading in dead" in tidegate(*words[:-2], "--known", "dead", code=1).stderr


# ---- sequences as users have them ------------------------------------------------------------------------------------


def test_a_long_table_a_wide_one_folders_and_a_ts_file_give_the_same_model(
    spikes: pl.DataFrame, data: dict[str, Path], tmp_path: Path
) -> None:
    wide(spikes).write_csv(tmp_path / "wide.csv")
    for (kind, name), rows in spikes.group_by("kind", "id", maintain_order=True):
        (tmp_path / "folders" / str(kind)).mkdir(parents=True, exist_ok=True)
        rows.select("level").write_csv(tmp_path / "folders" / str(kind) / f"{name}.csv")
    lines = [
        ",".join(map(repr, row[2:])) + f":{row[1]}" for row in wide(spikes).sort("kind", maintain_order=True).rows()
    ]
    text = "@problemName spikes\n@univariate true\n@classLabel true plain spiked\n@data\n" + "\n".join(lines)
    (tmp_path / "spikes.ts").write_text(text)
    spikes.sort("kind", maintain_order=True).write_csv(tmp_path / "sorted.csv")
    given = {
        "long": [data["classify"], "--sequence", "id", "--labels", "kind"],
        "wide": [tmp_path / "wide.csv", "--wide", "--sequence", "id", "--labels", "kind"],
        "sorted": [tmp_path / "sorted.csv", "--sequence", "id", "--labels", "kind"],
        "folders": [tmp_path / "folders"],
        "ts": [tmp_path / "spikes.ts"],
    }
    weights = {}
    for name, words in given.items():
        tidegate("fit", "classify", *words, "-o", tmp_path / f"m {name}")
        weights[name] = tg.load(tmp_path / f"m {name}").model_.weights
    for one, other in (("long", "wide"), ("sorted", "ts")):
        for part in weights[one]:
            np.testing.assert_array_equal(weights[one][part], weights[other][part])
    assert tg.load(tmp_path / "m folders").classes_.tolist() == ["plain", "spiked"]
    answers = {}
    for name, words in given.items():
        kept = [word for word in words if word not in ("--labels", "kind")]
        ignore = ["--ignore", "kind"] if name == "wide" else []
        if name != "ts":  # in which channels have no names
            tidegate("apply", tmp_path / "m long", *kept, *ignore, "-o", tmp_path / "a.csv")
            answers[name] = pl.read_csv(tmp_path / "a.csv")
    proba = pl.col("p(plain)")
    assert answers["wide"].equals(answers["long"])
    assert answers["folders"]["sequence"][0].startswith("plain/n")
    assert sorted(answers["folders"].select(proba).to_series()) == sorted(answers["long"].select(proba).to_series())


def test_what_a_sequence_is_must_be_said_once(data: dict[str, Path], tmp_path: Path) -> None:
    path, out = data["classify"], tmp_path / "m.safetensors"
    words = ["fit", "classify", path, "-o", out, "--labels", "kind"]
    assert "what is a sequence?" in tidegate(*words, code=2).stderr
    assert "--labels COL" in tidegate("fit", "classify", path, "-o", out, "--sequence", "id", code=2).stderr
    assert "no column named who" in tidegate(*words, "--sequence", "who", code=1).stderr
    assert "--from is for one series" in tidegate(*words, "--sequence", "id", "--from", 3, code=2).stderr
    (tmp_path / "folder").mkdir()
    folder = ["fit", "classify", tmp_path / "folder", "-o", out, "--labels", "kind"]
    assert "leave --sequence out" in tidegate(*folder, "--sequence", "id", code=2).stderr
    assert "a folder without files" in tidegate(*folder, code=1).stderr


def test_a_sequence_with_two_labels_is_named(spikes: pl.DataFrame, data: dict[str, Path], tmp_path: Path) -> None:
    kind = spikes["kind"].to_list()
    kind[3] = "spiked" if kind[3] == "plain" else "plain"
    spikes.with_columns(pl.Series("kind", kind)).write_csv(data["classify"])
    words = ["fit", "classify", data["classify"], "-o", tmp_path / "m", *OPTIONS["classify"]]
    assert "sequence n0 has several labels: plain, spiked" in tidegate(*words, code=1).stderr
    assert files(tmp_path) == {"machine.csv", "spikes.csv", "states.csv"}


@pytest.mark.parametrize("kinds", [["plain", "spiked"], [1, 2]])
@pytest.mark.parametrize("form", ["long", "wide"])
def test_sequences_without_a_label_are_left_out_and_named(
    form: str, kinds: list[Any], spikes: pl.DataFrame, tmp_path: Path
) -> None:
    told = spikes.with_columns(pl.col("kind").replace(["plain", "spiked"], [*map(str, kinds)]))
    words = ["--labels", "kind", "--sequence", "id"]
    some = told.with_columns(kind=pl.when(pl.col("id").is_in(["n3", "n20"]).not_()).then("kind"))
    none = told.with_columns(kind=pl.lit(None, pl.String))
    for name, table in (("all", told.filter(pl.col("id").is_in(["n3", "n20"]).not_())), ("some", some), ("none", none)):
        (wide(table) if form == "wide" else table).write_csv(tmp_path / f"{name}.csv")
    words += ["--wide"] if form == "wide" else []
    tidegate("fit", "classify", tmp_path / "all.csv", "-o", tmp_path / "a", *words)
    result = tidegate("fit", "classify", tmp_path / "some.csv", "-o", tmp_path / "b", *words)
    assert "noticed: left out, without a label: 2 of 48 sequences: n3, n20\n" in result.stderr
    assert "learned from 46 sequences" in result.stderr
    one, other = (tg.load(tmp_path / name) for name in "ab")
    assert one.classes_.tolist() == other.classes_.tolist() == kinds
    assert f"2 classes: {kinds[0]} " in result.stderr
    for part, weights in one.model_.weights.items():
        np.testing.assert_array_equal(weights, other.model_.weights[part])
    told_apart = ["evaluate", tmp_path / "b", tmp_path / "some.csv", *words, "--history", tmp_path / "some.csv"]
    judged = tidegate(*told_apart)
    assert "46 labelled sequences" in judged.stdout
    assert judged.stderr.count("2 of 48 sequences: n3, n20") == 2
    for command in (["fit", "classify"], ["evaluate", tmp_path / "b"]):
        more = ["-o", tmp_path / "c"] if command[0] == "fit" else []
        refused = tidegate(*command, tmp_path / "none.csv", *more, *words, code=1).stderr
        assert "no label at all: not one sequence has one" in refused


def test_of_a_folder_a_class_what_is_no_data_is_left_out_and_named(spikes: pl.DataFrame, tmp_path: Path) -> None:
    for (kind, name), rows in spikes.group_by("kind", "id", maintain_order=True):
        (tmp_path / "kinds" / str(kind)).mkdir(parents=True, exist_ok=True)
        rows.select("level").write_csv(tmp_path / "kinds" / str(kind) / f"{name}.csv")
    for place in ("", "plain"):
        (tmp_path / "kinds" / place / "readme.md").write_text("# What this is\n")
    fitted = tidegate("fit", "classify", tmp_path / "kinds", "-o", tmp_path / "m")
    said = "noticed: left out, a file whose name does not end as those of data do: readme.md, plain/readme.md\n"
    assert said in fitted.stderr
    assert "learned from 48 sequences" in fitted.stderr
    for content, why in (("", "an empty file"), ("level\n", "a header but no rows")):
        (tmp_path / "kinds" / "plain" / "a.csv").write_text(content)
        refused = tidegate("fit", "classify", tmp_path / "kinds", "-o", tmp_path / "m", code=1).stderr
        assert f"{why}\n  where: {tmp_path / 'kinds' / 'plain' / 'a.csv'}\n" in refused


def test_a_ts_file_that_is_not_one_is_refused(tmp_path: Path) -> None:
    for text, said in (("@data\n", "no sequence"), ("@timestamps true\n@data\n1:a", "timestamps"), ("", "empty")):
        (tmp_path / "bad.ts").write_text(text)
        assert said in tidegate("fit", "classify", tmp_path / "bad.ts", "-o", tmp_path / "m", code=1).stderr
    (tmp_path / "bad.ts").write_text("@classlabel true a b\n@data\n1,x:a\n")
    assert "sequence 0" in tidegate("fit", "classify", tmp_path / "bad.ts", "-o", tmp_path / "m", code=1).stderr
    refused = tidegate("fit", "forecast", tmp_path / "bad.ts", "-o", tmp_path / "m", code=1).stderr
    assert "tidegate fit classify and tidegate fit tag learn from many series" in refused


# ---- apply -----------------------------------------------------------------------------------------------------------


@every_task
def test_apply_writes_what_python_says_in_every_form(
    task: str, data: dict[str, Path], model: Callable[[str], Path], tmp_path: Path
) -> None:
    learned, read = model(task), READ.get(task, [])
    out = [tmp_path / name for name in ("a.csv", "a.parquet", "a.jsonl")]
    for path in out:
        assert tidegate("apply", learned, data[task], "-o", path, *read).stdout == ""
    assert tidegate("apply", learned, data[task], "-o", "-", *read).stdout == out[0].read_text()
    given: Any = tg.read(data["forecast"]) if task != "classify" else sequences(data[task])
    expected = tg.load(learned).apply(given).to_frame()
    for table in (pl.read_csv(out[0], try_parse_dates=True), pl.read_parquet(out[1]), pl.read_ndjson(out[2])):
        assert set(expected.columns) <= set(table.columns)
        for name in expected.columns:
            if expected[name].dtype == pl.Float64:
                ours = table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
                np.testing.assert_array_equal(ours, expected[name].to_numpy())
    if task != "classify":
        times = pl.read_csv(out[0], try_parse_dates=True)["time"].dt.epoch("ns")
        assert times.to_list() == expected["time"].dt.epoch("ns").to_list()
    else:
        assert pl.read_csv(out[0])["sequence"].to_list() == [f"n{i}" for i in range(48)]


@every_task
def test_apply_tells_the_same_as_json(task: str, data: dict[str, Path], model: Callable[[str], Path]) -> None:
    told = json.loads(tidegate("apply", model(task), data[task], *READ.get(task, []), "--json").stdout)
    if task == "forecast":
        assert (len(told["times"]), set(told["channels"])) == (4, {"s0", "s1"})
        assert set(told["channels"]["s0"]) == {"mean", "low", "high"}
    elif task == "complete":
        assert (told["rows"], set(told["filled"])) == (700, {"s0", "s1"})
    elif task == "tag":
        assert set(told["label"]) <= {"busy", "idle"}
        assert len(told["label"]) == len(told["times"]) == 700
    else:
        assert len(told["sequences"]) == 48
        assert set(told["sequences"][0]["proba"]) == {"plain", "spiked"}


@streams
def test_a_state_makes_pieces_the_whole(
    task: str, data: dict[str, Path], model: Callable[[str], Path], tmp_path: Path
) -> None:
    learned, state = model(task), tmp_path / "s.state"
    out = [tmp_path / f"{name}.csv" for name in ("whole", "first", "second")]
    tidegate("apply", learned, data[task], "-o", out[0])
    tidegate("apply", learned, data[task], "--until", 333, "-o", out[1], "--state", state)
    tidegate("apply", learned, data[task], "--from", 333, "-o", out[2], "--state", state)
    whole, first, second = (path.read_text().splitlines() for path in out)
    assert second[1:] == (whole[1:] if task == "forecast" else whole[334:])
    assert task == "forecast" or first == whole[:334]


def test_a_completer_that_looks_ahead_has_no_state(data: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    tidegate("fit", "complete", data["complete"], "-o", out)
    refused = tidegate("apply", out, data["complete"], "--state", tmp_path / "s", "-o", tmp_path / "a.csv", code=2)
    assert "--direction past" in refused.stderr
    assert not (tmp_path / "a.csv").exists()
    assert not (tmp_path / "s").exists()


def test_quantiles_can_be_chosen(data: dict[str, Path], model: Callable[[str], Path], tmp_path: Path) -> None:
    learned = model("forecast")
    tidegate("apply", learned, data["forecast"], "-o", tmp_path / "a.csv", "--quantiles", "0.1,0.9")
    table = pl.read_csv(tmp_path / "a.csv")
    assert table.columns == ["time", "channel", "mean", "q0.1", "q0.9"]
    expected = tg.load(learned).apply(tg.read(data["forecast"]))
    np.testing.assert_array_equal(table["q0.9"].to_numpy(), expected.quantile(0.9).ravel())
    refused = tidegate("apply", learned, data["forecast"], "-o", tmp_path / "a.csv", "--quantiles", "0.0001", code=1)
    assert "was not measured" in refused.stderr
    assert "do: ask for some between these" in refused.stderr
    assert "between 0 and 1" in tidegate("apply", learned, data["forecast"], "--quantiles", "90", code=2).stderr


def test_a_channel_that_cannot_be_forecast_says_so(
    data: dict[str, Path], model: Callable[[str], Path], tmp_path: Path
) -> None:
    learned = model("forecast")
    pl.read_csv(data["forecast"]).with_columns(s1=pl.lit(None, pl.Float64)).write_csv(tmp_path / "silent.csv")
    said = tidegate("apply", learned, tmp_path / "silent.csv").stderr
    assert "  s1: no forecast, nothing of it was read\n" in said
    assert "nan" not in said
    assert "  s0: " in said


@streams
def test_rows_without_a_clock_are_numbered(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    pl.read_csv(data[task]).drop("time").write_csv(data[task])
    tidegate("fit", task, data[task], "-o", tmp_path / "m", *OPTIONS[task])
    tidegate("apply", tmp_path / "m", data[task], "-o", tmp_path / "a.csv")
    rows = pl.read_csv(tmp_path / "a.csv")["row"].to_list()
    assert rows == ([700, 700, 701, 701, 702, 702, 703, 703] if task == "forecast" else list(range(700)))


OTHERS = {
    "forecast": ("--false-alarms 1/day", "--fail-on-anomaly", "--sequence x", "--wide"),
    "complete": ("--false-alarms 1/day", "--quantiles 0.1,0.9", "--sequence x"),
    "classify": ("--false-alarms 1/day", "--quantiles 0.1,0.9", "--fail-on-anomaly", "--state s"),
    "tag": ("--false-alarms 1/day", "--quantiles 0.1,0.9", "--wide", "--ignore x"),
}
JUDGED_OTHERS = {
    "forecast": ("--labels x", "--hide 0.2", "--history h.csv", "--events e.csv"),
    "complete": ("--labels x", "--every 5", "--wide"),
    "classify": ("--hide 0.2", "--seed 3", "--pattern rows", "--events e.csv"),
    "tag": ("--hide 0.2", "--every 5", "--events e.csv"),
}


@every_task
def test_options_of_other_tasks_are_refused_by_name(
    task: str, data: dict[str, Path], model: Callable[[str], Path]
) -> None:
    learned = model(task)
    for verb, others in (("apply", OTHERS[task]), ("evaluate", JUDGED_OTHERS[task])):
        for words in others:
            refused = tidegate(verb, learned, data[task], *READ.get(task, []), *words.split(), code=2).stderr
            assert f"{words.split()[0]} means nothing for a " in refused
            assert "leave it out" in refused


# ---- evaluate and info -----------------------------------------------------------------------------------------------


def test_evaluating_a_forecaster_is_its_backtest(data: dict[str, Path], model: Callable[[str], Path]) -> None:
    learned = model("forecast")
    told = json.loads(tidegate("evaluate", learned, data["forecast"], "--every", 3, "--json").stdout)
    test = tg.load(learned).backtest(tg.read(data["forecast"]), every=3)
    assert told["verdict"] == test.verdict
    for name, (mse, mae) in test.errors.items():
        assert (told["methods"][name]["MSE"], told["methods"][name]["MAE"]) == (mse, mae)
    assert told["methods"]["forecaster"]["in 90 % band"] == pytest.approx(100 * test.coverage(0.9))
    missed = np.nanmean(np.abs(test.mean - test.truth), axis=(0, 1))
    assert list(told["mae_in_units"].values()) == pytest.approx(missed.tolist())
    table = tidegate("evaluate", learned, data["forecast"], "--every", 3).stdout
    assert test.verdict in table
    assert "last_value" in table


def test_evaluating_a_completer_hides_what_is_known(data: dict[str, Path], model: Callable[[str], Path]) -> None:
    learned = model("complete")
    for pattern in measures.PATTERNS:
        words = ["evaluate", learned, data["complete"], "--hide", "0.2", "--pattern", pattern, "--json"]
        told = json.loads(tidegate(*words).stdout)
        assert told == json.loads(tidegate(*words, "--seed", 0).stdout)
        assert told["methods"] != json.loads(tidegate(*words, "--seed", 1).stdout)["methods"]
        assert f" % of those known, in {pattern}, seed 0" in told["what"]
        assert set(told["methods"]) == {"network", "last_value"}
        assert set(told["mae_in_units"]) == {"s0", "s1"}
        assert 0 < told["methods"]["network"]["MAE"] < 3


def test_evaluating_a_classifier_counts_right_answers(data: dict[str, Path], model: Callable[[str], Path]) -> None:
    learned = model("classify")
    words = ["evaluate", learned, data["classify"], *OPTIONS["classify"]]
    told = json.loads(tidegate(*words, "--history", data["classify"], "--json").stdout)
    many = tg.read_many(data["classify"], id="id", labels="kind")
    right = tg.load(learned).score(
        list(many.values()), [str(s.labels[0]) for s in many.values() if s.labels is not None]
    )
    assert told["methods"]["network"]["accuracy"] == right
    assert told["methods"]["nearest sequence"]["accuracy"] == 1  # it has seen them
    assert told["methods"]["largest class"]["accuracy"] == pytest.approx(0.5, abs=0.1)
    assert "than chance" in told["verdict"]
    strange = pl.read_csv(data["classify"]).with_columns(kind=pl.lit("odd") + pl.col("kind"))
    strange.write_csv(data["classify"])
    assert "labels that the model does not know" in tidegate(*words).stderr
    assert "--labels COL" in tidegate(*words[:3], "--sequence", "id", code=2).stderr


def test_evaluating_a_tagger_judges_every_step(data: dict[str, Path], model: Callable[[str], Path]) -> None:
    learned = model("tag")
    words = ["evaluate", learned, data["tag"], "--labels", "state"]
    told = json.loads(tidegate(*words, "--history", data["tag"], "--json").stdout)
    series = tg.read(data["tag"], labels="state", channels=["s0", "s1"])
    assert told["methods"]["tagger"]["accuracy"] == tg.load(learned).score(series)
    assert set(told["methods"]) == {"tagger", "largest class", "logistic regression"}
    states = pl.read_csv(data["tag"]).with_columns(state=pl.when(pl.int_range(700) < 600).then("state"))
    states.write_csv(data["tag"])
    assert "600 of 700 rows have a label" in tidegate(*words).stdout
    states.with_columns(state=pl.lit("odd")).write_csv(data["tag"])
    assert "labels that the model does not know, counted as wrong: 700 rows" in tidegate(*words).stderr
    assert "give --labels COL" in tidegate(*words[:3], code=2).stderr


def test_values_are_learned_from_columns_that_are_no_channels(data: dict[str, Path], tmp_path: Path) -> None:
    out, words = tmp_path / "m", [data["tag"], "--labels", "load,rest"]
    tidegate("fit", "tag", *words, "-o", out, "--target", "value", "--ignore", "state")
    learned = tg.load(out)
    assert (learned.channels_, learned.targets_) == (("s0", "s1"), ("load", "rest"))
    tidegate("apply", out, data["tag"], "-o", tmp_path / "a.csv")
    assert pl.read_csv(tmp_path / "a.csv").columns == ["time", "load", "rest"]
    told = json.loads(tidegate("evaluate", out, *words, "--history", data["tag"], "--json").stdout)
    assert set(told["methods"]) == {"tagger", "mean", "linear regression"}
    assert told["methods"]["linear regression"]["RMSE"] < told["methods"]["mean"]["RMSE"]
    assert "one column of labels" in tidegate("fit", "tag", *words, "-o", out, code=2).stderr
    none = tidegate("fit", "tag", data["tag"], "-o", out, "--target", "value", code=2)
    assert "give --labels COL" in none.stderr


def test_texts_that_are_to_be_learned_as_values_are_not_to_be_left_out(data: dict[str, Path], tmp_path: Path) -> None:
    out, words = tmp_path / "m", [data["tag"], "--labels", "state"]
    for more in ([], ["--channels", "s0,s1"]):
        refused = tidegate("fit", "tag", *words, "-o", out, "--target", "value", *more, code=1).stderr
        assert "wanted: numbers in state, to learn as values\n  do: --target label learns names" in refused
    tidegate("fit", "tag", data["tag"], "-o", out, "--target", "value", "--labels", "load", "--channels", "s0,s1")
    assert "do: give --labels the columns it learned" in tidegate("evaluate", out, *words, code=1).stderr
    table = pl.read_csv(data["tag"]).with_columns(state=pl.lit(None), load=pl.lit(None, pl.Float64))
    table.write_csv(data["tag"])
    assert "no label at all" in tidegate("fit", "tag", *words, "-o", out, code=1).stderr
    none = tidegate("fit", "tag", data["tag"], "--labels", "load", "-o", out, "--target", "value", code=1)
    assert "not a single reading in load" in none.stderr


def test_many_sequences_are_tagged_each_by_itself(machine: Series, data: dict[str, Path], tmp_path: Path) -> None:
    table = pl.read_csv(data["tag"]).with_columns(unit=pl.int_range(700) // 70).drop("load", "rest")
    table.write_csv(data["tag"])
    out = tmp_path / "m"
    fitted = tidegate("fit", "tag", data["tag"], "-o", out, "--labels", "state", "--sequence", "unit")
    assert "10 sequences of 70 rows x 2 channels" in fitted.stderr
    tidegate("apply", out, data["tag"], "-o", tmp_path / "a.csv", "--sequence", "unit")
    told = pl.read_csv(tmp_path / "a.csv")
    assert told["sequence"].to_list() == [row // 70 for row in range(700)]
    (tmp_path / "units").mkdir()
    for (unit,), rows in table.partition_by("unit", as_dict=True).items():
        rows.drop("unit").write_csv(tmp_path / "units" / f"{unit}.csv")
    tidegate("apply", out, tmp_path / "units", "-o", tmp_path / "b.csv")
    assert pl.read_csv(tmp_path / "b.csv").equals(told)
    evaluated = ["evaluate", out, tmp_path / "units", "--labels", "state", "--history", data["tag"]]
    assert "700 of 700 rows have a label" in tidegate(*evaluated[:5]).stdout
    refused = tidegate("apply", out, tmp_path / "units", "--state", tmp_path / "s", "-o", tmp_path / "c.csv", code=2)
    assert "--state goes on with one series" in refused.stderr


@every_task
def test_info_says_what_a_model_holds(task: str, model: Callable[[str], Path]) -> None:
    learned = model(task)
    told = json.loads(tidegate("info", learned, "--json").stdout)
    assert told["task"] == task
    shown = tidegate("info", learned).stdout
    for name in (*told["channels"], "held out", "gru, 1 layer of 4 units"):
        assert name in shown


@pytest.mark.parametrize("target", ["value", "label"])
def test_info_of_a_tagger_that_learned_from_a_stream_alone_says_so(target: str, tmp_path: Path) -> None:
    names = ["on", "off"]
    live = tg.Tagger(target=target).cold_start(channels=2, classes=names if target == "label" else ())
    state = live.start()
    for i in range(5):
        truth = names[i % 2] if target == "label" else float(i)
        _, state = live.step([float(i), 1.0], state, learn=True, target=truth)
    live.save(tmp_path / "cold.safetensors", state=state)
    told = json.loads(tidegate("info", tmp_path / "cold.safetensors", "--json").stdout)
    assert told["training"] == "none, it learns from its stream only"
    assert "learned on from 5 of 5 readings" in tidegate("info", tmp_path / "cold.safetensors").stdout


@every_task
def test_a_report_is_one_html_file(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    words = ["fit", task, data[task], "-o", tmp_path / "m", *OPTIONS[task], "--report", tmp_path / "r.html"]
    tidegate(*words)
    read = {"classify": OPTIONS["classify"], "tag": ["--labels", "state"]}.get(task, [])
    tidegate("evaluate", tmp_path / "m", data[task], *read, "--report", tmp_path / "e.html")
    tidegate("apply", tmp_path / "m", data[task], *READ.get(task, []), "--report", tmp_path / "a.html")
    for name in "rea":
        assert (tmp_path / f"{name}.html").read_text().startswith("<!doctype html>")
