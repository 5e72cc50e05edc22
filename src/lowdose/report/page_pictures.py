"""The pictures of a report page: one image seen whole and in detail, small enough for one file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lowdose.report.picture import contrast, stretched

# The whole image is reduced to this at most, in pixels; a detail is so large.
_LONGEST, _DETAIL = 1400, 512
# Bytes of each part, before base64 adds a third. With the details, which are stored without loss
# and thus in 2 * 0.26 MB at most, an image of any size and content stays below 3.6 MB: 4.8 in all.
_BEFORE, _AFTER = 950_000, 750_000
_OVERLAYS, _OVERLAY_DETAILS = 900_000, 400_000
_QUALITIES = (92, 85, 75, 60, 40)  # 1400 x 1400 random bytes take 0.756 MB at 40
# Shades of an overlay, one for zero in the middle: they fit into half a byte a pixel.
_SHADES = 15
_MOST_OPAQUE = 235

Kind = Literal["uncertainty", "residual", "contradiction"]

# Colours of values below zero and above it.
_COLOURS: dict[Kind, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "uncertainty": ((0, 160, 220), (255, 176, 0)),
    "residual": ((30, 120, 255), (255, 110, 20)),
    "contradiction": ((0, 190, 140), (240, 0, 140)),
}


@dataclass(frozen=True)
class Overlay:
    """A map to lay over the image in colour.

    Parameters
    ----------
    name : str
        A word or two.
    pixels : ndarray, shape (H, W)
        A value for each pixel of the image. With negative ones, the colours are symmetric about 0.
    caption : str
        What it shows, in a sentence.
    kind : {"uncertainty", "residual", "contradiction"}
        Decides the colours.
    unit : str
        Of its values, for the legend.
    """

    name: str
    pixels: NDArray[Any]
    caption: str
    kind: Kind
    unit: str = ""


@dataclass(frozen=True)
class Layer:
    """An overlay as it is drawn: a PNG, and the values of the first and the last of its shades."""

    uri: str
    shades_uri: str
    low: float
    high: float


@dataclass(frozen=True)
class View:
    """A part of the image as it is shown.

    Parameters
    ----------
    corner, shape : pair of int
        First row and column, and (H, W), in pixels of the image.
    reduction : int
        One pixel of the view is the mean of so many squared.
    before, after : str
        Data URIs of JPEG or PNG files, 8-bit with one stretch of contrast.
    layers : sequence of Layer
        One for each overlay.
    """

    corner: tuple[int, int]
    shape: tuple[int, int]
    reduction: int
    before: str
    after: str
    layers: Sequence[Layer]


def draw_views(
    before: NDArray[Any],
    after: NDArray[Any],
    overlays: Sequence[Overlay],
    *,
    detail: tuple[int, int] | None = None,
) -> list[View]:
    """Draw the whole image and, where that is reduced, a detail pixel by pixel.

    Parameters
    ----------
    before, after : ndarray, shape (H, W)
        Finite.
    overlays : sequence of Overlay
        Of the same shape.
    detail : pair of int, optional
        Row and column in the middle of the detail; those of the image by default.
    """
    images = _Images(before, after, overlays, contrast(after))
    shape = after.shape
    reduction = math.ceil(max(shape) / _LONGEST)
    whole = images.view((0, 0), shape, reduction, _OVERLAYS)
    if reduction == 1:
        return [whole]
    sides = tuple(min(_DETAIL, length) for length in shape)
    middle = detail or tuple(length // 2 for length in shape)
    top, left = (
        min(max(at - side // 2, 0), length - side)
        for at, side, length in zip(middle, sides, shape, strict=True)
    )
    return [whole, images.view((top, left), sides, 1, _OVERLAY_DETAILS)]


def reduced(pixels: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Means of boxes of `factor` x `factor` pixels; what is left at the edges makes smaller boxes.

    Examples
    --------
    >>> reduced(np.array([[0, 2, 4], [2, 4, 8]]), 2)
    array([[2., 6.]], dtype=float32)
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
    return np.asarray(picture.reduce(factor))


@dataclass(frozen=True)
class _Images:
    """What there is to see, and the pixel values that are drawn black and white."""

    before: NDArray[Any]
    after: NDArray[Any]
    overlays: Sequence[Overlay]
    limits: tuple[float, float]

    def view(
        self, corner: tuple[int, int], shape: tuple[int, ...], reduction: int, overlay_bytes: int
    ) -> View:
        """Draw a part of them; all overlays together take `overlay_bytes` at most."""
        (top, left), (height, width) = corner, shape
        part = np.s_[top : top + height, left : left + width]
        before, after = (
            stretched(reduced(each[part], reduction), *self.limits)
            for each in (self.before, self.after)
        )
        share = overlay_bytes / max(len(self.overlays), 1)
        return View(
            corner,
            (height, width),
            reduction,
            _grey_uri(before, _BEFORE),
            _grey_uri(after, _AFTER),
            [_layer(each.pixels[part], each.kind, share) for each in self.overlays],
        )


def _grey_uri(grey: NDArray[np.uint8], most_bytes: int) -> str:
    """Store without loss what is small, and the rest as good as its share of the page allows."""
    picture = Image.fromarray(grey)
    if grey.size <= _DETAIL**2:
        return _uri(picture, "PNG", optimize=True)
    for quality in _QUALITIES:
        stored = _uri(picture, "JPEG", quality=quality)
        if len(stored) <= 4 / 3 * most_bytes:
            break
    return stored


def _layer(pixels: NDArray[Any], kind: Kind, most_bytes: float) -> Layer:
    """Draw an overlay, reduced until half a byte a pixel is not more than `most_bytes`."""
    factor = max(1, math.ceil(math.sqrt(pixels.size / 2 / most_bytes)))
    values = reduced(pixels, factor)
    low, high = _range(values)
    scaled = np.clip((values - low) / max(high - low, 1e-30), 0, 1)
    shades = (scaled * (_SHADES - 1)).round().astype(np.uint8)
    row = np.arange(_SHADES, dtype=np.uint8)[None]
    uri, row_uri = (_palette_uri(each, kind, is_signed=low < 0) for each in (shades, row))
    return Layer(uri, row_uri, low, high)


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Values of the first and the last shade: 99 % of all lie between."""
    if values.min() < 0:
        sizes = np.abs(values)
        most = float(np.percentile(sizes, 99.5)) or float(sizes.max())
        return -most, most
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    return low, high if high > low else float(values.max())


def _palette_uri(shades: NDArray[np.uint8], kind: Kind, *, is_signed: bool) -> str:
    """PNG of shades that are the more opaque the farther they lie from zero."""
    position = np.linspace(-1 if is_signed else 0, 1, _SHADES)
    colours = [_COLOURS[kind][int(at >= 0)] for at in position]
    picture = Image.fromarray(shades)
    picture.putpalette(bytes(np.array(colours, np.uint8)))
    alphas = bytes((np.abs(position) * _MOST_OPAQUE).astype(np.uint8))
    return _uri(picture, "PNG", bits=4, transparency=alphas, optimize=True)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    stored = io.BytesIO()
    picture.save(stored, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stored.getvalue()).decode()}"
