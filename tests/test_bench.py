"""The bench measures what it says: everybody does the same work, and the answers agree."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

import torch

from tidegate import bench, cli, nn, peers, works
from tidegate.bench import PRODUCT, Row
from tidegate.kernels import cpu
from tidegate.works import Case

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import kernels
import sections

SMALL = (6, 8, 3, 5)
CASES = [
    *(Case("training", cell, SMALL) for cell in works.KINDS),
    Case("training", "lstm", SMALL, layers=2),
    Case("training", "gru", SMALL, layers=3, both_ways=True),
    *(Case("training", cell, SMALL, ragged=True) for cell in works.KINDS),
    *(Case("training", cell, SMALL, models=3) for cell in works.KINDS),
    *(Case("scoring", cell, SMALL) for cell in works.KINDS),
    *(Case("reading", cell, (streams, 1, 3, 5)) for cell in works.KINDS for streams in (1, 4)),
    *(Case("reading", cell, (1, 1, 3, 5), models=4) for cell in works.KINDS),
]
JAX, ONNX = peers.installed("jax"), peers.installed("onnxruntime")


def expected(case: Case) -> set[str]:
    """Who has to be measured at a case, of those that are installed."""
    plain = case.layers == 1 and not case.both_ways and not case.ragged
    fleet = case.models > 1
    if case.kind == "reading":
        found = {"tidegate", "torch.bmm, batched" if fleet else "torch.nn"} | ({"jax, jitted"} if JAX else set())
        return found | ({"onnxruntime", "onnxruntime, bound"} if ONNX and not fleet else set())
    found = {"tidegate", "torch.nn, a loop" if fleet else "torch.nn, packed" if case.ragged else "torch.nn"}
    found |= {"tidegate, no padding"} if case.ragged else set()
    found |= {"jax, vmap" if fleet else "jax, jitted"} if JAX and plain else set()
    return found | ({"onnxruntime"} if ONNX and case.kind == "scoring" else set())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_who_do_a_work_are_measured_and_agree(case: Case) -> None:
    rows = bench.compare(case, 0.0)
    assert {row.who for row in rows} == expected(case)
    for row in rows:
        assert 0 < row.best <= row.median
        assert 0 < row.output_error < 2e-6
        assert np.isnan(row.gradient_error) if case.kind != "training" else 0 < row.gradient_error < 5e-6


@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_a_wrong_answer_shows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth moved by a hundredth: everybody is off by that."""
    moved = [r._replace(truth=[part + 0.01 * np.abs(part).max() for part in r.truth]) for r in works.runners(case)]
    monkeypatch.setattr(bench, "runners", lambda _: moved)
    rows = bench.compare(case, 0.0)
    assert all(row.output_error > 1e-3 for row in rows)
    assert all(not row.gradient_error < 1e-3 for row in rows)


def test_half_of_a_ragged_batch_is_padding() -> None:
    ours = next(r for r in works.runners(Case("training", "gru", (8, 10, 2, 4), ragged=True)) if r.who == "tidegate")
    steps = np.abs(ours.truth[0]).max(axis=-1) > 0
    assert steps.sum() == 8 * 10 / 2


def test_everybody_has_his_turn_three_times_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    runners = [
        works.Runner(who, lambda who=who: order.append(who), [], threads) for who, threads in (("a", 1), ("b", 2))
    ]
    seen: list[int] = []
    runners.append(works.Runner("c", lambda: seen.append(torch.get_num_threads()), [], 2))
    with bench.one_thread(), bench.as_before():
        times = bench.interleaved(runners, 0.0)
    assert [len(taken) for taken in times] == [bench.ROUNDS] * 3
    turns = [who for i, who in enumerate(order) if i == 0 or order[i - 1] != who]
    assert turns == ["a", "b"] * bench.ROUNDS
    assert set(seen) == {2}
    monkeypatch.setattr(bench, "PATIENCE", 0.0)
    with bench.one_thread(), bench.as_before():
        assert [len(taken) for taken in bench.interleaved(runners[:1], 0.0)] == [1]


def test_large_batches_run_on_all_threads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "threads", lambda: 2)
    large, small = (
        Case("training", "gru", (bench.ENOUGH, 2, 1, 4)),
        Case("training", "gru", (bench.ENOUGH - 1, 2, 1, 4)),
    )
    before = torch.get_num_threads(), cpu.threads()
    rows = bench.run([large, small], 0.0)
    assert {row.who for row in rows if row.case == large and row.threads == 2} == {"tidegate", "torch.nn"}
    assert [row.who for row in rows].count(bench.BESIDE) == 1
    assert not [row for row in rows if row.case == small and row.threads != 1]
    assert (torch.get_num_threads(), cpu.threads()) == before


def test_the_rate_counts_every_product() -> None:
    """Against the sizes of the layer's own weights: each is used once a step, for a multiplication and an addition."""
    for case in (c for c in CASES if c.kind == "training" and not c.ragged and c.models == 1):
        how = {"num_layers": case.layers, "bidirectional": case.both_ways}
        layer = getattr(nn, works.KINDS[case.cell])(*case.shape[2:], **how)
        used = sum(part.numel() for part in layer.parameters() if part.ndim == 2)
        assert works.operations(case) == 3 * 2 * case.shape[0] * case.shape[1] * used
        fleet = case._replace(models=7)
        assert works.operations(fleet) == 7 * works.operations(case)


def made_up(peer: float, **how: object) -> list[Row]:
    """Rows of a run in which we took 2 s for a step and torch so many."""
    case = Case("training", "gru", (64, 50, 1, 64), **how)  # type: ignore[arg-type]
    product = Row(PRODUCT, "torch.mm", 1, 1.0, works.operations(PRODUCT) / 1e11, 1e-7, float("nan"))
    ours = [Row(case, "tidegate", n, 1.0, 2.0 / n, 1e-7, 1e-6) for n in (1, 2)]
    ours.append(Row(case, bench.BESIDE, 1, 1.0, 2.0, 1e-7, 1e-6))
    return [*ours, *(Row(case, "torch.nn", n, 3.0, peer, 1e-7, 6e-6) for n in (1, 2)), product]


def test_the_table_tells_times_ratios_and_errors() -> None:
    lines = {line[1]: line for line in bench.table(made_up(5.0))}
    assert set(map(len, lines.values())) == {len(bench.COLUMNS)}
    assert lines["torch.nn"][2:5] == ("3000", "5000", "2.50")
    assert lines["torch.nn, 2 threads"][4] == "5.00"
    assert lines["torch.nn"][-2:] == ("1.0e-07", "6.0e-06")
    assert lines["tidegate"][4] == ""
    assert lines["torch.mm"][5:7] == ("100", "100 %")


@pytest.mark.parametrize(("peer", "met"), [(5.1, "yes"), (4.9, "no: 0 of 1")])
def test_a_target_is_met_from_its_limit_on(peer: float, met: str) -> None:
    told = {line[0]: line for line in map(kernels.judged, kernels.targets(kernels.Measured(made_up(peer))))}
    assert told["GRU of 64 units or more: 2.5 x torch"][2] == met
    assert told["all threads: 1.7 x one"][1:] == ("2.00 x: gru training (64, 50, 1, 64)", "yes")
    assert told["GRU of 64 units or more: 2 x JAX"][1:] == ("not measured", "")
    assert told["outputs within 5e-7 of float64"][2] == "yes"
    assert told["GRU of 64 units or more: 75 % of torch.mm"][2] == "no: 0 of 1"


def test_a_section_takes_its_own_place_only(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    for name, text in (("speed", "fast"), ("quality", r"good \1"), ("speed", "faster")):
        sections.put(name, text, file)
    text = file.read_text()
    assert text.startswith("# Results\n\n<!-- speed -->\n\nfaster\n\n<!-- /speed -->")
    assert text.endswith("<!-- quality -->\n\ngood \\1\n\n<!-- /quality -->\n")


def test_one_command_writes_the_section_and_the_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "ALL", [Case("training", "gru", (64, 2, 1, 4)), Case("reading", "gru", (1, 1, 2, 32))])
    monkeypatch.setattr(kernels, "HERE", tmp_path)
    monkeypatch.setattr(kernels, "put", lambda name, text: sections.put(name, text, tmp_path / "results.md"))
    kernels.main(0.01)
    text = (tmp_path / "results.md").read_text()
    for part in ("<!-- kernels -->", "commit ", "torch.mm", cpu.engine(), f"torch {torch.__version__}", "1 stream"):
        assert part in text
    rows = list(csv.DictReader((tmp_path / "kernels.csv").read_text().splitlines()))
    assert {row["units"] for row in rows} == {"4", "32", "1024"}
    assert all(float(row["median"]) > 0 and row["made"] and row["torch"] == torch.__version__ for row in rows)


def test_who_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in ("jax", "onnx") else object())
    assert peers.missing() == [
        "jax is not measured, jax not installed: pip install jax",
        "onnxruntime is not measured, onnx not installed: pip install onnx",
    ]
    assert [r.who for r in works.runners(Case("reading", "gru", (1, 1, 2, 4)))] == ["tidegate", "torch.nn"]


@pytest.mark.parametrize("words", [[], ["--json"], ["--all", "--json"]])
def test_the_command_prints_a_table_or_json(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, units in (("QUICK", 4), ("ALL", 5)):
        monkeypatch.setattr(works, name, [Case("scoring", "gru", (2, 3, 1, units))])
    ran = CliRunner().invoke(cli.main, ["bench", "--seconds", "0.01", *words])
    assert ran.exit_code == 0, ran.stderr
    if not words:
        assert "of torch.mm" in ran.stdout
        assert ran.stdout.count("gru scoring (2, 3, 1, 4)") == 1  # named once, with all who did it below
        assert cpu.engine() in ran.stderr
        return
    told = json.loads(ran.stdout)
    assert {row["units"] for row in told["rows"]} == {5 if "--all" in words else 4, 1024}
    assert told["machine"]["core"] == cpu.engine()
