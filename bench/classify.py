"""The classifier at its defaults on the problems of its targets, baselines and published figures beside.

    python bench/classify.py                     # all tables, 5 seeds, written to bench/results.md
    python bench/classify.py --only ucr          # one of them
    python bench/classify.py --quick             # one seed, printed only
    python bench/classify.py --only ucr --sets CBF,Plane --seeds 1     # printed only

Spikes, tones and random labels are made here; the rest needs the data folder beside the project (`../shared/data`) and
is left out, saying so, where that is absent. One setting for all data; test rows choose nothing. Seconds are the
processor's, on one thread: those of a clock on the wall where nothing else runs.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sections import make

import tidegate as tg

PEERS = ("InceptionTime", "ROCKET", "1NN-DTW")
DATA = Path(__file__).parents[2] / "shared" / "data"
SMALL: dict[str, Any] = {
    "network": tg.Network(hidden=8),
    "training": tg.Training(epochs=3, batches=10, learning_rate=1e-2, noise=0.1),
}


def run(X: Any, y: Any, X_test: Any, y_test: Any, seed: int, cell: str = "gru") -> tuple[float, float, tg.Classifier]:
    """Test accuracy, processor seconds of training, the classifier."""
    began = time.process_time()
    task = tg.Classifier(cell=cell, seed=seed).fit(X, y)
    took = time.process_time() - began
    return task.score(X_test, y_test), took, task


def weights(task: tg.Classifier) -> int:
    return sum(w.size for w in task.model_.weights.values())


def spread(values: list[float]) -> str:
    """The mean, and the standard deviation over seeds where there are some."""
    return f"{np.mean(values):.4f}" + (f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


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
        scores, took, last = [f[0] for f in found], np.mean([f[1] for f in found]), found[-1][2]
        naive = [f"{last.rivals_[name]:.3f}" for name in ("largest class", "nearest sequence")]
        cells = (cell, spread(scores), f"{min(scores):.4f}", f"{took:.1f}", f"{weights(last):,}", *naive)
        yield f"| {' | '.join(cells)} |"


def overfit(seeds: range) -> Iterator[str]:
    """Faint tones, 400 sequences: a plain GRU learns them by heart."""
    best = tg.synth.tones_bayes()
    yield f"\n## Overfitting: 400 sequences of `synth.tones` to learn from, 4,000 to test; Bayes accuracy {best:.4f}\n"
    yield "| | known sequences | new sequences | of the gap closed | seconds |"
    yield "|---" * 5 + "|"
    theirs, ours = [], []
    for seed in seeds:
        X, y, (X_new, y_new) = *tg.synth.tones(400, seed=seed), tg.synth.tones(4000, seed=1000 + seed)
        theirs.append(plain(X, y, X_new, y_new, seed))
        new, took, task = run(X, y, X_new, y_new, seed)
        ours.append((task.score(X, y), new, took))
    (known, new, took), mine = zip(*theirs, strict=True), list(zip(*ours, strict=True))
    gap = (np.mean(mine[1]) - np.mean(new)) / (best - np.mean(new))
    yield f"| torch.nn.GRU, 128 units, no regularisation | {spread(known)} | {spread(new)} | 0 | {np.mean(took):.0f} |"
    yield f"| Classifier | {spread(mine[0])} | {spread(mine[1])} | {gap:.2f} | {np.mean(mine[2]):.0f} |"


def plain(X: Any, y: Any, X_new: Any, y_new: Any, seed: int) -> tuple[float, float, float]:
    """The GRU of a tutorial: Adam at 1e-3, batches of 32, until 98 % of its sequences are right; at most 300 epochs."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    began, known = time.process_time(), 0.0
    net, head = torch.nn.GRU(1, 128, batch_first=True), torch.nn.Linear(128, 2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], 1e-3)
    x, t, x_new = torch.tensor(X)[..., None].float(), torch.tensor(y), torch.tensor(X_new)[..., None].float()
    for _ in range(300):
        for rows in torch.randperm(len(x)).split(32):
            loss = torch.nn.functional.cross_entropy(head(net(x[rows])[0][:, -1]), t[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            known = float((head(net(x)[0][:, -1]).argmax(1) == t).float().mean())
        if known >= 0.98:
            break
    with torch.no_grad():
        said = torch.cat([head(net(part)[0][:, -1]).argmax(1) for part in x_new.split(500)]).numpy()
    return known, float(np.mean(said == y_new)), time.process_time() - began


def noise(count: int) -> Iterator[str]:
    """Random labels: how often is chance called something else; small settings too, of which more draws can be had."""
    yield "\n## Random labels: 500 x 10 x 5 normal noise; at most 5 % are promised\n"
    for said, draws, settings in (("the defaults", count, {}), ("8 units, 3 epochs", 4 * count, SMALL)):
        wrong = 0
        for seed in range(draws):
            rng = np.random.default_rng([seed, 77])
            X, y = rng.standard_normal((500, 10, 5)), rng.integers(0, 2, 500)
            wrong += tg.Classifier(seed=seed, **settings).fit(X, y).verdict_.better
        yield f"With {said}: called better than chance in {wrong} of {draws} draws.\n"


def ucr(seeds: range, sets: list[str]) -> Iterator[str]:
    folder = DATA / "ucr"
    with (folder / "published.csv").open() as file:
        published = {line["name"]: line for line in csv.DictReader(file)}
    names = [name for name in published if not sets or name in sets]
    yield f"\n## UCR, default split, {len(names)} sets\n"
    yield f"| set | rows, steps, classes | ours | {' | '.join(PEERS)} | 1NN-ED | largest class | seconds | verdict |"
    yield "|---" * (8 + len(PEERS)) + "|"
    ours, took = {}, 0.0
    for name in names:
        with np.load(folder / f"{name}.npz") as a:
            X, y, X_test, y_test = (a[key] for key in ("X_train", "y_train", "X_test", "y_test"))
        found = [run(X, y, X_test, y_test, seed) for seed in seeds]
        ours[name], took = [f[0] for f in found], took + sum(f[1] for f in found)
        task, peers = found[0][2], [published[name][peer][:5] or "-" for peer in PEERS]
        euclid, (classes, counts) = _euclid(X, y, X_test, y_test), np.unique(y, return_counts=True)
        largest = np.mean(y_test == classes[counts.argmax()])
        told = "better" if task.verdict_.better else "too few rows" if task.verdict_.detectable is None else "chance"
        seconds, data = f"{np.mean([f[1] for f in found]):.0f}", f"{len(X)}, {X.shape[1]}, {len(task.classes_)}"
        cells = (name, data, spread(ours[name]), *peers, f"{euclid:.3f}", f"{largest:.3f}", seconds, told)
        yield f"| {' | '.join(cells)} |"
    yield f"\nAll sets once: {took / len(seeds):.0f} s. Mean of all {len(names)}: {np.mean(list(ours.values())):.4f}."
    for peer in PEERS:
        both = [(np.array(ours[name]), float(published[name][peer])) for name in names if published[name][peer]]
        if both:
            yield _against(peer, both)


def _against(peer: str, both: list[tuple[np.ndarray, float]]) -> str:
    """A sentence on our accuracies, by seed, beside theirs."""
    mine, theirs = np.array([accuracies for accuracies, _ in both]), np.array([accuracy for _, accuracy in both])
    apart = mine - theirs[:, None]
    above, tied = (apart.mean(1) > 0).sum(), (apart.mean(1) == 0).sum()
    means = f"ours {mine.mean():.4f}, {peer} {theirs.mean():.4f}, {100 * apart.mean():+.2f} points"
    by_seed = f" (by seed {', '.join(f'{100 * d:+.2f}' for d in apart.mean(0))})" * (apart.shape[1] > 1)
    where = f"Where {peer} is published ({len(both)} sets): {means}{by_seed}"
    return f"\n{where}; above it on {above}, as good on {tied}."


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
    parser.add_argument("--only", choices=["spikes", "noise", "overfit", "ucr", "uea"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", default="", help="names of UCR sets, with commas; all if not given")
    args = parser.parse_args()
    seeds, draws = range(1 if args.quick else args.seeds), 2 if args.quick else 20
    tables = {"spikes": lambda: spikes(seeds), "overfit": lambda: overfit(seeds), "noise": lambda: noise(draws)}
    if DATA.is_dir():
        tables |= {"ucr": lambda: ucr(seeds, [s for s in args.sets.split(",") if s]), "uea": lambda: uea(seeds)}
    else:
        print(f"UCR and UEA are left out: no {DATA}")
    chosen = {name: table for name, table in tables.items() if args.only in (None, name)}
    make("classify", chosen, f"{len(seeds)} seeds", keep=not args.quick and not args.sets)


if __name__ == "__main__":
    main()
