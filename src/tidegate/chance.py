"""Can labels be predicted at all: an exact test of right answers against chance, and what so few rows could show.

The rows must have chosen nothing: no weights, no end of training, no setting. Then labels that have nothing to do with
the data are called predictable in at most the stated share of cases, however unbalanced the classes (a test against
one half says so of nearly all unbalanced ones).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import DataError

LEVEL = 0.05
"""How often labels that cannot be predicted are called predictable, at most."""

BLOCKS = 12  # of rows, each a witness of who is better
DRAWS = 9_999  # permutations where there are more than two classes
POWER, TINY = 0.8, 1e-300
TRIED = 200  # draws by which it is tried out what would be detected

ROUNDING = 1e-6  # of a spread: what is nearer by less is not nearer
WON, LOST = "better than the simple rules", "a simple rule does better"  # how verdicts of `beside` begin
DRAW = "as far as these rows can tell"

Labels = NDArray[np.int64]
Against = Mapping[str, tuple[float, float]]  # of each simple rule what `paired` or `signed` says


class Chance(msgspec.Struct, frozen=True):
    """What held-out rows say: `str()` is the verdict in a sentence, `better` the same as True or False."""

    rows: int
    accuracy: float
    majority: float
    """the share of the largest class: what always naming that one would get"""
    p_value: float
    level: float
    detectable: float | None
    """the accuracy that these rows would have told from chance 4 times in 5; None where no accuracy would do"""

    @property
    def better(self) -> bool:
        """Whether the labels were predicted better than chance."""
        return self.p_value < self.level

    def __str__(self) -> str:
        return self.of("held-out rows")

    def of(self, what: str) -> str:
        """The verdict in a sentence, with the name of what was judged."""
        seen = f"{100 * self.accuracy:.1f} % of {self.rows:,} {what} right (the largest class: "
        seen += f"{100 * self.majority:.1f} %), p = {self.p_value:.2g}"
        if self.better:
            return f"better than chance: {seen}; said wrongly at most {100 * self.level:g} % of the time"
        if self.detectable is None:
            return f"too few rows to tell from chance: {seen}; even all right would not have been enough"
        return f"no better than chance: {seen}; {100 * self.detectable:.0f} % right would have been noticed"


def p_value(truth: Labels, said: Labels, seed: int = 0) -> float:
    """How likely at least so many right answers are if answers and labels have nothing to do with each other.

    >>> truth = np.repeat([0, 1], 4)
    >>> round(p_value(truth, truth) * 70, 9)
    1.0

    Two classes: Fisher's exact test, one-sided (1922), which is the permutation test with all permutations. More:
    DRAWS random ones, (1 + as good) / (1 + DRAWS), exact too (Phipson & Smyth 2010). truth, said (n,): class numbers.
    """
    if truth.shape != said.shape or truth.ndim != 1 or not len(truth):
        raise DataError(f"labels of shape {truth.shape}, answers of shape {said.shape}", wanted="one answer a label")
    right = int((truth == said).sum())
    if max(truth.max(), said.max()) <= 1:
        hits = _two_classes(len(truth), int(truth.sum()), int(said.sum()))
        return float(min(1.0, hits[right:].sum()))
    rng = np.random.default_rng([seed, 2])
    as_good = sum(int((rng.permutation(truth) == said).sum()) >= right for _ in range(DRAWS))
    return (1 + as_good) / (1 + DRAWS)


def judge(truth: Sequence[Labels], said: Sequence[Labels], level: float = LEVEL, seed: int = 0) -> Chance:
    """The verdict on answers of several models, each about rows that it has not seen.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 60)
    >>> print(judge([truth], [rng.integers(0, 2, 60)]))
    no better than chance: 50.0 % of 60 held-out rows right (the largest class: 56.7 %), ...
    >>> judge([truth], [truth]).better
    True

    The models have learned from each other's rows, so their answers are no independent witnesses: the smallest p of the
    K tests is taken K times (Bonferroni), which holds whatever depends on what. Where the labels are so few that no
    model alone could convince, which they say before any answer, it is e times the geometric mean of all p, which holds
    likewise (Vovk & Wang 2020, section 4).
    """
    pairs = [(t, s) for t, s in zip(truth, said, strict=True) if len(t)]
    if not pairs:
        raise DataError("no held-out rows", wanted="at least one")
    alone = np.array([max(p_value(t, s, seed), TINY) for t, s in pairs])
    truths = [t for t, _ in pairs]
    enough = 1 - (1 - POWER) ** (1 / len(pairs))  # one of K will do
    least = [detectable(truth, level / len(pairs), enough, seed) for truth in truths]
    known = [share for share in least if share is not None]
    told: float | None
    if known:
        p, told = len(pairs) * alone.min(), max(known)
    else:
        p, told = np.exp(1 + np.log(alone).mean()), _together(truths, level, seed)
    all_true, all_said = (np.concatenate(part) for part in zip(*pairs, strict=True))
    largest = float(np.bincount(all_true).max() / len(all_true))
    accuracy = float((all_true == all_said).mean())
    return Chance(len(all_true), accuracy, largest, float(min(1.0, p)), level, told)


def _together(truths: Sequence[Labels], level: float, seed: int) -> float | None:
    """`detectable` of several models together, each judged by its own labels: by trying it out, to half a per cent."""
    tails = [_tail(truth, seed) if truth.max() > 1 else None for truth in truths]

    def found(share: float) -> bool:
        """Whether answers that are right so often are told from chance often enough."""
        rng, logs = np.random.default_rng([seed, 4]), np.zeros(TRIED)
        for truth, tail in zip(truths, tails, strict=True):
            right = rng.random((TRIED, len(truth))) < share
            if tail is None:
                logs += np.log([max(p_value(truth, np.where(row, truth, 1 - truth)), TINY) for row in right])
            else:
                logs += np.log(tail[right.sum(axis=1)])
        return bool((logs < len(truths) * (np.log(level) - 1)).mean() >= POWER)

    low, high = 0, 200
    if not found(1.0):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle / 200) else (middle, high)
    return high / 200


def detectable(truth: Labels, level: float = LEVEL, power: float = POWER, seed: int = 0) -> float | None:
    """The smallest accuracy that these labels would tell from chance so often (power); None where none does.

    >>> truth = np.repeat([0, 1], 50)
    >>> round(detectable(truth), 2), detectable(truth[49:51])
    (0.63, None)

    For answers in the proportions of the labels.
    """
    n = len(truth)
    enough = np.flatnonzero(_tail(truth, seed) < level)
    if not len(enough):
        return None
    shares = np.arange(enough[0], n + 1) / n
    powers = [_binomial(n, share)[enough[0] :].sum() for share in shares]
    return float(shares[int(np.argmax(np.array(powers) >= power))])


def _tail(truth: Labels, seed: int) -> NDArray[np.float64]:
    """(n + 1,) how likely so many right answers or more are by chance, in the proportions of the labels."""
    n = len(truth)
    if truth.max() <= 1:
        found: NDArray[np.float64] = _two_classes(n, int(truth.sum()), int(truth.sum()))[::-1].cumsum()[::-1]
        return found
    rng = np.random.default_rng([seed, 3])
    hits = np.array([(rng.permutation(truth) == truth).sum() for _ in range(DRAWS)])
    tail: NDArray[np.float64] = (1 + (hits[:, None] >= np.arange(n + 1)).sum(0)) / (1 + DRAWS)
    return tail


def _two_classes(n: int, ones: int, said: int) -> NDArray[np.float64]:
    """(n + 1,) how likely 0, 1, ..., n right answers are when `said` ones are dealt at random among `ones` ones."""
    both = np.arange(max(0, ones + said - n), min(ones, said) + 1)  # ones that were called ones: hypergeometric
    logs = _choose(ones, both) + _choose(n - ones, said - both) - _choose(n, np.array([said]))
    found = np.zeros(n + 1)
    found[n - ones - said + 2 * both] = np.exp(logs)
    return found


def _binomial(n: int, share: float) -> NDArray[np.float64]:
    k = np.arange(n + 1)
    if share == 1:
        certain: NDArray[np.float64] = (k == n).astype(np.float64)
        return certain
    found: NDArray[np.float64] = np.exp(_choose(n, k) + k * np.log(share) + (n - k) * np.log1p(-share))
    return found


def _choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    """The logarithm of n over k."""
    logs: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    found: NDArray[np.float64] = logs[n] - logs[k] - logs[n - k]
    return found


def paired(gain: NDArray[np.float64], block: Labels) -> tuple[float, float]:
    """How likely chance gains as much as rows (R,) did, and how likely it loses as much: an exact test over blocks.

    >>> paired(np.ones(3), np.arange(3))
    (0.125, 1.0)

    Each block might as well have gone the other way round (Fisher 1935, section 21): it holds where blocks do not
    depend on each other. Rows do, so that a test that took them all would believe anything.
    """
    sums = np.bincount(block, gain)
    signs = 1 - 2 * (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1)
    found, near = signs @ sums, 1e-9 * np.abs(sums).sum()
    return float((found >= sums.sum() - near).mean()), float((found <= sums.sum() + near).mean())


def signed(gain: NDArray[Any]) -> tuple[float, float]:
    """What `paired` says where each row (R,) is a witness of its own: the exact sign test (McNemar 1947).

    >>> gained, lost = signed(np.array([1, 1, 1, 0, 0]))
    >>> round(gained, 9), round(lost, 9)
    (0.125, 1.0)

    gain  whether a row is gained (above 0) or lost (below); those that are neither say nothing
    """
    won, lost = int((gain > 0).sum()), int((gain < 0).sum())
    shares = _binomial(won + lost, 0.5)
    return float(min(1.0, shares[won:].sum())), float(min(1.0, shares[: won + 1].sum()))


def stretches(row: Labels, least: int = 1) -> Labels:
    """Which stretch of time each row number (R,) lies in: BLOCKS of the same length, or fewer that have `least` rows.

    >>> stretches(np.arange(48), least=20).tolist() == [0] * 24 + [1] * 24
    True
    """
    since, span = row - row.min(), int(row.max() - row.min()) + 1
    found: Labels = since * min(BLOCKS, max(1, span // least)) // span
    return found


def margin(rules: Collection[str], best: str, against: Against) -> tuple[float, float]:
    """How likely chance alone gains as much over every rule, and how likely it loses as much to the best of them.

    >>> margin(["drift", "mean"], "mean", {"drift": (0.01, 1.0), "mean": (0.3, 0.02)})
    (0.3, 0.04)

    Better is better than each of the rules; a rule is called better by K times its chance, as the best of K. A rule
    that was compared by no rows, as in a file from before, is neither.
    """
    chances = {rule: against.get(rule, (1.0, 1.0)) for rule in rules}
    return max(gained for gained, _ in chances.values()), min(1.0, len(rules) * chances[best][1])


def ranked(
    errors: Mapping[str, float],
    ours: str,
    against: Against,
    figure: str,
    words: Mapping[str, str],
    said: tuple[str, str],
) -> str:
    """Who misses least, in a sentence: `ours`, or the best of the rules; or that these rows cannot tell.

    >>> errors, words = {"network": 0.5, "linear": 0.4}, {"linear": "a line"}
    >>> ranked(errors, "network", {"linear": (0.8, 0.2)}, "MAE", words, ("the network is", "is better than it"))
    'no better than a line, as far as these rows can tell: MAE 0.5, a line 0.4'

    figure  the name of the errors; `words` those of the rules
    said    what is said of ours before "than every rule", and of the best rule after its name
    """
    rules = {name: error for name, error in errors.items() if name != ours}
    name = min(rules, key=lambda rule: rules[rule] if np.isfinite(rules[rule]) else np.inf)
    rule, own, best = words[name], f"{errors[ours]:.3g}", f"{rules[name]:.3g}"
    gained, lost = margin(rules, name, against)
    if gained < LEVEL:
        return f"{said[0]} than every rule: {figure} {own}, {rule} {best}, p = {gained:.2g}"
    if lost < LEVEL:
        return f"{rule} {said[1]}: {figure} {best} against {own}, p = {lost:.2g}"
    return f"no better than {rule}, {DRAW}: {figure} {own}, {rule} {best}"


def beside(who: str, figures: tuple[str, str], what: str, name: str, sides: tuple[float, float]) -> str:
    """Who was better, in a sentence: `who`, or the best of the simple rules; or that these rows cannot tell.

    >>> beside("the tagger", ("98 %", "99 %"), "of rows right", "largest class", (0.8, 0.2))
    'no better than a simple rule, as far as these rows can tell: largest class 99 % of rows right, the tagger 98 %'

    figures  ours, and those of the rule `name`; `what` they are
    sides    what `margin` says
    """
    (ours, best), (gained, lost) = figures, sides
    sure = f"said wrongly about {100 * LEVEL:g} % of the time"
    if gained < LEVEL:
        return f"{WON}: {ours} {what}; {name} {best}, p = {gained:.2g}; {sure}"
    if lost < LEVEL:
        return f"{LOST}: {name} {best} {what}, {who} {ours}, p = {lost:.2g}; {sure}"
    return f"no better than a simple rule, {DRAW}: {name} {best} {what}, {who} {ours}"
