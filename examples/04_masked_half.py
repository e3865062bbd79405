"""A sum of uniform noise whose second half is hidden: the fill must go on with the slope, and say how sure it is."""

import sys

import numpy as np

import tidegate as tg
from tidegate import metrics


def main(picture: str = "") -> float:
    truth = np.cumsum(np.random.default_rng(0).random(600))
    shown = truth.copy()
    shown[300:] = np.nan

    completer = tg.Completer(training=tg.Training(epochs=10, batches=20), seed=0).fit(shown[:300])
    done = completer.apply(shown)
    hidden = slice(300, None)
    for name, fill in (
        ("zeros", np.zeros(600)),
        ("the last value", done.linear[:, 0]),
        ("Tidegate", done.values[:, 0]),
    ):
        print(f"{name:15} MSE {metrics.mse(truth[hidden], fill[hidden]):10.1f}   at the end {fill[-1]:6.1f}")
    inside = np.abs(done.values - truth[:, None])[hidden] <= 1.645 * done.std[hidden]
    print(f"the truth ends at {truth[-1]:.1f}; {inside.mean():.0%} of it lies in the 90 % intervals")
    if picture:
        draw(picture, done, truth)
    return metrics.mse(truth[hidden], done.values[hidden, 0])


def draw(picture: str, done: tg.Completed, truth: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    rows, fill, std = np.arange(300, 600), done.values[300:, 0], done.std[300:, 0]
    figure, axis = plt.subplots(figsize=(9, 3.5), layout="constrained")
    axis.plot(truth, color="black", linewidth=1, label="truth; the second half is hidden")
    axis.plot(rows, done.linear[300:, 0], color="tab:gray", linewidth=1, label="the last value")
    axis.fill_between(rows, fill - 1.645 * std, fill + 1.645 * std, color="tab:blue", alpha=0.2, label="90 % interval")
    axis.plot(rows, fill, color="tab:blue", linewidth=1.5, label="filled")
    axis.set(xlabel="row", ylabel="value", title="a sum of uniform noise")
    axis.legend(loc="upper left")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
