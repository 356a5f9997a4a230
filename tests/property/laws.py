"""Laws that every outcome of a small book must keep, each checked chip by chip from the rules.

A law that is broken is a ``Symptom``: a stable name, so that failures can be counted and a book
shrunk while it still shows the same one, and a sentence for people.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from clearing.eligibility import resolve
from clearing.outcome import Award, Outcome, PoolPrice, RunStatus, Side, SupplyRun
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Offer,
    Pool,
    PricingRule,
    Segment,
    ServiceClass,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import PPM, SECONDS_PER_HOUR, divide_half_even, divide_up
from clearing.verify import verify
from tests.property.twin import Best, is_reached

Bid = StepBid | BlockBid | WorkBid
ROUNDING = 3
"""Micro-USD per chip-hour: a published price is a sum of parts that were rounded one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    name: str
    detail: str


def broken_laws(book: Book, outcome: Outcome, best: Best | None, *, whole: bool) -> list[Symptom]:
    """Everything that is wrong with an outcome; ``whole``: its book is a network of single chips.

    With ``whole`` the linear program of every choice has a whole solution, so the engine must reach
    the twin's objective and every divisible order its best response; otherwise whole nodes may cost
    something.
    """
    found = [*_verifier(book, outcome), *_welfare(book, outcome), *_cash(outcome)]
    found += [*_payments(book, outcome), *_surpluses(book, outcome)]
    if book.spec.pricing_rule is PricingRule.MAKE_WHOLE:
        found += _optimum(book, outcome, best, whole=whole)
    else:
        found += _no_losers(book, outcome)
    if whole:
        found += _supported(book, outcome)
    return found


def _verifier(book: Book, outcome: Outcome) -> Iterator[Symptom]:
    report = verify(book, outcome)
    if not report.ok:
        detail = "; ".join(f"{check.name}: {check.detail}" for check in report.failures)
        names = "+".join(sorted({check.name for check in report.failures}))
        yield Symptom(name=f"refused by the verifier: {names}", detail=detail)


def _optimum(book: Book, outcome: Outcome, best: Best | None, *, whole: bool) -> Iterator[Symptom]:
    reached = outcome.certificate.welfare + outcome.certificate.restart_kept
    if best is None:
        yield Symptom(name="outcome of an infeasible book", detail="the twin finds none")
        return
    numbers = f"engine {reached}, twin {best.objective} (welfare {best.welfare}) with {best.chosen}"
    is_usual = outcome.status is RunStatus.OPTIMAL
    if whole and not is_usual and best.welfare >= 0:
        yield Symptom(name="the usual choice was refused", detail=numbers)
    # Whole nodes may leave base load a shortage where split ones do not; then more is left to sell.
    if reached > best.objective and (whole or (best.shortage == 0 and is_usual)):
        yield Symptom(name="above the optimum", detail=numbers)
    if whole and reached < best.objective and best.welfare >= 0:
        yield Symptom(name="below the optimum", detail=numbers)
    bound = outcome.certificate.bound
    if bound >= best.objective:
        return
    # The twin may split nodes, which the bound need not allow for: look for whole ones above it.
    if whole or (best.shortage == 0 and is_reached(book, bound)):
        yield Symptom(name="bound below the optimum", detail=f"bound {bound}, {numbers}")


# --------------------------------------------------------------------------------------- welfare


def _welfare(book: Book, outcome: Outcome) -> Iterator[Symptom]:
    welfare, kept = welfare_of(book, outcome), restart_kept(book, outcome)
    published = outcome.certificate
    if published.welfare != welfare:
        detail = f"published {published.welfare}, added up {welfare}"
        yield Symptom(name="welfare does not add up", detail=detail)
    if published.restart_kept != kept:
        detail = f"published {published.restart_kept}, added up {kept}"
        yield Symptom(name="restart cost kept does not add up", detail=detail)
    if published.bound < published.welfare + published.restart_kept:
        yield Symptom(name="bound below its own welfare", detail=str(published.bound))


def welfare_of(book: Book, outcome: Outcome) -> int:
    """Values less costs, surcharge and fee of the awards, chip by chip, price-seconds."""
    site = {pool.pool_id: pool.site_id for pool in book.pools}
    charge = {s.site_id: s.surcharge + book.spec.operator_fee for s in book.sites}
    taken: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)
    total = 0
    for award in outcome.awards:
        if award.side is Side.BASE:
            continue
        for t, chips in enumerate(award.chips, award.first):
            taken[award.order_id][award.pool_id, t] = chips
            if award.side is Side.DEMAND:
                total -= chips * charge[site[award.pool_id]]
    for bid in bids_of(book):
        total += _value(book, bid, taken[bid.order_id])
    for offer in book.offers:
        sold = {t: chips for (_, t), chips in taken[offer.order_id].items()}
        total -= sum(_first_chips(steps_at(offer.segments, t), n) for t, n in sold.items())
    total *= book.spec.intervals[0].duration_s
    return total - fixed_costs(book, outcome.runs) * SECONDS_PER_HOUR


def fixed_costs(book: Book, runs: tuple[SupplyRun, ...]) -> int:
    """Start-up and no-load cost of the published runs, micro-USD."""
    offers = {offer.order_id: offer for offer in book.offers}
    total = 0
    for run in runs:
        terms = offers[run.order_id].commitment
        if terms is None:
            continue
        span = range(run.first, run.stop)
        on = len(span)
        if terms.whole:
            on = sum(bool(steps_at(offers[run.order_id].segments, t)) for t in span)
        total += terms.start_up + terms.no_load * on
    return total


def restart_kept(book: Book, outcome: Outcome) -> int:
    """Restart cost of gangs that stay where they run from interval 0 on, price-seconds."""
    kept = 0
    for block in book.block_bids:
        for award in outcome.awards:
            here = award.order_id == block.order_id and award.pool_id == block.initial_pool_id
            if here and award.first == 0 and award.chips and award.chips[0]:
                most = max(award.chips)
                kept += block.restart_cost * most * SECONDS_PER_HOUR
    return kept


def bids_of(book: Book) -> tuple[Bid, ...]:
    return (*book.step_bids, *book.block_bids, *book.work_bids)


def steps_at(segments: tuple[Segment, ...], t: int) -> tuple[Step, ...]:
    return next((s.steps for s in segments if s.first <= t < s.stop), ())


def _first_chips(steps: tuple[Step, ...], chips: int) -> int:
    """What the first so many chips of a curve cost or are worth, micro-USD per hour."""
    return sum([step.price for step in steps for _ in range(step.chips)][:chips])


def factor(bid: Bid, chip_class: str) -> int:
    return next((c.factor_ppm for c in bid.conversions if c.chip_class == chip_class), PPM)


def _value(book: Book, bid: Bid, taken: dict[tuple[str, int], int]) -> int:
    """Micro-USD per hour; where pools differ in worth the dearest steps count where they are worth
    most."""
    classes = {pool.pool_id: pool.chip_class for pool in book.pools}
    if not isinstance(bid, StepBid):
        return sum(
            n * divide_half_even(bid.limit_price * factor(bid, classes[pool]), PPM)
            for (pool, _), n in taken.items()
        )
    total = 0
    for t in {t for _, t in taken}:
        factors = sorted(
            (
                f
                for (pool, at), n in taken.items()
                if at == t
                for f in [factor(bid, classes[pool])] * n
            ),
            reverse=True,
        )
        limits = [s.price for s in steps_at(bid.segments, t) for _ in range(s.chips)]
        pairs = zip(limits, factors, strict=False)
        total += sum(divide_half_even(limit * f, PPM) for limit, f in pairs)
    return total


# ----------------------------------------------------------------------------------------- money


def _cash(outcome: Outcome) -> Iterator[Symptom]:
    cash = outcome.cash
    paid = cash.suppliers + cash.spare + cash.community + cash.operator_fee
    if cash.buyers != paid + cash.link_rent + cash.power_rent + cash.residual:
        yield Symptom(name="cash does not add up", detail=str(cash))
    if any(entry.amount != sum(s.amount for s in entry.funding) for entry in outcome.make_whole):
        yield Symptom(name="make-whole does not add up", detail=str(outcome.make_whole))
    if any(share.amount < 0 for entry in outcome.make_whole for share in entry.funding):
        yield Symptom(name="negative share of make-whole", detail=str(outcome.make_whole))


def _payments(book: Book, outcome: Outcome) -> Iterator[Symptom]:
    """Nobody with a limit price ends past it: family by family, after every payment."""
    base = {nomination.order_id for nomination in book.nominations}
    net: dict[str, int] = {
        family: sum(surplus for surplus in members.values())
        for family, members in surpluses(book, outcome).items()
    }
    name_of = family_names(book)
    for entry in outcome.make_whole:
        for name in {name_of[order_id] for order_id in entry.order_ids}:
            net[name] += entry.amount * SECONDS_PER_HOUR
        for share in entry.funding:
            if share.source in name_of:
                net[name_of[share.source]] -= share.amount * SECONDS_PER_HOUR
            elif share.source not in base and not share.source.startswith("rent:"):
                yield Symptom(name="make-whole from nowhere", detail=share.source)
    for name, value in net.items():
        if value < 0:
            detail = f"{name} ends at {Fraction(value, SECONDS_PER_HOUR)} micro-USD"
            yield Symptom(name="past its limit", detail=detail)


def _no_losers(book: Book, outcome: Outcome) -> Iterator[Symptom]:
    if any(entry.order_ids for entry in outcome.make_whole):
        yield Symptom(name="payment under STRICT_UNIFORM", detail=str(outcome.make_whole))
    for family, members in surpluses(book, outcome).items():
        if sum(members.values()) < 0:
            yield Symptom(name="loser under STRICT_UNIFORM", detail=f"{family}: {members}")


def family_names(book: Book) -> dict[str, str]:
    """Family of every order but nominations: what groups and parents tie together has one name."""
    names = {order.order_id: order.order_id for order in (*book.offers, *bids_of(book))}
    for _ in book.block_bids:
        for block in book.block_bids:
            for other in book.block_bids:
                grouped = block.exclusive_group and (
                    (block.participant_id, block.exclusive_group)
                    == (other.participant_id, other.exclusive_group)
                )
                if grouped or block.parent_order_id == other.order_id:
                    low = min(names[block.order_id], names[other.order_id])
                    names[block.order_id] = names[other.order_id] = low
    return names


def surpluses(book: Book, outcome: Outcome) -> dict[str, dict[str, int]]:
    """Surplus by family and order as published, price-seconds."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    names = family_names(book)
    for order in outcome.orders:
        if order.order_id in names:
            found[names[order.order_id]][order.order_id] = order.surplus
    return found


def _surpluses(book: Book, outcome: Outcome) -> Iterator[Symptom]:
    """Surplus of every bid, and of every offer that holds nothing spare, from the published
    prices."""
    published = {order.order_id: order.surplus for order in outcome.orders}
    awards: dict[str, list[Award]] = defaultdict(list)
    for award in outcome.awards:
        awards[award.order_id].append(award)
    added_up = {
        b.order_id: _bid_surplus(book, outcome, b, awards[b.order_id]) for b in bids_of(book)
    }
    for offer in book.offers:
        if not any(sum(a.reserve) + sum(a.site_reserve) for a in awards[offer.order_id]):
            added_up[offer.order_id] = _offer_surplus(book, outcome, offer, awards[offer.order_id])
    for name, amount in added_up.items():
        if published.get(name) != amount:
            detail = f"{name}: published {published.get(name)}, added up {amount}"
            yield Symptom(name="surplus does not add up", detail=detail)


def _bid_surplus(book: Book, outcome: Outcome, bid: Bid, awards: list[Award]) -> int:
    prices = {(p.pool_id, p.interval): p for p in outcome.prices}
    pools = {pool.pool_id: pool for pool in book.pools}
    backup = {(b.site_id, b.pool_id, b.interval): b.price for b in outcome.backup_prices}
    taken: dict[tuple[str, int], int] = {}
    paid = 0
    for award in awards:
        pool = pools[award.pool_id]
        least = _least(bid, pool)
        for k, chips in enumerate(award.chips):
            t = award.first + k
            here = prices[award.pool_id, t]
            taken[award.pool_id, t] = chips
            paid += chips * price_of(bid, here, book)
            if product_counts(bid, book) and least is not None:
                paid += min(least, chips) * here.availability
            for named in award.backups:
                paid += named.chips[k] * backup.get((pool.site_id, named.pool_id, t), 0)
    return (_value(book, bid, taken) - paid) * book.spec.intervals[0].duration_s


def _least(bid: Bid, pool: Pool) -> int | None:
    """Chips of a block that count for no node: all of them with a profile; None for a step or work
    bid."""
    if not isinstance(bid, BlockBid):
        return None
    if bid.profile:
        return bid.chips
    node = pool.chips_per_node
    return divide_up(divide_up(bid.chips * bid.min_fill_ppm, PPM), node) * node


def _offer_surplus(book: Book, outcome: Outcome, offer: Offer, awards: list[Award]) -> int:
    prices = {(p.pool_id, p.interval): p for p in outcome.prices}
    total = 0
    for award in awards:
        for t, chips in enumerate(award.chips, award.first):
            here = prices[award.pool_id, t]
            earned = here.energy - (here.recall_discount if offer.recallable else 0)
            total += chips * earned - _first_chips(steps_at(offer.segments, t), chips)
    runs = tuple(run for run in outcome.runs if run.order_id == offer.order_id)
    fixed = fixed_costs(book, runs) * SECONDS_PER_HOUR
    return total * book.spec.intervals[0].duration_s - fixed


# --------------------------------------------------------------------------------------- support


def _supported(book: Book, outcome: Outcome) -> Iterator[Symptom]:
    """At the prices every divisible order has what it wants (books without cover, power or
    nodes)."""
    prices = {(p.pool_id, p.interval): p for p in outcome.prices}
    taken: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)
    for award in outcome.awards:
        for t, chips in enumerate(award.chips, award.first):
            taken[award.order_id][award.pool_id, t] = chips
    times = range(len(book.spec.intervals))
    for offer in book.offers:
        if offer.commitment is None:
            for t in times:
                yield from _offer_at(offer, t, prices, taken[offer.order_id])
    for bid in book.step_bids:
        for t in times:
            yield from _bid_at(book, bid, t, prices, taken[bid.order_id])


def _offer_at(
    offer: Offer,
    t: int,
    prices: dict[tuple[str, int], PoolPrice],
    taken: dict[tuple[str, int], int],
) -> Iterator[Symptom]:
    here = prices[offer.pool_id, t]
    earns = here.energy - (here.recall_discount if offer.recallable else 0)
    steps = steps_at(offer.segments, t)
    least = sum(step.chips for step in steps if step.price < earns - ROUNDING)
    most = sum(step.chips for step in steps if step.price <= earns + ROUNDING)
    if not least <= taken.get((offer.pool_id, t), 0) <= most:
        detail = f"{offer.order_id} in {t} sells {taken} at {earns}, wants {least} to {most}"
        yield Symptom(name="offer not at its best response", detail=detail)


def _bid_at(
    book: Book,
    bid: StepBid,
    t: int,
    prices: dict[tuple[str, int], PoolPrice],
    taken: dict[tuple[str, int], int],
) -> Iterator[Symptom]:
    sites = {site.site_id: site for site in book.sites}
    classes = {pool.pool_id: pool.chip_class for pool in book.pools}
    pools = resolve(bid.where, sites, book.pools).eligible
    least = most = 0
    for step in steps_at(bid.segments, t):
        gains = [
            divide_half_even(step.price * factor(bid, classes[name]), PPM)
            - price_of(bid, prices[name, t], book)
            for name in pools
        ]
        gain = max(gains, default=-ROUNDING - 1)
        least += step.chips if gain > ROUNDING else 0
        most += step.chips if gain >= -ROUNDING else 0
    total = sum(chips for (_, at), chips in taken.items() if at == t)
    if not least <= total <= most:
        detail = f"{bid.order_id} in {t} takes {total}, wants {least} to {most}"
        yield Symptom(name="bid not at its best response", detail=detail)


def product_counts(bid: Bid, book: Book) -> bool:
    """Chips of the bid can be reclaimed within the NODE cover time."""
    interruptible = bid.service_class is ServiceClass.INTERRUPTIBLE
    return interruptible and bid.notice_s <= book.spec.tariff.node_cover_notice_s


def price_of(bid: Bid, price: PoolPrice, book: Book) -> int:
    """What a chip of a step or work bid pays; SITE cover is paid by backup and not looked at
    here."""
    if bid.service_class is not ServiceClass.INTERRUPTIBLE:
        return price.firm if bid.cover is Cover.NODE else price.firm_uncovered
    if bid.notice_s > book.spec.tariff.site_cover_notice_s:
        return price.interruptible_uncounted
    if bid.notice_s > book.spec.tariff.node_cover_notice_s:
        return price.interruptible_uncounted - price.recall_discount
    return price.interruptible
