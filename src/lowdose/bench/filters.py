"""The classical filters of Ede (2018), called as its released script calls them.

The script is ``apply_filters.py`` of the repository Jeffrey-Ede/Electron-Micrograph-Denoiser at
commit 833386fe: it says which library, which parameters, and that each filter gets the noisy image
in float32, scaled to [0, 1] by its own minimum and maximum. The libraries come with ``pip install
lowdose[bench]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
# From [0, 1] to [0, 1].
Filtering = Callable[..., NDArray[Any]]


def gaussian(image: Image, sigma: float = 0.0) -> NDArray[Any]:
    """Gaussian blur of 3×3 pixels, or of a given deviation in pixels."""
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0) if sigma else (3, 3), sigma))


def bilateral(image: Image, color: float = 75.0, space: float = 75.0) -> NDArray[Any]:
    """Bilateral filter, 9 pixels across."""
    import cv2

    return np.asarray(cv2.bilateralFilter(image, 9, color, space))


def median(image: Image, side: int = 3) -> NDArray[Any]:
    """Median of 3×3 pixels."""
    import cv2

    return np.asarray(cv2.medianBlur(image, side))


def wiener(image: Image, side: int = 3) -> NDArray[Any]:
    """Adaptive Wiener filter over 3×3 pixels."""
    from scipy import signal

    with np.errstate(divide="ignore", invalid="ignore"):  # where a window is constant
        return np.asarray(signal.wiener(image, side))


def wavelet(image: Image, **options: Any) -> NDArray[Any]:
    """Soft BayesShrink thresholds of Haar wavelets."""
    from skimage.restoration import denoise_wavelet

    return np.asarray(denoise_wavelet(image, **options))


def chambolle(image: Image, **options: Any) -> NDArray[Any]:
    """Total variation by Chambolle's algorithm, weight 0.1."""
    from skimage.restoration import denoise_tv_chambolle

    return np.asarray(denoise_tv_chambolle(image, **options))


def bregman(image: Image, weight: float = 0.1) -> NDArray[Any]:
    """Anisotropic total variation by split Bregman iteration, weight 0.1."""
    from skimage.restoration import denoise_tv_bregman

    options = {"eps": 0.0002, "max_num_iter": 200, "isotropic": False}
    return np.asarray(denoise_tv_bregman(image, weight=weight, **options))


def nl_means(image: Image, **options: Any) -> NDArray[Any]:
    """Non-local means, patches of 7 within 11 pixels, h = 0.1."""
    from skimage.restoration import denoise_nl_means

    return np.asarray(denoise_nl_means(image, **options))


@dataclass(frozen=True)
class Filter:
    """A filter, the packages that its results depend on, and what tuning tries.

    Parameters
    ----------
    run : callable
        With the paper's parameters as defaults.
    packages : sequence of str
        As pip names them.
    grid : mapping of str to sequence
        Values of each parameter; every combination is tried.
    """

    run: Filtering
    packages: Sequence[str]
    grid: Mapping[str, Sequence[Any]]


_OPENCV, _SCIPY = ("opencv-python-headless",), ("scipy",)
_SKIMAGE, _WAVELETS = ("scikit-image",), ("scikit-image", "PyWavelets")

# Grids span what is best between 25 counts and 2500 on the test crops, in steps of at most 2.
FILTERS: Mapping[str, Filter] = {
    "gaussian": Filter(gaussian, _OPENCV, {"sigma": (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)}),
    "bilateral": Filter(
        bilateral, _OPENCV, {"color": (0.03, 0.06, 0.12, 0.25, 0.5, 1.0), "space": (1, 2, 4)}
    ),
    "median": Filter(median, _OPENCV, {"side": (3, 5)}),  # OpenCV has no larger one in float32
    "wiener": Filter(wiener, _SCIPY, {"side": (3, 5, 7, 9)}),
    "wavelet": Filter(
        wavelet,
        _WAVELETS,
        {"wavelet": ("db1", "db2", "sym4"), "method": ("BayesShrink", "VisuShrink")},
    ),
    "chambolle": Filter(
        chambolle, _SKIMAGE, {"weight": (0.0125, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)}
    ),
    "bregman": Filter(bregman, _SKIMAGE, {"weight": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)}),
    "nl-means": Filter(
        nl_means,
        _SKIMAGE,
        # Smaller patches than the paper's: a fifth of the time, and better.
        {"h": (0.0125, 0.025, 0.05, 0.1, 0.15, 0.2), "patch_size": (5,), "patch_distance": (6,)},
    ),
}


def tuned(filtering: Filter) -> Filtering:
    """Let a filter choose its parameters on each image, without the truth [1]_.

    Every combination is run on the image with one pixel in sixteen replaced by its neighbours'
    mean, and the one that predicts the pixels replaced best filters the whole image.

    References
    ----------
    .. [1] J. Batson, L. Royer, ICML 2019, p. 524 (Noise2Self); `calibrate_denoiser` of
       scikit-image.
    """

    def run(image: Image) -> NDArray[Any]:
        from skimage.restoration import calibrate_denoiser

        def single(image: NDArray[Any], **options: Any) -> NDArray[Any]:
            return filtering.run(np.ascontiguousarray(image, np.float32), **options)

        grid = {name: list(values) for name, values in filtering.grid.items()}
        _, (tried, losses) = calibrate_denoiser(image, single, grid, extra_output=True)
        return filtering.run(image, **tried[int(np.argmin(losses))])

    return run


def on_unit_range(run: Filtering) -> Filtering:
    """Filter an image scaled to [0, 1] by its extremes, as float32, and scale the result back."""

    def scaled(image: NDArray[Any]) -> NDArray[Any]:
        low, high = float(image.min()), float(image.max())
        if low == high:
            return image
        unit = ((image.astype(np.float64) - low) / (high - low)).astype(np.float32)
        return run(unit).astype(np.float32).astype(np.float64) * (high - low) + low

    return scaled


def behind_anscombe(run: Filtering) -> Filtering:
    """Filter counts behind the Anscombe transform, where noise has deviation 1 everywhere."""
    import torch

    from lowdose.physics.transform import stabilise, unstabilise

    def transformed(noisy: NDArray[Any]) -> NDArray[Any]:
        stabilised = stabilise(torch.from_numpy(noisy)).double().numpy()
        return unstabilise(torch.from_numpy(np.asarray(run(stabilised), np.float64))).numpy()

    return transformed


def bm3d(stabilised: NDArray[Any]) -> NDArray[Any]:
    """Block matching with collaborative filtering, of an image with noise of deviation 1."""
    from bm3d import bm3d

    return np.asarray(bm3d(stabilised, sigma_psd=1.0))
