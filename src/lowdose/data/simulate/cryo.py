"""Macromolecules in vitreous ice, as a cryo-electron microscope sees them.

Molecules are compact folds of random chains, with the symmetry of an oligomer or a capsid, in
random orientations in three dimensions. Their phase shifts of some hundredths of a radian [1]_
are made visible by a defocus of a micrometre. Gold beads, the edge of the carbon hole and
contaminating ice crystals lie about as they do in practice.

.. [1] R. Henderson, Q. Rev. Biophys. 28, 171 (1995).
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

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
    near,
    pick,
    smooth_field,
    turned,
    wobbly,
)
from lowdose.data.simulate.lens import Lens, faded, trimmed, widened
from lowdose.data.simulate.particles import scattered

_GOLDEN = (1 + 5**0.5) / 2
_MOST_BEADS = 600_000  # in a frame, to bound the time
_ABSORBED = 0.07  # amplitude contrast of protein and ice at 300 kV, as a share of the phase


def draw(shape: Shape, rng: Rng) -> Image:
    """One field of view of a cryo-EM grid."""
    pixel_size_nm = log_uniform(rng, 0.07, 0.5)
    wide = widened(shape)
    phase, loss = ice(wide, pixel_size_nm, rng)
    molecules = pick(rng, (single, single, single, filaments))(wide, pixel_size_nm, rng)
    strength = log_uniform(rng, 0.15, 0.8)  # rad, through the thickest molecule
    phase += strength * molecules / max(float(molecules.max()), 1e-6)
    loss += _ABSORBED * phase
    for chance, extra in ((0.25, carbon_edge), (0.25, gold_beads), (0.12, ice_crystals)):
        if rng.random() < chance:
            more_phase, more_loss = extra(wide, pixel_size_nm, rng)
            phase, loss = phase + more_phase, loss + more_loss
    wave = faded(np.exp(1j * phase - loss))
    return imaged(trimmed(microscope(rng).image(wave, pixel_size_nm)), rng)


def microscope(rng: Rng) -> Lens:
    """A microscope for cryo-EM, under focus."""
    voltage, cs = pick(rng, ((300.0, 2.7), (300.0, 2.7), (200.0, 2.7), (300.0, 0.01)))
    defocus = -log_uniform(rng, 300, 4000)
    astigmatism, angle = rng.uniform(0, 0.05) * defocus, rng.uniform(0, np.pi)
    return Lens(voltage, defocus, cs, 2.0, rng.uniform(0.02, 0.15), astigmatism, angle)


def ice(shape: Shape, pixel_size_nm: float, rng: Rng) -> tuple[Image, Image]:
    """Phase and loss of amplitude in vitreous ice of uneven thickness."""
    grain = smooth_field(shape, rng, rng.uniform(0.4, 1) / pixel_size_nm)
    slow = fractal_field(shape, rng, rng.uniform(1, 2.5))
    phase = log_uniform(rng, 0.005, 0.04) * grain + rng.uniform(0, 0.02) * slow
    hills = smooth_field(shape, rng, log_uniform(rng, 0.3, 2) * max(shape))
    y, _ = turned(*coordinates(shape), rng.uniform(0, 2 * np.pi))
    wedge = rng.uniform(0, 0.06) * y / max(shape)
    return phase, 0.1 + rng.uniform(0, 0.012) * hills + wedge


def single(shape: Shape, pixel_size_nm: float, rng: Rng) -> Image:
    """Projected density of copies of one molecule, each seen from another side."""
    molecule = oligomer(rng, log_uniform(rng, 2.5, 16))
    radius = float(np.sqrt((molecule**2).sum(axis=1).max())) / pixel_size_nm
    coverage = log_uniform(rng, 0.12, 0.6)
    places = scattered(shape, rng, radius, coverage=coverage, touching=rng.random() < 0.4)
    places = places[: 1 + _MOST_BEADS // len(molecule)]
    views = orientations(len(places), rng)[:, :2]
    beads = np.einsum("nij,mj->nmi", views, molecule / pixel_size_nm) + places[:, None]
    return density(shape, beads.reshape(-1, 2), rng.uniform(0.2, 0.5) / pixel_size_nm)


def filaments(shape: Shape, pixel_size_nm: float, rng: Rng) -> Image:
    """Projected density of straight helical assemblies of one subunit, like actin or tubulin."""
    size, strands = log_uniform(rng, 1.5, 3), int(rng.integers(1, 14))
    subunit = fold(rng, size)
    rise, twist = size * rng.uniform(1.2, 2), rng.uniform(0.1, 3)
    length = 1.5 * np.hypot(*shape) * pixel_size_nm
    steps = np.arange(int(length / rise))
    turn = twist * steps[:, None] + 2 * np.pi * np.arange(strands) / strands
    out = size * max(0.29 * strands, 0.8)  # subunits stand side by side, just touching
    axis = np.broadcast_to(rise * steps[:, None] - length / 2, turn.shape)
    homes = np.stack([axis, out * np.sin(turn)], axis=-1).reshape(-1, 2)
    spun = np.stack([np.sin(turn), np.cos(turn)], axis=-1).reshape(-1, 2)
    across = spun[:, :1] * subunit[:, 0] + spun[:, 1:] * subunit[:, 1]
    whole = homes[:, None] + np.stack([np.broadcast_to(subunit[:, 2], across.shape), across], -1)
    whole = whole.reshape(-1, 2)[: _MOST_BEADS // 2] / pixel_size_nm
    beads = []
    for _ in range(int(np.clip(rng.integers(1, 9), 1, _MOST_BEADS // len(whole)))):
        centre = rng.uniform(0, 1, 2) * shape
        y, x = turned(whole[:, 0], whole[:, 1], rng.uniform(0, 2 * np.pi))
        beads.append(np.stack([y, x], axis=1) + centre)
    return density(shape, np.concatenate(beads), rng.uniform(0.2, 0.5) / pixel_size_nm)


def fold(rng: Rng, radius_nm: float) -> Image:
    """Places (M, 3) in nm of the beads of a chain that folds back to its middle, M from 60 to 800.

    A random walk drawn to the origin: each step keeps part of the last place and of the
    last direction, which gives rods, as helices do, and holes between them.
    """
    count = int(np.clip(40 * radius_nm**2, 60, 800))
    kept = rng.uniform(0.8, 0.95)
    steps = rng.standard_normal((count, 3))
    chain, place, way = [], np.zeros(3), np.zeros(3)
    for step in steps:
        way = kept * way + step
        place = 0.95 * place + way
        chain.append(place)
    beads = np.array(chain) - np.mean(chain, axis=0)
    return beads * (radius_nm / 1.3 / np.sqrt((beads**2).sum(axis=1).mean()))


def oligomer(rng: Rng, radius_nm: float) -> Image:
    """Places (M, 3) in nm of a molecule about `radius_nm` wide with a random point group."""
    order = int(rng.integers(1, 8))
    about = rotation(np.array([0, 0, 1.0]), 2 * np.pi / order)
    flip = np.diag([1.0, -1, -1])
    thrice = np.roll(np.eye(3), 1, axis=0)
    fifth = rotation(np.array([0, 1, _GOLDEN]), 2 * np.pi / 5)
    quarter = rotation(np.array([0, 0, 1.0]), np.pi / 2)
    generators = pick(
        rng, ([about], [about], [about, flip], [about, flip], [thrice, quarter], [thrice, fifth])
    )
    copies = point_group(generators)
    size = radius_nm * min(1.0, 1.8 * len(copies) ** -0.5)
    home = rng.standard_normal(3)
    home *= (radius_nm - size) / np.sqrt((home**2).sum())
    beads = fold(rng, size) + home
    return np.einsum("gij,mj->gmi", copies, beads).reshape(-1, 3)


def rotation(axis: Image, angle: float) -> Image:
    """The matrix (3, 3) of a turn about an axis (Rodrigues' formula)."""
    x, y, z = axis / np.sqrt((axis**2).sum())
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def point_group(generators: list[Image]) -> Image:
    """All rotations (G, 3, 3) that products of the generators give."""
    members = [np.eye(3)]
    for member in members:  # grows as it goes
        for generator in generators:
            new = generator @ member
            if not any(np.allclose(new, known, atol=1e-6) for known in members):
                members.append(new)
    return np.array(members)


def orientations(count: int, rng: Rng) -> Image:
    """Uniformly random rotations (N, 3, 3), from unit quaternions [1]_.

    References
    ----------
    .. [1] K. Shoemake, Graphics Gems III (1992), 124.
    """
    q = rng.standard_normal((count, 4))
    w, x, y, z = (q / np.sqrt((q**2).sum(axis=1, keepdims=True))).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def density(shape: Shape, places: Image, sigma_px: float) -> Image:
    """Beads (N, 2) at their sub-pixel places, shared between four pixels, then blurred."""
    places = places[np.all((places >= 0) & (places < np.array(shape) - 1), axis=1)]
    corner = places.astype(int)
    fy, fx = (places - corner).T
    home = corner[:, 0] * shape[1] + corner[:, 1]
    total = np.zeros(shape[0] * shape[1])
    for step, share in (
        (0, (1 - fy) * (1 - fx)),
        (1, (1 - fy) * fx),
        (shape[1], fy * (1 - fx)),
        (shape[1] + 1, fy * fx),
    ):
        total += np.bincount(home + step, share, total.size)
    return gaussian_blur(total.reshape(shape).astype(np.float32), max(sigma_px, 0.7))


def carbon_edge(shape: Shape, pixel_size_nm: float, rng: Rng) -> tuple[Image, Image]:
    """Phase and loss of the film around the hole, whose edge crosses the frame."""
    radius = rng.uniform(400, 1200) / pixel_size_nm  # holes of 0.8 to 2.4 um
    y, x = turned(*coordinates(shape), rng.uniform(0, 2 * np.pi))
    middle = float(y.mean()) - radius + rng.uniform(-0.3, 0.5) * max(shape)
    depth = np.hypot(y - middle, x - float(x.mean())) - radius
    depth += log_uniform(rng, 0.2, 3) / pixel_size_nm * smooth_field(shape, rng, 60)
    solid = np.clip(depth * pixel_size_nm / rng.uniform(0.5, 6), 0, 1)
    texture = smooth_field(shape, rng, rng.uniform(0.3, 0.8) / pixel_size_nm)
    phase = solid * (rng.uniform(0.1, 0.5) + log_uniform(rng, 0.03, 0.12) * texture)
    return phase, rng.uniform(0.02, 0.15) * solid


def gold_beads(shape: Shape, pixel_size_nm: float, rng: Rng) -> tuple[Image, Image]:
    """Phase and loss of fiducial gold beads, 5, 10 or 15 nm wide."""
    radius = pick(rng, (2.5, 5.0, 7.5)) / pixel_size_nm
    thickness = np.zeros(shape, np.float32)
    count = 1 + int(rng.poisson(log_uniform(rng, 0.5, 12)))
    for place in rng.uniform(0, 1, (count, 2)) * shape:
        size = radius * rng.uniform(0.85, 1.15)
        window, y, x = near(shape, place, 1.4 * size)
        outline = size * wobbly(np.arctan2(y, x), rng, 0.06, (2, 3, 5, 6))
        thickness[window] += 2 * np.sqrt(np.maximum(outline**2 - y**2 - x**2, 0))
    inside = gaussian_blur(thickness * pixel_size_nm, 0.7)
    return 0.15 * inside, inside / rng.uniform(15, 40)  # rad and loss a nm: 30 V, lost electrons


def ice_crystals(shape: Shape, pixel_size_nm: float, rng: Rng) -> tuple[Image, Image]:
    """Phase and loss of frost: lumps of crystalline ice that settled on the grid."""
    radius = log_uniform(rng, 4, 40) / pixel_size_nm
    thickness = np.zeros(shape, np.float32)
    for place in rng.uniform(0, 1, (int(rng.integers(1, 7)), 2)) * shape:
        window, y, x = near(shape, place, 1.6 * radius)
        outline = radius * wobbly(np.arctan2(y, x), rng, 0.12, (2, 3, 4, 6))
        lump = 1 - (np.hypot(y, x) / outline) ** 2
        thickness[window] += np.sqrt(np.maximum(lump, 0)) * rng.uniform(0.3, 1.2)
    inside = gaussian_blur(thickness, 1.0)
    return rng.uniform(0.2, 1) * inside, rng.uniform(0.1, 0.4) * inside
