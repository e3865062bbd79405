"""`kill -9` at any moment, then resume: the weights have the bits of the run that nobody disturbed.

A server process imports torch once and forks a child for each life of a run, so that a life costs no import. Children
are killed with SIGKILL at random moments, and at chosen ones while the checkpoint is being written.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import tidegate as tg
from tidegate import save, train
from tidegate.settings import Network, Training

pytest.importorskip("torch")
if not hasattr(signal, "SIGKILL") or "forkserver" not in multiprocessing.get_all_start_methods():
    pytest.skip("no SIGKILL or no fork server on this system", allow_module_level=True)

RUNS = {
    "gru": Network(cell="gru", layers=2, hidden=6, dropout=0.3),
    "lstm": Network(cell="lstm", layers=1, hidden=6),
    "rnn_tanh": Network(cell="rnn_tanh", layers=2, hidden=6, dropout=0.1),
}
KILLS = {"gru": 20, "lstm": 5, "rnn_tanh": 5}
TRAINING = Training(epochs=12, batches=3, batch=4, patience=12)
PATIENCE = 120.0  # seconds until a life that does not end is a failure


def detector(name: str, seed: int = 0) -> tg.AnomalyDetector:
    return tg.AnomalyDetector(network=RUNS[name], training=TRAINING, window=tg.Window(length=32, valid=0.45), seed=seed)


def live(folder: Path, name: str, said: Connection, dies: tuple[str, int] | None) -> None:
    """One life of a run, in a child: go on from the checkpoint, and leave the model when done.

    `dies`: (a function of `os`, n) kills this process the n-th time that writing the checkpoint calls it.
    """
    if dies:
        _die_in(*dies)
    said.send("begun")
    series = tg.synth.machine(rows=600, channels=2, seed=3)
    task = detector(name)
    task.fit(series, checkpoint=folder / "checkpoint", resume=True, on_epoch=lambda epoch: said.send(epoch.epoch))
    task.save(folder / "model")


def _die_in(function: str, count: int) -> None:
    real, calls = getattr(os, function), [0]

    def deadly(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    setattr(os, function, deadly)


class Lives:
    """Starts children that have torch already, and keeps count of what became of them."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["torch", "torch._dynamo", "tidegate.tasks.anomaly", "tidegate.synth"])

    def begin(self, folder: Path, name: str, dies: tuple[str, int] | None = None) -> tuple[Any, Connection]:
        """A life that has just begun, and the line on which it tells of its epochs."""
        here, there = self.context.Pipe(duplex=False)
        child = self.context.Process(target=live, args=(folder, name, there, dies))
        child.start()
        there.close()
        assert here.poll(PATIENCE)
        assert here.recv() == "begun"
        return child, here

    def whole(self, folder: Path, name: str, dies: tuple[str, int] | None = None) -> tuple[int, list[int]]:
        """A life to its end: how it ended (0, or minus the signal) and the epochs it trained."""
        child, line = self.begin(folder, name, dies)
        child.join(PATIENCE)
        return child.exitcode, told(line)


def wait_for(line: Connection, epochs: int) -> None:
    """Until a child told of so many epochs, or ended."""
    with suppress(EOFError):
        for _ in range(epochs):
            assert line.poll(PATIENCE), "a run did not go on"
            line.recv()


def told(line: Connection) -> list[int]:
    """The epochs that a child told of before it ended."""
    epochs = []
    with suppress(EOFError):
        while line.poll():
            epochs.append(line.recv())
    return epochs


@pytest.fixture(scope="module")
def lives() -> Lives:
    return Lives()


@pytest.fixture(scope="module")
def undisturbed(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """name -> (fingerprint of the model, records, seconds to the first epoch's end and in all) of a run left alone."""
    known: dict[str, Any] = {}

    def run(name: str) -> Any:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            child, line = lives.begin(folder, name)
            began = time.perf_counter()
            wait_for(line, 1)
            first = time.perf_counter() - began
            child.join(PATIENCE)
            seconds = time.perf_counter() - began
            assert (child.exitcode, told(line)) == (0, list(range(1, TRAINING.epochs)))
            known[name] = (*result(folder), first, seconds)
        return known[name]

    return run


def result(folder: Path) -> tuple[str, list[Any]]:
    """What a finished run left: the fingerprint of everything learned, and its records without their durations."""
    model = tg.load(folder / "model")
    assert all(e.valid_loss is not None for e in model.history_), "which epoch was best must cross the kill too"
    return model.start().model, [(e.epoch, e.train_loss, e.valid_loss, e.learning_rate, e.best) for e in model.history_]


def check_checkpoint(folder: Path) -> int:
    """The checkpoint opens, whenever its writer died; the epochs it holds."""
    path = folder / "checkpoint"
    return int(save.open_file(path, "checkpoint").spec["epochs"]) if path.exists() else 0


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_moments_and_resumed_the_bits_are_the_same(
    lives: Lives, undisturbed: Any, tmp_path: Path, name: str
) -> None:
    fingerprint, records, first, seconds = undisturbed(name)
    an_epoch = (seconds - first) / (TRAINING.epochs - 1)
    chance, kills, runs, halfway = random.Random(name), 0, 0, 0
    while kills < KILLS[name]:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        while not (folder / "model").exists():
            child, line = lives.begin(folder, name)
            if kills < KILLS[name]:  # a moment counted from an epoch's end, for a machine's speed is not the same twice
                epochs = chance.randrange(TRAINING.epochs // 2)
                wait_for(line, epochs)
                child.join(chance.uniform(0, an_epoch if epochs else first))
            else:
                child.join(PATIENCE)
            assert kills < KILLS[name] or not child.is_alive(), "a run did not end"
            if child.is_alive():
                child.kill()
                child.join(PATIENCE)
            assert child.exitcode in (0, -signal.SIGKILL)
            kills += child.exitcode == -signal.SIGKILL
            halfway += child.exitcode != 0 and 0 < check_checkpoint(folder) < TRAINING.epochs
        assert result(folder) == (fingerprint, records)
    assert halfway >= KILLS[name] // 5, "few kills came between the first checkpoint and the last"


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_killed_while_writing_a_checkpoint_and_resumed_the_bits_are_the_same(
    lives: Lives, undisturbed: Any, tmp_path: Path, function: str, count: int
) -> None:
    assert lives.whole(tmp_path, "gru", (function, count))[0] == -signal.SIGKILL
    kept = check_checkpoint(tmp_path)
    assert kept == (count - 1 if function == "replace" else count // 2)  # a file and its folder: two fsync a checkpoint
    code, epochs = lives.whole(tmp_path, "gru")
    assert (code, epochs) == (0, list(range(kept, TRAINING.epochs)))
    assert result(tmp_path) == undisturbed("gru")[:2]


def test_a_finished_run_that_is_resumed_trains_nothing(lives: Lives, undisturbed: Any, tmp_path: Path) -> None:
    lives.whole(tmp_path, "gru")
    assert lives.whole(tmp_path, "gru") == (0, [])
    assert result(tmp_path) == undisturbed("gru")[:2]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"training": Training(epochs=12, batches=4, batch=4, patience=12)}, "settings"),
        ({"network": Network(cell="gru", layers=1, hidden=6)}, "problem"),
        ({"method": "prediction"}, "problem"),
    ],
    ids=str,
)
def test_the_checkpoint_of_another_run_is_refused_naming_what_differs(
    lives: Lives, tmp_path: Path, other: dict[str, Any], named: str
) -> None:
    lives.whole(tmp_path, "gru", ("replace", 2))
    before = (tmp_path / "checkpoint").read_bytes()
    series = tg.synth.machine(rows=600, channels=2, seed=3)
    with pytest.raises(tg.ModelFileError, match=f"another run: {train.IDENTITY.get(named, named)} is"):
        detector("gru").set_params(**other).fit(series, checkpoint=tmp_path / "checkpoint", resume=True)
    assert (tmp_path / "checkpoint").read_bytes() == before


def test_the_checkpoint_of_other_data_is_refused(lives: Lives, tmp_path: Path) -> None:
    lives.whole(tmp_path, "gru", ("replace", 2))
    series = tg.synth.machine(rows=600, channels=2, seed=4)
    with pytest.raises(
        tg.ModelFileError, match="another run: what is learned from, rows, channels or settings, is another"
    ):
        detector("gru").fit(series, checkpoint=tmp_path / "checkpoint", resume=True)
