"""``lowdose score``."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli import options as opt
from lowdose.cli.exits import note
from lowdose.cli.lines import one_line
from lowdose.cli.progress import Bar
from lowdose.cli.table import table

if TYPE_CHECKING:
    from lowdose.trust.score import Score, Scores

# Filters look at windows of some pixels and some do not stand less.
_LEAST_SIDE = 16


def score(
    file: Annotated[Path, typer.Argument(help="A noisy micrograph, or a stack of frames.")],
    *,
    against: Annotated[
        Path | None,
        typer.Option(help="A second exposure of the same field: even and odd frames, say."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="As in lowdose bench --list-methods; may be repeated. By default the shipped "
            "networks and five filters.",
        ),
    ] = None,
    gain: opt.Gain = None,
    offset: opt.Offset = None,
    readout: opt.Readout = None,
    dose: opt.Dose = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed holds the same electrons out.")
    ] = 0,
    device: opt.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print an object.")] = False,
) -> None:
    """Say how far off each method is on a micrograph, without knowing the truth.

    A fiftieth of the electrons is held out at random, and tests what was made of the rest: the
    squared error that comes out is right on average, whatever the micrograph shows. "input" is
    the noisy image itself. The error is only as good as the gain: where that is estimated, trust
    the order of the methods more than the figures. Of more than a megapixel
    four windows are looked at, of a stack up to sixteen.

    \b
    Examples:
      lowdose score scan.mrc
      lowdose score scan.dm4 --gain 2.5 --method everyday --method nl-means:anscombe:tuned
      lowdose score even.mrc --against odd.mrc
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.bench.methods import default_rivals, identity, parse_method, told
    from lowdose.errors import ConfigError, NoiseModelError
    from lowdose.io import read
    from lowdose.physics.estimate import estimate_noise
    from lowdose.trust.score import score, score_pair

    choice = opt.noise_choice(gain, offset, readout, dose)
    specs = [parse_method(text) for text in method or default_rivals()]
    for spec in specs:
        identity(spec, device=device)  # refuses what there is none of, before anything is read
    micrograph = read(file)
    pixels = micrograph.pixels
    if min(pixels.shape[-2:]) < _LEAST_SIDE:
        size = " x ".join(map(str, pixels.shape))
        raise NoiseModelError(
            f"{file}: {size} pixels are too few to measure an error on; expected sides of at least "
            f"{_LEAST_SIDE}"
        )
    methods = {spec.label: told(spec, device=device) for spec in specs}
    with Bar() as bar:

        def progress(done: int, total: int) -> None:
            bar(one_line(file.name), done, total)

        try:
            noise = choice.model_for(micrograph) or estimate_noise(pixels)
            if against:
                scores = score_pair(pixels, read(against).pixels, noise, methods, progress=progress)
            else:
                scores = score(pixels, noise, methods, seed=seed, progress=progress)
        except NoiseModelError as err:
            raise NoiseModelError(f"{file}: {err}") from err
        except ValueError as err:
            raise ConfigError(f"{file}, {against}: {err}") from err
    if as_json:
        facts = dataclasses.asdict(scores) | {"noise": dataclasses.asdict(noise)}
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    typer.echo(_text(scores))
    if scores.doubt:
        note(f"{file}: {scores.doubt}")
    if noise.remark:
        note(f"{file}: {noise.remark}")


def _text(scores: Scores) -> str:
    """A table, and the verdict in a sentence."""
    from lowdose.trust.score import INPUT

    own = next(each for each in scores.scores if each.name == INPUT)
    rows = [_row(each, scores, own) for each in scores.scores]
    head = ["method", "MSE", "90 % within", "PSNR dB", "of the input's error"]
    rivals = ", ".join(each.name for each in scores.rivals())
    best = f"{scores.best.name} has the least error"
    verdict = f"{best}; {rivals} may be as good." if rivals else f"{best}."
    return f"{table(head, rows)}\n{verdict}"


def _row(score: Score, scores: Scores, own: Score) -> list[str]:
    low, high = score.interval
    return [
        score.name,
        f"{score.mse:.4g}",
        f"{low:.4g} to {high:.4g}",
        f"{score.psnr(scores.peak):.2f}" if math.isfinite(score.psnr(scores.peak)) else "-",
        f"{score.mse / own.mse:.3f}" if own.mse > 0 else "-",
    ]
