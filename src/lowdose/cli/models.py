"""``lowdose models``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer


def models(
    networks: Annotated[
        bool, typer.Option("--networks", help="List the networks that can be trained instead.")
    ] = False,
) -> None:
    """List the weights that ship, with what was measured of them.

    \b
    Examples:
      lowdose models
      lowdose models --networks
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    if networks:
        from lowdose.models.catalog import CATALOG

        for kind in CATALOG.values():
            typer.echo(f"{kind.name}\n  {kind.summary}\n  {kind.citation}")
        return
    from lowdose.records import shipped

    for name, path in shipped().items():
        typer.echo(_text(name, path))
    if not shipped():
        typer.echo("no weights are shipped with this copy; train some with `lowdose train`")


def _text(name: str, path: Path) -> str:
    from lowdose.records import load_record, parameter_count

    record, megabytes = load_record(name), path.stat().st_size / 1e6
    facts = [
        record.summary,
        f"network {record.network}, {parameter_count(path):,} parameters, {megabytes:.1f} MB, "
        f"SHA-256 {record.sha256[:12]}…",
        *(f"{key}: {value}" for key, value in record.quality.items()),
        *(f"not for: {sentence}" for sentence in record.limits),
    ]
    wrapped = [
        textwrap.fill(f, 96, initial_indent="  ", subsequent_indent="    ") for f in facts if f
    ]
    return "\n".join([name, *wrapped])
