"""Every numbered example runs, says what it promises, and draws its picture."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def result(name: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        said = float(runpy.run_path(str(EXAMPLES / name))["main"](str(picture)))
        assert picture.read_bytes().startswith(b"\x89PNG")
    return said


def test_an_unseen_sine_leaves_a_residual_ten_times_as_large() -> None:
    assert result("01_one_sine.py") >= 10


def test_rows_three_times_as_loud_are_told_from_plain_noise() -> None:
    assert result("02_louder_noise.py") >= 0.99


def test_the_next_value_of_a_noisy_wave_is_told_better_than_by_the_mean_of_the_last_four() -> None:
    assert result("03_next_value.py") >= 1.2


def test_a_hidden_second_half_goes_on_with_the_slope() -> None:
    assert result("04_masked_half.py") <= 50  # zeros: 59,312; the last value: 7,973; chance alone gives a walk about 13


def test_two_hidden_units_learn_the_inverse_of_every_step() -> None:
    assert result("08_inverted.py") <= 0.005  # a tutorial: .009


def test_what_is_learned_one_reading_at_a_time_is_kept() -> None:
    assert result("09_one_reading_at_a_time.py") <= 0.01


def test_a_change_of_regime_is_learned_on_the_way() -> None:
    assert result("10_change_of_regime.py") <= 0.06  # the last reading: .50


def test_a_spike_somewhere_is_seen() -> None:
    assert result("05_spike_or_not.py") >= 0.98


def test_labels_of_chance_are_called_that() -> None:
    assert result("06_labels_of_chance.py") <= 0.1  # of ten draws; 5 in 100 are promised at most


def test_what_a_plain_network_learns_by_heart_is_not_learned_by_heart() -> None:
    assert result("07_overfitting.py") >= 0.5  # of the gap to the best possible rule; two thirds are wanted of the mean


def test_every_example_is_run_by_a_test() -> None:
    text = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in text, f"{path.name} is run by no test"
        assert len(path.read_text().splitlines()) <= 60, f"{path.name} is longer than an example should be"


def test_every_example_and_its_picture_are_shown() -> None:
    shown = (EXAMPLES / "README.md").read_text()
    pictures = EXAMPLES.parent / "docs" / "pictures"
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in shown, f"{path.name} is not in the README of the examples"
        assert f"(../docs/pictures/{path.stem}.png)" in shown, f"the picture of {path.name} is not shown"
        assert (pictures / f"{path.stem}.png").exists(), (
            f"no picture: python examples/{path.name} docs/pictures/{path.stem}.png"
        )
