"""``lowdose evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli import options as opt
from lowdose.cli.lines import one_line
from lowdose.cli.progress import Bar
from lowdose.cli.table import table
from lowdose.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from lowdose.bench.scores import Summary
    from lowdose.infer import Denoiser


def evaluate(
    *,
    truth: Annotated[Path, typer.Option(help="Noise-free file, or folder of them.")],
    dose: Annotated[
        str | None,
        typer.Option(
            help="Expose the truths: low, low-uniform, ordinary, or counts at the brightest."
        ),
    ] = None,
    noisy: Annotated[Path | None, typer.Option(help="Or a file with noise, of one truth.")] = None,
    denoised: Annotated[
        Path | None, typer.Option(help="The estimate to score with --noisy; else the model's.")
    ] = None,
    model: opt.Model = "everyday",
    gain_known: Annotated[
        bool, typer.Option("--gain-known", help="Also tell the model that pixels are counts.")
    ] = False,
    seed: opt.Seed = 0,
    names: Annotated[
        Path | None, typer.Option(help="Text file: names of the truths to take, one a line.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the scores of each image there.")] = None,
    device: opt.Device = "auto",
) -> None:
    """Score a model, or a denoised file, against the truth: quick figures on the terminal.

    "paper" columns follow the protocol of Ede (2018), in units of the noisy image's range; the
    others are in counts, nothing clipped or rescaled, with the truth's range. "error" is the
    squared error divided by that of the noisy image: mean, and the worst image. Several methods,
    tables and figures: lowdose bench.

    \b
    Examples:
      lowdose evaluate --truth clean/ --dose low
      lowdose evaluate --truth clean/ --dose 100 --csv scores.csv
      lowdose evaluate --truth scan_truth.mrc --noisy scan.mrc --denoised scan_denoised.mrc
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    if (dose is None) == (noisy is None):
        raise ConfigError("give either --dose to expose the truths, or --noisy with a file")
    if dose and denoised:
        raise ConfigError("--denoised goes with --noisy: it cannot be scored on other noise")
    if noisy and (names or gain_known):
        raise ConfigError("--names and --gain-known go with --dose")
    if csv and not csv.parent.is_dir():  # said before the work
        raise OutputError(f"{csv}: its folder does not exist. Create {csv.parent} first.")
    from lowdose.bench import evaluate as bench
    from lowdose.bench.doses import parse_law
    from lowdose.bench.methods import build, parse_method
    from lowdose.bench.scores import summarise, write_csv
    from lowdose.data.truths import load_truths

    def load() -> Denoiser:
        from lowdose.infer import Denoiser

        return Denoiser(model, device=device)

    if noisy:
        images = [bench.evaluate_files(truth, noisy, denoised, load=load)]
    else:
        law, truths = parse_law(str(dose)), bench.select(load_truths([truth]), names)
        wanted = [model, f"{model}:gain-known"] if gain_known else [model]
        methods = [build(parse_method(text), device=device) for text in wanted]
        images = []
        with Bar() as bar:
            for image in bench.evaluate_truths(truths, methods, dose=law, seed=seed):
                images.append(image)
                bar(one_line(image.name), len(images), len(truths))
    typer.echo(_text(summarise(images)))
    if len(images) > 1:
        typer.echo(f"{len(images)} images; ± is the deviation over them")
    if csv:
        write_csv(csv, images)


def _text(summaries: list[Summary]) -> str:
    head = ["method", "paper MSE e-3", "paper SSIM", "MSE", "PSNR dB", "SSIM", "error", "worst"]
    return table(head, [_row(summary) for summary in summaries])


def _row(summary: Summary) -> list[str]:
    mse, deviation = summary.paper_mse
    return [
        summary.method,
        _with_spread((1e3 * mse, 1e3 * deviation), ".3f"),
        _with_spread(summary.paper_ssim, ".3f"),
        _with_spread(summary.mse, ".3g"),
        _with_spread(summary.psnr, ".2f"),
        _with_spread(summary.ssim, ".3f"),
        _with_spread(summary.ratio, ".3f"),
        f"{summary.worst[0]:.3f} {summary.worst[1]}" if summary.method != "none" else "",
    ]


def _with_spread(pair: tuple[float, float], digits: str) -> str:
    mean, deviation = pair
    return f"{mean:{digits}}" + ("" if math.isnan(deviation) else f" ± {deviation:{digits}}")
