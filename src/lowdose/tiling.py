"""Cut an image into tiles so that the result does not show it: geometry only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the result and the larger part of the image it depends on.

    Parameters
    ----------
    core : (slice, slice)
        Rows and columns of the result that this tile fills; the cores of a plan cover every
        pixel once.
    window : (slice, slice)
        Rows and columns it must see; may reach past the lower and right edge of the image.
    """

    core: Window
    window: Window

    @property
    def core_in_window(self) -> Window:
        """Where the core lies inside the window."""
        (cy, cx), (wy, wx) = self.core, self.window
        return (
            slice(cy.start - wy.start, cy.stop - wy.start),
            slice(cx.start - wx.start, cx.stop - wx.start),
        )


def tile_plan(shape: tuple[int, int], *, side: int, halo: int, stride: int) -> list[Tile]:
    """Plan tiles whose windows hold all that their cores depend on.

    A network that turns windows aligned to `stride` into results, each pixel depending on
    pixels up to `halo` away, gives the same pixels through any plan, the plan of one tile
    included.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image, at least 1.
    side : int
        Longest side of a core; rounded up to the stride.
    halo : int
        Radius of what a result pixel depends on; rounded up to the stride.
    stride : int
        Windows start at its multiples and have its multiples as sides.

    Returns
    -------
    list of Tile
        Row by row; cores of nearly equal size.

    Examples
    --------
    >>> [t.window for t in tile_plan((100, 40), side=64, halo=8, stride=8)]
    [(slice(0, 64, None), slice(0, 40, None)), (slice(48, 104, None), slice(0, 40, None))]
    """
    halo = -(-halo // stride) * stride
    rows, columns = (_cut(length, side, halo, stride) for length in shape)
    return [Tile((cy, cx), (wy, wx)) for cy, wy in rows for cx, wx in columns]


def _cut(length: int, side: int, halo: int, stride: int) -> list[Window]:
    """Cores and windows along one axis."""
    pieces = -(-length // side)
    core = -(-length // (pieces * stride)) * stride
    end = -(-length // stride) * stride
    return [
        (slice(at, min(at + core, length)), slice(max(at - halo, 0), min(at + core + halo, end)))
        for at in range(0, length, core)
    ]


def window_plan(shape: tuple[int, int], *, side: int, overlap: int, stride: int) -> list[Tile]:
    """Plan tiles whose windows all have the size that a network was trained on.

    For networks that look farther than any affordable halo: their results depend on the windows,
    the less so the farther from a window's border, so cores end in the middle of overlaps.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image, at least 1.
    side : int
        Of the windows, a multiple of the stride; an image no larger gets one window.
    overlap : int
        Pixels that neighbouring windows share at least; smaller than `side`.
    stride : int
        Windows start at its multiples.

    Returns
    -------
    list of Tile
        Row by row; the cores cover every pixel once.

    Examples
    --------
    >>> plan = window_plan((96, 40), side=64, overlap=16, stride=8)
    >>> [t.window[0] for t in plan], [t.core[0] for t in plan]
    ([slice(0, 64, None), slice(32, 96, None)], [slice(0, 48, None), slice(48, 96, None)])
    """
    rows, columns = (_spread(length, side, overlap, stride) for length in shape)
    return [Tile((cy, cx), (wy, wx)) for cy, wy in rows for cx, wx in columns]


def _spread(length: int, side: int, overlap: int, stride: int) -> list[Window]:
    """Cores and windows along one axis, evenly spread."""
    end = -(-length // stride) * stride
    if end <= side:
        return [(slice(0, length), slice(0, end))]
    gaps = -(-(end - side) // (side - overlap))
    starts = [(end - side) * n // gaps // stride * stride for n in range(gaps + 1)]
    middles = [(before + side + after) // 2 for before, after in itertools.pairwise(starts)]
    cores = itertools.pairwise([0, *middles, length])
    return [
        (slice(*core), slice(start, start + side))
        for core, start in zip(cores, starts, strict=True)
    ]


def view(image: NDArray[Any], window: Window) -> NDArray[Any]:
    """Pixels of a window; what lies past the lower and right edge is mirrored at it.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Any array that slices.
    window : (slice, slice)
        Starts inside the image.
    """
    inside = image[window]
    missing = [(0, w.stop - w.start - n) for w, n in zip(window, inside.shape, strict=True)]
    return np.pad(inside, missing, mode="symmetric") if any(n for _, n in missing) else inside
