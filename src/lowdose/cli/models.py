"""``lowdose models``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowdose.cli.train import scores

if TYPE_CHECKING:
    from lowdose.records import Record


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
        _training(record),
        _prefixed("before that: ", str(record.training.get("before") or "")),
        _prefixed("validation: ", scores(record.training.get("validation") or {})),
        *(f"{key}: {_figures(value)}" for key, value in record.quality.items()),
        *(f"limit: {sentence}" for sentence in record.limits),
    ]
    wrapped = [
        textwrap.fill(f, 96, initial_indent="  ", subsequent_indent="    ") for f in facts if f
    ]
    return "\n".join([name, *wrapped])


def _training(record: Record) -> str:
    """On what the weights were trained, and for how long; empty where nothing is known."""
    sources, training = record.sources, record.training
    crops = sum(source.get("crops") or 0 for source in sources)
    repositories = {source["repo"] for source in sources if source.get("repo")}
    noun = "repository" if len(repositories) == 1 else "repositories"
    licences = sorted({source["licence"] for source in sources if source.get("licence")})
    steps, hours, device = (training.get(key) for key in ("steps", "hours", "device"))
    duration = [f"{hours:g} hours" if hours else "", str(device or "")]
    known = [
        f"{crops:,} crops of {len(repositories)} {noun}" if crops else "",
        f"{steps:,} steps" if steps else "",
        " on ".join(filter(None, duration)),
    ]
    if known[0] and licences:
        known[0] += f" (licences {', '.join(licences)})"
    return _prefixed("trained on " if known[0] else "trained: ", ", ".join(filter(None, known)))


def _figures(value: Any) -> str:
    """A measured figure, or a table of them."""
    if isinstance(value, Mapping):
        pairs = ((key, each, _figures(each)) for key, each in value.items())
        return ", ".join(
            f"{key} ({text})" if isinstance(each, Mapping) else f"{key} {text}"
            for key, each, text in pairs
        )
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _prefixed(start: str, text: str) -> str:
    return start + text if text else ""
