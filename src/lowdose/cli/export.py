"""``lowdose export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lowdose.cli.lines import one_line
from lowdose.cli.output import check_new_file


def export(
    model: Annotated[
        str, typer.Argument(help="Name of shipped weights, or a .safetensors file.")
    ] = "everyday",
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Ends in .onnx; by default NAME.onnx.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Write a network as an ONNX file, for programs that run without Python.

    The file takes images of any size that is a multiple of the stride it states. What to do
    before and after the network is shown in examples/onnx_denoise. Needs the package onnx:
    pip install 'lowdose[onnx]'.

    \b
    Examples:
      lowdose export everyday -o everyday.onnx
      lowdose export runs/mine/weights.safetensors -o mine.onnx
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    target = output or Path(f"{Path(model).stem}.onnx")
    check_new_file(target, ".onnx", is_replaced=overwrite)
    from lowdose.export import export_onnx

    facts = export_onnx(model, target)
    typer.echo(one_line(f"-> {target}  {target.stat().st_size / 1e6:.1f} MB"))
    for name, value in facts.items():
        typer.echo(one_line(f"  {name:<28}{value}"))
