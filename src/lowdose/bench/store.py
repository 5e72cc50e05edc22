"""Results on disk as they come: one line of JSON each, and what is not there yet is computed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.bench.doses import Law, short
from lowdose.bench.scores import FIGURES, Score
from lowdose.errors import ConfigError, OutputError

# Part of every key: raise it when exposures, scores or arrays change their meaning.
PROTOCOL = 1


@dataclass(frozen=True)
class Key:
    """What a result follows from."""

    law: str
    seed: int
    truth: str
    truth_sha256: str
    method: str
    protocol: int = PROTOCOL

    @staticmethod
    def of(law: Law, seed: int, truth: str, truth_sha256: str, method: str) -> Key:
        """Key with the law as text; `method` is its identity, not its label."""
        return Key(short(law), seed, truth, truth_sha256, method)

    @property
    def digest(self) -> str:
        """Short name for a file."""
        text = json.dumps(list(vars(self).values()))
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Result:
    """One method on one exposure.

    Parameters
    ----------
    key : Key
        What it follows from.
    dose : float
        Expected counts at the brightest pixel.
    score : Score
        By both protocols.
    arrays : mapping of str to ndarray of float32
        What is averaged over images: see `lowdose.bench.run.measure`.
    seconds : float
        That the method took; not part of any table that repeats bit for bit.
    """

    key: Key
    dose: float
    score: Score
    arrays: Mapping[str, NDArray[np.float32]]
    seconds: float

    def to_line(self) -> str:
        """One line of JSON."""
        arrays = {name: [list(a.shape), _to_text(a)] for name, a in self.arrays.items()}
        figures = dict(zip(FIGURES, self.score.figures, strict=True))
        table = {"dose": self.dose, "score": figures, "arrays": arrays, "seconds": self.seconds}
        return json.dumps({"key": vars(self.key), **table}) + "\n"

    @staticmethod
    def from_line(line: bytes) -> Result:
        """Undo `to_line`; raises ValueError, KeyError or TypeError for what is no such line."""
        table = json.loads(line)
        arrays = {name: _from_text(*pair) for name, pair in table["arrays"].items()}
        score = Score.from_figures([float(table["score"][name]) for name in FIGURES])
        return Result(Key(**table["key"]), table["dose"], score, arrays, table["seconds"])


def _to_text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _from_text(shape: list[int], text: str) -> NDArray[np.float32]:
    flat = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    if flat.size != math.prod(shape):
        raise ValueError(f"{flat.size} numbers for shape {shape}")
    return flat.reshape(shape).astype(np.float32)


class Store:
    """A folder with ``results.jsonl`` and estimates of examples.

    Parameters
    ----------
    folder : Path
        Made if absent. A last line cut short, or any that does not read, is dropped.

    Raises
    ------
    OutputError
        If the folder cannot be made, read or written to.
    ConfigError
        If it holds a file of that name that is none of ours.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "results.jsonl"
        self._results: dict[Key, Result] = {}
        try:
            (folder / "examples").mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "a+b")  # noqa: SIM115 - closed by close()
            self._load()
        except OSError as err:
            raise OutputError(f"{folder}: cannot be written ({err.strerror or err}).") from err

    def _load(self) -> None:
        self._file.seek(0)
        lines = self._file.readlines()
        for line in lines:
            try:
                result = Result.from_line(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            self._results[result.key] = result
        if lines and not self._results and lines[0].endswith(b"\n"):
            self._file.close()
            raise ConfigError(f"{self._path}: holds no result of lowdose bench; name a new folder.")
        if lines and not lines[-1].endswith(b"\n"):
            self._file.truncate(self._file.seek(0, os.SEEK_END) - len(lines[-1]))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, key: Key) -> bool:
        return key in self._results

    def __getitem__(self, key: Key) -> Result:
        return self._results[key]

    def add(self, results: Iterable[Result]) -> None:
        """Keep results; they are on disk when this returns.

        Raises
        ------
        OutputError
            If the disk is full.
        """
        lines = []
        for result in results:
            lines.append(result.to_line())
            # As it will be read back: results of this run and of the next are the same bits.
            self._results[result.key] = Result.from_line(lines[-1].encode())
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as err:
            raise OutputError(f"{self._path}: cannot be written ({err.strerror}).") from err

    def example(self, key: Key) -> Path:
        """Where the estimate of an example lies, or will lie."""
        return self.folder / "examples" / f"{key.digest}.npy"
