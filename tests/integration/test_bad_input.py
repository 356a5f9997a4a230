"""What a client may get wrong, over a real socket and a real database: nothing is ever stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clearing.types import Eligibility
from clearing.units import UnixSeconds
from iso_exchange.client import Client, Refused, Sealed
from iso_exchange.client.signing import seal
from iso_exchange.commands import Header
from settlement.ledger.keys import SigningKey
from tests.integration.market import (
    CLOSE,
    START,
    Market,
    auction,
    bid,
    client_of,
    configuration,
    deposit,
    offer,
    open_market,
    pool,
    site,
)

Prepared = tuple[Client, Sealed]
Case = Callable[[Market], Awaitable[Prepared]]


async def unknown_participant(market: Market) -> Prepared:
    stranger = client_of(market.exchange.issue_identity("stranger"))
    return stranger, await stranger.prepare(bid(participant_id="stranger"))


async def wrong_role(market: Market) -> Prepared:
    return market.buyer, await market.buyer.prepare(deposit("buyer", "wire-9"))


async def bad_signature(market: Market) -> Prepared:
    good = await market.buyer.prepare(bid())
    forged = seal(good.command, (SigningKey.from_seed(bytes(31) + b"\x07"),))
    return market.buyer, forged


async def anothers_certificate(market: Market) -> Prepared:
    return market.other, await market.buyer.prepare(bid())


async def reused_request_id(market: Market) -> Prepared:
    first = await market.buyer.prepare(bid("bid-0"))
    await market.buyer.send_sealed(first)
    changed = dataclasses.replace(bid("bid-0", price=4_001_000), header=first.command.header)
    return market.buyer, await market.buyer.prepare(changed)


async def after_gate_closure(market: Market) -> Prepared:
    await market.operator.advance_time(UnixSeconds(CLOSE))
    return market.buyer, await market.buyer.prepare(bid())


async def unknown_chip_class(market: Market) -> Prepared:
    return market.operator, await market.operator.prepare(pool("other-pool", "acme.x1"))


async def bid_for_unknown_chip_class(market: Market) -> Prepared:
    where = Eligibility(chip_classes=("acme.x1",))
    return market.buyer, await market.buyer.prepare(bid(where=where))


async def site_without_surcharge(market: Market) -> Prepared:
    return market.operator, await market.operator.prepare(site("hills", None))


async def not_node_multiple(market: Market) -> Prepared:
    return market.buyer, await market.buyer.prepare(bid(chips=12))


async def window_in_past(market: Market) -> Prepared:
    return market.buyer, await market.buyer.prepare(bid(start=START - 7_200))


async def price_above_cap(market: Market) -> Prepared:
    return market.buyer, await market.buyer.prepare(bid(price=100_001_000))


async def exposure_above_collateral(market: Market) -> Prepared:
    return market.buyer, await market.buyer.prepare(bid(price=90_000_000, chips=64))


async def oversized_envelope(market: Market) -> Prepared:
    good = await market.buyer.prepare(bid())
    return market.buyer, dataclasses.replace(good, envelope=good.envelope + b" " * 40_000)


async def malformed_envelope(market: Market) -> Prepared:
    good = await market.buyer.prepare(bid())
    return market.buyer, dataclasses.replace(good, envelope=b"not an envelope")


async def other_exchange(market: Market) -> Prepared:
    header = Header(
        origin="elsewhere.example/log",
        signer_id="buyer",
        request_id="r-1",
        create_time=UnixSeconds(START),
    )
    return market.buyer, await market.buyer.prepare(dataclasses.replace(bid(), header=header))


async def foreign_seed(market: Market) -> Prepared:
    command = await auction(market.operator, "da-2", commitment="ab" * 32)
    return market.operator, await market.operator.prepare(command)


async def offer_in_anothers_pool(market: Market) -> Prepared:
    return market.buyer, await market.buyer.prepare(
        dataclasses.replace(offer(), participant_id="buyer")
    )


CASES: dict[str, tuple[Case, str, str, str]] = {
    case.__name__: (case, code, status, field)
    for case, code, status, field in (
        (unknown_participant, "UNKNOWN_PARTICIPANT", "NOT_FOUND", "header.signer_id"),
        (wrong_role, "WRONG_ROLE", "PERMISSION_DENIED", "header.signer_id"),
        (offer_in_anothers_pool, "WRONG_ROLE", "PERMISSION_DENIED", "header.signer_id"),
        (bad_signature, "BAD_SIGNATURE", "INVALID_ARGUMENT", "envelope.signatures"),
        (anothers_certificate, "HEADER_MISMATCH", "PERMISSION_DENIED", "header.signer_id"),
        (reused_request_id, "REQUEST_CONFLICT", "ALREADY_EXISTS", "request_id"),
        (after_gate_closure, "GATE_CLOSED", "FAILED_PRECONDITION", "auction_id"),
        (unknown_chip_class, "UNKNOWN_CHIP_CLASS", "NOT_FOUND", "chip_class"),
        (bid_for_unknown_chip_class, "UNKNOWN_CHIP_CLASS", "NOT_FOUND", "chip_classes"),
        (
            site_without_surcharge,
            "SITE_WITHOUT_SURCHARGE",
            "INVALID_ARGUMENT",
            "surcharge_micro_usd_per_chip_hour",
        ),
        (not_node_multiple, "NOT_NODE_MULTIPLE", "INVALID_ARGUMENT", "chips"),
        (window_in_past, "WINDOW_IN_PAST", "INVALID_ARGUMENT", "segments[0]"),
        (
            price_above_cap,
            "PRICE_OUTSIDE_LIMITS",
            "INVALID_ARGUMENT",
            "price_micro_usd_per_chip_hour",
        ),
        (
            exposure_above_collateral,
            "EXPOSURE_ABOVE_COLLATERAL",
            "FAILED_PRECONDITION",
            "limit_price",
        ),
        (oversized_envelope, "MESSAGE_TOO_LARGE", "RESOURCE_EXHAUSTED", "envelope"),
        (malformed_envelope, "MALFORMED_ENVELOPE", "INVALID_ARGUMENT", "envelope"),
        (other_exchange, "WRONG_ORIGIN", "INVALID_ARGUMENT", "header.origin"),
        (foreign_seed, "INVALID_VALUE", "INVALID_ARGUMENT", "seed_commitment"),
    )
}


@pytest.mark.parametrize("name", CASES)
async def test_is_refused_the_same_way_twice_and_stores_nothing(
    name: str, tmp_path: Path, database_url: str
) -> None:
    case, code, status, field = CASES[name]
    async with open_market(configuration(tmp_path, database_url)) as market:
        client, sealed = await case(market)
        size = market.exchange.sequencer.size
        answers = []
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await client.send_sealed(sealed)
            answers.append(refused.value)
        if client not in (market.buyer, market.operator, market.other):
            await client.close()
        assert (answers[0].code, answers[0].status) == (code, status)
        assert answers[0].field == field
        assert answers[0].advice
        assert str(answers[0]) == str(answers[1])
        assert market.exchange.sequencer.size == size


async def test_oversized_message_is_refused_by_the_transport(
    tmp_path: Path, database_url: str
) -> None:
    async with open_market(configuration(tmp_path, database_url)) as market:
        good = await market.buyer.prepare(bid())
        huge = dataclasses.replace(good, envelope=b"x" * (5 * 2**20))
        size = market.exchange.sequencer.size
        with pytest.raises(Refused) as refused:
            await market.buyer.send_sealed(huge)
        assert refused.value.status == "RESOURCE_EXHAUSTED"
        assert market.exchange.sequencer.size == size


async def test_replay_of_an_accepted_request_gives_the_same_receipt(
    tmp_path: Path, database_url: str
) -> None:
    async with open_market(configuration(tmp_path, database_url)) as market:
        sealed = await market.buyer.prepare(bid())
        first = await market.buyer.send_sealed(sealed)
        await market.supplier.send(offer())
        size = market.exchange.sequencer.size
        again = await market.buyer.send_sealed(sealed)
        assert again.response is not None
        assert first.response is not None
        assert again.response.receipt == first.response.receipt  # type: ignore[attr-defined]
        assert market.exchange.sequencer.size == size


async def test_a_batch_judges_each_item_by_itself(tmp_path: Path, database_url: str) -> None:
    async with open_market(configuration(tmp_path, database_url)) as market:
        answers = await market.buyer.send_many(
            [bid("bid-1"), bid("bid-2", chips=12), bid("bid-3", chips=8)]
        )
        codes = [answer.code if isinstance(answer, Refused) else "OK" for answer in answers]
        assert codes == ["OK", "NOT_NODE_MULTIPLE", "OK"]
        assert {view.order.order_id for view in await market.buyer.orders()} == {"bid-1", "bid-3"}
