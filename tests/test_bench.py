"""The bench measures what it says: everybody does the same work, and the answers agree."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tidegate import bench


@pytest.mark.parametrize("cell", list(bench.KINDS))
def test_all_who_train_get_the_same_gradients(cell: str) -> None:
    rows = list(bench.training(cell, (3, 4, 2, 5), seconds=0.01))
    assert {"tidegate", "torch.nn"} <= {row.who for row in rows}
    for row in rows:
        assert 0 < row.best <= row.median
        assert row.error < 5e-6


def test_padding_models_and_streams_are_measured() -> None:
    rows = [
        *bench.ragged("gru", (4, 6, 2, 5), 0.01),
        *bench.fleet(3, (2, 3, 2, 4), 0.01),
        *bench.streaming("lstm", 7, 8, 0.01),
    ]
    assert [row.who for row in rows[2:]] == ["tidegate", "torch.nn, a loop", "tidegate", "torch.nn"]
    text = bench.table(rows, 100.0)
    assert text.count("\n|") == len(rows) + 2
    assert "7 streams" in text


def test_the_faster_one_is_told_as_such() -> None:
    rows = [bench.Row("w", "tidegate", 1.0, 2.0, 1e-7, 50.0), bench.Row("w", "peer", 3.0, 5.0, 1e-7, 20.0)]
    assert "| w | peer | 3000 | 5000 | 2.5 | 20 | 20 % | 1.0e-07 |" in bench.table(rows, 100.0)
