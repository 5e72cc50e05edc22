"""What a micrograph is, how its pixels are distributed and how noisy it is; no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.io.guard import row_blocks
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.trust.input import examine

# Below this share of the variance, shot noise tells nothing of electrons.
_LEAST_SHOT_NOISE = 0.2


@dataclass(frozen=True)
class Distribution:
    """Extremes, mean and standard deviation of all pixels, in pixel units."""

    min: float
    max: float
    mean: float
    std: float


def describe(micrograph: Micrograph) -> dict[str, Any]:
    """Tell all that is known of a micrograph.

    Parameters
    ----------
    micrograph : Micrograph
        Read a few rows at a time.

    Returns
    -------
    dict
        JSON values only; None for what is unknown.
    """
    noise, values = estimate_noise(micrograph.pixels), distribution(micrograph.pixels)
    electrons, size = mean_electrons(noise, values.mean), micrograph.pixel_size_nm
    return {
        **describe_file(micrograph),
        "pixels": dataclasses.asdict(values),
        "noise": dataclasses.asdict(noise),
        "electrons_per_pixel": electrons,
        "dose_e_per_a2": electrons / (100 * math.prod(size)) if electrons and size else None,
        "findings": [
            dataclasses.asdict(each) for each in examine(micrograph.pixels, noise).findings
        ],
    }


def describe_file(micrograph: Micrograph) -> dict[str, Any]:
    """Tell what is known of a micrograph without a look at its pixels, as `describe` does."""
    source, size = micrograph.source, micrograph.pixel_size_nm
    return {
        "path": str(source.path) if source else None,
        "format": source.format if source else None,
        "shape": list(micrograph.shape),
        "frames": micrograph.frame_count,
        "dtype": str(source.dtype if source else micrograph.pixels.dtype),
        "pixel_size_nm": list(size) if size else None,
        "axes": [dataclasses.asdict(axis) for axis in micrograph.axes],
        "metadata": dict(micrograph.metadata),
        "history": list(micrograph.history),
    }


def file_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of a table: format, pixels, pixel size and metadata, out of `describe_file`."""
    size = facts["pixel_size_nm"]
    return [
        ("format", facts["format"] or ""),
        ("pixels", f"{' x '.join(map(str, facts['shape']))} {facts['dtype']}"),
        ("pixel size", f"{size[0]:.5g} x {size[1]:.5g} nm" if size else "unknown"),
        *((key, str(value)) for key, value in facts["metadata"].items()),
    ]


def distribution(pixels: NDArray[Any]) -> Distribution:
    """Distribution of pixels, a few rows at a time.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (N, H, W)
        May be a memory map larger than memory.

    Examples
    --------
    >>> distribution(np.array([[1, 2], [3, 6]]))
    Distribution(min=1.0, max=6.0, mean=3.0, std=1.8708286933869707)
    """
    count, mean, squares = 0, 0.0, 0.0
    lows, highs = [], []
    for rows in row_blocks(pixels):
        block = rows.astype(np.float64)
        lows.append(float(block.min()))
        highs.append(float(block.max()))
        # Sums of squares about the mean, merged: T. F. Chan et al., Am. Stat. 37, 242 (1983).
        step, total = float(block.mean()) - mean, count + block.size
        squares += float(block.var()) * block.size + step**2 * count * block.size / total
        mean += step * block.size / total
        count = total
    return Distribution(min(lows), max(highs), mean, math.sqrt(squares / count))


def mean_electrons(noise: NoiseModel, mean_pixel: float) -> float | None:
    """Mean electrons per pixel, or None where the noise does not tell.

    Correlated noise does not: blurred counts are less noisy than so many electrons are.
    """
    if any(noise.correlation):
        return None
    shot = noise.gain * (mean_pixel - noise.offset)
    if noise.is_noise_free or shot <= _LEAST_SHOT_NOISE * noise.readout_std**2:
        return None
    return (mean_pixel - noise.offset) / noise.gain
