"""Stained tissue in section: cells, their membranes, organelles and grainy cytoplasm."""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lowdose.data.simulate.fields import (
    Cells,
    Image,
    Rng,
    Shape,
    cells,
    coordinates,
    fractal_field,
    gaussian_blur,
    imaged,
    log_uniform,
    near,
    smooth_field,
    spots,
    turned,
    wobbly,
)


def draw(shape: Shape, rng: Rng) -> Image:
    """One field of tissue: greys from 0 (stain) to 1 (resin)."""
    size = log_uniform(rng, 40, 400)
    tissue = neuropil(shape, rng, size)
    width = log_uniform(rng, 1.0, 3.5)
    image = cytoplasm(shape, rng, tissue)
    if rng.random() < 0.6:
        image = image * reticulum(shape, rng, tissue, width)
    image, edge = organelles(image, tissue.edge_px, rng, width=width, size=size)
    image = image * membranes(edge, rng, width)
    if rng.random() < 0.35:
        image = resin(image, rng, width)
    if rng.random() < 0.25:
        image = image * (1 - gold(shape, rng))
    return imaged(image, rng)


def neuropil(shape: Shape, rng: Rng, size: float) -> Cells:
    """Large cells, some of them split into bundles of small ones."""
    angle, stretch = rng.uniform(0, np.pi), log_uniform(rng, 1, 3)
    y, x = turned(*coordinates(shape), angle)
    y = y * stretch
    for scale, shift in ((size, 0.16 * size), (0.3 * size, 0.03 * size)):
        y = y + shift * smooth_field(shape, rng, scale)
        x = x + shift * smooth_field(shape, rng, scale)
    large = cells(y, x, size, rng)
    small = cells(y, x, size * rng.uniform(0.2, 0.5), rng)
    split = (rng.random(large.count) < rng.uniform(0, 0.7))[large.label]
    label = np.where(split, small.label + large.count, large.label)
    edge = np.where(split, np.minimum(large.edge_px, small.edge_px), large.edge_px)
    return Cells(label, edge, large.offset, large.count + small.count)


def cytoplasm(shape: Shape, rng: Rng, tissue: Cells) -> Image:
    """Grey of the cells' inside: one shade a cell, granules at several scales, ribosomes."""
    shade = tissue.each(rng, rng.uniform(0.5, 0.8), 0.9)
    dark = rng.random(tissue.count) < 0.15 * rng.random()
    shade = np.where(dark[tissue.label], 0.5 * shade, shade)
    for scale in (log_uniform(rng, 4, 9), log_uniform(rng, 12, 40)):
        shade = shade + rng.uniform(0, 0.06) * smooth_field(shape, rng, scale)
    shade = shade + rng.uniform(0, 0.05) * fractal_field(shape, rng, rng.uniform(1, 2))
    return shade * (1 - ribosomes(shape, rng))


def ribosomes(shape: Shape, rng: Rng) -> Image:
    """Dark specks, crowded in places."""
    count = int(shape[0] * shape[1] * log_uniform(rng, 2e-4, 1.2e-2))
    places = rng.uniform(0, 1, (count, 2)) * shape
    y, x = places.astype(int).T
    crowd = smooth_field(shape, rng, log_uniform(rng, 30, 200))[y, x]
    places = places[crowd + rng.normal(0, 0.5, count) > 0]
    specks = spots(shape, places, rng.uniform(0.1, 0.5), log_uniform(rng, 0.8, 2.2))
    return np.minimum(specks, 0.7)


def reticulum(shape: Shape, rng: Rng, tissue: Cells, width: float) -> Image:
    """Factor with the wavy dark lines of endoplasmic reticulum in some cells."""
    field = smooth_field(shape, rng, width * log_uniform(rng, 20, 60))
    slope = np.hypot(*np.gradient(field)) + 1e-3
    level = rng.uniform(0, 0.8)
    line = np.exp(-((np.abs(field - level) / slope / (0.7 * width)) ** 2))
    holds = (rng.random(tissue.count) < rng.uniform(0, 0.6))[tissue.label]
    where = holds & (tissue.edge_px > 2 * width) & (smooth_field(shape, rng, 120) > 0)
    return 1 - rng.uniform(0.2, 0.6) * line * where


def membranes(edge: Image, rng: Rng, width: float) -> Image:
    """Factor with the two dark membranes on either side of every boundary."""
    gap = rng.uniform(0, 1.8) * width
    oblique = 1 + rng.uniform(0, 0.6) * np.maximum(smooth_field(edge.shape, rng, 60), -1)
    line = np.exp(-(((edge - gap) / (width * oblique)) ** 2)) / oblique
    outside = np.clip((gap - edge) / width, 0, 1) * rng.uniform(0.2, 0.8)
    return 1 - rng.uniform(0.5, 0.9) * np.maximum(line, outside * (gap < 1.2 * width))


@dataclass(frozen=True, slots=True)
class Body:
    """A closed outline on its window.

    Parameters
    ----------
    depth : ndarray, shape (h, w)
        Distance inside the outline in pixels, negative outside.
    y, x : ndarray, shape (h, w)
        Coordinates along its short and its long axis.
    width : float
        Thickness of a membrane in pixels.
    """

    depth: Image
    y: Image
    x: Image
    width: float

    def rim(self, at_px: float) -> Image:
        """A membrane that runs `at_px` inside the outline: 1 on it, 0 away from it."""
        return np.exp(-(((self.depth - at_px) / self.width) ** 2))


def body(y: Image, x: Image, radius: float, rng: Rng, *, aspect: float, width: float) -> Body:
    """A wobbly ellipse of long half-axis `radius`."""
    y, x = turned(y, x, rng.uniform(0, np.pi))
    y = y + radius * rng.normal(0, 0.25) * (x / radius) ** 2  # bent like a bean
    outline = wobbly(np.arctan2(y * aspect, x), rng, 0.12, (2, 3, 4, 5))
    depth = (outline - np.hypot(y * aspect, x) / radius) * radius / aspect
    return Body(depth, y, x, width)


def mitochondrion(shape: Body, rng: Rng) -> Image:
    """Grey of a mitochondrion: double membrane, dense matrix, folded cristae."""
    y, x, width = shape.y, shape.x, shape.width
    pitch = width * rng.uniform(4, 8)
    bend = 0.6 * np.sin(x / pitch + rng.uniform(0, 6)) + 0.6 * np.sin(y / pitch)
    along = x * rng.uniform(0.2, 1) + y * rng.uniform(0, 1)
    cristae = np.maximum(np.cos(2 * np.pi * along / pitch + bend), 0) ** 2
    matrix = rng.uniform(0.25, 0.6) * (1 + rng.uniform(-0.5, 0.5) * cristae)
    inner = np.maximum(shape.rim(0), shape.rim(2.5 * width))
    return matrix * (1 - 0.7 * inner)


def vesicle(shape: Body, rng: Rng) -> Image:
    """Grey of a vesicle: one dark rim around something pale, now and then a dense core."""
    core = np.clip(shape.depth / shape.width - rng.uniform(2, 4), 0, 1) * rng.uniform(0.3, 0.9)
    lumen = rng.uniform(0.6, 1) - core * (rng.random() < 0.25)
    return np.maximum(lumen * (1 - rng.uniform(0.4, 0.8) * shape.rim(0.5)), 0)


def lysosome(shape: Body, rng: Rng) -> Image:
    """Grey of a dark body with a mottled inside."""
    mottle = smooth_field(shape.depth.shape, rng, shape.width * rng.uniform(3, 10))
    grey = np.clip(rng.uniform(0.1, 0.45) + rng.uniform(0, 0.15) * mottle, 0, 1)
    return grey * (1 - 0.6 * shape.rim(0))


def myelin(shape: Body, rng: Rng) -> Image:
    """Grey of a fibre wrapped in many dark layers."""
    sheath = shape.width * rng.uniform(6, 20)
    turns = 0.5 + 0.5 * np.cos(2 * np.pi * shape.depth / (shape.width * rng.uniform(2.4, 4)))
    wrapped = 0.15 + rng.uniform(0, 0.4) * turns
    return np.where(shape.depth < sheath, wrapped, rng.uniform(0.6, 0.95)).astype(np.float32)


def nucleus(shape: Body, rng: Rng) -> Image:
    """Grey of a nucleus: envelope, pale chromatin, dark clumps, most of them at the rim."""
    size, width = shape.depth.shape, shape.width
    clumps = smooth_field(size, rng, width * rng.uniform(8, 30))
    clumps = clumps + rng.uniform(0, 1.5) * np.exp(-shape.depth / (8 * width))
    dense = 1 / (1 + np.exp(-np.clip(4 * (clumps - rng.uniform(0.3, 1.5)), -30, 30)))
    grain = rng.uniform(0.01, 0.06) * smooth_field(size, rng, 6)
    grey = rng.uniform(0.55, 0.85) - rng.uniform(0.15, 0.4) * dense + grain
    return grey * (1 - 0.7 * np.maximum(shape.rim(0), shape.rim(3 * width)))


Painter = Callable[[Body, Rng], Image]

# painter, half-axis in membrane widths, most per cell of mean size, longest aspect
_ORGANELLES: tuple[tuple[Painter, tuple[float, float], float, float], ...] = (
    (nucleus, (40, 120), 0.15, 1.6),
    (myelin, (25, 80), 0.15, 1.5),
    (mitochondrion, (8, 35), 3.0, 3.5),
    (lysosome, (6, 20), 0.5, 1.6),
    (vesicle, (2.5, 9), 12.0, 1.3),
)


def organelles(
    image: Image, edge: Image, rng: Rng, *, width: float, size: float
) -> tuple[Image, Image]:
    """The cytoplasm with organelles where cells have room, and `edge` with none inside them."""
    image, edge, free = image.copy(), edge.copy(), edge.copy()
    for paint, (low, high), density, aspect in _ORGANELLES:
        count = rng.poisson(rng.random() * density * image.size / size**2)
        for _ in range(min(count, 300)):
            centres = rng.integers(0, image.shape, (6, 2))
            room = free[centres[:, 0], centres[:, 1]]
            centre = centres[np.argmax(room)]
            slim = rng.uniform(1, aspect)
            radius = min(width * log_uniform(rng, low, high), slim * float(room.max()))
            if radius < low * width:
                continue
            window, y, x = near(image.shape, centre, 1.5 * radius)
            shape = body(y, x, radius, rng, aspect=slim, width=width)
            cover = np.clip(shape.depth / width + 1.5, 0, 1)
            image[window] += cover * (paint(shape, rng) - image[window])
            edge[window] = np.maximum(edge[window], 3 * width * cover)
            free[window] = np.minimum(free[window], np.maximum(-shape.depth, 0))
    return image, edge


def resin(image: Image, rng: Rng, width: float) -> Image:
    """The tissue cut off by empty resin, with a membrane along its border."""
    outline = smooth_field(image.shape, rng, log_uniform(rng, 150, 1500))
    outline += rng.uniform(0, 0.1) * fractal_field(image.shape, rng, 3.5)
    slope = gaussian_blur(np.hypot(*np.gradient(outline)), 4) + 1e-4
    depth = np.clip((outline + rng.uniform(-0.5, 1)) / slope, -1e3, 1e3)
    inside = np.clip(depth / width, 0, 1)
    empty = rng.uniform(0.85, 1.05) + 0.02 * smooth_field(image.shape, rng, 50)
    rim = 1 - rng.uniform(0.3, 0.8) * np.exp(-((depth / width - 1) ** 2))
    return (inside * image + (1 - inside) * empty) * rim


def gold(shape: Shape, rng: Rng) -> Image:
    """Opacity of a few colloidal gold labels."""
    count = int(rng.integers(3, 60))
    homes = rng.uniform(0, 1, (3, 2)) * shape
    places = homes[rng.integers(3, size=count)] + rng.normal(0, 40, (count, 2))
    radius = log_uniform(rng, 2, 8)
    opacity = np.zeros(shape, np.float32)
    for place in places:
        window, y, x = near(shape, place, radius + 2)
        opacity[window] = np.maximum(opacity[window], np.clip(radius + 0.5 - np.hypot(y, x), 0, 1))
    return 0.95 * opacity
