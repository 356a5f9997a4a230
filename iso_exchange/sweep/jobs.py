"""A sweep: books to clear, and where they run.

A backend takes jobs and gives back results in the order of the jobs. Clearing is a pure function of
book and seed, so every backend gives the same digests; what differs is the time. ``SERIAL`` runs
here, ``PROCESSES`` in processes of this machine, ``RAY`` on a Ray cluster (``pip install ray``).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum

from clearing import clear, codec
from clearing.errors import BookError, RefusedResultError, SolverError
from clearing.types import Book


class Backend(Enum):
    """Where jobs run."""

    SERIAL = "serial"
    PROCESSES = "processes"
    RAY = "ray"


class BackendMissingError(RuntimeError):
    """The chosen backend is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One book to clear.

    Attributes:
        name: Unique in the sweep.
        seed: Tie seed whose SHA-256 the book commits to.
    """

    name: str
    book: Book
    seed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a job.

    Attributes:
        outcome: Canonical JSON of the outcome (``clearing.codec``), empty when refused.
        sha256: Digest of the outcome, lower-case hex; empty when refused.
        error: Why there is no outcome.
    """

    name: str
    outcome: bytes
    sha256: str
    error: str


def run(jobs: Sequence[Job], backend: Backend, *, workers: int = 2) -> tuple[Result, ...]:
    """Clear every job.

    Args:
        jobs: What to clear.
        backend: Where.
        workers: Processes, or Ray workers where no cluster is running yet.

    Returns:
        Results in the order of the jobs; one that was refused says why.

    Raises:
        BackendMissingError: Ray is asked for and not installed.
        ValueError: two jobs share a name, or there is no worker.
    """
    if len({job.name for job in jobs}) != len(jobs):
        message = "jobs of a sweep need names of their own"
        raise ValueError(message)
    if workers < 1:
        message = "a sweep needs at least one worker"
        raise ValueError(message)
    if backend is Backend.RAY:
        return _run_on_ray(jobs, workers)
    if backend is Backend.SERIAL:
        return tuple(clear_job(job) for job in jobs)
    # Solver libraries keep threads and locks, which a forked child would inherit half way.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        return tuple(pool.map(clear_job, jobs))


def clear_job(job: Job) -> Result:
    """Clear one job; a refusal is a result."""
    try:
        outcome = clear(job.book, job.seed)
    except (BookError, SolverError, RefusedResultError) as error:
        return Result(name=job.name, outcome=b"", sha256="", error=f"{error}")
    return Result(
        name=job.name, outcome=codec.encode(outcome), sha256=codec.digest(outcome), error=""
    )


def _run_on_ray(jobs: Iterable[Job], workers: int) -> tuple[Result, ...]:
    try:
        import ray  # noqa: PLC0415 - optional
    except ImportError as error:
        message = "Ray is not installed: pip install ray, or choose another backend"
        raise BackendMissingError(message) from error
    started = not ray.is_initialized()
    if started:
        # A running cluster is used as it is; otherwise a local one of so many workers.
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(clear_job)
        found: list[Result] = ray.get([remote.remote(job) for job in jobs])
    finally:
        if started:
            ray.shutdown()
    return tuple(found)
