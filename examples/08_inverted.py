"""The inverse of every step, learned by two hidden units: 10,000 sequences of 32 random bits, `y = 1 - x`."""

import sys

import numpy as np

import tidegate as tg


def main(picture: str = "") -> float:
    x = np.random.default_rng(0).integers(0, 2, (10_000, 32, 1)).astype(float)
    y = 1 - x[..., 0]

    training = tg.Training(epochs=25, batches=25, batch=32, learning_rate=1e-2, noise=0.1)
    tagger = tg.Tagger(target="value", network=tg.Network(hidden=2), training=training, seed=0).fit(x, y)

    for name, error in tagger.errors_.items():
        print(f"{name:18} MSE {error['RMSE'] ** 2:.6f} on sequences held out")
    print(tagger.verdict_)

    state = tagger.start()  # and one reading at a time
    for bit in (1, 0, 0, 1):
        told, state = tagger.step([bit], state)
        print(f"{bit} -> {told.value['value']:.2f}")
    if picture:
        draw(picture, tagger, x[0], y[0])
    return tagger.errors_["tagger"]["RMSE"] ** 2


def draw(picture: str, tagger: tg.Tagger, x: np.ndarray, y: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    figure, (one, other) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    one.step(range(32), y, where="mid", color="black", linewidth=1, label="1 - x")
    one.plot(tagger.apply(x).value[:, 0], "o", color="tab:blue", markersize=4, label="told")
    one.set(xlabel="step", title="one sequence")
    one.legend()
    other.semilogy([epoch.valid_loss for epoch in tagger.history_], color="tab:blue")
    other.set(xlabel="epoch", title="validation loss (targets in their spread)")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
