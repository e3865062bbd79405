"""A sine with noise, and in half of the sequences a spike somewhere: which have one?"""

import sys
import time

import numpy as np

import tidegate as tg


def main(picture: str = "") -> float:
    X, y = tg.synth.spikes(2000, seed=0)
    began = time.perf_counter()
    quick = tg.Training(epochs=12, batches=20, learning_rate=1e-2, noise=0.1)  # half of what is usual
    classifier = tg.Classifier(training=quick, seed=0).fit(X[:1600], y[:1600])
    answer = classifier.apply(X[1600:])
    right = float((answer.label == y[1600:]).mean())
    print(f"{right:.1%} of 400 new sequences right, after {time.perf_counter() - began:.0f} s")
    print(f"the best possible rule: {tg.synth.spikes_bayes():.2%}")
    print(f"on rows that chose nothing: {classifier.verdict_}")
    for name, accuracy in classifier.rivals_.items():
        print(f"  beside it, {name}: {accuracy:.1%}")
    if picture:
        draw(picture, X[1600:], y[1600:], answer)
    return right


def draw(picture: str, X: np.ndarray, y: np.ndarray, answer: tg.Labelled) -> None:
    import matplotlib.pyplot as plt

    unsure = np.argsort(np.abs(answer.proba[:, 1] - 0.5))  # the hardest first
    figure, axes = plt.subplots(2, 4, figsize=(10, 4), layout="constrained", sharex=True, sharey=True)
    for axis, row in zip(axes.flat, [*unsure[:4], *unsure[-4:]], strict=True):
        colour = "tab:blue" if answer.label[row] == y[row] else "tab:red"
        axis.plot(X[row], color=colour, linewidth=1)
        axis.set_title(f"spike: {'yes' if y[row] else 'no'}, said {answer.proba[row, 1]:.0%}", fontsize=9)
    figure.suptitle("the four least sure, and four of the surest (red: named wrong)")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
