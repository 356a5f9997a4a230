"""A real exchange in a process of its own, with everything that an order needs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from clearing.types import PricingRule, Tariff
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds, Watts
from iso_exchange.api.v1 import auction_service_pb2, auction_service_pb2_grpc
from iso_exchange.client import BLANK_HEADER, Client, load_exchange, load_identity
from iso_exchange.commands import (
    CreateAuction,
    RecordDeposit,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    Role,
)
from iso_exchange.config import ORIGIN_DEFAULT
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.directory import signing_key, write_identity
from tests.benchmarks.machine import cpu_seconds, descendants, runs

ROOT: Final = Path(__file__).resolve().parents[2]
HOUR_S: Final = 3_600
AUCTION: Final = "bench-day"
INTERVALS: Final = 24
NODE: Final = 8
CHIP_CLASS: Final = "nvidia.h100-sxm5-80gb"
START_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 30.0
SIGNATURE_WORKER: Final = "iso_exchange.signature_worker"
ERRORS_FILE: Final = "server.log"
ERROR_LENGTH_MAX: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Processor seconds since the exchange started."""

    server: float
    signatures: float
    database: float

    def since(self, earlier: Spent) -> Spent:
        """What was spent after an earlier look."""
        return Spent(
            server=self.server - earlier.server,
            signatures=self.signatures - earlier.signatures,
            database=self.database - earlier.database,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeProcess:
    """A running exchange.

    Attributes:
        data: Its data directory, where identities lie.
        pid: Of the server; PostgreSQL runs below it.
    """

    data: Path
    pid: int

    def identity(self, name: str) -> Path:
        """Identity directory of a participant."""
        return self.data / "identities" / name

    def spent(self) -> Spent:
        """Processor time so far."""
        below = {pid: cpu_seconds(pid) for pid in descendants(self.pid)}
        signatures = sum(spent for pid, spent in below.items() if runs(pid, SIGNATURE_WORKER))
        return Spent(
            server=cpu_seconds(self.pid),
            signatures=signatures,
            database=sum(below.values()) - signatures,
        )


@contextmanager
def disk_directory() -> Iterator[Path]:
    """A temporary folder on a disk, passable for the account that PostgreSQL runs under."""
    with tempfile.TemporaryDirectory(prefix="iso-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@asynccontextmanager
async def running_exchange(buyers: int, pools: int) -> AsyncIterator[ExchangeProcess]:
    """Start an exchange with an open auction, pools and funded buyers ``lab-0``, ``lab-1``, ..."""
    with disk_directory() as data:
        process = _start(data)
        try:
            exchange = ExchangeProcess(data=data, pid=process.pid)
            await _wait_until_ready(exchange, process)
            await _open_market(exchange, buyers, pools)
            yield exchange
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(data: Path) -> subprocess.Popen[bytes]:
    with (data / ERRORS_FILE).open("wb") as errors:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "iso_exchange.server", "--data", str(data)),
                *("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
                *("--log-level", "WARNING", "--drain-seconds", "1"),
            ],
            cwd=ROOT,
            env={**os.environ, "ISO_DATABASE_URL": ""},
            stderr=errors,
        )


async def _wait_until_ready(exchange: ExchangeProcess, process: subprocess.Popen[bytes]) -> None:
    address = exchange.identity("operator") / "exchange.json"
    deadline = time.monotonic() + START_SECONDS_MAX
    while not address.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (exchange.data / ERRORS_FILE).read_text()[-ERROR_LENGTH_MAX:]
            message = f"the exchange did not start (exit status {process.returncode}): {said}"
            raise RuntimeError(message)
        await asyncio.sleep(0.05)


async def _open_market(exchange: ExchangeProcess, buyers: int, pools: int) -> None:
    authority = DevelopmentAuthority.load_or_create(
        exchange.data / "ca", origin=ORIGIN_DEFAULT, now=datetime.now(UTC)
    )
    address = load_exchange(exchange.identity("operator"))
    roles = {f"lab-{i}": Role.BUYER for i in range(buyers)}
    roles |= {"supplier": Role.SUPPLIER, "town": Role.COMMUNITY}
    async with Client.from_directory(exchange.identity("operator")) as operator:
        for name, role in roles.items():
            directory = exchange.identity(name)
            signing_key(directory, os.urandom(32))
            write_identity(
                directory,
                ca_pem=authority.certificate_pem,
                issued=authority.issue(name, now=datetime.now(UTC)),
                address=address,
            )
            await operator.send(
                RegisterParticipant(
                    header=BLANK_HEADER,
                    participant_id=name,
                    display_name=name,
                    roles=(role,),
                    public_key=load_identity(directory).signing_key.public,
                )
            )
        for command in (*_grid(pools), *_deposits(buyers)):
            await operator.send(command)
        stub = auction_service_pb2_grpc.AuctionServiceStub(operator._channel)
        request = auction_service_pb2.GetSeedCommitmentRequest(auction_id=AUCTION)
        await operator.send(_auction((await stub.GetSeedCommitment(request)).seed_commitment.hex()))


def _grid(pools: int) -> Iterator[RegisterSite | RegisterPool]:
    for i in range(0, pools, 3):
        yield RegisterSite(
            header=BLANK_HEADER,
            site_id=f"site-{i // 3}",
            community_id="town",
            surcharge=MicroUsdPerChipHour(100_000),
            power_limit=None,
            region="us-south",
            country="US",
        )
    for i in range(pools):
        yield RegisterPool(
            header=BLANK_HEADER,
            pool_id=f"pool-{i:02d}",
            site_id=f"site-{i // 3}",
            supplier_ids=("supplier",),
            chip_class=CHIP_CLASS,
            chips_per_node=Chips(NODE),
            capacity=Chips(NODE * 1_000),
            chip_power=Watts(1_000),
            node_spare_ppm=Ppm(10_000),
            fabric="INFINIBAND_NDR",
        )


def _deposits(buyers: int) -> Iterator[RecordDeposit]:
    for i in range(buyers):
        yield RecordDeposit(
            header=BLANK_HEADER,
            participant_id=f"lab-{i}",
            amount=MicroUsd(10**15),
            bank_reference=f"wire-{i}",
        )


def first_interval() -> int:
    """Start of the day that is auctioned: the second full hour from now."""
    return int(time.time()) // HOUR_S * HOUR_S + 2 * HOUR_S


def _auction(commitment: str) -> CreateAuction:
    first = first_interval()
    return CreateAuction(
        header=BLANK_HEADER,
        auction_id=AUCTION,
        product="DAY_AHEAD",
        close_time=UnixSeconds(first - 60),
        first_interval_start=UnixSeconds(first),
        interval_seconds=Seconds(HOUR_S),
        interval_count=INTERVALS,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(10_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=commitment,
        tariff=Tariff(),
    )
