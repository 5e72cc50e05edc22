"""Units: pixels of a file, electrons, and electrons per area."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import NoiseModelError
from lowdose.micrograph import is_usable


@dataclass(frozen=True)
class NoiseModel:
    r"""How the pixels of a file came from electrons.

    .. math:: p = g \, \mathrm{Poisson}(e) + o + \mathcal{N}(0, r^2)

    so that the variance of a pixel of mean m is :math:`g (m - o) + r^2`. From one image only that
    line is known, not offset and readout noise apart; any split of its intercept between them
    denoises alike.

    Parameters
    ----------
    gain : float
        Pixel units per electron; 0 for an image without shot noise.
    offset : float
        Pixel value without electrons.
    readout_std : float
        Standard deviation of the readout noise, in pixel units.
    gain_std : float
        Standard error of the gain; 0 where it is given or known.
    basis : str
        Where it comes from, in a sentence to print.
    remark : str
        What the user should know or do, in a sentence; empty where all is well.
    correlation : (float, float)
        Of the noise of neighbours along y and along x, where a detector blurred it or an image was
        interpolated. The line above is that of single pixels all the same.

    Raises
    ------
    NoiseModelError
        If gain or readout noise is negative, or anything is not finite.
    """

    gain: float
    offset: float = 0.0
    readout_std: float = 0.0
    gain_std: float = 0.0
    basis: str = "given"
    remark: str = ""
    correlation: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        numbers = self.gain, self.offset, self.readout_std, self.gain_std, *self.correlation
        if not all(map(math.isfinite, numbers)):
            raise NoiseModelError(f"noise is {numbers}; expected finite values")
        if max(map(abs, self.correlation)) >= 1:
            raise NoiseModelError(
                f"neighbours correlate by {self.correlation}; expected less than 1 each"
            )
        if self.gain < 0 or self.readout_std < 0:
            raise NoiseModelError(
                f"gain is {self.gain:g} and readout noise {self.readout_std:g}; expected at least "
                "0 each. For an image with inverted contrast, invert it first."
            )

    @property
    def is_noise_free(self) -> bool:
        """Whether there is nothing to take off: such an image is left as it is."""
        return self.gain == 0

    @property
    def is_of_counts(self) -> bool:
        """Whether all of it is that of electrons of a gain that was not fitted."""
        return self.gain > 0 and self.gain_std == 0 and self.readout_std == 0

    @property
    def readout_electrons(self) -> float:
        """Readout noise in electrons; 0 for a noise-free image."""
        return self.readout_std / self.gain if self.gain else 0.0

    def to_electrons(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Pixels of the file as electrons, in float32.

        Raises
        ------
        NoiseModelError
            If a pixel is NaN or infinite, of which no number of electrons could come.
        """
        check_finite(pixels)
        if self.gain == 1 and self.offset == 0:
            return pixels.astype(np.float32)
        # float64 between: large offsets must not cost the digits of small counts.
        electrons = (pixels.astype(np.float64) - self.offset) / self.gain
        return electrons.astype(np.float32)

    def to_pixels(self, electrons: NDArray[np.float32]) -> NDArray[np.float32]:
        """Electrons as pixels of the file, in float32."""
        if self.gain == 1 and self.offset == 0:
            return electrons.astype(np.float32)
        return (electrons * np.float64(self.gain) + self.offset).astype(np.float32)

    def noise_std(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Noise deviation of pixels of these means, in pixel units."""
        variance = self.gain * (np.asarray(pixels, np.float64) - self.offset) + self.readout_std**2
        return np.sqrt(np.maximum(variance, 0))

    def __str__(self) -> str:
        parts = [f"gain {self.gain:.4g}"]
        if self.gain_std:
            parts[0] += f" ± {self.gain_std:.2g}"
        if self.offset:
            parts.append(f"offset {self.offset:.4g}")
        if self.readout_std:
            parts.append(f"readout noise {self.readout_std:.3g}")
        if any(self.correlation):
            down, across = self.correlation
            parts.append(f"neighbours correlated {down:.2g} down and {across:.2g} across")
        return ", ".join(parts)


def check_finite(pixels: NDArray[Any]) -> None:
    """Refuse pixels that are no numbers.

    Raises
    ------
    NoiseModelError
        If any is NaN, infinite or beyond float32.
    """
    if not is_usable(pixels).all():
        raise NoiseModelError(
            "the image holds NaN or infinite pixels, or some beyond ±3.4e38, which would spread "
            'to their neighbours; expected numbers. lowdose.read(path, nonfinite="fill") puts the '
            "median in their place"
        )


def electrons_per_pixel(dose_e_per_a2: float, pixel_size_nm: tuple[float, float] | None) -> float:
    """Mean electrons per pixel of a dose in e/Å².

    Parameters
    ----------
    dose_e_per_a2 : float
        Electrons per square ångström.
    pixel_size_nm : (float, float) or None
        Of a micrograph, along y and along x.

    Raises
    ------
    NoiseModelError
        If the pixel size is unknown.

    Examples
    --------
    >>> round(electrons_per_pixel(40.0, (0.1, 0.1)), 6)  # 1 Å pixels
    40.0
    """
    if pixel_size_nm is None:
        raise NoiseModelError(
            f"dose {dose_e_per_a2:g} e/Å² needs a pixel size, and none in units of length is "
            f"known; pass --dose in electrons per pixel, {dose_e_per_a2:g} times its area in Å²"
        )
    return dose_e_per_a2 * 100 * math.prod(pixel_size_nm)


def gain_from_dose(mean_pixel: float, dose_e_per_px: float, *, offset: float = 0.0) -> float:
    """Gain that makes an image of this mean hold the stated electrons per pixel.

    Raises
    ------
    NoiseModelError
        If the dose is not positive and finite, or the mean not above the offset.
    """
    if not 0 < dose_e_per_px < math.inf or mean_pixel <= offset:
        raise NoiseModelError(
            f"dose {dose_e_per_px:g} e/px does not fit an image of mean {mean_pixel:g} and offset "
            f"{offset:g}; expected a dose above 0 and a mean above the offset"
        )
    return (mean_pixel - offset) / dose_e_per_px
