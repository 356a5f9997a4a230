"""``make torture`` with few rounds, and broken exchanges that it must find out."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROUNDS = {
    "kills": 20,
    "faults-of-publications": 20,
    "faults-of-appends": 2,
    "power-cuts": 40,
}


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, because it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *arguments],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    if "SKIPPED: " in done.stdout:
        pytest.skip(done.stdout.partition("SKIPPED: ")[2].strip())
    return done


@pytest.mark.parametrize(("name", "rounds"), ROUNDS.items())
def test_the_ledger_survives(name: str, rounds: int) -> None:
    done = torture(name, "-n", str(rounds), "--seed", "20")
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert f"{name}: survived" in done.stdout


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("answering-before-committing", "acknowledged at"),
        ("unsynced-files", "after operation"),
        ("unsynced-folders", "after operation"),
        ("unsynced-files-and-folders", "after operation"),
    ],
)
def test_a_broken_exchange_is_found_out(name: str, finding: str) -> None:
    done = torture("--mutants", name, "-n", "60")
    assert done.returncode == 1
    assert f"{name}: FAILED" in done.stdout
    assert finding in done.stdout
