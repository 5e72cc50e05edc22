"""Denoise electron micrographs.

>>> import lowdose
>>> lowdose.__version__.count(".")
2

Everything below is loaded on first use: ``import lowdose`` imports neither numpy nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lowdose.errors import LowdoseError
    from lowdose.infer import Denoiser, denoise
    from lowdose.io import read, write
    from lowdose.micrograph import Axis, Micrograph
    from lowdose.physics.dose import NoiseModel
    from lowdose.physics.estimate import estimate_noise

_HOME = {
    "Axis": "lowdose.micrograph",
    "Denoiser": "lowdose.infer",
    "LowdoseError": "lowdose.errors",
    "Micrograph": "lowdose.micrograph",
    "NoiseModel": "lowdose.physics.dose",
    "denoise": "lowdose.infer",
    "estimate_noise": "lowdose.physics.estimate",
    "read": "lowdose.io",
    "write": "lowdose.io",
}

__all__ = [
    "Axis",
    "Denoiser",
    "LowdoseError",
    "Micrograph",
    "NoiseModel",
    "denoise",
    "estimate_noise",
    "read",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lowdose' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
