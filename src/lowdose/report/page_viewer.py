"""The viewer of a report page: figures of before and after to lay over each other, and controls.

Without a script, and in print, the figures stand side by side; page.css and page.js do the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lowdose.report.chart import number
from lowdose.report.page_pictures import Layer, Overlay, View

_PRINTED = 320  # width of a printed view in points, about; sizes of pen and letters follow


@dataclass(frozen=True)
class Mark:
    """A square drawn over the image, with a sentence about it.

    Parameters
    ----------
    y, x : float
        Its first row and column.
    size : float
        Its side in pixels.
    text : str
        What is there.
    """

    y: float
    x: float
    size: float
    text: str


def view_figures(
    view: View,
    shape: tuple[int, ...],
    step_nm: float | None,
    overlays: Sequence[Overlay],
    marks: Sequence[Mark],
) -> str:
    """One view: figures of before, after and overlays, to be laid beside or over each other."""
    (top, left), (height, width) = view.corner, view.shape
    caption = _caption(view, shape)
    drawn = "".join(
        f'<figure class="layer overlay"><div class="picture"><img src="{layer.uri}" '
        f'alt="{escape(overlay.name)}, in colour"></div>'
        f"<figcaption>{escape(overlay.name)}: {_legend(overlay, layer)}</figcaption></figure>"
        for overlay, layer in zip(overlays, view.layers, strict=True)
    )
    return (
        f'<div class="view" data-top="{top}" data-left="{left}" data-height="{height}" '
        f'data-width="{width}" data-reduction="{view.reduction}" data-step="{step_nm or ""}" '
        f'data-caption="{caption}"><p class="caption">{caption}</p><div class="pair">'
        f'<figure class="layer before"><div class="picture">'
        f'<img src="{view.before}" alt="The image as recorded">{_ruler(view, step_nm)}</div>'
        "<figcaption>Before</figcaption></figure>"
        f'<figure class="layer after"><div class="picture">'
        f'<img src="{view.after}" alt="The image after denoising">{_marks(view, marks)}</div>'
        f"<figcaption>After</figcaption></figure></div>"
        f'<div class="overlays">{drawn}</div></div>'
    )


def _caption(view: View, shape: tuple[int, ...]) -> str:
    (top, left), (height, width) = view.corner, view.shape
    if view.shape != shape:
        place = f"rows {top} to {top + height - 1}, columns {left} to {left + width - 1}"
        return f"Detail, pixel by pixel: {place}."
    size = f"Whole image, {width} × {height} pixels"
    if view.reduction == 1:
        return f"{size}."
    times = view.reduction
    return (
        f"{size}, shown reduced {times} times: each pixel is the mean of {times} × {times}, "
        "so it looks less noisy than it is."
    )


def _marks(view: View, marks: Sequence[Mark]) -> str:
    """The marks that touch a view, numbered as in the list, in pixels of the image."""
    (top, left), (height, width) = view.corner, view.shape
    return _over(
        view,
        "marks",
        "".join(
            f'<rect class="halo"{_square(mark)}/><rect{_square(mark)}/>'
            f'<text x="{mark.x:g}" y="{mark.y:g}">{index}</text>'
            for index, mark in enumerate(marks, 1)
            if -mark.size < mark.y - top < height and -mark.size < mark.x - left < width
        ),
    )


def _square(mark: Mark) -> str:
    return f' x="{mark.x:g}" y="{mark.y:g}" width="{mark.size:g}" height="{mark.size:g}"'


def _ruler(view: View, step_nm: float | None) -> str:
    """A scale bar for print; on a screen the script draws one that follows the zoom."""
    (top, left), (height, width) = view.corner, view.shape
    unit, step = width / _PRINTED, step_nm or 1
    length = round_length(step * width / 3)
    x, y, long = left + 12 * unit, top + height - 12 * unit, length / step
    return _over(
        view,
        "ruler",
        f'<rect x="{left + 5 * unit:g}" y="{y - 24 * unit:g}" width="{long + 14 * unit:g}" '
        f'height="{31 * unit:g}"/><path d="M{x:g} {y:g}h{long:g}"/>'
        f'<text x="{x + long / 2:g}" y="{y - 8 * unit:g}">{length_words(length, step_nm)}</text>',
    )


def _over(view: View, kind: str, drawn: str) -> str:
    """A drawing over the image, in its pixels, with pen and letters as they suit print."""
    (top, left), (height, width) = view.corner, view.shape
    unit = width / _PRINTED
    return (
        f'<svg class="{kind}" viewBox="{left} {top} {width} {height}" preserveAspectRatio="none" '
        f'stroke-width="{2 * unit:g}" font-size="{13 * unit:g}" aria-hidden="true">{drawn}</svg>'
        if drawn
        else ""
    )


def round_length(most: float) -> float:
    """Largest of 1, 2 and 5 times a power of ten that is not above `most`.

    Examples
    --------
    >>> round_length(153.6), round_length(0.5), round_length(9.9)
    (100.0, 0.5, 5.0)
    """
    decade = 10.0 ** math.floor(math.log10(most))
    return max(factor * decade for factor in (1, 2, 5) if factor * decade <= most)


def length_words(length: float, step_nm: float | None) -> str:
    """A length in nanometres with the unit that suits it; in pixels where no step is known.

    Examples
    --------
    >>> length_words(200, 0.3), length_words(5000, 10.0), length_words(200, None)
    ('200 nm', '5 µm', '200 px')
    """
    if not step_nm:
        return f"{length:g} px"
    for unit, size in (("mm", 1e6), ("µm", 1e3)):
        if length >= size:
            return f"{length / size:g} {unit}"
    return f"{length:g} nm"


def mark_list(marks: Sequence[Mark]) -> str:
    """Numbered texts of the marks, which the script makes buttons that show the place."""
    items = "".join(
        f'<li><button type="button" class="mark" data-y="{mark.y:g}" data-x="{mark.x:g}" '
        f'data-size="{mark.size:g}">{escape(mark.text)}</button></li>'
        for mark in marks
    )
    return (
        f'<div class="mark-list"><h2>Places to look at</h2><ol>{items}</ol></div>' if marks else ""
    )


def controls(views: Sequence[View], overlays: Sequence[Overlay], marks: Sequence[Mark]) -> str:
    """Choice of view, of overlay, and whether marks are drawn; only what there is a choice of."""
    parts = []
    if len(views) > 1:
        parts.append(_choice("View", "view", ["Whole image", "Detail"]))
    if overlays:
        names = ["None", *(overlay.name for overlay in overlays)]
        parts.append(_choice("Overlay", "overlay", names, _legends(views, overlays)))
    if marks:
        parts.append(
            '<label class="check"><input type="checkbox" id="marks" checked> '
            f"Show {len(marks)} marked place{'s' * (len(marks) > 1)}</label>"
        )
    return "".join(parts)


def _choice(title: str, name: str, labels: Sequence[str], more: str = "") -> str:
    """Radio buttons, the first of which is chosen."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{index}"{" checked" * (index == 0)}>'
        f"<span>{escape(label)}</span></label>"
        for index, label in enumerate(labels)
    )
    return f'<fieldset><legend>{title}</legend><div class="choice">{buttons}</div>{more}</fieldset>'


def _legends(views: Sequence[View], overlays: Sequence[Overlay]) -> str:
    """What each overlay shows in each view, one of which is displayed; and its opacity."""
    texts = "".join(
        f'<p class="about" data-view="{index}" data-overlay="{number}" hidden>'
        f"{_legend(overlay, layer)}</p>"
        for index, view in enumerate(views)
        for number, (overlay, layer) in enumerate(zip(overlays, view.layers, strict=True), 1)
    )
    return (
        f'{texts}<label class="opacity" hidden>Opacity '
        '<input type="range" id="opacity" min="0" max="100" value="80"></label>'
    )


def _legend(overlay: Overlay, layer: Layer) -> str:
    low, high = (number(float(f"{value:.2g}")) for value in (layer.low, layer.high))
    unit = f" {escape(overlay.unit)}" if overlay.unit else ""
    return (
        f'{escape(overlay.caption)} <span class="shades"><span>{low}</span>'
        f'<img src="{layer.shades_uri}" alt="to"><span>{high}{unit}</span></span>'
    )
