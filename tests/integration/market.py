"""A small exchange for gateway tests: one pool, a supplier, two buyers, one open auction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from clearing.types import (
    Cover,
    Eligibility,
    PricingRule,
    ServiceClass,
    Step,
    Tariff,
)
from clearing.units import (
    Chips,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)
from iso_exchange.api.v1 import auction_service_pb2, auction_service_pb2_grpc
from iso_exchange.client import BLANK_HEADER, Client, Retry, load_identity
from iso_exchange.commands import (
    BidConditions,
    CreateAuction,
    OfferTerms,
    RecordDeposit,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    Role,
    StepBidTerms,
    SubmitOrder,
    TimedSegment,
)
from iso_exchange.config import Config, Listen
from iso_exchange.server import Exchange
from settlement.storage.store import LedgerStore

START = 1_800_000_000
CLOSE = START + 1_800
FIRST = START + 3_600
CHIP_CLASS = "nvidia.h100-sxm5-80gb"
COLLATERAL = 1_000_000_000
ANY_PORT = Listen(host="127.0.0.1", port=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """An open exchange and clients of its participants."""

    exchange: Exchange
    operator: Client
    supplier: Client
    buyer: Client
    other: Client
    auditor: Client


def configuration(data: Path, database_url: str | None = None) -> Config:
    return Config(
        data=data,
        grpc=ANY_PORT,
        http=ANY_PORT,
        database_url=database_url,
        simulated_start_us=START * 1_000_000,
        drain_seconds=2.0,
    )


def client_of(directory: Path) -> Client:
    return Client.from_directory(directory, retry=Retry(attempts=2, first_delay_s=0.05))


@asynccontextmanager
async def open_market(config: Config, store: LedgerStore | None = None) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(Exchange(config, store=store))
        operator = await stack.enter_async_context(
            client_of(exchange.identity_directory("operator"))
        )
        clients = {}
        for name, role in (
            ("supplier", Role.SUPPLIER),
            ("buyer", Role.BUYER),
            ("other", Role.BUYER),
            ("town", Role.COMMUNITY),
            ("auditor", Role.AUDITOR),
        ):
            directory = exchange.issue_identity(name)
            await operator.send(participant(name, role, directory))
            clients[name] = await stack.enter_async_context(client_of(directory))
        for command in (site(), pool()):
            await operator.send(command)
        for name in ("supplier", "buyer"):
            await operator.send(deposit(name))
        await operator.send(await auction(operator))
        yield Market(
            exchange=exchange,
            operator=operator,
            supplier=clients["supplier"],
            buyer=clients["buyer"],
            other=clients["other"],
            auditor=clients["auditor"],
        )


def participant(name: str, role: Role, directory: Path) -> RegisterParticipant:
    return RegisterParticipant(
        header=BLANK_HEADER,
        participant_id=name,
        display_name=name.capitalize(),
        roles=(role,),
        public_key=load_identity(directory).signing_key.public,
    )


def site(site_id: str = "plains", surcharge: int | None = 500_000) -> RegisterSite:
    return RegisterSite(
        header=BLANK_HEADER,
        site_id=site_id,
        community_id="town",
        surcharge=None if surcharge is None else MicroUsdPerChipHour(surcharge),
        power_limit=None,
        region="us-south",
        country="US",
    )


def pool(pool_id: str = "plains-h100", chip_class: str = CHIP_CLASS) -> RegisterPool:
    return RegisterPool(
        header=BLANK_HEADER,
        pool_id=pool_id,
        site_id="plains",
        supplier_ids=("supplier",),
        chip_class=chip_class,
        chips_per_node=Chips(8),
        capacity=Chips(64),
        chip_power=Watts(1_000),
        node_spare_ppm=Ppm(10_000),
        fabric="INFINIBAND_NDR",
    )


def deposit(name: str, reference: str = "") -> RecordDeposit:
    return RecordDeposit(
        header=BLANK_HEADER,
        participant_id=name,
        amount=MicroUsd(COLLATERAL),
        bank_reference=reference or f"wire-{name}",
    )


async def seed_commitment(client: Client, auction_id: str) -> str:
    stub = auction_service_pb2_grpc.AuctionServiceStub(client._channel)
    request = auction_service_pb2.GetSeedCommitmentRequest(auction_id=auction_id)
    return (await stub.GetSeedCommitment(request)).seed_commitment.hex()


async def auction(
    operator: Client, auction_id: str = "da-1", commitment: str = ""
) -> CreateAuction:
    return CreateAuction(
        header=BLANK_HEADER,
        auction_id=auction_id,
        product="DAY_AHEAD",
        close_time=UnixSeconds(CLOSE),
        first_interval_start=UnixSeconds(FIRST),
        interval_seconds=Seconds(3_600),
        interval_count=2,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(10_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=commitment or await seed_commitment(operator, auction_id),
        tariff=Tariff(),
    )


def segment(price: int, chips: int, start: int = FIRST, hours: int = 2) -> TimedSegment:
    return TimedSegment(
        start=UnixSeconds(start),
        end=UnixSeconds(start + hours * 3_600),
        steps=(Step(price=MicroUsdPerChipHour(price), chips=Chips(chips)),),
    )


def offer(order_id: str = "offer-1", price: int = 2_000_000, chips: int = 64) -> SubmitOrder:
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id="da-1",
        participant_id="supplier",
        revision=1,
        terms=OfferTerms(pool_id="plains-h100", segments=(segment(price, chips),)),
    )


def bid(
    order_id: str = "bid-1",
    *,
    participant_id: str = "buyer",
    price: int = 4_000_000,
    chips: int = 32,
    start: int = FIRST,
    revision: int = 1,
    where: Eligibility | None = None,
) -> SubmitOrder:
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id="da-1",
        participant_id=participant_id,
        revision=revision,
        terms=StepBidTerms(
            conditions=BidConditions(
                where=where or Eligibility(pool_ids=("plains-h100",)),
                service_class=ServiceClass.FIRM,
                cover=Cover.NODE,
            ),
            segments=(segment(price, chips, start),),
        ),
    )
