"""A participant keeps what its statement rests on and explains it offline; forgeries are found."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.api.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from iso_exchange.cli.main import app
from iso_exchange.client.own import own_bundle
from iso_exchange.exports.explain import ExplainError
from iso_exchange.exports.own import OwnBundle, explain_own
from iso_exchange.sequencer.state import AuctionState
from settlement.ledger.errors import LedgerFormatError
from settlement.storage.memory import MemoryStore
from tests.integration.market import FIRST, Market, bid, configuration, offer, open_market
from tests.integration.test_disputes import HOUR, until


async def gathered(market: Market) -> OwnBundle:
    await market.supplier.send(offer(chips=40))
    await market.buyer.send(bid())
    await market.operator.advance_time(UnixSeconds(FIRST + 2 * HOUR + 1_000))
    state = market.exchange._sequencer.state
    auction = state.auctions["da-1"]
    await until(market, lambda: auction.state is AuctionState.SETTLED and not auction.unstated)
    found = await market.buyer.statements()
    statement = next(item for item in found if item.account == "p:buyer:cash")
    stub = ledger_service_pb2_grpc.LedgerServiceStub(market.buyer._channel)
    watch = stub.WatchCheckpoints(
        ledger_service_pb2.WatchCheckpointsRequest(min_tree_size=statement.entry_index + 1)
    )
    async with asyncio.timeout(30):
        await anext(aiter(watch))
    watch.cancel()
    return await own_bundle(market.buyer, statement.statement_id)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[OwnBundle, str]:
    async def run() -> tuple[OwnBundle, str]:
        directory = tmp_path_factory.mktemp("own")
        async with open_market(configuration(directory), MemoryStore()) as market:
            return await gathered(market), market.exchange.log_vkey

    return asyncio.run(run())


def test_every_line_of_an_own_statement_is_explained(kept: tuple[OwnBundle, str]) -> None:
    bundle, vkey = kept
    found = [explain_own(bundle, vkey, 1)]
    count = 1
    while True:
        try:
            found.append(explain_own(bundle, vkey, count + 1))
        except ExplainError:
            break
        count += 1
    assert count >= 4
    assert all(item.ok for item in found)
    whats = {step.what for item in found for step in item.steps}
    assert {"statement", "posting", "award notice", "price"} <= whats


def test_a_forged_own_bundle_is_refused(kept: tuple[OwnBundle, str]) -> None:
    bundle, vkey = kept
    first = bundle.entries[0]
    forged = [
        replace(bundle, entries=(replace(first, index=first.index + 1), *bundle.entries[1:])),
        replace(bundle, entries=(replace(first, path=first.path[1:]), *bundle.entries[1:])),
        replace(bundle, checkpoint=bundle.checkpoint.replace("\n", "x\n", 1)),
        replace(
            bundle,
            entries=tuple(
                replace(item, salt="00" * 32) if item.salt else item for item in bundle.entries
            ),
        ),
    ]
    for item in forged:
        with pytest.raises(LedgerFormatError):
            explain_own(item, vkey, 1)
    with pytest.raises(ExplainError):
        explain_own(replace(bundle, documents=()), vkey, 1)
    with pytest.raises(ExplainError):
        explain_own(replace(bundle, entries=()), vkey, 1)


def test_the_command_reads_an_own_bundle_offline(
    kept: tuple[OwnBundle, str], tmp_path: Path
) -> None:
    bundle, vkey = kept
    file = tmp_path / "own.json"
    file.write_bytes(codec.encode(bundle))
    arguments = ["explain", bundle.statement_id, "1", "--own", str(file)]
    answer = CliRunner().invoke(app, [*arguments, "--key", vkey, "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["ok"]
    assert CliRunner().invoke(app, arguments).exit_code != 0
    both = CliRunner().invoke(app, [*arguments, "--bundle", str(tmp_path), "--key", vkey])
    assert both.exit_code != 0
