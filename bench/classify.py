"""The classifier at its defaults on the problems of its targets, baselines and published figures beside.

    python bench/classify.py                     # all tables, 3 seeds, written to bench/results.md
    python bench/classify.py --quick             # one seed, printed only
    python bench/classify.py --only ucr --sets CBF,Plane --seeds 1

Spikes and random labels are made here; the rest needs the data folder beside the project (`../shared/data`) and is left
out, saying so, where that is absent. One setting for all data; test rows choose nothing.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sections import put

import tidegate as tg

DATA = Path(__file__).parents[2] / "shared" / "data"
SMALL: dict[str, Any] = {
    "network": tg.Network(hidden=8),
    "training": tg.Training(epochs=3, batches=10, learning_rate=1e-2, noise=0.1),
}


def run(X: Any, y: Any, X_test: Any, y_test: Any, seed: int, cell: str = "gru") -> tuple[float, float, tg.Classifier]:
    """Test accuracy, seconds of training, the classifier."""
    began = time.perf_counter()
    task = tg.Classifier(cell=cell, seed=seed).fit(X, y)
    took = time.perf_counter() - began
    return task.score(X_test, y_test), took, task


def weights(task: tg.Classifier) -> int:
    return sum(w.size for w in task.model_.weights.values())


def spikes(seeds: range) -> Iterator[str]:
    best = tg.synth.spikes_bayes()
    yield f"\n## Spikes: 1,600 sequences of 50 to learn from, 400 to test; Bayes accuracy {best:.4f}\n"
    yield "| cell | accuracy | lowest | seconds | weights, 5 models | largest class | nearest sequence |"
    yield "|---" * 7 + "|"
    for cell in ("rnn_tanh", "lstm", "gru"):
        found = []
        for seed in seeds:
            X, y = tg.synth.spikes(2000, seed=seed)
            found.append(run(X[:1600], y[:1600], X[1600:], y[1600:], seed, cell))
        scores, took = [f[0] for f in found], np.mean([f[1] for f in found])
        naive = [f"{found[-1][2].rivals_[name]:.3f}" for name in ("largest class", "nearest sequence")]
        cells = (
            cell,
            f"{np.mean(scores):.4f}",
            f"{min(scores):.4f}",
            f"{took:.1f}",
            f"{weights(found[-1][2]):,}",
            *naive,
        )
        yield f"| {' | '.join(cells)} |"


def noise(count: int) -> Iterator[str]:
    """Random labels, small settings: how often is chance called something else."""
    wrong = 0
    for seed in range(count):
        rng = np.random.default_rng([seed, 77])
        X, y = rng.standard_normal((500, 10, 5)), rng.integers(0, 2, 500)
        wrong += tg.Classifier(seed=seed, **SMALL).fit(X, y).verdict_.better
    yield "\n## Random labels: 500 x 10 x 5 normal noise\n"
    yield f"Called better than chance in {wrong} of {count} draws (hidden 8, 3 epochs; at most 5 % are promised)."


def ucr(seeds: range, sets: list[str]) -> Iterator[str]:
    folder = DATA / "ucr"
    with (folder / "published.csv").open() as file:
        published = {line["name"]: line for line in csv.DictReader(file)}
    names = [name for name in published if not sets or name in sets]
    yield f"\n## UCR, default split, {len(names)} sets\n"
    columns = "set | rows, steps, classes | ours | InceptionTime | 1NN-DTW | 1NN-ED | largest class | seconds | verdict"
    yield f"| {columns} |\n" + "|---" * 9 + "|"
    ours = {}
    for name in names:
        with np.load(folder / f"{name}.npz") as a:
            X, y, X_test, y_test = (a[key] for key in ("X_train", "y_train", "X_test", "y_test"))
        found = [run(X, y, X_test, y_test, seed) for seed in seeds]
        ours[name] = float(np.mean([f[0] for f in found]))
        task, line = found[0][2], published[name]
        euclid, (classes, counts) = _euclid(X, y, X_test, y_test), np.unique(y, return_counts=True)
        largest = np.mean(y_test == classes[counts.argmax()])
        told = "better" if task.verdict_.better else "too few rows" if task.verdict_.detectable is None else "chance"
        peers = [line[peer][:5] or "-" for peer in ("InceptionTime", "1NN-DTW")]
        took = f"{np.mean([f[1] for f in found]):.0f}"
        data = f"{len(X)}, {X.shape[1]}, {len(task.classes_)}"
        cells = (name, data, f"{ours[name]:.3f}", *peers, f"{euclid:.3f}", f"{largest:.3f}", took, told)
        print(" | ".join(cells), flush=True)
        yield f"| {' | '.join(cells)} |"
    for peer in ("InceptionTime", "1NN-DTW"):
        both = [(ours[name], float(published[name][peer])) for name in names if published[name][peer]]
        if both:
            mean, theirs = np.mean(both, axis=0)
            above = sum(a > b for a, b in both)
            where = f"Mean where {peer} is published ({len(both)} sets)"
            yield f"\n{where}: ours {mean:.4f}, {peer} {theirs:.4f}; above it on {above}."


def _euclid(X: Any, y: Any, X_test: Any, y_test: Any) -> float:
    known, new = (np.nan_to_num(np.asarray(part, float)).reshape(len(part), -1) for part in (X, X_test))
    apart = (known**2).sum(1) - 2 * new @ known.T
    return float(np.mean(y[apart.argmin(1)] == y_test))


def uea(seeds: range) -> Iterator[str]:
    yield "\n## UEA\n\n| set | accuracy by seed | seconds | nearest sequence, held-out |\n|---|---|---|---|"
    for name in ("BasicMotions", "JapaneseVowels"):
        parts = [_ts(DATA / "uea" / name / f"{name}_{part}.ts") for part in ("TRAIN", "TEST")]
        found = [run(*parts[0], *parts[1], seed) for seed in seeds]
        scores, took = ", ".join(f"{f[0]:.4f}" for f in found), np.mean([f[1] for f in found])
        yield f"| {name} | {scores} | {took:.0f} | {found[0][2].rivals_['nearest sequence']:.3f} |"


def _ts(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """A file of the UEA archive: channels with ':' between them, the label last."""
    X, y = [], []
    for line in path.read_text().split("@data")[-1].split("\n"):
        if line.strip() and not line.startswith(("#", "@")):
            *channels, label = line.strip().split(":")
            X.append(np.array([[float("nan") if v == "?" else float(v) for v in c.split(",")] for c in channels]).T)
            y.append(label)
    return X, np.array(y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--only", choices=["spikes", "noise", "ucr", "uea"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default="", help="names of UCR sets, with commas; all if not given")
    args = parser.parse_args()
    seeds, began, lines = range(1 if args.quick else args.seeds), time.time(), []
    tables = {"spikes": lambda: spikes(seeds), "noise": lambda: noise(40)}
    if DATA.is_dir():
        tables |= {"ucr": lambda: ucr(seeds, [s for s in args.sets.split(",") if s]), "uea": lambda: uea(seeds)}
    else:
        print(f"UCR and UEA are left out: no {DATA}")
    for name, table in tables.items():
        if args.only in (None, name):
            made = list(table())
            print("\n".join(made), flush=True)
            lines += made
    if not args.quick and not args.only:
        how = f"{len(seeds)} seeds, {platform.machine()}, {time.time() - began:.0f} s"
        put("classify", "\n".join([f"Made by `python bench/classify.py`: {how}.", *lines]))


if __name__ == "__main__":
    main()
