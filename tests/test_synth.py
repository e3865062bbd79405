"""Signals with known content, and faults that are where they were planted."""

import numpy as np
import pytest

from tidegate.errors import SettingError
from tidegate.synth import machine, plant, sine


def test_a_seed_gives_the_same_bits_and_another_seed_others():
    assert machine(500, 3, seed=1).values.tobytes() == machine(500, 3, seed=1).values.tobytes()
    assert machine(500, 3, seed=1).values.tobytes() != machine(500, 3, seed=2).values.tobytes()


def test_a_sine_has_the_amplitude_offset_and_period_asked_for():
    wave = sine(200, period=20, amplitude=3, offset=7).values[:, 0]
    assert wave.max() == pytest.approx(10)
    assert wave.min() == pytest.approx(4)
    assert np.allclose(wave[:-20], wave[20:])


def test_a_machine_is_autocorrelated_and_its_channels_move_together():
    values = machine(5000, 6).values
    scaled = (values - values.mean(0)) / values.std(0)
    assert (np.mean(scaled[1:] * scaled[:-1], axis=0) > 0.9).all()
    assert np.abs(np.corrcoef(values.T))[np.triu_indices(6, 1)].max() > 0.7


@pytest.mark.parametrize("kind", ["spike", "level", "drift", "frozen", "unlinked", "noise"])
def test_a_fault_changes_the_rows_and_channels_it_is_planted_in_and_no_others(kind):
    good = machine(1000, 4)
    bad = plant(good, kind, 300, 50, channels=("s1", "s2"))
    changed = bad.values != good.values
    assert changed[300:350, 1:3].mean() > 0.9
    changed[300:350, 1:3] = False
    assert not changed.any()
    assert np.flatnonzero(bad.labels).tolist() == list(range(300, 350))
    assert not bad.values.flags.writeable
    assert good.labels is None


def test_faults_planted_one_after_another_add_up_in_the_labels():
    bad = plant(plant(sine(100), "spike", 10), "frozen", 50, 5)
    assert np.flatnonzero(bad.labels).tolist() == [10, 50, 51, 52, 53, 54]
    assert len(set(bad.values[49:55, 0])) == 1


def test_a_fault_outside_the_series_or_of_no_known_kind_is_refused():
    with pytest.raises(SettingError, match="rows inside 0 to 100"):
        plant(sine(100), "spike", 99, 2)
    with pytest.raises(SettingError, match="one of spike, level"):
        plant(sine(100), "explosion", 10)  # type: ignore[arg-type]
