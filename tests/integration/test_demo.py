"""The demo as a test: a whole market day over real processes, on the built-in scenario."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from clearing.units import PPM
from iso_exchange.replay import scenario
from tests.torture.forgery import INDEPENDENT

STEPS = 17


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    # Embedded PostgreSQL drops root's rights: every parent must be passable for it.
    directory = Path("/tmp") / f"iso-demo-test-{os.getpid()}"
    try:
        document = asyncio.run(_run(directory))
        bundle = tmp_path_factory.mktemp("demo") / "bundle"
        shutil.copytree(directory / "bundle", bundle)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return document, bundle


async def _run(directory: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "ISO_DATA_DIR"}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "iso_exchange.replay.demo", "--json", "--data", str(directory)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()[-2000:]
    document: dict[str, Any] = json.loads(output)
    return document


@pytest.mark.timeout(400)
def test_the_day_verifies_and_every_step_had_something_to_check(
    day: tuple[dict[str, Any], Path],
) -> None:
    audit = day[0]["audit"]
    assert audit["ok"] is True
    assert len(audit["steps"]) == STEPS
    assert {step["result"] for step in audit["steps"]} == {"OK"}
    assert all(step["checked"] > 0 for step in audit["steps"])
    assert audit["hours"] == 24


@pytest.mark.timeout(400)
def test_money_is_conserved_and_communities_get_what_the_meters_say(
    day: tuple[dict[str, Any], Path],
) -> None:
    report = day[0]["day"]
    plan = scenario.build(None, 24, 1)
    surcharges = {site.site_id: site.surcharge_micro_usd_per_chip_hour for site in plan.sites}
    for community in report["communities"]:
        expected = community["delivered_chip_hours"] * surcharges[community["site_id"]]
        # Chip-hours are rounded for people: at most half a chip-hour off.
        assert abs(community["surcharge"] - expected) <= surcharges[community["site_id"]]
        assert 0 <= community["surcharge"] - community["paid_out"] < 10_000
    billed = sum(party["billed"] for party in report["parties"])
    received = sum(party["received"] for party in report["parties"])
    communities = sum(community["surcharge"] for community in report["communities"])
    # What is not paid out to parties, communities and the operator lies in pool and rents.
    left = billed - received - communities - report["operator_fee"]
    assert 0 <= left <= billed // 100


@pytest.mark.timeout(400)
def test_allocation_names_its_load_and_beats_the_silos(
    day: tuple[dict[str, Any], Path],
) -> None:
    allocation = day[0]["day"]["allocation"]
    assert allocation["load_ppm"] > PPM
    assert allocation["silo_ppm"] < allocation["worst_ppm"] <= allocation["mean_ppm"] <= PPM
    assert allocation["delivered_ppm"] < allocation["mean_ppm"]


@pytest.mark.timeout(400)
def test_what_went_wrong_is_seen_and_credited(day: tuple[dict[str, Any], Path]) -> None:
    shortfalls = day[0]["day"]["shortfalls"]
    assert any(item["failed"] for item in shortfalls)
    assert any(item["gap"] for item in shortfalls)
    assert all(item["credited"] > 0 for item in shortfalls)


@pytest.mark.timeout(400)
def test_an_altered_ledger_of_the_day_is_found(day: tuple[dict[str, Any], Path]) -> None:
    from iso_exchange.audit.verify import verify

    bundle = day[1]
    assert verify(bundle).ok
    assert INDEPENDENT.verify(bundle)[0] == 0
    victim = sorted((bundle / "documents").iterdir())[3]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    report = verify(bundle)
    assert not report.ok
    assert report.failed
    assert INDEPENDENT.verify(bundle)[0] == 1
