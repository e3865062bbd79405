"""A sum of uniform noise whose second half is hidden: the fill must go on with the slope, and say how sure it is."""

import numpy as np

import tidegate as tg
from tidegate import metrics


def main() -> float:
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
    return metrics.mse(truth[hidden], done.values[hidden, 0])


if __name__ == "__main__":
    main()
