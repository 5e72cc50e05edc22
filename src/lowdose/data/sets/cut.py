"""Cut kept frames into crops and write them to shards, the same bytes whenever it is done."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.data.sets.choices import SPLITS, Choices
from lowdose.data.sets.decide import Verdict
from lowdose.data.sets.survey import Surveyed, add_up, crop_corners, extremes
from lowdose.data.shards import npy_header
from lowdose.errors import InputError, LowdoseWarning
from lowdose.io import read
from lowdose.io.guard import sha256_of, whole_file
from lowdose.micrograph import Micrograph

# A larger shard is slow to copy and to begin again.
_MOST_BYTES = 512 << 20
# Crops that are held in memory at a time, from some 8 micrographs of 2048 x 2048, and mixed.
_HELD_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to write: its name and, in order, frames with the crops wanted of each."""

    name: str
    split: str
    crops: tuple[tuple[Verdict, int], ...]

    def digest(self, choices: Choices) -> str:
        """Hash of all that decides the bytes of the shard, the content of the sources included."""
        parts = [choices.crop, choices.shrink, choices.seed, self.name]
        parts += [
            [each.file.sha256, each.file.name, each.index, place, each.group]
            for each, place in self.crops
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def plan_shards(verdicts: Sequence[Verdict], choices: Choices) -> Iterator[ShardPlan]:
    """Lay out the shards of all splits.

    Files are shuffled; their crops stay together, so that each file is read once, or twice where
    it reaches over the end of a shard. Within a shard crops are mixed as they are written.
    """
    kept = [each for each in verdicts if not each.reason]
    count = shard_length(kept, choices)
    for number, split in enumerate(SPLITS):
        of_split = (each for each in kept if each.split == split)
        files = [list(frames) for _, frames in itertools.groupby(of_split, lambda v: v.file.name)]
        order = np.random.default_rng((choices.seed, 1, number)).permutation(len(files))
        frames = itertools.chain.from_iterable(files[place] for place in order)
        crops = ((frame, place) for frame in frames for place in frame.crops)
        for index in itertools.count():
            part = tuple(itertools.islice(crops, count))
            if not part:
                break
            yield ShardPlan(f"{split}-{index:06}.tar", split, part)


def shard_length(kept: Sequence[Verdict], choices: Choices) -> int:
    """Crops in a full shard."""
    return max(1, min(choices.shard_crops, _MOST_BYTES // (choices.crop**2 * _widest(kept))))


def _widest(verdicts: Iterable[Verdict]) -> int:
    return max((np.dtype(each.frame.dtype).itemsize for each in verdicts if each.frame), default=1)


def write_shard(
    path: Path,
    plan: ShardPlan,
    folder: Path,
    choices: Choices,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Write one shard, whole or not at all.

    Parameters
    ----------
    path : Path
        The tar file to make or replace.
    plan : ShardPlan
        What goes in.
    folder : Path
        Where the sources lie.
    choices : Choices
        The size of the crops.
    progress : callable
        Told how many crops are written, now and then.

    Returns
    -------
    dict
        Its entry in ``dataset.json``.

    Raises
    ------
    InputError
        If a source has changed since it was surveyed.
    OutputError
        If the disk is full.
    """
    sources = {each.file.name: each.file for each, _ in plan.crops}

    @functools.lru_cache(1)  # by name: what was surveyed of a long stack takes long to hash
    def opened(name: str) -> Micrograph:
        return _open_source(folder, sources[name])

    held = max(1, _HELD_BYTES // (choices.crop**2 * _widest(each for each, _ in plan.crops)))
    rng = np.random.default_rng((choices.seed, 2, *plan.name.encode()))
    written = 0
    with whole_file(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for start in range(0, len(plan.crops), held):
                part = plan.crops[start : start + held]
                cut = [_cut(opened(each.file.name), each, place, choices) for each, place in part]
                for place in rng.permutation(len(cut)):
                    _add(tar, f"{plan.name.removesuffix('.tar')}-{written:06}", *cut[place])
                    written += 1
                progress(written)
        sha256, size = sha256_of(temporary), temporary.stat().st_size
    return {"name": plan.name, "crops": written, "bytes": size, "sha256": sha256}


def _open_source(folder: Path, file: Surveyed) -> Micrograph:
    path = folder / file.name
    try:
        status = path.stat()
    except OSError as err:
        raise InputError(path, f"was there and is not now ({err.strerror}).") from err
    if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
        problem = "has changed since it was surveyed. Build again: it will be looked at anew."
        raise InputError(path, problem)
    with warnings.catch_warnings():  # said in the survey, and in the manifest
        warnings.simplefilter("ignore", LowdoseWarning)
        return read(path, nonfinite="keep")  # the survey refused what is not finite


def _cut(
    micrograph: Micrograph, verdict: Verdict, place: int, choices: Choices
) -> tuple[NDArray[Any], dict[str, Any]]:
    """One crop, and its facts."""
    assert verdict.frame is not None
    side, shrink = choices.crop, choices.shrink
    frame, index = verdict.frame, verdict.index or 0
    top, left = crop_corners(frame.height, frame.width, side)[place]
    pixels = micrograph.pixels[index] if micrograph.is_stack else micrograph.pixels
    window = pixels[top * shrink : (top + side) * shrink, left * shrink : (left + side) * shrink]
    crop = np.array(window, order="C") if shrink == 1 else add_up(window, shrink)
    low, high, _ = extremes(crop)
    facts = {"source": verdict.file.name, "frame": index, "top": top, "left": left}
    return crop, facts | {"group": verdict.group, "low": low, "high": high}


def _add(tar: tarfile.TarFile, key: str, crop: NDArray[Any], facts: dict[str, Any]) -> None:
    """Append one crop as the members KEY.npy and KEY.json, with no trace of when or by whom."""
    stored = crop.astype(crop.dtype.newbyteorder("<"), copy=False)
    head = npy_header(stored.dtype.str, len(stored))
    text = json.dumps(facts, separators=(",", ":"), allow_nan=False).encode()
    for name, content in (
        (f"{key}.npy", head + stored.tobytes()),
        (f"{key}.json", text),
    ):
        member = tarfile.TarInfo(name)  # its time is 0, its owner 0
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
