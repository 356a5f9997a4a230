"""Every rule of every kind of order is checked by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clearing import codec
from clearing.book import canonical
from clearing.outcome import Backup, Fixing, Leaf, LinkFlow, MakeWhole, Outcome, SupplyRun
from clearing.types import Book, PricingRule
from clearing.units import Chips, ChipSeconds, Ppm, Seconds
from clearing.verify import verify
from tests.unit.clearing import hand, hand_decisions, hand_kinds
from tests.unit.clearing.hand import usd

Changed = tuple[Book, Outcome]


def failing(changed: Changed) -> set[str]:
    """Names of the checks that fail, under the digest of the book as it is."""
    book, outcome = changed
    told = replace(outcome, book_sha256=codec.digest(canonical(book)))
    return {check.name for check in verify(book, told).failures}


def award(case: Changed, name: str, **changes: object) -> Changed:
    book, outcome = case
    awards = tuple(
        replace(a, **changes) if a.order_id == name else a  # type: ignore[arg-type]
        for a in outcome.awards
    )
    return book, replace(outcome, awards=awards)


def order(case: Changed, kind: str, name: str, **changes: object) -> Changed:
    book, outcome = case
    orders = tuple(replace(o, **changes) if o.order_id == name else o for o in getattr(book, kind))
    return replace(book, **{kind: orders}), outcome  # type: ignore[arg-type]


def chips(*values: int) -> tuple[Chips, ...]:
    return tuple(Chips(value) for value in values)


def backup(pool_id: str, *values: int) -> tuple[Backup, ...]:
    return (Backup(pool_id=pool_id, chips=chips(*values)),)


CHANGES: dict[str, tuple[str, Callable[[], Changed]]] = {
    "a backup at the site itself": (
        "ELIGIBLE",
        lambda: award(hand_kinds.site_loss(), "f", backups=backup("a", 6)),
    ),
    "a backup that base load did not name": (
        "ELIGIBLE",
        lambda: award(hand_kinds.backup_shortage(), "n", backups=backup("a", 4)),
    ),
    "fewer backups than chips": (
        "SITE_COVER",
        lambda: award(hand_kinds.site_loss(), "f", backups=backup("b", 5)),
    ),
    "less held at the backup than named": (
        "SITE_COVER",
        lambda: award(hand_kinds.site_loss(), "sb", site_reserve=chips(2)),
    ),
    "more held at the backup than named": (
        "SITE_COVER",
        lambda: award(hand_kinds.site_loss(), "sb", site_reserve=chips(4)),
    ),
    "base load short of a backup that is held": (
        "SITE_COVER",
        lambda: award(hand_kinds.backup_shortage(), "n", backups=backup("b", 3)),
    ),
    "spare beyond what was offered": (
        "HEADROOM",
        lambda: award(hand_kinds.site_loss(), "sb", site_reserve=chips(10)),
    ),
    "a reserve whose notice is too long": (
        "RECLAIMABLE",
        lambda: order(hand_kinds.site_loss(), "step_bids", "i", notice_s=Seconds(1_801)),
    ),
    "a chip that stands by for two losses": (
        "RECLAIMABLE",
        lambda: award(
            order(hand_kinds.site_loss(), "step_bids", "i", notice_s=Seconds(0)),
            "i",
            reserve=chips(1),
        ),
    ),
    "a price of a backup that the pool does not show": (
        "PRICE_PARTS",
        lambda: (
            hand_kinds.site_loss()[0],
            replace(hand_kinds.site_loss()[1], backup_prices=()),
        ),
    ),
    "a child without its parent": (
        "LINKED",
        lambda: order(hand_kinds.linked(), "block_bids", "c", parent_order_id="q"),
    ),
    "a run shorter than its least": (
        "COMMITMENT",
        lambda: order(
            hand_kinds.start_up(),
            "offers",
            "t",
            commitment=replace(
                hand_kinds.start_up()[0].offers[1].commitment,  # type: ignore[type-var]
                min_run_intervals=2,
            ),
        ),
    ),
    "less than the least quantity": (
        "COMMITMENT",
        lambda: order(
            hand_kinds.start_up(),
            "offers",
            "t",
            commitment=replace(
                hand_kinds.start_up()[0].offers[1].commitment,  # type: ignore[type-var]
                min_chips=Chips(4),
            ),
        ),
    ),
    "a sale while it is off": (
        "COMMITMENT",
        lambda: (hand_kinds.start_up()[0], replace(hand_kinds.start_up()[1], runs=())),
    ),
    "a supply block sold in part": (
        "COMMITMENT",
        lambda: award(hand_decisions.supply_block(), "u", chips=chips(5)),
    ),
    "a flow beyond its range": (
        "LINKS",
        lambda: (
            hand_kinds.link()[0],
            replace(hand_kinds.link()[1], flows=(LinkFlow(link_id="l", chips=(6,)),)),
        ),
    ),
    "a link that could carry more for a gain": (
        "LINK_RULE",
        lambda: award(
            award(
                (
                    hand_kinds.link()[0],
                    replace(hand_kinds.link()[1], flows=(LinkFlow(link_id="l", chips=(4,)),)),
                ),
                "sa",
                chips=chips(4),
            ),
            "sb",
            chips=chips(4),
        ),
    ),
    "a rate beyond its most": (
        "WINDOW",
        lambda: order(hand_kinds.work(), "work_bids", "w", max_chips=Chips(3)),
    ),
    "more than the work": (
        "WINDOW",
        lambda: order(hand_kinds.work(), "work_bids", "w", work=ChipSeconds(4 * hand.HOUR)),
    ),
    "work in the dear hour first": (
        "STEP_RULE",
        lambda: award(hand_kinds.work(), "w", chips=chips(4, 1)),
    ),
    "work left undone": (
        "STEP_RULE",
        lambda: order(hand_kinds.work(), "work_bids", "w", work=ChipSeconds(8 * hand.HOUR)),
    ),
    "a start outside the window": (
        "WINDOW",
        lambda: order(hand_kinds.shiftable(), "block_bids", "g", latest_start=0),
    ),
    "a gang that departs from its profile": (
        "BLOCK_FILL",
        lambda: award(hand_kinds.shiftable(), "p", chips=chips(2, 1, 1)),
    ),
    "a gang with two backups": (
        "BLOCK_FILL",
        lambda: award(hand_kinds.site_gang(), "g", backups=(*backup("a", 2), *backup("b", 2))),
    ),
    "a loss under strict prices": (
        "LIMITS",
        lambda: (
            replace(
                hand_kinds.least_fill()[0],
                spec=replace(
                    hand_kinds.least_fill()[0].spec, pricing_rule=PricingRule.STRICT_UNIFORM
                ),
            ),
            replace(hand_kinds.least_fill()[1], make_whole=()),
        ),
    ),
    "a payment under strict prices": (
        "MAKE_WHOLE",
        lambda: (
            replace(
                hand_kinds.least_fill()[0],
                spec=replace(
                    hand_kinds.least_fill()[0].spec, pricing_rule=PricingRule.STRICT_UNIFORM
                ),
            ),
            hand_kinds.least_fill()[1],
        ),
    ),
    "chips left over where prices may be negative": (
        "BALANCE",
        lambda: award(hand_decisions.below_zero(), "b", chips=chips(1)),
    ),
    "a restart that was not saved": (
        "WELFARE",
        lambda: order(hand_decisions.stays(), "block_bids", "g", initial_pool_id="b"),
    ),
    "a cover share that nobody holds": (
        "NODE_COVER",
        lambda: (
            replace(
                hand_kinds.site_gang()[0],
                pools=tuple(
                    replace(pool, node_spare_ppm=Ppm(1_000_000) if pool.pool_id == "b" else Ppm(0))
                    for pool in hand_kinds.site_gang()[0].pools
                ),
            ),
            hand_kinds.site_gang()[1],
        ),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_order_does_not_allow_is_named(name: str) -> None:
    check, change = CHANGES[name]
    assert check in failing(change())


def test_a_family_is_paid_together() -> None:
    """With the child at 3.20 the tree loses 2 - 2.40 < 0 and gains: at 3.10 it loses 0.80."""
    book, outcome = order(hand_kinds.linked(), "block_bids", "c", limit_price=usd("3.1"))
    payment = MakeWhole(order_ids=("c", "p"), amount=hand.money("0.8"), funding=())
    assert "MAKE_WHOLE" in failing((book, outcome))
    told = {
        check.name: check.detail
        for check in verify(
            book,
            replace(outcome, book_sha256=codec.digest(canonical(book)), make_whole=(payment,)),
        ).failures
    }
    assert "('c', 'p') has shares that do not add up" in told["MAKE_WHOLE"]
    assert "is paid" not in told["MAKE_WHOLE"]


def leaves(*paths: tuple[tuple[str, bool], ...]) -> Changed:
    """The three-leaf case with other paths, keeping the duals of the second leaf."""
    book, outcome = hand_decisions.three_leaves()
    duals = outcome.certificate.leaves[1].duals
    made = tuple(
        Leaf(
            fixings=tuple(Fixing(order_id=name, accepted=accepted) for name, accepted in path),
            duals=duals,
        )
        for path in paths
    )
    return book, replace(outcome, certificate=replace(outcome.certificate, leaves=made))


@pytest.mark.parametrize(
    "paths",
    [
        ((("g", False),),),
        ((("g", True),), (("g", False),)),
        ((("g", False),), (("g", True), ("h", False))),
        ((("g", False),), (("h", True),)),
        ((("g", False),), (("g", True),), (("g", True),)),
        ((("g", False), ("h", False)), (("g", True),)),
        ((("b", False),), (("b", True),)),
    ],
)
def test_leaves_that_are_no_complete_tree_are_named(
    paths: tuple[tuple[tuple[str, bool], ...], ...],
) -> None:
    assert "LEAVES" in failing(leaves(*paths))


def test_a_leaf_that_contradicts_the_rules_is_empty() -> None:
    """A child without its parent: nothing is in that leaf, whatever its duals say."""
    book, outcome = hand_kinds.linked()
    parent = Fixing(order_id="p", accepted=False)
    child = Fixing(order_id="c", accepted=False)
    duals = outcome.certificate.duals
    made = (
        Leaf(fixings=(parent, child), duals=duals),
        Leaf(fixings=(parent, replace(child, accepted=True)), duals=()),
        Leaf(fixings=(replace(parent, accepted=True),), duals=duals),
    )
    certificate = replace(outcome.certificate, leaves=made)
    assert failing((book, replace(outcome, certificate=certificate))) == set()
    only = replace(certificate, leaves=(made[1],))
    assert failing((book, replace(outcome, certificate=only))) == {"LEAVES", "BOUND"}


def test_two_runs_that_touch_are_one_run() -> None:
    book, outcome = hand_kinds.start_up()
    (spec,) = (replace(book.spec, intervals=hand.spec(hours=2).intervals),)
    runs = (
        SupplyRun(order_id="t", first=0, stop=1),
        SupplyRun(order_id="t", first=1, stop=2),
    )
    price = outcome.prices[0]
    longer = replace(outcome, prices=(price, replace(price, interval=1)), runs=runs)
    assert "COMMITMENT" in failing((replace(book, spec=spec), longer))
