"""``lowdose simulate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lowdose.cli import options as opt
from lowdose.cli.lines import one_line
from lowdose.cli.table import table
from lowdose.errors import ConfigError, OutputError


def _list_kinds(is_asked: bool) -> None:
    if is_asked:
        from lowdose.data.simulate import KINDS

        rows = [
            [kind.name, f"{kind.pixel_size_nm:g} nm", kind.description] for kind in KINDS.values()
        ]
        typer.echo(table(["kind", "pixel", "what"], rows))
        raise typer.Exit


def simulate(
    kind: Annotated[str, typer.Argument(help="What to draw, see --list.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The noisy image.")],
    dose: Annotated[float, typer.Option(help="Mean electrons a pixel.")] = 50.0,
    size: opt.Size = 512,
    seed: opt.Seed = 0,
    readout: Annotated[float, typer.Option(help="Readout noise in electrons.")] = 0.0,
    truth: Annotated[
        Path | None, typer.Option(help="The noise-free image; by default OUT_truth beside it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    kinds: Annotated[
        bool, typer.Option("--list", callback=_list_kinds, is_eager=True, help="List the kinds.")
    ] = False,
) -> None:
    """Draw a micrograph with noise, and its truth.

    \b
    Examples:
      lowdose simulate --list
      lowdose simulate lattice -o lattice.mrc --dose 20
      lowdose simulate membranes -o tissue.tif --size 2048 --seed 7 --readout 2
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.data.exposure import simulate_exposure
    from lowdose.io import check_output, write

    # PNG holds whole numbers only.
    suffix = ".mrc" if output.suffix.lower() == ".png" else output.suffix
    truth = truth or output.with_name(f"{output.stem}_truth{suffix}")
    if truth == output:
        raise ConfigError(f"{output}: is named for both the noisy image and the truth")
    for path in (output, truth):
        check_output(path)
        if os.path.lexists(path) and not overwrite:
            raise OutputError(f"{path}: exists. Pass --overwrite to replace it.")
    noisy, clean = simulate_exposure(
        kind, (size, size), dose_e_per_px=dose, readout_std=readout, seed=seed
    )
    write(output, noisy)
    write(truth, clean)
    text = f"{output}  {kind}, {size} x {size}, {dose:g} electrons a pixel; truth: {truth}"
    typer.echo(one_line(text))
