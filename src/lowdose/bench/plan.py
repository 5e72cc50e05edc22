"""What a benchmark is made of: which truths, at which doses, by which methods; and presets."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lowdose.bench.doses import Law, short
from lowdose.bench.filters import FILTERS
from lowdose.bench.methods import GAIN_KNOWN, NONE, PAPER, Spec, has_bm3d, parse_method
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError
from lowdose.records import DEFAULT, shipped

# Truths at least so clean are scored apart: see `Splits`.
CLEAN_SIGMA = 0.02
_HIGH_DOSES = (1e3, 1e4, 1e5)
# Which of the paper's networks serves a law: "low-uniform" is the released benchmark's low dose.
_TRAINED_FOR: Mapping[Law, str] = {"low": "low", "low-uniform": "low", "ordinary": "ordinary"}
_NETWORK = "network"


@dataclass(frozen=True)
class Subject:
    """A truth with what tells it apart from others of its name."""

    truth: Truth

    @cached_property
    def sha256(self) -> str:
        """Of its pixels, their type and its shape: the first 16 digits."""
        pixels = np.ascontiguousarray(self.truth.pixels)
        head = f"{pixels.dtype.str} {pixels.shape} ".encode()
        return hashlib.sha256(head + pixels.tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Section:
    """Methods that are compared on the same exposures, in one table for each law.

    Parameters
    ----------
    title : str
        Of its tables, before the dose.
    subjects : sequence of Subject
        Truths.
    laws : sequence of str or float
        Dose laws.
    methods : sequence of Spec
        "none" first.
    is_drawn : bool
        Whether figures are drawn.
    """

    title: str
    subjects: Sequence[Subject]
    laws: Sequence[Law]
    methods: Sequence[Spec]
    is_drawn: bool = True

    def methods_at(self, law: Law) -> list[Spec]:
        """Methods that run at a law, in order."""
        return [spec for spec in self.methods if spec.runs_at(law)]


@dataclass(frozen=True)
class Plan:
    """A benchmark.

    Parameters
    ----------
    name : str
        Files of tables and figures begin with it.
    sections : sequence of Section
        Exposures that several share are computed once.
    seeds : sequence of int
        Draws of noise.
    splits : mapping of str to set of str
        Names of truths, by the words for them: see `read_splits`.
    examples : sequence of str
        Names of truths whose estimates are kept and shown.
    """

    name: str
    sections: Sequence[Section]
    seeds: Sequence[int] = (0,)
    splits: Mapping[str, frozenset[str]] = field(default_factory=dict)
    examples: Sequence[str] = ()


@dataclass(frozen=True)
class Choices:
    """What a user asked for.

    Parameters
    ----------
    truths : sequence of Truth
        All of them.
    few : sequence of Truth
        Those of ``--names``; all where it is not given.
    laws : sequence of str or float
        Empty for those of the preset.
    methods : sequence of Spec
        Besides those of the preset.
    """

    truths: Sequence[Truth]
    few: Sequence[Truth]
    laws: Sequence[Law] = ()
    methods: Sequence[Spec] = ()


def plain_sections(choices: Choices) -> list[Section]:
    """Methods as asked for, by default the everyday weights, at both doses of the paper."""
    methods = choices.methods or [parse_method(DEFAULT)]
    return [_section(choices.few, choices.laws or ("low", "ordinary"), methods)]


def paper_sections(choices: Choices) -> list[Section]:
    """The paper's table: nine methods and a network, that for each dose where it ships.

    At doses where a network was chosen, it takes the place of the shipped one.
    """
    laws = choices.laws or ("low", "ordinary")
    networks = _shipped_networks(laws, choices.methods)
    methods = [*map(parse_method, PAPER), *networks, *choices.methods]
    return [_section(choices.few, laws, methods)]


def _shipped_networks(laws: Sequence[Law], chosen: Sequence[Spec]) -> Iterator[Spec]:
    rivals = [spec for spec in chosen if spec.is_network or spec.label == _NETWORK]
    for law in laws:
        weights = f"atrous-narrow-{_TRAINED_FOR.get(law, '')}"
        if weights in shipped() and not any(spec.runs_at(law) for spec in rivals):
            yield Spec(_NETWORK, weights, law=law)


def classical_sections(choices: Choices) -> list[Section]:
    """Every classical filter: as in the paper, tuned, behind the Anscombe transform; and BM3D."""
    kinds = ("", ":tuned", ":anscombe:tuned")
    methods = [parse_method(name + kind) for kind in kinds for name in FILTERS]
    methods += [*_bm3d(), *choices.methods]
    return [_section(choices.few, choices.laws or ("low", "ordinary"), methods)]


def quality_sections(choices: Choices) -> list[Section]:
    """Weights against BM3D on few truths, on all of them, and at doses where little is to gain.

    With weights to measure as the first method; those of every day without. A network that is not
    told that pixels are counts is measured told as well.
    """
    methods, laws = choices.methods or [parse_method(DEFAULT)], choices.laws or ("low", "ordinary")
    measured = [spec for spec in methods if spec.label == methods[0].label]
    told = [_told(spec) for spec in measured if spec.is_blind]
    ours = list(dict.fromkeys([*measured, *told, *methods]))
    sections = [_section(choices.few, laws, [*ours, *_bm3d()], is_drawn=False)]
    if len(choices.few) < len(choices.truths):
        sections.append(_section(choices.truths, laws, ours, is_drawn=False))
    high = [spec for spec in measured if any(map(spec.runs_at, _HIGH_DOSES))]
    if high:
        sections.append(_section(choices.truths, _HIGH_DOSES, high, is_drawn=False))
    return sections


def _told(spec: Spec) -> Spec:
    label, target = (f"{text}:{GAIN_KNOWN}" for text in (spec.label, spec.target))
    return replace(spec, label=label, target=target)


PRESETS = {
    "bench": plain_sections,
    "paper": paper_sections,
    "classical": classical_sections,
    "quality": quality_sections,
}
"""Sections by name; files are named for it."""


def _bm3d() -> list[Spec]:
    return [parse_method("bm3d")] if has_bm3d() else []


def _section(
    truths: Sequence[Truth], laws: Sequence[Law], methods: Sequence[Spec], *, is_drawn: bool = True
) -> Section:
    """Put the noisy image first; refuse two methods of one name at a dose, and one at no dose."""
    all_methods = [parse_method(NONE), *(spec for spec in methods if spec.target != NONE)]
    _check_doses(laws, all_methods)
    for law in laws:
        labels = [spec.label for spec in all_methods if spec.runs_at(law)]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ConfigError(
                f"two methods are called {', '.join(twice)} at dose {law}; name one LABEL=METHOD"
            )
    noun = "image" if len(truths) == 1 else "images"
    subjects = [Subject(truth) for truth in truths]
    return Section(f"{len(truths)} {noun}", subjects, laws, all_methods, is_drawn)


def _check_doses(laws: Sequence[Law], methods: Sequence[Spec]) -> None:
    present = {spec.label for law in laws for spec in methods if spec.runs_at(law)}
    for spec in methods:
        if spec.label not in present and spec.law is not None:
            own, doses = short(spec.law), ", ".join(map(short, laws))
            raise ConfigError(
                f"method {spec.label!r} runs at dose {own} alone, but the doses are {doses}; add "
                f"--dose {own}, or leave @{own} out"
            )


def read_splits(manifest: Path, truths: Sequence[Truth]) -> dict[str, frozenset[str]]:
    """Group truths by what a manifest says of them, and by the group in their name.

    Parameters
    ----------
    manifest : Path
        CSV with a column ``file``, whose last part is a truth's name; ``modality`` and
        ``sigma_over_range`` (residual noise of the truth) are taken where it has them.
    truths : sequence of Truth
        Those that the manifest does not name are in no split.

    Returns
    -------
    dict of str to frozenset of str
        Names by split, those of fewer than two truths or of all left out.

    Raises
    ------
    ConfigError
        If it cannot be read, has no such column, or names no truth.
    """
    try:
        with open(manifest, newline="", encoding="utf-8-sig") as file:
            rows = {row["file"].split("/")[-1]: row for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as err:
        raise ConfigError(f"{manifest}: is no manifest with a column 'file' ({err}).") from err
    known = {truth.name: rows[truth.name] for truth in truths if truth.name in rows}
    if not known:
        raise ConfigError(f"{manifest}: names none of the truths, such as {truths[0].name!r}.")
    splits: dict[str, set[str]] = {}
    for kind in (_modality, _cleanness, _group):
        words = {
            truth.name: kind(known[truth.name], truth) for truth in truths if truth.name in known
        }
        for word in sorted(set(words.values()) - {""}):
            splits[word] = {name for name, own in words.items() if own == word}
    return {word: frozenset(names) for word, names in splits.items() if len(names) > 1}


def _modality(row: Mapping[str, str], _: Truth) -> str:
    return f"modality {row['modality']}" if row.get("modality") else ""


def _cleanness(row: Mapping[str, str], _: Truth) -> str:
    """Empty where the residual noise is not known, or not below the limit."""
    try:
        is_clean = float(row.get("sigma_over_range") or "nan") < CLEAN_SIGMA
    except ValueError:
        is_clean = False
    return f"sigma/range < {CLEAN_SIGMA:g}" if is_clean else ""


def _group(_: Mapping[str, str], truth: Truth) -> str:
    return f"group {truth.group}"


def spread_examples(truths: Sequence[Truth], count: int) -> list[str]:
    """Names of truths at even steps through the list: few neighbours, so several specimens."""
    places = np.linspace(0, len(truths), min(count, len(truths)), endpoint=False).astype(int)
    return [truths[place].name for place in places]
