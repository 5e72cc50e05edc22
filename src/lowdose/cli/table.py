"""Columns of text that line up, and can be piped."""

from __future__ import annotations

from collections.abc import Sequence

from lowdose.cli.lines import one_line


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with every column as wide as it needs.

    Examples
    --------
    >>> print(table(["a", "b"], [["long", "1"], ["x", "2"]]))
    a     b
    long  1
    x     2
    """
    lines = [[one_line(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = ([f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in cells)
