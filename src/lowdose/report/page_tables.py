"""The tables of a report page, as HTML: findings, scores, and names with what they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lowdose.trust.finding import LEVELS, Finding, Level

WORDS: dict[Level, str] = {"fine": "Fine", "note": "Note", "warning": "Warning"}
# A disc with a tick, a square with an i, a triangle with an exclamation mark: told by shape alone.
_ICONS: dict[Level, str] = {
    "fine": '<circle cx="12" cy="12" r="11"/><path d="M6.5 12.5l4 4 7-8.5"/>',
    "note": '<rect x="1.5" y="1.5" width="21" height="21" rx="4"/><path d="M12 10.5v7M12 6.5v.1"/>',
    "warning": '<path d="M12 1.5L23.5 22.5H.5z" class="body"/><path d="M12 9v6.5M12 19v.1"/>',
}
# Beyond these, numbers are written with a power of ten.
_MOST_DECIMALS, _LARGEST = 7, 1e9


@dataclass(frozen=True)
class Score:
    """Error of one method, as a row of a table.

    Parameters
    ----------
    method : str
        Its name.
    mse : float
        Mean squared error; `score_note` of the page says of what.
    interval : pair of float, optional
        Between which it is confidently.
    psnr : float, optional
        In decibels.
    is_best : bool
        Marks the row.
    """

    method: str
    mse: float
    interval: tuple[float, float] | None = None
    psnr: float | None = None
    is_best: bool = False


def icon(level: Level) -> str:
    """Sign of a level, told by its shape alone."""
    return f'<svg class="icon {level}" viewBox="0 0 24 24" aria-hidden="true">{_ICONS[level]}</svg>'


def findings_table(findings: Sequence[Finding]) -> str:
    """Findings with their level in a sign and a word, warnings first; empty without any."""
    rows = "".join(
        f'<tr><td class="level">{icon(each.level)}<span>{WORDS[each.level]}</span></td>'
        f'<th scope="row">{escape(each.name)}{_against_limit(each)}</th>'
        f"<td>{escape(each.meaning)}</td><td>{escape(each.action) or _none()}</td></tr>"
        for each in sorted(findings, key=lambda each: -LEVELS.index(each.level))
    )
    head = ("Level", "Check", "What it says", "What to do")
    return _table("findings", head, rows) if findings else ""


def scores_table(scores: Sequence[Score], note: str) -> str:
    """Scores with aligned numbers and drawn intervals; empty without any."""
    digits = _decimals([each.mse for each in scores])
    values = [value for each in scores for value in (each.mse, *(each.interval or ()))]
    rows = "".join(
        f'<tr{" class=best" * each.is_best}><th scope="row">{escape(each.method)}'
        f"{'<small>lowest error</small>' * each.is_best}</th>"
        f'<td class="number">{_number(each.mse, digits)}</td>'
        f'<td class="number">{_interval(each, digits)}</td><td>{_whisker(each, values)}</td>'
        f'<td class="number">{_none() if each.psnr is None else f"{each.psnr:.2f}"}</td></tr>'
        for each in scores
    )
    drawn = "Drawn, log scale" if _is_log(values) else "Drawn"
    head = ("Method", "MSE", "Interval", drawn, "PSNR, dB")
    about = f'<p class="about">{escape(note)}</p>' if note else ""
    return _table("scores", head, rows) + about if scores else ""


def name_list(names: Sequence[tuple[str, str]]) -> str:
    """Names and texts as a list of two columns."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in names
    )
    return f"<dl>{rows}</dl>" if names else ""


def _table(kind: str, head: Sequence[str], rows: str) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    return f'<table class="{kind}"><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>'


def _none() -> str:
    return '<span class="none">–</span>'


def _against_limit(finding: Finding) -> str:
    """What decided, where that is a number."""
    if not (math.isfinite(finding.value) and math.isfinite(finding.threshold)):
        return ""
    return f"<small>{finding.value:.3g} (limit {finding.threshold:.3g})</small>"


def _decimals(values: Sequence[float]) -> int | None:
    """Decimals that show three digits of the smallest value, or None where that makes no column.

    Examples
    --------
    >>> _decimals([0.0123, 4.5]), _decimals([1234.5]), _decimals([]), _decimals([2e-18, 1e-16])
    (4, 0, 0, None)
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return 0
    digits = max(2 - math.floor(math.log10(min(sizes))), 0)
    return digits if digits <= _MOST_DECIMALS and max(sizes) < _LARGEST else None


def _number(value: float, digits: int | None) -> str:
    return f"{value:.3g}" if digits is None else f"{value:.{digits}f}"


def _is_log(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis can show them; estimates of an error may be negative."""
    return bool(values) and min(values) > 0


def _interval(score: Score, digits: int | None) -> str:
    if score.interval is None:
        return _none()
    low, high = score.interval
    return f"{_number(low, digits)} – {_number(high, digits)}"


def _whisker(score: Score, values: Sequence[float]) -> str:
    """The interval as a bar and the error as a dot, on an axis that holds all `values`."""
    place = math.log if _is_log(values) else float
    least, most = place(min(values)), place(max(values))
    low, high = score.interval or (score.mse, score.mse)
    left, dot, right = (
        4 + 132 * (place(value) - least) / ((most - least) or 1) for value in (low, score.mse, high)
    )
    return (
        '<svg class="whisker" viewBox="0 0 140 14" aria-hidden="true">'
        f'<path d="M{left:.1f} 7H{right:.1f}M{left:.1f} 3.5v7M{right:.1f} 3.5v7"/>'
        f'<circle cx="{dot:.1f}" cy="7" r="3.5"/></svg>'
    )
