"""``lowdose denoise``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowdose.cli import options as opt
from lowdose.cli.exits import complain, leave, note
from lowdose.cli.lines import one_line
from lowdose.cli.progress import Bar
from lowdose.errors import LowdoseError

if TYPE_CHECKING:
    from lowdose.batch import Batch, Outcome


def denoise(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, patterns, or - for a list on stdin.")
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="File for one input, folder for many."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Name of shipped weights (`lowdose models`), a .safetensors file, or auto: the "
            "best for each image, by `lowdose score`."
        ),
    ] = "everyday",
    gain: opt.Gain = None,
    offset: opt.Offset = None,
    readout: opt.Readout = None,
    dose: opt.Dose = None,
    dtype: Annotated[
        str, typer.Option(help="float32, float16, uint16, ..., input; auto: input for PNG only.")
    ] = "auto",
    device: opt.Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "float32"],
        typer.Option(help="bf16 is faster where the processor has it."),
    ] = "auto",
    backend: Annotated[
        Literal["auto", "torch", "openvino"],
        typer.Option(help="openvino: faster for the paper's networks, on processors."),
    ] = "auto",
    tile: opt.Tile = None,
    threads: opt.Threads = 0,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Ask the network eight times: 0.1 dB better."),
    ] = False,
    no_lattice: Annotated[
        bool,
        typer.Option("--no-lattice", help="Set no lattice aside, and look once."),
    ] = False,
    repair: opt.Repair = False,
    destripe: opt.Destripe = False,
    dejitter: opt.Dejitter = False,
    uncertainty: Annotated[
        bool,
        typer.Option("--uncertainty", help="Also write OUT_std: each pixel's standard deviation."),
    ] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also write OUT_report.html, as `lowdose report` does."),
    ] = False,
    nonfinite: Annotated[
        Literal["refuse", "fill"], typer.Option(help="What to do about NaN and infinite pixels.")
    ] = "refuse",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs.")] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Denoise micrographs.

    The noise is measured in each image unless --gain or --dose say what it is. Results keep
    the file format, pixel size and header where the format can be written, and are MRC otherwise;
    beside each lies OUT.json that says how it was made. Finished outputs are skipped, so an
    interrupted batch goes on. A lattice that stands out of the noise is set aside first, and what
    is periodic looked at twice, where that leaves less error; the line of a file says so.

    \b
    Examples:
      lowdose denoise scan.mrc                     writes scan_denoised.mrc
      lowdose denoise scan.dm4 -o clean.tif
      lowdose denoise day1/ day2/ -o clean/
      lowdose denoise frames.mrcs --gain 2.5 --offset 100
      lowdose denoise movie_sum.mrc --dose 40/A2   electrons per square ångström
      lowdose denoise scan.mrc --uncertainty       writes scan_denoised_std.mrc as well
      lowdose denoise scan.tif --repair            without hot and dead pixels and X-rays
      lowdose denoise stem.dm4 --destripe          without the stripes of an unsteady scan
      lowdose denoise stem.dm4 --dejitter          with rows back where they belong
      find . -name '*.tif' | lowdose denoise - -o clean/
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.batch import Batch, Engine, Options, find_inputs, plan_jobs
    from lowdose.records import AUTO

    choice = opt.noise_choice(gain, offset, readout, dose)
    options = Options(
        model,
        choice,
        dtype,
        nonfinite,
        uncertainty,
        lattice=not no_lattice,
        repair=repair,
        destripe=destripe,
        dejitter=dejitter,
        ensemble=ensemble,
    )
    listed = sys.stdin if "-" in inputs else ()
    jobs = plan_jobs(find_inputs(inputs, listed=listed), output)
    engine = Engine(device, precision, tile, threads, backend)
    batch = Batch(jobs, options, engine, overwrite=overwrite)
    outcomes: list[Outcome] = []
    places = {job.source: place for place, job in enumerate(jobs, 1)}
    with Bar(is_quiet=quiet) as bar:

        def show(path: Path, done: int, total: int) -> None:
            bar(f"{places[path]}/{len(jobs)} {one_line(path.name)}", done, total)

        for outcome in batch.run(show):
            bar.hide()
            outcomes.append(outcome)
            _print(outcome, is_choice=model == AUTO, is_quiet=quiet)
            if report and not outcome.error:
                outcomes[-1] = _report(outcome, batch, bar)
    _conclude(outcomes, is_quiet=quiet)


def _report(outcome: Outcome, batch: Batch, bar: Bar) -> Outcome:
    """Write the page of a result beside it; what became of both."""
    from lowdose.report.files import page_beside, write_report

    source, target = outcome.source, outcome.target
    assert target is not None  # there is a result
    page = page_beside(target, source)
    if outcome.noise is None:
        if not os.path.exists(page):
            note(f"{source}: was done before without a report; --overwrite makes both")
        return outcome

    def show(step: str, done: int, total: int) -> None:
        bar(f"{one_line(source.name)}: {step}", done, total)

    options = batch.options
    try:
        write_report(
            source,
            page,
            batch.loaded(outcome.model),
            choice=options.noise,
            noise=outcome.noise,
            nonfinite=options.nonfinite,
            repair=options.repair,
            destripe=options.destripe,
            dejitter=options.dejitter,
            progress=show,
        )
    except LowdoseError as err:
        complain(err, source)
        return replace(outcome, error=err)
    finally:
        bar.hide()
    return outcome


def _print(outcome: Outcome, *, is_choice: bool, is_quiet: bool) -> None:
    if outcome.error:
        complain(outcome.error, outcome.source)
    elif not is_quiet:
        typer.echo(one_line(_line(outcome, is_choice=is_choice)))
        if outcome.noise and outcome.noise.remark:
            note(f"{outcome.source}: {outcome.noise.remark}")
        if outcome.stripes_kept:
            note(
                f"{outcome.source}: whole rows or columns are brighter or darker than those beside "
                f"them, by {outcome.stripes_kept:.2g} times the noise of a pixel, and stay so; "
                "unless the specimen is in thin layers along them, pass --destripe"
            )


def _line(outcome: Outcome, *, is_choice: bool) -> str:
    if outcome.is_skipped:
        return f"{outcome.source} -> {outcome.target}  skipped: done before (--overwrite redoes it)"
    size = " x ".join(map(str, outcome.shape))
    noise = f"{outcome.noise} ({outcome.noise.basis})" if outcome.noise else ""
    is_used = outcome.noise is not None and not outcome.noise.is_noise_free
    how = f"  {outcome.model}" if is_choice and is_used else ""
    how += "  lattice set aside" if outcome.lattice else ""
    how += "  looked at twice" if outcome.twice else ""
    how += f"  {outcome.put_right}" if outcome.put_right else ""
    return f"{outcome.source} -> {outcome.target}  {size}  {noise}{how}  {outcome.seconds:.1f} s"


def _conclude(outcomes: list[Outcome], *, is_quiet: bool) -> None:
    """Print a summary of several files, and leave with the code that fits."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    skipped = sum(outcome.is_skipped for outcome in outcomes)
    done = len(outcomes) - len(errors) - skipped
    if len(outcomes) > 1 and not is_quiet:
        typer.echo(f"{done} denoised, {skipped} skipped, {len(errors)} failed")
    leave(errors, len(outcomes))
