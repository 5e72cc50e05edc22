"""Run a plan: whatever its store lacks is computed, in as many processes as asked for."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.bench.doses import Exposure, Law, expose, short
from lowdose.bench.methods import NONE, Method, Spec, build, identity
from lowdose.bench.outside import said
from lowdose.bench.plan import Plan, Section, Subject
from lowdose.bench.scores import ImageScores, checked_pair
from lowdose.bench.store import Key, Result, Store
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError, LowdoseError
from lowdose.io.guard import whole_file
from lowdose.metrics import paper_images, position_errors, radial_profile

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """Methods to run on one exposure; travels to another process.

    Parameters
    ----------
    truth, law, seed
        See `expose`.
    methods : sequence of (Spec, Key, Path or None)
        Each with the key of its result, and where its estimate is kept, if anywhere.
    device : str
        Of networks.
    """

    truth: Truth
    law: Law
    seed: int
    methods: Sequence[tuple[Spec, Key, Path | None]]
    device: str


@dataclass(frozen=True)
class Scored:
    """One exposure with the results of all its methods, by label."""

    subject: Subject
    seed: int
    results: dict[str, Result]

    @property
    def scores(self) -> ImageScores:
        """As `lowdose.bench.scores` averages them."""
        first = next(iter(self.results.values()))
        scores = {label: result.score for label, result in self.results.items()}
        return ImageScores(self.subject.truth.name, first.dose, scores)


class Bench:
    """A plan and the store of its results.

    Parameters
    ----------
    plan : Plan
        What to compute.
    store : Store
        What was computed.
    device : str
        Of networks.

    Raises
    ------
    LowdoseError
        If a method is not there.
    """

    def __init__(self, plan: Plan, store: Store, *, device: str = "auto") -> None:
        self.plan, self.store, self._device = plan, store, device
        specs = {spec for section in plan.sections for spec in section.methods}
        self.identities = {spec: identity(spec, device=device) for spec in specs}

    def key(self, law: Law, seed: int, subject: Subject, spec: Spec) -> Key:
        """Key of a result."""
        name = subject.truth.name
        return Key.of(law, seed, name, subject.sha256, self.identities[spec])

    def missing(self) -> list[Job]:
        """Jobs for what the store lacks, each exposure once."""
        wanted: dict[tuple[str, int, str, str], Job] = {}
        for section in self.plan.sections:
            for law in section.laws:
                for seed in self.plan.seeds:
                    for subject in section.subjects:
                        self._want(wanted, section, law, seed, subject)
        return [job for job in wanted.values() if job.methods]

    def _want(
        self, wanted: dict[Any, Job], section: Section, law: Law, seed: int, subject: Subject
    ) -> None:
        place = short(law), seed, subject.truth.name, subject.sha256
        job = wanted.setdefault(place, Job(subject.truth, law, seed, (), self._device))
        methods = {key: (spec, key, kept) for spec, key, kept in job.methods}
        for spec in section.methods_at(law):
            key = self.key(law, seed, subject, spec)
            kept = self.store.example(key) if self._is_example(section, seed, subject) else None
            is_done = key in self.store and (kept is None or kept.exists())
            # Wanted by an earlier section too: kept if either draws it.
            if not is_done and (key not in methods or kept):
                methods[key] = (spec, key, kept)
        wanted[place] = replace(job, methods=list(methods.values()))

    def _is_example(self, section: Section, seed: int, subject: Subject) -> bool:
        is_shown = section.is_drawn and subject.truth.name in self.plan.examples
        return is_shown and seed == self.plan.seeds[0]

    def run(self, *, workers: int = 1, progress: Progress = lambda name, done, total: None) -> int:
        """Compute what is missing.

        Parameters
        ----------
        workers : int
            Processes; with one, the work is done in this one. Each takes one thread, so that
            results do not depend on their number.
        progress : callable
            Told an image's name, images done and images to do.

        Returns
        -------
        int
            Number of results computed.

        Raises
        ------
        LowdoseError
            If a method fails; what is finished stays.
        """
        jobs, count = self.missing(), 0
        for done, (name, results) in enumerate(_run_jobs(jobs, workers), 1):
            self.store.add(results)
            count += len(results)
            progress(name, done, len(jobs))
        return count

    def scored(self, section: Section, law: Law) -> list[Scored]:
        """Results of a section at a law, by seed and then in the order of its truths."""
        return [
            Scored(subject, seed, self._results(section, law, seed, subject))
            for seed in self.plan.seeds
            for subject in section.subjects
        ]

    def _results(
        self, section: Section, law: Law, seed: int, subject: Subject
    ) -> dict[str, Result]:
        specs = section.methods_at(law)
        return {spec.label: self.store[self.key(law, seed, subject, spec)] for spec in specs}

    def example(
        self, section: Section, law: Law, name: str
    ) -> tuple[Exposure, dict[str, NDArray[np.float32]]]:
        """Exposure of an example and its estimates by label."""
        seed = self.plan.seeds[0]
        subject = next(each for each in section.subjects if each.truth.name == name)
        estimates = {
            spec.label: np.load(self.store.example(self.key(law, seed, subject, spec)))
            for spec in section.methods_at(law)
        }
        return expose(subject.truth, law, seed=seed), estimates


def measure(job: Job) -> tuple[str, list[Result]]:
    """Expose a truth, run every method of a job on it and score the estimates.

    Returns
    -------
    (str, list of Result)
        The image's name, and results whose arrays are, in units of the paper's protocol, `blocks`,
        `corner` and `rim` of the absolute error (`position_errors`) and `radial`, the profile of
        the estimate; with method "none", `radial_truth` as well.
    """
    exposure = expose(job.truth, job.law, seed=job.seed)
    return job.truth.name, [_measure(exposure, job.device, *each) for each in job.methods]


def _measure(exposure: Exposure, device: str, spec: Spec, key: Key, kept: Path | None) -> Result:
    method = build(spec, device=device)
    noisy = exposure.noisy.copy()  # what a method does to its input is its own affair
    start = time.perf_counter()
    estimate = _run_method(method, noisy, exposure.name, is_ours=spec.kind == "built-in")
    seconds = time.perf_counter() - start
    images = exposure.truth, exposure.noisy, estimate
    score = checked_pair(exposure.name, spec.label, images, clip=method.is_clipped)
    if kept is not None:
        with whole_file(kept) as part, open(part, "wb") as file:
            np.save(file, np.asarray(estimate, np.float32))
    arrays = _arrays(exposure, estimate, clip=method.is_clipped, with_truth=spec.target == NONE)
    return Result(key, float(exposure.truth.max()), score, arrays, round(seconds, 4))


def _run_method(
    method: Method, noisy: NDArray[np.float32], name: str, *, is_ours: bool
) -> NDArray[Any]:
    """Run it; whatever a method of others raises becomes a sentence."""
    try:
        return method.run(noisy)
    except Exception as err:
        if is_ours:
            raise
        problem = str(err) if isinstance(err, LowdoseError) else said(err)
        raise ConfigError(f"method {method.label!r} failed on {name}: {problem}") from err


def _arrays(
    exposure: Exposure, estimate: NDArray[Any], *, clip: bool, with_truth: bool
) -> dict[str, NDArray[np.float32]]:
    scaled, target = paper_images(estimate, exposure.truth, exposure.noisy, clip=clip)
    arrays = vars(position_errors(scaled, target)) | {"radial": radial_profile(scaled)}
    if with_truth:
        arrays["radial_truth"] = radial_profile(target)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[tuple[str, list[Result]]]:
    """Yield results as jobs end, in any order."""
    if workers <= 1 or len(jobs) <= 1:
        with _one_thread():
            yield from map(measure, jobs)
        return
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker) as pool:
        try:
            for future in as_completed([pool.submit(measure, job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as err:
            raise ConfigError(
                "a worker was killed, perhaps for want of memory. Run the same command again with "
                "fewer --workers; it goes on where it stopped."
            ) from err
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, end with it, and take one thread."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """End when the parent does, also by ``kill -9``: a worker alone would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
