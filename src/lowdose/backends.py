"""What computes a network: torch, or OpenVINO where that is faster and as exact."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lowdose.errors import ConfigError
from lowdose.export import RESULTS, inputs_of, to_onnx
from lowdose.models.catalog import Predicts

Backend = Literal["auto", "torch", "openvino"]
BACKENDS = ("auto", "torch", "openvino")
# What `OpenVINONetwork` needs.
_PACKAGES = "openvino", "onnx"
_REPORTER = "openvino_telemetry"


def pick_backend(name: str, device: torch.device, predicts: Predicts) -> str:
    """Turn a name into a backend that is there and fits, see docs/backends.md.

    Parameters
    ----------
    name : str
        ``"torch"``, ``"openvino"``, or ``"auto"``: OpenVINO on a processor, where it is installed,
        for networks that predict an image. Their depthwise convolutions it computes in half to two
        thirds of the time. For those that predict noise it gains little, and in bf16 it rounds the
        first layer, which torch keeps exact.
    device : torch.device
        Where the network is to run.
    predicts : {"noise", "image"}
        What it predicts.

    Raises
    ------
    ConfigError
        If there is no such backend, it is not installed, or does not run on this device.
    """
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend {name!r}; use {', '.join(BACKENDS)}")
    missing = missing_packages()
    if name == "auto":
        is_faster = device.type == "cpu" and predicts == "image" and not missing
        return "openvino" if is_faster else "torch"
    if name == "openvino" and device.type != "cpu":
        raise ConfigError(f"the backend openvino runs on cpu, not on {device}; use --device cpu")
    if name == "openvino" and missing:
        raise ConfigError(
            f"the backend openvino needs {' and '.join(missing)}. pip install 'lowdose[openvino]', "
            "or pass --backend torch"
        )
    return name


@contextmanager
def float32_kept() -> Iterator[None]:
    """Convolutions in float32 keep all of it: by default torch rounds them to ten bits on a GPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def missing_packages() -> list[str]:
    """Packages that OpenVINO as a backend lacks; nothing is imported."""
    return [package for package in _PACKAGES if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def import_openvino() -> Any:
    """Import OpenVINO without the package by which it tells its maker that it was imported.

    It does so over the network and unasked. Where that package is missing it goes without.

    Raises
    ------
    ConfigError
        If OpenVINO cannot be loaded.
    """
    is_there = _REPORTER in sys.modules  # somebody's own choice
    if not is_there:
        sys.modules[_REPORTER] = None  # type: ignore[assignment] # cannot be imported
    try:
        import openvino
    except (ImportError, OSError) as err:  # OSError: a library that it needs is missing
        raise ConfigError(
            f"OpenVINO cannot be loaded ({err}). Install it again, or pass --backend torch"
        ) from err
    finally:
        if not is_there:
            del sys.modules[_REPORTER]
    return openvino


class OpenVINONetwork(nn.Module):
    """A network that OpenVINO computes, called as the one it was made from.

    Parameters
    ----------
    network : Module
        Of the catalog, in float32 on the CPU, ready for inference.
    predicts : {"noise", "image"}
        What it predicts.
    dtype : torch.dtype
        Precision of all layers but the last; of inputs and results it is float32.

    Raises
    ------
    ConfigError
        If OpenVINO cannot be loaded.
    """

    def __init__(self, network: nn.Module, predicts: Predicts, dtype: torch.dtype) -> None:
        super().__init__()
        facts = cast(Any, network)
        self.stride, self.halo, self.window = facts.stride, facts.halo, facts.window
        self._inputs = inputs_of(network, predicts)
        content = to_onnx(network, self._inputs, RESULTS[predicts], side=4 * self.stride)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",  # one pass at a time, on all threads
        }
        core = import_openvino().Core()
        self._compiled = core.compile_model(core.read_model(content, b""), "CPU", settings)

    def forward(self, *given: Tensor) -> Tensor:
        """Compute what the network would; not told of correlation, it takes the noise for white."""
        untold = (torch.zeros(len(given[0]), 2) for _ in self._inputs[len(given) :])
        known = zip(self._inputs, (*given, *untold), strict=False)
        found = self._compiled({port.name: each.contiguous().numpy() for port, each in known})
        return torch.from_numpy(found[0])
