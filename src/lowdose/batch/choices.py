"""What the user asks for, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import ConfigError, NoiseModelError
from lowdose.io.guard import row_blocks
from lowdose.physics.dose import NoiseModel, electrons_per_pixel, gain_from_dose
from lowdose.physics.estimate import allow_for_blur, fit_noise
from lowdose.records import AUTO, DEFAULT, find

if TYPE_CHECKING:
    from lowdose.backends import Backend
    from lowdose.infer import Precision
    from lowdose.micrograph import Micrograph

_DTYPES = ("auto", "input", "float32", "float16", "uint8", "int8", "uint16", "int16")


@dataclass(frozen=True)
class NoiseChoice:
    """What the user says of the noise; nothing by default, so that it is estimated.

    Parameters
    ----------
    gain : float or "fit", optional
        Pixel units per electron, or to fit it even where the values look like counts.
    offset, readout : float, optional
        In pixel units; 0 by default. They go with a gain or a dose.
    dose, dose_per_a2 : float, optional
        Mean electrons per pixel, or per square ångström, instead of a gain.

    Raises
    ------
    ConfigError
        If these do not go together.
    """

    gain: float | Literal["fit"] | None = None
    offset: float | None = None
    readout: float | None = None
    dose: float | None = None
    dose_per_a2: float | None = None

    def __post_init__(self) -> None:
        given = [each for each in (self.gain, self.dose, self.dose_per_a2) if each is not None]
        if len(given) > 1:
            raise ConfigError("--gain and --dose say the same thing twice; give one of them")
        has_rest = self.offset is not None or self.readout is not None
        if has_rest and given in ([], ["fit"]):
            raise ConfigError("--offset and --readout go with --gain NUMBER or --dose; add one")
        if self.gain == 0 and self.readout:
            raise ConfigError(
                "--gain 0 says that there is no noise, and --readout that there is; for readout "
                f"noise alone pass a small gain, such as --gain {self.readout / 1000:g}"
            )
        if isinstance(self.gain, float):
            self._model(self.gain)  # refuses impossible values before any file is read

    def model_for(self, micrograph: Micrograph) -> NoiseModel | None:
        """Noise model of an image, or None where it is to be estimated.

        Whatever is said, it is measured how the noise of neighbours correlates.

        Raises
        ------
        NoiseModelError
            If the offset, the dose or the fit contradicts the image, or its pixel size is unknown.
        """
        pixels = micrograph.pixels
        if self.gain == "fit":
            return fit_noise(pixels)
        dose = self.dose
        if self.dose_per_a2 is not None:
            dose = electrons_per_pixel(self.dose_per_a2, micrograph.pixel_size_nm)
        if dose is not None:
            gain = gain_from_dose(_mean(pixels), dose, offset=self.offset or 0.0)
            return allow_for_blur(self._model(gain), pixels)
        if self.gain is None:
            return None
        model, mean = self._model(self.gain), _mean(pixels)
        if mean < model.offset - model.readout_std:
            raise NoiseModelError(
                f"--offset {model.offset:g} is above the image, whose mean is {mean:.6g}; expected "
                "the pixel value without electrons"
            )
        return allow_for_blur(model, pixels)

    def _model(self, gain: float) -> NoiseModel:
        return NoiseModel(gain, self.offset or 0.0, self.readout or 0.0)


@dataclass(frozen=True)
class Options:
    """What decides a result; a finished output made with other options is not taken for it.

    Parameters
    ----------
    model : str
        Name or file of the weights, or "auto" for the best of them for each image.
    noise : NoiseChoice
        What is known of the noise.
    dtype : str
        Of the output: ``"auto"`` is float32, but the type of the input for PNG, which holds no
        floats; ``"input"`` rounds to the type of the input.
    nonfinite : {"refuse", "fill"}
        What to do about NaN and infinite pixels.
    uncertainty : bool
        Whether to write the standard deviation of each pixel as well.
    lattice : bool
        Whether the waves of a lattice may be set aside, and what is periodic be looked at twice,
        see `lowdose.infer.Denoiser`.
    repair : bool
        Whether to replace single pixels that stick out.
    destripe : bool
        Whether to take off the offsets of rows and columns.
    dejitter : bool
        Whether to put displaced rows back.
    ensemble : bool
        Whether to average over all flips and rotations.
    """

    model: str = DEFAULT
    noise: NoiseChoice = field(default_factory=NoiseChoice)
    dtype: str = "auto"
    nonfinite: Literal["refuse", "fill"] = "refuse"
    uncertainty: bool = False
    lattice: bool = True
    repair: bool = False
    destripe: bool = False
    dejitter: bool = False
    ensemble: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ConfigError(f"--dtype is {self.dtype!r}; expected one of {', '.join(_DTYPES)}")
        if self.model != AUTO:
            find(self.model)


@dataclass(frozen=True)
class Engine:
    """What decides how fast it goes, see `lowdose.infer.Denoiser`."""

    device: str = "auto"
    precision: Precision = "auto"
    tile: int | None = None
    threads: int = 0  # as torch likes
    backend: Backend = "auto"


def _mean(pixels: NDArray[Any]) -> float:
    total = sum(float(rows.sum(dtype=np.float64)) for rows in row_blocks(pixels))
    return total / pixels.size
