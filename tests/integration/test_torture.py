"""``make torture`` with few rounds: kills of real processes, and mutants that must be found out."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROUNDS = 20


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, because it forks."""
    return subprocess.run(
        [sys.executable, "-m", "tests.torture", *arguments],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.parametrize("seed", ["20"])
def test_kills_at_random_moments_take_nothing_back(seed: str) -> None:
    done = torture("kills", "-n", str(ROUNDS), "--seed", seed)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert f"kills: {ROUNDS} rounds survived" in done.stdout
    for what in ("commands acknowledged", "checkpoints seen", "killed: sequencer"):
        assert what in done.stdout


def test_a_sequencer_that_answers_too_early_is_found_out() -> None:
    done = torture("--mutants", "-n", str(ROUNDS))
    assert done.returncode == 1
    assert "FAILED: acknowledged at" in done.stdout
    assert "of seed 0" in done.stdout
