"""``lowdose report``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from lowdose.cli import options as opt
from lowdose.cli.exits import complain, leave
from lowdose.cli.lines import one_line
from lowdose.cli.progress import Bar
from lowdose.errors import ConfigError, LowdoseError

# Quick ones: a report should not take minutes.
_RIVALS = "everyday", "fast", "gaussian", "wavelet:anscombe"


def report(
    files: Annotated[list[Path], typer.Argument(help="Noisy micrographs.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="An .html file for one input, a folder for many."),
    ] = None,
    model: opt.Model = "everyday",
    frame: Annotated[int, typer.Option(min=0, help="Of a stack, counted from 0.")] = 0,
    gain: opt.Gain = None,
    offset: opt.Offset = None,
    readout: opt.Readout = None,
    dose: opt.Dose = None,
    repair: opt.Repair = False,
    destripe: opt.Destripe = False,
    dejitter: opt.Dejitter = False,
    device: opt.Device = "auto",
    threads: opt.Threads = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Say how far to trust a denoised micrograph, in one page for the browser.

    Before and after, the uncertainty of each pixel, tests of the noise and of the result, the
    error of each method, and a verdict. The page is one file that loads nothing from anywhere.

    \b
    Examples:
      lowdose report scan.mrc                  writes scan_report.html
      lowdose report scan.dm4 -o for_paper.html --gain 2.5
      lowdose report day1/*.tif -o reports/
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    files = list(dict.fromkeys(files))
    if output and output.suffix and not os.path.isdir(output):
        if output.suffix != ".html":
            raise ConfigError(
                f"{output}: a report is an .html file; name one, or a folder that is there"
            )
        if len(files) > 1:
            raise ConfigError(f"{output}: names one page for {len(files)} files; name a folder")
    choice = opt.noise_choice(gain, offset, readout, dose)
    import torch

    from lowdose.bench.methods import available
    from lowdose.infer import Denoiser
    from lowdose.report.files import write_report

    if threads:
        torch.set_num_threads(threads)
    denoiser, errors = Denoiser(model, device=device), []
    targets = _targets(files, output)
    for number, (file, target) in enumerate(zip(files, targets, strict=True), 1):
        with Bar(is_quiet=quiet) as bar:

            def show(step: str, done: int, total: int) -> None:
                bar(f"{number}/{len(files)} {one_line(file.name)}: {step}", done, total)  # noqa: B023

            try:
                found = write_report(
                    file,
                    target,
                    denoiser,
                    choice=choice,
                    repair=repair,
                    destripe=destripe,
                    dejitter=dejitter,
                    rivals=available(_RIVALS),
                    frame=frame,
                    progress=show,
                )
            except LowdoseError as err:
                bar.hide()
                errors.append(err)
                complain(err, file)
                continue
        if not quiet:
            typer.echo(one_line(f"{file} -> {target}  {found.level}: {' '.join(found.verdict)}"))
    leave(errors, len(files))


def _targets(files: list[Path], output: Path | None) -> list[Path]:
    """A page for each file, of another name each."""
    stems = Counter(file.stem for file in files)
    targets: dict[Path, Path] = {}
    for file in files:
        # a.mrc and a.tif keep their suffix as part of the name.
        is_only = stems[file.stem] == 1
        target = _target(file if is_only else file.with_name(f"{file.name}.html"), output)
        if target in targets:
            raise ConfigError(
                f"{targets[target]} and {file}: both reports would be {target}; pass them one by "
                "one, with another --output each"
            )
        targets[target] = file
    return list(targets)


def _target(file: Path, output: Path | None) -> Path:
    from lowdose.batch.places import make_folder
    from lowdose.report.files import report_path

    beside = report_path(file)
    if output is None:
        return beside
    if output.suffix == ".html" and not os.path.isdir(output):
        return output
    make_folder(output)
    return output / beside.name
