"""``lowdose dataset``: build a training set from raw micrographs, and check one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lowdose.cli import options as opt
from lowdose.cli.exits import SOME_FAILED, note, reported
from lowdose.cli.lines import one_line
from lowdose.cli.progress import Bar
from lowdose.cli.table import table

if TYPE_CHECKING:
    from lowdose.data.sets.decide import Verdict

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _dataset() -> None:
    """Build training sets from raw micrographs, and check them.

    \b
    Examples:
      lowdose dataset build micrographs/ -o set/
      lowdose dataset check set/
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b


@app.command()
@reported
def build(
    inputs: Annotated[list[Path], typer.Argument(help="Folders of micrographs, or files.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the data set.")],
    crop: Annotated[int, typer.Option(min=16, help="Side of the crops in pixels.")] = 512,
    shrink: Annotated[int, typer.Option(min=1, help="First add up blocks of N x N pixels.")] = 1,
    split_by: Annotated[
        Literal["specimen", "folder", "file"],
        typer.Option(help="What is never in two splits; specimen: of SPECIMEN__NUMBER names."),
    ] = "specimen",
    groups: Annotated[
        Path | None, typer.Option(help="CSV with a column 'file' and those named next.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column of --groups with the specimen.")] = "",
    split_column: Annotated[str, typer.Option(help="Column of --groups: train, val or test.")] = "",
    keep_splits: Annotated[
        bool, typer.Option("--keep-splits", help="Folders train, val and test are the splits.")
    ] = False,
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Of the crops for train, val and test.")
    ] = (0.8, 0.1, 0.1),
    least_counts: Annotated[
        float,
        typer.Option(help="Reject frames of fewer mean counts a pixel, where known; 0: none."),
    ] = 2500.0,
    most_noise: Annotated[
        float,
        typer.Option(help="Where not: reject frames of more noise, as part of their range."),
    ] = 0.06,
    most_saturated: Annotated[
        float, typer.Option(help="Reject what has more pixels at its lowest or highest value.")
    ] = 0.05,
    gain: Annotated[float, typer.Option(help="Pixel units an electron; 0: as found.")] = 0.0,
    offset: Annotated[
        float, typer.Option(help="Value of a pixel of the file without electrons.")
    ] = 0.0,
    shard_crops: Annotated[int, typer.Option(min=1, help="Crops in a tar file.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed splits otherwise.")] = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Make a training set: choose micrographs, split them by specimen, cut them into tar files.

    A build that was interrupted goes on when it is called again. manifest.csv says of every
    frame what became of it and why.

    \b
    Examples:
      lowdose dataset build micrographs/ -o set/
      lowdose dataset build day1/ day2/ -o set/ --split-by folder --least-counts 0
      lowdose dataset build scans/ -o set/ --groups samples.csv --column specimen
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.data.sets.build import build_dataset
    from lowdose.data.sets.choices import Choices

    named = str(groups) if groups else ""
    choices = Choices(
        crop, shrink, split_by, named, column, split_column, keep_splits, fractions,
        least_counts, most_noise, most_saturated, gain, offset, shard_crops, seed,
    )  # fmt: skip
    with Bar(is_quiet=quiet) as bar:
        built = build_dataset(
            inputs, output, choices, progress=lambda label, *done: bar(one_line(label), *done)
        )
    for text in built.notes:
        note(text)
    if not quiet:
        typer.echo(_splits(built.facts["splits"]))
        typer.echo(_rejected(built.verdicts))


@app.command()
@reported
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the pixels: sizes and names only.")
    ] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check a data set: that every byte is there, and that no split knows another.

    \b
    Examples:
      lowdose dataset check set/
      lowdose dataset check set/ --quick
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.data.sets.check import check_dataset

    with Bar(is_quiet=quiet) as bar:
        checked = check_dataset(
            folder, is_quick=quick, progress=lambda label, *done: bar(one_line(label), *done)
        )
    for problem in checked.problems:
        typer.echo(one_line(f"lowdose: {problem}"), err=True)
    if not quiet:
        typer.echo(_splits(checked.splits))
        count = len(checked.problems)
        typer.echo(f"{count} problem{'s' * (count > 1)}" if count else "all is well")
    if checked.problems:
        raise typer.Exit(SOME_FAILED)


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name, str(part["groups"]), str(part["crops"]), str(len(part["shards"])),
         f"{part['bytes'] / 1e6:.1f} MB"]
        for name, part in splits.items()
    ]  # fmt: skip
    return table(["split", "groups", "crops", "shards", "size"], rows)


def _rejected(verdicts: Sequence[Verdict]) -> str:
    """How many frames are kept, and why others are not, by the first words of the reason."""
    reasons = Counter(
        each.reason.split(":")[0].split(" of ")[0] for each in verdicts if each.reason
    )
    kept = len(verdicts) - reasons.total()
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{kept} frames kept, {reasons.total()} rejected" + (f": {why}" if why else "")
