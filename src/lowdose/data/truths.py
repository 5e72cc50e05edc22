"""Clean micrographs held in memory, grouped by specimen, and how crops of them are drawn."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.data.simulate import KINDS, simulate_truth
from lowdose.errors import ConfigError, InputError
from lowdose.io import micrographs_below, read

# Files that hold several crops of one specimen are named SPECIMEN__NUMBER.suffix.
SPECIMEN = re.compile(r"(.+)__\d+")
# What `lowdose.data.sets.build` writes before dataset.json.
_OF_DATA_SETS = ("survey.jsonl", "train-*.tar", "val-*.tar", "test-*.tar")


@dataclass(frozen=True)
class Truth:
    """One clean image as stored, with what scales it to [0, 1].

    Parameters
    ----------
    pixels : ndarray, shape (H, W)
        In the data type of the file, to keep memory small.
    low, high : float
        Its smallest and largest pixel; different.
    name : str
        File name, with the frame number where it is one of several.
    group : str
        Specimen; groups, not files, are drawn with similar frequency.
    """

    pixels: NDArray[Any]
    low: float
    high: float
    name: str
    group: str

    def crop(self, top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
        """Return the crop scaled by the extremes of the whole image, shape (height, width)."""
        window = self.pixels[top : top + height, left : left + width].astype(np.float32)
        scaled: NDArray[np.float32] = (window - np.float32(self.low)) / np.float32(
            self.high - self.low
        )
        return scaled

    def whole(self) -> NDArray[np.float32]:
        """Return all of it, scaled alike, shape (H, W)."""
        return self.crop(0, 0, *self.pixels.shape)


class TruthSet:
    """Clean images to draw training crops from.

    A group of n images is drawn with a probability proportional to the square root of n: large
    groups do not drown small ones, and single images are not seen over and over.

    Parameters
    ----------
    truths : sequence of Truth
        At least one.
    """

    def __init__(self, truths: Sequence[Truth]) -> None:
        if not truths:
            raise ConfigError("there is no micrograph to train on")
        groups: dict[str, list[Truth]] = defaultdict(list)
        for truth in truths:
            groups[truth.group].append(truth)
        self.truths = list(truths)
        self._groups = list(groups.values())
        weights = np.sqrt([len(members) for members in self._groups])
        self._edges = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return len(self.truths)

    @property
    def held(self) -> Sequence[Truth]:
        """All of them."""
        return self.truths

    def pick(self, ordinal: int, rng: np.random.Generator) -> Truth:
        """Draw an image, whatever the number of the crop in the run."""
        del ordinal
        place = int(np.searchsorted(self._edges, rng.random(), side="right"))
        members = self._groups[min(place, len(self._groups) - 1)]
        return members[rng.integers(len(members))]


def load_truths(
    folders: Iterable[Path | str],
    *,
    least_side: int = 1,
    progress: Callable[[Path], None] = lambda path: None,
) -> list[Truth]:
    """Read every micrograph of some folders, and of the folders inside them.

    Parameters
    ----------
    folders : iterable of Path or str
        Folders, or single files.
    least_side : int
        Images with a shorter side are refused: no crop could be cut from them.
    progress : callable
        Told each file before it is read.

    Returns
    -------
    list of Truth
        In the order of their paths; each frame of a stack counts as an image.

    Raises
    ------
    ConfigError
        If a folder does not exist or holds no micrograph.
    InputError
        If a file cannot be read, is too small, or is constant.
    """
    return [truth for path in find_truths(folders) for truth in _load(path, least_side, progress)]


def draw_truths(count: int, *, seed: int, side: int = 512) -> list[Truth]:
    """Simulate truths of every kind, each kind a group.

    Parameters
    ----------
    count : int
        Per kind.
    seed : int
        Start of the random numbers; the same seed draws the same truths.
    side : int
        Height and width in pixels.
    """
    truths = []
    for place, kind in enumerate(KINDS):
        for index in range(count):
            rng = np.random.default_rng((seed, place, index))
            pixels = simulate_truth(kind, (side, side), rng=rng).pixels
            low, high = float(pixels.min()), float(pixels.max())
            truths.append(Truth(pixels, low, high, f"{kind}[{index}]", f"simulated {kind}"))
    return truths


def _load(path: Path, least_side: int, progress: Callable[[Path], None]) -> Iterable[Truth]:
    progress(path)
    micrograph = read(path)
    if min(micrograph.shape[-2:]) < least_side:
        height, width = micrograph.shape[-2:]
        raise InputError(path, f"is {height} x {width} px; crops of {least_side} px are wanted.")
    match = SPECIMEN.fullmatch(path.stem)
    group = match[1] if match else str(path.parent)
    for index, frame in enumerate(micrograph.frames()):
        pixels = np.array(frame)
        low, high = float(pixels.min()), float(pixels.max())
        if low == high:
            raise InputError(path, f"is constant (every pixel is {low:g}): no truth to learn from.")
        name = f"{path.name}[{index}]" if micrograph.is_stack else path.name
        yield Truth(pixels, low, high, name, group)


def find_truths(folders: Iterable[Path | str]) -> list[Path]:
    """Find every file of some folders, and of the folders inside them, named like a micrograph.

    Returns
    -------
    list of Path
        Each file once, however many of the folders it is reached through.

    Raises
    ------
    ConfigError
        If a folder does not exist or holds no such file.
    """
    files: dict[Path, Path] = {}
    for folder in map(Path, folders):
        for path in [folder] if folder.is_file() else _in_folder(folder):
            files.setdefault(path.resolve(), path)
    return list(files.values())


def _in_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of micrographs")
    found = micrographs_below(folder)
    if not found and any(any(folder.glob(name)) for name in _OF_DATA_SETS):
        raise ConfigError(
            f"{folder}: holds a data set without dataset.json, which is written last: its build is "
            "unfinished. Call `lowdose dataset build` again as before, and it goes on"
        )
    if not found:
        raise ConfigError(f"{folder}: holds no file with a suffix of a micrograph")
    return found
