"""Ten channels of plain noise, N(0, 1); abnormal rows are three times as loud. Nothing to forecast, and still found."""

import numpy as np

import tidegate as tg
from tidegate import metrics


def main() -> float:
    rng = np.random.default_rng(0)
    normal, later = rng.standard_normal((4000, 10)), rng.standard_normal((2000, 10))
    loud = np.zeros(2000, dtype=bool)
    for start in (300, 800, 1100, 1600):
        loud[start : start + 100] = True
    later[loud] *= 3

    detector = tg.AnomalyDetector(false_alarms="1/hour", seed=0).fit(normal)
    found = detector.apply(later)
    area = metrics.auroc(loud, found.score)
    print(f"AUROC per step: {area:.4f} (fast score alone: {metrics.auroc(loud, found.score_fast):.4f})")
    print(f"alarms: {[(alarm.first_row, alarm.last_row) for alarm in found.alarms]}")
    return area


if __name__ == "__main__":
    main()
