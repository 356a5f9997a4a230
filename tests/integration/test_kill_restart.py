"""A market day over real processes while the server is killed again and again.

The server (``python -m iso_exchange.server`` with its own PostgreSQL) gets SIGKILL at seeded
random moments and is started again with the same arguments. Participants and meters are SDK
clients, each a task of its own, that send the same bytes until they are answered. In the end
every receipt stands, nothing was done twice, and an audit finds nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

from clearing.types import Interval
from clearing.units import ChipSeconds, UnixSeconds
from iso_exchange.api.v1 import auction_pb2, contract_pb2
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.database import open_for_reading
from iso_exchange.audit.export import export
from iso_exchange.audit.report import Report, Result
from iso_exchange.audit.verify import verify_and_replay
from iso_exchange.client import Client, ClientError, Receipt, Retry, Sealed, load_exchange
from iso_exchange.commands import (
    Command,
    PublishChipTable,
    RegisterEntitlement,
    RegisterParticipant,
    SubmitOrder,
    SubmitReadings,
)
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.directory import signing_key, write_identity
from iso_exchange.secrets_file import load_or_create
from iso_exchange.sequencer.state import AuctionState, State
from iso_exchange.server import EXIT_OK, Exchange
from iso_exchange.signer import EXCHANGE_ID
from iso_exchange.storage.embedded import free_port
from settlement.ledger import merkle
from settlement.ledger.checkpoint import Checkpoint, open_checkpoint
from settlement.ledger.keys import parse_vkey
from settlement.ledger.tiles import TileReader
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Balance
from settlement.types import MeterBatch, Reading
from tests.integration import market_day
from tests.integration.bundles import Batch, read_leaves, read_log
from tests.integration.market import CLOSE, client_of, configuration, open_market
from tests.integration.market_day import (
    AUCTION,
    CELL,
    FIRST,
    GAP,
    GATE,
    HOUR,
    HOURS,
    MORNING,
    NODE,
    ORIGIN,
    key_of,
)

PEOPLE = ("sup-a", "sup-b", "lab-1", "lab-2", "lab-3", "auditor", "meter-a", "meter-b")
LABS = ("lab-1", "lab-2", "lab-3")
END = FIRST + HOURS * HOUR
PATIENCE = Retry(attempts=80, first_delay_s=0.05, delay_s_max=0.4)
START_SECONDS_MAX = 40
PHASE_SECONDS_MAX = 40
EXTRA_BIDS = 6
"""Further bids of each lab, so that order intake lasts long enough to be interrupted."""


class Server:
    """The server process; killed and started again with the same arguments."""

    def __init__(self, data: Path, log: Path) -> None:
        self.data = data
        self.log = log
        self.pids: list[int] = []
        self.notes: list[bytes] = []
        self.start_seconds: list[float] = []
        self._arguments = (
            *("-m", "iso_exchange.server", "--data", str(data), "--origin", ORIGIN),
            *("--listen", f"127.0.0.1:{free_port()}"),
            *("--http-listen", f"127.0.0.1:{free_port()}"),
            *("--clock", f"simulated:{datetime.fromtimestamp(MORNING, UTC).isoformat()}"),
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start and wait until it serves."""
        started, seen = time.monotonic(), self._count_starts()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, stderr=log, start_new_session=True
            )
        self.pids.append(self._process.pid)
        while self._count_starts() == seen:
            assert self._process.returncode is None, self.log.read_text()[-4_000:]
            assert time.monotonic() - started < START_SECONDS_MAX, "does not start"
            await asyncio.sleep(0.01)
        self.start_seconds.append(time.monotonic() - started)

    async def kill_and_restart(self) -> None:
        """SIGKILL, as the machine's last resort would; keep the checkpoint that was out."""
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()[-4_000:]
        self._process.kill()
        await self._process.wait()
        self.keep_checkpoint()
        await self.start()

    async def stop(self) -> int:
        """Orderly stop; the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), START_SECONDS_MAX)

    def end(self) -> None:
        """Whatever happened, leave nothing behind."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def keep_checkpoint(self) -> None:
        """Remember the checkpoint that anybody can read now."""
        path = self.data / "log" / "checkpoint"
        if path.exists():
            self.notes.append(path.read_bytes())

    def _count_starts(self) -> int:
        return self.log.read_bytes().count(b'"exchange started"') if self.log.exists() else 0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request and the answer that its sender got."""

    signer: str
    sealed: Sealed
    receipt: Receipt


class Day:
    """Clients of one exchange, what they were answered, and who kills it."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.clients: dict[str, Client] = {}
        self.sent: list[Sent] = []
        self.repeats = 0
        self.kills: Counter[str] = Counter()
        self._answered = asyncio.Condition()

    async def open(self, stack: AsyncExitStack) -> None:
        """Issue identities as the operator does, and connect everybody."""
        identities = self.server.data / "identities"
        address = load_exchange(identities / "operator")
        authority = DevelopmentAuthority.load_or_create(
            self.server.data / "ca", origin=ORIGIN, now=datetime.now(UTC)
        )
        for name in PEOPLE:
            signing_key(identities / name, sha256(f"market day {name}".encode()).digest())
            write_identity(
                identities / name,
                ca_pem=authority.certificate_pem,
                issued=authority.issue(name, now=datetime.now(UTC)),
                address=address,
            )
        for name in ("operator", *PEOPLE):
            client = Client.from_directory(identities / name, retry=PATIENCE)
            self.clients[name] = await stack.enter_async_context(client)

    @property
    def operator(self) -> Client:
        return self.clients["operator"]

    async def send(self, signer: str, command: Command) -> None:
        """Send the same bytes until they are answered, now and then once more."""
        client = self.clients[signer]
        cosigners = (
            (key_of(command.supplier_id),) if isinstance(command, RegisterEntitlement) else ()
        )
        sealed = await client.prepare(command, cosigners=cosigners)
        receipt = await client.send_sealed(sealed)
        async with self._answered:
            self.sent.append(Sent(signer=signer, sealed=sealed, receipt=receipt))
            self._answered.notify_all()
        if self.chance.random() < 0.2:
            again = await client.send_sealed(sealed)
            assert (again.entry_index, again.salt) == (receipt.entry_index, receipt.salt)
            self.repeats += 1

    def _has_sent(self, count: int) -> bool:
        return len(self.sent) >= count

    async def send_each(self, signer: str, commands: Iterable[Command]) -> None:
        """Send one after the other."""
        for command in commands:
            await self.send(signer, command)

    async def kill(self, phase: str, delay_s: float = 0.0) -> None:
        """Kill the server after a moment and start it again."""
        await asyncio.sleep(delay_s)
        await self.server.kill_and_restart()
        self.kills[phase] += 1

    @asynccontextmanager
    async def killing(self, phase: str, *, requests: int, count: int) -> AsyncIterator[None]:
        """Kill ``count`` times while ``requests`` are sent: after seeded ones of them."""
        first = len(self.sent)
        after = sorted(self.chance.sample(range(1, requests * 2 // 3), count))

        async def killer() -> None:
            for number in after:
                async with self._answered:
                    await self._answered.wait_for(partial(self._has_sent, first + number))
                await self.kill(phase, self.chance.uniform(0, 0.01))

        task = asyncio.create_task(killer())
        try:
            yield
            await task
        finally:
            task.cancel()


def registry(server: Server) -> list[Command]:
    """What the operator signs; the operator itself, services and chip table are there already."""
    secrets = load_or_create(server.data / "secrets")
    return [
        command
        for command in market_day.registry(secrets)
        if not isinstance(command, PublishChipTable)
        and not (
            isinstance(command, RegisterParticipant)
            and command.participant_id in ("operator", EXCHANGE_ID)
        )
    ]


def orders() -> dict[str, list[Command]]:
    """What each participant sends, in order: the day's script and further bids of the labs."""
    found: dict[str, list[Command]] = {}
    for signer, command in market_day.orders():
        found.setdefault(signer, []).append(command)
    bid = next(command for command in found["lab-2"] if isinstance(command, SubmitOrder))
    for lab in LABS:
        for number in range(EXTRA_BIDS):
            _, command = market_day.order(lab, f"extra-{lab}-{number}", bid.terms)
            found[lab].append(command)
    return found


def readings(
    meter_id: str, hour: int, contracts: Sequence[contract_pb2.Contract]
) -> list[SubmitReadings]:
    """Twelve batches of one pool in one hour, everything healthy, the gap left out."""
    pool_id = meter_id.replace("meter", "pool")
    nodes = [
        (contract.contract_id, f"{contract.contract_id}-{node}")
        for contract in contracts
        if contract.pool_id == pool_id
        for position in contract.hours
        if position.start_time.seconds == hour
        for node in range(position.chip_count // NODE)
    ]
    return [
        SubmitReadings(
            header=market_day.header(meter_id, f"read/{start}"),
            batch=MeterBatch(
                meter_id=meter_id,
                pool_id=pool_id,
                interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                sequence=(start - FIRST) // CELL + 1,
                readings=tuple(
                    Reading(contract_id=contract_id, node_id=node, healthy=ChipSeconds(NODE * CELL))
                    for contract_id, node in nodes
                ),
            ),
        )
        for start in range(hour, hour + HOUR, CELL)
        if (pool_id, start) != GAP
    ]


async def register(day: Day) -> None:
    """Registry, deposits and the auction."""
    commands = registry(day.server)
    async with day.killing("registration", requests=len(commands), count=2):
        await day.send_each("operator", commands)


async def take_orders(day: Day) -> None:
    """Everybody sends at the same time; base load first, because its supplier countersigns."""
    commands = orders()
    count = sum(len(part) for part in commands.values())
    async with day.killing("orders", requests=count, count=2):
        await asyncio.gather(*(day.send_each(name, part) for name, part in commands.items()))


async def clear(day: Day) -> None:
    """Close the gate; kill once before the result, and once wherever clearing then is."""
    advancing = asyncio.create_task(day.operator.advance_time(UnixSeconds(GATE)))
    await until(day, lambda auction: auction.state != auction_pb2.AUCTION_STATE_OPEN)
    await day.kill("clearing", day.chance.uniform(0, 0.1))
    await day.kill("clearing", day.chance.uniform(0, 1))
    await advancing
    await until(day, lambda auction: auction.state == auction_pb2.AUCTION_STATE_PUBLISHED)


async def deliver(day: Day) -> None:
    """Both meters read every interval; hours are settled as they end."""
    contracts = await day.clients["auditor"].contracts(auction_id=AUCTION)
    for number, hour in enumerate(range(FIRST, END, HOUR), start=1):
        await day.operator.advance_time(UnixSeconds(hour + HOUR))
        parts = {meter: readings(meter, hour, contracts) for meter in ("meter-a", "meter-b")}
        count = sum(len(part) for part in parts.values())
        async with day.killing("delivery", requests=count, count=1):
            await asyncio.gather(*(day.send_each(name, part) for name, part in parts.items()))
        if number < HOURS:
            await until(day, partial(has_settled, number))


async def settle(day: Day) -> None:
    """The last hour waits for a reading that never comes; then statements follow at once."""
    await day.operator.advance_time(UnixSeconds(END + HOUR))
    await until(day, partial(has_settled, HOURS))
    await day.kill("statements")
    deadline = time.monotonic() + START_SECONDS_MAX
    while len(await day.operator.community_totals()) < len(market_day.SURCHARGES):
        assert time.monotonic() < deadline, "statements are not issued"


def has_settled(count: int, auction: auction_pb2.Auction) -> bool:
    return auction.settled_interval_count == count


async def until(day: Day, reached: Callable[[auction_pb2.Auction], bool]) -> None:
    """Look at the auction, as quickly as it answers, until it is where it is expected."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not reached(await day.operator.auction(AUCTION)):
        assert time.monotonic() < deadline, day.server.log.read_text()[-4_000:]


async def watch_checkpoints(day: Day) -> None:
    """See many checkpoints on the way, as a monitor does; misses are no mistake."""
    while True:
        day.server.keep_checkpoint()
        try:
            answer = await day.clients["auditor"].checkpoint()
        except ClientError:
            continue
        day.server.notes.append(answer.note)
        await asyncio.sleep(0.2)


async def check_receipts(day: Day) -> None:
    """Each receipt is what the log says at its index, also when its request is sent again."""
    for sent in day.sent:
        client = day.clients[sent.signer]
        entry = await client.entry(sent.receipt.entry_index)
        assert entry.leaf_hash == sent.receipt.leaf_hash
        again = await client.send_sealed(sent.sealed)
        assert (again.entry_index, again.leaf_hash) == (entry.entry_index, entry.leaf_hash)
    indices = [sent.receipt.entry_index for sent in day.sent]
    assert len(set(indices)) == len(indices)


async def export_stopped(server: Server, bundle: Path) -> tuple[Balance, ...]:
    """Export from the stopped exchange; returns every balance in its database."""
    vkey = load_exchange(server.data / "identities" / "operator").log_vkey
    async with open_for_reading(server.data) as store:
        with patch("os.fsync"):
            await export(
                store=store,
                log_directory=server.data / "log",
                directory=bundle,
                kind=BundleKind.AUDITOR,
                origin=ORIGIN,
                vkey=vkey,
            )
        return tuple(await store.balances(""))


def check_requests(day: Day, batches: list[Batch], leaves: list[bytes]) -> None:
    """What clients sent is in the log once each, and nothing that they did not send."""
    signers = {"operator", *PEOPLE}
    logged = Counter(
        (entry.command.header.signer_id, entry.command.header.request_id)
        for batch in batches
        for entry in batch.entries
        if entry.command.header.signer_id in signers
        and not entry.command.header.request_id.startswith("bootstrap/")
    )
    assert logged == Counter((sent.signer, sent.sealed.request_id) for sent in day.sent)
    for sent in day.sent:
        leaf = leaves[sent.receipt.entry_index]
        assert merkle.leaf_hash(leaf) == sent.receipt.leaf_hash


def check_phases(batches: list[Batch]) -> dict[str, int]:
    """Where the log changed hands, by phase: a new epoch begins with each restart."""
    kinds: list[tuple[str, int]] = []
    for batch in batches:
        kinds.extend((entry.kind, batch.epoch) for entry in batch.entries)
    names = [kind for kind, _ in kinds]
    ends = {
        "registration": names.index("AUCTION_SPEC"),
        "orders": names.index("BOOK_ROOT"),
        "clearing": names.index("AUCTION_PRICES"),
        "delivery": len(names) - 1 - names[::-1].index("POSTINGS"),
        "statements": len(names) - 1,
    }
    found = dict.fromkeys(ends, 0)
    for place, ((_, before), (_, after)) in enumerate(itertools.pairwise(kinds), start=1):
        if before != after:
            found[next(phase for phase, end in ends.items() if place <= end)] += 1
    return found


def check_checkpoints(notes: Iterable[bytes], vkey: str, bundle: Path) -> int:
    """Every checkpoint ever seen is a beginning of the last one; returns how many there were."""
    key = parse_vkey(vkey)
    seen: dict[int, Checkpoint] = {}
    for note in notes:
        checkpoint = open_checkpoint(note, key).checkpoint
        assert seen.setdefault(checkpoint.size, checkpoint) == checkpoint
    log = bundle / "log"
    last = open_checkpoint((log / "checkpoint").read_bytes(), key).checkpoint

    def read(path: str) -> bytes | None:
        place = log / path
        return place.read_bytes() if place.exists() else None

    tiles = TileReader(read, size=last.size, root=last.root)
    for checkpoint in seen.values():
        merkle.verify_consistency(
            old_size=checkpoint.size,
            old_root=checkpoint.root,
            new_size=last.size,
            new_root=last.root,
            proof=tiles.consistency_proof(checkpoint.size),
        )
    return len(seen)


def check_money(balances: Sequence[Balance], state: State) -> None:
    """Each asset sums to zero, and the database has what the audit's replay has."""
    sums: Counter[str] = Counter()
    for balance in balances:
        sums[balance.asset] += balance.posted
        assert state.books.balance(balance.account, balance.asset).posted == balance.posted
    assert set(sums) >= {"USD"}
    assert set(sums.values()) == {0}


def left_behind(pids: Iterable[int]) -> list[str]:
    """Processes in the sessions of servers that are gone: their workers, if they outlive them."""
    sessions = set(pids)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes()
        except OSError:  # ended meanwhile
            continue
        state, session = status[0], int(status[3])
        if session in sessions and state != "Z":
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def check_audit(report: Report, state: State | None) -> State:
    """The exported bundle verifies, and the day is over: settled and stated."""
    assert [(step.name, step.detail) for step in report.steps if step.result is not Result.OK] == []
    assert state is not None
    auction = state.auctions[AUCTION]
    assert auction.state is AuctionState.SETTLED
    assert len(auction.settled) == HOURS
    assert set(auction.totals) == set(market_day.SURCHARGES)
    assert report.statements == len(state.statements) > 10
    # What moved after a statement is the payout that it ordered.
    later = [item.transfer.transfer_id for items in state.activity.values() for item in items]
    assert all(name.startswith("payout/") for name in later), later
    return state


async def test_a_market_day_survives_being_killed_in_every_phase(
    server_directory: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    server = Server(server_directory / "var", tmp_path / "server.log")
    day = Day(server, random.Random(20_261_005))
    try:
        await server.start()
        async with AsyncExitStack() as stack:
            await day.open(stack)
            watching = asyncio.create_task(watch_checkpoints(day))
            stack.callback(watching.cancel)
            for phase in (register, take_orders, clear, deliver, settle):
                async with asyncio.timeout(PHASE_SECONDS_MAX):
                    await phase(day)
            await check_receipts(day)
        assert await server.stop() == EXIT_OK
    finally:
        server.end()
    bundle = tmp_path / "bundle"
    balances = await export_stopped(server, bundle)
    vkey = load_exchange(server.data / "identities" / "operator").log_vkey
    report, replayed = verify_and_replay(bundle, vkey)
    state = check_audit(report, replayed)
    batches = read_log(bundle)
    check_requests(day, batches, read_leaves(bundle))
    check_money(balances, state)
    phases = check_phases(batches)
    checkpoints = check_checkpoints(server.notes, vkey, bundle)
    assert left_behind(server.pids) == []
    print(  # noqa: T201 - the counts that the test is about
        f"{sum(day.kills.values())} kills {dict(day.kills)}, epochs began in {phases}; "
        f"{len(day.sent)} receipts, {day.repeats} sent twice at once; {report.summary()}; "
        f"{report.statements} statements; {checkpoints} checkpoints consistent; "
        f"starts {min(server.start_seconds):.1f} to {max(server.start_seconds):.1f} s; "
        f"{time.monotonic() - began:.1f} s in all"
    )
    assert sum(day.kills.values()) == 9
    assert min(phases.values()) >= 1, phases


async def test_a_simulated_time_that_was_shown_is_not_taken_back(tmp_path: Path) -> None:
    store, config = MemoryStore(), configuration(tmp_path)
    async with open_market(config, store) as market:
        shown = await market.operator.advance_time(UnixSeconds(CLOSE - 60))
        assert market.exchange.sequencer.time_us < shown  # nothing was logged at that time
    async with (
        Exchange(config, store=store) as exchange,
        client_of(exchange.identity_directory("operator")) as operator,
    ):
        assert (await operator.time()).now_us == shown
