"""Clear one auction: book and seed in, verified outcome out.

Nothing here reads a clock, an environment or chance: the same book, in whatever order its
tuples are, gives the same outcome on every host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from clearing import codec
from clearing.accounts import (
    cash,
    family_surpluses,
    open_accounts,
    power_rents,
)
from clearing.awards import awards_of, flows_of, runs_of
from clearing.book import canonical
from clearing.certificate import certify
from clearing.errors import (
    BookError,
    GapError,
    InvariantError,
    RefusedResultError,
    SolverError,
    UnfundedError,
)
from clearing.explain import explain
from clearing.families import Picks, picks_of
from clearing.layout import Choice, Model, Settled
from clearing.market import Flags
from clearing.memory import Memory
from clearing.model import build, with_runs
from clearing.nodes import award_nodes
from clearing.options import Options, read_options
from clearing.order_facts import AtPrices, respond
from clearing.outcome import ROUNDING_MICRO_USD, Certificate, Outcome, RunStatus
from clearing.prices import Prices
from clearing.pricing.make_whole import make_whole
from clearing.pricing.parts import publish
from clearing.pricing.price_choice import choose_prices
from clearing.pricing.rounding import round_prices
from clearing.pricing.strict_uniform import strict
from clearing.reading import read_market
from clearing.search import Approach, choose, is_large, prove, settle
from clearing.session import Session
from clearing.sharing import names_of
from clearing.support import supported
from clearing.ties import seed_commitment
from clearing.types import Book, PricingRule
from clearing.units import MICRO_USD_PER_USD, PPM
from clearing.validate import validate
from clearing.verify import verify_canonical

ENGINE: Final = "clearing 0.2.0, ortools 9.15"
"""Name and version of the engine and its solver library, published with every outcome."""

_CUTS_MOST: Final = 20
"""Choices that may be cut off in one approach because nobody can fund their losses."""

_BRANCH_GAP_PPB: Final = 100_000
"""A certified gap above it is worth a branch certificate, 1e-4."""

_BRANCH_ORDERS_MOST: Final = 2_000
"""Block bids and offers with a commitment in a book that is small enough for one."""

Phase = Callable[[str], None]
"""Called with the name of each phase as it begins: for those who hold a clock."""


def clear(
    book: Book, seed: bytes, phase: Phase | None = None, session: Session | None = None
) -> Outcome:
    """Clear an auction (docs/reference/clearing-rules.md).

    Where whole nodes do not fit the decisions of the usual choice, so that the verifier refuses
    the result, narrower choices are tried (``clearing.search.Approach``). Where nobody can
    fund the make-whole of a choice, it is cut off and the next best one is made.

    Args:
        book: Frozen order set; the order of its tuples does not matter.
        seed: Tie seed; its SHA-256 was published as ``spec.seed_commitment``.
        phase: Told ``READ``, ``CHOOSE``, ``SETTLE``, ``PRICE``, ``NODES``, ``ACCOUNT``,
            ``CERTIFY`` and ``VERIFY`` as each begins.
        session: Remembers orders that stand from one auction to the next, which saves time and
            changes nothing else; one that is ``warm`` begins large books with the last prices.

    Returns:
        An outcome that ``clearing.verify`` accepts.

    Raises:
        BookError: the book is not one that the engine clears, or the seed is not the one
            that was committed to (``SEED_MISMATCH``).
        SolverError: no usable solution within the node limit.
        RefusedResultError: the verifier refused every result; nothing is published, and the
            findings are those on the first.
        GapError: the certified gap is above ``tariff.withhold_gap_ppm``.
    """
    with codec.collector_paused():
        return _clear(book, seed, phase or _silent, session)


def _clear(book: Book, seed: bytes, tell: Phase, session: Session | None) -> Outcome:
    tell("READ")
    book = canonical(book)
    if session is None:
        validate(book)
    else:
        validate(book, session.unseen(book), standing=session.stands(book))
    if seed_commitment(seed) != book.spec.seed_commitment:
        advice = "Reveal the seed whose SHA-256 was published before gate closure."
        raise BookError("SEED_MISMATCH", book.spec.auction_id, "seed_commitment", advice)
    digest = codec.digest(book) if session is None else session.digest(book)
    memory = None if session is None else session.memory
    run = _Run(book=book, digest=digest, seed=seed, tell=tell, memory=memory)
    run.known()
    failure: Exception | None = None
    for approach in Approach:
        try:
            outcome = _try(run, approach)
        except (SolverError, UnfundedError, RefusedResultError) as error:
            failure = failure or error
            continue
        _check_gap(book, outcome)
        return outcome
    if isinstance(failure, UnfundedError):
        findings = (("MAKE_WHOLE", str(failure)),)
        raise RefusedResultError(book.spec.auction_id, findings) from failure
    raise failure or InvariantError("no approach was tried")


def _silent(_: str) -> None:
    """Nobody holds a clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A book as the search sees it."""

    model: Model
    options: Options
    picks: Picks


@dataclass(slots=True, kw_only=True)
class _Run:
    """What every try of one auction shares."""

    book: Book
    digest: str
    seed: bytes
    tell: Phase
    memory: Memory | None = None
    read: _Read | None = None

    def known(self) -> _Read:
        """The book as the search sees it, read where it is not known."""
        if self.read is None:
            model = build(read_market(self.book), self.book, self.seed)
            self.read = _Read(
                model=model,
                options=read_options(self.book, model.market, model.layout),
                picks=picks_of(model.market.blocks),
            )
        return self.read

    def write(self, chosen: Flags) -> Model:
        """The model with what is chosen in its matrix, from now on."""
        read = self.known()
        model = with_runs(read.model, self.book.spec, chosen)
        self.read = replace(read, model=model)
        return model

    def forget(self) -> None:
        """Make room for the verifier beside a large book: it is read again where that is needed."""
        if self.read is not None and is_large(self.read.model):
            self.read = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """A choice with prices that carry it, and the model with what was chosen in its matrix."""

    model: Model
    choice: Choice
    settled: Settled
    prices: Prices


def _try(run: _Run, approach: Approach) -> Outcome:
    """One approach: a verified outcome, or what stands against it.

    Raises:
        SolverError: no solution.
        UnfundedError: nobody can fund the losses of any choice tried.
        RefusedResultError: the verifier refuses the result.
    """
    failure: UnfundedError | None = None
    try:
        for price in _choices(run, approach):
            try:
                outcome, better = _verified(run, price, approach)
            except UnfundedError as error:
                failure = failure or error
                continue
            return outcome if better is None else _larger(run, approach, outcome, better)
    except SolverError as error:
        # What is left after a choice is cut off may have no solution: the cut says more.
        raise failure or error from None
    raise failure or InvariantError("no choice was tried")


def _verified(
    run: _Run, price: Callable[[], _Priced], approach: Approach
) -> tuple[Outcome, Choice | None]:
    """The outcome of a choice, and a better choice that its certificate came across.

    Args:
        run: Book and seed.
        price: Makes the prices that carry the choice; nobody holds them while it is verified.
        approach: How it was chosen.

    Raises:
        SolverError: no whole-node award fits.
        UnfundedError: nobody can fund the losses.
        RefusedResultError: the verifier refuses the result.
    """
    outcome, better = _outcome(run, price(), approach)
    run.forget()
    run.tell("VERIFY")
    report = verify_canonical(run.book, outcome, run.digest)
    if not report.ok:
        checks = tuple((check.name, check.detail) for check in report.failures)
        raise RefusedResultError(run.book.spec.auction_id, checks)
    return outcome, better


def _larger(run: _Run, approach: Approach, outcome: Outcome, better: Choice) -> Outcome:
    """The outcome of a choice that should be better, where it is; else the one at hand."""
    try:
        other, _ = _verified(run, partial(_priced, run, better), approach)
    except (SolverError, UnfundedError, RefusedResultError):
        return outcome
    return max(outcome, other, key=lambda found: _reached(found.certificate))


def _reached(certificate: Certificate) -> int:
    """Objective of a result, price-seconds."""
    return certificate.welfare + certificate.restart_kept


def _choices(run: _Run, approach: Approach) -> Iterator[Callable[[], _Priced]]:
    """Choices from the best downwards, each cut off before the next."""
    spec = run.book.spec
    if spec.pricing_rule is PricingRule.STRICT_UNIFORM:
        yield partial(_strict, run, approach)
        return
    cuts: tuple[Choice, ...] = ()
    for _ in range(_CUTS_MOST):
        run.tell("CHOOSE")
        choice = choose(run.known().model, spec, approach, cuts, memory=run.memory)
        yield partial(_priced, run, choice)
        if not (choice.chosen.any() or choice.on.any()):
            return
        cuts = (*cuts, choice)


def _strict(run: _Run, approach: Approach) -> _Priced:
    """The best choice at whose prices nobody loses."""
    run.tell("CHOOSE")
    model = run.known().model
    found = strict(model, run.book.spec, approach, run.seed)
    return _Priced(
        model=model,
        choice=replace(found.choice, proven=found.proven),
        settled=found.settled,
        prices=round_prices(model, found.settled, found.duals),
    )


def _priced(run: _Run, choice: Choice) -> _Priced:
    """A choice with prices at which losses are made whole."""
    run.tell("SETTLE")
    model = run.write(choice.chosen)
    settled = settle(model, choice)
    run.tell("PRICE")
    duals = choose_prices(model, choice, settled, run.book.spec, run.seed)
    if duals is None:
        raise InvariantError("no prices, although losses are made whole")
    prices = round_prices(model, settled, duals)
    return _Priced(model=model, choice=choice, settled=settled, prices=prices)


def _outcome(run: _Run, priced: _Priced, approach: Approach) -> tuple[Outcome, Choice | None]:
    """Awards at the prices and everything that follows from both; and a better choice, if any.

    Raises:
        SolverError: no whole-node award fits.
        UnfundedError: nobody can fund the losses.
    """
    book, model, choice = run.book, priced.model, priced.choice
    run.tell("NODES")
    support = supported(model, choice, priced.prices)
    quantities = award_nodes(model, choice, priced.settled, support, names_of(book, run.seed))
    run.tell("ACCOUNT")
    accounts = open_accounts(book, model, choice, quantities, priced.prices)
    residual = cash(accounts, ()).residual
    payments = make_whole(
        family_surpluses(accounts),
        power_rents(accounts),
        _served(book, model),
        residual if residual < -ROUNDING_MICRO_USD else 0,
    )
    prices, backup_prices = publish(
        model, priced.prices, book.spec, _surcharges(book, model), quantities
    )
    run.tell("CERTIFY")
    at_prices = respond(accounts, run.known().options, run.known().picks)
    certificate, better = _certify(run, at_prices, choice)
    optimal = choice.proven and approach is Approach.USUAL
    outcome = Outcome(
        auction_id=book.spec.auction_id,
        book_sha256=run.digest,
        seed=run.seed.hex(),
        engine=ENGINE,
        status=RunStatus.OPTIMAL if optimal else RunStatus.LIMITED,
        prices=prices,
        awards=awards_of(accounts),
        orders=explain(at_prices, payments),
        make_whole=payments,
        certificate=certificate,
        cash=cash(accounts, payments),
        backup_prices=backup_prices,
        runs=runs_of(accounts),
        flows=flows_of(accounts),
    )
    return outcome, better


def _served(book: Book, model: Model) -> dict[str, int]:
    """Chips served x intervals by nomination."""
    served = model.market.base.served.sum(axis=1).tolist()
    return {
        nomination.order_id: chips
        for nomination, chips in zip(book.nominations, served, strict=True)
    }


def _surcharges(book: Book, model: Model) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Community surcharge per pool position."""
    return model.market.grid.charge - book.spec.operator_fee


def _certify(run: _Run, at_prices: AtPrices, choice: Choice) -> tuple[Certificate, Choice | None]:
    """The certificate, with a tree of fixings where one set of duals leaves a gap.

    Returns:
        With it, a better choice that the tree came across, where the pricing rule takes any.
    """
    certificate = certify(at_prices, choice)
    decisions = len(run.book.block_bids) + run.known().model.market.units.offer.size
    if certificate.gap_ppb <= _BRANCH_GAP_PPB or decisions > _BRANCH_ORDERS_MOST:
        return certificate, None
    # US dollars per hour of an interval: what the search counts in, and only it.
    seconds = run.known().model.market.grid.duration_s
    reached = _reached(certificate) / (MICRO_USD_PER_USD * seconds)
    proof = prove(run.known().model, run.book, choice, reached)
    if proof.leaves:
        certificate = certify(at_prices, choice, proof.leaves)
    strict_rule = run.book.spec.pricing_rule is PricingRule.STRICT_UNIFORM
    return certificate, None if strict_rule else proof.better


def _check_gap(book: Book, outcome: Outcome) -> None:
    """Withhold a result that is not certified well enough; a limit of 100 % withholds nothing.

    Raises:
        GapError: its gap is above the tariff's limit.
    """
    limit, gap = book.spec.tariff.withhold_gap_ppm, outcome.certificate.gap_ppb
    if limit < PPM and gap > limit * 1_000:
        raise GapError(book.spec.auction_id, gap, limit)
