"""Every backend of a sweep gives the same digests, in the order of the jobs."""

from __future__ import annotations

import importlib.util

import pytest

from iso_exchange.sweep.jobs import Backend, BackendMissingError, Job, clear_job, run
from tests.benchmarks.grid_books import TIE_SEED, TINY, generate

HAS_RAY = importlib.util.find_spec("ray") is not None


def _jobs() -> list[Job]:
    book = generate(TINY)
    return [
        Job(name="first", book=book, seed=TIE_SEED),
        Job(name="wrong seed", book=book, seed=b"other"),
        Job(name="again", book=book, seed=TIE_SEED),
    ]


def test_processes_give_the_digests_of_one_process() -> None:
    here = run(_jobs(), Backend.SERIAL)
    assert run(_jobs(), Backend.PROCESSES, workers=2) == here
    assert [result.name for result in here] == ["first", "wrong seed", "again"]
    assert here[0].sha256 == here[2].sha256 != ""
    assert here[1].sha256 == ""
    assert "SEED_MISMATCH" in here[1].error


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install ray")
def test_a_ray_cluster_gives_the_digests_of_one_process() -> None:
    assert run(_jobs(), Backend.RAY, workers=2) == run(_jobs(), Backend.SERIAL)


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_a_missing_ray_is_said_plainly() -> None:
    with pytest.raises(BackendMissingError, match="pip install ray"):
        run(_jobs()[:1], Backend.RAY)


def test_jobs_need_names_and_workers() -> None:
    job = _jobs()[0]
    with pytest.raises(ValueError, match="names of their own"):
        run([job, job], Backend.SERIAL)
    with pytest.raises(ValueError, match="at least one worker"):
        run([job], Backend.SERIAL, workers=0)
    assert clear_job(job).name == "first"
