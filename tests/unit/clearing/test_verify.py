"""The verifier accepts what was worked out by hand and names what is wrong with anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clearing.outcome import Award, Fill, Outcome, Reason
from clearing.types import Book, Commitment, Cover, Eligibility, PricingRule, ServiceClass
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, PriceSeconds, Seconds, Watts
from clearing.verify import verify
from tests.unit.clearing import hand, hand_kinds
from tests.unit.clearing.hand import award, usd

Case = Callable[[], tuple[Book, Outcome]]

NAMES = [
    "SCOPE",
    "BOOK_DIGEST",
    "SEED",
    "RANGE",
    "COMPLETE",
    "ELIGIBLE",
    "NODE_MULTIPLES",
    "WINDOW",
    "BLOCK_FILL",
    "EXCLUSIVE",
    "LINKED",
    "COMMITMENT",
    "LINKS",
    "BALANCE",
    "HEADROOM",
    "POWER",
    "RECLAIMABLE",
    "RECALLABLE",
    "NODE_COVER",
    "SITE_COVER",
    "BASE",
    "PRICE_PARTS",
    "PRICE_RANGE",
    "PRICE_BOUNDS",
    "SCARCITY",
    "LINK_RULE",
    "STEP_RULE",
    "TIES",
    "SURPLUS",
    "LIMITS",
    "MAKE_WHOLE",
    "PARADOXICAL",
    "REASONS",
    "CASH",
    "WELFARE",
    "LEAVES",
    "BOUND",
]


def failing(book: Book, outcome: Outcome) -> set[str]:
    return {check.name for check in verify(book, outcome).failures}


def again(book: Book, outcome: Outcome) -> Outcome:
    """The outcome under the digest of a changed book."""
    from clearing import codec
    from clearing.book import canonical

    return replace(outcome, book_sha256=codec.digest(canonical(book)))


def with_award(outcome: Outcome, name: str, **changes: object) -> Outcome:
    awards = tuple(
        replace(a, **changes) if a.order_id == name else a  # type: ignore[arg-type]
        for a in outcome.awards
    )
    return replace(outcome, awards=awards)


@pytest.mark.parametrize("case", [*hand.CASES, *hand_kinds.KINDS])
def test_accepts_outcomes_worked_out_by_hand(case: Case) -> None:
    report = verify(*case())
    assert report.ok, report.failures
    assert [check.name for check in report.checks] == NAMES
    assert all(check.count == 0 and check.detail == "" for check in report.checks)


def test_order_of_the_book_does_not_matter() -> None:
    book, outcome = hand.released_base()
    shuffled = replace(book, offers=book.offers[::-1], step_bids=book.step_bids[::-1])
    assert verify(shuffled, outcome).ok


def test_another_book_fails_by_digest_and_stops_there() -> None:
    book, outcome = hand.surcharge()
    report = verify(replace(book, step_bids=book.step_bids[:1]), outcome)
    assert not report.ok
    assert {check.name for check in report.failures} >= {"BOOK_DIGEST"}
    assert [check.name for check in report.checks] == NAMES[:5]


def test_a_seed_that_was_not_committed_fails() -> None:
    book, outcome = hand.surcharge()
    assert failing(book, replace(outcome, seed="ff" * 32)) == {"SEED"}
    assert failing(book, replace(outcome, seed="not hex")) == {"SEED"}
    assert failing(book, replace(outcome, seed=outcome.seed.upper())) == {"SEED"}


def _first(kind: str, **changes: object) -> Callable[[Book], Book]:
    """A change of the first item of a tuple of the book."""

    def change(book: Book) -> Book:
        first, *rest = getattr(book, kind)
        return replace(book, **{kind: (replace(first, **changes), *rest)})  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    ("case", "change"),
    [
        (hand.surcharge, lambda book: replace(book, offers=(*book.offers, book.offers[0]))),
        (hand.surcharge, lambda book: replace(book, spec=replace(book.spec, intervals=()))),
        (hand.surcharge, _first("offers", pool_id="nowhere")),
        (hand.surcharge, _first("offers", order_id="")),
        (hand.surcharge, _first("offers", segments=hand.curve((8, "4"), (1, "3")))),
        (hand.surcharge, _first("offers", segments=hand.curve((0, "4")))),
        (hand.surcharge, _first("offers", segments=hand.curve((10**9, "4")))),
        (hand.surcharge, _first("offers", segments=(*hand.curve((8, "4")),) * 2)),
        (hand.surcharge, _first("step_bids", service_class=ServiceClass.BASE_LOAD)),
        (hand.surcharge, _first("step_bids", cover=Cover.SITE)),
        (hand.surcharge, _first("pools", chips_per_node=0)),
        (hand.surcharge, _first("sites", surcharge=-1)),
        (hand.losing_gang, _first("block_bids", duration=2)),
        (hand.losing_gang, _first("block_bids", chips=10**30)),
        (hand.losing_gang, _first("block_bids", min_fill_ppm=0)),
        (hand.losing_gang, _first("block_bids", parent_order_id="b")),
        (hand.losing_gang, _first("block_bids", parent_order_id="h")),
        (hand.losing_gang, _first("block_bids", parent_order_id="g")),
        (hand.power, _first("nominations", backup_pool_ids=("n",))),
        (hand_kinds.site_loss, _first("step_bids", where=Eligibility(pool_ids=("a",)))),
        (hand_kinds.backup_shortage, _first("nominations", backup_pool_ids=("a",))),
        (hand_kinds.linked, _first("block_bids", parent_order_id="c")),
        (hand_kinds.exclusive, _first("block_bids", parent_order_id="h")),
        (hand_kinds.shiftable, _first("block_bids", latest_start=3)),
        (hand_kinds.shiftable, _first("block_bids", profile=(6, 6))),
        (hand_kinds.start_up, _first("offers", commitment=Commitment(min_run_intervals=0))),
        (
            hand_kinds.start_up,
            lambda book: replace(
                book, spec=replace(book.spec, pricing_rule=PricingRule.STRICT_UNIFORM)
            ),
        ),
        (hand_kinds.link, _first("links", to_pool_id="a")),
        (hand_kinds.link, _first("links", capacities=())),
        (hand_kinds.link, _first("links", capacities=((3, 2),))),
        (hand_kinds.work, _first("work_bids", work=1)),
        (hand_kinds.work, _first("work_bids", stop=3)),
    ],
)
def test_books_that_the_rules_do_not_cover_are_refused_by_name(
    case: Case, change: Callable[[Book], Book]
) -> None:
    book, outcome = case()
    assert [check.name for check in verify(change(book), outcome).failures] == ["SCOPE"]


def test_an_award_in_a_pool_that_is_not_eligible_is_named() -> None:
    book, outcome = hand.surcharge()
    bid = replace(book.step_bids[0], where=Eligibility(pool_ids=("n",), countries=("NO",)))
    changed = replace(book, step_bids=(bid, book.step_bids[1]))
    assert "ELIGIBLE" in failing(changed, again(changed, outcome))


def test_awards_in_parts_of_nodes_are_named() -> None:
    book, outcome = hand.surcharge()
    pools = (replace(book.pools[0], chips_per_node=Chips(8), capacity=Chips(104)),)
    changed = replace(book, pools=pools)
    assert "NODE_MULTIPLES" in failing(changed, again(changed, outcome))


def test_more_delivered_than_sold_is_named() -> None:
    book, outcome = hand.surcharge()
    assert "BALANCE" in failing(book, with_award(outcome, "s", chips=(Chips(3),)))


def test_supply_that_nobody_takes_is_named() -> None:
    book, outcome = hand.surcharge()
    assert "BALANCE" in failing(book, with_award(outcome, "s", chips=(Chips(5),)))


def test_sales_beyond_the_offer_and_beyond_capacity_are_named() -> None:
    book, outcome = hand.losing_gang()
    assert "HEADROOM" in failing(book, with_award(outcome, "s", chips=(Chips(17),)))
    changed = replace(book, pools=(replace(book.pools[0], capacity=Chips(15)),))
    assert "HEADROOM" in failing(changed, again(changed, outcome))


def test_released_base_load_held_as_spare_is_named() -> None:
    book, outcome = hand.released_base()
    assert "HEADROOM" in failing(book, with_award(outcome, "r", reserve=(Chips(1),)))


def test_more_than_a_bid_asked_for_is_named() -> None:
    book, outcome = hand.surcharge()
    changed = with_award(outcome, "b1", chips=(Chips(5),))
    assert "WINDOW" in failing(book, with_award(changed, "s", chips=(Chips(5),)))


def test_a_gang_below_its_minimum_is_named() -> None:
    book, outcome = hand.losing_gang()
    assert "BLOCK_FILL" in failing(book, with_award(outcome, "g", chips=(Chips(11),)))


def test_two_members_of_an_exclusive_group_are_named() -> None:
    book, outcome = hand.losing_gang()
    blocks = tuple(replace(b, exclusive_group="x", participant_id="lab") for b in book.block_bids)
    changed = replace(book, block_bids=blocks)
    both = replace(
        again(changed, outcome),
        awards=tuple(
            sorted(
                (
                    *(
                        replace(a, participant_id="lab") if a.order_id == "g" else a
                        for a in outcome.awards
                    ),
                    award(changed, "h", 5),
                ),
                key=lambda a: a.order_id,
            )
        ),
        orders=tuple(
            replace(o, participant_id="lab") if o.order_id in {"g", "h"} else o
            for o in outcome.orders
        ),
    )
    assert "EXCLUSIVE" in failing(changed, both)


def test_rent_for_what_is_not_scarce_is_named() -> None:
    """With a megawatt more there is no reason to pay for power."""
    book, outcome = hand.power()
    changed = replace(book, sites=(replace(book.sites[0], power_limit=Watts(1_012_000)),))
    assert "SCARCITY" in failing(changed, again(changed, outcome))


def test_power_beyond_the_site_is_named() -> None:
    book, outcome = hand.power()
    changed = replace(book, sites=(replace(book.sites[0], power_limit=Watts(11_999)),))
    assert "POWER" in failing(changed, again(changed, outcome))


def test_a_nomination_cut_without_need_is_named() -> None:
    book, outcome = hand.power()
    cut = with_award(outcome, "n1", chips=(Chips(1),))
    free = replace(book, sites=(replace(book.sites[0], power_limit=None),))
    assert "BASE" in failing(free, again(free, cut))


def test_too_little_and_too_much_cover_are_named() -> None:
    book, outcome = hand.spare_node()
    assert "NODE_COVER" in failing(book, with_award(outcome, "s", reserve=(Chips(1),)))
    book, outcome = hand.surcharge()
    assert "NODE_COVER" in failing(book, with_award(outcome, "s", reserve=(Chips(1),)))


def test_reserve_on_chips_that_cannot_be_reclaimed_in_time_is_named() -> None:
    book, outcome = hand.reclaimable()
    slow = replace(book.step_bids[1], notice_s=Seconds(301))
    changed = replace(book, step_bids=(book.step_bids[0], slow))
    assert "RECLAIMABLE" in failing(changed, again(changed, outcome))


def test_released_base_load_without_interruptibles_is_named() -> None:
    book, outcome = hand.released_base()
    slow = replace(book.step_bids[1], notice_s=Seconds(1_801))
    changed = replace(book, step_bids=(book.step_bids[0], slow))
    assert "RECALLABLE" in failing(changed, again(changed, outcome))


def test_a_price_that_is_not_the_sum_of_its_parts_is_named() -> None:
    book, outcome = hand.spare_node()
    (price,) = outcome.prices
    changed = replace(outcome, prices=(replace(price, firm=usd("8.01")),))
    assert "PRICE_PARTS" in failing(book, changed)


def test_a_step_in_the_money_left_out_is_named() -> None:
    book, outcome = hand.surcharge()
    changed = with_award(outcome, "b1", chips=(Chips(2),))
    assert "STEP_RULE" in failing(book, with_award(changed, "s", chips=(Chips(2),)))


def test_a_loss_that_nobody_pays_back_is_named() -> None:
    book, outcome = hand.losing_gang()
    assert {"LIMITS", "MAKE_WHOLE"} <= failing(book, replace(outcome, make_whole=()))


def test_a_gain_that_nobody_admits_is_named() -> None:
    book, outcome = hand.losing_gang()
    orders = tuple(
        replace(o, reason=Reason.OUT_OF_THE_MONEY) if o.order_id == "h" else o
        for o in outcome.orders
    )
    assert {"PARADOXICAL", "REASONS"} <= failing(book, replace(outcome, orders=orders))


def test_a_fill_that_is_not_the_awards_is_named() -> None:
    book, outcome = hand.surcharge()
    orders = tuple(replace(o, fill=Fill.FULL) if o.order_id == "s" else o for o in outcome.orders)
    assert failing(book, replace(outcome, orders=orders)) == {"REASONS"}


def test_the_operator_cannot_keep_a_cent() -> None:
    book, outcome = hand.surcharge()
    cash = replace(outcome.cash, operator_fee=MicroUsd(90_000), suppliers=MicroUsd(15_990_000))
    assert failing(book, replace(outcome, cash=cash)) == {"CASH"}


def test_a_bound_tighter_than_its_duals_is_named() -> None:
    book, outcome = hand.losing_gang()
    certificate = replace(outcome.certificate, bound=outcome.certificate.welfare)
    assert failing(book, replace(outcome, certificate=certificate)) == {"BOUND"}


@pytest.mark.parametrize("case", [*hand.CASES, *hand_kinds.KINDS])
def test_any_duals_give_a_bound_that_holds(case: Case) -> None:
    """Without duals the bound is what every order could gain at no charge: loose, and valid."""
    book, outcome = case()
    bare = replace(outcome.certificate, duals=(), leaves=(), bound=PriceSeconds(-(10**30)))
    (check,) = (
        check
        for check in verify(book, replace(outcome, certificate=bare)).failures
        if check.name == "BOUND"
    )
    given = int(check.detail.partition("duals give ")[2].partition(";")[0])
    assert given >= outcome.certificate.welfare + outcome.certificate.restart_kept


@pytest.mark.parametrize("case", [*hand.CASES, *hand_kinds.KINDS])
def test_numbers_beyond_every_range_are_findings(case: Case) -> None:
    """Neither a wrap-around nor an exception: huge numbers fail a named check."""
    book, outcome = case()
    for huge in (2**62, 2**63, -(2**63) - 1, 10**30):
        price = replace(outcome.prices[0], energy=MicroUsdPerChipHour(huge))
        assert failing(book, replace(outcome, prices=(price, *outcome.prices[1:]))) == {"RANGE"}
        taken = replace(outcome.awards[0], chips=(Chips(huge), *outcome.awards[0].chips[1:]))
        assert failing(book, replace(outcome, awards=(taken, *outcome.awards[1:]))) == {"RANGE"}
        told = replace(outcome.orders[0], surplus=PriceSeconds(huge))
        assert "SURPLUS" in failing(book, replace(outcome, orders=(told, *outcome.orders[1:])))
        cash = replace(outcome.cash, buyers=MicroUsd(huge))
        assert failing(book, replace(outcome, cash=cash)) == {"CASH"}


def test_equal_steps_share_pro_rata_in_whole_nodes() -> None:
    """Example 14 (own): five nodes over 3, 3 and 1 are 2, 2 and 1; anything else is named."""
    book = Book(
        spec=hand.spec(),
        sites=hand.surcharge()[0].sites,
        pools=(hand.pool(),),
        offers=(hand.offer("s", (5, "2")),),
        step_bids=(hand.firm("a", (3, "4")), hand.firm("b", (3, "4")), hand.firm("c", (1, "4"))),
    )

    def shares(a: int, b: int, c: int) -> Outcome:
        awards: list[Award] = [award(book, "s", 5)]
        awards += [award(book, name, n) for name, n in (("a", a), ("b", b), ("c", c)) if n]
        told = {"a": a, "b": b, "c": c}
        wanted = {"a": 3, "b": 3, "c": 1}
        fills = {
            name: Fill.NONE if not n else Fill.FULL if n == wanted[name] else Fill.PARTIAL
            for name, n in told.items()
        }
        return hand.outcome(
            book,
            prices=(hand.pool_price("3.52", surcharge="0.48"),),
            awards=tuple(awards),
            answers=(
                ("s", Fill.FULL, Reason.IN_THE_MONEY, "7.6", "0", "0"),
                *((n, fill, Reason.AT_THE_PRICE, "0", "0", "0") for n, fill in fills.items()),
            ),
            duals=(("BALANCE", "n", "3.52"),),
            welfare="7.6",
            bound="7.6",
            lost="0",
            cash={"buyers": "20", "suppliers": "17.6", "community": "2.4"},
        )

    assert failing(book, shares(2, 2, 1)) == set()
    assert failing(book, shares(3, 1, 1)) == {"TIES"}
    assert failing(book, shares(3, 2, 0)) == {"TIES"}


def test_interruptibles_are_named_by_their_terms() -> None:
    book, outcome = hand.reclaimable()
    changed = with_award(outcome, "i", service_class=ServiceClass.FIRM)
    assert failing(book, changed) == {"COMPLETE"}
    theta = replace(book.pools[0], node_spare_ppm=Ppm(600_000))
    raised = replace(book, pools=(theta,))
    assert "NODE_COVER" in failing(raised, again(raised, outcome))
