"""Reading 1,000,000 x 10 rows of CSV: seconds and memory of `tidegate.read` beside `pandas.read_csv`, in one run.

    python bench/reader.py [ROWS]

Each reader runs in a process of its own; memory is the growth of the largest resident size while it reads, after the
libraries are imported. Both end with a float64 matrix and the times parsed.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COLUMNS = 10


def write(path: Path, rows: int) -> None:
    """Random walks with a second between rows, every digit written out."""
    import polars as pl

    walks = np.random.default_rng(0).standard_normal((rows, COLUMNS)).cumsum(axis=0)
    times = pl.Series("time", np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "s"))
    frame = pl.DataFrame({"time": times, **{f"s{i}": walks[:, i] for i in range(COLUMNS)}})
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")


def with_tidegate(path: str) -> tuple[int, int]:
    from tidegate.reader import read

    return read(path).values.shape


def with_pandas(path: str) -> tuple[int, int]:
    import pandas as pd

    frame = pd.read_csv(path, parse_dates=["time"])
    return frame.drop(columns="time").to_numpy().shape


def measured(reader: str, path: str) -> dict[str, float]:
    """One reader in a fresh process."""
    command = [sys.executable, __file__, "--one", reader, path]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def one(reader: str, path: str) -> None:
    """Read once and print the figures; a tiny file first, so that imports are not counted."""
    read = {"tidegate": with_tidegate, "pandas": with_pandas}[reader]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "tiny.csv"), 10)
        read(str(Path(folder, "tiny.csv")))
    before, start, worked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    read(path)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": round(seconds, 2), "cpu": round(worked, 2), "mib": round(grown)}))


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "big.csv")
        subprocess.run([sys.executable, __file__, "--write", str(path), str(rows)], check=True)
        ours, theirs = measured("tidegate", str(path)), measured("pandas", str(path))
    print(f"{rows:,} rows x {COLUMNS}: tidegate {ours}, pandas {theirs}")
    print(f"ratio to pandas: time {ours['seconds'] / theirs['seconds']:.2f}, memory {ours['mib'] / theirs['mib']:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    elif sys.argv[1:2] == ["--write"]:  # in a process of its own: a child starts from its parent's largest size
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
