"""Diffraction contrast: dislocations, faults, precipitates, bend contours, thickness fringes.

Two-beam theory without absorption gives every feature from two fields, the foil's thickness t
in extinction distances and the deviation w from the Bragg angle [1]_: the diffracted beam is
``sin(pi t sqrt(1 + w^2))^2 / (1 + w^2)``. A bend contour is where w crosses zero, a thickness
fringe where t passes a whole number, a dislocation a place where its strain adds to w.

.. [1] P. Hirsch et al., Electron Microscopy of Thin Crystals (1965), Sec. 8.3.
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np

from lowdose.data.simulate.fields import (
    Image,
    Rng,
    Shape,
    cells,
    coordinates,
    fractal_field,
    imaged,
    log_uniform,
    near,
    rescaled,
    smooth_field,
    turned,
    warped,
)


def draw(shape: Shape, rng: Rng) -> Image:
    """One bright- or dark-field image of a crystalline foil."""
    thickness, deviation = foil(shape, rng)
    deviation = deviation + dislocations(shape, rng) + precipitates(shape, rng)
    thickness = thickness + faults(shape, rng)
    diffracted = two_beam(thickness, deviation)
    beam = 1 - rng.uniform(0.4, 1) * diffracted if rng.random() < 0.7 else diffracted
    beam = beam * np.exp(-rng.uniform(0, 0.5) * thickness)
    dirt = 0.4 * rng.random() ** 2 * float(beam.std())
    return imaged(beam + dirt * fractal_field(shape, rng, rng.uniform(1.5, 3)), rng)


def two_beam(thickness: Image, deviation: Image) -> Image:
    """Intensity of the diffracted beam, 0 to 1; thick foils damp its oscillation to one half."""
    stretch = 1 + deviation**2
    damped = np.exp(-0.25 * thickness)
    return 0.5 * (1 - damped * np.cos(2 * np.pi * thickness * np.sqrt(stretch))) / stretch


def foil(shape: Shape, rng: Rng) -> tuple[Image, Image]:
    """Thickness and deviation of a bent wedge, perhaps of several grains."""
    y, _ = turned(*coordinates(shape), rng.uniform(0, 2 * np.pi))
    wedge = rng.uniform(0, 3) * rescaled(y) * (rng.random() < 0.5)
    hills = rng.uniform(0, 0.4) * smooth_field(shape, rng, log_uniform(rng, 80, 800))
    thickness = np.maximum(rng.uniform(0.3, 4) + wedge + hills, 0.05)
    bend = smooth_field(shape, rng, log_uniform(rng, 150, 1500)) * log_uniform(rng, 0.1, 3)
    deviation = bend + rng.normal(0.3, 0.7)
    if rng.random() < 0.35:
        size = log_uniform(rng, 60, 500)
        grain = cells(*warped(shape, rng, size, 0.1 * size), size, rng)
        thickness = thickness * grain.each(rng, 0.8, 1.2)
        deviation = deviation + grain.each(rng, -2.5, 2.5)
    return thickness, deviation


def dislocations(shape: Shape, rng: Rng) -> Image:
    """Deviation that the strain of curved dislocation lines adds."""
    count = int(log_uniform(rng, 0.5, 200))
    length, width = log_uniform(rng, 30, 300), log_uniform(rng, 1.2, 5)
    direction, disorder = rng.uniform(0, np.pi), rng.uniform(0, 1.6)
    strength, dotted = log_uniform(rng, 0.5, 4), rng.uniform(0, 0.6)
    period = width * rng.uniform(4, 12)
    total = np.zeros(shape, np.float32)
    for place in rng.uniform(0, 1, (count, 2)) * shape:
        half = 0.5 * length * float(np.exp(0.4 * rng.standard_normal()))
        window, y, x = near(shape, place, 1.2 * half + 10 * width)
        across, along = turned(y, x, direction + disorder * rng.normal())
        across = across - rng.normal(0, 0.2) * half * np.cos(np.pi * along / half)
        ends = 1 / (1 + np.exp(np.clip((np.abs(along) - half) / width, -30, 30)))
        strain = rng.normal(1, 0.5) * width * (across + 0.5 * width) / (across**2 + width**2)
        fade = np.exp(-((across / (4 * width)) ** 2))  # other lines screen it
        wave = 1 + dotted * np.cos(2 * np.pi * along / period)
        total[window] += strength * strain * ends * wave * fade
    return total


def precipitates(shape: Shape, rng: Rng) -> Image:
    """Deviation around small strained inclusions or damage: two lobes with a line between."""
    count = int(log_uniform(rng, 0.02, 400))  # none in every other foil
    radius = log_uniform(rng, 2, 14)
    lean = rng.uniform(0, np.pi)
    total = np.zeros(shape, np.float32)
    for place in rng.uniform(0, 1, (count, 2)) * shape:
        size = radius * float(np.exp(0.3 * rng.standard_normal()))
        window, y, x = near(shape, place, 5 * size)
        v, _ = turned(y, x, lean)
        far = np.maximum(np.hypot(y, x) / size, 1)
        total[window] += rng.uniform(0.5, 2.5) * v / size / far**3 * np.exp(-((far / 3) ** 2))
    return total


def faults(shape: Shape, rng: Rng) -> Image:
    """Apparent thickness that makes the parallel fringes of inclined stacking faults."""
    total = np.zeros(shape, np.float32)
    direction = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(1, 7)) if rng.random() < 0.5 else 0):
        place = rng.uniform(0, 1, 2) * shape
        half, width = log_uniform(rng, 20, 300), log_uniform(rng, 10, 80)
        window, y, x = near(shape, place, half + width)
        across, along = turned(y, x, direction + rng.choice([0, 1.23]))
        inside = np.clip(half - np.abs(along + 0.4 * across), 0, 1)
        inside = inside * np.clip(width - np.abs(across), 0, 1)
        fringe = np.cos(np.pi * across * int(rng.integers(2, 7)) / width)
        total[window] += inside * (rng.uniform(0.15, 0.4) * fringe)
    return total
