"""The times that the main job is held to, on this machine: each line is a figure, its limit, and what it took.

    python bench/promises.py            # nothing else running; about two minutes

`tidegate --help` (median of 20 starts), `fit` and `apply` of 10,000 rows x 8 channels at the default size (a fresh
process each, start and data included, its peak memory beside), and that `apply` never imports torch.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = "import tidegate as tg; series = tg.synth.machine(rows=10_000, channels=8, seed=0)"
FIT = DATA + "; tg.AnomalyDetector().fit(series).save('{model}')"
APPLY = DATA + "; tg.load('{model}').apply(series); import sys; assert 'torch' not in sys.modules"


def took(command: list[str]) -> float:
    """Wall time of a command, in seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def peak() -> float:
    """The most memory that any child has used so far, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    command, python = Path(sys.executable).with_name("tidegate"), sys.executable
    print("| work | limit | took | peak memory |\n|---|---|---|---|")
    starts = [took([str(command), "--help"]) for _ in range(20)]
    print(f"| `tidegate --help` | 150 ms | {1000 * statistics.median(starts):.0f} ms | {peak():.0f} MB |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        fit = took([python, "-c", FIT.format(model=model)])
        print(f"| fit 10,000 x 8, default size | 60 s | {fit:.1f} s | {peak():.0f} MB |", flush=True)
        apply = took([python, "-c", APPLY.format(model=model)])
        print(f"| apply 10,000 x 8, without torch | | {apply:.1f} s | |")


if __name__ == "__main__":
    main()
