"""Noise-free micrographs drawn from nothing: truths to add noise to, for training and trying out.

Each kind is drawn by a pure function ``(shape, rng) -> image`` of a module beside this one,
out of the building blocks in `fields`; nearly every number in it is random, so that no two
images are of the same specimen, microscope or magnification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.data.simulate import (
    cryo,
    crystal,
    defects,
    diffraction,
    fracture,
    lattice,
    membranes,
    particles,
    supported,
)
from lowdose.errors import ConfigError
from lowdose.micrograph import Axis, Micrograph

_SMALLEST_PX = 16


@dataclass(frozen=True, slots=True)
class TruthKind:
    """A kind of specimen that can be drawn.

    Parameters
    ----------
    name : str
        Its name on the command line.
    description : str
        What it looks like, in one sentence.
    pixel_size_nm : float
        A typical pixel size.
    draw : callable
        ``draw(shape, rng)`` gives an image of that shape, float32, from 0 to 1.
    """

    name: str
    description: str
    pixel_size_nm: float
    draw: Callable[[tuple[int, int], np.random.Generator], NDArray[np.float32]]


KINDS: Mapping[str, TruthKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            TruthKind(
                "particles",
                "Nanoparticles on a film, self-assembled dots, proteins or vesicles in ice.",
                0.3,
                particles.draw,
            ),
            TruthKind(
                "lattice",
                "Atomic columns or lattice fringes with grains, strain and defects.",
                0.02,
                lattice.draw,
            ),
            TruthKind(
                "membranes",
                "Stained tissue in section: cells, membranes, organelles, cytoplasm.",
                4.0,
                membranes.draw,
            ),
            TruthKind(
                "fracture",
                "Surfaces in a scanning microscope: fractures, powders, fibres, coatings.",
                50.0,
                fracture.draw,
            ),
            TruthKind(
                "defects",
                "Diffraction contrast: dislocations, faults, bend contours, thickness fringes.",
                1.0,
                defects.draw,
            ),
            TruthKind(
                "crystal",
                "Real crystal structures along a zone: HAADF, bright-field STEM and HRTEM.",
                0.01,
                crystal.draw,
            ),
            TruthKind(
                "supported",
                "Crystalline nanoparticles on a carbon film at lattice resolution.",
                0.04,
                supported.draw,
            ),
            TruthKind(
                "cryo",
                "Proteins, capsids and filaments in vitreous ice at cryo-EM defocus.",
                0.15,
                cryo.draw,
            ),
            TruthKind(
                "diffraction",
                "Two beams followed through a foil: dislocations, faults, strained precipitates.",
                1.0,
                diffraction.draw,
            ),
        )
    }
)


def simulate_truth(
    kind: str,
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    pixel_size_nm: float | None = None,
) -> Micrograph:
    """Draw one noise-free micrograph.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    shape : pair of int
        (H, W) in pixels, each at least 16.
    rng : numpy.random.Generator
        Random source; the same state gives the same image.
    pixel_size_nm : float, optional
        Pixel size to put on the axes; the kind's typical one by default. It does not
        change what is drawn.

    Returns
    -------
    Micrograph
        Pixels float32, from exactly 0 to exactly 1.

    Raises
    ------
    ConfigError
        If there is no such kind, or `shape` is too small.
    ValueError
        If `pixel_size_nm` is not positive.

    Examples
    --------
    >>> truth = simulate_truth("lattice", (64, 96), rng=np.random.default_rng(0))
    >>> truth.shape, truth.pixel_size_nm
    ((64, 96), (0.02, 0.02))
    """
    if kind not in KINDS:
        raise ConfigError(f"no kind of truth is called {kind!r}; choose from {', '.join(KINDS)}")
    if min(shape) < _SMALLEST_PX:
        raise ConfigError(
            f"a truth of {shape[0]} x {shape[1]} px is too small; "
            f"ask for at least {_SMALLEST_PX} x {_SMALLEST_PX}"
        )
    record = KINDS[kind]
    step = record.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
    axes = (Axis("y", step, "nm"), Axis("x", step, "nm"))
    metadata: dict[str, Any] = {"simulated": kind}
    return Micrograph(record.draw(shape, rng), axes, metadata, history=(f"simulated: {kind}",))
