"""Line noise: offsets of whole rows or columns, as scans and readout electronics leave them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.stripes import LEAST_SIDE, common_power, least_power, line_means
from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

# Names of the findings.
ROWS, COLUMNS = "row noise", "column noise"
# Every second tile tells enough.
_EVERY = 2


def rows(view: View) -> Finding | None:
    """Find offsets of rows."""
    return _finding(ROWS, "rows", "scan line", _offsets(view.tiles, view), view)


def columns(view: View) -> Finding | None:
    """Find offsets of columns."""
    turned = [tile.T for tile in view.tiles]
    return _finding(COLUMNS, "columns", "readout column", _offsets(turned, view), view)


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
    tiles = [tile for tile in tiles[::_EVERY] if min(tile.shape) >= LEAST_SIDE]
    if view.scatter is None or not tiles:
        return None
    powers = [
        common_power(line_means(tile)) / float(view.deviation(np.array(np.median(tile)))) ** 2
        for tile in tiles
    ]
    power = max(float(np.median(powers)), 0.0)
    return math.sqrt(power), math.sqrt(least_power(*tiles[0].shape, images=len(tiles)))
