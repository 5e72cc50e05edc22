"""Line charts as SVG inside a page: axes, ticks, a legend, dashes that differ in print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Style = Literal["solid", "dashed", "dotted", "dash-dot", "long", "dots"]

_DASHES: dict[Style, str] = {
    "solid": "",
    "dashed": "7 4",
    "dotted": "1.5 3.5",
    "dash-dot": "8 3 1.5 3",
    "long": "14 4",
}
_COLOURS = 6  # page.css names as many, c0 to c5
# In units of the drawing; text is 13 or 14 of them high, so a phone still shows 11 pixels.
_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 10, 48
_CHARACTER = 7.4  # mean width of a character of a tick's label
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Parameters
    ----------
    label : str
        In the legend; lines without one are not listed there.
    x, y : array_like, shape (N,)
        Points in the order they are joined. A line breaks where one is not finite, or not
        positive on a logarithmic axis. All are drawn: thin out thousands of points beforehand.
    style : str, optional
        ``"dots"`` for points that are not joined; by default each line has its own dashes.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    style: Style | None = None


@dataclass(frozen=True)
class Curve:
    """A chart: lines in one pair of axes, with sentences beneath it."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Axis:
    """What an axis shows: from `low` to `high`, powers of ten if it is logarithmic."""

    low: float
    high: float
    is_log: bool

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractions of the axis, NaN for what it cannot show."""
        if self.is_log:
            values = np.log10(np.where(values > 0, values, np.nan))
        return (np.where(np.isfinite(values), values, np.nan) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.is_log:
            return log_ticks(10**self.low, 10**self.high)
        return linear_ticks(self.low, self.high)


def draw_chart(curve: Curve) -> str:
    """Draw a chart as an HTML figure with its title, an inline SVG, a legend and notes.

    Parameters
    ----------
    curve : Curve
        Any text in it is escaped.

    Returns
    -------
    str
        Coloured by the classes ``c0`` to ``c5`` of the page's style sheet.
    """
    points = [_arrays(line) for line in curve.lines]
    across = _axis([x for x, _ in points], curve.log_x, pad=0.0)
    upward = _axis([y for _, y in points], curve.log_y, pad=0.06)
    labels = ", ".join(line.label for line in curve.lines if line.label)
    spoken = escape(f"Chart: {curve.y_label} against {curve.x_label}; {labels}")
    marks = "".join(
        _draw_line(across.place(x), upward.place(y), _style(line, index), index)
        for index, (line, (x, y)) in enumerate(zip(curve.lines, points, strict=True))
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in curve.notes)
    return (
        f'<figure class="chart"><h3>{escape(curve.title)}</h3>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{spoken}">'
        f"{_frame(across, upward, curve)}{marks}</svg>"
        f"{_legend(curve.lines)}<figcaption>{notes}</figcaption></figure>"
    )


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high`.

    Examples
    --------
    >>> linear_ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> linear_ticks(-130, 95)
    [-100.0, -50.0, 0.0, 50.0]
    """
    rough = (high - low) / count
    decade = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * decade / rough))) * decade
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [
        round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)
    ]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, with 2 and 5 times them where there are few.

    Examples
    --------
    >>> log_ticks(1, 1000)
    [1.0, 10.0, 100.0, 1000.0]
    >>> log_ticks(3, 60)
    [5.0, 10.0, 20.0, 50.0]
    >>> log_ticks(41, 44)
    [41.0, 42.0, 43.0, 44.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, (last - first) // 6)
    for factors in ((1,), (1, 2, 5)):
        ticks = [
            factor * 10.0**power for power in range(first, last + 1, stride) for factor in factors
        ]
        shown = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(shown) > 2:
            return shown
    return linear_ticks(low, high, 4)


def number(value: float) -> str:
    """A tick's label: short, with powers of ten written out.

    Examples
    --------
    >>> [number(value) for value in (0.0, -0.25, 1500.0, 2e6, 1e-5)]
    ['0', '−0.25', '1500', '2×10⁶', '10⁻⁵']
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}".replace("-", "−")
    digits, power = f"{value:.3e}".split("e")
    digits = f"{float(digits):g}".replace("-", "−")
    ten = f"10{str(int(power)).translate(_SUPERSCRIPTS)}"
    return {"1": ten, "−1": f"−{ten}"}.get(digits, f"{digits}×{ten}")


def _arrays(line: Line) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(values, np.float64).ravel() for values in (line.x, line.y))
    if x.shape != y.shape:
        raise ValueError(f"line {line.label!r} has {x.size} x and {y.size} y; expected as many")
    return x, y


def _axis(arrays: Sequence[NDArray[np.float64]], is_log: bool, *, pad: float) -> _Axis:
    """Axis that shows all of `arrays` and some `pad` beyond; from 0 to 1 if there is nothing."""
    values = np.concatenate([*arrays, np.empty(0)])
    values = values[np.isfinite(values) & ((values > 0) | (not is_log))]
    if is_log:
        values = np.log10(values)
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-300):
        low, high = low - max(abs(low), 1) / 20, high + max(abs(high), 1) / 20
    margin = pad * (high - low)
    return _Axis(float(low - margin), float(high + margin), is_log)


def _style(line: Line, index: int) -> Style:
    return line.style or list(_DASHES)[index % len(_DASHES)]


def _draw_line(across: NDArray[Any], upward: NDArray[Any], style: Style, index: int) -> str:
    x = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
    y = _HEIGHT - _BOTTOM - upward * (_HEIGHT - _TOP - _BOTTOM)
    shown = np.isfinite(x) & np.isfinite(y)
    colour = f"c{index % _COLOURS}"
    if style == "dots":
        dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[shown], y[shown], strict=True))
        return f'<path class="dots {colour}" d="{dots}"/>'
    starts = shown & ~np.concatenate([[False], shown[:-1]])
    steps = "".join(
        f"{'M' if start else 'L'}{a:.1f} {b:.1f}"
        for a, b, start in zip(x[shown], y[shown], starts[shown], strict=True)
    )
    return f'<path class="line {colour}"{_dashes(style)} d="{steps}"/>'


def _dashes(style: Style) -> str:
    return f' stroke-dasharray="{_DASHES[style]}"' if _DASHES[style] else ""


def _legend(lines: Sequence[Line]) -> str:
    entries = "".join(
        f'<li><svg viewBox="0 0 30 10" aria-hidden="true">{_swatch(_style(line, index), index)}'
        f"</svg>{escape(line.label)}</li>"
        for index, line in enumerate(lines)
        if line.label
    )
    return f'<ul class="legend">{entries}</ul>' if entries else ""


def _swatch(style: Style, index: int) -> str:
    colour = f"c{index % _COLOURS}"
    if style == "dots":
        return f'<path class="dots {colour}" d="M5 5h0M15 5h0M25 5h0"/>'
    return f'<path class="line {colour}"{_dashes(style)} d="M0 5L30 5"/>'


def _frame(across: _Axis, upward: _Axis, curve: Curve) -> str:
    """Grid lines with their numbers, and the two labels."""
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    return "".join(
        (
            *_rows(upward),
            *_columns(across),
            f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>',
            f'<text x="{middle_x:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
            f"{escape(curve.x_label)}</text>",
            f'<text transform="translate(12 {middle_y:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(curve.y_label)}</text>",
        )
    )


def _rows(axis: _Axis) -> Iterator[str]:
    for tick, place in _places(axis):
        y = _HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>'


def _columns(axis: _Axis) -> Iterator[str]:
    """Numbers below the horizontal axis, as many as do not touch each other."""
    free = -math.inf
    for tick, place in _places(axis):
        x = _LEFT + place * (_WIDTH - _LEFT - _RIGHT)
        half = _CHARACTER * len(tick) / 2
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        if x - half > free:
            where = f'x="{min(x, _WIDTH - half):.1f}" y="{_HEIGHT - _BOTTOM + 16}"'
            yield f'<text class="tick" {where} text-anchor="middle">{tick}</text>'
            free = x + half + _CHARACTER


def _places(axis: _Axis) -> Iterator[tuple[str, float]]:
    ticks = axis.ticks()
    places = axis.place(np.array(ticks, np.float64))
    yield from zip(map(number, ticks), places.tolist(), strict=True)
