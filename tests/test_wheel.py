"""The wheel without extras: help, info and apply work where neither torch nor any other extra is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tidegate import AnomalyDetector

ROOT = Path(__file__).parents[1]
EXTRAS = ("torch", "sqlalchemy", "psutil", "plotly", "jinja2", "matplotlib", "pandas", "pyarrow", "sklearn")
# what an environment without the extras would say, whatever is installed in this one
WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
from tidegate.cli import main
main()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=600)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 3_000_000
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def tidegate(installed: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", WITHOUT, *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_holds_the_page_and_the_recording(installed: Path) -> None:
    package = installed / "tidegate"
    assert (package / "pages" / "frame.html.j2").exists()
    assert (package / "py.typed").exists()
    assert list((package / "kernels").glob("_core*.so"))
    assert not (package / "kernels" / "cpp").exists()
    assert {path.name for path in (package / "recording").iterdir()} == {"README.md", "faults.csv", "host.csv.gz"}


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("info",)])
def test_the_bare_wheel_answers(installed: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = tidegate(installed, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_bare_wheel_applies_a_model(installed: Path, tmp_path: Path, detector: AnomalyDetector) -> None:
    detector.save(tmp_path / "model.safetensors")
    rows = np.random.default_rng(0).normal(size=(50, len(detector.channels_)))
    lines = [",".join(detector.channels_), *(",".join(f"{v:.6f}" for v in row) for row in rows)]
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    done = tidegate(installed, "apply", "model.safetensors", "new.csv", "-o", "scores.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 51


def test_the_bare_wheel_says_what_training_needs(installed: Path, tmp_path: Path) -> None:
    rows = "\n".join(str(i % 7) for i in range(500))
    (tmp_path / "normal.csv").write_text(f"a\n{rows}\n")
    done = tidegate(installed, "fit", "anomaly", "normal.csv", "-o", "m.safetensors", cwd=tmp_path)
    assert done.returncode == 1
    assert "tidegate[train]" in done.stderr
