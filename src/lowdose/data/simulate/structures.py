"""Crystal structures seen along a low-index zone: where the atomic columns stand, and of what.

Cells, atoms and lattice parameters are those of Wyckoff [1]_, projected along the zone.

.. [1] R. W. G. Wyckoff, Crystal Structures (1963), Vol. 1 and 2.
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lowdose.data.simulate.fields import Image, Rng, pick
from lowdose.data.simulate.lattice import Crystal

_Cell: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
_Materials: TypeAlias = tuple[tuple[float, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Zone:
    """A structure type along one direction.

    Parameters
    ----------
    name : str
        Structure and zone axis.
    cell : pair of pair of float
        A primitive cell of the projection, rows (y, x), in lattice parameters.
    columns : tuple of (float, float, int)
        Each column's place in fractions of the cell, and which of a material's numbers it has.
    materials : tuple of (float, tuple of int)
        Lattice parameter in nm and atomic numbers of each column. A column of two elements
        has the number of one element that scatters as strongly into an annular detector.
    """

    name: str
    cell: _Cell
    columns: tuple[tuple[float, float, int], ...]
    materials: _Materials

    def crystal(self, material: int, pixel_size_nm: float) -> Crystal:
        """The projection in pixels; its heights are the atomic numbers."""
        parameter, numbers = self.materials[material]
        sites = np.array(self.columns)
        atomic = np.array(numbers, dtype=float)[sites[:, 2].astype(int)]
        return Crystal(np.array(self.cell) * (parameter / pixel_size_nm), sites[:, :2], atomic)

    def shortest_nm(self, material: int) -> float:
        """Length of the shorter cell vector."""
        return float(np.hypot(*np.array(self.cell).T).min() * self.materials[material][0])

    def draw(self, rng: Rng, period_px: float) -> tuple[Crystal, float]:
        """One of the materials, the shorter vector `period_px` long, and the pixel size in nm."""
        material = int(rng.integers(len(self.materials)))
        pixel_size_nm = self.shortest_nm(material) / period_px
        return self.crystal(material, pixel_size_nm), pixel_size_nm


def _rectangle(height: float, width: float) -> _Cell:
    return (height, 0.0), (0.0, width)


def _centred(height: float, width: float) -> _Cell:
    return (0.0, width), (height / 2, width / 2)


def _triangle(side: float) -> _Cell:
    return (0.0, side), (side * 0.75**0.5, side / 2)


_H = 0.5**0.5  # half a face's diagonal, in lattice parameters
_ONE = ((0.0, 0.0, 0),)
_TWO = ((0.0, 0.0, 0), (0.5, 0.5, 1))
_COMB = ((1 / 3, 1 / 3, 0), (2 / 3, 2 / 3, 1))
# Au, Pt, Pd, Ag, Al, Ni, Cu
_FCC = tuple(
    (a, (z,))
    for a, z in (
        (0.408, 79), (0.392, 78), (0.389, 46), (0.409, 47), (0.405, 13), (0.352, 28), (0.361, 29),
    )
)  # fmt: skip
_BCC = ((0.287, (26,)), (0.317, (74,)), (0.315, (42,)), (0.330, (41,)))  # Fe, W, Mo, Nb
_DIAMOND = ((0.543, (14, 14)), (0.566, (32, 32)), (0.565, (31, 33)), (0.648, (48, 52)))  # to CdTe
_ROCK_SALT = ((0.421, (12, 8)), (0.418, (28, 8)), (0.593, (82, 16)), (0.424, (22, 7)))  # MgO to TiN
_FLUORITE = ((0.541, (58, 8, 8)), (0.515, (40, 8, 8)), (0.546, (20, 9, 9)))  # CeO2, ZrO2, CaF2
# SrTiO3, LaAlO3, BaTiO3, CsPbBr3: the A column, B with an anion, the anion alone
_PEROVSKITE = (
    (0.391, (38, 24, 8)), (0.379, (57, 16, 8)), (0.401, (56, 24, 8)), (0.587, (55, 94, 35)),
)  # fmt: skip
_RUTILE = ((0.459, (22, 8, 8)), (0.474, (50, 8, 8)), (0.449, (44, 8, 8)))  # TiO2, SnO2, RuO2
_SHEETS = (  # graphene, hBN, MoS2, WSe2, and basal planes of Ti and Co
    (0.246, (6, 6)), (0.250, (5, 7)), (0.316, (42, 24)), (0.328, (74, 51)),
    (0.295, (22, 22)), (0.251, (27, 27)),
)  # fmt: skip

ZONES: tuple[Zone, ...] = (
    Zone("fcc [100]", _rectangle(0.5, 0.5), _ONE, _FCC),
    Zone("fcc [110]", _centred(1, _H), _ONE, _FCC),
    Zone("fcc [111]", _triangle(1 / 6**0.5), _ONE, _FCC),
    Zone("bcc [100]", _rectangle(_H, _H), _ONE, _BCC),
    Zone("bcc [110]", _rectangle(0.5, _H), _ONE, _BCC),
    Zone("bcc [111]", _triangle((2 / 3) ** 0.5), _ONE, _BCC),
    Zone("diamond or zinc blende [110]", _centred(1, _H), (_ONE[0], (-0.25, 0.5, 1)), _DIAMOND),
    Zone("rock salt [110]", _centred(1, _H), (_ONE[0], (0.5, 0, 1)), _ROCK_SALT),
    Zone("fluorite [100]", _rectangle(0.5, 0.5), _TWO, _FLUORITE),
    Zone(
        "fluorite [110]",
        _centred(1, _H),
        (_ONE[0], (-0.25, 0.5, 1), (0.25, 0.5, 2)),
        _FLUORITE,
    ),
    Zone("caesium chloride [100]", _rectangle(1, 1), _TWO, ((0.289, (28, 13)), (0.412, (55, 17)))),
    Zone(
        "ordered fcc (L1_2) [100]",
        _rectangle(1, 1),
        (_ONE[0], (0.5, 0.5, 1), (0, 0.5, 1), (0.5, 0, 1)),
        ((0.375, (79, 29)), (0.357, (13, 28)), (0.387, (26, 78))),  # Cu3Au, Ni3Al, Pt3Fe
    ),
    Zone("perovskite [100]", _rectangle(1, 1), (*_TWO, (0, 0.5, 2), (0.5, 0, 2)), _PEROVSKITE),
    Zone(
        "perovskite [110]",
        _rectangle(1, _H),
        (_ONE[0], (0.5, 0, 1), (0.5, 0.5, 2)),
        _PEROVSKITE,
    ),
    Zone(
        "rutile [001]",
        _rectangle(1, 1),
        (
            (0, 0, 0),
            (0.5, 0.5, 0),
            (0.305, 0.305, 1),
            (-0.305, -0.305, 1),
            (0.805, 0.195, 2),
            (0.195, 0.805, 2),
        ),
        _RUTILE,
    ),
    Zone(
        "rutile [100]",
        _centred(1, 0.644),
        (_ONE[0], (-0.305, 0.61, 1), (0.305, -0.61, 2)),
        _RUTILE,
    ),
    Zone("honeycomb or hcp [0001]", _triangle(1), _COMB, _SHEETS),
    Zone(
        "hcp [11-20]",
        _rectangle(1.6, 0.75**0.5),
        (_ONE[0], (0.5, 1 / 3, 0)),
        ((0.295, (22,)), (0.321, (12,)), (0.251, (27,)), (0.266, (30,))),  # Ti, Mg, Co, Zn
    ),
    Zone(
        "wurtzite [11-20]",
        _rectangle(1.63, 0.75**0.5),
        (_ONE[0], (0.5, 1 / 3, 0), (0.375, 0, 1), (0.875, 1 / 3, 1)),
        ((0.319, (31, 7)), (0.325, (30, 8)), (0.311, (13, 7))),  # GaN, ZnO, AlN
    ),
    Zone(
        "layered oxide [11-20]",
        ((0.0, 0.75**0.5), (4.99 / 3, 0.75**0.5 / 3)),
        (_ONE[0], (0.5, 0.5, 1), (-0.26, 0.78, 2), (0.26, -0.78, 2)),
        ((0.282, (27, 3, 8)), (0.288, (28, 3, 8)), (0.289, (27, 11, 8))),  # LiCoO2 to NaCoO2
    ),
)


def random_crystal(rng: Rng, period_px: float) -> tuple[Crystal, float]:
    """Any material along any zone, and the pixel size in nm at which it is `period_px` fine."""
    return pick(rng, ZONES).draw(rng, period_px)


def reflections(model: Crystal, most: int) -> tuple[Image, Image]:
    """The lowest-order reflections of a projection that the structure does not forbid.

    Returns
    -------
    vectors : ndarray, shape (K, 2)
        In cycles per pixel (y, x), shortest first, one of each pair of opposite ones; K is
        `most` or less.
    factors : ndarray, shape (K,)
        Complex structure factors, the atomic numbers taken as scattering factors.
    """
    i, j = np.mgrid[0:5, -4:5].reshape(2, -1)
    orders = np.stack([i, j], axis=1)[(i > 0) | (j > 0)]
    factors = np.exp(2j * np.pi * orders @ model.basis.T) @ model.heights
    allowed = np.abs(factors) > 1e-6 * model.heights.sum()
    vectors, factors = orders[allowed] @ model.reciprocal, factors[allowed]
    shortest = np.argsort(np.hypot(*vectors.T))[:most]
    return vectors[shortest], factors[shortest]
