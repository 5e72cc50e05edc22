"""Crystalline nanoparticles on an amorphous film at lattice resolution.

Films of carbon, perhaps with holes, bear particles of one material: faceted or round, in any
orientation, single crystals, twins or five-fold twins [1]_. The image is formed by the `lens`
from the phase and the loss that film and particles impose on the wave, or counted by an
annular detector.

.. [1] L. D. Marks, Rep. Prog. Phys. 57, 603 (1994), on the shapes of small particles.
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lowdose.data.simulate.crystal import microscope
from lowdose.data.simulate.fields import (
    Image,
    Rng,
    Shape,
    banded_field,
    fractal_field,
    gaussian_blur,
    imaged,
    log_uniform,
    near,
    pick,
    smooth_field,
    spots,
    turned,
)
from lowdose.data.simulate.lattice import Crystal
from lowdose.data.simulate.lens import faded, trimmed, widened
from lowdose.data.simulate.particles import no_holes, round_holes, scattered, torn
from lowdose.data.simulate.structures import ZONES, Zone, reflections

_COMMON = (
    "fcc [110]", "fcc [110]", "fcc [110]", "bcc [100]", "diamond or zinc blende [110]",
    "rock salt [110]", "fluorite [110]", "rutile [001]",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deposit:
    """Particles on a film.

    Parameters
    ----------
    thickness : ndarray, shape (H, W)
        Of the particles, in nm.
    lattice : ndarray, shape (H, W)
        Modulation by the atoms: within -1 and 1, 0 where a crystal is not near a zone axis.
    film : ndarray, shape (H, W)
        Thickness of the film, in nm.
    number : float
        Mean atomic number of the particles.
    pixel_size_nm, period_nm : float
        Pixel size and shortest lattice vector.
    """

    thickness: Image
    lattice: Image
    film: Image
    number: float
    pixel_size_nm: float
    period_nm: float


def draw(shape: Shape, rng: Rng) -> Image:
    """One image of particles on a film, in phase contrast or in the annular dark field."""
    mode = pick(rng, (phase_contrast, phase_contrast, dark_field))
    return imaged(trimmed(mode(deposit(widened(shape), rng), rng)), rng)


def deposit(shape: Shape, rng: Rng) -> Deposit:
    """Particles of one material on a film."""
    name = pick(rng, _COMMON)
    family = [zone for zone in ZONES if zone.materials is _zone(name).materials]
    material = int(rng.integers(len(family[0].materials)))
    period_nm = _zone(name).shortest_nm(material)
    pixel_size_nm = period_nm / log_uniform(rng, 3.5, 16)
    thickness, lattice = np.zeros((2, *shape), np.float32)
    film = carbon(shape, pixel_size_nm, rng)
    radius = log_uniform(rng, 0.9, 5) / pixel_size_nm
    spread, squash = rng.uniform(0.05, 0.45), rng.uniform(0.5, 1)
    shy = rng.random() < 0.7  # no particle hangs free in a hole
    for place in scattered(shape, rng, radius, coverage=log_uniform(rng, 0.06, 0.5)):
        size = radius * float(np.clip(np.exp(spread * rng.standard_normal()), 0.3, 2.5))
        window, y, x = near(shape, place, 1.3 * size + 1)
        if thickness[window].size == 0 or (shy and float(film[window].mean()) < 0.3):
            continue
        zone = _zone(name) if rng.random() < 0.6 else pick(rng, family)
        model = zone.crystal(material, pixel_size_nm)
        y, x = turned(y, x, rng.uniform(0, 2 * np.pi))
        height = squash * body(y, x, size, model, rng)
        thickness[window] += pixel_size_nm * height
        above = np.clip(height, 0, 1)  # the last particle drawn lies on top
        lattice[window] = lattice[window] * (1 - above) + above * atoms(y, x, zone, model, rng)
    number = float(np.mean(_zone(name).materials[material][1]))
    return Deposit(thickness, lattice, film, number, pixel_size_nm, period_nm)


def _zone(name: str) -> Zone:
    return next(zone for zone in ZONES if zone.name == name)


def carbon(shape: Shape, pixel_size_nm: float, rng: Rng) -> Image:
    """Thickness in nm of an amorphous film, zero in its holes."""
    hole = pick(rng, (no_holes, no_holes, torn, round_holes))(shape, rng)
    hills = rng.uniform(0, 0.25) * smooth_field(shape, rng, log_uniform(rng, 40, 600))
    rough = rng.uniform(0, 0.15) * fractal_field(shape, rng, 2.5)
    edge = gaussian_blur(hole, log_uniform(rng, 0.1, 1.5) / pixel_size_nm)
    solid = np.maximum(1 + hills + rough, 0.1) * log_uniform(rng, 2, 20)
    return solid * np.clip(1 - 1.05 * edge, 0, 1)


def grain(specimen: Deposit, rng: Rng) -> Image:
    """The random projected potential of the film, deviation about 1; perhaps graphitic layers."""
    shape, pixel = specimen.film.shape, specimen.pixel_size_nm
    texture = smooth_field(shape, rng, rng.uniform(0.3, 0.6) / pixel)
    if rng.random() < 0.25:
        layered = banded_field(shape, rng, 0.34 / pixel, rng.uniform(0.05, 0.15))  # of graphite
        texture = texture + rng.uniform(0, 1.5) * layered
    return texture


def body(y: Image, x: Image, radius: float, model: Crystal, rng: Rng) -> Image:
    """Projected thickness in pixels of a round particle, or of one with facets along planes."""
    if rng.random() < 0.4:
        stretch = rng.uniform(1, 1.3)
        return 2 * np.sqrt(np.maximum(radius**2 - y**2 - (stretch * x) ** 2, 0))
    outer = np.hypot(y, x) / 1.1  # corners are rounded
    for gy, gx in reflections(model, int(rng.integers(2, 5)))[0].tolist():
        across = (gy * y + gx * x) / np.hypot(gy, gx)
        near_side, far_side = rng.uniform(0.75, 1, 2)
        outer = np.maximum(outer, np.maximum(across / near_side, -across / far_side))
    return np.clip((radius - outer) * log_uniform(rng, 0.8, 4), 0, rng.uniform(0.6, 1.6) * radius)


def atoms(y: Image, x: Image, zone: Zone, model: Crystal, rng: Rng) -> Image:
    """Modulation by a lattice: along a zone axis, tilted off it to a set of planes, or none."""
    vectors, factors = reflections(model, 12)
    resolved = np.hypot(*vectors.T) < 1 / 2.6
    vectors, factors = vectors[resolved], factors[resolved]
    state = rng.random()
    if state < 0.2 or len(vectors) == 0:
        return np.zeros(np.broadcast_shapes(y.shape, x.shape), np.float32)
    if state < 0.5:
        one = int(rng.integers(min(3, len(vectors))))
        vectors, factors = vectors[one : one + 1], factors[one : one + 1]
    if zone.name == "fcc [110]" and len(vectors) > 1 and rng.random() < 0.25:
        y, x = five_fold(y, x)
    elif rng.random() < 0.3:
        y, x = mirrored(y, x, vectors[0])
    total = np.zeros(np.broadcast_shapes(y.shape, x.shape), np.float32)
    damping = rng.uniform(0.5, 2) * float(np.hypot(*vectors[0])) ** -2
    for (gy, gx), factor in zip(vectors.tolist(), factors.tolist(), strict=True):
        weight = abs(factor) * np.exp(-0.3 * damping * (gy**2 + gx**2))
        total += weight * np.cos(2 * np.pi * (gy * y + gx * x) - np.angle(factor))
    return total / max(float(np.abs(total).max()), 1e-6)


def mirrored(y: Image, x: Image, normal: Image) -> tuple[Image, Image]:
    """Coordinates that repeat as in a mirror through the middle: a twin on the planes `normal`."""
    angle = float(np.arctan2(-normal[1], normal[0]))
    v, u = turned(y, x, angle)
    return turned(np.abs(v), u, -angle)


def five_fold(y: Image, x: Image) -> tuple[Image, Image]:
    """Coordinates of one sector, repeated five times: a decahedron of twins seen along <110>.

    The planes {111} on both sides of [001], which is y in the table, are 70.5 degrees apart
    and strained to the 72 of a fifth.
    """
    fifth = 2 * np.pi / 5
    radius, angle = np.hypot(y, x), np.arctan2(x, y)
    folded = (angle + fifth / 2) % fifth - fifth / 2
    folded *= np.arccos(1 / 3) / fifth
    return radius * np.cos(folded), radius * np.sin(folded)


def phase_contrast(specimen: Deposit, rng: Rng) -> Image:
    """A high-resolution image, near focus or so far under it that edges have wide fringes."""
    thickness, film = specimen.thickness, specimen.film
    # 0.05 to 0.2 rad a nm at 200 kV, from mean inner potentials of 10 V (C) to 30 V (Au)
    inner = 0.05 + 0.15 * min(specimen.number / 79, 1)
    beating = np.sin(np.pi * np.minimum(thickness / log_uniform(rng, 3, 15), 1.5))
    fringes = rng.uniform(0.15, 0.8) * beating * specimen.lattice
    noise = log_uniform(rng, 0.008, 0.035) * np.sqrt(film) * grain(specimen, rng)
    phase = inner * thickness + 0.06 * film + noise + fringes
    loss = thickness * inner * rng.uniform(0.1, 0.5) + film * rng.uniform(0, 0.02)
    lens = microscope(rng, specimen.period_nm)
    if rng.random() < 0.3:
        lens = replace(lens, defocus_nm=-log_uniform(rng, 60, 400))
    return lens.image(faded(np.exp(1j * phase - 0.5 * loss)), specimen.pixel_size_nm)


def dark_field(specimen: Deposit, rng: Rng) -> Image:
    """What an annular detector counts; single atoms lie about between the particles."""
    film = specimen.film * (1 + rng.uniform(0.02, 0.15) * grain(specimen, rng))
    heavy = specimen.number / 6
    columns = 1 + rng.uniform(0, 0.9) * specimen.lattice
    counted = film + heavy**1.7 * rng.uniform(0.3, 1) * specimen.thickness * columns
    sigma = max(rng.uniform(0.03, 0.07) / specimen.pixel_size_nm, 0.7)
    if rng.random() < 0.4:
        shape, count = film.shape, int(log_uniform(rng, 5, 400))
        places = rng.uniform(0, 1, (count, 2)) * shape
        found = film[tuple(places.astype(int).T)] > 0
        counted = counted + spots(shape, places[found], 0.25 * heavy**1.7, sigma)
    return gaussian_blur(counted, sigma)
