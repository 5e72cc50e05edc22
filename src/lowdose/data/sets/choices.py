"""What is asked of a data set, checked once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lowdose.errors import ConfigError

SPLITS = ("train", "val", "test")
GROUPINGS = ("specimen", "folder", "file")


@dataclass(frozen=True)
class Choices:
    """Everything but the files that decides what a data set holds.

    Parameters
    ----------
    crop : int
        Side of the square crops in pixels, after shrinking.
    shrink : int
        Blocks of so many pixels squared are added up before anything else.
    split_by : {"specimen", "folder", "file"}
        What never lies in two splits, where no table says: files named ``SPECIMEN__NUMBER``
        (others by their folder), all files of a folder, or each file on its own.
    table, column, split_column : str
        A CSV file with a column ``file``; its columns with the group and with the split of each.
        Empty where not used.
    keep_splits : bool
        Files below folders named train, val and test stay in those splits.
    fractions : (float, float, float)
        Shares of the crops for train, val and test, as far as whole groups allow.
    least_counts : float
        Least mean electron counts per pixel, where counts are known; 0 takes any.
    most_noise : float
        Most noise, as a fraction of the range of the frame, where counts are unknown.
    most_saturated : float
        Largest share of pixels that have the lowest or the highest value, of a frame and of each
        crop.
    gain, offset : float
        Pixel units per electron and pixel value without electrons; a gain of 0 is unknown.
    shard_crops : int
        Crops in a shard, fewer where a shard would pass 512 MB.
    seed : int
        Start of every random choice.
    """

    crop: int = 512
    shrink: int = 1
    split_by: str = "specimen"
    table: str = ""
    column: str = ""
    split_column: str = ""
    keep_splits: bool = False
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    # The paper's: "mean counts above 2500 per pixel" (Ede 2018).
    least_counts: float = 2500.0
    # The noisiest of 469 good truths has 0.05, as measured here; noisy exposures have up to 0.12.
    most_noise: float = 0.06
    # Of the same truths all but one stay below 0.045.
    most_saturated: float = 0.05
    gain: float = 0.0
    offset: float = 0.0
    shard_crops: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "--crop": (self.crop, self.crop >= 16, "at least 16"),
            "--shrink": (self.shrink, self.shrink >= 1, "at least 1"),
            "--split-by": (self.split_by, self.split_by in GROUPINGS, " or ".join(GROUPINGS)),
            "--least-counts": (self.least_counts, 0 <= self.least_counts < math.inf, "0 or more"),
            "--most-noise": (self.most_noise, self.most_noise > 0, "above 0"),
            "--most-saturated": (self.most_saturated, 0 < self.most_saturated <= 1, "in (0, 1]"),
            "--gain": (self.gain, 0 <= self.gain < math.inf, "above 0, or 0 where unknown"),
            "--offset": (self.offset, math.isfinite(self.offset), "a finite number"),
            "--shard-crops": (self.shard_crops, self.shard_crops >= 1, "at least 1"),
            "--seed": (self.seed, self.seed >= 0, "0 or more"),
        }
        for name, (value, is_right, wanted) in limits.items():
            if not is_right:
                raise ConfigError(f"{name} is {value}; expected {wanted}")
        shares = self.fractions
        if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"--fractions are {shares}; expected shares that add up to 1")
        if bool(self.table) != bool(self.column or self.split_column):
            raise ConfigError("--groups goes with --column or --split-column, and they with it")
        if self.keep_splits and self.split_column:
            raise ConfigError("--keep-splits and --split-column both say what the splits are")

    def as_json(self) -> dict[str, Any]:
        """Choices as they come back from JSON."""
        return dataclasses.asdict(self) | {"fractions": list(self.fractions)}
