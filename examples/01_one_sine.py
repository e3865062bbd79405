"""Learn one sine and nothing else; then meet another one, of other scale, offset and frequency."""

import sys

import numpy as np

import tidegate as tg
from tidegate import metrics


def main(picture: str = "") -> float:
    t = np.arange(4000)
    known = np.sin(2 * np.pi * t / 50)
    unseen = 2.0 * np.sin(2 * np.pi * t[:1000] / 31) + 1.0

    detector = tg.AnomalyDetector(method="prediction", seed=0).fit(known[:3000])
    same, other = detector.apply(known[3000:]), detector.apply(unseen)
    residuals = []
    for name, found in (("the sine it knows", same), ("another sine", other)):
        seen, expected = found.values[50:, 0], found.expected[50:, 0]
        residuals.append(np.sqrt(metrics.mse(seen, expected)))
        print(
            f"{name:18}  MSE {metrics.mse(seen, expected):.2e}  correlation {metrics.correlation(seen, expected):.4f}"
            f"  cosine {metrics.cosine_similarity(seen, expected):.4f}  rows in alarm {found.alarm.mean():.0%}"
        )
    print(f"the residual on the unseen sine is {residuals[1] / residuals[0]:.0f} times larger")
    if picture:
        draw(picture, {"the sine it knows": same, "another sine": other})
    return float(residuals[1] / residuals[0])


def draw(picture: str, answers: dict[str, tg.Found]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 4.5), layout="constrained", sharex=True)
    for axis, (name, found) in zip(axes, answers.items(), strict=True):
        axis.plot(found.values[:250, 0], color="black", linewidth=1, label="seen")
        axis.plot(found.expected[:250, 0], color="tab:blue", linewidth=1, label="expected")
        axis.fill_between(range(250), -1.2, 3.2, where=found.alarm[:250], color="tab:red", alpha=0.15, label="alarm")
        axis.set(title=name, ylabel="value")
    axes[0].legend(loc="upper right", ncols=3)
    axes[1].set_xlabel("row")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
