"""Compare what could run the networks on a processor: torch, ONNX Runtime, OpenVINO.

python tools/backends.py everyday atrous-narrow-low

Prints rows of the table in docs/backends.md. Candidates take turns, on one thread, and what is
counted is processor time, which a busy machine disturbs least; the least of all rounds counts.
Needs `pip install onnx onnxruntime openvino`; leaves out what is missing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowdose.backends import import_openvino
from lowdose.checkpoint import load_weights
from lowdose.export import export_onnx

Run = Callable[..., Tensor]
# Of the noise in the scaled image: some 100 electrons a pixel, and thousands.
LEVELS = 0.05, 0.01


def torch_run(name: str, dtype: torch.dtype) -> Run:
    """Run as `lowdose.Denoiser` does."""
    network: Any = load_weights(name)[0]
    network.run_body_in(dtype)
    network.to(memory_format=torch.channels_last)
    return lambda image, *rest: network(image.contiguous(memory_format=torch.channels_last), *rest)


def onnxruntime_run(path: Path) -> Run:
    """Run an exported network in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        named = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        return torch.from_numpy(session.run(None, named)[0])

    return run


def openvino_run(path: Path, precision: str) -> Run:
    """Run an exported network in OpenVINO."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = import_openvino().Core().compile_model(path, "CPU", settings)
    return lambda *given: torch.from_numpy(compiled([tensor.numpy() for tensor in given])[0])


def candidates(name: str, path: Path) -> Iterator[tuple[str, Run]]:
    """Everything that is installed, torch in float32 first."""
    yield "torch float32", torch_run(name, torch.float32)
    yield "torch bf16", torch_run(name, torch.bfloat16)
    if find_spec("onnxruntime"):
        yield "ONNX Runtime float32", onnxruntime_run(path)
    if find_spec("openvino"):
        yield "OpenVINO float32", openvino_run(path, "f32")
        yield "OpenVINO bf16", openvino_run(path, "bf16")


def inputs(side: int, level: float, count: int) -> tuple[Tensor, ...]:
    """Return a smooth noisy image and its noise level, or the image in [0, 1] alone."""
    y, x = np.mgrid[:side, :side] / 40
    clean = torch.tensor(0.4 * np.sin(x) * np.cos(1.3 * y), dtype=torch.float32)[None, None]
    rng = torch.Generator().manual_seed(0)
    noisy = clean + level * torch.randn(clean.shape, generator=rng)
    return (noisy, torch.tensor([level])) if count == 2 else ((noisy + 0.5).clamp(0, 1),)


def rows(name: str, side: int, rounds: int) -> Iterator[str]:
    """Rows of the table for one set of weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        count = len(export_onnx(name, path)["inputs"].split(", "))
        runs = dict(candidates(name, path))
        given = [inputs(side, level, count) for level in LEVELS]
        exact = [runs["torch float32"](*each) for each in given]
        times: dict[str, list[float]] = {key: [] for key in runs}
        for _ in range(rounds):
            for key, run in runs.items():
                start = time.process_time()
                run(*given[0])
                times[key].append(time.process_time() - start)
        for key, run in runs.items():
            own = min(times[key])
            ratio = min(times[f"torch {key.split()[-1]}"]) / own
            errors = [
                float((run(*each) - expected).square().mean().sqrt())
                for each, expected in zip(given, exact, strict=True)
            ]
            text = " | ".join(f"{error:.1e}" for error in errors)
            yield f"| `{name}` | {key} | {1e3 * own:.0f} ms | {ratio:.2f} | {text} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print("| weights | what runs them | one pass | times as fast | error at 0.05 | at 0.01 |")
    print("|---|---|---|---|---|---|")
    with torch.inference_mode():
        for model in chosen.models:
            for row in rows(model, chosen.side, chosen.rounds):
                print(row, flush=True)


if __name__ == "__main__":
    main()
