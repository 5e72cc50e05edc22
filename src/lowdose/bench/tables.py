"""Tables of a benchmark: CSV for programs, Markdown for people, a few sentences for records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowdose import __version__
from lowdose.bench.doses import in_words, short
from lowdose.bench.methods import NONE, Spec
from lowdose.bench.plan import Plan, Section
from lowdose.bench.run import Bench, Scored
from lowdose.bench.scores import (
    FIGURES,
    Paired,
    Summary,
    image_figures,
    margin,
    paired_difference,
    summarise,
    write_rows,
)
from lowdose.bench.store import PROTOCOL
from lowdose.io.guard import whole_file

# From so many fixed doses on a section is one table of doses instead of one table for each.
_SERIES = 3
# Splits by group are in the CSV alone: there may be dozens.
_GROUP = "group "

_HEAD = """\
# {title}

Made by `lowdose bench TRUTHS -o FOLDER{preset}`, lowdose {version}, protocol {protocol}, {seeds} of
the noise. Image by image: `{name}-scores.csv` in that folder.

The noise is Poisson with fixed seeds; a method is given the noisy counts and nothing else.

- *paper*: the protocol of Ede 2018 (arXiv:1807.11234), in units of the noisy image's range, the
  similarity with the range of the *filtered* image; errors capped at 0.012 and similarities at 0
  and 1 for the means; a network's output clipped to [0, 1].
- All else is in counts with the truth's range, nothing clipped.
- ±: standard deviation over images.
- *margin*: by how many per cent a mean is better than the best of all other methods.
- *bias*: intensity gained or lost.
- *FRC*: spatial frequency, at most 0.5 cycles per pixel, at which the Fourier ring correlation
  with the truth falls below 1/2.
- *worst*: largest ratio of an image's squared error to that of its noisy input; below 1, no image
  was made worse.
"""


def write_tables(bench: Bench, folder: Path) -> None:
    """Write ``NAME-scores.csv``, ``-summary.csv``, ``-paired.csv`` and ``-timing.csv``.

    All but the last repeat bit for bit.

    Raises
    ------
    OutputError
        If they cannot be written there.
    """
    name = bench.plan.name
    keys = ("images", "dose_law")
    score_head = (*keys, "seed", "image", "group", "counts_at_brightest", "method", *FIGURES)
    write_rows(folder / f"{name}-scores.csv", score_head, _score_rows(bench))
    figures = [f"{figure}_{part}" for figure in FIGURES for part in ("mean", "std")]
    extras = ("worst_ratio", "worst_image", "margin_paper_mse", "margin_paper_ssim")
    summary_head = (*keys, "split", "count", "method", *figures, *extras)
    write_rows(folder / f"{name}-summary.csv", summary_head, _summary_rows(bench))
    parts = [f"{figure}_{part}" for figure in FIGURES for part in ("mean", "low", "high")]
    paired_head = (*keys, "method", "against", "count", "better_on", *parts)
    write_rows(folder / f"{name}-paired.csv", paired_head, _paired_rows(bench))
    timing_head = (*keys, "seed", "image", "method", "seconds")
    write_rows(folder / f"{name}-timing.csv", timing_head, _timing_rows(bench))


def write_page(bench: Bench, folder: Path, pictures: Mapping[str, str]) -> None:
    """Write ``NAME.md`` and ``NAME.json``.

    Parameters
    ----------
    bench : Bench
        With all its results.
    folder : Path
        Exists.
    pictures : mapping of str to str
        Captions by the name of a file in that folder.

    Raises
    ------
    OutputError
        If they cannot be written there.
    """
    lines = [_HEAD.format(**_facts(bench)), *_page(bench), *_pictures(pictures)]
    lines += ["## What was compared", "", *_methods(bench)]
    name = bench.plan.name
    with whole_file(folder / f"{name}.md") as part:
        part.write_text("\n".join(lines) + "\n", "utf-8")
    with whole_file(folder / f"{name}.json") as part:
        part.write_text(json.dumps(sentences(bench), indent=1) + "\n", "utf-8")


def sentences(bench: Bench) -> dict[str, str]:
    """Main figures in words, by what they are of: for the record of some weights."""
    found = {}
    for section in bench.plan.sections:
        if is_series(section):
            ratios: dict[str, list[str]] = {}
            for law in section.laws:
                for s in _summaries(bench.scored(section, law)):
                    ratios.setdefault(s.method, []).append(f"{s.worst[0]:.4f} at {law:g} counts")
            ratios.pop(NONE, None)
            found[f"largest ratio of error to that of the input, {section.title}"] = "; ".join(
                f"{method}: {', '.join(each)}" for method, each in ratios.items()
            )
            continue
        for law in section.laws:
            found[f"{section.title}, {in_words(law)}"] = "; ".join(
                f"{s.method}: paper MSE {1e3 * s.paper_mse[0]:.3f}e-3, PSNR {s.psnr[0]:.2f} dB"
                for s in _summaries(bench.scored(section, law))
            )
    return found


def is_series(section: Section) -> bool:
    """Whether a section runs at several fixed doses, to be shown by dose."""
    return len(section.laws) >= _SERIES and not any(isinstance(law, str) for law in section.laws)


def reference(specs: Sequence[Spec], summaries: Sequence[Summary]) -> str:
    """Label of the method that the others are paired with.

    The first that is no classical filter; without one, the best by the paper's mean error.
    """
    ours = [spec.label for spec in specs if not spec.is_classical]
    return ours[0] if ours else min(summaries, key=lambda s: s.paper_mse[0]).method


def _summaries(scored: Sequence[Scored]) -> list[Summary]:
    return summarise([each.scores for each in scored], seeds=_seeds(scored))


def _seeds(scored: Sequence[Scored]) -> int:
    return len({each.seed for each in scored})


def _images(scored: Sequence[Scored]) -> int:
    """Number of images, each counted once for all its seeds."""
    return len(scored) // _seeds(scored)


def _runs(bench: Bench) -> Iterator[tuple[Section, Any, list[Scored]]]:
    for section in bench.plan.sections:
        for law in section.laws:
            yield section, law, bench.scored(section, law)


def _score_rows(bench: Bench) -> Iterator[Sequence[Any]]:
    for section, law, scored in _runs(bench):
        for each in scored:
            truth, place = each.subject.truth, (section.title, short(law), each.seed)
            for label, result in each.results.items():
                figures = result.score.figures
                yield (*place, truth.name, truth.group, result.dose, label, *figures)


def _timing_rows(bench: Bench) -> Iterator[Sequence[Any]]:
    for section, law, scored in _runs(bench):
        for each in scored:
            for label, result in each.results.items():
                place = section.title, short(law), each.seed, each.subject.truth.name
                yield (*place, label, result.seconds)


def _splits(plan: Plan, scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    """All images, then those of each split that holds some but not all of them."""
    chosen = {"all": list(scored)}
    for words, names in plan.splits.items():
        some = [each for each in scored if each.subject.truth.name in names]
        if some and 1 < _images(some) < _images(scored):
            chosen[words] = some
    return chosen


def _summary_rows(bench: Bench) -> Iterator[Sequence[Any]]:
    for section, law, scored in _runs(bench):
        for split, some in _splits(bench.plan, scored).items():
            summaries = _summaries(some)
            for summary in summaries:
                place = section.title, short(law), split, _images(some), summary.method
                figures = [number for pair in summary.figures for number in pair]
                yield (*place, *figures, *summary.worst, *_margins(summary, summaries))


def _margins(summary: Summary, summaries: Sequence[Summary]) -> tuple[float, float]:
    others = [each for each in summaries if each.method != summary.method]
    return (
        margin(summary.paper_mse[0], [s.paper_mse[0] for s in others], is_error=True),
        margin(summary.paper_ssim[0], [s.paper_ssim[0] for s in others], is_error=False),
    )


def _paired_rows(bench: Bench) -> Iterator[Sequence[Any]]:
    for section, law, scored in _runs(bench):
        for ours, theirs, better, pairs in _pairs(section, law, scored):
            numbers = [number for pair in pairs for number in vars(pair).values()]
            yield (section.title, short(law), ours, theirs, _images(scored), better, *numbers)


def _pairs(
    section: Section, law: Any, scored: Sequence[Scored]
) -> Iterator[tuple[str, str, int, list[Paired]]]:
    """Reference, other method, on how many images better by squared error, every difference."""
    ours = reference(section.methods_at(law), _summaries(scored))
    values = {
        label: image_figures([each.results[label].score for each in scored], seeds=_seeds(scored))
        for label in scored[0].results
    }
    place = FIGURES.index("paper_mse")
    own = values.pop(ours)
    for theirs, other in values.items():
        better = int(np.sum(own[:, place] < other[:, place]))
        differences = [paired_difference(*pair) for pair in zip(own.T, other.T, strict=True)]
        yield ours, theirs, better, differences


_TITLES = {
    "paper": "The paper's table",
    "classical": "Classical methods",
    "quality": "How good the weights are",
}


def _facts(bench: Bench) -> dict[str, Any]:
    plan = bench.plan
    return {
        "name": plan.name,
        "title": _TITLES.get(plan.name, "Benchmark"),
        "preset": f" --preset {plan.name}" if plan.name in _TITLES else "",
        "version": __version__,
        "protocol": PROTOCOL,
        "seeds": _in_words(plan.seeds),
    }


def _in_words(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"each image's mean over seeds {', '.join(map(str, seeds))}"


def _page(bench: Bench) -> Iterator[str]:
    for section in bench.plan.sections:
        if is_series(section):
            yield from _by_dose(bench, section)
            continue
        for law in section.laws:
            scored = bench.scored(section, law)
            yield from (f"## {section.title}, {in_words(law)}", "", *_main_table(scored), "")
            yield from _split_table(bench.plan, scored)
            yield from _paired_table(section, law, scored)


def _main_table(scored: Sequence[Scored]) -> Iterator[str]:
    yield (
        "| method | paper MSE ×1e-3 | margin % | paper SSIM | margin % | PSNR dB | SSIM | bias % "
        "| FRC | worst |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    summaries = _summaries(scored)
    for s in summaries:
        mse, spread = (1e3 * figure for figure in s.paper_mse)
        error, similarity = _margins(s, summaries)
        yield (
            f"| {s.method} | {mse:.3f} ± {spread:.3f} | {error:+.1f} "
            f"| {s.paper_ssim[0]:.3f} ± {s.paper_ssim[1]:.3f} | {similarity:+.1f} "
            f"| {s.psnr[0]:.2f} ± {s.psnr[1]:.2f} | {s.ssim[0]:.3f} | {100 * s.bias[0]:+.2f} "
            f"| {s.frc_cutoff[0]:.3f} | {s.worst[0]:.3f} |"
        )


def _split_table(plan: Plan, scored: Sequence[Scored]) -> Iterator[str]:
    """Paper error and similarity by split; nothing where there are no splits."""
    splits = {
        words: some for words, some in _splits(plan, scored).items() if not words.startswith(_GROUP)
    }
    if len(splits) < 2:
        return
    columns = [_summaries(some) for some in splits.values()]
    heads = [f"{words} ({_images(some)})" for words, some in splits.items()]
    yield from ("Paper MSE ×1e-3 and paper SSIM by kind of truth (number of images):", "")
    yield f"| method | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for row in zip(*columns, strict=True):
        cells = [f"{1e3 * s.paper_mse[0]:.3f}, {s.paper_ssim[0]:.3f}" for s in row]
        yield f"| {row[0].method} | {' | '.join(cells)} |"
    yield ""


def _paired_table(section: Section, law: Any, scored: Sequence[Scored]) -> Iterator[str]:
    if _images(scored) < 2:
        return
    pairs = list(_pairs(section, law, scored))
    places = [FIGURES.index(figure) for figure in ("paper_mse", "paper_ssim", "psnr_db")]
    if not pairs:
        return
    yield f"{pairs[0][0]} less each other method, image by image, with 95 % bootstrap intervals:"
    yield from ("", "| against | paper MSE ×1e-3 | paper SSIM | PSNR dB | lower error on |")
    yield "|---|---|---|---|---|"
    for _, theirs, better, differences in pairs:
        mse, similarity, psnr = (differences[place] for place in places)
        thousandths = Paired(*(1e3 * number for number in vars(mse).values()))
        share = f"{better} of {_images(scored)}"
        yield f"| {theirs} | {thousandths} | {similarity} | {psnr} | {share} |"
    yield ""


def _by_dose(bench: Bench, section: Section) -> Iterator[str]:
    yield from (f"## {section.title}, by counts at the brightest pixel", "")
    yield "| counts | method | PSNR dB | SSIM | mean ratio | worst ratio | of |"
    yield "|---|---|---|---|---|---|---|"
    for law in section.laws:
        for s in _summaries(bench.scored(section, law)):
            yield (
                f"| {law:g} | {s.method} | {s.psnr[0]:.2f} | {s.ssim[0]:.3f} | {s.ratio[0]:.4f} "
                f"| {s.worst[0]:.4f} | {s.worst[1] if s.method != NONE else ''} |"
            )
    yield ""


def _pictures(pictures: Mapping[str, str]) -> Iterator[str]:
    if pictures:
        yield from ("## Figures", "")
    for name, caption in pictures.items():
        yield from (f"![{caption}]({name})", "", caption, "")


def _methods(bench: Bench) -> Iterator[str]:
    """Each method once, by label, with what its results depend on."""
    seen = set()
    for section in bench.plan.sections:
        for spec in section.methods:
            line = f"- {spec.label}: {bench.identities[spec]}"
            if line not in seen:
                yield line
            seen.add(line)
