"""From a file to its report."""

from __future__ import annotations

import html
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lowdose import __version__
from lowdose.batch.choices import NoiseChoice
from lowdose.bench.methods import parse_method, told
from lowdose.corrections import correct
from lowdose.errors import ConfigError, NoiseModelError, OutputError
from lowdose.io import read
from lowdose.io.guard import sha256_of
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.report.facts import describe_file, file_rows
from lowdose.report.page import write_page
from lowdose.report.trust_page import page_of
from lowdose.trust.review import Progress, Review, review

if TYPE_CHECKING:
    from lowdose.infer import Denoiser


# What every report has among its first bytes.
_MARK, _HEAD = "lowdose report", 4096


def report_path(beside: Path) -> Path:
    """Where the report of a file goes, unless it is named.

    Examples
    --------
    >>> report_path(Path("day1/scan.mrc")).name
    'scan_report.html'
    """
    return beside.with_name(f"{beside.stem}_report.html")


def page_beside(result: Path, source: Path) -> Path:
    """Where the report on a result goes: that of a.tif keeps its suffix if a.mrc has one there."""
    page = report_path(result)
    head, title = _head(page), html.escape(source.name)
    is_of_other = _MARK in head and not any(f"<title>{title}{end}" in head for end in (" ", ","))
    return report_path(result.with_name(f"{result.name}.html")) if is_of_other else page


def write_report(
    source: Path,
    target: Path,
    denoiser: Denoiser,
    *,
    choice: NoiseChoice = NoiseChoice(),  # noqa: B008 - frozen
    noise: NoiseModel | None = None,
    nonfinite: Literal["refuse", "fill"] = "refuse",
    repair: bool = False,
    destripe: bool = False,
    dejitter: bool = False,
    rivals: tuple[str, ...] = (),
    frame: int = 0,
    progress: Progress = lambda step, done, total: None,
) -> Review:
    """Denoise a micrograph, test the result, and write what was found as one HTML file.

    Parameters
    ----------
    source : Path
        A noisy micrograph.
    target : Path
        The page; whole or not at all.
    denoiser : Denoiser
        Makes the result.
    choice : NoiseChoice
        What is known of the noise.
    noise : NoiseModel, optional
        That the result was made with; by default it follows from `choice`, or is estimated, of a
        stack from all frames, as `Denoiser` does.
    nonfinite : {"refuse", "fill"}
        As `lowdose.io.read` takes it.
    repair, destripe, dejitter : bool
        What to put right before, see `lowdose.corrections.correct`.
    rivals : tuple of str
        Methods to score beside it, see `lowdose.bench.methods.parse_method`.
    frame : int
        Of a stack, the one that is looked at.
    progress : callable
        Told the step, and how much of it is done.

    Returns
    -------
    Review
        What is on the page.

    Raises
    ------
    InputError, NoiseModelError, ConfigError
        If the file cannot be read, its noise is not as it is said to be, or it has no such frame.
    OutputError
        If the page cannot be written, or would replace a file that is no report.
    """
    _refuse_to_replace(target)
    whole = read(source, nonfinite=nonfinite)
    if not 0 <= frame < whole.frame_count:
        raise ConfigError(f"{source}: has {whole.frame_count} frames, and no frame {frame}")
    micrograph = _frame(whole, frame)
    others = [name for name in rivals if name != denoiser.record.name]
    methods = {name: told(parse_method(name), device=str(denoiser.device)) for name in others}
    try:
        # Of an image that was left alone no noise is told, yet what was put right is there.
        is_told = noise is not None and not noise.is_noise_free
        measured = (noise if is_told else choice.model_for(whole)) or estimate_noise(whole.pixels)
        corrected = correct(
            micrograph, measured, repair=repair, destripe=destripe, dejitter=dejitter
        )
        found = review(
            micrograph,
            denoiser,
            noise=noise or measured,
            corrected=corrected,
            rivals=methods,
            progress=progress,
        )
    except NoiseModelError as err:
        raise NoiseModelError(f"{source}: {err}") from err
    title = source.name if whole.frame_count == 1 else f"{source.name}, frame {frame}"
    page = page_of(
        found,
        title=title,
        facts=_facts(whole, found),
        provenance=_provenance(source, denoiser, found, choice),
    )
    write_page(target, page)
    return found


def _refuse_to_replace(target: Path) -> None:
    """Refuse, before the work is done, where no page can go, and all names but of older reports."""
    folder = target.parent
    if not os.path.isdir(folder):
        raise OutputError(f"{target}: its folder does not exist. Create {folder} first.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{target}: its folder cannot be written to; name another with -o")
    if not os.path.lexists(target):
        return
    if _MARK not in _head(target):
        raise OutputError(f"{target}: exists, and is no report of lowdose; name another file")


def _head(path: Path) -> str:
    """The first of a page; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return ""


def _frame(whole: Micrograph, number: int) -> Micrograph:
    if whole.pixels.ndim == 2:
        return whole
    return Micrograph(
        whole.pixels[number], whole.axes[-2:], whole.metadata, whole.source, whole.history
    )


def _facts(whole: Micrograph, found: Review) -> list[tuple[str, str]]:
    noise, rows = found.denoised.noise, file_rows(describe_file(whole))
    rows += [("noise", f"{noise} ({noise.basis})"), ("note", noise.remark)]
    return [(name, text) for name, text in rows if text]


def _provenance(
    source: Path, denoiser: Denoiser, found: Review, choice: NoiseChoice
) -> list[tuple[str, str]]:
    known = ", ".join(f"{key} {value}" for key, value in vars(choice).items() if value is not None)
    facts = {
        "lowdose": __version__,
        "weights": f"{denoiser.record.name}, SHA-256 {denoiser.record.sha256}",
        "computed on": f"{denoiser.device}, {str(denoiser.dtype).removeprefix('torch.')}",
        "given": known or "nothing; the noise was measured in the image",
        "put right before": str(found.corrected or "") or "nothing",
        "lattice": "set aside" if found.denoised.lattice else "none set aside",
        "looked at": "twice" if found.denoised.twice else "once",
        "input": os.path.abspath(source),
        "input SHA-256": sha256_of(source),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    if found.calibration:
        facts["uncertainty"] = (
            f"as stated by the network, times {found.calibration.factor:.3g}, of which "
            f"{found.calibration.from_image:.3g} follows from this image"
        )
    return list(facts.items())
