"""Particles: nanoparticles on a film, self-assembled dots, proteins and vesicles in ice."""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np

from lowdose.data.simulate.fields import (
    Image,
    Rng,
    Shape,
    coordinates,
    filtered,
    fractal_field,
    frequencies,
    gaussian_blur,
    imaged,
    log_uniform,
    near,
    pick,
    smooth_field,
    spots,
    strand,
    turned,
)


def draw(shape: Shape, rng: Rng) -> Image:
    """One image of particles, of whatever sort."""
    scene = pick(rng, (supported, supported, assembled, proteins, vesicles))
    return imaged(scene(shape, rng), rng)


def supported(shape: Shape, rng: Rng) -> Image:
    """Particles of one make on a film, in bright or dark field."""
    radius = log_uniform(rng, 3, 70)
    centres = scattered(shape, rng, radius, coverage=log_uniform(rng, 0.03, 0.6))
    radii = radius * np.exp(rng.uniform(0.02, 0.5) * rng.standard_normal(len(centres)))
    thickness = deposit(shape, centres, np.clip(radii, 1.5, 3 * radius), rng)
    particles = thickness * log_uniform(rng, 0.3, 2.5) / (2 * radius)
    matter = film(shape, rng) + particles
    return np.exp(-matter) if rng.random() < 0.6 else matter ** rng.uniform(0.7, 1.5)


def assembled(shape: Shape, rng: Rng) -> Image:
    """Equal dots drawn together into patches of a close-packed layer."""
    radius = log_uniform(rng, 2.5, 14)
    pitch = radius * rng.uniform(1.9, 2.6)
    centres = hexagonal(shape, pitch, rng.uniform(0, np.pi))
    centres += rng.normal(0, pitch * rng.uniform(0.02, 0.15), centres.shape)
    y, x = np.clip(np.rint(centres).astype(int), 0, np.array(shape) - 1).T
    patches = smooth_field(shape, rng, pitch * rng.uniform(6, 25))[y, x]
    centres = centres[patches > rng.normal(0.3, 0.6)][:3000]
    radii = radius * np.exp(rng.uniform(0.01, 0.12) * rng.standard_normal(len(centres)))
    dots = deposit(shape, centres, radii, rng, fringed=0) / (2 * radius)
    matter = film(shape, rng) + dots * log_uniform(rng, 0.5, 2.5)
    return np.exp(-matter) if rng.random() < 0.7 else matter


def proteins(shape: Shape, rng: Rng) -> Image:
    """Copies of one protein in vitreous ice, seen through a defocused lens."""
    radius = log_uniform(rng, 6, 45)
    centres = scattered(shape, rng, radius, coverage=rng.uniform(0.1, 0.5), touching=False)
    atoms = protein(rng, radius)
    turns = rng.uniform(0, 2 * np.pi, len(centres))
    rotation = np.array([[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]])
    placed = np.einsum("ijn,mj->nmi", rotation, atoms) + centres[:, None]
    sigma = max(0.9, radius * rng.uniform(0.12, 0.3))
    potential = spots(shape, placed.reshape(-1, 2), 1.0, sigma)
    potential = potential / max(float(potential.max()), 1e-6)
    ice = fractal_field(shape, rng, rng.uniform(1, 2.5)) * log_uniform(rng, 0.02, 0.15)
    support = rng.uniform(0, 1.5) * film(shape, rng) if rng.random() < 0.4 else 0.0
    thickness = rng.uniform(0, 0.4) * smooth_field(shape, rng, max(shape))
    return defocused(-(potential + ice + support), rng) - thickness


def vesicles(shape: Shape, rng: Rng) -> Image:
    """Lipid vesicles and filaments in ice, seen through a defocused lens."""
    leaflet = log_uniform(rng, 0.8, 2.5)
    radius = leaflet * log_uniform(rng, 8, 60)
    matter = rng.uniform(0, 0.15) * fractal_field(shape, rng, rng.uniform(1, 2.5))
    for centre in scattered(shape, rng, radius, coverage=log_uniform(rng, 0.05, 0.6)):
        size = radius * float(np.exp(0.4 * rng.standard_normal()))
        window, y, x = near(shape, centre, 1.3 * size + 8 * leaflet)
        shell = np.hypot(y, x * rng.uniform(1, 1.25)) - size
        matter[window] += wall(shell, leaflet) - 0.1 * (shell < 0) * rng.random()
    for _ in range(int(rng.integers(0, 9))):
        width = leaflet * log_uniform(rng, 0.5, 5)
        matter += wall(np.abs(strand(shape, rng, rng.uniform(0, np.pi))) - width, leaflet)
    support = rng.uniform(0, 1.5) * film(shape, rng) if rng.random() < 0.3 else 0.0
    drift = rng.uniform(0, 0.4) * smooth_field(shape, rng, max(shape))
    return defocused(-(matter + support), rng, most=40 * leaflet**2) - drift


def wall(depth: Image, leaflet: float) -> Image:
    """Density of a bilayer: two dense sheets at a distance of two and a half widths."""
    return np.exp(-(((np.abs(depth) - 1.25 * leaflet) / leaflet) ** 2))


def defocused(image: Image, rng: Rng, *, most: float = 400.0) -> Image:
    """The image under the sine of a lens's phase shift: halos and Thon rings.

    The phase is pi times defocus times frequency squared. The defocus is in square pixels, up
    to `most`: its square root is the period at which the first zero lies.
    """
    pad = 32
    padded = np.pad(image, pad, mode="symmetric")
    ky, kx = frequencies(padded.shape)
    k2 = ky**2 + kx**2
    v, u = turned(ky, kx, rng.uniform(0, np.pi))
    astigmatism = rng.uniform(0, 0.2) * (v**2 - u**2)
    defocus = log_uniform(rng, min(12, most / 2), most)
    phase = np.pi * defocus * (k2 + astigmatism) + rng.uniform(0.07, 0.4)
    envelope = np.exp(-(2 + defocus * rng.uniform(0.1, 0.5)) * k2)  # partial coherence
    return filtered(padded, np.sin(phase) * envelope)[pad:-pad, pad:-pad]


def protein(rng: Rng, radius: float) -> Image:
    """Places (M, 2) of the domains of a molecule with a random rotational symmetry."""
    order = int(rng.integers(1, 8))
    domains = rng.normal(0, 0.5 * radius, (int(rng.integers(3, 9)), 2))
    domains += rng.uniform(0, 0.6) * radius
    turns = 2 * np.pi * np.arange(order) / order
    spin = np.array([[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]])
    return np.einsum("ijn,mj->nmi", spin, domains).reshape(-1, 2)


def film(shape: Shape, rng: Rng) -> Image:
    """Thickness of a support film: slow hills, fine grain, perhaps holes or an edge."""
    hills = 0.15 * rng.random() * smooth_field(shape, rng, log_uniform(rng, 40, 600))
    grain = 0.06 * rng.random() * smooth_field(shape, rng, log_uniform(rng, 4, 14))
    rough = 0.1 * rng.random() * fractal_field(shape, rng, rng.uniform(1.4, 2.6))
    solid = np.maximum(log_uniform(rng, 0.2, 0.6) + hills + grain + rough, 0.02)
    hole = pick(rng, (no_holes, no_holes, torn, round_holes))(shape, rng)
    edge = gaussian_blur(hole, rng.uniform(1, 4))
    fringe = rng.uniform(0, 0.3) * (gaussian_blur(hole, 2.0) - gaussian_blur(hole, 4.0))
    return np.maximum(solid * (1 - edge) + fringe, 0)


def no_holes(shape: Shape, rng: Rng) -> Image:
    """A film that covers the frame."""
    return np.zeros(shape, np.float32)


def torn(shape: Shape, rng: Rng) -> Image:
    """1 where a ragged or lacey film is missing."""
    ragged = smooth_field(shape, rng, log_uniform(rng, 100, 1000))
    ragged += rng.uniform(0, 0.15) * fractal_field(shape, rng, 2.5)
    return (ragged > rng.uniform(0.3, 1.5)).astype(np.float32)


def round_holes(shape: Shape, rng: Rng) -> Image:
    """1 in the holes of a perforated film."""
    pitch = log_uniform(rng, 250, 900)
    y, x = turned(*coordinates(shape), rng.uniform(0, np.pi))
    y, x = ((c + rng.uniform(0, pitch)) % pitch - pitch / 2 for c in (y, x))
    return (np.hypot(y, x) < pitch * rng.uniform(0.2, 0.42)).astype(np.float32)


def scattered(
    shape: Shape, rng: Rng, radius: float, *, coverage: float, touching: bool = True
) -> Image:
    """Places (N, 2) of particles: even, random or in clusters; at most 1500."""
    reach = 1.5 * radius
    area = (shape[0] + 2 * reach) * (shape[1] + 2 * reach)
    count = int(np.clip(coverage * area / (np.pi * radius**2), 1, 1500))
    if not touching or rng.random() < 0.3:
        pitch = max(2.2 * radius, np.sqrt(area / count))
        places = hexagonal(shape, pitch, rng.uniform(0, np.pi))
        places += rng.uniform(-0.3, 0.3, places.shape) * pitch
        return places[rng.random(len(places)) < rng.uniform(0.5, 1)][:1500]
    places = rng.uniform(-reach, np.array(shape) + reach, (4 * count, 2))
    y, x = np.clip(places.astype(int), 0, np.array(shape) - 1).T
    crowd = smooth_field(shape, rng, log_uniform(rng, 3, 30) * radius)[y, x]
    crowd = rng.uniform(0, 3) * crowd + rng.gumbel(size=len(places))
    return places[np.argsort(-crowd)[:count]]


def hexagonal(shape: Shape, pitch: float, angle: float) -> Image:
    """Places (N, 2) of a triangular lattice that covers the frame."""
    n = int(np.hypot(*shape) / pitch) + 2
    i, j = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1)
    y, x = turned(i * pitch * np.sqrt(0.75), (j + 0.5 * (i % 2)) * pitch, angle)
    places = np.stack([y, x], axis=1) + np.array(shape) / 2
    return places[np.all((places > -pitch) & (places < np.array(shape) + pitch), axis=1)]


def deposit(
    shape: Shape, centres: Image, radii: Image, rng: Rng, *, fringed: float | None = None
) -> Image:
    """Projected thickness of particles of one make at `centres`, in pixels."""
    body = pick(rng, (ball, ball, faceted, core_shell, rod))
    squash = rng.uniform(0, 0.6) * (rng.random() < 0.5)
    fringed = rng.uniform(0, 0.8) if fringed is None else fringed
    period = log_uniform(rng, 3, 9)
    total = np.zeros(shape, np.float32)
    for centre, radius in zip(centres, radii.tolist(), strict=True):
        window, y, x = near(shape, centre, 1.6 * radius + 1)
        if total[window].size == 0:
            continue
        y, x = turned(y, x, rng.uniform(0, np.pi))
        thickness = body(y, x * (1 + squash * rng.random()), radius, rng)
        if radius > 1.5 * period and rng.random() < fringed:
            thickness = thickness * fringes(y, x, period, rng)
        total[window] += thickness * rng.uniform(0.7, 1.3)
    return total


def ball(y: Image, x: Image, radius: float, rng: Rng) -> Image:
    """Projected thickness of a sphere."""
    return 2 * np.sqrt(np.maximum(radius**2 - y**2 - x**2, 0))


def faceted(y: Image, x: Image, radius: float, rng: Rng) -> Image:
    """Projected thickness of a crystal with flat sides, bevelled or like a plate."""
    sides = int(rng.integers(3, 9))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.15, 0.15, sides)) / sides
    outer = np.full(np.broadcast_shapes(y.shape, x.shape), -np.inf, np.float32)
    for angle, distance in zip(angles.tolist(), rng.uniform(0.75, 1, sides).tolist(), strict=True):
        outer = np.maximum(outer, turned(y, x, angle)[0] / distance)
    return np.clip((radius - outer) * log_uniform(rng, 0.7, 6), 0, radius * rng.uniform(0.8, 1.8))


def core_shell(y: Image, x: Image, radius: float, rng: Rng) -> Image:
    """Projected thickness of a ball with a denser core, or none (a hollow shell)."""
    core = ball(y, x, radius * rng.uniform(0.45, 0.85), rng)
    return 0.5 * ball(y, x, radius, rng) + core * pick(rng, (1.0, 0.5, -0.45))


def rod(y: Image, x: Image, radius: float, rng: Rng) -> Image:
    """Projected thickness of a rod with round ends."""
    width = radius * rng.uniform(0.2, 0.4)
    beyond = np.maximum(np.abs(x) - (1.4 * radius - width), 0)
    return 2 * np.sqrt(np.maximum(width**2 - y**2 - beyond**2, 0))


def fringes(y: Image, x: Image, period: float, rng: Rng) -> Image:
    """A factor about 1 that bears one or two sets of lattice fringes."""
    strength = rng.uniform(0.05, 0.3)
    wave = np.cos(2 * np.pi * y / period + rng.uniform(0, 6))
    if rng.random() < 0.5:
        wave = wave + np.cos(2 * np.pi * turned(y, x, rng.uniform(0.9, 1.6))[0] / period)
    return 1 + strength * wave
