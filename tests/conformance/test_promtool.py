"""Prometheus' own tool reads the rules of ops/prometheus and runs their tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "ops" / "prometheus"


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")],
    ids=" ".join,
)
def test_rules(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    done = subprocess.run(
        [promtool, *arguments], cwd=RULES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
