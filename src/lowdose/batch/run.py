"""Denoising one file after the other."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowdose.batch.choices import Engine, Options
from lowdose.batch.places import Job, deviation_path, make_folder
from lowdose.batch.record import (
    are_same_options,
    file_facts,
    is_same_input,
    is_whole,
    provenance,
    reading,
    record_of,
    record_path,
    write_record,
)
from lowdose.corrections import correct, stripes_in
from lowdose.errors import (
    InputError,
    LimitError,
    LowdoseError,
    MissingExtraError,
    NoiseModelError,
    OutputError,
)
from lowdose.io import check_output, read, write
from lowdose.io.guard import row_blocks, sha256_of, whole_file
from lowdose.memory import allocate
from lowdose.micrograph import Micrograph, round_to_dtype
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.records import AUTO, CHOICES, load_record

if TYPE_CHECKING:  # importing torch takes seconds; bad files are refused before
    from lowdose.infer import Denoised, Denoiser
    from lowdose.trust.score import Scores
    from lowdose.trust.uncertainty import Calibration

# What may go wrong with one file while others can still be denoised.
_OF_ONE_FILE = (InputError, MissingExtraError, NoiseModelError, OutputError)

# Results of at most so many pixels are written while the next is made: two of 2048 x 2048.
_SMALL = 1 << 22

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
    model : str
        Name of the weights.
    lattice : bool
        Whether a lattice was set aside.
    twice : bool
        Whether it was looked at twice.
    put_right : str
        What was put right before; empty where nothing was.
    stripes_kept : float
        Deviation of what was seen of offsets of rows or columns and not taken off, in that of the
        noise.
    """

    source: Path
    target: Path | None = None
    error: LowdoseError | None = None
    noise: NoiseModel | None = None
    shape: tuple[int, ...] = ()
    seconds: float = 0.0
    model: str = ""
    lattice: bool = False
    twice: bool = False
    put_right: str = ""
    stripes_kept: float = 0.0

    @property
    def is_skipped(self) -> bool:
        """Whether a finished output was there already."""
        return self.error is None and self.noise is None


@dataclass(frozen=True)
class _Made:
    """A result in memory and what writes it, or a finished outcome."""

    outcome: Callable[[], Outcome]
    pixels: int = 0


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
        self._denoisers: dict[str, Denoiser] = {}
        self._sources = {_identity(job.source) for job in jobs} - {None}
        self._claimed: set[Path] = set()

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
        with ThreadPoolExecutor(1, "writer") as pool:
            ahead: Future[Outcome] | None = None
            for job in self.jobs:
                try:
                    made = self._made(job, progress)
                except LowdoseError:
                    if ahead:
                        yield ahead.result()
                    raise
                if ahead:
                    yield ahead.result()
                # A small result is written while the next is made; two large ones are too many.
                ahead = pool.submit(made.outcome)
                if made.pixels > _SMALL:
                    yield ahead.result()
                    ahead = None
            if ahead:
                yield ahead.result()

    def _made(self, job: Job, progress: Progress) -> _Made:
        """A result in memory, or what became of the file instead."""
        try:
            return self._make(job, progress)
        except _OF_ONE_FILE as err:
            failure = Outcome(job.source, error=err)
            return _Made(lambda: failure)

    def _make(self, job: Job, progress: Progress) -> _Made:
        target = job.target()
        targets = [target, deviation_path(target)] if self.options.uncertainty else [target]
        are_done = [self._is_done(job.source, each) for each in targets]  # each may refuse
        self._claimed |= set(targets)
        if all(are_done):
            return _Made(lambda: Outcome(job.source, target))
        micrograph = read(job.source, nonfinite=self.options.nonfinite)
        noise = self.options.noise.model_for(micrograph)
        if not job.is_whole:
            make_folder(target.parent)
        kind = _written_as(micrograph, self.options.dtype, target)
        for each in targets:
            check_output(
                each, dtype=kind if each == target else None, frames=micrograph.frame_count
            )
        candidates = [self.loaded(name) for name in self._names]
        if self.options.uncertainty:
            for candidate in candidates:
                candidate.check_uncertainty()
        started, clock = datetime.now(UTC), time.perf_counter()

        def tell(done: int, total: int) -> None:
            progress(job.source, done, total)

        with _short_of_memory(job.source):
            noise = noise or estimate_noise(micrograph.pixels)
            options = self.options
            corrected = correct(
                micrograph,
                noise,
                repair=options.repair,
                destripe=options.destripe,
                dejitter=options.dejitter,
            )
            kept = 0.0 if options.destripe else stripes_in(micrograph, noise)
            denoiser, noise, scores = _chosen(corrected.micrograph, noise, candidates)
            denoised, calibration = self._denoised(denoiser, corrected.micrograph, noise, tell)
        record = provenance(self.options, denoised.noise, denoiser)
        record["lattice_set_aside"] = denoised.lattice
        record["looked_at_twice"] = denoised.twice
        record["pixels_repaired"] = corrected.repaired
        record["stripes_taken_off"] = corrected.stripes
        record["stripes_kept"] = kept
        record["rows_put_back_px"] = corrected.jitter
        if scores:
            record["scores"] = [asdict(each) for each in scores.scores]
        if calibration:
            record["uncertainty"] = asdict(calibration)

        def write_all() -> Outcome:
            record["input"] = _source_facts(job.source, micrograph)
            results = self._results(denoised, micrograph, target)
            # A result takes its name first, its record right after; one killed between them is
            # older than the result, and not believed. What all depends on comes last.
            for path, result in reversed(results.items()):
                with whole_file(record_path(path)) as part:
                    write(path, result)
                    seconds = time.perf_counter() - clock
                    record["output"] = file_facts(path, result)
                    write_record(part, record, started=started, seconds=seconds)
            shape, name = denoised.micrograph.shape, denoiser.record.name
            return Outcome(
                job.source,
                target,
                noise=denoised.noise,
                shape=shape,
                seconds=seconds,
                model=name,
                lattice=denoised.lattice,
                twice=denoised.twice,
                put_right=str(corrected),
                stripes_kept=kept,
            )

        def outcome() -> Outcome:
            try:
                return write_all()
            except _OF_ONE_FILE as err:
                return Outcome(job.source, error=err)

        return _Made(outcome, micrograph.pixels.size)

    def _denoised(
        self,
        denoiser: Denoiser,
        micrograph: Micrograph,
        noise: NoiseModel,
        progress: Callable[[int, int], None],
    ) -> tuple[Denoised, Calibration | None]:
        if not self.options.uncertainty:
            return denoiser(micrograph, noise=noise, progress=progress), None
        from lowdose.trust.uncertainty import denoise_with_uncertainty

        return denoise_with_uncertainty(denoiser, micrograph, noise=noise, progress=progress)

    def _results(
        self, denoised: Denoised, source: Micrograph, target: Path
    ) -> dict[Path, Micrograph]:
        """What is written where, the denoised micrograph first."""
        kind = _written_as(source, self.options.dtype, target)
        results = {target: _as_dtype(denoised.micrograph, kind)}
        if denoised.uncertainty:
            # Of floats whatever the result is: rounded like it, most would be zero.
            results[deviation_path(target)] = denoised.uncertainty
        return results

    @property
    def _names(self) -> tuple[str, ...]:
        return CHOICES if self.options.model == AUTO else (self.options.model,)

    @cached_property
    def _hashes(self) -> set[str]:
        return {load_record(name).sha256 for name in self._names}

    def _is_done(self, source: Path, target: Path) -> bool:
        """Whether the output is there and finished; refuses to put it in a wrong place."""
        if _identity(target) in self._sources:
            raise OutputError(f"{target}: is an input and never replaced; name another output")
        if target in self._claimed:
            raise OutputError(f"{target}: is the output of another input as well")
        if self.overwrite or not os.path.exists(target):
            return False
        record = record_of(target)
        if record is None:
            problem = "exists, and lowdose has no record of writing it"
        elif not are_same_options(record, self.options):
            problem = "exists, made with other options"
        elif record["model"]["sha256"] not in self._hashes:
            problem = "exists, made with other weights"
        else:
            is_same, made_from = is_same_input(record, source), record["input"]["path"]
            if is_same or made_from == os.path.abspath(source):
                return is_same and is_whole(record, target)
            problem = f"exists, made from {made_from}"
        raise OutputError(f"{target}: {problem}. Pass --overwrite to replace it.")

    def loaded(self, name: str) -> Denoiser:
        """Network of these weights, loaded once.

        Raises
        ------
        WeightsError, ConfigError
            If it cannot be.
        """
        if name not in self._denoisers:
            import torch

            from lowdose.infer import Denoiser

            if self.engine.threads:
                torch.set_num_threads(self.engine.threads)
            self._denoisers[name] = Denoiser(
                name,
                device=self.engine.device,
                precision=self.engine.precision,
                tile=self.engine.tile,
                backend=self.engine.backend,
                ensemble=self.options.ensemble,
                lattice=self.options.lattice,
            )
        return self._denoisers[name]


def _chosen(
    micrograph: Micrograph, noise: NoiseModel, candidates: Sequence[Denoiser]
) -> tuple[Denoiser, NoiseModel, Scores | None]:
    """The network for an image, what it is told of the noise, and why, where there is a choice."""
    if len(candidates) == 1:
        return candidates[0], noise, None
    from lowdose.trust.auto import choose

    return choose(micrograph, noise, candidates)


def _written_as(source: Micrograph, dtype: str, target: Path) -> np.dtype[Any]:
    """Type of the pixels of a result."""
    own = source.source.dtype if source.source else source.pixels.dtype
    if dtype == "auto":
        dtype = "input" if target.suffix.lower() == ".png" else "float32"
    return np.dtype(own if dtype == "input" else dtype)


def _as_dtype(result: Micrograph, kind: np.dtype[Any]) -> Micrograph:
    if kind == result.pixels.dtype:
        return result
    pixels = allocate(result.shape, kind)
    for rounded, part in zip(row_blocks(pixels), row_blocks(result.pixels), strict=True):
        rounded[...] = round_to_dtype(part, kind)
    return replace(result, pixels=pixels)


@contextmanager
def _short_of_memory(path: Path) -> Iterator[None]:
    """Turn an allocation that failed, torch's included, into a sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as err:
        # What torch's allocators say; others speak of memory too, as of its format.
        if isinstance(err, RuntimeError) and not re.search("out of memory|allocate", str(err)):
            raise
        problem = "needs more memory than there is. Pass --tile 512, or less."
        raise LimitError(path, problem) from err


def _source_facts(path: Path, micrograph: Micrograph) -> dict[str, Any]:
    file_format = micrograph.source.format if micrograph.source else None
    with reading(path):
        # In full: PNG and NPY keep no calibration, and MRC neither voltage nor units but lengths.
        return file_facts(path, micrograph) | {
            "format": file_format,
            "sha256": sha256_of(path),
            "mtime_ns": path.stat().st_mtime_ns,
            "axes": [asdict(axis) for axis in micrograph.axes],
            "metadata": dict(micrograph.metadata),
        }


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
