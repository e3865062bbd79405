"""How well a forecaster, a completer or a classifier does: on what it held out, and on data with known answers.

Each answer is an `Evaluation`: the task's line of the table first, the naive rules beside it, and a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from . import chance
from .errors import DataError, SettingError, several
from .evaluate import Evaluation
from .pages.frame import Row
from .series import Series
from .settings import one_of
from .tasks import verbs, windowed
from .tasks.classify import Classifier
from .tasks.complete import Completer
from .tasks.forecast import Forecaster
from .tasks.outlook import Backtest
from .tasks.tag import Tagger
from .tasks.tagged import Tagged

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]
Against = dict[str, tuple[float, float]]  # of each simple rule, as `chance.paired` has it
OURS, TAGGER = "network", "tagger"
COVER = "in 90 % band"
AT_LEVEL = 1.645  # standard deviations on both sides of a fill between which 90 % of the truth should lie
PATTERNS = ("points", "stretches", "rows")
STRETCH = (3, 24)  # rows that are hidden together


# --- what a task measured when it learned -----------------------------------------------------------------------------


def forecaster_held_out(task: Forecaster) -> Evaluation:
    """The errors on the rows that measured the quantiles, beside the rules."""
    first, stop = task.split_["calibrate"]
    what = f"errors on the last {stop - first:,} rows, which chose no weights, in spreads of the channels"
    return _errors(task.errors_, what, task.verdict_)


def completer_held_out(task: Completer) -> Evaluation:
    """The errors of readings that were hidden in the last rows, beside the naive rules."""
    first, stop = task.split_["calibrate"]
    what = f"readings hidden in the last {stop - first:,} rows, which chose nothing; errors in spreads of the channels"
    errors = {name: e for name, e in task.held_out_.items() if name != "linear" or task.direction != "past"}
    return _filled(
        [Row(name=n, metrics={"MAE": e}, baseline=n != OURS) for n, e in errors.items()], what, task.verdict_
    )


def classifier_held_out(task: Classifier) -> Evaluation:
    """Right answers on the sequences that chose nothing, beside the naive rules; can the labels be predicted at all."""
    said = task.verdict_
    ours = {"accuracy": said.accuracy, "F1": _f1(task.confusion_)}
    rest = [Row(name=n, metrics={"accuracy": a, "F1": np.nan}, baseline=True) for n, a in task.rivals_.items()]
    what = f"{said.rows:,} sequences that chose nothing, each judged by a model that has not seen it"
    return _right([Row(name=OURS, metrics=ours), *rest], what, (str(said), task.against_))


# --- on data with known answers ---------------------------------------------------------------------------------------


def forecaster(task: Forecaster, data: Any, *, every: int = 1) -> Evaluation:
    """Forecasts from every moment of `data`, or one in `every`, beside the rules; `detail` is the `Backtest`."""
    test = task.backtest(data, every=every)
    from_to = f"{several(len(test), 'forecast')} of {several(test.mean.shape[1], 'row')}"
    return _errors(test.errors, f"{from_to}; errors in spreads of the channels", test.verdict, test)


def _errors(
    errors: dict[str, tuple[float, float]], what: str, verdict: str, test: Backtest | None = None
) -> Evaluation:
    ours, cover = windowed.OURS, {COVER: np.nan} if test else {}
    figures = {name: {"MSE": mse, "MAE": mae, **cover} for name, (mse, mae) in errors.items()}
    if test and test.levels[0] <= 0.05 and test.levels[-1] >= 0.95:
        figures[ours][COVER] = 100 * test.coverage(0.9)
    rows = [Row(name=name, metrics=each, baseline=name != ours) for name, each in figures.items()]
    units = {} if test is None else by_channel(test.channels, np.abs(test.mean - test.truth))
    return Evaluation(rows, what, verdict, not verdict.startswith(windowed.WON), detail=test, units=units)


def by_channel(channels: Sequence[str], missed: Floats) -> dict[str, float]:
    """The mean of errors (..., C) of each channel that has any; NaN = not judged.

    >>> by_channel(("flow", "level"), np.array([[1.0, np.nan], [3.0, np.nan]]))
    {'flow': 2.0}
    """
    table = missed.reshape(-1, len(channels))
    known = [(name, column[~np.isnan(column)]) for name, column in zip(channels, table.T, strict=True)]
    return {name: float(column.mean()) for name, column in known if len(column)}


def completer(task: Completer, data: Any, *, share: float = 0.1, pattern: str = "points", seed: int = 0) -> Evaluation:
    """Hide known readings of `data`, fill them, and look: beside linear interpolation and the last value.

    The verdict is a paired test over stretches of time, twice as long as what is hidden together or longer.

    share    of the known readings
    pattern  "points" here and there; "stretches" of 3 to 24 rows of a channel; "rows": those stretches of all channels

    `detail` is the `Completed`. What was missing before stays so and is not judged.
    """
    from .tasks import hiding

    series = verbs.matched(task, data)
    hidden = hide(~np.isnan(series.values), share, one_of("pattern", pattern, PATTERNS), seed)
    shown = np.where(hidden, np.nan, series.values)
    done, last = task.apply(replace(series, values=shown)), _last(shown)
    found = {OURS: done.values, "linear": done.linear, "last_value": last}
    if task.direction == "past":
        del found["linear"]  # which is the last value there
    judged = hidden & ~np.isnan(np.stack([*found.values()])).any(axis=0)
    if not judged.any():
        raise DataError("no reading could be hidden and filled", wanted="readings around those that are hidden")
    errors = {name: ((values - series.values) / task.model_.scale.spread)[judged] for name, values in found.items()}
    least = 2 * (1 if pattern == "points" else STRETCH[1])
    stretch = chance.stretches(np.nonzero(judged)[0], least)
    against = {n: hiding.nearer(np.zeros(len(e)), errors[OURS], e, stretch) for n, e in errors.items() if n != OURS}
    within = np.abs(done.values - series.values)[judged] <= AT_LEVEL * done.std[judged]
    figures = {
        name: {"MAE": np.abs(e).mean(), "RMSE": np.sqrt((e**2).mean()), COVER: 100 * within.mean()}
        for name, e in errors.items()
    }
    rows = [
        Row(name=n, metrics={**f, COVER: f[COVER] if n == OURS else np.nan}, baseline=n != OURS)
        for n, f in figures.items()
    ]
    part = 100 * hidden.sum() / (~np.isnan(series.values)).sum()
    what = f"{int(hidden.sum()):,} readings hidden, {part:.3g} % of those known, in {pattern}, seed {seed}; "
    what += "errors in spreads of the channels"
    missed = np.where(judged, np.abs(done.values - series.values), np.nan)
    verdict = hiding.verdict({name: each["MAE"] for name, each in figures.items()}, against)
    return replace(_filled(rows, what, verdict), detail=done, units=by_channel(series.channels, missed))


def _filled(rows: list[Row], what: str, verdict: str) -> Evaluation:
    from .tasks import hiding

    return Evaluation(rows, what, verdict, not verdict.startswith(hiding.WON))


def hide(known: Marks, share: float, pattern: str, seed: int) -> Marks:
    """Which of the known cells (T, C) to hide.

    >>> int(hide(np.ones((1000, 2), bool), 0.2, "stretches", seed=0).sum())
    400
    """
    if not 0 < share < 1:
        raise SettingError(f"share={share}", wanted="a share of the readings, between 0 and 1")
    rng, c = np.random.default_rng(seed), known.shape[1]
    wanted = int(np.ceil(share * known.sum()))
    if pattern == "points":
        at = rng.permutation(np.flatnonzero(known))[:wanted]
        points = np.zeros(known.size, dtype=bool)
        points[at] = True
        return points.reshape(known.shape)
    hidden, count = np.zeros_like(known), 0
    for cell in rng.permutation(np.flatnonzero(known)):
        if count >= wanted:
            break
        row, channel = divmod(int(cell), c)
        which = slice(None) if pattern == "rows" else slice(channel, channel + 1)
        length = min(
            int(rng.integers(STRETCH[0], STRETCH[1] + 1)), -(-(wanted - count) // (c if which.stop is None else 1))
        )
        block = np.s_[row : row + length, which]
        count += int((known[block] & ~hidden[block]).sum())
        hidden[block] = True
    return np.asarray(hidden & known)


def _last(shown: Floats) -> Floats:
    """The last reading of each channel before a hole; before the first, the first."""
    seen, at = ~np.isnan(shown), np.arange(len(shown))[:, None]
    before = np.maximum.accumulate(np.where(seen, at, -1), axis=0)
    first = np.where(seen.any(axis=0), seen.argmax(axis=0), 0)
    return np.take_along_axis(shown, np.where(before < 0, first, before), axis=0)


def classifier(
    task: Classifier, data: Any, truth: Sequence[Any] | NDArray[Any], *, history: Any = None, known: Any = None
) -> Evaluation:
    """Right answers on labelled sequences, beside the largest class of training; `detail` is the `Labelled`.

    truth            (N,) the label of each sequence
    history, known   the sequences that the classifier learned from, and their labels: then the nearest one of them
                     stands beside too
    """
    from .tasks import naming

    told, right = task.apply(data), np.asarray(truth)
    if right.shape != told.label.shape:
        raise DataError(f"{len(right):,} labels for {len(told.label):,} sequences", wanted="one each")
    names = np.unique(np.concatenate([task.classes_.astype(str), right.astype(str)]))
    number = {name: i for i, name in enumerate(names.tolist())}
    true, said = (np.array([number[str(label)] for label in part], dtype=np.int64) for part in (right, told.label))
    largest = str(task.classes_[task.confusion_.sum(axis=1).argmax()])
    rules = {"largest class": np.full(len(true), number[largest])}
    known_again = 0
    if history is not None:
        near, known_again = _nearest(task, data, history, known)
        rules["nearest sequence"] = np.array([number[str(label)] for label in near])
    rows = [Row(name=OURS, metrics=_answers(true, said, len(names)))]
    rows += [Row(name=n, metrics=_answers(true, one, len(names)), baseline=True) for n, one in rules.items()]
    strange = sorted(set(right.astype(str)) - set(task.classes_.astype(str)))
    sides = naming.compared(true, said, rules)[1]
    chances = chance.judge([true], [said]).of("sequences")
    found = _right(rows, f"{len(true):,} labelled sequences", (chances, sides), told)
    if known_again:
        of = f"{known_again:,} of {several(len(true), 'sequence')}"
        found.notes.append(f"{of} lie in the history too: if the model has seen them, it does better than on new ones")
    if strange:
        found.notes.append(f"labels that the model does not know, counted as wrong: {', '.join(strange[:8])}")
    return found


def _nearest(task: Classifier, data: Any, history: Any, known: Any) -> tuple[NDArray[Any], int]:
    """The label of the training sequence with the smallest Euclidean distance, as `naming.nearest` has it.

    And how many sequences are themselves in the history.
    """
    from .tasks import sequences

    past, new = (sequences.each(X, task.channels_) for X in (history, data))
    x, _ = sequences.block([*past, *new], task.model_.scale)
    flat = x.reshape(len(x), -1).astype(np.float64)
    squares = (flat[: len(past)] ** 2).sum(axis=1)
    apart = squares - 2.0 * flat[len(past) :] @ flat[: len(past)].T
    closest = apart.argmin(axis=1)
    labels: NDArray[Any] = np.asarray(known)[closest]
    return labels, int((flat[len(past) :] == flat[closest]).all(axis=1).sum())


def _answers(true: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> dict[str, float]:
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (true, said), 1)
    return {"accuracy": float((true == said).mean()), "F1": _f1(table)}


def _f1(confusion: NDArray[np.int64]) -> float:
    """The mean of each class's F1 (macro), over the classes that are or are named, as in scikit-learn.

    >>> _f1(np.array([[5, 0], [5, 0]])).__round__(3)
    0.333
    """
    hits, named, real = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    occurs = (named + real) > 0
    return float((2 * hits[occurs] / (named + real)[occurs]).mean())


def _right(rows: list[Row], what: str, sides: tuple[str, Against], detail: Any = None) -> Evaluation:
    """The verdict: whether labels can be told from chance, and by accuracy whether the baselines do as well."""
    from .tasks import naming

    ours, *rest = ((row.name, row.metrics["accuracy"]) for row in rows)
    beside = naming.beside(ours[1], dict(rest), sides[1])
    return Evaluation(rows, what, f"{sides[0]}\n{beside}", not beside.startswith(chance.WON), detail=detail)


# --- a label or values for every step ---------------------------------------------------------------------------------


def tagger_held_out(task: Tagger) -> Evaluation:
    """How the tagger did on the rows that chose nothing, beside the simple rules."""
    rows = [
        Row(name=name, metrics=_right_not_wrong(error), baseline=not name.startswith(TAGGER))
        for name, error in task.errors_.items()
    ]
    what = f"the {task.split_['judge']:,} rows that chose nothing"
    if not rows or rows[0].baseline:
        return Evaluation([Row(name=TAGGER, metrics={"accuracy": np.nan})], what, task.verdict_, False)
    return Evaluation(rows, what, task.verdict_, not task.verdict_.startswith(chance.WON))


def _right_not_wrong(error: dict[str, float]) -> dict[str, float]:
    return {"accuracy": 1 - error["rows"], "F1": 1 - error["1 - F1"]} if "rows" in error else dict(error)


def tagger(
    task: Tagger, data: Any, truth: Sequence[Any], *, history: tuple[Any, Sequence[Any]] | None = None
) -> Evaluation:
    """How often the labels of a tagger are right, or how far its values are off; `detail` is what `apply` said.

    The verdict is the paired test of `verdict_`, over blocks of time or of whole sequences.

    data, truth   a series, or many by name; and for each what stands beside its rows: what is missing is not judged
    history       data and truth that the tagger learned from: then a regression row by row stands beside too
    """
    many, labels = isinstance(data, dict), task.target == "label"
    given = list(data.values()) if many else [data]
    result = task.apply(given if many else data)
    numbers, right, told = (_labels if labels else _values)(task, result if many else [result], list(truth))
    told |= {} if history is None else dict([_row_by_row(task, given, *history)])
    if not right.any():
        raise DataError("nothing stands beside a row", wanted="what is to be compared with, beside some rows")
    rows = [
        Row(name=name, metrics=_off(task, numbers[right], said[right]), baseline=not name.startswith(TAGGER))
        for name, said in told.items()
    ]
    what = f"{int(right.sum()):,} of {len(right):,} rows have {'a label' if labels else 'values'}"
    strange = int((numbers[right] < 0).sum()) if labels else 0
    notes = [f"labels that the model does not know, counted as wrong: {strange:,} rows"] if strange else []
    sequence = np.repeat(np.arange(len(given)), [len(one) for one in given])
    verdict = _paired(task, rows, (numbers, told), right, sequence)
    return Evaluation(rows, what, verdict, not verdict.startswith(chance.WON), notes=notes, detail=result)


def _paired(
    task: Tagger, rows: list[Row], said: tuple[NDArray[Any], dict[str, NDArray[Any]]], known: Marks, sequence: Any
) -> str:
    """The verdict on rows of which something is known, in the words and by the test of `fit`."""
    from .tasks import marking

    truth, told = said[0][known], {name: one[known] for name, one in said[1].items()}
    ours, block = told[TAGGER], marking.blocks(sequence[known])
    if task.target == "label":
        gains = {name: 1.0 * (one != truth) - (ours != truth) for name, one in told.items()}
        errors = {row.name: {"rows": 1 - row.metrics["accuracy"]} for row in rows}
    else:
        gains = {name: marking.closer(truth, ours, one) for name, one in told.items()}
        errors = {row.name: dict(row.metrics) for row in rows}
    against = {name: chance.paired(gain, block) for name, gain in gains.items()}
    return marking.verdict(errors, against, "these rows")


def _labels(task: Tagger, said: list[Tagged], truth: list[Any]) -> tuple[NDArray[Any], Marks, dict[str, NDArray[Any]]]:
    """True class numbers (-1: unknown to the model), which rows have one, and the numbers that each rule says."""
    from .tasks import marked, marking

    def number(labels: list[Any]) -> NDArray[np.int64]:
        return marked.numbered([np.concatenate(labels)], task.classes_)[0]

    told: dict[str, NDArray[Any]] = {TAGGER: number([one.label for one in said])}
    if task.smooth:
        told[marking.RAW] = number([one.raw for one in said])
    steady = task.model_.steady
    assert steady is not None
    numbers = np.concatenate(marked.numbered(truth, task.classes_))
    told["largest class"] = np.full(len(numbers), int(steady.share.argmax()))
    return numbers, np.concatenate(marked.known(truth)), told


def _values(task: Tagger, said: list[Tagged], truth: list[Any]) -> tuple[NDArray[Any], Marks, dict[str, NDArray[Any]]]:
    """True values, which rows have any, and what each rule says."""
    from .tasks import marked

    values = np.concatenate(marked.values(truth))
    told = {TAGGER: np.concatenate([np.asarray(one.value) for one in said])}
    told["mean"] = np.broadcast_to(task.model_.target.center, values.shape)
    return values, np.asarray(~np.isnan(values).all(axis=1)), told


def _off(task: Tagger, truth: NDArray[Any], said: NDArray[Any]) -> dict[str, float]:
    from .tasks import marking

    if task.target == "value":
        return marking.measured(truth, said)
    classes = len(task.classes_)
    return _answers(np.where(truth < 0, classes, truth), said, classes + 1)


def _row_by_row(task: Tagger, given: list[Series], past: Any, truth: Sequence[Any]) -> tuple[str, NDArray[Any]]:
    """A regression from each row alone to what stands beside it, learned from history."""
    from .tasks import marked, marking, sequences

    def features(many: Sequence[Series]) -> Floats:
        own = [sequences.inputs(task.model_.scale, verbs.matched(task, one).values) for one in many]
        x = np.concatenate(own).astype(np.float64)
        return np.column_stack([x, np.ones(len(x))])

    x, new = features(list(past.values()) if isinstance(past, dict) else [past]), features(given)
    if task.target == "label":
        y = np.concatenate(marked.numbered(list(truth), task.classes_))
        w = marking.logistic(x[y >= 0, :-1], y[y >= 0], np.ones(len(task.classes_)))
        return "logistic regression", (new @ w).argmax(axis=1)
    values = np.concatenate(marked.values(list(truth)))
    there, mean = ~np.isnan(values).any(axis=1), np.nanmean(values, axis=0)
    return "linear regression", new @ marking.linear(x[there, :-1], values[there] - mean) + mean
