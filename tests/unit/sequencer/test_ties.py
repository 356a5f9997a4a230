"""Linked orders, exclusive groups, running work, SITE cover: what is taken and stays sound."""

from __future__ import annotations

import random
from typing import Any

import pytest

from clearing.types import BlockBid, Commitment, Cover, Eligibility, PricingRule
from clearing.units import Chips, MicroUsd
from clearing.validate import validate
from iso_exchange import commands as c
from iso_exchange.sequencer import ties
from iso_exchange.sequencer.auctions import build_book
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import OrderState
from tests.unit.sequencer.test_review import nomination
from tests.unit.sequencer.world import FIRST, H100, World, registered, run_until_first_hour

HOUR = 3600
BOTH = Eligibility(chip_classes=(H100,))


@pytest.fixture
def world() -> World:
    world = registered()
    world.must(world.deposit("lab", 1_000_000))
    return world


def sound(world: World, name: str = "da-1") -> tuple[str, ...]:
    """Block bids of the book as it would be frozen now, which must be one that is cleared."""
    book = build_book(world.state, world.state.auctions[name])
    validate(book)
    return tuple(sorted(bid.order_id for bid in book.block_bids))


# What was refused before ------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [
        {"latest_start": FIRST + 2 * HOUR},
        {"duration_s": 3 * HOUR, "profile": (8, 0, 16), "chips": 16},
        {"exclusive_group": "either"},
        {"min_fill_ppm": 500_000, "chips": 16},
    ],
)
def test_gangs_of_every_shape_are_taken(world: World, terms: dict[str, Any]) -> None:
    world.must(world.gang(**terms))
    assert sound(world) == ("gang-1",)


def test_work_and_commitments_are_taken(world: World) -> None:
    world.must(world.work())
    terms = Commitment(start_up=MicroUsd(5_000_000), min_run_intervals=2, min_chips=Chips(8))
    world.must(world.offer(commitment=terms))
    world.must(world.offer(order_id="all", chips=8, commitment=Commitment(whole=True)))
    assert sound(world) == ()
    odd = world.work(order_id="odd", work=HOUR)
    refused = world.refused(odd)
    assert (refused.code, refused.advice.split(":")[0]) == (Code.BOOK_REFUSED, "BAD_QUANTITY")
    never = world.offer(order_id="never", chips=8, commitment=Commitment(min_run_intervals=9))
    assert world.refused(never).advice.startswith("BAD_COMMITMENT")


def test_strict_uniform_auctions_take_what_they_can_price(world: World) -> None:
    world.must(world.auction(auction_id="strict", pricing_rule=PricingRule.STRICT_UNIFORM))
    world.must(world.gang(auction_id="strict"))
    world.must(world.offer(auction_id="strict", order_id="all", commitment=Commitment(whole=True)))
    started = world.offer(
        auction_id="strict",
        order_id="started",
        chips=8,
        commitment=Commitment(start_up=MicroUsd(1)),
    )
    refused = world.refused(started)
    assert (refused.code, refused.field) == (Code.BOOK_REFUSED, "commitment")
    assert refused.advice.startswith("BAD_PRICING_RULE")
    assert sound(world, "strict") == ("gang-1",)


def test_holds_are_the_worst_case_of_each_order_by_itself(world: World) -> None:
    free = world.state.books.available_to("lab")
    steps = [
        (world.gang(), 8),
        (world.gang(order_id="later", latest_start=FIRST + 2 * HOUR), 8),
        (world.gang(order_id="up", duration_s=3 * HOUR, profile=(8, 0, 16), chips=16), 24),
        (world.gang(order_id="child", parent_order_id="gang-1", duration_s=2 * HOUR), 16),
        (world.gang(order_id="a", exclusive_group="g"), 8),
        (world.gang(order_id="b", exclusive_group="g", chips=16), 16),
    ]
    for command, chip_hours in steps:
        world.must(command)
        free -= chip_hours * 4_000_000
        assert world.state.books.available_to("lab") == free
    world.must(world.work())
    assert world.state.books.available_to("lab") == free - 16 * 3_000_000


# Linked orders ----------------------------------------------------------------------------


def test_a_parent_is_an_open_block_bid_of_the_same_buyer_and_auction(world: World) -> None:
    world.must(world.bid())
    world.must(world.auction(auction_id="other"))
    world.must(world.gang(order_id="far", auction_id="other"))
    world.must(world.gang(order_id="gone"))
    world.must(world.cancel("gone"))
    world.must(world.participant("rival", c.Role.BUYER))
    world.must(world.deposit("rival", 1_000))
    theirs = world.gang(order_id="theirs", participant_id="rival", header=world.header("rival"))
    world.must(theirs)
    answers = {
        world.refused(world.gang(order_id="child", parent_order_id=name)).code
        for name in ("nobody", "bid-1", "far", "gone", "theirs")
    }
    assert answers == {Code.UNKNOWN_PARENT}
    alone = world.gang(order_id="alone", parent_order_id="alone")
    assert world.refused(alone).code is Code.INVALID_VALUE
    world.must(world.gang())
    world.must(world.gang(order_id="child", parent_order_id="gang-1"))
    assert sound(world) == ("child", "gang-1", "theirs")


def test_a_parent_stays_as_it_is_while_it_has_open_children(world: World) -> None:
    world.must(world.gang())
    for name in ("child-1", "child-2"):
        world.must(world.gang(order_id=name, parent_order_id="gang-1"))
    for command in (world.cancel("gang-1"), world.gang(revision=2, limit_price=5_000_000)):
        refused = world.refused(command)
        assert (refused.code, refused.got) == (Code.HAS_OPEN_CHILDREN, "child-1, child-2")
    world.must(world.gang(order_id="child-1", revision=2))  # no longer a child
    world.must(world.cancel("child-2"))
    world.must(world.gang(revision=2, parent_order_id="child-1"))
    assert world.refused(world.cancel("child-1")).code is Code.HAS_OPEN_CHILDREN
    world.must(world.cancel("gang-1"))
    world.must(world.cancel("child-1"))
    assert sound(world) == ()
    assert world.state.auctions["da-1"].ties.children == {}


def test_links_are_at_most_sixteen_levels_deep(world: World) -> None:
    world.must(world.gang(order_id="g0"))
    for level in range(1, ties.LINK_LEVELS_MAX + 1):
        world.must(world.gang(order_id=f"g{level}", parent_order_id=f"g{level - 1}"))
    deepest = world.gang(order_id="deep", parent_order_id=f"g{ties.LINK_LEVELS_MAX}")
    refused = world.refused(deepest)
    assert (refused.code, refused.limit) == (Code.INVALID_VALUE, "16 levels")
    assert len(sound(world)) == ties.LINK_LEVELS_MAX + 1


def test_cancel_all_takes_parents_and_children_alike(world: World) -> None:
    world.must(world.gang())
    world.must(world.gang(order_id="child", parent_order_id="gang-1"))
    world.must(
        c.CancelAllOrders(header=world.header("operator"), participant_id="lab", reason="asked")
    )
    assert {order.state for order in world.state.orders.values()} == {OrderState.CANCELLED}
    assert sound(world) == ()
    assert world.state.auctions["da-1"].ties.children == {}


# Exclusive groups -------------------------------------------------------------------------


def test_members_of_a_group_have_one_parent(world: World) -> None:
    world.must(world.gang())
    world.must(world.gang(order_id="other"))
    world.must(world.gang(order_id="a", exclusive_group="g", parent_order_id="gang-1"))
    world.must(world.gang(order_id="b", exclusive_group="g", parent_order_id="gang-1"))
    for parent in ("", "other"):
        odd = world.gang(order_id="c", exclusive_group="g", parent_order_id=parent)
        refused = world.refused(odd)
        assert (refused.code, refused.advice.split(":")[0]) == (Code.BOOK_REFUSED, "BAD_GROUP")
    moved = world.gang(order_id="b", exclusive_group="g", parent_order_id="other", revision=2)
    assert world.refused(moved).code is Code.BOOK_REFUSED
    world.must(world.gang(order_id="b", exclusive_group="h", parent_order_id="other", revision=2))
    # The only member of a group may take it elsewhere.
    world.must(world.gang(order_id="b", exclusive_group="h", parent_order_id="gang-1", revision=3))
    assert sound(world) == ("a", "b", "gang-1", "other")


def test_a_group_has_a_largest_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ties, "GROUP_COUNT_MAX", 2)
    world.must(world.gang(order_id="a", exclusive_group="g"))
    world.must(world.gang(order_id="b", exclusive_group="g"))
    refused = world.refused(world.gang(order_id="c", exclusive_group="g"))
    assert (refused.code, refused.field) == (Code.TOO_MANY_ORDERS, "exclusive_group")
    world.must(world.gang(order_id="b", exclusive_group="g", revision=2))
    world.must(world.cancel("a"))
    world.must(world.gang(order_id="c", exclusive_group="g"))
    assert sound(world) == ("b", "c")


# Work that runs already -------------------------------------------------------------------


def test_only_what_runs_saves_a_restart_and_nothing_runs_twice(world: World) -> None:
    stay: dict[str, Any] = {"initial_pool_id": "tx-1-h100", "restart_cost": 1_000_000}
    # The auction of these hours closes after the one before was published.
    world.must(world.auction(auction_id="next", close_time=FIRST))
    assert world.refused(world.gang(auction_id="next", **stay)).code is Code.NO_RUNNING_CONTRACT
    nowhere = world.refused(world.gang(auction_id="next", restart_cost=1_000_000))
    assert nowhere.field == "restart_cost_micro_usd_per_chip"
    run_until_first_hour(world, 24)
    unknown = world.gang(auction_id="next", initial_pool_id="nowhere")
    assert world.refused(unknown).code is Code.UNKNOWN_POOL
    world.must(world.gang(auction_id="next", chips=16, **stay))
    more = world.gang(auction_id="next", order_id="more", chips=16, **stay)
    refused = world.refused(more)
    assert (refused.code, refused.got, refused.limit) == (Code.NO_RUNNING_CONTRACT, "32", "24")
    # Of a group at most one is accepted.
    for name in ("a", "b"):
        world.must(world.gang(auction_id="next", order_id=name, exclusive_group="g", **stay))
    world.must(world.gang(auction_id="next", chips=8, revision=2, **stay))
    world.must(world.gang(auction_id="next", order_id="c", chips=8, **stay))
    assert sound(world, "next") == ("a", "b", "c", "gang-1")


# SITE cover -------------------------------------------------------------------------------


def test_a_bid_for_site_cover_needs_a_second_site(world: World) -> None:
    world.two_sites()
    world.must(world.bid(auction_id="both", cover=Cover.SITE, where=BOTH))
    here = Eligibility(pool_ids=("tx-1-h100",))
    alone = world.gang(auction_id="both", cover=Cover.SITE, where=here)
    refused = world.refused(alone)
    assert (refused.code, refused.field) == (Code.NO_COVER_POSSIBLE, "cover")
    world.must(world.gang(auction_id="both", cover=Cover.SITE))
    assert sound(world, "both") == ("gang-1",)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"backup_pool_ids": ()}, Code.NO_COVER_POSSIBLE),
        ({"backup_pool_ids": ("nowhere",)}, Code.UNKNOWN_POOL),
        ({"backup_pool_ids": ("tx-1-h100-b",)}, Code.INVALID_VALUE),
        ({"backup_pool_ids": ("no-1-big",)}, Code.INVALID_VALUE),
        ({"cover": Cover.NODE, "backup_pool_ids": ("no-1-h100",)}, Code.INVALID_VALUE),
    ],
)
def test_backup_pools_of_base_load_could_take_over(
    world: World, changes: dict[str, Any], code: Code
) -> None:
    world.two_sites()
    world.must(world.pool(pool_id="tx-1-h100-b"))
    world.must(world.pool(pool_id="no-1-big", site_id="no-1", chips_per_node=16))
    given = {"cover": Cover.SITE, **changes}
    assert world.refused(world.entitlement(**given)).code is code


def test_base_load_names_the_backup_pools_of_its_auction(world: World) -> None:
    world.two_sites()
    world.must(world.pool(pool_id="no-1-late", site_id="no-1"))
    world.must(world.entitlement(cover=Cover.SITE, backup_pool_ids=("no-1-h100", "no-1-late")))
    (standing,) = build_book(world.state, world.state.auctions["both"]).nominations
    assert (standing.cover, standing.backup_pool_ids) == (Cover.SITE, ("no-1-h100",))
    # The first auction is older than every backup pool: served, without cover.
    (plain,) = build_book(world.state, world.state.auctions["da-1"]).nominations
    assert (plain.cover, plain.backup_pool_ids) == (Cover.NONE, ())
    named = nomination(world, auction_id="both", backup_pool_ids=("no-1-late",))
    assert world.refused(named).code is Code.UNKNOWN_POOL
    other = nomination(world, auction_id="both", backup_pool_ids=("tx-1-h100",))
    assert world.refused(other).code is Code.INVALID_VALUE
    world.must(nomination(world, auction_id="both", backup_pool_ids=("no-1-h100",)))
    (given,) = build_book(world.state, world.state.auctions["both"]).nominations
    assert (given.order_id, given.backup_pool_ids) == ("nom-1", ("no-1-h100",))
    assert (sound(world, "both"), sound(world)) == ((), ())


# Any sequence of commands -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_whatever_was_accepted_one_by_one_is_a_sound_book(world: World, seed: int) -> None:
    draw = random.Random(seed)
    names = [f"g{number}" for number in range(6)]
    accepted = 0
    for _ in range(150):
        name = draw.choice(names)
        order = world.state.orders.get(name)
        if draw.random() < 0.2 and order is not None:
            command: c.Command = world.cancel(name)
        else:
            command = world.gang(
                order_id=name,
                revision=order.submitted.revision + 1 if order is not None else 1,
                exclusive_group=draw.choice(("", "", "x", "y")),
                parent_order_id=draw.choice(("", *names)),
            )
        if isinstance(world.apply(command), Accepted):
            accepted += 1
            held = sound(world)
            open_ = [o for o in world.state.orders.values() if o.state is OrderState.OPEN]
            assert held == tuple(sorted(order.submitted.order_id for order in open_))
            check_ties(world)
        if order is not None and order.state is OrderState.CANCELLED:
            names[names.index(name)] = f"{name}x"
    assert accepted > 20


def check_ties(world: World) -> None:
    """The indexes are what the open orders say."""
    auction = world.state.auctions["da-1"]
    expected: dict[tuple[str, str], set[str]] = {}
    for order in world.state.orders.values():
        bid = order.order
        if order.state is OrderState.OPEN and isinstance(bid, BlockBid) and bid.parent_order_id:
            expected.setdefault(("lab", bid.parent_order_id), set()).add(bid.order_id)
    assert {key: set(found) for key, found in auction.ties.children.items()} == expected
