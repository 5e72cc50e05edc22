"""``lowdose train``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lowdose.cli import options as opt


def train(
    config: Annotated[Path, typer.Argument(help="TOML file, see configs/.")],
    *,
    folder: Annotated[
        Path | None, typer.Option(help="For checkpoints, log and weights; by default runs/NAME.")
    ] = None,
    device: opt.Device = "auto",
    until: Annotated[int | None, typer.Option(min=1, help="Stop before this step.")] = None,
) -> None:
    """Train a network; a run that was stopped goes on.

    \b
    Examples:
      lowdose train configs/everyday.toml
      lowdose train configs/everyday.toml --folder runs/second --until 1000
      torchrun --nproc-per-node 4 -m lowdose train configs/everyday.toml
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.train.config import load_config

    plan = load_config(config)
    from lowdose.infer import pick_device
    from lowdose.train.loop import train as run

    place = folder or Path("runs") / config.stem
    run(plan, place, device=str(pick_device(device)), report=_Report(), until=until)


class _Report:
    """Prints how a run goes: one line that is rewritten on a terminal, one line each elsewhere."""

    def __init__(self) -> None:
        self._is_live = sys.stdout.isatty()

    def __call__(self, entry: Mapping[str, Any]) -> None:
        is_validation = "loss" not in entry
        text = _validation(entry) if is_validation else _pace(entry)
        # A validation stays; the pace is overwritten by the next one.
        start, end = ("\r\x1b[K", "\n" if is_validation else "") if self._is_live else ("", "\n")
        typer.echo(f"{start}{text}{end}", nl=False)


def _pace(entry: Mapping[str, Any]) -> str:
    pace, last = entry["seconds_per_step"], entry["steps"]
    minutes, seconds = divmod(round((last - entry["step"]) * pace), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"step {entry['step']}/{last}  loss {entry['loss']:.4f}  {1 / pace:.2f} steps/s  "
        f"{hours}:{minutes:02}:{seconds:02} left"
    )


def _validation(entry: Mapping[str, Any]) -> str:
    return f"step {entry['step']}  validation  {scores(entry)}"


def scores(entry: Mapping[str, Any]) -> str:
    """Scores of a validation at each dose; empty where there are none."""
    parts = ("mse", "psnr", "gain_db")
    doses = [key.removeprefix("mse_") for key in entry if key.startswith("mse_")]
    whole = [dose for dose in doses if all(f"{part}_{dose}" in entry for part in parts)]
    return "; ".join(
        f"{dose} e: MSE {entry[f'mse_{dose}']:.3g}, PSNR {entry[f'psnr_{dose}']:.2f} dB "
        f"({entry[f'gain_db_{dose}']:+.2f} to the input)"
        for dose in whole
    )
