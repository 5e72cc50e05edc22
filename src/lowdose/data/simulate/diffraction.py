"""Diffraction contrast integrated through the foil: defects that oscillate with their depth.

The kind `defects` evaluates the two-beam formula once a pixel. Here the two beams are followed
slice by slice, with absorption, so that an inclined dislocation shows alternating black and
white, a stacking fault its fringes, and a strained precipitate its two lobes, according to
where in the foil they lie (Howie-Whelan equations in the column approximation [1]_).

.. [1] P. Hirsch et al., Electron Microscopy of Thin Crystals (1965), Ch. 9 and 10.
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.data.simulate.defects import foil
from lowdose.data.simulate.fields import (
    Image,
    Rng,
    Shape,
    fractal_field,
    imaged,
    log_uniform,
    near,
    pick,
    turned,
)

_SLICES = 24
_MOST_PX = 60_000  # pixels of all defects together, to bound the time


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that displaces the lattice.

    Parameters
    ----------
    index : ndarray of int, shape (K,)
        The pixels of the flattened image that it touches.
    phase : callable
        ``phase(depth)`` gives 2 pi g.R at those pixels, for a depth of 0 (top) to 1 (bottom)
        of the foil. Whole turns do not matter.
    """

    index: NDArray[np.intp]
    phase: Callable[[float], Image]


def draw(shape: Shape, rng: Rng) -> Image:
    """One bright- or dark-field image of a foil with a few defects."""
    thickness, deviation = foil(shape, rng)
    extinction_px = log_uniform(rng, 15, 120)
    lean = rng.uniform(0, np.pi)  # of the slip planes, and of g
    found: list[Defect] = []
    sorts = pick(rng, ((dislocation,), (dislocation, fault), (precipitate,), _SORTS))
    for _ in range(int(log_uniform(rng, 1, 60))):
        place = rng.uniform(0, 1, 2) * shape
        sort = pick(rng, sorts)
        found.append(sort(thickness * extinction_px, place, extinction_px, lean, rng))
        if sum(len(defect.index) for defect in found) > _MOST_PX:
            break
    absorption = rng.uniform(0.02, 0.1)  # extinction over absorption distance
    direct, diffracted = beams(thickness, deviation, absorption, found)
    beam = direct if rng.random() < 0.65 else diffracted
    dirt = 0.3 * rng.random() ** 2 * float(beam.std())
    return imaged(beam + dirt * fractal_field(shape, rng, rng.uniform(1.5, 3)), rng)


def beams(
    thickness: Image, deviation: Image, absorption: float, defects: Sequence[Defect]
) -> tuple[Image, Image]:
    """Intensities of the direct and the diffracted beam, of 1 that enters.

    Parameters
    ----------
    thickness : ndarray, shape (H, W)
        In extinction distances.
    deviation : ndarray, shape (H, W)
        From the Bragg angle: s times the extinction distance.
    absorption : float
        Ratio of the extinction distance to that of absorption, normal and anomalous alike.
    defects : sequence of Defect
        Displacements; they add up.

    Examples
    --------
    >>> half, exact = np.full((1, 1), 0.5), np.zeros((1, 1))
    >>> direct, diffracted = beams(half, exact, 0.0, [])  # half an extinction distance
    >>> direct.round(3).item(), diffracted.round(3).item()
    (0.0, 1.0)
    """
    t, w = thickness.ravel().astype(np.complex64), deviation.ravel().astype(np.complex64)
    coupling = np.complex64(1 + 1j * absorption)
    root = np.sqrt(w**2 + coupling**2)
    angle = np.pi * t / _SLICES * root
    loss = np.exp(-np.pi * absorption * t / _SLICES)
    along, swap = loss * np.cos(angle), loss * 1j * np.sin(angle) / root
    direct, diffracted = np.ones_like(t), np.zeros_like(t)
    up, down, swap = along - swap * w, along + swap * w, swap * coupling
    last = [defect.phase(0.0) for defect in defects]
    for number in range(_SLICES):
        for k, defect in enumerate(defects):
            phase = defect.phase((number + 0.5) / _SLICES)
            diffracted[defect.index] *= np.exp(1j * (last[k] - phase))
            last[k] = phase
        direct, diffracted = up * direct + swap * diffracted, down * diffracted + swap * direct
    shape = thickness.shape
    return (np.abs(direct) ** 2).reshape(shape), (np.abs(diffracted) ** 2).reshape(shape)


def patch(
    shape: Shape, place: Image, reach_px: float, angle: float
) -> tuple[NDArray[np.intp], Image, Image]:
    """Flat indices of the pixels around a place, and their coordinates across and along."""
    (rows, cols), y, x = near(shape, place, reach_px)
    index = np.arange(shape[0] * shape[1]).reshape(shape)[rows, cols]
    across, along = turned(y, x, angle)
    return index.ravel(), across.ravel(), along.ravel()


def slip(lean: float, rng: Rng) -> float:
    """Direction in which one of a few families of slip planes cuts the foil, either way up."""
    return lean + pick(rng, (0.0, 1.05, 2.1)) + pick(rng, (0, np.pi)) + rng.normal(0, 0.08)


def dislocation(
    foil_px: Image, place: Image, extinction_px: float, lean: float, rng: Rng
) -> Defect:
    """A screw dislocation that crosses the foil from its top to its bottom, perhaps bowed."""
    thick = float(np.median(foil_px))
    half = float(np.clip(0.5 * thick * log_uniform(rng, 0.5, 5), 20, 170))
    reach = 0.6 * extinction_px
    index, across, along = patch(foil_px.shape, place, half + reach, slip(lean, rng))
    across = across + rng.normal(0, 0.2) * half * ((along / half) ** 2 - 0.5)
    strip = (np.abs(across) < reach) & (np.abs(along) < half + reach)
    index, across, along = index[strip], across[strip], along[strip]
    local = foil_px.ravel()[index]
    line = 0.5 * (along / half + 1) * local  # its depth
    order = pick(rng, (1, 1, 2, -1))  # g.b
    # The far field, which would end with a step at the border of the strip, is led to zero.
    beyond = np.maximum(np.abs(along) - half, 0)
    fade = (np.cos(0.5 * np.pi * across / reach) * np.cos(0.5 * np.pi * beyond / reach)) ** 2

    def phase(depth: float) -> Image:
        turn = np.arctan2(depth * local - line, np.abs(across) + 0.5)
        return order * np.where(across < 0, np.pi * np.sign(turn) - turn * fade, turn * fade)

    return Defect(index, phase)


def fault(foil_px: Image, place: Image, extinction_px: float, lean: float, rng: Rng) -> Defect:
    """A stacking fault on an inclined plane, which shifts the lattice below it by a third."""
    thick = float(np.median(foil_px))
    width = float(np.clip(thick * log_uniform(rng, 0.4, 2), 15, 200))
    half = width * log_uniform(rng, 0.5, 3)
    reach = min(float(np.hypot(half, width)), 250.0)
    index, across, along = patch(foil_px.shape, place, reach, slip(lean, rng))
    inside = (np.abs(across) < 0.5 * width) & (np.abs(along + 0.5 * across) < min(half, 180.0))
    index, plane = index[inside], across[inside] / width + 0.5
    shift = pick(rng, (1, -1)) * 2 * np.pi / 3

    def phase(depth: float) -> Image:
        return shift * np.clip((depth - plane) * _SLICES + 0.5, 0, 1)

    return Defect(index, phase)


def precipitate(
    foil_px: Image, place: Image, extinction_px: float, lean: float, rng: Rng
) -> Defect:
    """A sphere that fits in only under strain, which is radial and falls as distance squared."""
    radius = extinction_px * log_uniform(rng, 0.08, 0.4)
    index, across, along = patch(foil_px.shape, place, 5 * radius, lean)
    out = np.hypot(across, along)
    inside = out < 5 * radius
    index, across, out = index[inside], across[inside], out[inside]
    local, height = foil_px.ravel()[index], rng.uniform(0.05, 0.95)
    strength = log_uniform(rng, 1, 6) * pick(rng, (-1, 1))
    fade = np.cos(0.5 * np.pi * out / (5 * radius)) ** 2

    def phase(depth: float) -> Image:
        far = np.sqrt(out**2 + ((depth - height) * local) ** 2) / radius
        return strength * fade * across / radius / np.maximum(far, 1) ** 3

    return Defect(index, phase)


_SORTS = (dislocation, fault, precipitate)
