"""Crops in tar files on disk, drawn one by one: a data set of any size never fills the memory.

A data set is a folder of ``dataset.json`` and of tar files ("shards") that hold, per crop, the
members ``KEY.npy`` and ``KEY.json``, as the WebDataset library has them [1]_. The crops may come
from anywhere, so nothing in them is believed before it is checked, and nothing is unpickled.

References
----------
.. [1] A. Aizman, G. Maltby, T. Breuel, "High performance I/O for large scale deep learning", IEEE
   Int. Conf. Big Data, 5965 (2019).
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import tarfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.data.truths import Truth
from lowdose.errors import ConfigError, InputError, MalformedFileError

DESCRIPTION = "dataset.json"
LAYOUT = 1
_BLOCK = tarfile.BLOCKSIZE
_MOST_FACTS = 1 << 16
# Of an NPY file of version 1.0, whose content numpy begins at a multiple of 64 bytes.
_HEADER = 128
_TYPES = ("|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")
_MOST_CROPS = 1 << 20
_SHARD_NAME = re.compile(r"(train|val|test)-\d{6,}\.tar")


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What ``dataset.json`` says of one tar file."""

    name: str
    crops: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Description:
    """What ``dataset.json`` says.

    Parameters
    ----------
    folder : Path
        Where it and the shards lie.
    crop : int
        Side of the crops in pixels.
    splits : mapping of str to tuple of ShardFacts
        The shards of train, val and test.
    facts : mapping
        All of it, as in the file.
    """

    folder: Path
    crop: int
    splits: Mapping[str, tuple[ShardFacts, ...]]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CropFacts:
    """What the JSON member of a crop says; `top` and `left` in pixels of the (shrunk) frame."""

    source: str
    frame: int
    top: int
    left: int
    group: str
    low: float
    high: float

    @property
    def name(self) -> str:
        """Source, frame and corner in one."""
        return f"{self.source}[{self.frame}] {self.top},{self.left}"


def load_description(place: Path | str) -> Description:
    """Read the description of a data set.

    Parameters
    ----------
    place : Path or str
        The folder, or its ``dataset.json``.

    Raises
    ------
    ConfigError
        If there is none: the folder is no data set, or its build has not finished.
    MalformedFileError
        If it is damaged, or of another version.
    """
    path = Path(place)
    path = path / DESCRIPTION if path.is_dir() else path
    try:
        facts = json.loads(path.read_text("utf-8"))
        if facts["layout"] != LAYOUT:
            problem = f"has layout {facts['layout']!r}; this lowdose reads {LAYOUT}. Update it."
            raise MalformedFileError(path, problem)
        splits = {
            split: tuple(_shard_facts(row) for row in part["shards"])
            for split, part in facts["splits"].items()
        }
        crop = facts["crop"]
        if type(crop) is not int or not 0 < crop < 1 << 16:
            raise ValueError(f"crop is {crop!r}")
    except OSError as err:
        raise ConfigError(
            f"{path}: cannot be read ({err.strerror}). Name the folder of a finished data set; "
            "`lowdose dataset build` writes this file last"
        ) from err
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        problem = f"is not what `lowdose dataset build` writes ({type(err).__name__}: {err})."
        raise MalformedFileError(path, problem) from err
    return Description(path.parent, crop, splits, facts)


class Shard:
    """One tar file, open; any number of threads may read from it.

    Parameters
    ----------
    path : Path
        The file.
    facts : ShardFacts
        What it should hold.
    crop : int
        Side of its crops.

    Raises
    ------
    InputError
        If it cannot be opened.
    MalformedFileError
        If it is cut short or its members are not the crops it should hold.
    """

    def __init__(self, path: Path, facts: ShardFacts, crop: int) -> None:
        self.path, self._crop = path, crop
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - stays open
        except OSError as err:
            raise InputError(path, f"cannot be opened ({err.strerror}).") from err
        # Closed when the last thread lets go of the shard, not while it reads.
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._size = os.fstat(self._file.fileno()).st_size
        if self._size != facts.size:
            problem = f"has {self._size} bytes, {facts.size} were written. Copy it again."
            raise MalformedFileError(path, problem)
        self._members = self._walk(facts.crops)

    def __len__(self) -> int:
        return len(self._members)

    def read(self, place: int) -> tuple[NDArray[Any], CropFacts]:
        """Read one crop, and check it.

        Raises
        ------
        MalformedFileError
            If it is not what the layout says; names the member.
        """
        start, size, facts_start, facts_size = map(int, self._members[place])
        try:
            facts = _crop_facts(self._bytes(facts_start, facts_size))
            pixels = _pixels(self._bytes(start, size), self._crop)
            found = float(pixels.min()), float(pixels.max())
            if found != (facts.low, facts.high) or not found[0] < found[1]:
                raise ValueError(f"its pixels are {found[0]:g} to {found[1]:g}, against its JSON")
        except (ValueError, TypeError, KeyError, RecursionError) as err:
            key = self._key(start)
            raise self._damaged(f"member {key}", err) from err
        return pixels, facts

    def _walk(self, count: int) -> NDArray[np.int64]:
        """Where the array and the JSON of each crop start, and their bytes; shape (count, 4)."""
        members = np.empty((count, 4), np.int64)
        offset = 0
        most = (_HEADER + self._crop**2 * 8, _MOST_FACTS)
        for place in range(count):
            keys = []
            for part, suffix in enumerate((".npy", ".json")):
                name, start, size = self._member(offset, f"crop {place} of {count}")
                if not name.endswith(suffix) or size > most[part] or start + size > self._size:
                    problem = f"member {name!r} of {size} bytes at {offset} is none expected there"
                    raise self._damaged(problem)
                keys.append(name.removesuffix(suffix))
                members[place, 2 * part : 2 * part + 2] = start, size
                offset = start + -(-size // _BLOCK) * _BLOCK
            if keys[0] != keys[1]:
                raise self._damaged(f"members {keys[0]!r} and {keys[1]!r} should be a pair")
        if offset + _BLOCK > self._size or any(self._bytes(offset, _BLOCK)):
            raise self._damaged(f"it does not end after {count} crops")
        return members

    def _member(self, offset: int, what: str) -> tuple[str, int, int]:
        """Name, start and bytes of the member whose header is at `offset`."""
        try:
            block = self._bytes(offset, _BLOCK)
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if member.size < 0 or not member.isreg():
                raise ValueError("no regular file")
        except (tarfile.HeaderError, ValueError) as err:
            raise self._damaged(f"the tar header of {what} at byte {offset}", err) from err
        return member.name, offset + _BLOCK, member.size

    def _key(self, start: int) -> str:
        return self._member(start - _BLOCK, "a crop")[0].removesuffix(".npy")

    def _bytes(self, start: int, size: int) -> bytes:
        """So many bytes; several threads, and processes that were forked, do not disturb it."""
        try:
            if hasattr(os, "pread"):
                found = os.pread(self._file.fileno(), size, start)
            else:
                with self._lock:
                    self._file.seek(start)
                    found = self._file.read(size) or b""
        except OSError as err:
            raise InputError(self.path, f"cannot be read ({err.strerror}).") from err
        if len(found) != size:
            raise ValueError(f"{len(found)} of {size} bytes are there")
        return found

    def _damaged(self, what: str, err: Exception | None = None) -> MalformedFileError:
        detail = f" ({' '.join(str(err).split())[:200]})" if err else ""
        advice = "Copy it again, or run `lowdose dataset check`."
        return MalformedFileError(self.path, f"damaged: {what}{detail}. {advice}")


class ShardSet:
    """The crops of one split, in an order that is drawn anew each epoch.

    The order is a function of the seed and the epoch alone: shards are shuffled, `window` of them
    at a time are mixed crop by crop. Any number of processes that each ask for their own
    ordinals, and a run that goes on after it was killed, draw the same crops, and no more than
    `window` shards are read at a time.

    Parameters
    ----------
    place : Path or str
        Folder of a data set.
    split : str
        ``"train"``, ``"val"`` or ``"test"``.
    seed : int
        Start of the random order.
    window : int
        Shards that are mixed.

    Raises
    ------
    ConfigError
        If there is no such data set or split, or the split is empty.
    """

    def __init__(
        self, place: Path | str, split: str = "train", *, seed: int = 0, window: int = 8
    ) -> None:
        self.description = load_description(place)
        self.shards = self.description.splits.get(split, ())
        if not self.shards:
            has = ", ".join(name for name, part in self.description.splits.items() if part)
            raise ConfigError(f"{place}: the split {split!r} has no crop; there are: {has}")
        self.split, self._seed, self._window = split, seed, window
        self._counts = np.array([shard.crops for shard in self.shards], np.int64)
        self._count = int(self._counts.sum())
        # A window's shards stay open, and those of the next one while threads pass over.
        self._open = functools.lru_cache(2 * window)(self._open_shard)
        self._epoch = functools.lru_cache(2)(self._draw_epoch)
        self._mixed = functools.lru_cache(4)(self._draw_mixed)

    def __len__(self) -> int:
        return self._count

    def truth(self, ordinal: int) -> Truth:
        """Crop at a place of the endless sequence of epochs.

        Raises
        ------
        InputError
            If it cannot be read, or is damaged; names shard and member.
        """
        return self._truth(*self.locate(ordinal))

    @property
    def held(self) -> tuple[()]:
        """None: they are read as they are drawn."""
        return ()

    def pick(self, ordinal: int, rng: np.random.Generator) -> Truth:
        """Likewise; for `lowdose.data.pairs.PairSource`, whose lots are not needed here."""
        del rng
        return self.truth(ordinal)

    def locate(self, ordinal: int) -> tuple[int, int]:
        """Shard, and place in it, of a crop of the endless sequence; reads no shard."""
        if ordinal < 0:
            raise IndexError(f"ordinal {ordinal}; expected 0 or more")
        epoch, rest = divmod(ordinal, self._count)
        _, edges = self._epoch(epoch)
        window = int(np.searchsorted(edges, rest, side="right")) - 1
        shards, places = self._mixed(epoch, window)
        at = rest - int(edges[window])
        return int(shards[at]), int(places[at])

    def in_order(self) -> Iterator[Truth]:
        """Yield every crop once, as they lie on disk."""
        for shard, count in enumerate(self._counts):
            for place in range(int(count)):
                yield self._truth(shard, place)

    def _truth(self, shard: int, place: int) -> Truth:
        pixels, facts = self._open(shard).read(place)
        return Truth(pixels, facts.low, facts.high, facts.name, facts.group)

    def _open_shard(self, index: int) -> Shard:
        facts = self.shards[index]
        return Shard(self.description.folder / facts.name, facts, self.description.crop)

    def _draw_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order of the shards, and the ordinal within the epoch at which each window starts."""
        order = np.random.default_rng((self._seed, epoch, 0)).permutation(len(self.shards))
        starts = np.arange(0, len(order), self._window)
        sizes = np.add.reduceat(self._counts[order], starts)
        return order, np.concatenate([[0], np.cumsum(sizes)])

    def _draw_mixed(self, epoch: int, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and place of every crop of a window, mixed."""
        order, _ = self._epoch(epoch)
        chosen = order[window * self._window : (window + 1) * self._window]
        counts = self._counts[chosen]
        shards = np.repeat(chosen, counts)
        places = np.concatenate([np.arange(count) for count in counts])
        rng = np.random.default_rng((self._seed, epoch, 1, window))
        mixed = rng.permutation(len(shards))
        return shards[mixed], places[mixed]


def is_data_set(place: Path | str) -> bool:
    """Whether a folder, or its ``dataset.json``, is a finished data set."""
    path = Path(place)
    return (path if path.name == DESCRIPTION else path / DESCRIPTION).is_file()


def _shard_facts(row: Mapping[str, Any]) -> ShardFacts:
    facts = ShardFacts(row["name"], row["crops"], row["bytes"], row["sha256"])
    # A name with a folder in it could be any file of the system.
    if not isinstance(facts.name, str) or not _SHARD_NAME.fullmatch(facts.name):
        raise ValueError(f"a shard is called {facts.name!r}")
    for number in (facts.crops, facts.size):
        if type(number) is not int or number < 1:
            raise ValueError(f"shard {facts.name} has {number!r} crops or bytes")
    if facts.crops > min(_MOST_CROPS, facts.size // _BLOCK):
        raise ValueError(f"shard {facts.name} claims {facts.crops} crops in {facts.size} bytes")
    return facts


def _crop_facts(text: bytes) -> CropFacts:
    facts = json.loads(text)
    found = CropFacts(**{name: facts[name] for name in CropFacts.__dataclass_fields__})
    if not isinstance(found.source, str) or not isinstance(found.group, str):
        raise TypeError("source and group are no text")
    if any(type(number) is not int for number in (found.frame, found.top, found.left)):
        raise TypeError("frame and corner are no whole numbers")
    # Not math.isfinite, which fails at integers of some hundred digits.
    if not all(isinstance(v, int | float) and abs(v) < math.inf for v in (found.low, found.high)):
        raise ValueError("its extremes are no finite numbers")
    return found


def npy_header(descr: str, crop: int) -> bytes:
    """Bytes before the pixels in the NPY file of a crop, as numpy writes them; 128.

    Examples
    --------
    >>> npy_header("<u2", 512)[10:].split(b"  ")[0]
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (512, 512), }"
    """
    facts = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({crop}, {crop}), }}"
    text = facts.encode().ljust(_HEADER - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@functools.cache
def _headers(crop: int) -> dict[bytes, str]:
    """Type of the pixels by header, for all that a crop may have."""
    return {npy_header(descr, crop): descr for descr in _TYPES}


def _pixels(content: bytes, crop: int) -> NDArray[Any]:
    """Array of an NPY file in memory, whose header is compared, never parsed."""
    descr = _headers(crop).get(content[:_HEADER])
    if descr is None:
        raise ValueError(f"its header is none of an array of {crop} x {crop} little-endian numbers")
    dtype = np.dtype(descr)
    expected = _HEADER + crop * crop * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"it has {len(content)} bytes; expected {expected}")
    pixels = np.frombuffer(content, dtype, offset=_HEADER).reshape(crop, crop)
    return pixels.astype(dtype.newbyteorder("="), copy=False)
