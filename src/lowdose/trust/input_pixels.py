"""Faults of single pixels and of 8 x 8 blocks: hot and dead pixels, traces of JPEG."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.scatter import BLOCK
from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

# Deviations of the noise from the median of the neighbours, and from all of them.
_FROM_MEDIAN = 8.0
_FROM_ALL = 5.0
# Pixels that stick out by less, beyond what noise does: sharp specimens have many of them.
_SHARP = 3.5
# One pixel in this many may be a cosmic ray.
_RARE = 1 << 16
# By how much more neighbours differ across the borders of blocks.
_JUMP = 0.02
_LEAST_SIDE = 64


def hot_pixels(view: View) -> Finding | None:
    """Count single pixels far above or below all their neighbours."""
    if view.scatter is None or view.noise.is_noise_free:
        return None
    hot, dead = (sum(_outliers(tile, view, sign) for tile in view.tiles) for sign in (1, -1))
    size = sum(tile.size for tile in view.tiles)
    return judged(
        "hot pixels",
        float(hot + dead),
        float(max(4, size // _RARE)),
        fine="No single pixels stick out.",
        fault=f"{hot} single pixels are far brighter and {dead} far darker than all around them, "
        f"in {size:.3g} looked at: defects of the detector, or X-rays.",
        action="Put the median of their neighbours in their place first, or record new reference "
        "images.",
    )


def _outliers(tile: NDArray[np.float32], view: View, sign: int) -> int:
    """Count pixels far above (sign 1) or below (-1) all eight neighbours.

    Columns of atoms as sharp as a pixel stick out by all amounts, defects by far: as many as there
    are pixels that stick out by less are no defects.
    """
    inner = tile[1:-1, 1:-1]
    if not inner.size:
        return 0
    farthest = np.maximum if sign > 0 else np.minimum
    beside = farthest(
        farthest(tile[1:-1, :-2], tile[1:-1, 2:]), farthest(tile[:-2, 1:-1], tile[2:, 1:-1])
    )
    least = float(view.deviation(np.linspace(tile.min(), tile.max(), 32)).min())
    y, x = np.nonzero(sign * (inner - beside) > _SHARP * least)
    around = np.stack([tile[y + i, x + j] for i in range(3) for j in range(3) if (i, j) != (1, 1)])
    here, middle = inner[y, x].astype(np.float64), np.median(around, axis=0).astype(np.float64)
    # Half-way, as the root of counts has it: noise of brighter pixels is stronger.
    deviation = view.deviation((here + middle) / 2)
    from_all = sign * (here - farthest.reduce(around, axis=0)) / deviation
    is_defect = (sign * (here - middle) > _FROM_MEDIAN * deviation) & (from_all > _FROM_ALL)
    is_sharp = (from_all > _SHARP) & ~is_defect
    return max(0, int(is_defect.sum()) - int(is_sharp.sum()))


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
