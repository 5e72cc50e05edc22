"""Faults of single pixels and of 8 x 8 blocks: hot and dead pixels, traces of JPEG."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.outliers import outliers
from lowdose.physics.scatter import BLOCK
from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

# Name of the finding.
HOT_PIXELS = "hot pixels"
# One pixel in this many may be a cosmic ray.
_RARE = 1 << 16
# By how much more neighbours differ across the borders of blocks.
_JUMP = 0.02
_LEAST_SIDE = 64


def hot_pixels(view: View) -> Finding | None:
    """Count single pixels far above or below all their neighbours."""
    if view.scatter is None or view.noise.is_noise_free:
        return None
    hot, dead = (sum(_count(tile, view, sign) for tile in view.tiles) for sign in (1, -1))
    size = sum(tile.size for tile in view.tiles)
    return judged(
        HOT_PIXELS,
        float(hot + dead),
        float(max(4, size // _RARE)),
        fine="No single pixels stick out.",
        fault=f"{hot} single pixels are far brighter and {dead} far darker than all around them, "
        f"in {size:.3g} looked at: defects of the detector, or X-rays.",
        action="`lowdose denoise --repair` puts the median of their neighbours in their place; or "
        "record new reference images.",
    )


def _count(tile: NDArray[np.float32], view: View, sign: int) -> int:
    """Count pixels far above (sign 1) or below (-1) all eight neighbours.

    Columns of atoms as sharp as a pixel stick out by all amounts, defects by far: as many as there
    are pixels that stick out by less are no defects.
    """
    found = outliers(tile, view.deviation, sign=sign)
    return max(0, len(found.y) - found.sharp)


def grid(view: View) -> Finding | None:
    """Find jumps every eight pixels both ways: the blocks of JPEG."""
    tiles = [tile for tile in view.tiles if min(tile.shape) >= _LEAST_SIDE]
    if not tiles:
        return None
    value = min(_jump(tiles), _jump([tile.T for tile in tiles]))
    return judged(
        "block grid",
        value,
        _JUMP,
        fine="No traces of JPEG.",
        fault=f"Neighbours differ by {value:.0%} more across every eighth row and column: the "
        "image was stored as JPEG, which has thrown noise and detail away.",
        action="Go back to the file of the microscope (TIFF, MRC, DM4).",
    )


def _jump(tiles: list[NDArray[np.float32]]) -> float:
    """Excess of the differences across one column in eight, less what chance would give."""
    excess: list[list[NDArray[np.float64]]] = [[] for _ in range(BLOCK)]
    level = 0.0
    for tile in tiles:
        mean = np.abs(np.diff(tile, axis=1)).mean(axis=0).astype(np.float64)
        level += float(mean.mean()) / len(tiles)
        sharp = mean[1:-1] - (mean[:-2] + mean[2:]) / 2
        for phase in range(BLOCK):
            excess[phase].append(sharp[phase::BLOCK])
    phases = [np.concatenate(part) for part in excess]
    middles = np.array([np.median(part) for part in phases])
    best = int(np.argmax(middles))
    rest = np.concatenate([part for phase, part in enumerate(phases) if phase != best])
    spread = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    chance = 3 * 1.25 * spread / math.sqrt(len(phases[best]))
    others = float(np.median(np.delete(middles, best)))
    return max(float(middles[best]) - others - chance, 0.0) / level if level else 0.0
