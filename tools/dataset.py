"""Measure building, resuming and streaming a large data set; prints a table.

python tools/dataset.py /tmp/big --files 2000

Writes so many files of 2048 x 2048 counts (8 MB each) below the folder, kills a build half-way,
resumes it, checks and streams the result, and removes all of it. Peak memory is that of the
process alone, as the kernel tells it at the end.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from lowdose import Micrograph, write
from lowdose.data.shards import ShardSet

# The command line, telling its own peak at the end: what wait4 tells of a child is at least the
# memory of the parent it was forked from.
COMMAND = """
import atexit, sys
atexit.register(lambda: print(open("/proc/self/status").read(), file=sys.stderr))
from lowdose.cli import main
main()
"""


def write_micrographs(folder: Path, count: int) -> None:
    """Write counts of random structure; five micrographs a specimen."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4096, 4096), np.float32) * np.sqrt(3000)
    grain = np.rint(noise).astype(np.int16)
    for number in range(count):
        coarse = rng.integers(1500, 6000, (32, 1, 32, 1), np.uint16)
        y, x = rng.integers(2048, size=2)  # the same noise, moved: drawing it would take hours
        pixels = np.ascontiguousarray(grain[y : y + 2048, x : x + 2048]).view(np.uint16)
        pixels.reshape(32, 64, 32, 64)[:] += coarse
        name = f"specimen{number // 5:04}__{number % 5}.mrc"
        write(folder / name, Micrograph(pixels))


def run(*arguments: object) -> tuple[float, float]:
    """Seconds and peak megabytes of a command of lowdose."""
    start = time.perf_counter()
    words = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    done = subprocess.run(words, check=True, stderr=subprocess.PIPE, text=True)
    peak = next(line for line in done.stderr.splitlines() if line.startswith("VmHWM"))
    return time.perf_counter() - start, float(peak.split()[1]) / 1000


def run_until(place: Path, *arguments: object) -> float:
    """Seconds until a file appears, at which the command is killed."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "lowdose", *map(str, arguments)]) as process:
        while not place.exists() and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    return time.perf_counter() - start


def stream(folder: Path, threads: int, count: int) -> float:
    """Crops a second, scaled to [0, 1], with so many threads."""
    shards = ShardSet(folder)

    def draw(rank: int) -> None:
        for ordinal in range(rank, count, threads):
            truth = shards.truth(ordinal)
            truth.crop(0, 0, *truth.pixels.shape)

    workers = [threading.Thread(target=draw, args=(rank,)) for rank in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return count / (time.perf_counter() - start)


def peak_mb() -> float:
    """Peak memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


def main() -> None:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()
    raw, out = options.folder / "raw", options.folder / "set"
    raw.mkdir(parents=True)
    try:
        start = time.perf_counter()
        write_micrographs(raw, options.files)
        print(f"wrote {options.files} files in {time.perf_counter() - start:.0f} s", flush=True)
        build = ("dataset", "build", raw, "-o", out)
        half = options.files * 16 * 8 // 10 // 1000 // 2
        seconds = run_until(out / f"train-{half:06}.tar", *build)
        print(f"killed at {seconds:.0f} s, when shard {half} was written", flush=True)
        for label, words in (
            ("resumed", build),
            ("finished before", build),
            ("checked", ("dataset", "check", out)),
        ):
            seconds, peak = run(*words)
            print(f"{label}: {seconds:.0f} s, peak {peak:.0f} MB", flush=True)
        for threads in (1, 2):
            rate = stream(out, threads, min(len(ShardSet(out)), 8000))
            print(f"{threads} thread(s): {rate:.0f} crops/s, peak {peak_mb():.0f} MB", flush=True)
    finally:
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
