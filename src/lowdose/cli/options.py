"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str, typer.Option(help="Name of shipped weights (`lowdose models`), or a .safetensors file.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Tile = Annotated[
    int | None, typer.Option(min=16, help="Side of the tiles in pixels; by default as memory has.")
]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves it to torch.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same noise.")]
Size = Annotated[int, typer.Option(min=16, max=1 << 14, help="Height and width in pixels.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
