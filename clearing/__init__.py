"""Clearing: a pure engine for auctions of compute capacity. Data in, data out.

``clear`` turns a frozen book of orders and a tie seed into an outcome with awards, prices, reasons
and a certificate; ``verify`` re-checks any outcome against its book and trusts nobody. Both are
plain functions of values: no server, no clock, no files.

Example:
    >>> import hashlib
    >>> from clearing import (
    ...     AuctionSpec, Book, Eligibility, Interval, Offer, Pool, Segment, Site, Step, StepBid,
    ...     clear, verify,
    ... )
    >>> seed = b"published as its SHA-256 before gate closure"
    >>> def hour(chips, price):
    ...     return (Segment(first=0, stop=1, steps=(Step(price=price, chips=chips),)),)
    >>> book = Book(
    ...     spec=AuctionSpec(
    ...         auction_id="day-ahead",
    ...         intervals=(Interval(start=0, end=3_600),),
    ...         seed_commitment=hashlib.sha256(seed).hexdigest(),
    ...     ),
    ...     sites=(Site(site_id="oslo", surcharge=500_000),),
    ...     pools=(
    ...         Pool(pool_id="oslo.h100", site_id="oslo", chip_class="nvidia.h100-sxm5-80gb",
    ...              chips_per_node=8, capacity=64),
    ...     ),
    ...     offers=(
    ...         Offer(order_id="o1", participant_id="supplier", pool_id="oslo.h100",
    ...               segments=hour(64, 4_000_000)),
    ...     ),
    ...     step_bids=(
    ...         StepBid(order_id="b1", participant_id="lab", segments=hour(16, 5_000_000),
    ...                 where=Eligibility(pool_ids=("oslo.h100",))),
    ...     ),
    ... )
    >>> outcome = clear(book, seed)
    >>> outcome.prices[0].firm  # micro-USD per chip-hour: 4.00 for the supplier, 0.50 for the town
    4500000
    >>> verify(book, outcome).ok
    True
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from clearing.errors import (
    BookError,
    GapError,
    InvariantError,
    RefusedResultError,
    SolverError,
)
from clearing.outcome import (
    Award,
    Backup,
    BackupPrice,
    Cash,
    Certificate,
    Fill,
    Fixing,
    FundingShare,
    Leaf,
    LinkFlow,
    MakeWhole,
    OrderOutcome,
    Outcome,
    PoolPrice,
    Reason,
    RowDual,
    RunStatus,
    Side,
    SupplyRun,
)
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    Link,
    Nomination,
    Offer,
    Pool,
    PricingRule,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
    Tariff,
    WorkBid,
)

if TYPE_CHECKING:
    from clearing.auction import clear  # noqa: TC004 - loaded when asked for, see _LATER
    from clearing.codec import decode, digest, encode  # noqa: TC004 - the same
    from clearing.marginal import Marginal, marginal  # noqa: TC004 - the same
    from clearing.session import Session  # noqa: TC004 - the same
    from clearing.verify import verify  # noqa: TC004 - the same

_LATER: Final = {
    "Marginal": "marginal",
    "Session": "session",
    "clear": "auction",
    "decode": "codec",
    "digest": "codec",
    "encode": "codec",
    "marginal": "marginal",
    "verify": "verify",
}
"""Modules of names that are loaded when they are asked for: whoever needs units or a type does
not wait for a solver."""

__all__ = [
    "AuctionSpec",
    "Award",
    "Backup",
    "BackupPrice",
    "BlockBid",
    "Book",
    "BookError",
    "Cash",
    "Certificate",
    "Commitment",
    "Conversion",
    "Cover",
    "Eligibility",
    "Fill",
    "Fixing",
    "FundingShare",
    "GapError",
    "Interval",
    "InvariantError",
    "Leaf",
    "Link",
    "LinkFlow",
    "MakeWhole",
    "Marginal",
    "Nomination",
    "Offer",
    "OrderOutcome",
    "Outcome",
    "Pool",
    "PoolPrice",
    "PricingRule",
    "Reason",
    "RefusedResultError",
    "RowDual",
    "RunStatus",
    "Segment",
    "ServiceClass",
    "Session",
    "Side",
    "Site",
    "SolverError",
    "Step",
    "StepBid",
    "SupplyRun",
    "Tariff",
    "WorkBid",
    "clear",
    "decode",
    "digest",
    "encode",
    "marginal",
    "verify",
]


class _Facade(ModuleType):
    """The package, in which a function and a submodule of one name stay the function.

    Importing a submodule binds it to its package; ``clearing.verify`` and ``clearing.marginal``
    are the functions all the same, and ``from clearing.verify import verify`` finds the module.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any public name
        if name not in _LATER:
            message = f"module {self.__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{self.__name__}.{_LATER[name]}"), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if _LATER.get(name) == name and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_LATER})


sys.modules[__name__].__class__ = _Facade
