"""The command ``lowdose``: one file per command; each parses, calls one function and prints."""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated, Any

import typer
import typer.core

from lowdose import __version__
from lowdose.cli.bench import bench
from lowdose.cli.convert import convert_ede2018
from lowdose.cli.dataset import app as dataset
from lowdose.cli.demo import demo
from lowdose.cli.denoise import denoise
from lowdose.cli.doctor import doctor
from lowdose.cli.evaluate import evaluate
from lowdose.cli.exits import EXIT_CODES, reported
from lowdose.cli.export import export
from lowdose.cli.info import info
from lowdose.cli.models import models
from lowdose.cli.report import report
from lowdose.cli.score import score
from lowdose.cli.simulate import simulate
from lowdose.cli.speed import bench_speed
from lowdose.cli.train import train

# Of a name of two words.
_BENCH_SPEED = "bench speed"


class _Commands(typer.core.TyperGroup):
    """Finds ``bench speed`` beside ``bench TRUTHS``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if " ".join(args[:2]) == _BENCH_SPEED:
            return _BENCH_SPEED, self.get_command(ctx, _BENCH_SPEED), args[2:]
        return super().resolve_command(ctx, args)


# Plain text: rich's help takes twice as long to appear and cannot be piped or searched.
app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_COMMANDS = (
    denoise, report, score, info, doctor, simulate, demo, evaluate, bench, models, train, export,
    convert_ede2018,
)  # fmt: skip
for _command in _COMMANDS:
    app.command()(reported(_command))
app.command(_BENCH_SPEED)(reported(bench_speed))
app.add_typer(dataset, name="dataset")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"lowdose {__version__}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def _lowdose(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """Denoise electron micrographs.

    \b
    lowdose demo                       see what it does, in a minute
    lowdose denoise scan.mrc           writes scan_denoised.mrc
    lowdose denoise day1/ -o clean/    every micrograph of a folder
    lowdose info scan.dm4              what a file holds, and how noisy it is
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b


def main() -> None:
    """Run the command line."""
    # Let a job that is told to stop remove its temporary files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # File names may hold bytes that are no text, and a terminal may lack the letter Å.
    handlers = {"stdin": "surrogateescape", "stdout": "backslashreplace"}
    for name, errors in handlers.items():
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    app(prog_name="lowdose")
