"""Domain state to the messages that the API answers: pure functions, one module per service.

What a caller may see is decided here as far as it follows from the values themselves:
an outcome is left out before publication, the other party's order and limit are left out
of a contract, an opening is only given when the service says that the caller may have it.
"""

from iso_exchange.convert.views.auctions import (
    auction_prices,
    auction_view,
    curve_view,
    curve_views,
    document_prices,
    is_published,
    result_view,
)
from iso_exchange.convert.views.contracts import (
    Surroundings,
    Viewer,
    contract_view,
    delivered_hour_view,
    outage_view,
    stage_of,
    viewer_of,
)
from iso_exchange.convert.views.ledger import (
    checkpoint_view,
    consistency_proof,
    document_chunk,
    entry_view,
    inclusion_proof,
    item_result,
    reading_summary,
    receipt_view,
    refusal_view,
)
from iso_exchange.convert.views.orders import (
    Results,
    award_view,
    eligible_pool,
    order_view,
    outcome_view,
    pool_explanation,
    refused_pool,
    results_of,
    standing_view,
)
from iso_exchange.convert.views.registry import (
    location_view,
    meter_view,
    participant_view,
    pool_view,
    resource_view,
    site_view,
)
from iso_exchange.convert.views.settlement import (
    balance_view,
    community_total_view,
    dispute_view,
    payout_view,
    statement_line_view,
    statement_view,
    transfer_view,
)
from iso_exchange.convert.views.spot import (
    allocation_view,
    market_view,
    notice_view,
    position_views,
    run_view,
)

__all__ = [
    "Results",
    "Surroundings",
    "Viewer",
    "allocation_view",
    "auction_prices",
    "auction_view",
    "award_view",
    "balance_view",
    "checkpoint_view",
    "community_total_view",
    "consistency_proof",
    "contract_view",
    "curve_view",
    "curve_views",
    "delivered_hour_view",
    "dispute_view",
    "document_chunk",
    "document_prices",
    "eligible_pool",
    "entry_view",
    "inclusion_proof",
    "is_published",
    "item_result",
    "location_view",
    "market_view",
    "meter_view",
    "notice_view",
    "order_view",
    "outage_view",
    "outcome_view",
    "participant_view",
    "payout_view",
    "pool_explanation",
    "pool_view",
    "position_views",
    "reading_summary",
    "receipt_view",
    "refusal_view",
    "refused_pool",
    "resource_view",
    "result_view",
    "results_of",
    "run_view",
    "site_view",
    "stage_of",
    "standing_view",
    "statement_line_view",
    "statement_view",
    "transfer_view",
    "viewer_of",
]
