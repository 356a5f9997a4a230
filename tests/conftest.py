"""Shared by every test folder: hypothesis profiles, the golden switch, the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every run and no database on disk: what fails in CI fails everywhere. New
# examples are searched for with `--hypothesis-profile=explore`, which keeps what it finds.
settings.register_profile(
    "ci",
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,  # cores are shared; pytest-timeout ends a test that hangs
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "explore",
    max_examples=2_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        default=False,
        help="write golden files instead of comparing with them",
    )


@pytest.fixture(scope="session")
def rewrite_golden(request: pytest.FixtureRequest) -> bool:
    """True under `make golden`: write the expected file instead of comparing with it."""
    return bool(request.config.getoption("--rewrite-golden"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real traces and prices; skips the test when there is none."""
    name = os.environ.get("ISO_DATA_DIR", "")
    if not name:
        pytest.skip("ISO_DATA_DIR is not set: real traces and prices are absent")
    path = Path(name)
    if not path.is_dir():
        # A wrong path is a mistake, not an absent option: skipping would hide it.
        pytest.fail(f"ISO_DATA_DIR names {path}, which is not a directory")
    return path
