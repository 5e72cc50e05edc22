"""How long denoising takes, and how much memory: always as ratios of one run."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lowdose.backends import missing_packages
from lowdose.bench.methods import Spec, build
from lowdose.checkpoint import load_weights
from lowdose.infer import Denoiser, Precision, TiledNetwork, pick_precision
from lowdose.io.formats import write
from lowdose.micrograph import Micrograph
from lowdose.models.catalog import CATALOG

SIDES = (512, 1024, 2048, 4096)
_PRECISIONS: tuple[Precision, ...] = ("auto", "float32")
# Larger images only the models of lowdose are asked about: others take minutes.
_MOST_OF_OTHERS = 2048
# Of the matrices whose product tells what the machine can do.
_MATRIX = 2048
# The command line, telling its own peak at the end: what wait4 tells of a child is at least the
# memory of the parent it was forked from.
_COMMAND = """
import atexit, sys
def tell():
    try:
        lines = open("/proc/self/status").read().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak //= 1024 if sys.platform == "darwin" else 1
    print("peak", peak, file=sys.stderr)
atexit.register(tell)
from lowdose.cli import main
main()
"""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Timing:
    """Seconds that one method took for images of one size.

    Parameters
    ----------
    method : str
        What ran.
    side : int
        Of the image, in pixels.
    seconds : tuple of float
        Of each round.
    """

    method: str
    side: int
    seconds: tuple[float, ...]

    @property
    def least(self) -> float:
        """Of all rounds: what other programs on the machine took is in the others."""
        return min(self.seconds)


@dataclass(frozen=True)
class Command:
    """What a whole command took, start-up included: seconds and peak megabytes."""

    words: str
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Pass:
    """One pass of a network over 512 x 512 pixels."""

    model: str
    precision: str
    gflop: float
    seconds: float
    rate: float  # of the machine's own matrix product in the same precision, GFLOP/s

    @property
    def share(self) -> float:
        """Part of that rate which the network reaches."""
        return self.gflop / self.seconds / self.rate


@dataclass(frozen=True)
class Speeds:
    """All that was measured in one run."""

    timings: Sequence[Timing]
    passes: Sequence[Pass]
    commands: Sequence[Command]
    machine: str = field(default_factory=lambda: f"{os.cpu_count()} CPU cores")


def measure(
    models: Sequence[str],
    others: Sequence[Spec],
    sides: Sequence[int],
    *,
    rounds: int,
    progress: Progress = lambda label, done, total: None,
) -> Speeds:
    """Time every method at every size, in turns, so that all see the same machine.

    Parameters
    ----------
    models : sequence of str
        Shipped weights or ``.safetensors`` files; the first is what ratios are of.
    others : sequence of Spec
        Methods of `lowdose.bench.methods` to compare with, up to 2048 x 2048 pixels.
    sides : sequence of int
        Of the images.
    rounds : int
        How often each is timed, after one round to warm up.
    progress : callable
        Told what runs next, its number, and how many there are.
    """
    runners = [*_own_runners(models), *_other_runners(others)]
    tasks = [
        (label, side)
        for side in sides
        for label, _, most in runners
        if side <= most
    ]  # fmt: skip
    run = {label: call for label, call, _ in runners}
    images = {side: counts(side) for side in sides}
    taken: dict[tuple[str, int], list[float]] = {task: [] for task in tasks}
    total, number = len(tasks) * (rounds + 1), 0
    for turn in range(rounds + 1):
        for label, side in tasks:
            progress(f"{label}, {side} x {side}", number, total)
            seconds = _timed(lambda label=label, side=side: run[label](images[side]))  # type: ignore[misc]
            number += 1
            if turn:
                taken[label, side].append(seconds)
    timings = [Timing(label, side, tuple(times)) for (label, side), times in taken.items()]
    ends = sorted({min(sides), max(sides)})
    progress("single passes and whole commands", total, total)
    return Speeds(timings, list(_passes(models, rounds)), list(_commands(models, ends)))


def counts(side: int) -> NDArray[np.float32]:
    """Poisson counts of a smooth image."""
    y, x = np.mgrid[:side, :side] / 200
    rate = 40 * (1.2 + np.sin(x) * np.cos(y))
    drawn: NDArray[np.float32] = np.random.default_rng(0).poisson(rate).astype(np.float32)
    return drawn


def operations(network: nn.Module, *inputs: Tensor) -> float:
    """Floating-point operations of the convolutions of one call, two to a multiply-add."""
    total = 0

    def add(module: nn.Module, given: Any, result: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # Each weight meets each pixel of the grid without stride.
            grid = given[0] if isinstance(module, nn.ConvTranspose2d) else result
            total += 2 * module.weight.numel() * grid[:, 0].numel()

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    with torch.inference_mode():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return float(total)


def growth(timings: Sequence[Timing]) -> float:
    """Largest time per pixel over the least, of one method at several sizes.

    Examples
    --------
    >>> growth([Timing("a", 10, (1.0,)), Timing("a", 20, (4.4,))])
    1.1
    """
    per_pixel = [timing.least / timing.side**2 for timing in timings]
    return max(per_pixel) / min(per_pixel)


def _own_runners(models: Sequence[str]) -> Iterator[tuple[str, Callable[[Any], Any], float]]:
    for model in models:
        ways: list[tuple[str, dict[str, Any]]] = [
            (model, {}),
            (f"{model}, float32", {"precision": "float32"}),
        ]
        if not missing_packages():
            ways.append((f"{model}, openvino", {"backend": "openvino"}))
        for label, options in ways:
            denoiser = Denoiser(model, device="cpu", **options)
            yield label, partial(_denoised, denoiser), float("inf")


def _denoised(denoiser: Denoiser, image: NDArray[np.float32]) -> object:
    return denoiser(Micrograph(image))


def _other_runners(specs: Sequence[Spec]) -> Iterator[tuple[str, Callable[[Any], Any], float]]:
    for spec in specs:
        yield spec.label, build(spec, device="cpu").run, _MOST_OF_OTHERS


def _passes(models: Sequence[str], rounds: int) -> Iterator[Pass]:
    """One pass of each network in each precision, and the machine's product beside it."""
    for model in models:
        for precision in _PRECISIONS:
            network, record = load_weights(model)
            dtype = pick_precision(precision, torch.device("cpu"))
            cast(TiledNetwork, network).run_body_in(dtype)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            inputs = [torch.rand(1, 1, 512, 512) - 0.5]
            if CATALOG[record.network].predicts == "noise":
                inputs.append(torch.full((1,), 0.05))
            yield _pass(model, network.eval(), inputs, dtype, max(rounds, 5))


@torch.inference_mode()
def _pass(
    model: str, network: nn.Module, inputs: list[Tensor], dtype: torch.dtype, rounds: int
) -> Pass:
    a = torch.randn(_MATRIX, _MATRIX).to(dtype)
    network(*inputs)
    pairs = [(_timed(lambda: network(*inputs)), _timed(lambda: a @ a)) for _ in range(rounds)]
    once, product = (min(times) for times in zip(*pairs, strict=True))
    gflop = operations(network, *inputs) / 1e9
    rate = 2 * _MATRIX**3 / product / 1e9
    return Pass(model, str(dtype).removeprefix("torch."), gflop, once, rate)


def _commands(models: Sequence[str], sides: Sequence[int]) -> Iterator[Command]:
    """Whole commands, start-up and files included."""
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            noisy = Path(folder, f"{side}.mrc")
            write(noisy, Micrograph(counts(side)))
            words = ["denoise", str(noisy), "-o", f"{folder}/out.mrc", "--overwrite", "--quiet"]
            for model in models:
                label = f"lowdose denoise --model {model}, {side} x {side} MRC"
                yield _command(label, [*words, "--model", model])
    yield _command("lowdose --help", ["--help"])


def _command(words: str, arguments: Sequence[str]) -> Command:
    runs = []
    for _ in range(3):
        start = time.perf_counter()
        child = subprocess.run(
            [sys.executable, "-c", _COMMAND, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - start
        (peak,) = (line for line in child.stderr.splitlines() if line.startswith("peak "))
        runs.append((seconds, int(peak.split()[1]) / 1024))
    return Command(words, min(t for t, _ in runs), max(m for _, m in runs))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def as_csv(speeds: Speeds) -> str:
    """Every round, one a line."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["method", "side_px", "round", "seconds"])
    for timing in speeds.timings:
        table.writerows(
            (timing.method, timing.side, number, f"{seconds:.6f}")
            for number, seconds in enumerate(timing.seconds)
        )
    return file.getvalue()


def as_page(speeds: Speeds, *, command: str, picture: str) -> str:
    """Write the page in Markdown."""
    first = speeds.timings[0].method
    by_method: dict[str, list[Timing]] = {}
    for timing in speeds.timings:
        by_method.setdefault(timing.method, []).append(timing)
    reference = {timing.side: timing.least for timing in by_method[first]}
    rates = {one.precision: one.rate for one in speeds.passes}
    machine = ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    lines = [
        "# Time and memory",
        "",
        f"Made by `{command}` on {speeds.machine} whose own matrix product reached {machine} in "
        "the same run. Least of the rounds, methods in turns. Machines are shared and vary by a "
        f"factor of two: the ratios to `{first}` are what lasts.",
        "",
        "## Images in memory, the network loaded, the noise estimated",
        "",
        "| image | method | time | median | times as long | per megapixel |",
        "|---|---|---|---|---|---|",
    ]
    for timing in sorted(speeds.timings, key=lambda timing: timing.side):
        least, side = timing.least, timing.side
        lines.append(
            f"| {side} x {side} | {timing.method} | {_in_words(least)} | "
            f"{_in_words(median(timing.seconds))} | {least / reference[side]:.3g} | "
            f"{_in_words(least / side**2 * 1e6)} |"
        )
    lines += ["", "Time per pixel, the most over the least of all sizes:", ""]
    lines += [
        f"- {method}: {growth(timings):.2f}"
        for method, timings in by_method.items()
        if len(timings) > 1
    ]
    lines += [
        "",
        f"![Time against pixels]({picture})",
        "",
        "## One pass of the network over 512 x 512 pixels",
        "",
        "| weights | precision | GFLOP | time | GFLOP/s | of the machine's matrix product |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.model} | {one.precision} | {one.gflop:.2f} | {_in_words(one.seconds)} | "
        f"{one.gflop / one.seconds:.0f} | {100 * one.share:.0f} % |"
        for one in speeds.passes
    ]
    lines += [
        "",
        "## From the shell, start-up included",
        "",
        "| command | time | peak memory |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{one.words}` | {_in_words(one.seconds)} | {one.peak_mb:.0f} MB |"
        for one in speeds.commands
    ]
    return "\n".join(lines) + "\n"


def _in_words(seconds: float) -> str:
    """Write a time with two or three digits.

    Examples
    --------
    >>> _in_words(0.0123), _in_words(2.345)
    ('12.3 ms', '2.35 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
