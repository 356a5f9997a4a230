"""The steps of an auction one by one, for tests of what happens between them."""

from __future__ import annotations

from clearing.accounts import open_accounts
from clearing.book import canonical
from clearing.families import picks_of
from clearing.layout import Choice
from clearing.model import build
from clearing.nodes import award_nodes
from clearing.options import read_options
from clearing.order_facts import AtPrices, respond
from clearing.pricing.price_choice import choose_prices
from clearing.pricing.rounding import round_prices
from clearing.reading import read_market
from clearing.search import Approach, choose, settle
from clearing.sharing import names_of
from clearing.support import supported
from clearing.types import Book
from tests.golden.clearing.books import SEED


def cleared_by_steps(given: Book) -> tuple[AtPrices, Choice]:
    """Awards, accounts and best responses of a book, and the choice behind them."""
    given = canonical(given)
    model = build(read_market(given), given, SEED)
    choice = choose(model, given.spec, Approach.USUAL, ())
    settled = settle(model, choice)
    duals = choose_prices(model, choice, settled, given.spec, SEED)
    assert duals is not None
    prices = round_prices(model, settled, duals)
    support = supported(model, choice, prices)
    quantities = award_nodes(model, choice, settled, support, names_of(given, SEED))
    accounts = open_accounts(given, model, choice, quantities, prices)
    options = read_options(given, model.market, model.layout)
    return respond(accounts, options, picks_of(model.market.blocks)), choice
