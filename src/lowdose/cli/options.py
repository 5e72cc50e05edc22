"""Options that several commands share."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lowdose.batch import NoiseChoice


# Behind a dose that is per square ångström.
_PER_A2 = "/A2"
_PER_AREA = re.compile(r"(.+?)\s*(?:e-?|electrons)?\s*/\s*([AÅ\u212b]|nm)\^?[2²]", re.IGNORECASE)


def _gain(text: str) -> str:
    """Refuse what is neither a number nor "fit" while the command line is parsed."""
    if text != "fit":
        try:
            float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is neither a number nor 'fit'") from None
    return text


def _dose(text: str) -> str:
    """A number, or one per square ångström, however that is spelled; refuse all else."""
    per_area = _PER_AREA.fullmatch(text)
    try:
        number = float(per_area[1] if per_area else text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise typer.BadParameter(
            f"{text!r} is no dose; expected electrons per pixel, such as 12, or per square "
            f"ångström, such as 40{_PER_A2}"
        )
    if not per_area:
        return str(number)
    return f"{number / 100 if per_area[2].lower() == 'nm' else number}{_PER_A2}"


Model = Annotated[
    str, typer.Option(help="Name of shipped weights (`lowdose models`), or a .safetensors file.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Tile = Annotated[
    int | None,
    typer.Option(min=64, help="Side of the tiles in pixels; by default as free memory allows."),
]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves it to torch.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same noise.")]
Size = Annotated[int, typer.Option(min=16, max=1 << 14, help="Height and width in pixels.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]

Repair = Annotated[
    bool,
    typer.Option("--repair", help="Replace single pixels far above or below their neighbours."),
]
Destripe = Annotated[
    bool,
    typer.Option(
        "--destripe",
        help="Take off what rows or columns are brighter or darker by; thin layers along them go "
        "with it.",
    ),
]
Dejitter = Annotated[
    bool,
    typer.Option(
        "--dejitter",
        help="Put rows back, one by one, that an unsteady scan displaced; add "
        "--repair where single pixels stick out.",
    ),
]

# What is known of the noise; turned into a choice by `noise_choice`.
Gain = Annotated[
    str | None,
    typer.Option(parser=_gain, metavar="NUMBER|fit", help="Pixel units per electron, or fit."),
]
Offset = Annotated[
    float | None, typer.Option(help="Pixel value without electrons; 0 unless given.")
]
Readout = Annotated[float | None, typer.Option(help="Readout noise in pixel units.")]
Dose = Annotated[
    str | None,
    typer.Option(
        parser=_dose,
        metavar="NUMBER|NUMBER/A2",
        help="Mean electrons per pixel of a frame, or per Å² (40/A2), instead of --gain.",
    ),
]


def noise_choice(
    gain: str | None, offset: float | None, readout: float | None, dose: str | None
) -> NoiseChoice:
    """Turn the options into what is known of the noise."""
    from lowdose.batch import NoiseChoice

    known: float | Literal["fit"] | None = None
    if gain is not None:
        known = "fit" if gain == "fit" else float(gain)
    if dose is None:
        return NoiseChoice(known, offset, readout)
    number = float(dose.removesuffix(_PER_A2))
    if dose.endswith(_PER_A2):
        return NoiseChoice(known, offset, readout, dose_per_a2=number)
    return NoiseChoice(known, offset, readout, number)
