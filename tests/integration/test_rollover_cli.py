"""``iso ledger roll-over`` and ``iso key`` on data directories with real databases."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import structlog

from iso_exchange.cli.main import run
from iso_exchange.client import BLANK_HEADER, load_exchange
from iso_exchange.commands import RegisterParticipant, Role
from iso_exchange.identity.directory import signing_key
from iso_exchange.server import Exchange
from tests.integration.market import client_of, configuration, deposit, participant

NEXT = "iso-exchange.example/2027"


@pytest.fixture
def quiet() -> Iterator[None]:
    """The command configures logging for its process; here that is the tests' process."""
    with patch("iso_exchange.observability.logs.configure"), patch("os.fsync"):
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(50),
            cache_logger_on_first_use=False,
        )
        yield
    structlog.reset_defaults()


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_year_ends_and_the_next_begins(
    stopped_server: Path,
    empty_directory: Path,
    quiet: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = empty_directory / "old", empty_directory / "new"
    for place in (old, new):
        place.mkdir(mode=0o755)
        subprocess.run(["cp", "-a", str(stopped_server), str(place / "postgres")], check=True)
    config = dataclasses.replace(configuration(old), simulated_start_us=None)

    async def first_year() -> None:
        async with Exchange(config) as exchange:
            directory = exchange.identity_directory("operator")
            async with client_of(directory) as operator:
                lab = exchange.issue_identity("buyer")
                await operator.send(participant("buyer", Role.BUYER, lab))
                await operator.send(deposit("buyer"))
        # The key of the second half of the year.
        assert run(["--data", str(old), "key", "rotate", "log", "--reason", "yearly"]) == 0
        async with Exchange(config):
            pass

    asyncio.run(first_year())
    vkeys = answer(capsys, "--data", str(old), "key", "show")["log_vkeys"]
    assert len(vkeys) == 2
    assert load_exchange(old / "identities" / "buyer").log_vkey == vkeys[0]
    arguments = ["--data", str(old), "ledger", "roll-over", "--out", str(new), "--origin", NEXT]
    for _ in range(2):  # a repeated one changes nothing
        done = answer(capsys, *arguments)
        assert done["deposit_count"] == 1
        assert done["left"] == []
    other = [*arguments[:-1], "iso-exchange.example/other"]
    refused = answer(capsys, *other, code=1)["error"]
    assert refused["code"] == "ROLLOVER_REFUSED"
    assert NEXT in refused["advice"]
    following = dataclasses.replace(config, data=new, origin=NEXT)

    async def second_year() -> int:
        async with Exchange(following) as exchange:
            directory = exchange.identity_directory("operator")
            assert exchange.log_vkey == done["log_vkey"]
            async with client_of(directory) as operator:
                command = RegisterParticipant(
                    header=BLANK_HEADER,
                    participant_id="newcomer",
                    display_name="Newcomer",
                    roles=(Role.BUYER,),
                    public_key=signing_key(exchange.issue_identity("newcomer"), b"n" * 32).public,
                )
                await operator.send(command)
            async with client_of(exchange.identity_directory("buyer")) as buyer:
                return (await buyer.balance()).available_micro_usd

    assert asyncio.run(second_year()) == deposit("buyer").amount
    bundle = empty_directory / "bundle"
    answer(capsys, "--data", str(new), "audit", "export", "--out", str(bundle))
    verify = ["audit", "verify", str(bundle), "--key", str(done["log_vkey"])]
    report = answer(capsys, *verify, "--previous", str(new / "predecessor"))
    assert report["ok"]
    assert [step["result"] for step in report["steps"]] == ["OK"] * 17
    report = answer(capsys, *verify, "--previous", str(bundle), code=1)
    assert [step["name"] for step in report["steps"] if step["result"] == "FAILED"] == [
        "PREDECESSOR"
    ]
