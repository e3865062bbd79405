"""The scale: robust, invertible, the same bits in any cut."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from tidegate.scale import learn
from tidegate.series import LARGEST

readings = st.floats(-LARGEST, LARGEST) | st.just(float("nan")) | st.floats(-100, 100)
tables = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=readings)


@given(tables)
def test_any_readings_give_a_finite_scale_and_finite_values_without_a_warning(values):
    scale = learn(values)
    assert np.isfinite(scale.center).all()
    assert np.isfinite(scale.spread).all()
    assert (scale.spread > 0).all()
    assert (np.isfinite(scale.apply(values)) == ~np.isnan(values)).all()


@given(tables)
def test_undo_takes_back_apply_to_1e_9_of_the_value_or_of_its_center(values):
    scale = learn(values)
    back = scale.undo(scale.apply(values))
    size = np.maximum(np.abs(values), np.abs(scale.center))
    seen = ~np.isnan(values)
    assert (np.abs(back - values)[seen] <= 1e-9 * size[seen]).all()


@given(tables)
def test_row_by_row_gives_the_bits_of_the_whole(values):
    scale = learn(values)
    rows = np.stack([scale.apply(row) for row in values])
    assert rows.tobytes() == scale.apply(values).tobytes()
    assert np.stack([scale.undo(row) for row in rows]).tobytes() == scale.undo(rows).tobytes()


def test_one_jump_of_1e30_moves_neither_center_nor_spread():
    calm = np.random.default_rng(0).normal(50, 2, (1000, 1))
    jumped = calm.copy()
    jumped[500] = 1e30
    before, after = learn(calm), learn(jumped)
    assert after.center == pytest.approx(before.center, abs=0.05)
    assert after.spread == pytest.approx(before.spread, rel=0.15)


def test_a_channel_that_is_nearly_always_zero_is_scaled_by_its_rare_events():
    rare = np.zeros((10_000, 1))
    rare[::500] = 1.0
    assert learn(rare).spread[0] == pytest.approx(rare.std())


def test_a_constant_channel_has_spread_one_and_an_unseen_one_center_zero():
    scale = learn(np.array([[0.1, np.nan], [0.1, np.nan], [0.1, np.nan]]))
    assert scale.center.tolist() == [0.1, 0.0]
    assert scale.spread.tolist() == [1.0, 1.0]


def test_the_rounding_of_a_constant_is_not_taken_for_movement():
    wobble = np.full((100, 1), 1e9)
    wobble[::2] = np.nextafter(1e9, 2e9)
    assert learn(wobble).spread[0] == 1.0


def test_a_large_offset_costs_no_precision():
    values = 1e8 + np.arange(8.0)[:, None]
    assert learn(values).spread[0] == pytest.approx(np.std(np.arange(8.0)), rel=1e-6)
