"""Filling what is missing on real data, by one command: the completer beside what is simple and what is published.

    python bench/complete.py                     # all tables, 5 seeds, written to bench/results.md
    python bench/complete.py --quick             # one seed, printed only
    python bench/complete.py --quick --only "ETTh1, 10 %"

Needs the data folder beside the project (`../shared/data`; its README has the protocols and sources): values scaled by
the training part, cells removed at random from all parts, mean absolute error on the removed cells of the test part.
The completer gets the training and the validation part and splits them itself: its default trains on three quarters,
which is the training part. Published figures fill each window of 48 (ItalyAir: 12) rows by itself, and on ItalyAir take
the -200 of a dead sensor for a reading (linear interpolation is .135 there; with -200 as missing it is .2). Both are
done here, and beside them what one would really do: all rows in one pass, -200 as missing. Every setting is the
library's default and the same for all data; learning rate and epochs were chosen on validation rows (LOG.md), inputs
on rows of which some are test rows here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sections import make

import tidegate as tg
from tidegate import scale
from tidegate.series import check

DATA = Path(__file__).parents[2] / "shared" / "data"
NORMAL_90 = 1.645
Hide = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One line of the table: the rows, where the test part begins, what is removed, the published window."""

    name: str
    values: np.ndarray
    test: int
    hide: Hide
    window: int
    published: str
    target: float


def points(share: float) -> Hide:
    """Each cell by itself."""
    return lambda seen, rng: (rng.random(seen.shape) < share) & seen


def stretches(share: float, shortest: int, longest: int) -> Hide:
    """Stretches of one channel, until `share` of it is gone."""

    def hide(seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        hidden = np.zeros_like(seen)
        for column in hidden.T:
            while column.mean() < share:
                first = rng.integers(0, len(column))
                column[first : first + rng.integers(shortest, longest + 1)] = True
        return hidden & seen

    return hide


def ett() -> tuple[np.ndarray, int, int]:
    """ETTh1, scaled by its first 14 months; the rows at which validation (5 months) and test (5 months) begin."""
    series = tg.read(DATA / "ett" / "ETTh1.csv")
    ends = [
        int(np.searchsorted(series.times, np.datetime64(day, "ns").astype(int))) for day in ("2017-09-01", "2018-02-01")
    ]
    return scale.learn(series.values[: ends[0]]).apply(series.values), *ends


def italy(missing: bool) -> tuple[np.ndarray, int, int]:
    """ItalyAir, -200 = missing or, as in the published figures, a value; 60/20/20 %, scaled by the first part."""
    lines = (DATA / "italy_air" / "AirQualityUCI.csv").read_text(encoding="latin-1").splitlines()[1:]
    rows = [line.split(";")[2:15] for line in lines if line.strip(";").strip()]
    values = np.array([[float(cell.replace(",", ".")) for cell in row] for row in rows])
    if missing:
        values[values == -200] = np.nan
    ends = int(0.6 * len(values)), int(0.8 * len(values))
    return scale.learn(values[: ends[0]]).apply(values), *ends


def cases() -> Iterator[Case]:
    values, _, test = ett()
    yield Case("ETTh1, 10 %", values, test, points(0.1), 48, "SAITS .144, BRITS .145, linear .197", 0.115)
    yield Case("ETTh1, 50 %", values, test, points(0.5), 48, "SAITS .223, BRITS .238, linear .267", 0.19)
    yield Case("ETTh1, stretches of 3 to 24 h, 20 %", values, test, stretches(0.2, 3, 24), 0, "-", 0.28)
    values, _, test = italy(missing=False)
    yield Case("ItalyAir, 10 %", values, test, points(0.1), 12, "linear .135, SAITS .185, BRITS .235", 0.112)
    values, _, test = italy(missing=True)
    yield Case("ItalyAir without its -200, 10 %", values, test, points(0.1), 12, "-", np.nan)


def filled(completer: tg.Completer, rows: np.ndarray, window: int) -> list[np.ndarray]:
    """Fill, standard deviation, naive fill (T, C): each window by itself, as published models do it, or all rows."""
    window = window or len(rows)
    whole = len(rows) - len(rows) % window
    parts = [check(part, interval="1h") for part in np.split(rows[:whole], whole // window)]
    done = [completer.apply(part) for part in parts]
    return [np.concatenate([getattr(d, name) for d in done]) for name in ("values", "std", "linear")]


def run(case: Case, direction: str, seed: int) -> dict[str, float]:
    """One completer on one case; cells are removed by the same seed for every direction."""
    hidden = case.hide(~np.isnan(case.values), np.random.default_rng([seed, 0]))
    shown = np.where(hidden, np.nan, case.values)
    began = time.perf_counter()
    completer = tg.Completer(direction=direction, seed=seed).fit(shown[: case.test], interval="1h")
    out = {"seconds": time.perf_counter() - began}
    out["parameters"] = sum(w.size for w in completer.model_.weights.values())
    out |= dict.fromkeys(("windows", "naive windows", "covered windows"), np.nan)  # where nothing is published
    for name, window in (("windows", case.window), ("whole", 0))[not case.window :]:
        fill, std, naive = filled(completer, shown[case.test :], window)
        truth, at = case.values[case.test :][: len(fill)], hidden[case.test :][: len(fill)]
        missed = np.abs(fill - truth)[at]
        out |= {name: float(missed.mean()), f"naive {name}": float(np.abs(naive - truth)[at].mean())}
        out[f"covered {name}"] = float((missed <= NORMAL_90 * std[at]).mean())
    return out


def row(who: str, values: list[tuple[float, ...]], cost: str = "") -> str:
    """A line of the table; each figure with its spread over seeds."""
    cells = []
    for column, digits in zip(zip(*values, strict=True), (4, 4, 3, 3), strict=False):
        spread = f" ± {np.std(column):.{digits}f}" if len(column) > 1 else ""
        cells.append("-" if np.isnan(column[0]) else f"{np.mean(column):.{digits}f}{spread}")
    return f"| {who} | {' | '.join(cells + [''] * (4 - len(cells)))} | {cost} |"


def table(case: Case, seeds: range) -> Iterator[str]:
    """Markdown, a line for each rule, as soon as it is known."""
    yield f"\n## {case.name} removed: mean absolute error of what was filled in, in spreads\n"
    yield "| who | MAE, published windows | MAE, whole | 90 % holds, windows | whole | seconds, parameters |"
    yield "|---" * 6 + "|"
    found = {way: [run(case, way, seed) for seed in seeds] for way in ("both", "none", "past")}
    for name, way in (("linear interpolation", "both"), ("last value", "past")):
        yield row(name, [(r["naive windows"], r["naive whole"]) for r in found[way]])
    for name, way in (("Completer", "both"), ("without recurrence", "none"), ("past only", "past")):
        keys = ("windows", "whole", "covered windows", "covered whole")
        cost = f"{np.mean([r['seconds'] for r in found[way]]):.0f} s, {found[way][0]['parameters']:,.0f}"
        yield row(name, [tuple(r[key] for key in keys) for r in found[way]], cost)
    wanted = "" if np.isnan(case.target) else f"; wanted {case.target}"
    yield f"| published: {case.published}{wanted} | | | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="the cases whose name begins so")
    args = parser.parse_args()
    if not DATA.is_dir():
        print(f"the shared data is not here: {DATA}")
        return
    seeds = range(1 if args.quick else args.seeds)
    chosen = {case.name: partial(table, case, seeds) for case in cases() if case.name.startswith(args.only)}
    make("complete", chosen, f"{len(seeds)} seeds", keep=not args.quick)


if __name__ == "__main__":
    main()
