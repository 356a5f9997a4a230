"""What the API answers, over a small auction that was really cleared."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from clearing import codec
from clearing.eligibility import Ineligible
from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, MicroUsdPerChipHour, Tflop, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.api.v1 import (
    auction_pb2,
    contract_pb2,
    market_service_pb2,
    order_pb2,
    participant_pb2,
    resource_pb2,
    settlement_pb2,
)
from iso_exchange.convert import command_from, payload_of, views
from iso_exchange.convert.bodies import CONVERTERS
from iso_exchange.sequencer.deliveries import period_of
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import AuctionState, Order
from settlement.ledger.checkpoint import Checkpoint, sign_checkpoint
from settlement.ledger.keys import SigningKey
from settlement.storage.store import AppliedTransfer, Balance, Document, Entry
from settlement.storage.store import Published as PublishedCheckpoint
from settlement.types import (
    USD,
    Contract,
    DeliveredHour,
    MeterBatch,
    Phase,
    Reading,
    Statement,
    StatementLine,
    Transfer,
    TransferCode,
)
from tests.unit.convert.published import NAME, Published, cleared, hour, published
from tests.unit.sequencer.world import FIRST, H100, registered

POOL = "tx-1-h100"


@pytest.fixture(scope="module")
def exchange() -> Published:
    return published()


def contract_of(exchange: Published, order_id: str) -> Contract:
    found = [item for item in exchange.world.state.contracts.values() if item.order_id == order_id]
    assert len(found) == 1
    return found[0]


def around(exchange: Published, order: Order | None = None) -> views.Surroundings:
    state = exchange.world.state
    return views.Surroundings(
        auction=exchange.auction,
        pool=state.pools[POOL],
        site=state.sites["tx-1"],
        table=state.chip_table(),
        order=order,
        holds=state.books.open_holds(),
    )


# Registry ---------------------------------------------------------------------------


def test_a_participant_is_shown_with_its_state() -> None:
    world = registered()
    lab = world.state.participants["lab"]
    active = views.participant_view(lab, entry_index=3)
    assert active.participant.participant_id == "lab"
    assert list(active.participant.roles) == [participant_pb2.ROLE_BUYER]
    assert active.participant.public_key == hashlib.sha256(b"lab").digest()
    assert active.state == participant_pb2.PARTICIPANT_STATE_ACTIVE
    assert active.entry_index == 3
    key = next(iter(lab.keys))
    world.must(
        c.RevokeKey(
            header=world.header("operator"), participant_id="lab", key_id=key, reason="lost"
        )
    )
    world.must(
        c.SuspendParticipant(header=world.header("operator"), participant_id="lab", reason="late")
    )
    suspended = views.participant_view(lab)
    assert suspended.state == participant_pb2.PARTICIPANT_STATE_SUSPENDED
    assert list(suspended.revoked_key_ids) == [key]
    assert suspended.participant.public_key == hashlib.sha256(b"lab").digest()
    assert not suspended.HasField("entry_index")


def test_site_and_pool_views_say_what_was_registered() -> None:
    world = registered()
    site, pool = world.site(legal_controls=("US_CLOUD_ACT",)), world.pool()
    shown = views.site_view(world.state.sites["tx-1"])
    assert shown.surcharge_micro_usd_per_chip_hour == site.surcharge
    assert not shown.HasField("power_limit_watts")
    assert shown.location.region == site.region
    table = world.state.chip_table()
    assert table is not None
    seen = views.pool_view(world.state.pools[POOL], table)
    assert (seen.capacity_chip_count, seen.resource.node_count) == (pool.capacity, 8)
    assert list(seen.supplier_ids) == ["acme"]
    assert seen.resource.chip_class == H100
    assert seen.resource.chip_table_sha256.hex() == table.sha256
    assert seen.resource.form_factor == resource_pb2.FORM_FACTOR_SXM
    assert seen.resource.scale_out.kind == resource_pb2.SCALE_OUT_KIND_INFINIBAND_NDR
    assert seen.resource.memory.chip_gb == table.get(H100).hbm_gb.value
    rates = [rate.precision for rate in seen.resource.peak_rates]
    assert rates == sorted(rates) != []
    bare = views.pool_view(world.state.pools[POOL], None)
    assert not bare.resource.HasField("memory")


def test_a_meter_is_shown_with_its_key() -> None:
    world = registered()
    keys = tuple(world.state.participants["meter-1"].keys.values())
    shown = views.meter_view(world.state.meters["meter-1"], keys)
    assert (shown.meter_id, shown.pool_id, shown.public_key) == ("meter-1", POOL, keys[0])


# Auctions ---------------------------------------------------------------------------


def test_a_result_is_shown_only_once_it_is_published() -> None:
    world, closed = cleared()
    auction = world.state.auctions[NAME]
    assert auction.state is AuctionState.CLEARED
    shown = views.auction_view(auction, closed=closed, state_time_us=1_500_000)
    assert shown.state == auction_pb2.AUCTION_STATE_CLEARED
    assert not shown.HasField("result")
    assert (shown.state_time.seconds, shown.state_time.nanos) == (1, 500_000_000)
    assert views.results_of(auction) is None
    order = views.order_view(world.state.orders["bid-1"], auction)
    assert order.state == order_pb2.ORDER_STATE_LOCKED
    assert not order.HasField("outcome")
    with pytest.raises(InvariantError, match="not public"):
        views.auction_prices(auction)


def test_a_published_auction_shows_its_totals_and_its_gap(exchange: Published) -> None:
    shown = views.auction_view(
        exchange.auction,
        closed=exchange.closed,
        published=exchange.prices,
        publish_time_us=7_000_000,
        entry_index=11,
    )
    outcome = exchange.auction.outcome
    assert outcome is not None
    assert shown.state == auction_pb2.AUCTION_STATE_PUBLISHED
    assert shown.entry_index == 11
    result, totals = shown.result, shown.result.totals
    assert result.order_count == exchange.closed.order_count
    assert result.book_root.hex() == exchange.closed.book_root
    assert result.prices_sha256.hex() == codec.digest(exchange.document)
    assert hashlib.sha256(result.seed).hexdigest() == shown.spec.seed_commitment.hex()
    assert result.certified_gap_ppb == outcome.certificate.gap_ppb
    assert int(result.welfare) == outcome.certificate.welfare
    assert result.publish_time.seconds == 7
    assert totals.buyers_micro_usd == (
        totals.suppliers_micro_usd
        + totals.spare_micro_usd
        + totals.community_micro_usd
        + totals.operator_fee_micro_usd
        + totals.link_rent_micro_usd
        + totals.power_rent_micro_usd
        + totals.residual_micro_usd
    )
    assert command_from(*payload_of(exchange.auction.created)) == exchange.auction.created


def test_reasons_of_halts_and_failures_are_shown() -> None:
    world = registered()
    auction = world.state.auctions[NAME]
    world.must(c.HaltAuction(header=world.header("operator"), auction_id=NAME, reason="a fault"))
    assert views.auction_view(auction, halt_reason="a fault").reason == "a fault"
    auction.state = AuctionState.FAILED
    auction.failures.append("no time")
    assert views.auction_view(auction, halt_reason="a fault").reason == "no time"


def test_prices_are_those_of_the_outcome_by_interval(exchange: Published) -> None:
    prices = views.auction_prices(exchange.auction)
    assert prices == views.document_prices(exchange.document)
    assert [price.start_time.seconds for price in prices] == [hour(index) for index in range(4)]
    first = prices[0]
    assert first.firm_micro_usd_per_chip_hour == (
        first.energy_micro_usd_per_chip_hour
        + first.power_micro_usd_per_chip_hour
        + first.node_cover_micro_usd_per_chip_hour
        + first.surcharge_micro_usd_per_chip_hour
        + first.operator_fee_micro_usd_per_chip_hour
    )
    assert (first.firm_chip_count, first.base_load_chip_count) == (8, 16)
    assert first.utilization_ppm == (8 + 16) * 1_000_000 // 64
    assert not first.HasField("residual_supply_index_ppm")


def test_curves_are_sums_over_all_orders(exchange: Published) -> None:
    curves = views.curve_views(exchange.document)
    assert len(curves) == 4
    assert [
        (step.price_micro_usd_per_chip_hour, step.chip_count) for step in curves[0].demand_steps
    ] == [
        (4_000_000, 8),
        (1_000_000, 16),
    ]
    assert [step.chip_count for step in curves[3].supply_steps] == [48]


# Orders -----------------------------------------------------------------------------


def test_an_open_order_shows_its_hold() -> None:
    world = registered()
    world.must(world.bid())
    order = world.state.orders["bid-1"]
    shown = views.order_view(order, world.state.auctions[NAME], accept_time_us=5_000_001)
    assert shown.state == order_pb2.ORDER_STATE_OPEN
    assert order.hold is not None
    assert shown.hold_micro_usd == order.hold.amount
    assert shown.accept_time.nanos == 1_000
    assert command_from(*payload_of(order.submitted)) == order.submitted
    assert shown.order == CONVERTERS[c.SubmitOrder].write(order.submitted)


def test_cancellations_say_whose_they_are() -> None:
    world = registered()
    world.must(world.bid())
    world.must(world.bid(order_id="bid-2"))
    auction = world.state.auctions[NAME]
    world.must(c.CancelOrder(header=world.header("lab"), order_id="bid-1"))
    world.must(
        c.CancelAllOrders(header=world.header("operator"), participant_id="lab", reason="unpaid")
    )
    states = [
        views.order_view(world.state.orders[name], auction).state for name in ("bid-1", "bid-2")
    ]
    assert states == [
        order_pb2.ORDER_STATE_CANCELLED,
        order_pb2.ORDER_STATE_CANCELLED_BY_OPERATOR,
    ]


def test_outcomes_say_what_was_awarded_and_why(exchange: Published) -> None:
    state, results = exchange.world.state, views.results_of(exchange.auction)
    shown = {
        name: views.order_view(state.orders[name], exchange.auction, results=results)
        for name in ("offer-1", "bid-1", "bid-2", "bid-3")
    }
    assert shown["bid-1"].state == order_pb2.ORDER_STATE_FILLED
    assert shown["bid-2"].state == order_pb2.ORDER_STATE_UNFILLED
    assert shown["offer-1"].state == order_pb2.ORDER_STATE_PARTIALLY_FILLED
    assert shown["bid-3"].state == order_pb2.ORDER_STATE_CANCELLED
    assert not shown["bid-3"].HasField("outcome")
    missed = shown["bid-2"].outcome
    assert missed.reason == order_pb2.REASON_CODE_OUT_OF_THE_MONEY
    assert missed.shortfall_micro_usd_per_chip_hour > 0
    assert missed.detail
    assert not missed.awards
    won = shown["bid-1"].outcome
    assert [award.pool_id for award in won.awards] == [POOL]
    segment = won.awards[0].segments[0]
    assert (segment.start_time.seconds, segment.end_time.seconds) == (hour(0), hour(1))
    assert segment.chip_count == 8
    contract_id = contract_of(exchange, "bid-1").contract_id
    assert list(won.contract_ids) == [contract_id]
    assert list(shown["offer-1"].outcome.contract_ids) == [contract_id]
    assert shown["bid-1"] == views.order_view(state.orders["bid-1"], exchange.auction)


def test_awards_put_equal_hours_together(exchange: Published) -> None:
    assert exchange.auction.outcome is not None
    standing = next(
        award for award in exchange.auction.outcome.awards if award.order_id == "standing:ent-1"
    )
    shown = views.award_view(standing, exchange.auction.spec.intervals)
    assert shown.side == order_pb2.SIDE_BASE
    assert [
        (segment.start_time.seconds, segment.end_time.seconds, segment.chip_count)
        for segment in shown.segments
    ] == [(hour(0), hour(4), 16)]


def test_pools_are_explained() -> None:
    world = registered()
    state = world.state
    taken = views.eligible_pool(
        state.pools[POOL], state.sites["tx-1"], operator_fee=MicroUsdPerChipHour(20_000)
    )
    assert taken.surcharge_micro_usd_per_chip_hour == 500_000
    assert not taken.HasField("last_price_micro_usd_per_chip_hour")
    for reason in Ineligible:
        refused = views.refused_pool("x", reason)
        assert refused.description
        explained = views.pool_explanation("x", mismatch=reason)
        assert refused.reason == explained.reason != 0
        assert not explained.eligible
    eligible = views.pool_explanation("x", price=MicroUsdPerChipHour(0))
    assert eligible.HasField("price_micro_usd_per_chip_hour")
    assert eligible.reason == market_service_pb2.INELIGIBILITY_REASON_UNSPECIFIED


# Contracts --------------------------------------------------------------------------


def test_each_party_sees_only_its_own_side_of_a_contract(exchange: Published) -> None:
    contract = contract_of(exchange, "bid-1")
    surroundings = around(exchange, exchange.world.state.orders["bid-1"])
    shown = {
        viewer: views.contract_view(contract, surroundings, viewer=viewer, now=hour(-1))
        for viewer in views.Viewer
    }
    buyer, supplier = shown[views.Viewer.BUYER], shown[views.Viewer.SUPPLIER]
    auditor = shown[views.Viewer.AUDITOR]
    assert (buyer.order_id, buyer.supplier_order_id) == ("bid-1", "")
    assert (supplier.order_id, supplier.supplier_order_id) == ("", "offer-1")
    assert (auditor.order_id, auditor.supplier_order_id) == ("bid-1", "offer-1")
    assert buyer.terms.limit_price_micro_usd_per_chip_hour == 4_000_000
    assert not supplier.terms.HasField("limit_price_micro_usd_per_chip_hour")
    held = buyer.terms.collateral
    assert held.buyer_held_micro_usd > 0
    assert held.supplier_held_micro_usd == 0
    assert supplier.terms.collateral.buyer_held_micro_usd == 0
    assert supplier.terms.collateral.supplier_held_micro_usd > 0
    assert views.viewer_of(contract, "lab") is views.Viewer.BUYER
    assert views.viewer_of(contract, "acme") is views.Viewer.SUPPLIER
    assert views.viewer_of(contract, "town") is None
    legs = buyer.hours[0].legs
    assert legs.contract_micro_usd_per_chip_hour == (
        legs.energy_micro_usd_per_chip_hour
        + legs.power_micro_usd_per_chip_hour
        + legs.cover_micro_usd_per_chip_hour
        - legs.discount_micro_usd_per_chip_hour
    )
    assert buyer.terms.surcharge.beneficiary_id == "town"
    assert buyer.resource.node_count == 1
    assert buyer.location.site_id == "tx-1"


def test_base_load_has_no_limit(exchange: Published) -> None:
    contract = contract_of(exchange, "standing:ent-1")
    shown = views.contract_view(contract, around(exchange), viewer=views.Viewer.BUYER, now=hour(-1))
    assert not shown.terms.HasField("limit_price_micro_usd_per_chip_hour")
    assert shown.terms.service_class == order_pb2.SERVICE_CLASS_BASE_LOAD
    assert len(shown.hours) == 4


def test_the_stage_of_a_contract_follows_time_and_settlement(exchange: Published) -> None:
    contract = contract_of(exchange, "bid-1")
    auction = exchange.auction
    expected = [
        (hour(0) - 1, contract_pb2.CONTRACT_STATE_SCHEDULED, None),
        (hour(0), contract_pb2.CONTRACT_STATE_DELIVERING, hour(0)),
        (hour(1) - 1, contract_pb2.CONTRACT_STATE_DELIVERING, hour(0)),
        (hour(1), contract_pb2.CONTRACT_STATE_COMPLETED, hour(1)),
    ]
    for now, state, since in expected:
        stage = views.stage_of(contract, auction, UnixSeconds(now))
        assert (stage.state, stage.since) == (state, since)
        assert stage.reason == contract_pb2.CONTRACT_REASON_ON_TIME
    world, _ = cleared()
    early = views.stage_of(contract, world.state.auctions[NAME], UnixSeconds(hour(0) - 1))
    assert early.state == contract_pb2.CONTRACT_STATE_AWARDED
    world.state.auctions[NAME].settled.add(hour(0))
    settled = views.stage_of(contract, world.state.auctions[NAME], hour(1))
    assert settled.state == contract_pb2.CONTRACT_STATE_SETTLED
    assert settled.reason == contract_pb2.CONTRACT_REASON_ALL_HOURS_SETTLED


def test_delivered_hours_of_the_contract_are_shown(exchange: Published) -> None:
    contract = contract_of(exchange, "bid-1")
    own = DeliveredHour(
        contract_id=contract.contract_id,
        interval=contract.hours[0].interval,
        position=ChipSeconds(28_800),
        delivered=ChipSeconds(28_000),
        failed=ChipSeconds(500),
        gap=ChipSeconds(300),
        compute=Tflop(2**70),
    )

    other = dataclasses.replace(own, contract_id="other")
    surroundings = dataclasses.replace(around(exchange), delivered=(other, own))
    shown = views.contract_view(
        contract, surroundings, viewer=views.Viewer.AUDITOR, now=hour(1), entry_index=4
    )
    assert len(shown.delivered_hours) == 1
    assert shown.delivered_hours[0].failed_chip_seconds == 500
    assert shown.delivered_hours[0].compute_tflop == str(2**70)
    assert shown.entry_index == 4


def test_an_outage_is_shown_with_its_contracts() -> None:
    outage = c.ReportOutage(
        header=registered().header("acme"),
        outage_id="out-1",
        pool_id=POOL,
        interval=Interval(start=hour(0), end=hour(1)),
        nodes=("n-1",),
        reason="cooling",
    )
    shown = views.outage_view(outage, {"b", "a"})
    assert shown.report.pool_id == POOL
    assert list(shown.contract_ids) == ["a", "b"]


# Settlement -------------------------------------------------------------------------


def test_money_is_decimal_text_and_exact() -> None:
    large = 2**100
    balance = views.balance_view(
        Balance(asset=USD, account="p:lab:cash", posted=-large, pending_debit=1, pending_credit=0)
    )
    assert balance.posted == str(-large)
    transfer = Transfer(
        transfer_id="t-1",
        asset=USD,
        debit="p:lab:cash",
        credit="pot:da-1:3600",
        amount=large,
        phase=Phase.PENDING,
        code=TransferCode.AUCTION_LEG,
        contract_id="a/b/c/d",
        interval_start=UnixSeconds(FIRST),
    )
    shown = views.transfer_view(
        AppliedTransfer(entry_index=3, position=2, transfer=transfer, applied=7)
    )
    assert (shown.amount, shown.applied_amount) == (str(large), "7")
    assert shown.phase == settlement_pb2.TRANSFER_PHASE_PENDING
    assert shown.code == settlement_pb2.TRANSFER_CODE_AUCTION_LEG
    assert shown.hour_start_time.seconds == FIRST
    assert (shown.entry_index, shown.position) == (3, 2)


def test_statements_lines_and_payouts() -> None:
    line = StatementLine(
        code=TransferCode.SURCHARGE,
        contract_id="",
        interval_start=UnixSeconds(0),
        quantity=ChipSeconds(3_600),
        price=MicroUsdPerChipHour(500_000),
        amount=500_000,
        counterparty="p:lab:cash",
        transfer_ids=("t-1", "t-2"),
    )
    statement = Statement(
        statement_id="statement/1",
        party_id="town",
        account="community:tx-1",
        asset=USD,
        period=Interval(start=hour(0), end=hour(4)),
        opening=MicroUsd(0),
        lines=(line,),
        closing=MicroUsd(500_000),
        payout=MicroUsd(500_000),
    )
    shown = views.statement_view(statement, entry_index=9)
    assert (shown.line_count, shown.closing_amount) == (1, "500000")
    assert shown.document_sha256.hex() == codec.digest(statement)
    row = views.statement_line_view(line)
    assert not row.HasField("hour_start_time")
    assert list(row.transfer_ids) == ["t-1", "t-2"]
    payout = views.payout_view(statement, book_time_us=1, entry_index=9)
    assert (payout.amount_micro_usd, payout.participant_id) == (500_000, "town")
    assert payout.book_time.nanos == 1_000


def test_community_totals_cover_the_delivery_period() -> None:
    world = registered()
    total = c.PublishCommunityTotal(
        header=world.header("exchange"),
        auction_id=NAME,
        site_id="tx-1",
        community_id="town",
        delivered=ChipSeconds(3_600),
        surcharge=MicroUsd(500_000),
    )
    shown = views.community_total_view(total, period_of(world.state, NAME))
    assert (shown.start_time.seconds, shown.end_time.seconds) == (hour(0), hour(4))
    assert shown.surcharge_micro_usd == 500_000


# Ledger -----------------------------------------------------------------------------

RECEIPT = Receipt(entry_index=4, leaf_hash=b"\1" * 32, time_us=2_000_003, salt=b"\2" * 32)


def test_items_are_answered_with_a_receipt_or_a_refusal() -> None:
    accepted = views.item_result("r-1", RECEIPT, 9)
    assert accepted.WhichOneof("result") == "receipt"
    assert accepted.receipt.ledger_size == 9
    assert accepted.receipt.accept_time.nanos == 3_000
    rejected = Rejected(
        code=Code.STALE_REVISION, field="revision", advice="send the next", got="3", limit="2"
    )
    refused = views.item_result("r-2", rejected, 9)
    assert refused.request_id == "r-2"
    assert refused.refusal.reason == "STALE_REVISION"
    assert refused.refusal.description == "got 3, expected 2"


def test_an_opening_is_given_only_to_whom_it_belongs() -> None:
    entry = Entry(
        index=4,
        kind="ORDER",
        time_us=1,
        leaf=b"commitment",
        leaf_hash=b"\1" * 32,
        envelope=b"envelope",
        salt=b"\2" * 32,
        owners=("lab",),
        principal="lab",
        request_id="r-1",
        body_sha256=b"\3" * 32,
        reply=b"",
        documents=(b"\4" * 32,),
    )
    closed = views.entry_view(entry, with_opening=False)
    assert not closed.is_public
    assert (closed.opening_envelope, closed.opening_salt) == (b"", b"")
    assert not closed.document_sha256s
    opened = views.entry_view(entry, with_opening=True)
    assert (opened.opening_envelope, opened.opening_salt) == (b"envelope", b"\2" * 32)
    assert list(opened.document_sha256s) == [b"\4" * 32]


def test_a_checkpoint_is_read_from_its_own_note() -> None:
    key = SigningKey.from_seed(b"\7" * 32)
    note = sign_checkpoint(Checkpoint(origin="test.example/log", size=5, root=b"\5" * 32), key)
    shown = views.checkpoint_view(PublishedCheckpoint(size=5, checkpoint=note))
    assert (shown.tree_size, shown.root_hash, shown.note) == (5, b"\5" * 32, note)
    assert not shown.HasField("publish_time")


def test_proofs_and_pieces_of_documents() -> None:
    proof = views.inclusion_proof(
        entry_index=1,
        tree_size=2,
        leaf_hash=b"\1" * 32,
        hashes=[b"\2" * 32],
        root_hash=b"\3" * 32,
        ledger_size=2,
    )
    assert list(proof.hashes) == [b"\2" * 32]
    consistency = views.consistency_proof(
        first_tree_size=1, second_tree_size=2, hashes=[b"\2" * 32], ledger_size=2
    )
    assert consistency.second_tree_size == 2
    document = Document(
        sha256=b"\1" * 32, kind="PRICES", public=True, owners=(), body=b"0123456789"
    )
    piece = views.document_chunk(document, offset_bytes=2, max_bytes=3, ledger_size=1)
    assert (piece.chunk, piece.size_bytes) == (b"234", 10)
    rest = views.document_chunk(document, offset_bytes=5, max_bytes=0, ledger_size=1)
    assert rest.chunk == b"56789"


def test_a_batch_is_summed_up() -> None:
    batch = MeterBatch(
        meter_id="meter-1",
        pool_id=POOL,
        interval=Interval(start=hour(0), end=UnixSeconds(hour(0) + 300)),
        sequence=7,
        readings=(
            Reading(contract_id="a", node_id="n-1", healthy=ChipSeconds(2_400)),
            Reading(contract_id="a", node_id="n-2", healthy=ChipSeconds(100)),
        ),
    )
    shown = views.reading_summary(batch)
    assert (shown.reading_count, shown.healthy_chip_seconds) == (2, 2_500)
    assert shown.next_sequence_number == 8
