"""A report on one denoised micrograph: one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.io.guard import whole_file
from lowdose.report.chart import Curve, draw_chart
from lowdose.report.page_pictures import Overlay, draw_views
from lowdose.report.page_tables import WORDS, Score, findings_table, icon, name_list, scores_table
from lowdose.report.page_viewer import Mark, controls, mark_list, view_figures
from lowdose.trust.finding import Finding, Level


@dataclass(frozen=True)
class Page:
    """All that a report shows. Empty parts are left out of it.

    Parameters
    ----------
    title : str
        The file's name, say.
    verdict : pair of str
        The outcome in one plain sentence, and what follows from it in another.
    level : {"fine", "note", "warning"}
        Of the verdict.
    before, after : ndarray, shape (H, W)
        The recorded and the denoised image, finite.
    overlays : sequence of Overlay
        Maps of the same shape.
    marks : sequence of Mark
        Places to look at.
    pixel_size_nm : pair of float, optional
        (y, x); the scale bar follows x, and counts pixels where it is not given.
    detail : pair of int, optional
        Row and column in the middle of the detail that is shown of a large image.
    findings : sequence of Finding
        Shown with the warnings first.
    scores : sequence of Score
        Shown in their order.
    score_note : str
        What the scores are of, how they were found, and what the interval is.
    curves : sequence of Curve
        Charts.
    facts, provenance : sequence of (str, str)
        Names and texts: what the file is; and what made the result out of what, so that it can be
        made again.

    Raises
    ------
    ValueError
        If images and overlays differ in shape, or hold NaN or infinity.
    """

    title: str
    verdict: tuple[str, str]
    level: Level
    before: NDArray[Any]
    after: NDArray[Any]
    overlays: Sequence[Overlay] = ()
    marks: Sequence[Mark] = ()
    pixel_size_nm: tuple[float, float] | None = None
    detail: tuple[int, int] | None = None
    findings: Sequence[Finding] = ()
    scores: Sequence[Score] = ()
    score_note: str = ""
    curves: Sequence[Curve] = ()
    facts: Sequence[tuple[str, str]] = ()
    provenance: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        named = {"before": self.before, "after": self.after}
        named |= {f"overlay {each.name!r}": each.pixels for each in self.overlays}
        for name, pixels in named.items():
            if pixels.ndim != 2 or pixels.shape != self.after.shape:
                raise ValueError(f"{name} has shape {pixels.shape}; expected {self.after.shape}")
            if not np.isfinite(pixels).all():
                raise ValueError(f"{name} holds NaN or infinity; fill such pixels first")


def write_page(path: Path, page: Page) -> None:
    """Write a report, whole or not at all.

    It is one file of at most 5 MB that asks no network for anything: pictures, style and script
    are in it, and its content security policy forbids the rest. The same page gives the same bytes.

    Parameters
    ----------
    path : Path
        The HTML file.
    page : Page
        What it shows.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    text = compose(page)
    with whole_file(path) as part:
        # A file name that is not UTF-8 holds surrogates; they become question marks.
        part.write_text(text, "utf-8", errors="replace", newline="\n")


def compose(page: Page) -> str:
    """The HTML of a report."""
    style, script = _template("page.css"), _template("page.js")
    step = page.pixel_size_nm[1] if page.pixel_size_nm else None
    views = draw_views(page.before, page.after, page.overlays, detail=page.detail)
    return Template(_template("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        script=script,
        title=escape(page.title),
        level=page.level,
        verdict=_verdict(page),
        views="".join(
            view_figures(view, page.after.shape, step, page.overlays, page.marks) for view in views
        ),
        controls=controls(views, page.overlays, page.marks),
        marks=mark_list(page.marks),
        findings=_section("What was checked", findings_table(page.findings)),
        scores=_section("Error of each method", scores_table(page.scores, page.score_note)),
        curves=_section("Curves", _charts(page.curves)),
        facts=_section("The file", name_list(page.facts)),
        provenance=_section("How it was made", name_list(page.provenance)),
    )


def _template(name: str) -> str:
    return (resources.files("lowdose.report") / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Content security policy: data URIs as images, our own style and script, nothing else."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; "
        f"script-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _verdict(page: Page) -> str:
    first, second = map(escape, page.verdict)
    return (
        f'{icon(page.level)}<div><p class="word">{WORDS[page.level]}</p>'
        f'<p class="first">{first}</p><p>{second}</p></div>'
    )


def _charts(curves: Sequence[Curve]) -> str:
    charts = "".join(draw_chart(curve) for curve in curves)
    return f'<div class="charts">{charts}</div>' if curves else ""
