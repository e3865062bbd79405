"""All tables of quality, by one command: a script for each task, its defaults on all data, baselines and peers beside.

    python bench/quality.py                      # 5 seeds, each table written to bench/results.md when it is whole
    python bench/quality.py --quick              # one seed, printed only
    python bench/quality.py --only tag,online    # some of them

Each script runs alone too, with the same options (`python bench/forecast.py --help`). They need the data folder beside
the project (`../shared/data`) and leave out, saying so, what is not there. No setting differs between data sets.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

TABLES = ("anomaly", "forecast", "complete", "classify", "tag", "online", "learning")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--only", default=",".join(TABLES), help="names with commas, of " + ", ".join(TABLES))
    args = parser.parse_args()
    chosen, failed = args.only.split(","), []
    if unknown := set(chosen) - set(TABLES):
        parser.error(f"no table named {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    for name in chosen:
        began = time.time()
        print(f"--- {name}", flush=True)
        script = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *["--quick"] * args.quick]
        if subprocess.run(script, check=False).returncode:
            failed.append(name)
        print(f"--- {name}: {time.time() - began:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
