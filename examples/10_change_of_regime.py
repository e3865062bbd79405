"""Foresee a chaotic stream with no history at all, learning from each reading; halfway the system becomes another."""

import sys
from itertools import pairwise

import numpy as np

import tidegate as tg


def mackey_glass(rows: int, lags: tuple[int, int], seed: int) -> np.ndarray:
    """dx/dt = .2 x(t-lag) / (1 + x(t-lag)^10) - .1 x (Mackey & Glass 1977), a reading every 7; then another lag."""
    rng, fine = np.random.default_rng(seed), 5
    x = list(1.2 + 0.1 * rng.standard_normal(40 * fine))
    for t in range(rows * 7 * fine):
        lagged = x[-lags[t >= rows * 7 * fine // 2] * fine]
        x.append(x[-1] + (0.2 * lagged / (1 + lagged**10) - 0.1 * x[-1]) / fine)
    return np.array(x[40 * fine :: 7 * fine])


def main(picture: str = "") -> float:
    x = mackey_glass(6000, (17, 30), seed=0)
    tagger = tg.Tagger(target="value", cell="lru", seed=0).cold_start(channels=1)
    state, said = tagger.start(), []
    for before, now in pairwise(x):
        verdict, state = tagger.step([before], state, learn=True, target=now - before)  # says first, learns then
        said.append(before + verdict.value["value"])
    wrong = {"the last reading": (x[1:] - x[:-1]) ** 2, "learned on the way": (x[1:] - np.array(said)) ** 2}
    for name, part in (
        ("before", slice(2000, 2990)),
        ("just after", slice(3000, 3200)),
        ("at the end", slice(-1000, None)),
    ):
        line = ", ".join(f"{who} {np.mean(error[part]) / np.var(x[part]):.3f}" for who, error in wrong.items())
        print(f"{name:11} the change, share of the variance that was missed: {line}")
    if picture:
        draw(picture, x, wrong)
    return float(np.mean(wrong["learned on the way"][-1000:]) / np.var(x[-1000:]))


def draw(picture: str, x: np.ndarray, wrong: dict[str, np.ndarray]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 4.5), layout="constrained")
    axes[0].plot(range(2900, 3100), x[2900:3100], color="black", linewidth=1)
    axes[0].axvline(3000, color="tab:red", linewidth=1)
    axes[0].set(title="the system changes at reading 3,000", ylabel="value")
    for (name, error), color in zip(wrong.items(), ("tab:gray", "tab:blue"), strict=True):
        mean = np.convolve(error / np.var(x), np.ones(100) / 100, "valid")
        axes[1].semilogy(np.arange(len(mean)) + 100, mean, color=color, label=name)
    axes[1].set(xlabel="reading", ylabel="error / variance")
    axes[1].legend(loc="upper right")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
