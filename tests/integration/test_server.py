"""The whole process: start, restart, orderly stop, and a stop that nobody asked for."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from iso_exchange.api.v1 import (
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
)
from iso_exchange.client import Client, Retry, Unavailable, load_exchange
from iso_exchange.sequencer.sequencer import StoppedError
from iso_exchange.server import EXIT_OK, EXIT_REFUSED, EXIT_STOPPED, Exchange, main
from settlement.ledger.checkpoint import open_checkpoint
from settlement.ledger.keys import parse_vkey
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Commit, StoreError
from tests.integration.market import bid, client_of, configuration, offer, open_market


class BreakingStore(MemoryStore):
    """A database whose connection breaks during a commit."""

    broken = False

    async def commit(self, batch: Commit) -> None:
        if self.broken:
            raise StoreError("UNKNOWN_OUTCOME", "the connection broke")
        await super().commit(batch)


async def start_process(data: Path) -> tuple[asyncio.subprocess.Process, list[str]]:
    """A running server with an embedded database, and the events that it logged until then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "iso_exchange.server",
        "--data",
        str(data),
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    events: list[str] = []
    async with asyncio.timeout(60):
        while "exchange started" not in events:
            line = await process.stderr.readline()
            assert line, events
            events.append(json.loads(line)["event"])
    return process, events


def checkpoints(
    client: Client,
) -> AsyncIterator[ledger_service_pb2.WatchCheckpointsResponse]:
    stub = ledger_service_pb2_grpc.LedgerServiceStub(client._channel)
    return aiter(stub.WatchCheckpoints(ledger_service_pb2.WatchCheckpointsRequest(), timeout=10))


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own server
        content: bytes = response.read()
        return content


async def test_a_restart_finds_everything_again(tmp_path: Path, database_url: str) -> None:
    config = configuration(tmp_path, database_url)
    async with open_market(config) as market:
        sealed = await market.buyer.prepare(bid())
        receipt = await market.buyer.send_sealed(sealed)
        size = market.exchange.sequencer.size
        target = market.exchange.target
        now_us = (await market.buyer.time()).now_us
    earlier = dataclasses.replace(config, simulated_start_us=1_000_000)
    async with Exchange(earlier) as exchange:
        directory = exchange.identity_directory("buyer")
        assert load_exchange(directory).target == exchange.target != target
        async with client_of(directory) as buyer:
            assert (await buyer.time()).now_us == now_us
            again = await buyer.send_sealed(sealed)
            assert again.entry_index == receipt.entry_index
            assert again.salt == receipt.salt
            assert (await buyer.order("bid-1")).entry_index == receipt.entry_index
        assert exchange.sequencer.size == size


async def test_an_orderly_stop_publishes_what_was_acknowledged(tmp_path: Path) -> None:
    store = MemoryStore()
    async with open_market(configuration(tmp_path), store) as market:
        await market.supplier.send(offer())
        size, vkey = market.exchange.sequencer.size, market.exchange.log_vkey
    note = (tmp_path / "log" / "checkpoint").read_bytes()
    assert open_checkpoint(note, parse_vkey(vkey)).checkpoint.size == size


async def test_a_broken_commit_ends_the_exchange_and_leaves_the_request_open(
    tmp_path: Path,
) -> None:
    store = BreakingStore()
    async with open_market(configuration(tmp_path), store) as market:
        size = market.exchange.sequencer.size
        store.broken = True
        with pytest.raises(Unavailable):
            await market.buyer.send(bid())
        with pytest.raises(StoppedError):
            async with asyncio.timeout(5):
                await market.exchange.wait()
    assert (await store.tree_state()).size == size


async def test_a_stop_ends_watches_with_unavailable(tmp_path: Path) -> None:
    async with open_market(configuration(tmp_path), MemoryStore()) as market:
        stub = delivery_service_pb2_grpc.DeliveryServiceStub(market.buyer._channel)
        watch = stub.WatchEvents(delivery_service_pb2.WatchEventsRequest(start_entry_index=-1))
        await watch.wait_for_connection()
        waiting = asyncio.ensure_future(anext(aiter(watch)))
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        await market.exchange.stop()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await waiting
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert asyncio.get_running_loop().time() - started < 2.0


async def test_metrics_and_log_files_over_http(tmp_path: Path) -> None:
    async with open_market(configuration(tmp_path), MemoryStore()) as market:
        url = market.exchange.http_url
        await anext(checkpoints(market.buyer))
        checkpoint = await asyncio.to_thread(fetch, f"{url}/log/checkpoint")
        assert checkpoint.startswith(b"iso-exchange.example/dev\n")
        size = int(checkpoint.split(b"\n")[1])
        bundle = await asyncio.to_thread(fetch, f"{url}/log/tile/entries/000.p/{size}")
        assert bundle
        metrics = await asyncio.to_thread(fetch, f"{url}/metrics")
        assert b'iso_requests_total{method="RegistryService/RegisterSite",status="OK"}' in metrics
        for path in ("/log/../secrets/log.seed", "/log/tile/0/000.p/1/../../../ca", "/", "/log/"):
            with pytest.raises(urllib.error.HTTPError) as missing:
                await asyncio.to_thread(fetch, f"{url}{path}")
            assert missing.value.code == 404
            missing.value.close()


async def test_the_process_serves_and_stops_on_sigterm(server_directory: Path) -> None:
    data = server_directory / "var"
    process, events = await start_process(data)
    assert events.count("bootstrapped") == 3
    assert process.stderr is not None
    async with Client.from_directory(
        data / "identities" / "operator", retry=Retry(attempts=2)
    ) as operator:
        found = {view.participant.participant_id for view in await operator.participants()}
    assert found == {"operator", "exchange"}
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        await process.stderr.read()
        assert await process.wait() == EXIT_OK


async def test_a_dead_database_ends_the_process_with_a_status(server_directory: Path) -> None:
    data = server_directory / "var"
    process, _ = await start_process(data)
    postmaster = next(data.joinpath("postgres").rglob("postmaster.pid"))
    os.kill(int(postmaster.read_text().split("\n", 1)[0]), signal.SIGKILL)
    async with asyncio.timeout(60):
        assert process.stderr is not None
        await process.stderr.read()
        assert await process.wait() == EXIT_STOPPED


async def test_it_refuses_to_start_without_assertions(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-O",
        "-m",
        "iso_exchange.server",
        "--data",
        str(tmp_path / "var"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == EXIT_REFUSED
    assert b"refusing to start" in errors
    assert not (tmp_path / "var").exists()


def test_a_wrong_setting_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path / "var"), "--listen", "nowhere"]) == EXIT_REFUSED
    assert "nowhere" in capsys.readouterr().err
    assert EXIT_STOPPED not in (EXIT_OK, EXIT_REFUSED)
