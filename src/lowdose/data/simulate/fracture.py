"""Secondary- and backscattered-electron scenes: fractures, powders, fibres, coatings."""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowdose.data.simulate.fields import (
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
    pick,
    rescaled,
    smooth_field,
    spots,
    strand,
    turned,
    warped,
    wobbly,
)


def draw(shape: Shape, rng: Rng) -> Image:
    """One scanning image, of whatever sort."""
    return imaged(pick(rng, (surface, surface, powder, fibres, coating))(shape, rng), rng)


def lit(height: Image, rng: Rng) -> Image:
    """Secondary-electron brightness of a height field.

    A slope emits more the steeper it is and the more it faces the detector, a ridge more
    than a hollow, which sees less of the detector.
    """
    dy, dx = np.gradient(height)
    facing, _ = turned(dy, dx, rng.uniform(0, 2 * np.pi))
    steep = np.sqrt(1 + dy**2 + dx**2)
    ridge = height - gaussian_blur(height, log_uniform(rng, 2, 12))
    hollow = height - gaussian_blur(height, log_uniform(rng, 15, 60))
    bright = np.tanh(rng.uniform(0.2, 1) * (steep - 1)) + rng.uniform(-0.6, 0.6) * facing / steep
    bright = bright + rng.uniform(0.1, 0.6) * np.tanh(ridge)
    return bright + rng.uniform(0.1, 0.6) * np.tanh(hollow / 6)


def surface(shape: Shape, rng: Rng) -> Image:
    """A broken or rough surface, often of two sorts side by side."""
    reliefs = (rough, facets, terraces, dimples, nodules, nodules)
    relief = pick(rng, reliefs)(shape, rng)
    if rng.random() < 0.4:
        border = smooth_field(shape, rng, log_uniform(rng, 100, 800))
        share = np.clip(border * log_uniform(rng, 1, 20) + rng.normal(), 0, 1)
        relief = relief + share * (pick(rng, reliefs)(shape, rng) - relief)
    relief = relief + rng.uniform(0, 4) * fractal_field(shape, rng, rng.uniform(2.5, 3.8))
    image = lit(relief, rng)
    image = image + rng.uniform(0, 0.2) * smooth_field(shape, rng, log_uniform(rng, 60, 500))
    if rng.random() < 0.3:
        image = pierced(image, rng)
    return image + debris(shape, rng)


def pierced(image: Image, rng: Rng) -> Image:
    """The surface with dark pits whose rims shine."""
    pit = pores(image.shape, rng)
    rim = gaussian_blur(pit, rng.uniform(2, 6)) * (1 - pit)
    dark = float(image.min()) + rng.uniform(0, 0.3) * (image - image.min())
    return image + pit * (dark - image) + rng.uniform(0, 1.5) * rim


def rough(shape: Shape, rng: Rng) -> Image:
    """Height of a self-affine surface, perhaps drawn out to streaks."""
    stretch = pick(rng, (1.0, 1.0, log_uniform(rng, 1, 8)))
    tall = fractal_field(shape, rng, rng.uniform(2.2, 4), stretch=stretch)
    return log_uniform(rng, 4, 30) * gaussian_blur(tall, 1.0)


def facets(shape: Shape, rng: Rng) -> Image:
    """Height of an intergranular or cleaved surface: tilted, slightly domed grains."""
    size = log_uniform(rng, 20, 200)
    bent = warped(shape, rng, 2.5 * size, rng.uniform(0.1, 0.35) * size)
    grain = cells(*bent, size, rng)
    tilt = rng.uniform(0.1, 0.9)
    y, x = grain.offset
    plane = y * grain.each(rng, -tilt, tilt) + x * grain.each(rng, -tilt, tilt)
    dome = np.sqrt(np.minimum(grain.edge_px, 0.3 * size)) * rng.uniform(0, 3)
    river = np.cos(2 * np.pi * (y + 0.3 * x) / log_uniform(rng, 6, 40))
    river = river * grain.each(rng, 0, 1) * rng.uniform(0, 1.5)
    return gaussian_blur(plane + dome + river, rng.uniform(0.7, 2.5))


def terraces(shape: Shape, rng: Rng) -> Image:
    """Height of cleavage steps or growth terraces."""
    hills = fractal_field(shape, rng, rng.uniform(3, 4.5))
    along, _ = turned(*coordinates(shape), rng.uniform(0, np.pi))
    levels = rng.uniform(2, 8) * hills + along / log_uniform(rng, 15, 150)
    whole = np.floor(levels)
    step = np.clip((levels - whole) / rng.uniform(0.05, 0.3), 0, 1)
    return gaussian_blur((whole + step) * log_uniform(rng, 2, 12), 1.0)


def dimples(shape: Shape, rng: Rng) -> Image:
    """Height of a ductile fracture: cups with sharp rims."""
    size = log_uniform(rng, 12, 80)
    cup = cells(*warped(shape, rng, 4 * size, 0.5 * size), size, rng)
    depth = cup.each(rng, 0.3, 1.2)
    return -depth * size * (1 - np.exp(-cup.edge_px / (0.25 * size)))


def nodules(shape: Shape, rng: Rng) -> Image:
    """Height of a granular or cauliflower-like film: domes, perhaps with smaller domes on them."""
    size = log_uniform(rng, 8, 120)
    height = np.zeros(shape, np.float32)
    for scale in (size, size * rng.uniform(0.15, 0.4)):
        grain = cells(*warped(shape, rng, 2 * scale, 0.15 * scale), scale, rng)
        out = np.hypot(*grain.offset) / (scale * grain.each(rng, 0.7, 1.1))
        dome = np.sqrt(np.maximum(1 - out**2, 0)) + grain.each(rng, 0, 0.6)
        height += rng.uniform(0.3, 1) * scale * dome
        if scale < 4 or rng.random() < 0.4:
            break
    return gaussian_blur(height, 0.8)


def pores(shape: Shape, rng: Rng, *, stretch: float = 1.0) -> Image:
    """1 in rounded pores, 0 in the solid, of one typical size."""
    scale = log_uniform(rng, 8, 120)
    field = smooth_field(shape, rng, scale, stretch=stretch)
    field += 0.1 * rng.random() * fractal_field(shape, rng, 2.5)
    return np.clip((field - rng.uniform(0.9, 2.4)) * scale / 4, 0, 1)


def debris(shape: Shape, rng: Rng) -> Image:
    """Bright specks of dust or precipitates, often none."""
    count = int(rng.poisson(log_uniform(rng, 0.3, 300)))
    places = rng.uniform(0, 1, (count, 2)) * shape
    return spots(shape, places, rng.uniform(0, 0.5, count), log_uniform(rng, 0.8, 3))


@dataclass(frozen=True, slots=True)
class Gloss:
    """How the grains of one powder look.

    Parameters
    ----------
    base, edge, sharpness, side : float
        Brightness of the middle, what the edge adds and how suddenly, and the difference
        between the two sides.
    lumpy : float
        How far the outline of a ball strays from a circle.
    """

    base: float
    edge: float
    sharpness: float
    side: float
    lumpy: float

    def crystallite(self, y: Image, x: Image, size: float, rng: Rng) -> tuple[Image, Image]:
        """Distance from the middle (1 on the outline) and brightness of one faceted grain."""
        sides = int(rng.integers(3, 8))
        angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) / sides
        reach = (size * rng.uniform(0.6, 1, sides)).tolist()
        walls = np.stack(
            [turned(y, x, a)[0] / r for a, r in zip(angles.tolist(), reach, strict=True)]
        )
        out, top = walls.max(axis=0), rng.uniform(0.2, 0.8)
        shades = (self.base + self.edge * rng.uniform(-0.5, 0.5, sides)).astype(np.float32)
        bright = np.where(out > top, shades[walls.argmax(axis=0)], self.base + 0.3 * self.edge)
        ridge = np.exp(-(((out - top) * size) ** 2) / 4) + np.exp(-(((out - 1) * size) ** 2) / 4)
        return out, bright + 0.4 * self.edge * ridge

    def ball(self, y: Image, x: Image, size: float, rng: Rng) -> tuple[Image, Image]:
        """Distance from the middle (1 on the outline) and brightness of one ball."""
        outline = wobbly(np.arctan2(y, x), rng, self.lumpy, (2, 3, 5, 8))
        out = np.hypot(y, x) / (size * np.maximum(outline, 0.3))
        rise = np.sqrt(np.maximum(1 - out**2, 0))
        bright = self.base + self.edge * (1 - rise) ** self.sharpness + self.side * y / size
        return out, bright * rng.uniform(0.85, 1.15)


def powder(shape: Shape, rng: Rng) -> Image:
    """Balls and lumps of a powder, heaped from back to front."""
    radius = log_uniform(rng, 6, 90)
    image = rng.uniform(0, 0.25) + 0.05 * fractal_field(shape, rng, rng.uniform(1.5, 3))
    gloss = Gloss(
        base=rng.uniform(0.2, 0.6),
        edge=rng.uniform(0.2, 0.8),
        sharpness=rng.uniform(1, 4),
        side=rng.uniform(-0.3, 0.3),
        lumpy=rng.uniform(0, 0.25) * (rng.random() < 0.6),
    )
    spread, lamp = rng.uniform(0.05, 0.6), rng.uniform(0, 2 * np.pi)
    grain = pick(rng, (gloss.ball, gloss.ball, gloss.crystallite))
    skin = ball_skin(shape, rng, radius)
    count = int(np.clip(rng.uniform(0.2, 2.5) * image.size / (np.pi * radius**2), 2, 900))
    for place in rng.uniform(-radius, np.array(shape) + radius, (count, 2)):
        size = radius * float(np.exp(spread * rng.standard_normal()))
        window, y, x = near(shape, place, 1.5 * size + 2)
        out, bright = grain(*turned(y, x, lamp), size, rng)
        bright = bright + anywhere(skin, bright.shape, rng)
        cover = np.clip((1 - out) * size + 0.5, 0, 1)
        shadow = 1 - 0.4 * np.exp(-np.maximum(out - 1, 0) * 6)
        image[window] = shadow * image[window] * (1 - cover) + cover * bright
    return image + debris(shape, rng)


def anywhere(texture: Image, shape: Shape, rng: Rng) -> Image:
    """A piece of `texture`, of the given shape, from a random place."""
    y, x = rng.integers(0, (texture.shape[0] - shape[0] + 1, texture.shape[1] - shape[1] + 1))
    return texture[y : y + shape[0], x : x + shape[1]]


def ball_skin(shape: Shape, rng: Rng, radius: float) -> Image:
    """Texture of the balls: rough, crystalline, or the cells of a dendritic solidification."""
    strength = rng.uniform(0, 0.12)
    if rng.random() < 0.3:
        return strength * fractal_field(shape, rng, rng.uniform(1.5, 2.5))
    if rng.random() < 0.4:
        return 2 * strength * lit(pick(rng, (facets, nodules, rough))(shape, rng), rng)
    size = max(4.0, radius * rng.uniform(0.1, 0.4))
    cell = cells(*warped(shape, rng, size, 0.2 * size), size, rng)
    seam = np.exp(-cell.edge_px / rng.uniform(1, 2))
    return 2 * strength * (cell.each(rng, -0.5, 0.5) - seam)


def fibres(shape: Shape, rng: Rng) -> Image:
    """A felt of long fibres over a dim ground, drawn from back to front."""
    image = 0.3 * rescaled(lit(3 * fractal_field(shape, rng, rng.uniform(2, 3.5)), rng))
    radius, spread = log_uniform(rng, 2, 35), rng.uniform(0, 0.5)
    direction, disorder = rng.uniform(0, np.pi), rng.uniform(0.1, 1.6)
    edge, side = rng.uniform(0.1, 0.7), rng.uniform(-0.4, 0.4)
    streaks = 0.06 * rng.random() * fractal_field(shape, rng, rng.uniform(0.8, 2))
    count = int(np.clip(rng.uniform(0.1, 1.2) * max(shape) / radius, 1, 25))
    for depth in np.linspace(0.4, 1, count).tolist():
        half = radius * float(np.exp(spread * rng.standard_normal()))
        across = strand(shape, rng, direction + disorder * rng.uniform(-1, 1)) / half
        inside = np.abs(across) < 1.6
        t = across[inside]
        round_ = np.sqrt(np.maximum(1 - t**2, 0))
        bright = depth * (0.45 + edge * (1 - round_) ** 2 + side * t + streaks[inside])
        under = image[inside] * np.clip(np.abs(t) - 0.6, 0.3, 1)
        cover = np.clip((1 - np.abs(t)) * half + 0.5, 0, 1)
        image[inside] = under + cover * (bright - under)
    return image


def coating(shape: Shape, rng: Rng) -> Image:
    """A polished cross-section in atomic-number contrast: layers, pores, cracks, second phases."""
    tilt = pick(rng, (0.0, np.pi / 2)) + rng.normal(0, 0.15)
    down, _ = turned(*coordinates(shape), tilt)
    image = layer(shape, rng)
    top = float(down.min())
    for _ in range(int(rng.integers(1, 4))):
        top += log_uniform(rng, 40, 300)
        wave = log_uniform(rng, 1, 15) * fractal_field(shape, rng, rng.uniform(2.2, 3.4))
        depth = down - top + wave + rng.uniform(0, 20) * smooth_field(shape, rng, 150)
        image = image + np.clip(depth, 0, 1) * (layer(shape, rng) - image)
        seam = np.exp(-((depth / rng.uniform(1, 6)) ** 2)) * (smooth_field(shape, rng, 25) > 0)
        image = image + rng.uniform(-0.3, 0.2) * seam
    return np.maximum(image * (1 - cracks(shape, rng)), 0) + debris(shape, rng)


def layer(shape: Shape, rng: Rng) -> Image:
    """Grey of one layer: a matrix, perhaps with grains, other phases and pores."""
    grey = rng.uniform(0.15, 1) + rng.uniform(0, 0.03) * fractal_field(shape, rng, 2)
    if rng.random() < 0.3:
        size = log_uniform(rng, 12, 150)
        grain = cells(*warped(shape, rng, size, 0.1 * size), size, rng)
        grey = grey + rng.uniform(0, 0.1) * grain.each(rng, -1, 1)
    stretch = pick(rng, (1.0, log_uniform(rng, 1, 6)))
    for _ in range(int(rng.integers(0, 3))):
        grey = grey + rng.uniform(-0.4, 0.4) * pores(shape, rng, stretch=stretch)
    if rng.random() < 0.6:
        hole = pores(shape, rng, stretch=stretch)
        rim = gaussian_blur(hole, 2.0) * (1 - hole)
        grey = grey * (1 - rng.uniform(0.6, 0.95) * hole) + rng.uniform(0, 0.4) * rim
    return np.maximum(grey, 0.03)


def cracks(shape: Shape, rng: Rng) -> Image:
    """Depth of cracks that follow some of the seams of large cells, often none."""
    if rng.random() < 0.5:
        return np.zeros(shape, np.float32)
    size = log_uniform(rng, 80, 400)
    y, x = warped(shape, rng, 0.3 * size, 0.05 * size)
    cell = cells(y * rng.uniform(0.3, 1), x, size, rng)
    open_ = np.maximum(smooth_field(shape, rng, size) - rng.uniform(-0.5, 0.8), 0)
    return 0.9 * np.exp(-((cell.edge_px / (0.3 + rng.uniform(0.5, 2) * open_)) ** 2)) * (open_ > 0)
