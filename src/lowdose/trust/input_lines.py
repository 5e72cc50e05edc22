"""Faults of whole lines: offsets of rows or columns, and rows that are displaced."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.physics import jitter as of_jitter
from lowdose.physics import stripes as of_stripes
from lowdose.physics.jitter import jitter_power
from lowdose.physics.lines import LEAST_SIDE
from lowdose.physics.stripes import line_means, stripe_power
from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

# Names of the findings.
ROWS, COLUMNS, JITTER = "row noise", "column noise", "row jitter"
# Every second tile tells enough.
_EVERY = 2


def rows(view: View) -> Finding | None:
    """Find offsets of rows."""
    return _finding(ROWS, "rows", "scan line", _offsets(view.tiles, view), view)


def columns(view: View) -> Finding | None:
    """Find offsets of columns."""
    turned = [tile.T for tile in view.tiles]
    return _finding(COLUMNS, "columns", "readout column", _offsets(turned, view), view)


def jitter(view: View) -> Finding | None:
    """Find rows that are displaced along themselves."""
    tiles = _large(view.tiles)
    if view.scatter is None or view.noise.is_noise_free or not tiles:
        return None
    value, threshold = _typical(map(jitter_power, tiles), of_jitter.VISIBLE, of_jitter.SURE)
    return judged(
        JITTER,
        value,
        threshold,
        fine="Rows are where they belong beside each other.",
        fault=f"Rows are displaced along themselves, each by {value:.2g} pixels or so: jitter of "
        "the scan, unless the specimen is in thin layers along the rows that lie so.",
        action="If it is jitter, `lowdose denoise --dejitter` puts the rows back; else they are "
        "kept as specimen.",
    )


def _large(tiles: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [tile for tile in tiles[::_EVERY] if min(tile.shape) >= LEAST_SIDE]


def _finding(
    name: str, lines: str, cause: str, offsets: tuple[float, float] | None, view: View
) -> Finding | None:
    if offsets is None:
        return None
    value, threshold = offsets
    return judged(
        name,
        value,
        threshold,
        fine=f"{lines.capitalize()} have no offsets of their own.",
        fault=f"Whole {lines} are brighter or darker than their neighbours, by {value:.2g} times "
        f"the noise of a pixel: {cause} noise, unless the specimen is in thin layers along the "
        f"{lines}.",
        action=f"If it is noise, `lowdose denoise --destripe` takes the {lines}' offsets off; else "
        "they are kept as specimen.",
    )


def _offsets(tiles: list[NDArray[np.float32]], view: View) -> tuple[float, float] | None:
    """Deviation of the lines' offsets in that of the noise, and what counts as none."""
    tiles = _large(tiles)
    if view.scatter is None or not tiles:
        return None
    variances = (float(view.deviation(np.array(np.median(tile)))) ** 2 for tile in tiles)
    powers = (
        np.divide(stripe_power(line_means(tile)), variance)
        for tile, variance in zip(tiles, variances, strict=True)
    )
    return _typical(powers, of_stripes.VISIBLE, of_stripes.SURE)


def _typical(powers: Iterable[ArrayLike], visible: float, sure: float) -> tuple[float, float]:
    """Deviation of faults in most tiles, and up to which there are none."""
    found = np.array(list(powers))
    power, chance = np.median(found, axis=0)
    least = sure * float(chance) / math.sqrt(len(found))
    return math.sqrt(max(power, 0)), max(visible, math.sqrt(least))
