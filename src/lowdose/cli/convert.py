"""``lowdose convert-ede2018``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowdose.cli.lines import one_line
from lowdose.cli.output import check_new_file
from lowdose.cli.progress import Bar

if TYPE_CHECKING:
    from lowdose.models.ede2018 import Checkpoint
    from lowdose.records import Record


def convert_ede2018(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder, .index file or common start of a checkpoint's names.")
    ],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Ends in .safetensors; a .json goes beside it.")
    ] = Path("ede2018.safetensors"),
    image_level: Annotated[
        Literal["released", "figure"],
        typer.Option(help="As in the released script, or as in the paper's figure."),
    ] = "released",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Convert the TensorFlow checkpoint of Ede's atrous encoder-decoder (2018).

    TensorFlow is not needed and nothing in the checkpoint is executed: its variables are read, and
    each one's name, shape and checksum must be right.

    \b
    Examples:
      lowdose convert-ede2018 denoiser/
      lowdose convert-ede2018 denoiser/-178227.index -o ede2018.safetensors
      lowdose denoise scan.mrc --model ede2018.safetensors
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    beside = output.with_suffix(".json")
    check_new_file(output, ".safetensors", beside=(beside,), is_replaced=overwrite)
    import torch

    from lowdose.checkpoint import save_weights
    from lowdose.models.ede2018 import read_checkpoint

    with Bar() as bar:
        found = read_checkpoint(checkpoint, image_level=image_level, progress=bar)
    state = found.network.state_dict()
    record = save_weights(output, state, _record(output.stem, found), dtype=torch.float32)
    for line in _lines(found, record, output):
        typer.echo(one_line(line))


def _record(name: str, found: Checkpoint) -> Record:
    from lowdose.records import Record

    source = {"checkpoint": found.prefix.name, "step": found.step, "sha256": found.digests}
    return Record(
        name,
        "atrous",
        found.options,
        summary=f"atrous encoder-decoder of Ede (2018), from TensorFlow checkpoint "
        f"{found.prefix.name}",
        training={} if found.step is None else {"steps": found.step},
        sources=(source,),
    )


def _lines(found: Checkpoint, record: Record, output: Path) -> Iterator[str]:
    from lowdose.models.catalog import parameter_count
    from lowdose.models.ede2018 import variable_map

    count = len(variable_map(found.network))
    options = ", ".join(f"{key} {value}" for key, value in found.options.items())
    yield f"{found.prefix}: {count} of {count} variables, names, shapes and checksums right"
    if found.ignored:
        yield f"  ignored {len(found.ignored)} that only training needs: {_few(found.ignored)}"
    if found.step is not None:
        yield f"  step {found.step}"
    yield f"  network atrous ({options}), {parameter_count(found.network):,} parameters"
    yield f"-> {output}  SHA-256 {record.sha256}"
    yield f"use it: lowdose denoise scan.mrc --model {shlex.quote(str(output))}"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
