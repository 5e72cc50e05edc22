"""Dose laws of the benchmark, and the exposure of a truth: the same noise for the same seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lowdose.data.truths import Truth
from lowdose.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

# A word of `LAWS`, or counts at the brightest pixel.
Law = str | float


def _low(rng: np.random.Generator) -> float:
    return 25 + float(rng.exponential(75))


def _ordinary(rng: np.random.Generator) -> float:
    return float(rng.uniform(200, 2500))


LAWS: Mapping[str, Callable[[np.random.Generator], float]] = MappingProxyType(
    {
        "low": _low,
        "low-uniform": lambda rng: float(rng.uniform(25, 100)),
        "ordinary": _ordinary,
        "low-mtf": _low,
        "ordinary-mtf": _ordinary,
        "low-binned": _low,
    }
)
"""Laws of Ede (2018): low doses as in training, as in the released benchmark, ordinary doses; and
the same with noise that correlates, see `DETECTORS`."""


def _blurred(pixels: NDArray[Any]) -> NDArray[Any]:
    """As a detector shows it whose contrast falls to one half at half the Nyquist frequency."""
    from lowdose.physics.correlation import gaussian_taps

    width = np.sqrt(np.log(2) / 2) / (np.pi * 0.25)  # of a Gaussian, 0.75 pixels
    return _convolved(pixels, gaussian_taps(float(width)))


def _binned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Interpolated half a pixel aside, then binned by two."""
    from lowdose.physics.correlation import shift_taps

    moved = _convolved(pixels, shift_taps(0.5))[: len(pixels) // 2 * 2]
    moved = moved[:, : pixels.shape[1] // 2 * 2]
    return np.asarray(moved.reshape(len(moved) // 2, 2, -1, 2).sum(axis=(1, 3)))


def _convolved(pixels: NDArray[Any], taps: Tensor) -> NDArray[Any]:
    """Weights along both axes."""
    import torch

    from lowdose.physics.correlation import blur

    image = torch.from_numpy(pixels.astype(np.float64))[None, None]
    return np.asarray(blur(image, taps, taps)[0, 0].numpy())


DETECTORS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = MappingProxyType(
    {"low-mtf": _blurred, "ordinary-mtf": _blurred, "low-binned": _binned}
)
"""What becomes of the counts, and of the truth, after the electrons were drawn; by law."""

SERIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)

WORDS = {
    "low": "low dose, 25 + Exp(75) counts",
    "low-uniform": "low dose, uniform from 25 to 100 counts",
    "ordinary": "ordinary dose, 200 to 2500 counts",
    "low-mtf": "low dose, contrast halved at half Nyquist by the detector",
    "ordinary-mtf": "ordinary dose, contrast halved at half Nyquist by the detector",
    "low-binned": "low dose, interpolated half a pixel aside, then binned by two",
}


@dataclass(frozen=True)
class Exposure:
    """A truth, exposed once.

    Parameters
    ----------
    name : str
        Of the truth.
    truth : ndarray, shape (H, W)
        Expected counts, not negative.
    noisy : ndarray of float32, shape (H, W)
        Recorded counts.
    """

    name: str
    truth: NDArray[Any]
    noisy: NDArray[Any]


def expose(truth: Truth, law: Law, *, seed: int) -> Exposure:
    """Draw Poisson noise, as a detector shows it, that follows from the seed and the truth's name.

    Parameters
    ----------
    truth : Truth
        Scaled to [0, 1] and multiplied by the dose.
    law : str or float
        See `benchmark_dose`.
    seed : int
        A subset of truths is exposed to the same pixels.
    """
    rng = np.random.default_rng((seed, zlib.crc32(truth.name.encode())))
    brightest = benchmark_dose(law, rng)
    expected = truth.crop(0, 0, *truth.pixels.shape).astype(np.float64) * brightest
    noisy = rng.poisson(expected)
    if law in DETECTORS:
        detector = DETECTORS[cast(str, law)]
        noisy, expected = detector(noisy), detector(expected)
    return Exposure(truth.name, expected, noisy.astype(np.float32))


def benchmark_dose(law: Law, rng: np.random.Generator) -> float:
    """Draw expected counts at the brightest pixel.

    Parameters
    ----------
    law : str or float
        A word of `LAWS`: ``"low"`` is ``25 + Exponential(75)``, ``"low-uniform"`` uniform from 25
        to 100, ``"ordinary"`` uniform from 200 to 2500, before what `DETECTORS` make of it. A
        number is that number, always.
    rng : numpy.random.Generator
        Random source.
    """
    return LAWS[law](rng) if isinstance(law, str) else float(law)


def parse_law(text: str) -> Law:
    """Read a dose law from a word or a number.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if text in LAWS:
        return text
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        words = ", ".join(LAWS)
        raise ConfigError(f"dose is {text!r}; expected {words} or a number above 0")
    return number


def in_words(law: Law) -> str:
    """Say a law in words for a heading.

    Examples
    --------
    >>> in_words("low"), in_words(1000.0)
    ('low dose, 25 + Exp(75) counts', '1000 counts at the brightest pixel')
    """
    return WORDS[law] if isinstance(law, str) else f"{law:g} counts at the brightest pixel"


def short(law: Law) -> str:
    """Write a law as `parse_law` reads it.

    Examples
    --------
    >>> short("low"), short(1000.0)
    ('low', '1000')
    """
    return law if isinstance(law, str) else f"{law:g}"
