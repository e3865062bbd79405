"""The anomaly detector on real data, at its defaults, its baselines beside, over several seeds.

    python bench/anomaly.py                      # all tables, 5 seeds, written to bench/results.md
    python bench/anomaly.py --quick              # one seed, printed only
    python bench/anomaly.py --only budget        # are budgets kept on real rows that nothing is known to be wrong with

Needs the data folder beside the project (`../shared/data`; its README has the protocols and sources). Every setting
is the library's default and the same for all data; thresholds come from training rows alone.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sections import made, put

import tidegate as tg
from tidegate import calibrate, demo, metrics
from tidegate.series import SECOND, check
from tidegate.settings import rate
from tidegate.tasks import rivals
from tidegate.tasks.learning import poisson_interval

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = ("network", "last_value", "level", "pca")
Scores = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (score, alarm), a row each


def run(normal: tg.Series, later: tg.Series, seed: int) -> Scores:
    """The detector and its baselines on later rows, each learned from the normal ones only."""
    detector = tg.AnomalyDetector(seed=seed).fit(normal)
    found = detector.apply(later, detector.apply(normal).state)
    out = {"network": (found.score, found.alarm)}
    both = np.concatenate([normal.values, later.values])
    for name, rival in detector.rivals_.items():
        score = rivals.score(name, rival.learned, both, np.zeros(1, dtype=np.int64))[len(normal) :]
        limit = calibrate.guarded(rival.calibration, rate(detector.alarming.budget))
        out[name] = (score, calibrate.after_shock(score, 0.0)[0] > limit.value)
    return out


def skab(seed: int) -> dict[str, dict[str, float]]:
    """SKAB valve1: per file the first 400 rows are normal, the rest is judged; F1 pooled over files."""
    areas: dict[str, list[float]] = {name: [] for name in NAMES}
    pooled: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    truth = []
    for path in sorted((DATA / "skab" / "valve1").glob("*.csv"), key=lambda p: int(p.stem)):
        series = tg.read(path, labels="anomaly")
        series = series.select([c for c in series.channels if c != "changepoint"])
        labels = np.asarray(series.labels)[400:] > 0
        truth.append(labels)
        for name, (score, alarm) in run(series[:400], series[400:], seed).items():
            areas[name].append(metrics.auroc(labels, score))
            pooled[name].append(alarm)
    known = np.concatenate(truth)
    return {name: _rows(known, np.concatenate(pooled[name])) | {"AUROC": float(np.mean(areas[name]))} for name in NAMES}


def _rows(labels: np.ndarray, alarm: np.ndarray) -> dict[str, float]:
    rates = {
        "false alarm %": 100 * metrics.false_alarm_rate(labels, alarm),
        "missed %": 100 * metrics.missed_rate(labels, alarm),
    }
    return {"F1": metrics.f1(labels, alarm), **rates}


def tsb(seed: int) -> dict[str, dict[str, float]]:
    """TSB-AD's SMAP and SMD series: its training rows, its window, all rows scored; VUS-PR by its definition."""
    table: dict[str, dict[str, float]] = {name: {} for name in NAMES}
    with (DATA / "tsb_ad.csv").open() as file:
        for line in csv.DictReader(file):
            values, labels, known = _tsb_series(line["name"])
            if not known:
                continue
            series = check(values)
            rows = int(line["train_rows"])
            for name, (score, _) in run(series[:rows], series[rows:], seed).items():
                whole = np.concatenate([np.full(rows, np.nanmin(score)), score])
                table[name][line["name"]] = metrics.vus_pr(labels, whole, int(line["vus_window"]))
    for row in table.values():
        row["SMAP mean"] = float(np.mean([v for k, v in row.items() if k.startswith("SMAP_")]))
        row["SMD 1-7, 2-1 mean"] = (row["machine-1-7"] + row["machine-2-1"]) / 2
    return table


def _tsb_series(name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    path = DATA / ("smd" if name.startswith("machine") else "smap_msl") / f"{name}.npz"
    if not path.exists():
        return np.empty(0), np.empty(0), False
    with np.load(path) as arrays:
        return arrays["test"].astype(float), arrays["label"].astype(int).ravel(), True


def quiet() -> Iterator[tuple[str, tg.Series]]:
    """Real rows in which nothing is known to be wrong."""
    series = tg.read(DATA / "skab" / "anomaly-free" / "anomaly-free.csv")
    yield "SKAB, fault-free", series
    recording = tg.read(demo.RECORDING / "host.csv.gz")
    first = demo.faults(demo.RECORDING / "faults.csv")[0].start
    yield "the recording, healthy part", recording[: np.datetime64(first - demo.BEFORE * SECOND, "ns")]


def budgets(seeds: range) -> Iterator[str]:
    """Quiet rows: a detector learns from the first 60 %; alarms in the rest, beside what it promises."""
    yield "\n## Is the budget kept? Normal rows alone: learned from the first 60 %, alarms in the rest\n"
    columns = ("", "asked", "kept, per hour", "expected", "observed, by seed", "upper limit (95 %, Poisson)")
    yield "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"])
    for name, series in quiet():
        part, asked = round(0.6 * len(series)), ("1/day", "6/h", "30/h")
        detectors = [tg.AnomalyDetector(seed=seed).fit(series[:part]) for seed in seeds]
        for budget in asked:
            seen = [_observed(detector.set_params(false_alarms=budget), series[part:]) for detector in detectors]
            kept, expected, alarms = zip(*seen, strict=True)
            high, counts = poisson_interval(max(expected))[1], ", ".join(map(str, alarms))
            yield f"| {name} | {budget} | {np.mean(kept):.3g} | {np.mean(expected):.2g} | {counts} | {high} |"


def _observed(detector: tg.AnomalyDetector, later: tg.Series) -> tuple[float, float, int]:
    """Alarms an hour that the detector promises not to exceed, how many that makes on these rows, and how many came."""
    found, kept = detector.apply(later), detector.threshold_.kept
    return kept * 3600, kept * float(np.isfinite(found.score).sum()) * later.interval, len(found.alarms)


def show(title: str, seeds: list[dict[str, dict[str, float]]]) -> Iterator[str]:
    """A Markdown table: mean over seeds, and the standard deviation where the seed matters."""
    columns = list(seeds[0]["network"])
    yield f"\n## {title}\n"
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in NAMES:
        cells = []
        for column in columns:
            values = [seed[name][column] for seed in seeds]
            spread = f" ± {np.std(values):.3f}" if name == "network" and len(seeds) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--only", choices=["skab", "tsb", "budget"])
    args = parser.parse_args()
    seeds = range(1 if args.quick else 5)
    began, lines = time.time(), []
    for name, title, table in (
        ("skab", "SKAB valve1, 16 files, pooled; AUROC is the mean over files", skab),
        ("tsb", "VUS-PR on TSB-AD's SMAP and SMD series", tsb),
    ):
        if args.only in (None, name):
            lines += show(title, [table(seed) for seed in seeds])
            print("\n".join(lines), flush=True)
    if args.only in (None, "budget"):
        lines += budgets(seeds)
        print("\n".join(lines), flush=True)
    if not args.quick and not args.only:
        put("anomaly", "\n".join([made("anomaly", f"{len(seeds)} seeds", began), *lines]))


if __name__ == "__main__":
    main()
