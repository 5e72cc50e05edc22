"""Measure building, resuming and streaming a large data set; prints a table.

python tools/dataset.py FOLDER --files 2000

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
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from lowdose import Micrograph, write
from lowdose.data.pairs import Augmentation, DoseLaw, PairSource
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


def rate(draw: Callable[[int], object], threads: int, count: int) -> float:
    """Calls a second, with so many threads."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(draw, range(count)):
            pass
    return count / (time.perf_counter() - start)


def crops_of(folder: Path) -> Callable[[int], object]:
    """Draws crops alone, scaled to [0, 1]."""
    shards = ShardSet(folder)

    def draw(ordinal: int) -> object:
        truth = shards.truth(ordinal)
        return truth.crop(0, 0, *truth.pixels.shape)

    return draw


def pairs_of(folder: Path) -> Callable[[int], object]:
    """Draws crops flipped and turned, with Poisson noise of the paper's low doses."""
    plain = Augmentation(shrink=0, invert=0, curve=0, pedestal=0, readout=0, misjudged=0, stretch=1)
    law = DoseLaw(low_share=1, ordinary_share=0)
    shards = ShardSet(folder)
    side = shards.description.crop
    source = PairSource(shards, patch=side, batch=1, dose=law, augmentation=plain, seed=0)
    return lambda step: source.batch(step, range(1))


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
        torch.set_num_threads(1)  # the loader's threads are those counted
        for threads in (1, 2):
            crops = rate(crops_of(out), threads, min(len(ShardSet(out)), 8000))
            pairs = rate(pairs_of(out), threads, 1000)
            print(
                f"{threads} thread(s): {crops:.0f} crops/s, {pairs:.0f} noisy/clean pairs/s, "
                f"peak {peak_mb():.0f} MB",
                flush=True,
            )
    finally:
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
