"""Labels that have nothing to do with the data: what looks like 60 % right is chance, and is called that."""

import sys

import numpy as np

import tidegate as tg


def main(picture: str = "") -> float:
    short = tg.Training(epochs=3, batches=10, learning_rate=1e-2, noise=0.1)
    quick = tg.Classifier(network=tg.Network(hidden=8), training=short)
    p_values = []
    for seed in range(10):
        rng = np.random.default_rng([seed, 77])
        X, y = rng.standard_normal((500, 10, 5)), rng.integers(0, 2, 500)
        verdict = quick.set_params(seed=seed).fit(X, y).verdict_
        p_values.append(verdict.p_value)
        print(verdict)
    print("\nand labels that can be predicted, if not well:")
    X[:, :, 0] += 0.4 * y[:, None]
    faint = quick.fit(X, y).verdict_
    print(faint)
    if picture:
        draw(picture, p_values, faint)
    assert faint.better
    return float(np.mean(np.array(p_values) < faint.level))


def draw(picture: str, p_values: list[float], faint: object) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
    axis.plot(p_values, range(len(p_values)), "o", color="tab:gray", label="random labels, ten draws")
    axis.plot([max(faint.p_value, 1e-6)], [len(p_values)], "o", color="tab:blue", label="labels with something in them")
    axis.axvline(faint.level, color="tab:red", linewidth=1, label="5 %: left of it is better than chance")
    axis.set(xscale="log", xlabel="p-value of the held-out rows", yticks=[], title="can these labels be predicted?")
    axis.legend(loc="lower left", bbox_to_anchor=(0.02, 0.05))
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
