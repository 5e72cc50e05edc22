"""Which frames are kept, which specimen each belongs to, and in which split that lies.

Nothing here opens a file: the same survey and the same choices give the same decisions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from lowdose.data.sets.choices import SPLITS, Choices
from lowdose.data.sets.fingerprint import copies_of
from lowdose.data.sets.survey import Frame, Surveyed
from lowdose.data.truths import SPECIMEN
from lowdose.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Label:
    """What a table says of a file; empty where it does not."""

    group: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one frame, or of a file that cannot be read.

    Parameters
    ----------
    file : Surveyed
        The file.
    index : int or None
        Of the frame; None for a file without any.
    group : str
        Its specimen.
    reason : str
        Why it is rejected; empty where it is kept.
    split : str
        Empty where it is rejected.
    crops : tuple of int
        The crops that are cut, by their place in `survey.crop_corners`.
    """

    file: Surveyed
    index: int | None
    group: str = ""
    reason: str = ""
    split: str = ""
    crops: tuple[int, ...] = ()

    @property
    def frame(self) -> Frame | None:
        """What the frame looks like."""
        return None if self.index is None else self.file.frames[self.index]

    @property
    def name(self) -> str:
        """File, with the number of the frame where it is one of several."""
        return f"{self.file.name}[{self.index}]" if self.file.is_stack else self.file.name


@dataclass(frozen=True)
class Decisions:
    """A verdict on every frame in the order of the files, and what the user should know."""

    verdicts: list[Verdict]
    notes: list[str]


def decide(
    files: Sequence[Surveyed], choices: Choices, labels: Mapping[str, Label] | None = None
) -> Decisions:
    """Judge every frame, and put whole groups into splits.

    Parameters
    ----------
    files : sequence of Surveyed
        In the order of their paths; of two that are alike the first is kept.
    choices : Choices
        The limits.
    labels : mapping of str to Label, optional
        What a table says, by the name of the file; files it leaves out are rejected.

    Raises
    ------
    ConfigError
        If a group is given two splits.
    """
    verdicts = [each for file in files for each in _judge(file, choices, labels)]
    verdicts = _without_copies(verdicts)
    splits, notes = _splits(verdicts, choices, labels)
    verdicts = [v if v.reason else replace(v, split=splits[v.group]) for v in verdicts]
    return Decisions(verdicts, notes)


def flaw(frame: Frame, choices: Choices) -> str:
    """Why a frame is not taken: the figure found, the limit and its option; or nothing."""
    gain, side, share = choices.gain, choices.crop, choices.most_saturated
    # A pixel of a frame that was shrunk is the sum of so many of the file's.
    offset = choices.offset * choices.shrink**2
    counts = (frame.mean - offset) / gain if gain else frame.counts
    is_dim = counts is not None and counts < choices.least_counts
    is_noisy = counts is None and frame.noise > choices.most_noise
    shrunk = f" after --shrink {choices.shrink}" if choices.shrink > 1 else ""
    flaws = (
        (
            not frame.crops,
            f"too small: {frame.height} x {frame.width} px{shrunk}, "
            f"crops have {side} x {side} (--crop)",
        ),
        (frame.low == frame.high, f"constant: every pixel is {frame.low:g}"),
        (
            frame.saturated > share,
            f"saturated: {frame.saturated:.2%} of the pixels are extreme, "
            f"limit {share:.2%} (--most-saturated)",
        ),
        (
            is_dim,
            f"dim: {counts or 0:.5g} counts per pixel on average, "
            f"limit {choices.least_counts:g} (--least-counts)",
        ),
        (
            is_noisy,
            f"noisy: deviation {frame.noise:.3f} of the range, "
            f"limit {choices.most_noise:g} (--most-noise)",
        ),
        (
            min(frame.crops, default=0) > share,
            f"saturated: in every crop more than {share:.2%} of the pixels are extreme "
            "(--most-saturated)",
        ),
    )
    return next((words for is_so, words in flaws if is_so), "")


def assign_splits(
    sizes: Mapping[str, int], fractions: Sequence[float], *, seed: int
) -> dict[str, str]:
    """Put whole groups into train, val and test so that their crops come near the fractions.

    The groups are taken in random order; each goes where the largest part is still missing and
    at least half of it fits. The last ones go to splits that would stay empty.

    Parameters
    ----------
    sizes : mapping of str to int
        Crops of each group.
    fractions : sequence of float
        Shares of train, val and test.
    seed : int
        Start of the random order.

    Examples
    --------
    >>> assign_splits({"a": 5, "b": 5, "c": 5}, (0.8, 0.1, 0.1), seed=0) == {
    ...     "a": "val", "b": "test", "c": "train"}
    True
    """
    targets = np.array(fractions) * sum(sizes.values())
    missing = targets.copy()
    names = sorted(sizes)
    order = np.random.default_rng((seed, 0)).permutation(len(names))
    splits: dict[str, str] = {}
    for taken, name in enumerate(names[place] for place in order):
        size = sizes[name]
        empty = (missing == targets) & (targets > 0)
        open_ = empty if len(names) - taken <= empty.sum() else targets > 0
        fits = open_ & (missing >= size / 2)
        part = np.divide(missing, targets, out=np.full(3, -np.inf), where=targets > 0)
        wanted = np.where(fits, part, -np.inf) if fits.any() else np.where(open_, missing, -np.inf)
        chosen = int(np.argmax(wanted))
        missing[chosen] -= size
        splits[name] = SPLITS[chosen]
    return splits


def _judge(file: Surveyed, choices: Choices, labels: Mapping[str, Label] | None) -> list[Verdict]:
    """Verdicts on the frames of a file, each by itself."""
    if file.error:
        return [Verdict(file, None, reason=f"unreadable: {file.error}")]
    label = Label() if labels is None else labels.get(file.name)
    problem = "unlisted: the table has no row for it" if label is None else ""
    if label and choices.column and not label.group:
        problem = f"unlisted: the table says nothing in column {choices.column}"
    if choices.keep_splits and not _split_folder(file.name):
        problem = f"unlisted: lies in none of the folders {', '.join(SPLITS)}"
    group = (label.group if label else "") or group_of(file.name, choices.split_by)
    return [
        _verdict(Verdict(file, index, group, problem or flaw(frame, choices)), frame, choices)
        for index, frame in enumerate(file.frames)
    ]


def _verdict(verdict: Verdict, frame: Frame, choices: Choices) -> Verdict:
    if verdict.reason:
        return verdict
    shares = enumerate(frame.crops)
    usable = tuple(place for place, share in shares if share <= choices.most_saturated)
    return replace(verdict, crops=usable)


def group_of(name: str, split_by: str) -> str:
    """What a file must not be split from.

    Examples
    --------
    >>> group_of("day1/gold__07.mrc", "specimen"), group_of("day1/gold__07.mrc", "folder")
    ('gold', 'day1')
    """
    path = PurePosixPath(name)
    match = SPECIMEN.fullmatch(path.stem) if split_by == "specimen" else None
    if match:
        return match[1]
    return name if split_by == "file" else str(path.parent)


def _split_folder(name: str) -> str:
    return next((part for part in PurePosixPath(name).parts[:-1] if part in SPLITS), "")


def _without_copies(verdicts: list[Verdict]) -> list[Verdict]:
    """Reject all but the first of frames that are alike."""
    prints = [
        each.frame.fingerprint if each.frame and not each.reason else b"" for each in verdicts
    ]
    return [
        verdict
        if first == place
        else replace(verdict, reason=f"near-duplicate of {verdicts[first].name}", crops=())
        for place, (verdict, first) in enumerate(zip(verdicts, copies_of(prints), strict=True))
    ]


def _splits(
    verdicts: Sequence[Verdict], choices: Choices, labels: Mapping[str, Label] | None
) -> tuple[dict[str, str], list[str]]:
    """Split of each group that has crops, and what is odd about them."""
    sizes: Counter[str] = Counter()
    given: dict[str, set[str]] = defaultdict(set)
    for each in verdicts:
        if each.reason:
            continue
        sizes[each.group] += len(each.crops)
        if choices.keep_splits:
            given[each.group].add(_split_folder(each.file.name))
        elif choices.split_column and labels is not None:
            given[each.group].add(labels[each.file.name].split)
    torn = next((group for group, splits in given.items() if len(splits) > 1), None)
    if torn is not None:
        raise ConfigError(
            f"group {torn!r} is in the splits {', '.join(sorted(given[torn]))}, so that what is "
            "learnt from one is known in the other. Give it one split, or name the groups "
            "otherwise (--split-by, --column)"
        )
    splits = {group: splits.pop() for group, splits in given.items()}
    splits = splits or assign_splits(sizes, choices.fractions, seed=choices.seed)
    return splits, _notes(splits, sizes, choices)


def _notes(splits: Mapping[str, str], sizes: Mapping[str, int], choices: Choices) -> list[str]:
    filled = set(splits.values())
    is_given = choices.keep_splits or bool(choices.split_column)
    wanted = [
        split
        for split, share in zip(SPLITS, choices.fractions, strict=True)
        if is_given or share > 0
    ]
    empty = [split for split in wanted if split not in filled]
    notes = []
    if empty and splits:
        only = "is only 1 group" if len(splits) == 1 else f"are only {len(splits)} groups"
        notes.append(
            f"nothing is in {' and '.join(empty)}: there {only}. Name files "
            "SPECIMEN__NUMBER, give --groups, or take --split-by file if the specimen is unknown."
            if not is_given
            else f"nothing is in {' and '.join(empty)}."
        )
    largest = max(sizes.values(), default=0)
    if len(splits) > 1 and not is_given and largest > 0.5 * sum(sizes.values()):
        name = max(sizes, key=lambda group: sizes[group])
        notes.append(f"more than half of all crops are of one group, {name}.")
    return notes
