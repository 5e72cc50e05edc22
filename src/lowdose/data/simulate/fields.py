"""What the simulated truths are made of: random fields, blurs, cells and spots.

Images are (H, W) float32, lengths are pixels, coordinates are (y, x). Every function that
takes `rng` gives the same result for the same state.
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image: TypeAlias = NDArray[Any]
Rng: TypeAlias = np.random.Generator
Shape: TypeAlias = tuple[int, int]
T = TypeVar("T")


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of `options`, all equally likely."""
    return options[int(rng.integers(len(options)))]


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw from [`low`, `high`] so that every octave is equally likely."""
    return float(low * (high / low) ** rng.random())


def coordinates(shape: Shape) -> tuple[Image, Image]:
    """Row and column number of every pixel, each of shape (H, W)."""
    y, x = np.indices(shape, dtype=np.float32)
    return y, x


def turned(y: Image, x: Image, angle: float) -> tuple[Image, Image]:
    """The coordinates in axes turned by `angle` radians."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return c * y - s * x, s * y + c * x


def wobbly(angle: Image, rng: Rng, roughness: float, waves: Sequence[int]) -> Image:
    """Radius at each angle of an outline about a circle of radius 1, with so many `waves` round it.

    `roughness` is the standard deviation of one wave, times their number.
    """
    radius = np.ones_like(angle)
    for k in waves:
        radius += roughness * rng.normal() / k * np.cos(k * angle + rng.uniform(0, 6))
    return radius


def frequencies(shape: Shape) -> tuple[Image, Image]:
    """Frequencies (ky, kx) of `numpy.fft.rfft2`, in cycles per pixel, shapes (H, 1) and (1, K)."""
    ky = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    return ky, np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]


def filtered(image: Image, transfer: Image) -> Image:
    """The periodic image seen through a transfer function on the grid of `frequencies`."""
    spectrum = np.fft.rfft2(image) * transfer
    return np.fft.irfft2(spectrum, s=image.shape).astype(np.float32)


def gaussian_blur(image: Image, sigma_px: float) -> Image:
    """The image under a Gaussian probe; its border is mirrored."""
    height, width = image.shape
    pad = int(np.ceil(3 * sigma_px)) + 1
    after = [pad + -(size + 2 * pad) % 16 for size in image.shape]  # a fast size for the FFT
    padded = np.pad(image, [(pad, after[0]), (pad, after[1])], mode="symmetric")
    ky, kx = frequencies(padded.shape)
    c = -2 * (np.pi * sigma_px) ** 2
    blurred = filtered(padded, np.exp(c * ky**2) * np.exp(c * kx**2))
    return blurred[pad : pad + height, pad : pad + width]


def standardised(image: Image) -> Image:
    """The image with mean 0 and deviation 1; zeros where it is constant."""
    centred = image - image.mean()
    return centred / max(float(centred.std()), 1e-12)


def rescaled(image: Image) -> Image:
    """The image with minimum 0 and maximum 1; zeros where it is constant."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / max(high - low, 1e-12)


def smooth_field(shape: Shape, rng: Rng, scale_px: float, *, stretch: float = 1.0) -> Image:
    """Soft random hills about `scale_px` apart, `stretch` times that in x; mean 0, deviation 1."""
    ky, kx = frequencies(shape)
    widest = max(shape) / 3  # a wider one would leave nothing in the frame
    sy, sx = min(scale_px / 4, widest), min(scale_px * stretch / 4, widest)
    transfer = np.exp(-2 * (np.pi * sy * ky) ** 2) * np.exp(-2 * (np.pi * sx * kx) ** 2)
    return standardised(filtered(rng.standard_normal(shape, dtype=np.float32), transfer))


def banded_field(shape: Shape, rng: Rng, period_px: float, spread: float) -> Image:
    """Random field of one period, give or take `spread` times itself; mean 0, deviation 1."""
    ky, kx = frequencies(shape)
    off = (np.hypot(ky, kx) * period_px - 1) / spread
    noise = rng.standard_normal(shape, dtype=np.float32)
    return standardised(filtered(noise, np.exp(-0.5 * off**2)))


def fractal_field(shape: Shape, rng: Rng, exponent: float, *, stretch: float = 1.0) -> Image:
    """Random field whose power falls as frequency to the -`exponent`, drawn out along x.

    Mean 0, deviation 1.
    """
    ky, kx = frequencies(shape)
    squared = ky**2 + (stretch * kx) ** 2
    squared[0, 0] = np.inf
    noise = rng.standard_normal(shape, dtype=np.float32)
    return standardised(filtered(noise, squared ** (-exponent / 4)))


def warped(shape: Shape, rng: Rng, scale_px: float, shift_px: float) -> tuple[Image, Image]:
    """Pixel coordinates displaced by smooth fields of deviation `shift_px`."""
    y, x = coordinates(shape)
    y += shift_px * smooth_field(shape, rng, scale_px)
    x += shift_px * smooth_field(shape, rng, scale_px)
    return y, x


@dataclass(frozen=True, slots=True)
class Cells:
    """Voronoi cells of a frame.

    Parameters
    ----------
    label : ndarray of int, shape (H, W)
        Which cell a pixel lies in, 0 to `count` - 1; not every number occurs.
    edge_px : ndarray, shape (H, W)
        Distance to the boundary with the nearest other cell.
    offset : pair of ndarray, shape (H, W)
        Position (y, x) relative to the cell's own point.
    count : int
        One more than the largest possible label.
    """

    label: NDArray[np.intp]
    edge_px: Image
    offset: tuple[Image, Image]
    count: int

    def each(self, rng: Rng, low: float, high: float) -> Image:
        """One uniform random value a cell, as an image."""
        values = rng.uniform(low, high, self.count).astype(np.float32)
        return values[self.label]


def cells(y: Image, x: Image, spacing_px: float, rng: Rng) -> Cells:
    """Voronoi cells around one random point in each square of a turned grid (Worley noise).

    Parameters
    ----------
    y, x : ndarray, shape (H, W)
        Coordinates of the pixels, bent or stretched as the cells should be.
    spacing_px : float
        Side of the grid's squares: the typical cell size.
    rng : numpy.random.Generator
        Source of the points.
    """
    angle = rng.uniform(0, np.pi)  # hides the grid
    v, u = turned(y, x, angle)
    row, col = (np.floor(c / spacing_px).astype(np.intp) for c in (v, u))
    row0, col0 = row.min() - 1, col.min() - 1
    rows, cols = int(row.max() - row0) + 2, int(col.max() - col0) + 2
    points = np.indices((rows, cols)) + rng.uniform(0.2, 0.8, (2, rows, cols))
    points += np.array([row0, col0])[:, None, None]
    pv, pu = (points * spacing_px).astype(np.float32).reshape(2, -1)

    home = (row - row0) * cols + (col - col0)
    first = second = np.full(y.shape, np.inf, np.float32)
    label = other = home
    # No point two squares away is nearest or second nearest: it lies 1.2 squares off or more.
    for step in (i * cols + j for i in (-1, 0, 1) for j in (-1, 0, 1)):
        there = home + step
        squared = (v - pv[there]) ** 2 + (u - pu[there]) ** 2
        closest, closer = squared < first, squared < second
        other = np.where(closest, label, np.where(closer, there, other))
        second = np.where(closest, first, np.where(closer, squared, second))
        label, first = np.where(closest, there, label), np.minimum(first, squared)

    # Distance to the bisector, in pixels however much the coordinates are bent or stretched.
    across = (pv[other] - pv[label], pu[other] - pu[label])
    gradients = zip(np.gradient(v), np.gradient(u), strict=True)
    slope = np.hypot(*(across[0] * dv + across[1] * du for dv, du in gradients))
    edge = (second - first) / (2 * np.maximum(slope, 0.1 * spacing_px))
    return Cells(label, edge, turned(v - pv[label], u - pu[label], -angle), rows * cols)


def near(
    shape: Shape, centre: ArrayLike, reach_px: float
) -> tuple[tuple[slice, slice], Image, Image]:
    """The window of a frame around a point, to draw something small without touching the rest.

    Returns
    -------
    window : pair of slice
        Rows and columns within `reach_px` of `centre`, cut at the frame; perhaps empty.
    y, x : ndarray, shapes (h, 1) and (1, w)
        Coordinates of the window's pixels relative to `centre`.
    """
    window, offsets = [], []
    for size, c in zip(shape, np.asarray(centre, dtype=float).tolist(), strict=True):
        start = min(max(int(np.ceil(c - reach_px)), 0), size)
        stop = min(max(int(np.floor(c + reach_px)) + 1, start), size)
        window.append(slice(start, stop))
        offsets.append(np.arange(start, stop, dtype=np.float32) - np.float32(c))
    return (window[0], window[1]), offsets[0][:, None], offsets[1][None, :]


def spots(
    shape: Shape,
    centres: Image,
    heights: ArrayLike,
    sigma_px: float | tuple[float, float],
) -> Image:
    """Sum of Gaussian spots at exact sub-pixel places.

    Parameters
    ----------
    shape : pair of int
        (H, W) of the image.
    centres : ndarray, shape (N, 2)
        Places (y, x), in the frame or out of it.
    heights : float or ndarray, shape (N,)
        Peak value of each spot.
    sigma_px : float or pair of float
        Their deviation, along y and x where it is a pair.
    """
    sigma = np.broadcast_to(np.asarray(sigma_px, np.float32), 2)
    reach = np.ceil(3.5 * sigma).astype(int)
    inside = np.all((centres > -reach) & (centres < reach + np.array(shape) - 1), axis=1)
    centres, heights = centres[inside], np.broadcast_to(heights, inside.shape)[inside]
    near_px = np.rint(centres).astype(int)
    index, profile = [], []
    for axis in (0, 1):
        at = near_px[:, axis, None] + np.arange(-reach[axis], reach[axis] + 1)
        index.append(at + 2 * reach[axis])  # in a frame with room for every spot
        profile.append(np.exp(-0.5 * ((at - centres[:, axis, None]) / sigma[axis]) ** 2))

    rows, cols = np.array(shape) + 4 * reach + 2
    total = np.zeros(rows * cols)
    step = 1 + 4_000_000 // (index[0].shape[1] * index[1].shape[1])  # to bound the memory
    for part in (slice(i, i + step) for i in range(0, len(centres), step)):
        flat = index[0][part, :, None] * cols + index[1][part, None, :]
        tall = heights[part, None] * profile[0][part]
        values = tall[:, :, None] * profile[1][part, None, :]
        total += np.bincount(flat.ravel(), values.ravel(), total.size)
    y, x = 2 * reach
    total = total.reshape(rows, cols)[y : y + shape[0], x : x + shape[1]]
    return total.astype(np.float32)


def strand(shape: Shape, rng: Rng, direction: float) -> Image:
    """Signed distance in pixels to a gently curved line through the frame."""
    y, x = coordinates(shape)
    y, x = turned(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]), direction)
    length = log_uniform(rng, 150, 2000)
    bend = rng.uniform(0, 0.15) * length
    phase = 2 * np.pi * x / length + np.float32(rng.uniform(0, 6))
    slope = bend * 2 * np.pi / length * np.cos(phase)
    return (y - bend * np.sin(phase)) / np.sqrt(1 + slope**2)


def imaged(image: Image, rng: Rng) -> Image:
    """The truth as a microscope would show it without noise, scaled to [0, 1].

    The rarest extremes saturate, a probe of 0.6 to 2 px blurs (most are sharp), illumination
    drifts a little over the frame, and a random contrast curve bends the greys.
    """
    low, high = np.quantile(image[::2, ::2], (0.0005, 0.9995))
    seen = rescaled(gaussian_blur(np.clip(image, low, high), 0.6 + 1.4 * rng.random() ** 3))
    y, x = turned(*coordinates(image.shape), rng.uniform(0, 2 * np.pi))
    lit = seen * (1 + rng.uniform(0, 0.25) * rescaled(y)) + rng.uniform(0, 0.1) * rescaled(x)
    return rescaled(rescaled(lit) ** log_uniform(rng, 0.6, 1.6)).astype(np.float32)
