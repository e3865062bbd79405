"""The core beside torch, and JAX where it is installed: training, many models, a reading at a time.

    python bench/kernels.py [SECONDS]         # for each comparison; also written to bench/kernels.md and kernels.csv

One thread, everybody in turn, on a machine that should have nothing else to do.
"""

from __future__ import annotations

import csv
import platform
import sys
from pathlib import Path

import torch

from tidegate import bench
from tidegate.kernels import cpu

HERE = Path(__file__).parent


def main(seconds: float) -> None:
    rows = bench.run(seconds, on_row=lambda row: print(row.work, row.who, f"{1e3 * row.median:.4g} ms", flush=True))
    reach = bench.limit(seconds)
    how = f"{platform.machine()}, core: {cpu.engine()}, torch {torch.__version__}, torch.mm {reach:.0f} GFLOP/s"
    head = f"# Speed\n\nMade by `python bench/kernels.py {seconds:g}`: {how}. One thread; all in turn.\n"
    (HERE / "kernels.md").write_text(f"{head}\n{bench.table(rows, reach)}\n")
    with (HERE / "kernels.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(bench.Row._fields)
        table.writerows(rows)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
