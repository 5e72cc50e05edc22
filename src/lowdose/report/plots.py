"""Figures of a benchmark: densities, errors by position, Fourier profiles, doses, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowdose.bench.doses import Law, in_words, short
from lowdose.bench.methods import NONE
from lowdose.bench.plan import Section
from lowdose.bench.run import Bench, Scored
from lowdose.bench.scores import summarise
from lowdose.bench.speed import Timing
from lowdose.bench.tables import is_series
from lowdose.errors import MissingExtraError
from lowdose.io.guard import whole_file
from lowdose.metrics import psnr
from lowdose.report.picture import Panel, Row, draw_rows, save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110  # 7 inches are then 770 pixels: sharp on a page, small in a repository
_WIDTH = 7.2
_INK, _FILL, _PALE = "0.1", "0.75", "0.55"
# Lines that differ in print without colour.
_DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "osD^v<>PX*"
_SIDE = 200  # pixels of a panel of an example, and
_ZOOM, _INSET = 3, 32  # its inset: so many pixels, so much larger
_COLUMNS = 4


@dataclass(frozen=True)
class _Run:
    """A section at one law, with its results."""

    section: Section
    law: Law
    scored: Sequence[Scored]

    @property
    def labels(self) -> list[str]:
        return list(self.scored[0].results)

    @property
    def title(self) -> str:
        return f"{self.section.title}, {in_words(self.law)}"

    def mean(self, label: str, array: str) -> NDArray[np.float64]:
        """Mean of an array over the images that have it in the most common shape."""
        arrays = [each.results[label].arrays[array] for each in self.scored]
        shape, _ = Counter(each.shape for each in arrays).most_common(1)[0]
        alike = [each for each in arrays if each.shape == shape]
        return np.asarray(np.mean(alike, axis=0, dtype=np.float64))

    def values(self, label: str, figure: str) -> NDArray[np.float64]:
        """A score by the paper's protocol, image by image."""
        return np.array([getattr(each.results[label].score.paper, figure) for each in self.scored])


def need_matplotlib() -> None:
    """Say so before the work if figures cannot be drawn.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("figures need matplotlib. pip install lowdose[bench]")


@dataclass(frozen=True)
class Picture:
    """A figure on disk and what a reader must know of it."""

    path: Path
    caption: str


_CAPTIONS = {
    "density": "Density over images of the paper's error and similarity; the bar is the median.",
    "position": "Mean absolute error by position over blocks of the image, black to white 0.5 to "
    "1.5 times the median, which stands behind the name in units of the noisy image's range; "
    "inset: the upper left 16 × 16 pixels; below: the error by distance from the edge.",
    "fourier": "Mean Fourier magnitude by radius, each image's profile scaled to sum 1.",
    "doses": "Mean over images at fixed doses.",
    "example": "The middle of an image, with a detail three times as large in its corner.",
}


def draw_figures(bench: Bench, folder: Path) -> list[Picture]:
    """Draw every figure that the plan asks for; PNG, grey, each whole or not at all.

    Returns
    -------
    list of Picture
        In the order of a page.

    Raises
    ------
    OutputError
        If they cannot be written there.
    """
    drawn = []
    for kind, name, figure in _figures(bench):
        path = folder / f"{bench.plan.name}-{name}.png"
        _save(figure, path)
        drawn.append(Picture(path, _CAPTIONS[kind]))
    for name, rows in _examples(bench):
        path = folder / f"{bench.plan.name}-{name}.png"
        save_picture(path, draw_rows(rows))
        drawn.append(Picture(path, _CAPTIONS["example"]))
    return drawn


def draw_growth(timings: Sequence[Timing], path: Path) -> None:
    """Draw how time grows with pixels, one line a method; grey lines grow like the pixels.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    figure, ((axes,),) = _new(1, 1, 4.5)
    by_method: dict[str, list[Timing]] = {}
    for timing in timings:
        by_method.setdefault(timing.method, []).append(timing)
    for place, (label, own) in enumerate(by_method.items()):
        axes.loglog(
            [timing.side**2 / 1e6 for timing in own],
            [timing.least for timing in own],
            **_line(place, label),
        )
    ends, limits = np.array(axes.get_xlim()), axes.get_ylim()
    for power in range(-6, 7):
        axes.plot(ends, ends * 10.0**power, color="0.85", lw=0.8, zorder=0)
    axes.set(xlabel="megapixels", ylabel="seconds", xlim=ends, ylim=limits)
    axes.legend(fontsize=7, frameon=False)
    _save(figure, path)


def _line(place: int, label: str) -> dict[str, Any]:
    """Style of a line that differs from the others in print without colour."""
    return {
        "color": _INK, "lw": 1, "ls": _DASHES[place % len(_DASHES)], "ms": 4, "mfc": "w",
        "marker": _MARKERS[place % len(_MARKERS)], "label": label,
    }  # fmt: skip


def _figures(bench: Bench) -> Iterator[tuple[str, str, Figure]]:
    for place, section in enumerate(bench.plan.sections):
        if not section.is_drawn:
            continue
        mark = f"{place}-" if len(bench.plan.sections) > 1 else ""
        if is_series(section):
            yield "doses", f"{mark}doses", _doses(bench, section)
            continue
        for law in section.laws:
            run = _Run(section, law, bench.scored(section, law))
            kinds = {"density": _densities, "position": _positions, "fourier": _profiles}
            for kind, draw in kinds.items():
                if kind != "density" or len(run.scored) > 1:
                    yield kind, f"{mark}{short(law)}-{kind}", draw(run)


def _save(figure: Figure, path: Path) -> None:
    from PIL import Image

    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=_DPI, metadata={"Software": None})
        # Grey needs one byte a pixel, not four.
        with Image.open(part) as picture:
            grey = picture.convert("L")
        grey.save(part, "PNG", optimize=True)


def _new(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Any]:
    """Figure without a window or global state, and its axes, shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure((_WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for each in axes.flat:
        each.tick_params(labelsize=8, direction="in")
        for side in ("top", "right"):
            each.spines[side].set_visible(False)
    return figure, axes


def _densities(run: _Run) -> Figure:
    """One row a method: the density over images of error (logarithmic) and similarity."""
    figure, axes = _new(1, 2, 0.8 + 0.36 * len(run.labels), sharey=True)
    figure.suptitle(f"density over images, with the median; {run.title}", fontsize=10)
    _ridges(axes[0, 0], [np.log10(run.values(label, "mse")) for label in run.labels])
    _ridges(axes[0, 1], [run.values(label, "ssim") for label in run.labels], most=1.0)
    axes[0, 0].set_yticks(range(len(run.labels)), run.labels)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlabel("mean squared error, noisy image's range²", fontsize=9)
    axes[0, 0].xaxis.set_major_formatter(lambda x, _: f"$10^{{{x:g}}}$" if x == int(x) else "")
    axes[0, 0].set_xticks(_decades(axes[0, 0].get_xlim()))
    axes[0, 1].set_xlabel("structural similarity", fontsize=9)
    return figure


def _decades(limits: tuple[float, float]) -> list[int]:
    return list(range(int(np.ceil(limits[0])), int(np.floor(limits[1])) + 1))


def _ridges(axes: Any, samples: Sequence[NDArray[np.float64]], *, most: float = np.inf) -> None:
    """Densities one below the other, each to the same height, with a bar at the median."""
    from scipy.stats import gaussian_kde

    low, high = min(map(np.min, samples)), max(map(np.max, samples))
    margin = 0.15 * (high - low)
    grid = np.linspace(low - margin, min(high + margin, most), 300)
    for place, sample in enumerate(samples):
        if np.ptp(sample) > 0:
            density = gaussian_kde(sample)(grid)
            top = place - 0.8 * density / density.max()
            axes.fill_between(grid, place, top, color=_FILL, lw=0, zorder=2 + 0.01 * place)
            axes.plot(grid, top, color=_INK, lw=0.8, zorder=2 + 0.01 * place)
        axes.plot(2 * [np.median(sample)], [place, place - 0.45], color=_INK, lw=2, zorder=3)


def _positions(run: _Run) -> Figure:
    """Map of each method's mean absolute error, its corner pixel by pixel, and below the error by
    distance from the edge.
    """
    columns = min(5, len(run.labels))
    rows = -(-len(run.labels) // columns)
    heights = {"height_ratios": rows * [2.2, 1]}
    figure, axes = _new(2 * rows, columns, 0.6 + 2.5 * rows, gridspec_kw=heights)
    figure.suptitle(f"mean absolute error by position; {run.title}", fontsize=10)
    for each in axes.flat:
        each.axis("off")
    for place, label in enumerate(run.labels):
        row, column = divmod(place, columns)
        _map(axes[2 * row, column], run, label)
        _rim(axes[2 * row + 1, column], run.mean(label, "rim"))
    figure.supxlabel("distance from the nearest edge, pixels", fontsize=9)
    figure.supylabel("error, relative to 32 to 63 pixels inside", fontsize=9)
    return figure


def _map(axes: Any, run: _Run, label: str) -> None:
    blocks, corner = run.mean(label, "blocks"), run.mean(label, "corner")
    level = float(np.median(blocks))
    limits = {"vmin": 0.5, "vmax": 1.5, "cmap": "gray"}
    axes.imshow(blocks / level, extent=(0, 1, 1, 0), **limits)
    inset = axes.inset_axes((0.54, -0.02, 0.48, 0.48))
    inset.imshow(corner / level, **limits)
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set(color="w", linewidth=1.5)
    axes.set_title(f"{label}, {1e3 * level:.1f}e-3", fontsize=8)


def _rim(axes: Any, rim: NDArray[np.float64]) -> None:
    inside = np.nanmean(rim[len(rim) // 2 :]) if np.isfinite(rim).all() else np.nanmean(rim)
    axes.axis("on")
    axes.axhline(1, color=_FILL, lw=0.8)
    axes.plot(rim / inside, color=_INK, lw=1)
    axes.set(xlim=(0, 48), ylim=(0.75, 2.05), xticks=(0, 20, 40), yticks=(1, 1.5, 2))
    axes.tick_params(labelsize=7)


def _profiles(run: _Run) -> Figure:
    """Radial Fourier profiles: each method's against those of the noisy image and the truth."""
    labels = [label for label in run.labels if label != NONE] or run.labels
    columns = min(5, len(labels))
    rows = -(-len(labels) // columns)
    figure, axes = _new(rows, columns, 0.9 + 1.6 * rows, sharex=True, sharey=True)
    figure.suptitle(f"Fourier magnitude by radius; {run.title}", fontsize=10)
    noisy, truth = run.mean(NONE, "radial"), run.mean(NONE, "radial_truth")
    for label, place in zip(labels, axes.flat, strict=False):
        _profile(place, noisy, _PALE, lw=2.5)
        _profile(place, truth, _INK, lw=1, ls=":")
        _profile(place, run.mean(label, "radial"), _INK, lw=1)
        place.set_title(label, fontsize=8)
    for place in axes.flat[len(labels) :]:
        place.axis("off")
    axes[0, 0].legend(["noisy", "truth", "filtered"], fontsize=7, frameon=False)
    figure.supxlabel("spatial frequency, cycles per pixel", fontsize=9)
    figure.supylabel("mean magnitude, share of the sum", fontsize=9)
    return figure


def _profile(axes: Any, profile: NDArray[np.float64], color: str, **line: Any) -> None:
    # The last radius is that of the corner, sqrt(1/2) cycles per pixel; 0 is the mean. The last
    # few radii are means over a handful of frequencies.
    frequency = np.arange(len(profile)) * (0.5**0.5 / (len(profile) - 1))
    shown = slice(1, round(0.98 * len(profile)))
    axes.semilogy(frequency[shown], profile[shown], color=color, **line)
    axes.set_xlim(0, 0.71)


def _doses(bench: Bench, section: Section) -> Figure:
    """PSNR, and the error in units of the noisy image's, against the dose."""
    figure, axes = _new(2, 1, 6.5, sharex=True)
    figure.suptitle(f"{section.title}: mean over images, by dose", fontsize=10)
    for place, spec in enumerate(section.methods):
        laws = [law for law in section.laws if spec.runs_at(law)]
        found = [summarise([s.scores for s in bench.scored(section, law)]) for law in laws]
        own = [next(s for s in each if s.method == spec.label) for each in found]
        style = _line(place, spec.label)
        axes[0, 0].semilogx(laws, [s.psnr[0] for s in own], **style)
        axes[1, 0].loglog(laws, [s.ratio[0] for s in own], **style)
    axes[0, 0].set_ylabel("PSNR, dB", fontsize=9)
    axes[1, 0].set_ylabel("squared error / that of the noisy image", fontsize=9)
    axes[1, 0].set_xlabel("dose, counts at the brightest pixel", fontsize=9)
    axes[0, 0].legend(fontsize=7, frameon=False, ncols=2)
    return figure


def _examples(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """Noisy image, every estimate and the truth, with insets; rows of panels."""
    for place, section in enumerate(bench.plan.sections):
        if not section.is_drawn or is_series(section):
            continue
        mark = f"{place}-" if len(bench.plan.sections) > 1 else ""
        shown = {subject.truth.name for subject in section.subjects}
        for law in section.laws:
            for number, name in enumerate(n for n in bench.plan.examples if n in shown):
                yield f"{mark}{short(law)}-example-{number}", _example(bench, section, law, name)


def _example(bench: Bench, section: Section, law: Law, name: str) -> list[Row]:
    exposure, estimates = bench.example(section, law, name)
    truth = exposure.truth
    panels = [_panel(truth, truth, "truth")] + [
        _panel(each, truth, f"{label}  {psnr(each, truth, data_range=float(np.ptp(truth))):.1f} dB")
        for label, each in estimates.items()
    ]
    title = (
        f"{name}, {truth.max():.0f} counts at the brightest pixel, {truth.mean():.0f} on average"
    )
    starts = range(0, len(panels), _COLUMNS)
    return [
        Row(None if start else title, panels[start : start + _COLUMNS], reference=truth)
        for start in starts
    ]


def _panel(image: NDArray[Any], truth: NDArray[Any], caption: str) -> Panel:
    """The middle of an image, with the part of the strongest structure enlarged in its corner."""
    top, left = (max(0, (side - _SIDE) // 2) for side in truth.shape)
    window = slice(top, top + _SIDE), slice(left, left + _SIDE)
    shown, clean = image[window].astype(np.float32), truth[window].astype(np.float32)
    if min(shown.shape) <= 2 * _INSET:
        return Panel(shown, caption)
    y, x = _busiest(clean)
    detail = np.kron(shown[y : y + _INSET, x : x + _INSET], np.ones((_ZOOM, _ZOOM), np.float32))
    framed = np.pad(detail, ((2, 0), (2, 0)), constant_values=np.inf)
    shown = shown.copy()
    shown[-framed.shape[0] :, -framed.shape[1] :] = framed[-shown.shape[0] :, -shown.shape[1] :]
    return Panel(shown, caption)


def _busiest(clean: NDArray[np.float32]) -> tuple[int, int]:
    """Corner of the window with the largest variance, on a coarse grid."""
    height, width = (side - _INSET for side in clean.shape)
    places = [(y, x) for y in range(0, height, 8) for x in range(0, width, 8)]
    return max(places, key=lambda p: float(clean[p[0] : p[0] + _INSET, p[1] : p[1] + _INSET].var()))
