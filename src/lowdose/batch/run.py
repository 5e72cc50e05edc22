"""Denoising one file after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowdose.batch.choices import Engine, Options
from lowdose.batch.places import Job
from lowdose.batch.record import (
    as_json,
    file_facts,
    is_current,
    provenance,
    record_of,
    record_path,
    sha256_of,
    write_record,
)
from lowdose.errors import (
    InputError,
    LimitError,
    LowdoseError,
    MissingExtraError,
    NoiseModelError,
    OutputError,
)
from lowdose.io import check_output, read, write
from lowdose.io.guard import whole_file
from lowdose.micrograph import Micrograph, round_to_dtype
from lowdose.physics.dose import NoiseModel

if TYPE_CHECKING:  # importing torch takes seconds; bad files are refused before
    from lowdose.infer import Denoiser

# What may go wrong with one file while others can still be denoised.
_OF_ONE_FILE = (InputError, MissingExtraError, NoiseModelError, OutputError)

Progress = Callable[[Path, int, int], None]


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
        engine: Engine = Engine(),  # noqa: B008 - frozen
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

        def tell(done: int, total: int) -> None:
            progress(job.source, done, total)

        with _short_of_memory(job.source):
            denoised = denoiser(micrograph, noise=noise, progress=tell)
        result = _as_dtype(denoised.micrograph, micrograph, self.options.dtype, target)
        record = provenance(self.options, denoised.noise, denoiser)
        record["input"] = _source_facts(job.source, micrograph)
        # The result takes its name first, its record right after; one killed between them is
        # older than the result, and not believed.
        with whole_file(record_path(target)) as part:
            write(target, result)
            seconds = time.perf_counter() - clock
            record["output"] = file_facts(target, result)
            write_record(part, record, started=started, seconds=seconds)
        self._written.add(target)
        return Outcome(job.source, target, None, denoised.noise, result.shape, seconds)

    def _is_done(self, source: Path, target: Path) -> bool:
        """Whether the output is there and finished; refuses to put it in a wrong place."""
        if _identity(target) in self._sources:
            raise OutputError(f"{target}: is an input and never replaced; name another output")
        if target in self._written:
            raise OutputError(f"{target}: is the output of another input as well")
        if self.overwrite or not os.path.exists(target):
            return False
        record = record_of(target)
        if record is None:
            problem = "exists, and lowdose has no record of writing it"
        elif record.get("options") != as_json(self.options):
            problem = "exists, made with other options"
        else:
            return is_current(record, source, target)
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
                backend=self.engine.backend,
                ensemble=self.engine.ensemble,
            )
        return self._denoiser


def _as_dtype(result: Micrograph, source: Micrograph, dtype: str, target: Path) -> Micrograph:
    own = source.source.dtype if source.source else source.pixels.dtype
    if dtype == "auto":
        dtype = "input" if target.suffix.lower() == ".png" else "float32"
    pixels = round_to_dtype(result.pixels, own if dtype == "input" else dtype)
    return replace(result, pixels=pixels)


@contextmanager
def _short_of_memory(path: Path) -> Iterator[None]:
    """Turn an allocation that failed, torch's included, into a sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as err:
        if isinstance(err, RuntimeError) and "memory" not in str(err):
            raise
        problem = "needs more memory than there is. Pass --tile 512, or less."
        raise LimitError(path, problem) from err


def _source_facts(path: Path, micrograph: Micrograph) -> dict[str, Any]:
    file_format = micrograph.source.format if micrograph.source else None
    # In full: PNG and NPY keep no calibration, and MRC neither voltage nor units but lengths.
    return file_facts(path, micrograph) | {
        "format": file_format,
        "sha256": sha256_of(path),
        "axes": [asdict(axis) for axis in micrograph.axes],
        "metadata": dict(micrograph.metadata),
    }


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
