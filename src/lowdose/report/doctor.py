"""What this machine and installation offer, and what lowdose would choose on it."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lowdose import __version__

Section = tuple[str, Any]


@dataclass(frozen=True)
class Option:
    """A package that lowdose can do without.

    Parameters
    ----------
    package : str
        As pip knows it.
    install : str
        What brings it.
    without : str
        What is not possible while it is missing.
    """

    package: str
    install: str
    without: str


OPTIONS = (
    Option(
        "rosettasciio",
        "lowdose[formats]",
        "DM3, DM4, SER, EMI, EMD, HyperSpy, MIB, TVIPS and BLO files cannot be read",
    ),
    Option("h5py", "lowdose[formats]", "EMD and HyperSpy files cannot be read"),
    Option("sparse", "sparse", "images beside a Velox spectrum image cannot be read"),
    Option("imagecodecs", "imagecodecs", "compressed TIFF files cannot be read"),
    Option("openvino", "lowdose[openvino]", "the paper's networks take up to twice as long"),
    Option("onnx", "lowdose[onnx]", "`lowdose export` and the backend openvino do not work"),
    Option("scikit-image", "lowdose[bench]", "`lowdose bench` lacks most classical filters"),
    Option("matplotlib", "lowdose[bench]", "`lowdose bench` draws no figures"),
)


def examine() -> Iterator[Section]:
    """Find out what there is, the quick things first; torch takes a second or more to import.

    Yields
    ------
    (str, object)
        Name of a section and what it found, which is JSON. Missing packages, torch included, are
        findings, not errors.
    """
    yield "lowdose", __version__
    yield "python", f"{platform.python_version()} {sys.executable}"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "processor", {"name": _processor_name(), "cores": _cores()}
    yield "options", [_option(option) for option in OPTIONS]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # an old driver, say
        try:
            import torch
        except (ImportError, OSError) as err:  # OSError: a library that it needs is missing
            yield "torch", {"version": _version("torch"), "problem": str(err)}
            return
        yield (
            "torch",
            {
                "version": torch.__version__,
                "threads": torch.get_num_threads(),
                "vectors": torch.backends.cpu.get_cpu_capability(),
            },
        )
        yield from _choices()
    yield "warnings", [str(warning.message) for warning in caught]


def _choices() -> Iterator[Section]:
    import torch

    from lowdose.backends import missing_packages, pick_backend
    from lowdose.infer import pick_device, pick_precision
    from lowdose.memory import free_memory

    device, cpu = pick_device("auto"), torch.device("cpu")
    dtype = pick_precision("auto", device)
    is_native = pick_precision("auto", cpu) == torch.bfloat16
    devices = [("cpu", _processor_name(), cpu), *_accelerators()]
    yield (
        "devices",
        [
            {"name": name, "what": what, "free_gb": round(free_memory(each) / 1e9, 1)}
            for name, what, each in devices
        ],
    )
    yield "bf16", {"native": is_native}
    backends = {
        f"networks that predict {kind}": pick_backend("auto", device, kind)
        for kind in ("noise", "image")
    }
    yield (
        "auto",
        {
            "device": {"choice": str(device), "why": _why_device(device.type)},
            "precision": {
                "choice": str(dtype).removeprefix("torch."),
                "why": _why_precision(device.type, is_bf16=dtype == torch.bfloat16),
            },
            "backend": {"choice": backends, "why": _why_backend(device.type, missing_packages())},
        },
    )


def _accelerators() -> Iterator[tuple[str, str, Any]]:
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = f"cuda:{index}"
        yield name, torch.cuda.get_device_name(index), torch.device(name)
    if torch.backends.mps.is_available():
        yield "mps", "Apple graphics", torch.device("mps")


def _why_device(kind: str) -> str:
    import torch

    if kind != "cpu":
        return "a graphics card that torch can use is the fastest there is"
    if torch.version.cuda is None and sys.platform != "darwin":
        return "this torch was built without CUDA, so it would not use a graphics card"
    return "torch finds no graphics card"


def _why_precision(kind: str, *, is_bf16: bool) -> str:
    if is_bf16:
        return (
            "bf16 is native here, about twice as fast, and changes about a hundredth of the noise"
        )
    if kind == "mps":
        return "bf16 is taken on processors and CUDA cards alone, where it was measured"
    place = "this processor" if kind == "cpu" else "this graphics card"
    return f"{place} would only emulate bf16, slower than float32"


def _why_backend(kind: str, missing: list[str]) -> str:
    if kind != "cpu":
        return "on a graphics card torch is the only one"
    if missing:
        return (
            f"{' and '.join(missing)} would compute networks that predict images, such as the "
            "paper's, in half to two thirds of the time: pip install 'lowdose[openvino]'"
        )
    return "OpenVINO is faster for networks that predict images; for others torch is as fast"


def _option(option: Option) -> dict[str, str | None]:
    found = _version(option.package)
    cost = {} if found else {"install": option.install, "without": option.without}
    return {"package": option.package, "version": found} | cost


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    """Cores that this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
