"""Make the recording that ships with the package: this computer's sensors in healthy use, then faults.

    python bench/recording.py make OUT_FOLDER --healthy-minutes 90      # about 24 minutes more for the faults
    python bench/recording.py fault runaway                              # one fault alone; it ends by itself

Healthy use is a small pipeline that never rests (a producer, a socket, a consumer that compresses and stores) and,
beside it, one job after another drawn at random: compiling, tests, a download, a search through the disk, arithmetic,
archiving, and nothing at all. Every fault is bounded in size and time by its own code: an alarm clock ends the
process whatever else happens.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from tidegate import record

HERE, PYTHON = Path(__file__), sys.executable
SECONDS = 60  # how long each fault lasts


# ---------------------------------------------------------------- healthy use


def pipeline(folder: Path) -> None:
    """Send about 2 MB/s, slowly rising and falling, to a consumer over loopback; run until killed."""
    ready = socket.create_server(("127.0.0.1", 0))
    consumer = subprocess.Popen([PYTHON, str(HERE), "consume", str(ready.getsockname()[1]), str(folder)])
    (folder / "consumer.pid").write_text(str(consumer.pid))
    link, _ = ready.accept()
    line = b"sensor=%d value=%f state=running\n"
    while True:
        rate = 2.0 + 0.5 * (time.time() % 600 < 300) + random.gauss(0, 0.1)
        block = b"".join(line % (i, random.random()) for i in range(2000))
        for _ in range(max(1, int(rate * 1e6 / len(block)))):
            link.sendall(block)
            time.sleep(0.02)
        time.sleep(0.3)


def consume(port: int, folder: Path) -> None:
    """Compress what arrives and store it once a second; start the file anew at 50 MB."""
    link, store, due, held = socket.create_connection(("127.0.0.1", port)), folder / "store.bin", time.time(), b""
    while block := link.recv(1 << 18):
        held += zlib.compress(block, 1)
        if time.time() >= due:
            mode = "ab" if store.exists() and store.stat().st_size < 50e6 else "wb"
            with store.open(mode) as out:
                out.write(held)
                out.flush()
                os.fsync(out.fileno())
            held, due = b"", time.time() + 1


CODE = "#include <map>\n#include <regex>\n#include <string>\n" + "".join(
    f"std::map<std::string,int> f{i}(std::string s){{std::regex r(s);std::map<std::string,int> m;m[s]={i};return m;}}\n"
    for i in range(40)
)


def build(folder: Path, until: float) -> None:
    (folder / "unit.cpp").write_text(CODE)
    while time.time() < until:
        compilers = [_start(["g++", "-O2", "-c", "unit.cpp", "-o", f"unit{i}.o"], folder) for i in range(2)]
        for compiler in compilers:
            compiler.wait()


def tests(folder: Path, until: float) -> None:
    suites = ["test_json", "test_zlib", "test_re", "test_socket", "test_sqlite3", "test_csv", "test_threading"]
    while time.time() < until:
        suite = _start([PYTHON, "-m", "unittest", f"test.{random.choice(suites)}"], folder)
        try:
            suite.wait(timeout=90)  # some of them wait for ever where there is no network
        except subprocess.TimeoutExpired:
            suite.kill()


def download(folder: Path, until: float) -> None:
    while time.time() < until:
        name = random.choice(["numpy", "pandas", "polars-runtime-32", "scipy", "matplotlib", "duckdb"])
        _start(
            [PYTHON, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "-d", "wheels", name], folder
        ).wait()
        for wheel in (folder / "wheels").glob("*"):
            wheel.unlink()
        time.sleep(random.uniform(1, 5))


def search(folder: Path, until: float) -> None:
    while time.time() < until:
        _start(
            ["grep", "-r", "-c", "import", random.choice(["/usr/lib/python3", "/usr/share", "/usr/include"])], folder
        ).wait()


def arithmetic(folder: Path, until: float) -> None:
    code = f"import numpy as n,time\nwhile time.time()<{until}: (n.random.rand(300,300)@n.random.rand(300,300)).sum()"
    _start([PYTHON, "-c", code], folder, OMP_NUM_THREADS="1").wait()


def archive(folder: Path, until: float) -> None:
    while time.time() < until:
        _start(["tar", "-czf", "archive.tgz", "/usr/include"], folder).wait()
        time.sleep(2)


def idle(folder: Path, until: float) -> None:
    time.sleep(max(0.0, until - time.time()))


JOBS: list[Callable[[Path, float], None]] = [build, tests, download, search, arithmetic, archive, idle, idle, idle]


def _start(command: list[str], folder: Path, **env: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet, stdin=quiet, env={**os.environ, **env})


def live(folder: Path, stop: threading.Event) -> None:
    """One job after another, 15 to 90 seconds each, every job once before any comes again."""
    while not stop.is_set():
        for job in random.sample(JOBS, len(JOBS)):
            if stop.is_set():
                return
            with contextlib.suppress(OSError):
                job(folder, time.time() + random.uniform(15, 90))


# ---------------------------------------------------------------- faults, each ended by its own alarm clock


def runaway(folder: Path) -> None:
    """A loop that reads its input again and again without a pause, as fast as one core can."""
    os.sched_setaffinity(0, {random.randrange(os.cpu_count() or 1)})
    source = os.open(PYTHON, os.O_RDONLY)
    while True:
        os.pread(source, 1 << 20, 0)


def leak(folder: Path) -> None:
    """Grows by 120 MB a second up to 6 GB, touching every page, and holds it."""
    held: list[bytearray] = []
    while True:
        if len(held) < 100:
            held.append(bytearray(os.urandom(1 << 20) * 60))
        time.sleep(0.5)


def disk(folder: Path) -> None:
    """Rewrites one file of 256 MB, about 120 MB a second, forced to disk every 32 MB."""
    block = os.urandom(1 << 25)
    with tempfile.TemporaryFile(dir=folder) as out:
        while True:
            for i in range(8):
                os.pwrite(out.fileno(), block, i << 25)
                os.fsync(out.fileno())
                time.sleep(0.25)


def forks(folder: Path) -> None:
    """One short process after another, as a broken supervisor does."""
    while True:
        subprocess.run(["true"], check=False)


def stall(folder: Path) -> None:
    """The pipeline's consumer stops reading; it goes on when the alarm clock rings."""
    pid = int((folder / "consumer.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(os.kill(pid, signal.SIGCONT)))
    signal.pause()


def reconnect(folder: Path) -> None:
    """A client that connects and hangs up, again and again."""
    door = socket.create_server(("127.0.0.1", 0), backlog=64)
    while True:
        client = socket.create_connection(door.getsockname())
        door.accept()[0].close()
        client.close()


def thrash(folder: Path) -> None:
    """Two processes hand one byte back and forth: a lock that is never held for long."""
    (a, b), (c, d) = os.pipe(), os.pipe()
    child = os.fork()
    read, write = (a, d) if child == 0 else (c, b)
    signal.alarm(SECONDS)  # a fork does not inherit the parent's alarm
    os.write(write, b"x")
    while True:
        os.write(write, os.read(read, 1))


FAULTS: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (runaway, leak, disk, forks, stall, reconnect, thrash)
}


def fault(name: str, folder: Path) -> None:
    signal.alarm(SECONDS)
    FAULTS[name](folder)


# ---------------------------------------------------------------- the recording


def make(out: Path, healthy: float, gap: float, seed: int) -> None:
    random.seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    plan = [*FAULTS, "runaway"]
    random.shuffle(plan)
    with tempfile.TemporaryDirectory() as temporary:
        folder, stop = Path(temporary), threading.Event()
        service = subprocess.Popen([PYTHON, str(HERE), "pipeline", temporary], start_new_session=True)
        threading.Thread(target=live, args=(folder, stop), daemon=True).start()
        time.sleep(20)  # the pipeline settles
        total = healthy * 60 + len(plan) * (gap + SECONDS) + gap
        threading.Thread(
            target=_inject, args=(plan, healthy * 60, gap, folder, out / "faults.csv"), daemon=True
        ).start()
        try:
            record.to_csv(out / "host.csv", record.host(seconds=total))
        finally:
            stop.set()
            os.killpg(service.pid, signal.SIGKILL)


def _inject(plan: list[str], wait: float, gap: float, folder: Path, log: Path) -> None:
    time.sleep(wait)
    with log.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["fault", "start", "end"])
        for name in plan:
            time.sleep(gap * random.uniform(0.7, 1.3))
            start = time.time()
            subprocess.run([PYTHON, str(HERE), "fault", name, "--folder", str(folder)], check=False)
            table.writerow(
                [name, *(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(t))}" for t in (start, time.time()))]
            )
            out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("make")
    verb.add_argument("out", type=Path)
    verb.add_argument("--healthy-minutes", type=float, default=90)
    verb.add_argument("--gap-seconds", type=float, default=105)
    verb.add_argument("--seed", type=int, default=0)
    verb = verbs.add_parser("fault")
    verb.add_argument("name", choices=FAULTS)
    verb.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    verbs.add_parser("pipeline").add_argument("folder", type=Path)
    verb = verbs.add_parser("consume")
    verb.add_argument("port", type=int)
    verb.add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.verb == "make":
        make(args.out, args.healthy_minutes, args.gap_seconds, args.seed)
    elif args.verb == "fault":
        fault(args.name, args.folder)
    elif args.verb == "pipeline":
        pipeline(args.folder)
    else:
        consume(args.port, args.folder)


if __name__ == "__main__":
    main()
