"""Measure time and memory of the shipped weights; writes docs/speed.md.

python tools/speed.py

Times are medians on whatever machine it runs on, which the page names by the rate of its own
matrix product in the same run: compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from lowdose import Micrograph, write
from lowdose.infer import Denoiser
from lowdose.models.atrous import atrous
from lowdose.physics.dose import NoiseModel

# The command line, telling its own peak at the end: what wait4 tells of a child is at least the
# memory of the parent it was forked from.
COMMAND = """
import atexit, sys
atexit.register(lambda: print(open("/proc/self/status").read(), file=sys.stderr))
from lowdose.cli import main
main()
"""
DOCS = Path(__file__).parents[1] / "docs"


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median time of a call after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def product_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of a matrix product of this machine."""
    a = torch.randn(2048, 2048).to(dtype)
    return float(2 * 2048**3 / seconds(lambda: a @ a, 7) / 1e9)


def whole_process(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a command of lowdose, start-up included."""
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    elapsed = time.perf_counter() - start
    (peak,) = (line for line in child.stderr.splitlines() if line.startswith("VmHWM"))
    return elapsed, int(peak.split()[1]) / 1024


def counts(side: int) -> Micrograph:
    """Poisson counts of a smooth image, as the camera of an afternoon would record them."""
    y, x = np.mgrid[:side, :side] / 200
    rate = 40 * (1.2 + np.sin(x) * np.cos(y))
    return Micrograph(np.random.default_rng(0).poisson(rate).astype(np.float32))


def in_process(model: str) -> list[str]:
    """Rows for images in memory, the network loaded."""
    lines = [
        "| image | noise estimated | gain given | in float32, gain given |",
        "|---|---|---|---|",
    ]
    fast, exact = Denoiser(model), Denoiser(model, precision="float32")
    known = NoiseModel(1.0)
    for side in (512, 1024, 2048):
        image = counts(side)
        times = (
            seconds(lambda image=image: fast(image), 9),
            seconds(lambda image=image: fast(image, noise=known), 9),
            seconds(lambda image=image: exact(image, noise=known), 5),
        )
        lines.append(
            f"| {side} x {side} | " + " | ".join(f"{1e3 * t:.0f} ms" for t in times) + " |"
        )
    return lines


def papers_network() -> list[str]:
    """Rows for one pass of Ede's network at its full width, whose weights do not matter here."""
    lines = ["| precision | 512 x 512 |", "|---|---|"]
    image = torch.rand(1, 1, 512, 512).contiguous(memory_format=torch.channels_last)
    for dtype in (torch.bfloat16, torch.float32):
        network = atrous().eval()
        network.run_body_in(dtype)
        network.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            time_s = seconds(lambda network=network: network(image), 5)
        lines.append(f"| {str(dtype)[6:]} | {1e3 * time_s:.0f} ms |")
    return lines


def from_the_shell(model: str) -> list[str]:
    """Rows for whole commands."""
    lines = ["| command | seconds | peak memory |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for side in (512, 4096):
            noisy = Path(folder, f"{side}.mrc")
            write(noisy, counts(side))
            command = ["denoise", str(noisy), "-o", f"{folder}/out.mrc", "--overwrite"]
            command += ["--model", model, "--quiet"]
            runs = [whole_process(command) for _ in range(3)]
            middle, most = median(t for t, _ in runs), max(m for _, m in runs)
            lines.append(
                f"| `lowdose denoise`, {side} x {side} MRC | {middle:.1f} | {most:.0f} MB |"
            )
    for command in (["--help"], ["denoise", "--help"]):
        runs = [whole_process(command) for _ in range(5)]
        middle, most = median(t for t, _ in runs), max(m for _, m in runs)
        lines.append(f"| `lowdose {' '.join(command)}` | {middle:.2f} | {most:.0f} MB |")
    return lines


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="everyday")
    model = parser.parse_args().model
    rates = {dtype: product_rate(dtype) for dtype in (torch.bfloat16, torch.float32)}
    machine = ", ".join(f"{rate:.0f} GFLOP/s in {str(d)[6:]}" for d, rate in rates.items())
    lines = [
        "# Time and memory",
        "",
        f"Made by `python tools/speed.py` on {os.cpu_count()} CPU cores whose own matrix product "
        f"reached {machine} in the same run. Shared machines vary by a factor of two: "
        "compare ratios.",
        "",
        "## Images in memory, the network loaded",
        "",
        *in_process(model),
        "",
        "## The paper's network at full width, one pass",
        "",
        *papers_network(),
        "",
        "## From the shell, start-up included",
        "",
        *from_the_shell(model),
    ]
    (DOCS / "speed.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
