"""Simulated micrographs as a camera would record them, with the truth."""

from __future__ import annotations

import numpy as np
import torch

from lowdose.data.simulate import simulate_truth
from lowdose.errors import ConfigError
from lowdose.micrograph import Micrograph
from lowdose.physics.noise import expose


def simulate_exposure(
    kind: str,
    shape: tuple[int, int],
    *,
    dose_e_per_px: float,
    readout_std: float = 0.0,
    seed: int = 0,
) -> tuple[Micrograph, Micrograph]:
    """Draw a truth and record it once.

    Parameters
    ----------
    kind, shape
        See `lowdose.data.simulate.simulate_truth`.
    dose_e_per_px : float
        Mean electrons per pixel.
    readout_std : float
        Readout noise in electrons.
    seed : int
        The same seed gives the same two images.

    Returns
    -------
    noisy, truth : Micrograph
        Recorded electrons, whole numbers as uint16 without readout noise and float32 with it,
        and the electrons expected, float32.

    Raises
    ------
    ConfigError
        If kind, shape, dose or readout noise make no sense.
    """
    if not 0 < dose_e_per_px < 1e4 or not 0 <= readout_std < 1e4:
        raise ConfigError(
            f"dose is {dose_e_per_px:g} and readout noise {readout_std:g} electrons per pixel; "
            "expected a dose above 0 and a readout noise of at least 0, both below 10 000"
        )
    drawn = simulate_truth(kind, shape, rng=np.random.default_rng(seed))
    clean = torch.from_numpy(drawn.pixels)
    rng = torch.Generator().manual_seed(seed)
    electrons = expose(clean, dose_e_per_px, readout_std=readout_std, rng=rng).numpy()
    expected = drawn.pixels * np.float32(dose_e_per_px / drawn.pixels.mean(dtype=np.float64))
    is_whole = readout_std == 0 and electrons.max() < 1 << 16
    note = f"exposed to {dose_e_per_px:g} e/px with readout noise {readout_std:g}, seed {seed}"
    noisy = drawn.with_pixels(electrons.astype(np.uint16 if is_whole else np.float32), note)
    return noisy, drawn.with_pixels(expected)
