"""Micrographs side by side in one PNG, grey as they are compared, with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lowdose.io.guard import whole_file

_MARGIN = 12
_CAPTION = 26
_TITLE = 34
_INK, _PAPER = 20, 255
# Of the reference's pixels these percentiles become black and white.
_DARK, _BRIGHT = 0.2, 99.8


@dataclass(frozen=True)
class Panel:
    """An image and the line beneath it."""

    pixels: NDArray[Any]
    caption: str


@dataclass(frozen=True)
class Row:
    """Panels of equal size with one stretch of contrast.

    Parameters
    ----------
    title : str
        Above them; without one, no room is left for it.
    panels : sequence of Panel
        From left to right.
    reference : ndarray, optional
        Pixels that set the contrast; by default those of the last panel.
    """

    title: str | None
    panels: Sequence[Panel]
    reference: NDArray[Any] | None = None


def draw_rows(rows: Sequence[Row]) -> Image.Image:
    """Draw rows of panels, one below the other, 8-bit greyscale.

    Parameters
    ----------
    rows : sequence of Row
        At least one; pixels have shape (H, W) and are drawn one to one.
    """
    drawn = [_draw_row(row) for row in rows]
    width, height = max(row.width for row in drawn), sum(row.height for row in drawn)
    page = Image.new("L", (width, height + _MARGIN), _PAPER)
    top = 0
    for row in drawn:
        page.paste(row, (0, top))
        top += row.height
    return page


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    with whole_file(path) as part:
        picture.save(part, "PNG", optimize=True)


def contrast(reference: NDArray[Any]) -> tuple[float, float]:
    """Pixel values of an image that are drawn black and white.

    Examples
    --------
    >>> low, high = contrast(np.arange(1001))
    >>> round(low), round(high)
    (2, 998)
    """
    low, high = np.percentile(reference, (_DARK, _BRIGHT))
    return float(low), float(high)


def stretched(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """8-bit grey of pixels, black at `low` and below, white at `high` and above.

    Examples
    --------
    >>> stretched(np.array([-1, 0, 5, 10, 99]), 0, 10)
    array([  0,   0, 128, 255, 255], dtype=uint8)
    """
    scaled = (pixels.astype(np.float32) - low) / max(high - low, 1e-12)
    grey: NDArray[np.uint8] = (255 * np.clip(scaled, 0, 1)).round().astype(np.uint8)
    return grey


def _draw_row(row: Row) -> Image.Image:
    height, width = row.panels[0].pixels.shape
    step, top = width + _MARGIN, _MARGIN if row.title is None else _TITLE
    size = (_MARGIN + step * len(row.panels), top + height + _CAPTION)
    page = Image.new("L", size, _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_MARGIN, _TITLE / 2), row.title or "", _INK, _font(19), anchor="lm")
    reference = row.panels[-1].pixels if row.reference is None else row.reference
    low, high = contrast(reference)
    for left, panel in zip(range(_MARGIN, size[0], step), row.panels, strict=False):
        page.paste(Image.fromarray(stretched(panel.pixels, low, high)), (left, top))
        middle = (left + width / 2, top + height + _CAPTION / 2)
        pen.text(middle, panel.caption, _INK, _font(16), anchor="mm")
    return page


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
