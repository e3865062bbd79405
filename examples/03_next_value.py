"""A slow wave under noise: what comes next is not the last value, and not the mean of the last four."""

import numpy as np

import tidegate as tg


def main() -> float:
    rng, t = np.random.default_rng(1), np.arange(850)
    noise = 1.2 * rng.random(850)
    values = np.sin(0.03 * t) + noise + t / 300

    forecaster = tg.Forecaster(seed=0).fit(values[:720])
    test = forecaster.backtest(values[720 - forecaster.lookback :])  # one step ahead, from each row from 720 on

    floor = np.square(noise[720:] - 0.6).mean()  # what nobody can know
    four = np.mean([values[720 - back : 850 - back] for back in range(1, 5)], axis=0)
    errors = {
        "forecaster": np.square(test.mean - test.truth).mean(),
        "mean of four": np.square(values[720:] - four).mean(),
    }
    for name, error in errors.items():
        print(f"{name:13}  MSE {error:.4f}, of which {error - floor:.4f} could be avoided")
    print(f"inside the 90 % band: {test.coverage(0.9):.0%}; {test.verdict}")
    return float((errors["mean of four"] - floor) / (errors["forecaster"] - floor))


if __name__ == "__main__":
    main()
