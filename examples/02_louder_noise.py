"""Ten channels of plain noise, N(0, 1); abnormal rows are three times as loud. Nothing to forecast, and still found."""

import sys

import numpy as np

import tidegate as tg
from tidegate import metrics


def main(picture: str = "") -> float:
    rng = np.random.default_rng(0)
    normal, later = rng.standard_normal((4000, 10)), rng.standard_normal((2000, 10))
    loud = np.zeros(2000, dtype=bool)
    for start in (300, 800, 1100, 1600):
        loud[start : start + 100] = True
    later[loud] *= 3

    detector = tg.AnomalyDetector(false_alarms="1/hour", seed=0).fit(normal)
    found = detector.apply(later)
    area = metrics.auroc(loud, found.score)
    print(f"AUROC per step: {area:.4f} (fast score alone: {metrics.auroc(loud, found.score_fast):.4f})")
    print(f"alarms: {[(alarm.first_row, alarm.last_row) for alarm in found.alarms]}")
    if picture:
        draw(picture, found, loud)
    return area


def draw(picture: str, found: tg.Found, loud: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 4.5), layout="constrained", sharex=True)
    axes[0].plot(found.values[:, 0], color="black", linewidth=0.5)
    axes[0].set(title="one of ten channels; shaded: three times as loud", ylabel="value")
    axes[1].plot(found.score, color="tab:blue", linewidth=0.8, label="score")
    axes[1].plot(found.bar, color="tab:red", linewidth=0.8, label="what it must exceed to be an alarm")
    axes[1].set(xlabel="row", ylabel="score")
    axes[1].legend(loc="upper right")
    for axis in axes:
        axis.fill_between(range(len(loud)), *axis.get_ylim(), where=loud, color="black", alpha=0.1)
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
