"""The objective lens: from the wave that leaves a specimen to the image of it.

Lengths are nanometres and spatial frequencies cycles per nanometre, unlike in `fields`.
"""

# numpy types the arithmetic of such arrays as Any:
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lowdose.data.simulate.fields import Image, Shape, turned

MARGIN_PX = 32  # waves repeat at the border of a frame; what a lens spreads over it is cut off


def wavelength_nm(voltage_kv: float) -> float:
    """De Broglie wavelength of a fast electron [1]_.

    References
    ----------
    .. [1] E. J. Kirkland, Advanced Computing in Electron Microscopy (2010), Eq. 2.5.

    Examples
    --------
    >>> round(1000 * wavelength_nm(300), 3)  # pm
    1.969
    """
    rest_kev = 510.99895  # of an electron
    return 1.23984198 / math.sqrt(voltage_kv * (2 * rest_kev + voltage_kv))  # hc in keV nm


@dataclass(frozen=True, slots=True)
class Lens:
    r"""An objective lens and the coherence of its illumination [1]_.

    It turns the phase of a wave by

    .. math:: \chi = \pi \lambda \Delta f k^2 + \tfrac{1}{2} \pi C_s \lambda^3 k^4

    and damps it by the focal spread and the convergence of the beam.

    Parameters
    ----------
    voltage_kv : float
        Accelerating voltage.
    defocus_nm : float
        Negative under focus, where a weak phase object with `cs_mm` is best seen, dark.
    cs_mm : float
        Spherical aberration; near zero, of either sign, in a corrected microscope.
    focal_spread_nm : float
        Standard deviation of the focus, from the spread of energies.
    convergence_mrad : float
        Semi-angle of the illumination.
    astigmatism_nm : float
        The focus differs by twice this between two directions at right angles.
    astigmatism_angle : float
        Direction of the greater focus, in radians.

    References
    ----------
    .. [1] D. B. Williams and C. B. Carter, Transmission Electron Microscopy (2009), Ch. 28.
    """

    voltage_kv: float
    defocus_nm: float
    cs_mm: float = 0.0
    focal_spread_nm: float = 0.0
    convergence_mrad: float = 0.0
    astigmatism_nm: float = 0.0
    astigmatism_angle: float = 0.0

    @property
    def scherzer_nm(self) -> float:
        """The defocus of widest transfer, -1.2 sqrt(Cs lambda); zero without aberration."""
        return -1.2 * math.sqrt(abs(self.cs_mm) * 1e6 * wavelength_nm(self.voltage_kv))

    def transfer(self, ky: Image, kx: Image) -> Image:
        """Complex factor on the wave at frequencies that broadcast, in cycles per nm."""
        wavelength, cs = wavelength_nm(self.voltage_kv), 1e6 * self.cs_mm
        squared = ky**2 + kx**2
        v, u = turned(ky, kx, self.astigmatism_angle)
        focus = self.defocus_nm * squared + self.astigmatism_nm * (v**2 - u**2)
        phase = np.pi * wavelength * focus + 0.5 * np.pi * cs * wavelength**3 * squared**2
        blur = np.pi * wavelength * self.focal_spread_nm * squared
        slope = (self.defocus_nm + cs * wavelength**2 * squared) ** 2 * squared
        spread = (np.pi * 1e-3 * self.convergence_mrad) ** 2 * slope
        return np.exp(-0.5 * blur**2 - spread) * np.exp(-1j * phase)

    def image(self, wave: Image, pixel_size_nm: float) -> Image:
        """Intensity of a wave, shape (H, W), complex, that repeats at the frame's borders."""
        ky, kx = (np.fft.fftfreq(size) / pixel_size_nm for size in wave.shape)
        factor = self.transfer(ky[:, None], kx[None, :]).astype(np.complex64)
        seen = np.fft.ifft2(np.fft.fft2(wave.astype(np.complex64)) * factor)
        return (seen.real**2 + seen.imag**2).astype(np.float32)


def widened(shape: Shape) -> Shape:
    """The frame with a margin on which to draw a wave."""
    return shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX


def trimmed(image: Image) -> Image:
    """The image without the margin."""
    return image[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def faded(wave: Image) -> Image:
    """The wave, led to its mean within the margin, so that nothing jumps where it repeats."""
    fade = np.sin(0.5 * np.pi * (np.arange(MARGIN_PX) + 0.5) / MARGIN_PX) ** 2
    down, along = (
        np.concatenate([fade, np.ones(size - 2 * MARGIN_PX), fade[::-1]]) for size in wave.shape
    )
    mean = wave.mean()
    return mean + (wave - mean) * down[:, None] * along[None, :]
