"""``lowdose info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lowdose.cli.exits import complain, leave
from lowdose.cli.lines import one_line
from lowdose.errors import InputError, MissingExtraError


def info(
    files: Annotated[list[Path], typer.Argument(help="Micrographs.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """Say what files hold, how noisy they are, and what is odd about the noise.

    \b
    Examples:
      lowdose info scan.dm4
      lowdose info --json *.mrc > facts.json
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.io import read
    from lowdose.report.facts import describe

    found, errors = [], []
    for path in files:
        try:
            found.append(describe(read(path)))
        except (InputError, MissingExtraError) as err:
            errors.append(err)
            complain(err, path)
            continue
        if not as_json:
            typer.echo(_text(found[-1]))
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    leave(errors, len(found) + len(errors))


def _text(facts: dict[str, Any]) -> str:
    rows = [(name, value) for name, value in _rows(facts) if value]
    width = 2 + max(len(name) for name, _ in rows)
    lines = [facts["path"], *(f"  {name:<{width}}{value}" for name, value in rows)]
    return "\n".join(map(one_line, lines))


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    from lowdose.report.facts import file_rows

    noise, electrons = facts["noise"], facts["electrons_per_pixel"]
    file_format, pixels, *others = file_rows(facts)
    values = "  ".join(f"{name} {value:.5g}" for name, value in facts["pixels"].items())
    spread = f" ± {noise['gain_std']:.2g}" if noise["gain_std"] else ""
    return [
        file_format,
        pixels,
        ("frames", str(facts["frames"]) if facts["frames"] > 1 else ""),
        *others,
        *(("history", note) for note in facts["history"]),
        ("values", values),
        ("gain", f"{noise['gain']:.4g}{spread} per electron" if noise["gain"] else ""),
        ("offset", f"{noise['offset']:.4g}" if noise["offset"] else ""),
        ("readout", f"{noise['readout_std']:.3g}" if noise["readout_std"] else ""),
        ("neighbours", _neighbours(*noise["correlation"])),
        ("noise", noise["basis"]),
        ("note", noise["remark"]),
        ("electrons", f"{electrons:.4g} a pixel on average" if electrons else ""),
        ("dose", f"{facts['dose_e_per_a2']:.4g} e/Å²" if facts["dose_e_per_a2"] else ""),
        *((each["name"], _sentence(each)) for each in facts["findings"]),
    ]


def _sentence(finding: dict[str, Any]) -> str:
    """What was found and what to do; nothing where all is fine."""
    if finding["level"] == "fine":
        return ""
    mark = "warning: " if finding["level"] == "warning" else ""
    return f"{mark}{finding['meaning']} {finding['action']}"


def _neighbours(down: float, across: float) -> str:
    if not down and not across:
        return ""
    return f"noise correlated {down:.2g} down and {across:.2g} across"
