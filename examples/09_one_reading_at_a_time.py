"""Say the bit before this one, learning from each: a one-step gradient loses it again; ours keeps it."""

import sys
import warnings

import numpy as np

from tidegate.online import Learner, Rule

LOOKED = (0, 500, 2000, 5000, 10_000, 19_500)


def errors(rule: Rule, seed: int) -> np.ndarray:
    bits = np.random.default_rng(seed).integers(0, 2, 20_001)
    learner = Learner(channels=1, rule=rule)
    memory = learner.begin(seed=seed)
    said = learner.steps(memory, bits[1:, None], bits[:-1])  # each answer before its target is learned
    return (said[:, 0] > 0.5) != bits[:-1]


def main(picture: str = "") -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of back=1, which is shown here on purpose
        one_step = Rule(back=1)
    found = {}
    for name, rule in (("one step (a stateful loop with timesteps=1)", one_step), ("back 16 readings", Rule())):
        print(f"{name}: wrong of 500 from reading {', '.join(f'{at:,}' for at in LOOKED)}")
        found[name] = [errors(rule, seed) for seed in range(4)]
        for seed, wrong in enumerate(found[name]):
            print(f"  seed {seed}: {'  '.join(f'{wrong[at : at + 500].mean():4.0%}' for at in LOOKED)}")
    if picture:
        draw(picture, found)
    return max(float(wrong[-500:].mean()) for wrong in found["back 16 readings"])


def draw(picture: str, found: dict[str, list[np.ndarray]]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    for (name, runs), color in zip(found.items(), ("tab:gray", "tab:blue"), strict=True):
        for seed, wrong in enumerate(runs):
            share = np.convolve(wrong, np.ones(200) / 200, "valid")
            axes.plot(share, color=color, linewidth=0.8, label=name if seed == 0 else None)
    axes.set(xlabel="reading", ylabel="share of errors")
    axes.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
