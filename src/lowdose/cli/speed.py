"""``lowdose bench speed``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lowdose.cli.lines import one_line
from lowdose.cli.output import made_folder
from lowdose.cli.progress import Bar


def bench_speed(
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for speed.md, .csv and .png.")
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="Weights; the first is what ratios are of.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Others to compare with, see lowdose bench --list-methods."),
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(min=64, max=16384, help="Sides of images in pixels.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=99, help="Each is timed so often.")] = 5,
) -> None:
    """Measure time and memory, as ratios of one run.

    Methods run in turns, so that what else the machine does hits all alike. The page says what
    share of the machine's own matrix product each network reaches.

    \b
    Examples:
      lowdose bench speed -o docs
      lowdose bench speed -o run --model fast --size 512 --size 8192 --rounds 3
      lowdose bench speed -o run --method wavelet:anscombe --method bm3d --size 512
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.bench import speed
    from lowdose.bench.methods import parse_method
    from lowdose.io.guard import whole_file
    from lowdose.records import DEFAULT
    from lowdose.report.plots import draw_growth, need_matplotlib

    need_matplotlib()
    place = made_folder(output)
    others = [parse_method(text) for text in method or []]
    with Bar() as bar:
        speeds = speed.measure(
            model or [DEFAULT],
            others,
            sorted(set(size or speed.SIDES)),
            rounds=rounds,
            progress=lambda label, done, total: bar(one_line(label), done, total),
        )
    draw_growth(speeds.timings, place / "speed.png")
    words = shlex.join(["lowdose", *sys.argv[1:]])
    texts = {
        "speed.csv": speed.as_csv(speeds),
        "speed.md": speed.as_page(speeds, command=words, picture="speed.png"),
    }
    for name, text in texts.items():
        with whole_file(place / name) as part:
            part.write_text(text, "utf-8")
    typer.echo(one_line(f"see {place / 'speed.md'}"))
