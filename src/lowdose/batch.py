"""Denoise files: which, to where, one at a time, and a record of provenance beside each result."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from lowdose import __version__
from lowdose.errors import (
    ConfigError,
    InputError,
    LowdoseError,
    MissingExtraError,
    NoiseModelError,
    OutputError,
)
from lowdose.io import by_suffix, check_output, family_suffix, identify, read, write
from lowdose.io.guard import row_blocks, whole_file
from lowdose.micrograph import Micrograph, round_to_dtype
from lowdose.physics.dose import NoiseModel, gain_from_dose
from lowdose.physics.estimate import fit_noise
from lowdose.records import DEFAULT, find

if TYPE_CHECKING:  # importing torch takes seconds; bad files are refused before
    from lowdose.infer import Denoiser, Precision

# What may go wrong with one file while others can still be denoised.
_OF_ONE_FILE = (InputError, MissingExtraError, NoiseModelError, OutputError)
_DTYPES = ("auto", "input", "float32", "float16", "uint8", "int8", "uint16", "int16")

Progress = Callable[[Path, int, int], None]


# ---- what is asked for -------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseChoice:
    """What the user says of the noise; nothing by default, so that it is estimated.

    Parameters
    ----------
    gain : float or "fit", optional
        Pixel units per electron, or to fit it even where the values look like counts.
    offset, readout : float, optional
        In pixel units; 0 by default. They go with a gain or a dose.
    dose : float, optional
        Mean electrons per pixel, instead of a gain.

    Raises
    ------
    ConfigError
        If these do not go together.
    """

    gain: float | Literal["fit"] | None = None
    offset: float | None = None
    readout: float | None = None
    dose: float | None = None

    def __post_init__(self) -> None:
        if self.gain is not None and self.dose is not None:
            raise ConfigError("--gain and --dose say the same thing twice; give one of them")
        has_rest = self.offset is not None or self.readout is not None
        if has_rest and (self.gain == "fit" or (self.gain is None and self.dose is None)):
            raise ConfigError("--offset and --readout go with --gain NUMBER or --dose; add one")
        if isinstance(self.gain, float):
            self._model(self.gain)  # refuses impossible values before any file is read

    def model_for(self, pixels: NDArray[Any]) -> NoiseModel | None:
        """Noise model of an image, or None where it is to be estimated.

        Raises
        ------
        NoiseModelError
            If the dose or the fit contradicts the image.
        """
        if self.gain == "fit":
            return fit_noise(pixels)
        if self.dose is not None:
            return self._model(gain_from_dose(_mean(pixels), self.dose, offset=self.offset or 0.0))
        return None if self.gain is None else self._model(self.gain)

    def _model(self, gain: float) -> NoiseModel:
        return NoiseModel(gain, self.offset or 0.0, self.readout or 0.0)


@dataclass(frozen=True)
class Options:
    """What decides a result; a finished output made with other options is not taken for it.

    Parameters
    ----------
    model : str
        Name or file of the weights.
    noise : NoiseChoice
        What is known of the noise.
    dtype : str
        Of the output: ``"auto"`` is float32, but the type of the input for PNG, which holds no
        floats; ``"input"`` rounds to the type of the input.
    nonfinite : {"refuse", "fill"}
        What to do about NaN and infinite pixels.
    """

    model: str = DEFAULT
    noise: NoiseChoice = field(default_factory=NoiseChoice)
    dtype: str = "auto"
    nonfinite: Literal["refuse", "fill"] = "refuse"

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ConfigError(f"--dtype is {self.dtype!r}; expected one of {', '.join(_DTYPES)}")
        find(self.model)


@dataclass(frozen=True)
class Engine:
    """What decides how fast it goes, see `lowdose.infer.Denoiser`."""

    device: str = "auto"
    precision: Precision = "auto"
    tile: int | None = None
    threads: int = 0  # as torch likes


# ---- which files, and to where -----------------------------------------------------------------


@dataclass(frozen=True)
class Input:
    """A file, and the folder below which its place is kept in an output folder."""

    path: Path
    root: Path


@dataclass(frozen=True)
class Job:
    """A file and the name of its result.

    Parameters
    ----------
    source : Path
        The input.
    name : Path
        Of the output, without suffix unless `is_whole`.
    is_whole : bool
        Whether the user named the output, suffix included.
    """

    source: Path
    name: Path
    is_whole: bool = False

    def target(self) -> Path:
        """Path of the output; its suffix follows from the format of the input's content."""
        if self.is_whole:
            return self.name
        return _with(self.name, family_suffix(identify(self.source).name, self.source))


def find_inputs(names: Iterable[str], *, listed: Iterable[str] = ()) -> list[Input]:
    """Find the files that are meant.

    Parameters
    ----------
    names : iterable of str
        Files, folders (searched with those inside them), patterns that no shell expanded, or
        ``-`` for those in `listed`.
    listed : iterable of str
        Lines with one name each, such as standard input.

    Returns
    -------
    list of Input
        Each file once. Results of lowdose are left out, unless there is nothing else.

    Raises
    ------
    InputError
        If a folder holds no micrograph, or nothing matches a pattern.
    ConfigError
        If nothing is named at all.
    """
    found: dict[str, Input] = {}
    for name in names:
        lines = (line.strip() for line in listed) if name == "-" else (name,)
        for each in filter(None, lines):
            found |= {os.path.abspath(item.path): item for item in _expand(each)}
    if not found:
        raise ConfigError("there is no input; name files, folders or patterns")
    fresh = [item for item in found.values() if _record_of(item.path) is None]
    return fresh or list(found.values())


def _expand(name: str) -> list[Input]:
    path = Path(name)
    if path.is_dir():
        files = sorted(p for p in path.rglob("[!.]*") if by_suffix(p) and p.is_file())
        if not files:
            raise InputError(path, "holds no file with a suffix of a micrograph.")
        return [Input(file, path) for file in files]
    if glob.has_magic(name) and not path.exists():
        matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
        if not matches:
            raise InputError(path, "no file matches this pattern.")
        root = Path(*[part for part in path.parts if not glob.has_magic(part)][:-1] or ["."])
        return [Input(match, root) for match in matches if match.is_file()]
    return [Input(path, path.parent)]


def plan_jobs(inputs: Sequence[Input], output: str | None) -> list[Job]:
    """Name the result of each input.

    Parameters
    ----------
    inputs : sequence of Input
        See `find_inputs`.
    output : str, optional
        A file for one input, or a folder; beside the inputs by default. In a folder, results lie
        as the inputs do below the deepest folder they share.

    Raises
    ------
    ConfigError
        If several inputs are to go into one file.
    """
    if output is None:
        return _named(inputs, [i.path.parent for i in inputs], "_denoised")
    folder = Path(output)
    is_folder = folder.is_dir() or output.endswith(("/", os.sep)) or not folder.suffix
    if len(inputs) == 1 and not is_folder:
        return [Job(inputs[0].path, folder, is_whole=True)]
    if by_suffix(folder) and not folder.is_dir():
        raise ConfigError(f"{output}: names one file for {len(inputs)} inputs; name a folder")
    shared = os.path.commonpath([os.path.abspath(i.root) for i in inputs])
    places = [os.path.relpath(os.path.abspath(i.path.parent), shared) for i in inputs]
    return _named(inputs, [folder / place for place in places], "")


def _named(inputs: Sequence[Input], places: Sequence[Path], ending: str) -> list[Job]:
    """Jobs whose names differ: a.dm4 beside a.mrc keeps its suffix as part of the name."""
    names = [place / (_stem(i.path) + ending) for i, place in zip(inputs, places, strict=True)]
    claims = [_with(n, _likely_suffix(i.path)) for n, i in zip(names, inputs, strict=True)]
    count = Counter(claims)
    return [
        Job(i.path, name if count[claim] == 1 else name.with_name(i.path.name + ending))
        for i, name, claim in zip(inputs, names, claims, strict=True)
    ]


def _stem(path: Path) -> str:
    claim = by_suffix(path)
    ends = [s for s in claim.suffixes if path.name.lower().endswith(s)] if claim else [path.suffix]
    return path.name[: len(path.name) - len(max(ends, key=len))]


def _likely_suffix(path: Path) -> str:
    claim = by_suffix(path)
    return family_suffix(claim.name if claim else "", path)


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


# ---- doing it ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Parameters
    ----------
    source, target : Path
        Input and output; the target is None where it was not even named.
    error : LowdoseError, optional
        Why there is no result.
    noise : NoiseModel, optional
        Given or estimated; None where it failed or was there already.
    shape : tuple of int
        Of the result.
    seconds : float
        Spent on denoising and writing.
    """

    source: Path
    target: Path | None = None
    error: LowdoseError | None = None
    noise: NoiseModel | None = None
    shape: tuple[int, ...] = ()
    seconds: float = 0.0

    @property
    def is_skipped(self) -> bool:
        """Whether a finished output was there already."""
        return self.error is None and self.noise is None


class Batch:
    """Files denoised one after the other, in the memory of one.

    The network is loaded when the first input has proved good, and once.

    Parameters
    ----------
    jobs : sequence of Job
        See `plan_jobs`.
    options, engine : Options, Engine
        What to do and on what.
    overwrite : bool
        Whether to replace outputs that exist. Otherwise finished ones are skipped, so that an
        interrupted batch goes on where it stopped.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        options: Options,
        engine: Engine = Engine(),
        *,
        overwrite: bool = False,
    ) -> None:
        self.jobs, self.options, self.engine, self.overwrite = jobs, options, engine, overwrite
        self._denoiser: Denoiser | None = None
        self._sources = {_identity(job.source) for job in jobs} - {None}
        self._written: set[Path] = set()

    def run(self, progress: Progress = lambda path, done, total: None) -> Iterator[Outcome]:
        """Denoise each file, and tell what became of it.

        Parameters
        ----------
        progress : callable
            Told the input and its pixels done and in all, after each tile.

        Raises
        ------
        WeightsError, ConfigError
            If nothing at all can be denoised: no such weights, no such device.
        """
        for job in self.jobs:
            try:
                yield self._run(job, progress)
            except _OF_ONE_FILE as err:
                yield Outcome(job.source, error=err)

    def _run(self, job: Job, progress: Progress) -> Outcome:
        target = job.target()
        if self._is_done(job.source, target):
            return Outcome(job.source, target)
        micrograph = read(job.source, nonfinite=self.options.nonfinite)
        noise = self.options.noise.model_for(micrograph.pixels)
        if not job.is_whole:
            _make_folder(target.parent)
        check_output(target)
        denoiser = self._loaded()
        started, clock = datetime.now(UTC), time.perf_counter()
        denoised = denoiser(
            micrograph, noise=noise, progress=lambda done, total: progress(job.source, done, total)
        )
        result = _as_dtype(denoised.micrograph, micrograph, self.options.dtype, target)
        with whole_file(_record_path(target)) as part:
            write(target, result)
            seconds = time.perf_counter() - clock
            record = self._record(micrograph, result, denoised.noise, denoiser)
            record |= {"output": _facts(target, result)}
            record |= {"started": started.isoformat(), "seconds": round(seconds, 3)}
            part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self._written.add(target)
        return Outcome(
            job.source, target, noise=denoised.noise, shape=result.shape, seconds=seconds
        )

    def _is_done(self, source: Path, target: Path) -> bool:
        """Whether the output is there and finished; refuses to put it in a wrong place."""
        if _identity(target) in self._sources:
            raise OutputError(f"{target}: is an input and never replaced; name another output")
        if target in self._written:
            raise OutputError(f"{target}: is the output of another input as well")
        if self.overwrite or not target.exists():
            return False
        record = _record_of(target)
        if record is None:
            problem = "exists, and lowdose has no record of writing it"
        elif record.get("options") != _as_json(self.options):
            problem = "exists, made with other options"
        else:
            return _is_current(record, source, target)
        raise OutputError(f"{target}: {problem}. Pass --overwrite to replace it.")

    def _loaded(self) -> Denoiser:
        if self._denoiser is None:
            import torch

            from lowdose.infer import Denoiser

            if self.engine.threads:
                torch.set_num_threads(self.engine.threads)
            self._denoiser = Denoiser(
                self.options.model,
                device=self.engine.device,
                precision=self.engine.precision,
                tile=self.engine.tile,
            )
        return self._denoiser

    def _record(
        self, source: Micrograph, result: Micrograph, noise: NoiseModel, denoiser: Denoiser
    ) -> dict[str, Any]:
        path = cast(Any, source.source).path
        return {
            "lowdose": __version__,
            "options": _as_json(self.options),
            "model": {"name": denoiser.record.name, "sha256": denoiser.record.sha256},
            "noise": dataclasses.asdict(noise),
            "pixel_size_nm": result.pixel_size_nm,
            "engine": {
                "device": str(denoiser.device),
                "precision": str(denoiser.dtype).removeprefix("torch."),
                "tile": denoiser.tile,
            },
            "input": _facts(path, source) | {"format": cast(Any, source.source).format},
        }


def _as_dtype(result: Micrograph, source: Micrograph, dtype: str, target: Path) -> Micrograph:
    own = source.source.dtype if source.source else source.pixels.dtype
    if dtype == "auto":
        dtype = "input" if target.suffix.lower() == ".png" else "float32"
    pixels = round_to_dtype(result.pixels, own if dtype == "input" else dtype)
    return dataclasses.replace(result, pixels=pixels)


def _mean(pixels: NDArray[Any]) -> float:
    total = sum(float(rows.sum(dtype=np.float64)) for rows in row_blocks(pixels))
    return total / pixels.size


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{path}: cannot be made a folder ({err.strerror}).") from err


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


# ---- the record beside a result ----------------------------------------------------------------


def _record_path(target: Path) -> Path:
    return _with(target, ".json")


def _record_of(path: Path) -> dict[str, Any] | None:
    """Record of a result of lowdose; None for any other file."""
    try:
        record = json.loads(_record_path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(record, dict) and "lowdose" in record and "output" in record
    return record if is_ours else None


def _is_current(record: dict[str, Any], source: Path, target: Path) -> bool:
    """Whether an output is whole and was made from this input as it is now."""
    was, now, made = record["input"], source.stat(), target.stat()
    is_same = Path(was["path"]).name == source.name and was["bytes"] == now.st_size
    is_whole = record["output"]["bytes"] == made.st_size
    return is_same and is_whole and made.st_mtime >= now.st_mtime


def _facts(path: Path, micrograph: Micrograph) -> dict[str, Any]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "path": os.path.abspath(path),
        "bytes": path.stat().st_size,
        "sha256": digest,
        "shape": micrograph.shape,
        "dtype": str(micrograph.pixels.dtype),
    }


def _as_json(options: Options) -> Any:
    """Options as they come back from a record."""
    return json.loads(json.dumps(dataclasses.asdict(options)))
