"""Faint tones that a plain GRU learns by heart; the classifier notices, and keeps what holds for new data."""

import sys

import numpy as np
import torch

import tidegate as tg
from tidegate import nn


def main(picture: str = "") -> float:
    X, y = tg.synth.tones(400, seed=0)
    X_new, y_new = tg.synth.tones(2000, seed=1)
    known, new = plain(X, y, X_new, y_new)
    print(f"a plain GRU: {known:.1%} of its own sequences right, {new:.1%} of new ones")
    classifier = tg.Classifier(seed=0).fit(X, y)
    right, best = classifier.score(X_new, y_new), tg.synth.tones_bayes()
    print(f"the classifier: {right:.1%} of new ones; the best possible rule: {best:.1%}")
    print("\n".join(classifier.notes_))
    if picture:
        draw(picture, classifier)
    return float((right - new) / (best - new))


def plain(X: np.ndarray, y: np.ndarray, X_new: np.ndarray, y_new: np.ndarray) -> tuple[float, float]:
    """Shares of known and new sequences that are right, once 98 % of the known ones are."""
    torch.manual_seed(0)
    net, head = nn.GRU(1, 128, batch_first=True), torch.nn.Linear(128, 2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], 3e-3)
    (x, t), (x_new, t_new) = (
        (torch.tensor(a)[..., None].float(), torch.tensor(b)) for a, b in ((X, y), (X_new, y_new))
    )
    known = 0.0
    while known < 0.98:
        for rows in torch.randperm(len(x)).split(32):
            loss = torch.nn.functional.cross_entropy(head(net(x[rows])[0][:, -1]), t[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            known = float((head(net(x)[0][:, -1]).argmax(1) == t).float().mean())
    with torch.no_grad():
        return known, float((head(net(x_new)[0][:, -1]).argmax(1) == t_new).float().mean())


def draw(picture: str, classifier: tg.Classifier) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
    for i, history in enumerate(classifier.histories_):
        axis.plot([e.train_loss for e in history], color="tab:blue", linewidth=1, label="training" if not i else None)
        axis.plot([e.valid_loss for e in history], color="tab:red", linewidth=1, label="validation" if not i else None)
    axis.set(xlabel="epoch", ylabel="loss", title="five models, each with rows that it has not seen")
    axis.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
