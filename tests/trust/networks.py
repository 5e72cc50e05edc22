"""Honest results of the shipped network, made once for all tests that plant faults in them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lowdose.data.simulate import simulate_truth
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel

CASES = (("lattice", 100), ("membranes", 20), ("fracture", 500), ("particles", 20), ("cryo", 5))


@dataclass(frozen=True)
class Case:
    noisy: NDArray[np.float32]
    result: NDArray[np.float32]


@cache
def denoiser() -> Denoiser:
    return Denoiser("everyday")


def denoised(noisy: NDArray[np.float32], noise: NoiseModel) -> NDArray[np.float32]:
    return denoiser()(Micrograph(noisy), noise=noise).micrograph.pixels


def exposed(truth: NDArray[np.float64], dose: float, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.poisson(truth / truth.mean() * dose).astype(np.float32)


@cache
def case(kind: str, dose: float) -> Case:
    truth = simulate_truth(kind, (256, 256), rng=np.random.default_rng(1)).pixels
    noisy = exposed(truth.astype(np.float64), dose, 2)
    return Case(noisy, denoised(noisy, NoiseModel(1)))


def blurred(image: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])
    transfer = np.exp(-2 * (np.pi * width) ** 2 * (fy**2 + fx**2))
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, image.shape).astype(np.float32)


@cache
def rows_of_atoms(dose: float) -> Case:
    """Rows along x, 16 px apart, of atoms 12 px apart; one row runs through y = 128."""
    y, x = np.indices((256, 256))
    near_y = (y + 8) % 16 - 8
    near_x = (x + 6) % 12 - 6
    truth = 0.3 + np.exp(-(near_y**2 + near_x**2) / 8)
    noisy = exposed(truth, dose, 3)
    return Case(noisy, denoised(noisy, NoiseModel(1)))
