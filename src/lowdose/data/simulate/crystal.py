"""Crystals at atomic resolution, from real structures: dark field, bright field, phase contrast.

An annular detector counts what each column scatters, about Z to the 1.7 an atom [1]_. The
phase-contrast image follows from the wave at the exit of the crystal, in which each column
channels the electrons and turns their phase the faster the heavier it is [2]_, and from the
`lens`: contrast comes, goes and reverses with thickness and with defocus.

.. [1] P. D. Nellist and S. J. Pennycook, Adv. Imaging Electron Phys. 113, 147 (2000).
.. [2] D. Van Dyck and M. Op de Beeck, Ultramicroscopy 64, 99 (1996).
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lowdose.data.simulate.fields import (
    Image,
    Rng,
    Shape,
    coordinates,
    fractal_field,
    gaussian_blur,
    imaged,
    log_uniform,
    pick,
    rescaled,
    smooth_field,
    spots,
    turned,
)
from lowdose.data.simulate.lattice import Crystal, at, displacement, grains, polycrystal, sites
from lowdose.data.simulate.lens import Lens, faded, trimmed, widened
from lowdose.data.simulate.structures import random_crystal

_HEAVY = (92, 83, 79, 78, 74, 57, 47)  # single atoms that are looked for


@dataclass(frozen=True, slots=True)
class Foil:
    """A crystalline foil, column by column.

    Parameters
    ----------
    places : ndarray, shape (N, 2)
        Where the columns stand (y, x), in pixels.
    numbers : ndarray, shape (N,)
        Atomic number of each column.
    atoms : ndarray, shape (N,)
        How many atoms each holds.
    thickness : ndarray, shape (H, W)
        From 0 in vacuum to 1.
    coat : ndarray, shape (H, W)
        Thickness of the amorphous layer on it, about 1.
    pixel_size_nm : float
        Pixel size.
    period_nm : float
        Shortest distance at which the crystal repeats.
    """

    places: Image
    numbers: Image
    atoms: Image
    thickness: Image
    coat: Image
    pixel_size_nm: float
    period_nm: float

    def seen(self, weights: Image, sigma_nm: float) -> Image:
        """Sum of the columns as Gaussian spots, in 0.7 px or more."""
        sigma_px = max(sigma_nm / self.pixel_size_nm, 0.7)
        return spots(self.thickness.shape, self.places, weights, sigma_px)


def draw(shape: Shape, rng: Rng) -> Image:
    """One atomic-resolution image of a crystal, in one of three modes."""
    mode = pick(rng, (phase_contrast, phase_contrast, dark_field, dark_field, bright_field))
    return imaged(trimmed(mode(foil(widened(shape), rng), rng)), rng)


def foil(shape: Shape, rng: Rng) -> Foil:
    """A foil of any material with grains or twins, strain, point defects, perhaps an edge."""
    period = log_uniform(rng, 7, 70)
    model, pixel_size_nm = random_crystal(rng, period)
    model = model.turned(rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.2:
        places, numbers = twinned(model, shape, int(rng.integers(3, 30)))
    else:
        grain, _, turns = grains(shape, rng, least_px=10 * period)
        places, numbers = polycrystal(model, grain, turns, 2 * period)
    uy, ux = displacement(shape, model, rng)
    places = places + np.stack([at(uy, places), at(ux, places)], axis=1)
    places += rng.normal(0, rng.uniform(0, 0.015) * period, places.shape)
    thickness, coat = edged(shape, period, rng)
    full = log_uniform(rng, 1, 60)
    rough = rng.uniform(0, 0.4) * rng.standard_normal(len(places))
    atoms = np.maximum(np.ceil(full * at(thickness, places) + rough - 0.5), 0)
    atoms *= at(thickness, places) > 0
    bare = Foil(places, numbers, atoms, thickness, coat, pixel_size_nm, period * pixel_size_nm)
    return doped(bare, rng)


def twinned(model: Crystal, shape: Shape, rows: int) -> tuple[Image, Image]:
    """Places and heights of lamellae of `rows` lattice rows, each the mirror image of the last.

    The mirrors are planes along the second vector of the crystal. Where that is a mirror
    of the crystal itself, nothing changes.
    """
    wide = 2 * (int(np.hypot(*shape)) + 1)
    places, heights = sites(model, (wide, wide), 0)
    places = places - wide / 2
    angle = float(np.arctan2(*model.vectors[1]))
    v, u = turned(places[:, 0], places[:, 1], angle)
    lamella = rows * abs(float(np.linalg.det(model.vectors))) / np.hypot(*model.vectors[1])
    # Atoms on a mirror are drawn once, with the lamellae of even number.
    slack = 1e-6 * lamella
    closed = (v > -slack) & (v < lamella + slack)
    opened = (v > slack) & (v < lamella - slack)
    found_v, found_u, found = [], [], []
    for k in range(-int(wide / 2 / lamella) - 1, int(wide / 2 / lamella) + 1):
        own = opened if k % 2 else closed
        found_v.append((k + 1) * lamella - v[own] if k % 2 else k * lamella + v[own])
        found_u.append(u[own])
        found.append(heights[own])
    y, x = turned(np.concatenate(found_v), np.concatenate(found_u), -angle)
    return np.stack([y, x], axis=1) + np.array(shape) / 2, np.concatenate(found)


def edged(shape: Shape, period: float, rng: Rng) -> tuple[Image, Image]:
    """Thickness of the crystal and of the amorphous coat on it, with an edge in every other one."""
    thickness = 1 - rng.uniform(0, 0.6) * rescaled(smooth_field(shape, rng, 0.7 * max(shape)))
    depth: Image = np.full(shape, np.inf, np.float32)
    if rng.random() < 0.5:
        y, x = coordinates(shape)
        across, _ = turned(y - shape[0] / 2, x - shape[1] / 2, rng.uniform(0, 2 * np.pi))
        depth = across + rng.uniform(-0.1, 0.35) * min(shape)
        ragged = fractal_field(shape, rng, rng.uniform(2.8, 4.5))
        depth += log_uniform(rng, 0.5, 6) * period * gaussian_blur(ragged, 0.3 * period)
        wedge = 1 - np.exp(-np.maximum(depth, 0) / (log_uniform(rng, 0.05, 2) * max(shape)))
        thickness = thickness * wedge
    rim = log_uniform(rng, 0.3, 6) * period  # the coat goes on beyond the edge
    hills = 1 + 0.4 * smooth_field(shape, rng, log_uniform(rng, 40, 400))
    return thickness, np.maximum(hills, 0) * np.clip(1 + depth / rim, 0, 1)


def doped(bare: Foil, rng: Rng) -> Foil:
    """The foil with vacancies, and with single heavy atoms in its columns or on its surface."""
    vacant = rng.random(len(bare.atoms)) < pick(rng, (0.0, 0.004, 0.05)) * rng.random()
    atoms = np.where(vacant, np.floor(bare.atoms * rng.uniform(0, 0.7)), bare.atoms)
    share = pick(rng, (0.0, 0.0, 0.01, 0.1)) * rng.random()
    hosts = bare.places[(rng.random(len(atoms)) < share) & (atoms > 0)]
    astray = pick(rng, (0.0, 0.5)) * bare.period_nm / bare.pixel_size_nm
    hosts = hosts + rng.normal(0, astray, hosts.shape)
    places = np.concatenate([bare.places, hosts])
    numbers = np.concatenate([bare.numbers, np.full(len(hosts), pick(rng, _HEAVY))])
    atoms = np.concatenate([atoms, np.ones(len(hosts))])
    return replace(bare, places=places, numbers=numbers, atoms=atoms)


def dark_field(specimen: Foil, rng: Rng) -> Image:
    """What an annular detector counts: bright columns, the heavier the brighter."""
    shape = specimen.thickness.shape
    weights = specimen.atoms * (specimen.numbers / specimen.numbers.max()) ** 1.7
    sigma_nm = rng.uniform(0.025, 0.06)  # of the probe: 0.06 to 0.14 nm wide
    columns = specimen.seen(weights, sigma_nm)
    columns /= max(float(columns.max()), 1e-6)
    tails = gaussian_blur(columns, max(3 * sigma_nm / specimen.pixel_size_nm, 1))
    grain = 1 + rng.uniform(0, 0.4) * smooth_field(shape, rng, 0.4 / specimen.pixel_size_nm)
    coat = log_uniform(rng, 0.01, 0.4) * specimen.coat * np.maximum(grain, 0)
    return columns + rng.uniform(0, 0.6) * tails + coat


def bright_field(specimen: Foil, rng: Rng) -> Image:
    """What a detector inside the bright disc misses: dark columns, light elements too."""
    weights = specimen.atoms * (specimen.numbers / specimen.numbers.max()) ** 0.7
    columns = specimen.seen(weights, rng.uniform(0.025, 0.06))
    columns /= max(float(columns.max()), 1e-6)
    shade = rng.uniform(0, 0.6) * specimen.thickness
    grain = smooth_field(columns.shape, rng, 0.4 / specimen.pixel_size_nm)
    coat = specimen.coat * (0.15 + log_uniform(rng, 0.01, 0.1) * grain)
    return np.exp(-rng.uniform(0.3, 1) * columns - shade - coat)


def phase_contrast(specimen: Foil, rng: Rng) -> Image:
    """A high-resolution image: the interference of the diffracted waves behind the lens."""
    shape, pixel = specimen.thickness.shape, specimen.pixel_size_nm
    numbers = specimen.numbers / specimen.numbers.max()
    full = max(float(specimen.atoms.max()), 1)
    # Heavy columns 0.1 nm deep an atom and more turn the phase once in some tens of atoms.
    angle = log_uniform(rng, 0.3, 1 + 0.2 * full) * specimen.atoms / full * numbers
    channelled = rng.uniform(0.6, 1.1) * (np.exp(-1j * angle) - 1)
    sigma_nm = rng.uniform(0.03, 0.045)  # of an s state, with thermal vibration
    parts = [specimen.seen(part, sigma_nm) for part in (channelled.real, channelled.imag)]
    glass = smooth_field(shape, rng, rng.uniform(0.15, 0.35) / pixel)
    film = log_uniform(rng, 0.03, 0.5) * float(np.hypot(*parts).std()) * specimen.coat * glass
    wave = (1 + parts[0] + 1j * parts[1]) * np.exp(1j * film)
    inelastic = np.exp(-rng.uniform(0, 0.5) * specimen.thickness)
    return microscope(rng, specimen.period_nm).image(faded(wave), pixel) * inelastic


def microscope(rng: Rng, period_nm: float) -> Lens:
    """A lens that resolves a period, with a corrector or near Scherzer's defocus."""
    voltage = pick(rng, (80.0, 200.0, 200.0, 300.0))
    if period_nm < 0.22 or rng.random() < 0.4:  # about what 200 kV resolves uncorrected
        cs, focus = rng.uniform(-0.015, 0.01), rng.uniform(-12, 12)
        spread = rng.uniform(1, 3)
    else:
        cs, spread = rng.uniform(0.5, 1.3), rng.uniform(3, 5)
        focus = rng.uniform(0, 2.2) * Lens(voltage, 0, cs).scherzer_nm
    astigmatism, angle = rng.uniform(0, 2), rng.uniform(0, np.pi)
    return Lens(voltage, focus, cs, spread, rng.uniform(0.1, 0.5), astigmatism, angle)
