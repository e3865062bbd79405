"""The main job, end to end: learn the healthy part of a recording of a computer, find the faults in the rest.

The recording and the times of its faults ship with the package; recording/README.md says how they were made.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import evaluate, metrics, report
from .evaluate import Evaluation
from .reader import read
from .report import rate
from .series import SECOND, Series, instant, span_text, time_text
from .settings import Epoch
from .tasks.anomaly import AnomalyDetector
from .tasks.found import Found

RECORDING = Path(__file__).parent / "recording"
BUDGET = "10/h"  # about four alarms in the 22 minutes that calibrate: a rarer budget would rest on the guess of a tail
BEFORE = 300  # seconds before the first fault in which nothing is learned, so that a late start cannot hide it
GRACE = 60  # seconds after a fault in which the machine recovers: an alarm there is not false


class Event(NamedTuple):
    """One fault as it was made: what, and from when to when, in UTC nanoseconds."""

    fault: str
    start: int
    end: int


class Finding(NamedTuple):
    """What became of one fault: seconds until it was found (None: it was not), and who was blamed."""

    event: Event
    after: float | None
    channels: tuple[str, ...]


class Outcome(NamedTuple):
    """What the demo found, in words as `str`, as plain values with `plain()`."""

    learned: str
    budget: str
    findings: list[Finding]
    false_alarms: int
    healthy: str
    evaluation: Evaluation
    report: Path

    @property
    def missed(self) -> int:
        """How many faults were not found."""
        return sum(finding.after is None for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """The outcome as JSON holds it."""
        faults = [
            {"fault": event.fault, "start": time_text(event.start), "found_after_s": after, "channels": channels}
            for event, after, channels in self.findings
        ]
        facts = {"learned": self.learned, "budget": self.budget, "faults": faults, "false_alarms": self.false_alarms}
        methods = {row.name: row.metrics for row in self.evaluation.rows}
        return {**facts, "methods": methods, "verdict": self.evaluation.verdict, "report": str(self.report)}

    def __str__(self) -> str:
        lines = [("fault", "start", "found after", "blamed"), *map(_line, self.findings)]
        widths = [max(len(line[i]) for line in lines) for i in range(3)]
        table = "\n".join("  ".join([*map(str.ljust, line[:3], widths), line[3]]).rstrip() for line in lines)
        count = f"{len(self.findings) - self.missed} of {len(self.findings)} faults found"
        false = f"{self.false_alarms} false alarm{'s' * (self.false_alarms != 1)} in {self.healthy} of healthy running"
        parts = (f"{self.learned}\n{self.budget}", table, f"{count}, {false}", str(self.evaluation))
        return "\n\n".join([*parts, f"report: {self.report}"])


def _line(finding: Finding) -> tuple[str, str, str, str]:
    after = "not found" if finding.after is None else f"{finding.after:.0f} s"
    return finding.event.fault, time_text(finding.event.start), after, ", ".join(finding.channels)


def run(out: Path, *, recording: Path = RECORDING, on_epoch: Callable[[Epoch], None] = lambda epoch: None) -> Outcome:
    """Learn, score, judge; leaves `model.safetensors` and `report.html` in the folder `out`.

    recording   a folder with host.csv.gz and faults.csv (fault, start, end), as bench/recording.py makes them
    """
    series, events = read(recording / "host.csv.gz"), faults(recording / "faults.csv")
    first = int(np.searchsorted(series.times, events[0].start - BEFORE * SECOND))
    healthy, rest = series[:first], series[first:]
    detector = AnomalyDetector(false_alarms=BUDGET).fit(healthy, on_epoch=on_epoch)
    detector.save(out / "model.safetensors")
    evaluation, found = evaluate.detector(detector, rest, events=_instants(events), grace=GRACE, history=healthy)
    page = out / "report.html"
    report.write(page, detector, found, evaluation, title="The faults in the recording that ships")
    return Outcome(
        learned=f"learned from {span_text(len(healthy) * series.interval)} of healthy running of a computer",
        budget=_budget(detector),
        findings=[_finding(event, found) for event in events],
        false_alarms=_false(events, found),
        healthy=span_text(_healthy(events, rest)),
        evaluation=evaluation,
        report=page,
    )


def faults(path: Path) -> list[Event]:
    """The faults of a recording, in the order of time."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [Event(row["fault"], instant(row["start"]), instant(row["end"])) for row in csv.DictReader(file)]
    return sorted(rows, key=lambda event: event.start)


def _instants(events: list[Event]) -> list[tuple[Any, Any]]:
    return [(np.datetime64(event.start, "ns"), np.datetime64(event.end, "ns")) for event in events]


def _budget(detector: AnomalyDetector) -> str:
    limit = detector.threshold_
    if limit.kept <= limit.asked:
        return f"alarms run at the budget asked for: {rate(limit.kept)}"
    return f"alarms run at {rate(limit.kept)}: {limit.note}"


def _finding(event: Event, found: Found) -> Finding:
    """The first alarm that begins during the fault; one that was on before it does not count."""
    during = [alarm for alarm in found.alarms if event.start <= alarm.start <= event.end]
    if not during:
        return Finding(event, None, ())
    return Finding(event, (during[0].start - event.start) / SECOND, during[0].channels)


def _false(events: list[Event], found: Found) -> int:
    """Alarms that touch no fault, nor the grace after one."""
    step = round(found.interval * SECOND)
    truth = np.array([(event.start, event.end) for event in events], dtype=np.int64)
    spans = np.array([(a.start, a.end + step) for a in found.alarms], dtype=np.int64).reshape(-1, 2)
    return metrics.false_alarms(truth, spans, grace=GRACE * SECOND)


def _healthy(events: list[Event], rest: Series) -> float:
    """Seconds of the rest in which an alarm is false."""
    faulty = sum((event.end - event.start) / SECOND + GRACE for event in events)
    return max(0.0, len(rest) * rest.interval - faulty)
