"""Atomic lattices with defects, as columns on a dark ground (HAADF) or as fringes (HRTEM)."""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lowdose.data.simulate.fields import (
    Image,
    Rng,
    Shape,
    banded_field,
    cells,
    fractal_field,
    gaussian_blur,
    imaged,
    log_uniform,
    pick,
    rescaled,
    smooth_field,
    spots,
    turned,
    warped,
)

_NEAREST = np.array([(1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2), (2, 1), (1, 2)])


@dataclass(frozen=True, slots=True)
class Crystal:
    """A two-dimensional crystal.

    Parameters
    ----------
    vectors : ndarray, shape (2, 2)
        The lattice vectors a and b as rows (y, x), in pixels.
    basis : ndarray, shape (M, 2)
        Places of the atoms in fractions of a and b.
    heights : ndarray, shape (M,)
        Brightness of each column.
    """

    vectors: Image
    basis: Image
    heights: Image

    @property
    def reciprocal(self) -> Image:
        """Reciprocal vectors a* and b* as rows (y, x), in cycles per pixel."""
        return np.asarray(np.linalg.inv(self.vectors).T)

    def turned(self, angle: float) -> Crystal:
        """The same crystal, turned by `angle` radians."""
        y, x = turned(self.vectors[:, 0], self.vectors[:, 1], -angle)
        return Crystal(np.stack([y, x], axis=1), self.basis, self.heights)


@dataclass(frozen=True, slots=True)
class Dislocations:
    """Edge dislocations: where they sit and their Burgers vectors, both (N, 2) in pixels."""

    places: Image
    burgers: Image

    def displacement(self, y: Image, x: Image) -> tuple[Image, Image]:
        """Elastic displacement (y, x) at the given places, for a Poisson ratio of 0.3 [1]_.

        References
        ----------
        .. [1] J. P. Hirth and J. Lothe, Theory of Dislocations (1982), Eq. 3-45.
        """
        uy, ux = np.zeros_like(y), np.zeros_like(x)
        for place, burger in zip(self.places.tolist(), self.burgers.tolist(), strict=True):
            angle, size = math.atan2(*burger), math.hypot(*burger)
            v, u = turned(y - place[0], x - place[1], angle)
            r2 = u**2 + v**2 + 0.5  # never 0
            along = np.arctan2(v, u) + u * v / (1.4 * r2)
            across = -np.log(r2) / 7 - (u**2 - v**2) / (2.8 * r2)
            dy, dx = turned(across, along, -angle)
            uy, ux = uy + dy * size / (2 * np.pi), ux + dx * size / (2 * np.pi)
        return uy, ux


def draw(shape: Shape, rng: Rng) -> Image:
    """One atomic-resolution image, of whatever mode."""
    return imaged(pick(rng, (columns, columns, fringes, fringes, layers, atoms))(shape, rng), rng)


def crystal(rng: Rng, period_px: float) -> Crystal:
    """A random crystal with `period_px` along a: square to oblique, one to three atoms."""
    angle = np.deg2rad(pick(rng, (90.0, 90.0, 60.0, 120.0, rng.uniform(65, 115))))
    ratio = pick(rng, (1.0, 1.0, 1.414, rng.uniform(0.7, 1.6)))
    vectors = period_px * np.array([[0, 1], [ratio * np.sin(angle), ratio * np.cos(angle)]])
    special = np.array([(0, 0), (0.5, 0.5), (0.5, 0), (0, 0.5), (1 / 3, 1 / 3), (2 / 3, 2 / 3)])
    count = int(rng.integers(1, 4)) if period_px > 6 else 1
    others = rng.permutation(special[1:])[: count - 1]
    others = others + rng.normal(0, 0.06, others.shape) * (rng.random() < 0.4)
    heights = np.append(1.0, rng.uniform(0.15, 1, count - 1))
    basis = np.concatenate([special[:1], others])
    return Crystal(vectors, basis, heights).turned(rng.uniform(0, 2 * np.pi))


def sites(crystal: Crystal, shape: Shape, margin_px: float) -> tuple[Image, Image]:
    """Places (N, 2) and heights (N,) of all columns in the frame and a margin around it."""
    middle = np.array(shape) / 2
    corners = np.array([(1, 1), (1, -1)]) * (middle + margin_px)
    reach = np.ceil(np.abs(corners @ np.linalg.inv(crystal.vectors)).max(axis=0)).astype(int) + 1
    i, j = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1].reshape(2, -1)
    fractions = np.stack([i, j], axis=1)[:, None] + crystal.basis
    places = fractions.reshape(-1, 2) @ crystal.vectors + middle
    heights = np.tile(crystal.heights, len(i))
    inside = np.all(np.abs(places - middle) <= middle + margin_px, axis=1)
    return places[inside], heights[inside]


def columns(shape: Shape, rng: Rng) -> Image:
    """Bright atomic columns on dark, as an annular dark-field detector sees them."""
    period = log_uniform(rng, 4, 40)
    model = crystal(rng, period)
    grain, _, turns = grains(shape, rng)
    places, heights = polycrystal(model, grain, turns, 2 * period)
    where, bright = defective(places, heights, shape, model, rng)
    closest = (
        period * min(1.0, float(np.hypot(*model.vectors[1])) / period) / len(model.basis) ** 0.5
    )
    sigma = max(0.8, closest * rng.uniform(0.12, 0.28))
    probe = (sigma * rng.uniform(0.9, 1.2), sigma * rng.uniform(0.9, 1.2))
    thickness, _ = specimen(shape, rng)
    atoms = spots(shape, where, bright * at(thickness, where), probe)
    tails = gaussian_blur(atoms, 2.5 * sigma) * rng.uniform(0, 2)
    ground = rng.uniform(0, 0.25) * thickness + amorphous(shape, rng)
    return atoms + tails + ground


def polycrystal(
    model: Crystal, grain: Image, turns: Image, margin_px: float
) -> tuple[Image, Image]:
    """Places (N, 2) and heights (N,) of the columns of a crystal turned differently in each grain.

    Columns in a margin around the frame belong to the grain at the border.
    """
    places, heights = [], []
    for label, turn in enumerate(turns.tolist()):
        start, size = extent(grain, label)
        p, h = sites(model.turned(turn), size, margin_px)
        own = at(grain, p + start) == label
        places.append(p[own] + start)
        heights.append(h[own])
    return np.concatenate(places), np.concatenate(heights)


def at(image: Image, places: Image) -> Image:
    """Values of an image at places (N, 2), those outside taken at the border."""
    y, x = np.clip(np.rint(places).astype(int), 0, np.array(image.shape) - 1).T
    return image[y, x]


def grains(shape: Shape, rng: Rng, *, least_px: float = 80.0) -> tuple[Image, Image, Image]:
    """Which grain a pixel lies in, its distance to the boundary, and the turn of each grain."""
    if rng.random() < 0.5:
        return np.zeros(shape, int), np.full(shape, np.inf, np.float32), np.zeros(1)
    size = log_uniform(rng, least_px, 7.5 * least_px)
    grain = cells(*warped(shape, rng, size, 0.08 * size), size, rng)
    names, label = np.unique(grain.label, return_inverse=True)
    spread = pick(rng, (0.05, 0.3, 1.6))
    return label.reshape(shape), grain.edge_px, rng.uniform(-spread, spread, len(names))


def extent(grain: Image, label: int) -> tuple[Image, Shape]:
    """First pixel (y, x) and size of a box around a grain that is not tiny."""
    found = 4 * np.argwhere(grain[::4, ::4] == label)  # every fourth pixel, to be quick
    if len(found) == 0:
        return np.zeros(2), (0, 0)
    low, high = found.min(axis=0) - 4, found.max(axis=0) + 4
    return low.astype(float), (int(high[0] - low[0]), int(high[1] - low[1]))


def defective(
    places: Image, heights: Image, shape: Shape, model: Crystal, rng: Rng
) -> tuple[Image, Image]:
    """The columns after strain, dislocations, vacancies and substitutions."""
    uy, ux = displacement(shape, model, rng)
    places = places + np.stack([at(uy, places), at(ux, places)], axis=1)
    places += rng.normal(0, rng.uniform(0, 0.02), places.shape) * np.hypot(*model.vectors[0])
    chance = rng.random((2, len(places)))
    vacant = chance[0] < pick(rng, (0.0, 0.01, 0.08)) * rng.random()
    foreign = chance[1] < pick(rng, (0.0, 0.02, 0.3)) * rng.random()
    heights = heights * np.where(foreign, rng.uniform(0.3, 2), 1)
    heights = heights * (1 + rng.uniform(0, 0.1) * rng.standard_normal(len(heights)))
    return places[~vacant], heights[~vacant]


def displacement(shape: Shape, model: Crystal, rng: Rng) -> tuple[Image, Image]:
    """Displacement (y, x) of every pixel: smooth strain, perhaps dislocations."""
    scale = log_uniform(rng, 100, 600)
    strain = rng.uniform(0, 0.015) * scale / 4
    y, x = warped(shape, rng, scale, strain)
    y0, x0 = np.indices(shape, dtype=np.float32)
    uy, ux = y - y0, x - x0
    if rng.random() < 0.5:
        count = int(rng.integers(1, 5))
        burgers = model.vectors[rng.integers(2, size=count)] * rng.choice([-1, 1], (count, 1))
        cores = Dislocations(rng.uniform(0, 1, (count, 2)) * shape, burgers)
        dy, dx = cores.displacement(y0, x0)
        uy, ux = uy + dy, ux + dx
    return uy, ux


def specimen(shape: Shape, rng: Rng) -> tuple[Image, Image]:
    """Thickness of the crystal, about 1, and where it is at all (1) or vacuum (0)."""
    ramp = rescaled(smooth_field(shape, rng, log_uniform(rng, 200, 2000)))
    thickness = 1 - rng.uniform(0, 0.6) * ramp
    if rng.random() < 0.6:
        return thickness, np.ones(shape, np.float32)
    outline = smooth_field(shape, rng, log_uniform(rng, 80, 1500))
    outline += 0.2 * rng.random() * fractal_field(shape, rng, 3.2)
    depth = (outline + rng.uniform(-0.3, 1.2)) / rng.uniform(0.05, 0.8)
    inside = np.clip(depth, 0, 1)
    return thickness * inside, inside


def amorphous(shape: Shape, rng: Rng) -> Image:
    """A faint amorphous layer."""
    grain = smooth_field(shape, rng, log_uniform(rng, 4, 15))
    hills = smooth_field(shape, rng, log_uniform(rng, 40, 400))
    return 0.08 * rng.random() * grain + 0.15 * rng.random() * hills


def fringes(shape: Shape, rng: Rng) -> Image:
    """Phase-contrast lattice fringes whose contrast comes, goes and reverses with thickness."""
    model = crystal(rng, log_uniform(rng, 4, 30))
    thickness, inside = specimen(shape, rng)
    total = waves(shape, model, thickness, rng)
    if rng.random() < 0.25:  # a second crystal on top: moire
        over = specimen(shape, rng)[0]
        total = total + over * waves(shape, model.turned(rng.uniform(0, 1.5)), thickness, rng)
    glass = smooth_field(shape, rng, log_uniform(rng, 5, 14)) * log_uniform(rng, 0.03, 0.35)
    rim = gaussian_blur(inside, 1.5) - gaussian_blur(inside, rng.uniform(3, 6))
    shade = rng.uniform(-1, 1) * thickness
    return total * inside + glass * (0.3 + inside) + shade - rng.uniform(0, 2) * rim


def layers(shape: Shape, rng: Rng) -> Image:
    """Short, wavy, stacked layers: soot, coke, turbostratic carbon, clay."""
    period = log_uniform(rng, 4, 20)
    thickness, inside = specimen(shape, rng)
    stack = banded_field(shape, rng, period, rng.uniform(0.03, 0.2))
    stack = stack * (1 + rng.uniform(0, 0.8) * smooth_field(shape, rng, 12 * period))
    grain = smooth_field(shape, rng, period * rng.uniform(0.8, 3))
    rim = gaussian_blur(inside, 1.5) - gaussian_blur(inside, rng.uniform(3, 6))
    return (stack + rng.uniform(0, 0.5) * grain) * inside - rng.uniform(0, 3) * (thickness + rim)


def atoms(shape: Shape, rng: Rng) -> Image:
    """Single heavy atoms and small clusters of them on a thin support, in dark field."""
    count = int(shape[0] * shape[1] * log_uniform(rng, 1e-4, 4e-3)) + 1
    homes = rng.uniform(0, 1, (count, 2)) * shape
    crowd = at(smooth_field(shape, rng, log_uniform(rng, 40, 400)), homes)
    homes = homes[crowd + rng.normal(0, 1, count) > 0]
    where = np.repeat(homes, rng.integers(1, 5, len(homes)), axis=0)
    sigma = log_uniform(rng, 1.0, 4)
    where = where + rng.normal(0, rng.uniform(0, 4) * sigma, where.shape)
    support = specimen(shape, rng)[0] * (1 + amorphous(shape, rng))
    bright = rng.normal(1, 0.15, len(where))
    return spots(shape, where, bright, sigma) + log_uniform(rng, 0.1, 4) * support


def waves(shape: Shape, model: Crystal, thickness: Image, rng: Rng) -> Image:
    """Sum of the plane waves of a crystal's low-order planes, grain by grain."""
    grain, edge, turns = grains(shape, rng)
    uy, ux = displacement(shape, model, rng)
    y, x = np.indices(shape, dtype=np.float32)
    c, s = (f(turns).astype(np.float32)[grain] for f in (np.cos, np.sin))
    # Displaced in the crystal's own axes, so that a Burgers vector remains a lattice vector.
    y, x = c * y + s * x - uy, c * x - s * y - ux
    orders = _NEAREST[: int(rng.integers(1, len(_NEAREST) + 1))] @ model.reciprocal
    orders = orders[np.hypot(*orders.T) < 1 / 2.8]
    fading = rng.uniform(2, 8)
    total = np.zeros(shape, np.float32)
    for gy, gx in orders.tolist():
        strength = rng.normal() * math.exp(-fading * math.hypot(gy, gx))
        beating = np.cos(rng.uniform(0, 8) * thickness + rng.uniform(0, 6))
        total += strength * beating * np.cos(2 * np.pi * (gy * y + gx * x) + rng.uniform(0, 6))
    period = float(np.hypot(*model.vectors[0]))
    ordered = 1 - np.exp(-edge / (rng.uniform(0.05, 0.5) * period))  # boundaries are not
    return ordered * total / max(float(total.std()), 1e-3)
