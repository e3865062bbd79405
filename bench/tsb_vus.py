"""VUS-PR and VUS-ROC beside TSB-AD's own code, on random labels and scores: the largest difference found.

    python -m venv oracle && oracle/bin/pip install -e . scipy scikit-learn pandas
    oracle/bin/pip install --no-deps TSB-AD
    oracle/bin/python bench/tsb_vus.py

TSB-AD pins an old NumPy and brings torch and more, so it is no dependency here: only its metric file is loaded.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.metrics import vus_pr, vus_roc

CASES = 160
AGREE = 1e-9
WINDOWS = (0, 1, 2, 3, 5, 10, 37, 100, 125)


def main() -> int:
    """Print the largest difference; exit 1 where it is more than rounding."""
    theirs, rng = _oracle(), np.random.default_rng(0)
    worst = np.zeros(2)
    for case in range(CASES):
        labels, scores = _case(rng, case)
        window = int(rng.choice(WINDOWS))
        *_, roc, pr = theirs.generate_curve(labels, scores, window, version="opt", thre=250)
        ours = vus_pr(labels, scores, window), vus_roc(labels, scores, window)
        worst = np.maximum(worst, np.abs(np.subtract(ours, (pr, roc))))
    print(
        f"{CASES} cases, TSB-AD {version('TSB-AD')}: largest difference VUS-PR {worst[0]:.1e}, VUS-ROC {worst[1]:.1e}"
    )
    return int(bool((worst > AGREE).any()))


def _case(rng: np.random.Generator, case: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A few events, some at the borders; scores that lead or lag them, some with many ties, some all equal."""
    rows = int(rng.integers(30, 900))
    labels = np.zeros(rows, dtype=np.int64)
    for first in rng.integers(0, rows, int(rng.integers(1, 7))):
        labels[first : first + int(rng.integers(1, 40))] = 1
    labels[: 3 * (case % 5 == 0)] = 1
    labels[rows - 2 * (case % 5 == 1) :] = 1
    labels[rows // 2] &= not labels.all()
    scores = rng.normal(size=rows) + rng.uniform(0, 3) * np.roll(labels, int(rng.integers(-8, 8)))
    if case % 3 == 0:
        scores = np.round(scores, 1)
    return labels, scores * (case % 29 != 3)


def _oracle() -> Any:
    """TSB-AD's metric file alone, without the package around it."""
    package = find_spec("TSB_AD")
    if package is None or package.origin is None:
        sys.exit("TSB-AD is not installed here: see the first lines of this file")
    path = Path(package.origin).parent / "evaluation" / "basic_metrics.py"
    spec = spec_from_file_location("basic_metrics", path)
    if spec is None or spec.loader is None:
        sys.exit(f"cannot load {path}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
