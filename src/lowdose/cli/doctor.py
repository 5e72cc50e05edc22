"""``lowdose doctor``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from lowdose.cli.lines import one_line


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Say what is installed, what this machine has, and what lowdose would choose on it.

    \b
    Examples:
      lowdose doctor
      lowdose doctor --json > machine.json
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.report.doctor import examine

    if as_json:
        typer.echo(json.dumps(dict(examine()), indent=1, ensure_ascii=False))
        return
    for title, found in examine():  # each section when it is known
        for name, text in _rows(title, found):
            typer.echo(one_line(f"{name:<14}{text}"))


def _rows(title: str, found: Any) -> Iterator[tuple[str, str]]:
    """Lines of a section, its title before the first."""
    if title == "auto":
        for name, each in found.items():
            yield name, f"{_words(each['choice'])}: {each['why']}"
        return
    word = _WORDED.get(title, _words)
    texts = [word(part) for part in (found if isinstance(found, list) else [found])]
    yield from zip([title, *[""] * len(texts)], texts, strict=False)


def _option(found: dict[str, str | None]) -> str:
    if found["version"]:
        return f"{found['package']} {found['version']}"
    return f"{found['package']} is missing: {found['without']}. pip install '{found['install']}'"


def _device(found: dict[str, Any]) -> str:
    return f"{found['name']}: {found['what']}, {found['free_gb']} GB free"


# How one of several findings of a section is put.
_WORDED: dict[str, Callable[[Any], str]] = {"options": _option, "devices": _device}


def _words(found: Any) -> str:
    if not isinstance(found, dict):
        return str(found)
    names = {True: "yes", False: "no", None: "unknown"}
    return ", ".join(
        f"{key} {names[value] if value is None or isinstance(value, bool) else value}"
        for key, value in found.items()
    )
