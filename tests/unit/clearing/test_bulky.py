"""Blocks that fill a good part of their pools are decided by size, in small rounds."""

from __future__ import annotations

from clearing.reading import read_market
from clearing.search.coordinate.reading import read_problem
from clearing.search.coordinate.rounds import is_bulky, rank
from clearing.types import Book
from tests.golden.clearing.books import book, gang, offer


def test_a_book_is_bulky_by_the_share_of_its_volume_in_large_blocks() -> None:
    def bulky(large: int) -> bool:
        small = [gang(f"g{number}", 1, "3") for number in range(100)]
        given = book(offer("S", (200, "1")), gang("h", large, "3"), *small)
        return is_bulky(read_problem(read_market(given)))

    # An eighth of the pool is 25 chips, a tenth of the volume 11.
    assert not bulky(24)
    assert bulky(32)


def test_sizes_come_before_volumes_in_bulky_books() -> None:
    given: Book = book(
        offer("S", (64, "1"), stop=6),
        gang("long", 8, "3", duration=6),
        gang("large", 32, "3"),
        intervals=6,
    )
    market = read_market(given)
    problem = read_problem(market)
    names = [block.order_id for block in given.block_bids]

    def first(*, by_size: bool) -> str:
        order = rank(market, problem, (0.5,), by_size=by_size).order
        return names[int(market.blocks.order[problem.picks.source[problem.picks.start[order[0]]]])]

    assert first(by_size=False) == "long"
    assert first(by_size=True) == "large"
