"""This computer's own sensors as a source: processor, memory, disk and network, read at a fixed beat.

Counters (context switches, interrupts, bytes) become rates a second, so that a reading means the same at any beat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from .errors import MissingExtraError, SettingError

Reading = dict[str, float]
STAT = Path("/proc/stat")  # Linux only; psutil does not have everything that is in it


def host(*, interval: float = 1.0, seconds: float | None = None) -> Iterator[tuple[int, Reading]]:
    """Yield `(time, reading)` of this computer's sensors, one every `interval` seconds.

    >>> when, reading = next(host(interval=0.05))
    >>> sorted(reading)[:3]
    ['context_switches', 'cpu0', ...]

    time      nanoseconds since 1970, UTC
    reading   channel name -> value: percent for `cpu*`, MB for `memory_*`, events or bytes a second for the rest
    seconds   stop after this long; None goes on until the caller stops asking

    The beat is kept against a monotonic clock: a late reading does not shift those after it, and one that is missed
    altogether is left out rather than made up. Raises MissingExtraError without psutil (extra `record`).
    """
    if not interval > 0:
        raise SettingError(f"interval is {interval}", wanted="more than 0 seconds", do="use --interval 1s")
    psutil = _psutil()
    psutil.cpu_percent(percpu=True), psutil.cpu_times_percent()  # the first call only sets the starting point
    before, start = _counters(psutil), time.monotonic()
    last, beat = start, 0
    while True:
        beat = max(beat + 1, int((time.monotonic() - start) / interval))
        if seconds is not None and beat * interval > seconds + interval / 2:
            return
        time.sleep(max(0.0, start + beat * interval - time.monotonic()))
        now, when, counters = time.monotonic(), time.time_ns(), _counters(psutil)
        rates = {name: (counters[name] - before[name]) / (now - last) for name in counters}
        yield when, {name: round(value, 3) for name, value in {**_gauges(psutil), **rates}.items()}
        before, last = counters, now


def to_csv(
    path: Path, readings: Iterator[tuple[int, Reading]], *, progress: Callable[[int], None] = lambda rows: None
) -> int:
    """Write readings to a CSV file as they come, each row complete on disk before the next; return the rows written.

    Ctrl-C ends the recording and keeps what is there. Refuses to overwrite a file.
    """
    if path.exists():
        raise SettingError(f"{path} exists", wanted="a new file", do="name another file, or move this one away")
    rows = 0
    with path.open("x", encoding="utf-8") as out, suppress(KeyboardInterrupt):
        for when, reading in readings:
            if rows == 0:
                out.write(",".join(["time", *reading]) + "\n")
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when // 10**9))
            out.write(f"{stamp}.{when // 10**6 % 1000:03d}Z," + ",".join(f"{v:g}" for v in reading.values()) + "\n")
            out.flush()
            rows += 1
            progress(rows)
    return rows


def _psutil() -> ModuleType:
    try:
        import psutil
    except ImportError:
        raise MissingExtraError.of("psutil", "record") from None
    module: ModuleType = psutil
    return module


def _gauges(psutil: ModuleType) -> Reading:
    """What has a value at any moment; percentages cover the time since the last call."""
    cores, share, memory = psutil.cpu_percent(percpu=True), psutil.cpu_times_percent(), psutil.virtual_memory()
    return {
        **{f"cpu{i}": busy for i, busy in enumerate(cores)},
        "cpu_user": share.user,
        "cpu_system": share.system,
        "cpu_iowait": getattr(share, "iowait", 0.0),  # Linux only
        "load_1min": psutil.getloadavg()[0],
        "memory_used": (memory.total - memory.available) / 1e6,
        "processes": float(len(psutil.pids())),
    }


def _counters(psutil: ModuleType) -> Reading:
    """What only ever counts up."""
    stats, disk, net = psutil.cpu_stats(), psutil.disk_io_counters(), psutil.net_io_counters()
    counts = {
        "context_switches": stats.ctx_switches,
        "interrupts": stats.interrupts,
        "soft_interrupts": stats.soft_interrupts,
        "net_sent": net.bytes_sent,
        "net_received": net.bytes_recv,
        "net_packets": net.packets_sent + net.packets_recv,
    }
    forks = _forks(STAT.read_text()) if STAT.exists() else None
    if forks is not None:
        counts["forks"] = forks
    if disk is not None:  # a container may have no disk of its own
        counts |= {"disk_read": disk.read_bytes, "disk_written": disk.write_bytes, "disk_writes": disk.write_count}
    return {name: float(count) for name, count in counts.items()}


def _forks(stat: str) -> int | None:
    """Processes and threads started since boot, out of /proc/stat: only this shows those too short to be seen.

    >>> _forks("cpu 1 2 3\\nprocesses 4711\\nprocs_running 2\\n")
    4711
    """
    return next((int(line.split()[1]) for line in stat.splitlines() if line.startswith("processes ")), None)
