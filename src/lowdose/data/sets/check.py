"""Check a data set: every byte as it was written, and no split knows another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowdose.data.sets.fingerprint import copies_of, fingerprint
from lowdose.data.shards import CropFacts, Shard, ShardFacts, load_description
from lowdose.errors import InputError
from lowdose.io.guard import sha256_of

# Beyond so many, more sentences of a kind tell nothing new.
_MOST_SAID = 20


@dataclass(frozen=True)
class Checked:
    """What was found: per split its totals, and sentences on what is wrong."""

    splits: Mapping[str, Mapping[str, Any]]
    problems: list[str]


def check_dataset(
    place: Path | str,
    *,
    is_quick: bool = False,
    progress: Callable[[str, float, float], None] = lambda label, done, total: None,
) -> Checked:
    """Read all of a data set and look for damage and for leaks.

    Parameters
    ----------
    place : Path or str
        The folder, or its ``dataset.json``.
    is_quick : bool
        Only look at the sizes of the shards and the names of their members.
    progress : callable
        Told what is being done, how many shards are, and of how many.

    Raises
    ------
    ConfigError, MalformedFileError
        If there is no readable ``dataset.json``.
    """
    description = load_description(place)
    listed = [(split, shard) for split, part in description.splits.items() for shard in part]
    seen = _Seen()
    problems: list[str] = []
    for done, (split, facts) in enumerate(listed):
        progress(f"check {facts.name}", done, len(listed))
        path = description.folder / facts.name
        try:
            shard = Shard(path, facts, description.crop)
        except InputError as err:
            problems.append(str(err))
            continue
        if not is_quick:
            problems += _check_bytes(path, facts) + _short(_check_crops(shard, split, seen))
    return Checked(
        {
            split: {
                "groups": len(seen.groups(split)) if not is_quick else "",
                "crops": sum(shard.crops for shard in part),
                "bytes": sum(shard.size for shard in part),
                "shards": part,
            }
            for split, part in description.splits.items()
        },
        problems + seen.problems(),
    )


def _check_bytes(path: Path, facts: ShardFacts) -> list[str]:
    found = sha256_of(path)
    if found == facts.sha256:
        return []
    return [f"{path}: its SHA-256 is {found}, {facts.sha256} was written. Copy it again."]


def _check_crops(shard: Shard, split: str, seen: _Seen) -> list[str]:
    """Read every crop and take note of it; sentences on those that are damaged."""
    problems = []
    for index in range(len(shard)):
        try:
            pixels, facts = shard.read(index)
        except InputError as err:
            problems.append(str(err))
        else:
            seen.add(split, f"{shard.path.name} crop {index}", pixels, facts)
    return problems


@dataclass
class _Seen:
    """What has been met so far, some 3 kB a crop."""

    splits: dict[str, set[str]] = field(default_factory=dict)
    places: dict[bytes, int] = field(default_factory=dict)
    crops: list[tuple[str, str]] = field(default_factory=list)
    prints: list[bytes] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    def add(self, split: str, where: str, pixels: Any, facts: CropFacts) -> None:
        """Take note of a crop, and whether it was met before."""
        self.splits.setdefault(facts.group, set()).add(split)
        corner = f"{facts.source}\0{facts.frame}\0{facts.top}\0{facts.left}"
        # Names of files may be bytes that are no UTF-8.
        for key in (corner.encode(errors="surrogatepass"), pixels.tobytes()):
            first = self.places.setdefault(hashlib.sha256(key).digest(), len(self.crops))
            if first != len(self.crops):
                self.twice.append(f"{where} ({facts.name}) is also {self.crops[first][1]}")
                break
        self.crops.append((split, f"{where} ({facts.name})"))
        self.prints.append(fingerprint(pixels))

    def groups(self, split: str) -> list[str]:
        """Groups of a split."""
        return [group for group, splits in self.splits.items() if split in splits]

    def problems(self) -> list[str]:
        """Crops met twice, groups in two splits, and crops that look alike across splits."""
        torn = [
            f"group {group!r} is in {' and '.join(sorted(splits))}: its specimen leaks"
            for group, splits in self.splits.items()
            if len(splits) > 1
        ]
        twice = [f"a crop is there twice: {each}" for each in self.twice]
        return [*_short(torn), *_short(twice), *_short(self._leaks())]

    def _leaks(self) -> list[str]:
        """Crops that look like one of another split."""
        pairs = enumerate(copies_of(self.prints))
        return [
            f"{self.crops[place][1]} of {self.crops[place][0]} looks like "
            f"{self.crops[first][1]} of {self.crops[first][0]}"
            for place, first in pairs
            if self.crops[place][0] != self.crops[first][0]
        ]


def _short(sentences: list[str]) -> list[str]:
    rest = len(sentences) - _MOST_SAID
    return sentences if rest <= 0 else [*sentences[:_MOST_SAID], f"... and {rest} more like that"]
