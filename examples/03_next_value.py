"""A slow wave under noise: what comes next is not the last value, and not the mean of the last four."""

import sys

import numpy as np

import tidegate as tg


def main(picture: str = "") -> float:
    rng, t = np.random.default_rng(1), np.arange(850)
    noise = 1.2 * rng.random(850)
    values = np.sin(0.03 * t) + noise + t / 300

    forecaster = tg.Forecaster(seed=0).fit(values[:720])
    test = forecaster.backtest(values[720 - forecaster.lookback_ :])  # one step ahead, from each row from 720 on

    floor = np.square(noise[720:] - 0.6).mean()  # what nobody can know
    four = np.mean([values[720 - back : 850 - back] for back in range(1, 5)], axis=0)
    errors = {
        "forecaster": np.square(test.mean - test.truth).mean(),
        "mean of four": np.square(values[720:] - four).mean(),
    }
    for name, error in errors.items():
        print(f"{name:13}  MSE {error:.4f}, of which {error - floor:.4f} could be avoided")
    print(f"inside the 90 % band: {test.coverage(0.9):.0%}; {test.verdict}")
    if picture:
        draw(picture, test, values[720:] - noise[720:] + 0.6)
    return float((errors["mean of four"] - floor) / (errors["forecaster"] - floor))


def draw(picture: str, test: tg.Backtest, floor: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    rows, mean = np.arange(720, 850), test.mean[:, 0, 0]
    low, high = (test.quantile(q)[:, 0, 0] for q in (0.05, 0.95))
    figure, axis = plt.subplots(figsize=(9, 3.5), layout="constrained")
    axis.fill_between(rows, low, high, color="tab:blue", alpha=0.15, label="90 % band")
    axis.plot(rows, test.truth[:, 0, 0], ".", color="black", markersize=4, label="what came")
    axis.plot(rows, floor, color="tab:green", linewidth=1, label="without its noise")
    axis.plot(rows, mean, color="tab:blue", linewidth=1.5, label="foreseen, one row ahead")
    axis.set(xlabel="row", ylabel="value", title="a slow wave under noise")
    axis.legend(loc="upper left", ncols=2)
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
