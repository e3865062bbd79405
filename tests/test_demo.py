"""The main job on the recording that ships: what it finds today, so that a change for the worse is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate import demo


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> demo.Outcome:
    pytest.importorskip("torch")
    pytest.importorskip("plotly")
    return demo.run(tmp_path_factory.mktemp("demo"))


def test_what_does_not_look_like_a_busy_machine_is_found(outcome: demo.Outcome) -> None:
    missed = {finding.event.fault for finding in outcome.findings if finding.after is None}
    assert len(outcome.findings) == 10
    assert missed <= {"runaway", "thrash"}


def test_it_says_that_the_budget_asked_cannot_be_kept(outcome: demo.Outcome) -> None:
    assert "asked for 1 per day" in outcome.budget


def test_it_leaves_a_model_and_a_report(outcome: demo.Outcome) -> None:
    assert outcome.report.stat().st_size > 1e6
    assert (outcome.report.parent / "model.safetensors").exists()


def test_the_recording_is_small_and_says_how_it_was_made() -> None:
    assert sum(path.stat().st_size for path in demo.RECORDING.iterdir()) < 1e6
    assert "bench/recording.py" in (demo.RECORDING / "README.md").read_text()
    assert Path(__file__).parents[1].joinpath("bench/recording.py").exists()
