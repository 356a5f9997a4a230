"""Dispatch over real gRPC and PostgreSQL: instructions, receipts, a restart, the audit."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clearing.types import Cover, Interval
from clearing.units import Chips, MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.api.v1 import contract_pb2, dispatch_pb2, event_pb2, spot_pb2
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.export import export
from iso_exchange.audit.report import Result, Step
from iso_exchange.audit.verify import verify
from iso_exchange.client import BLANK_HEADER, Client, Refused
from iso_exchange.client.access_key import access_key
from iso_exchange.client.agents.supplier import Provisioned, answers
from iso_exchange.commands import (
    OfferTerms,
    ReportOutage,
    SetAccessKey,
    SetWebhook,
    SignReceipt,
    StepBidTerms,
)
from iso_exchange.config import Config
from iso_exchange.dispatch_commands import ReceiptKind, node_name
from iso_exchange.dispatcher import dispatcher
from iso_exchange.sealing import SealError, open_access, seal_access
from iso_exchange.sequencer import dispatch
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.server import Exchange
from iso_exchange.storage.embedded import free_port
from tests.integration.market import Market, client_of, configuration, deposit, open_market
from tests.integration.test_spot import (
    GANG,
    POOL,
    STEP,
    USD,
    Receiver,
    at,
    checked,
    conditions,
    order,
    published,
    segments,
    spot_market,
    until,
)

READY = 120
SECRET = b"ssh -p 22 lab@n0000.plains.example  # host key SHA256:..."
Provision = Callable[[dispatch_pb2.Instruction], Provisioned]


def provision(origin: str) -> Provision:
    """Hand everything over, access details sealed to the buyer."""

    def ready(instruction: dispatch_pb2.Instruction) -> Provisioned:
        sealed = seal_access(
            SECRET,
            instruction.access_key,
            origin=origin,
            pool_id=instruction.pool_id,
            sequence=instruction.sequence_number,
            buyer_id=instruction.buyer_id,
        )
        return Provisioned(ready=tuple(instruction.node_ids), sealed_access=sealed)

    return ready


async def begin(market: Market) -> None:
    """A market whose suppliers are instructed, an offer, a gang of six nodes."""
    opening = replace(await spot_market(market.operator), ready_within_s=Seconds(READY))
    await market.operator.send(opening)
    await market.supplier.send(
        order("supplier", "supply", OfferTerms(pool_id=POOL, segments=segments(2 * USD, 64)))
    )
    await market.buyer.send(order("buyer", "gang", GANG))


async def next_batch(supplier: Client, cursor: int) -> tuple[dispatch_pb2.InstructionBatch, int]:
    async for found in supplier.watch_instructions(cursor):
        return found.batch, found.cursor
    raise AssertionError("the stream ended")


async def test_instructions_receipts_a_kill_and_the_audit(
    tmp_path: Path, database_url: str
) -> None:
    config = configuration(tmp_path / "data", database_url)
    async with open_market(config) as market:
        exchange = market.exchange
        key = access_key(exchange.identity_directory("buyer"))
        raw = key.public_key().public_bytes_raw()
        await market.buyer.send(SetAccessKey(header=BLANK_HEADER, public_key=raw))
        await begin(market)
        await market.operator.advance_time(at(0))
        batch, cursor = await next_batch(market.supplier, 0)
        (start,) = batch.instructions
        assert start.kind == dispatch_pb2.INSTRUCTION_KIND_START
        assert (start.load_id, start.buyer_id, start.access_key) == ("gang", "buyer", raw)
        assert list(start.node_ids) == [f"n{node:04d}" for node in range(6)]
        assert start.due_time.seconds == at(0) + READY
        assert await stages(market.buyer) == [contract_pb2.CONTRACT_STATE_PROVISIONING]
        for command in answers(batch, provision(exchange.sequencer.state.origin), BLANK_HEADER):
            receipt = await market.supplier.send(command)
        assert await stages(market.buyer) == [contract_pb2.CONTRACT_STATE_DELIVERING]
        await only_the_buyer_opens(market, receipt.entry_index)
        async for update in market.buyer.watch(kinds=(event_pb2.EVENT_KIND_CONTRACT_STATE,)):
            states = [event.contract_state for event in update.events]
            if states == [contract_pb2.CONTRACT_STATE_DELIVERING]:
                break
    cursor = await killed_after_an_instruction(config, tmp_path, cursor)
    due = at(1) + READY
    later = replace(config, simulated_start_us=(due + 30) * 1_000_000)
    for _ in range(2):
        async with Exchange(later) as exchange:
            await replaced(exchange)
            assert await timeouts(exchange) == [(POOL, 2)], "once, also after another restart"
    async with Exchange(later) as exchange:
        supplier = await client_of(exchange.identity_directory("supplier")).__aenter__()
        batch, _ = await next_batch(supplier, cursor)
        (third,) = batch.instructions
        assert third.kind == dispatch_pb2.INSTRUCTION_KIND_REPLACE
        assert list(third.replaced_node_ids) == ["n0006"]
        assert third.due_time.seconds == due + 30 + READY
        out = {node.node_id: node.state for node in await supplier.nodes()}
        assert out["n0006"] == dispatch_pb2.NODE_STATE_OUT
        await supplier.close()
        await by_command_line(tmp_path)
        await checked(exchange, tmp_path, BundleKind.PUBLIC, "public")
        await checked(exchange, tmp_path, BundleKind.AUDITOR, "auditor")


async def killed_after_an_instruction(config: Config, directory: Path, cursor: int) -> int:
    """A second order starts; its supplier is silent, and the server is killed before it is due."""
    log = directory / "server.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iso_exchange.server", "--data", str(config.data)),
            *("--database-url", str(config.database_url), "--origin", config.origin),
            *("--listen", f"127.0.0.1:{free_port()}", "--http-listen", f"127.0.0.1:{free_port()}"),
            *("--clock", f"simulated:{datetime.fromtimestamp(at(0), UTC).isoformat()}"),
            stderr=written,
        )
    try:
        await until(lambda: b'"exchange started"' in log.read_bytes())
        async with AsyncExitStack() as stack:
            operator, buyer, supplier = [
                await stack.enter_async_context(client_of(config.data / "identities" / name))
                for name in ("operator", "buyer", "supplier")
            ]
            steps = StepBidTerms(conditions=conditions(None), segments=segments(3 * USD, 8))
            await buyer.send(order("buyer", "steps", steps))
            await operator.advance_time(at(1))
            batch, cursor = await next_batch(supplier, cursor)
            (second,) = batch.instructions
            assert (second.load_id, list(second.node_ids)) == ("steps", ["n0006"])
    finally:
        process.kill()
        await process.wait()
    return cursor


async def by_command_line(directory: Path) -> None:
    """A supplier and a buyer at their shells."""
    details = directory / "access.txt"
    details.write_bytes(SECRET)

    async def iso(who: str, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iso_exchange.cli", "--data", str(directory / "data")),
            *("--as", who, "dispatch", *arguments),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0
        return printed.decode()

    lines = await iso("supplier", "instructions", "--count", "3", "--json")
    told = [json.loads(line) for line in lines.splitlines()]
    assert [item["instructions"][0]["kind"] for item in told] == ["START", "START", "REPLACE"]
    await iso("supplier", "ready", POOL, "3", "--access", str(details))
    nodes = json.loads(await iso("buyer", "nodes", "--json"))["nodes"]
    assert {node["state"] for node in nodes} == {"DELIVERING"}
    receipt = next(node for node in nodes if node["load_id"] == "steps")["receipt_entry_index"]
    assert await iso("buyer", "access", str(receipt)) == SECRET.decode()
    found = json.loads(await iso("buyer", "status", "--json"))["deliveries"]
    assert {item["state"] for item in found} == {"DELIVERING"}


async def stages(client: Client) -> list[int]:
    """Stages of own contracts, by both ways of asking."""
    found = [item.state for item in await client.deliveries()]
    assert found == [item.state for item in await client.contracts()]
    return list(found)


async def only_the_buyer_opens(market: Market, entry_index: int) -> None:
    """The access details of a receipt."""
    nodes = await market.buyer.nodes()
    assert {node.receipt_entry_index for node in nodes} == {entry_index}
    assert await market.other.nodes() == ()
    found = await market.buyer.sealed_access(entry_index)
    where = {
        "origin": market.exchange.sequencer.state.origin,
        "pool_id": found.pool_id,
        "buyer_id": "buyer",
    }
    keys = {
        name: access_key(market.exchange.identity_directory(name)) for name in ("buyer", "other")
    }
    sequence = found.sequence_number
    opened = open_access(found.sealed_access, keys["buyer"], sequence=sequence, **where)
    assert opened == SECRET
    assert SECRET not in (await market.buyer.entry(entry_index)).SerializeToString()
    with pytest.raises(SealError):
        open_access(found.sealed_access, keys["other"], sequence=sequence, **where)
    with pytest.raises(Refused) as refused:
        await market.other.sealed_access(entry_index)
    assert refused.value.code == "NOT_FOUND"
    # Only a supplier of the pool signs for it.
    lie = SignReceipt(
        header=BLANK_HEADER,
        pool_id=POOL,
        sequence=1,
        kind=ReceiptKind.HANDED_OVER,
        nodes=(0,),
    )
    with pytest.raises(Refused) as refused:
        await market.buyer.send(lie)
    assert refused.value.code == "WRONG_ROLE"


async def replaced(exchange: Exchange) -> None:
    """Wait until another node serves in the place of the seventh."""
    row = exchange.sequencer.state.dispatch.rows[POOL]
    await until(lambda: 7 in row.held and not row.lost)
    assert 6 not in row.held


async def timeouts(exchange: Exchange) -> list[tuple[str, int]]:
    """Time-outs in the log: pool and instruction."""
    store = exchange.sequencer._store
    entries = await store.entries(0, exchange.sequencer.size)
    found = [entry.request_id for entry in entries if entry.kind == "PROVISIONING_TIMEOUT"]
    return [(name.split("/")[1], int(name.split("/")[2])) for name in found]


async def test_instructions_that_do_not_follow_from_the_log_are_found(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange that sends work to other nodes than its rules say, from the start."""
    honest = dispatch.batches

    def forged(*arguments: object) -> list[dispatch.Due]:
        due = honest(*arguments)  # type: ignore[arg-type]
        return [lie(item) for item in due]

    config = configuration(tmp_path / "data", database_url)
    async with open_market(config) as market:
        await begin(market)
        with monkeypatch.context() as patched:
            patched.setattr(dispatch, "batches", forged)
            patched.setattr(dispatcher, "batches", forged)
            await market.operator.advance_time(at(0))
            batch, _ = await next_batch(market.supplier, 0)
        assert batch.instructions[0].node_ids[0] == "n0002"
        sequencer: Sequencer = market.exchange.sequencer
        size = sequencer.size
        await until(lambda: published(tmp_path / "data") >= size)
        await export(
            store=sequencer._store,
            log_directory=tmp_path / "data" / "log",
            directory=tmp_path / "bundle",
            kind=BundleKind.AUDITOR,
            origin=sequencer.state.origin,
            vkey=market.exchange.log_vkey,
        )
        report = verify(tmp_path / "bundle", market.exchange.log_vkey)
    assert not report.ok
    failed = {step.name for step in report.steps if step.result is Result.FAILED}
    assert failed == {Step.REPLAY.name}


def lie(due: dispatch.Due) -> dispatch.Due:
    """The same batch two nodes further along the fabric."""
    pools = tuple(
        dataclasses.replace(
            pool,
            instructions=tuple(
                dataclasses.replace(item, nodes=tuple(node + 2 for node in item.nodes))
                for item in pool.instructions
            ),
        )
        for pool in due.batch.pools
    )
    return dataclasses.replace(due, batch=dataclasses.replace(due.batch, pools=pools))


async def test_a_failed_node_calls_cover_and_everybody_is_told(
    tmp_path: Path, database_url: str
) -> None:
    config = replace(configuration(tmp_path / "data", database_url), webhook_loopback=True)
    receiver = Receiver()
    async with open_market(config) as market:
        exchange = market.exchange
        url = f"http://127.0.0.1:{receiver.port}/instructions"
        await market.supplier.send(SetWebhook(header=BLANK_HEADER, url=url))
        opening = replace(await spot_market(market.operator), ready_within_s=Seconds(READY))
        await market.operator.send(opening)
        await market.operator.send(deposit("other"))
        await market.supplier.send(
            order("supplier", "supply", OfferTerms(pool_id=POOL, segments=segments(2 * USD, 64)))
        )
        firm = replace(
            GANG,
            conditions=replace(conditions(None), cover=Cover.NODE),
            limit_price=MicroUsdPerChipHour(9 * USD),
            chips=Chips(16),
        )
        await market.buyer.send(order("buyer", "firm", firm))
        soft = StepBidTerms(conditions=conditions(300), segments=segments(3 * USD, 48))
        await market.other.send(order("other", "soft", soft))
        await market.operator.advance_time(at(0))
        batch, cursor = await next_batch(market.supplier, 0)
        await until(lambda: bool(receiver.posts))
        assert receiver.posts[0][0] == str(batch.batch_entry_index)
        receiver.stop()
        for command in answers(batch, handed_over, BLANK_HEADER):
            await market.supplier.send(command)
        row = exchange.sequencer.state.dispatch.rows[POOL]
        lost = min(node for node, held in row.held.items() if held.load_id == "firm")
        await market.supplier.send(outage_of(lost))
        (notice,) = await until_some(market.other.notices)
        assert (notice.order_id, notice.chip_count) == ("soft", 8)
        assert (notice.reason, notice.responsible) == ("COVER_CALLED", "SUPPLIER")
        deadline = notice.deadline_time.seconds
        assert deadline == at(0) + STEP
        async for update in market.other.watch(kinds=(event_pb2.EVENT_KIND_RECLAIM_NOTICE,)):
            assert update.events[0].notice_seconds == STEP
            break
        (stop,) = (await next_batch(market.supplier, cursor))[0].instructions
        assert (stop.load_id, stop.kind) == ("firm", dispatch_pb2.INSTRUCTION_KIND_STOP)
        await market.operator.advance_time(UnixSeconds(deadline))
        await until(lambda: not row.lost)
        assert sum(held.load_id == "firm" for held in row.held.values()) == 2
        await checked(exchange, tmp_path, BundleKind.AUDITOR, "auditor")


def handed_over(instruction: dispatch_pb2.Instruction) -> Provisioned:
    return Provisioned(ready=tuple(instruction.node_ids))


def outage_of(node: int) -> ReportOutage:
    return ReportOutage(
        header=BLANK_HEADER,
        outage_id="out-1",
        pool_id=POOL,
        interval=Interval(start=at(0), end=at(30)),
        nodes=(node_name(node),),
        reason="a memory error",
    )


async def until_some(
    ask: Callable[[str], Awaitable[tuple[spot_pb2.SpotNotice, ...]]],
) -> tuple[spot_pb2.SpotNotice, ...]:
    """What is answered as soon as there is something."""
    for _ in range(500):
        found = await ask("spot")
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("there was nothing")
