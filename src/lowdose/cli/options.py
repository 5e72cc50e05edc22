"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lowdose.batch import NoiseChoice


def _gain(text: str) -> str:
    """Refuse what is neither a number nor "fit" while the command line is parsed."""
    if text != "fit":
        try:
            float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is neither a number nor 'fit'") from None
    return text


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
Offset = Annotated[float | None, typer.Option(help="Pixel value without electrons.")]
Readout = Annotated[float | None, typer.Option(help="Readout noise in pixel units.")]
Dose = Annotated[
    float | None,
    typer.Option(
        help="Mean electrons per pixel, instead of --gain; from e/Å²: times a pixel's area in Å²."
    ),
]


def noise_choice(
    gain: str | None, offset: float | None, readout: float | None, dose: float | None
) -> NoiseChoice:
    """Turn the options into what is known of the noise."""
    from lowdose.batch import NoiseChoice

    known: float | Literal["fit"] | None = None
    if gain is not None:
        known = "fit" if gain == "fit" else float(gain)
    return NoiseChoice(known, offset, readout, dose)
