"""Reason codes of transfers: whose doing a failure, a gap or a residual was."""

from __future__ import annotations

from typing import Final

SUPPLIER_FAILURE: Final = "SUPPLIER_FAILURE"
"""Less healthy than sold; priced at spot."""

SPOT_PRICE_PROVISIONAL: Final = "SPOT_PRICE_PROVISIONAL"
"""The same, with the day-ahead price standing in for a spot price that does not exist."""

METER_GAP: Final = "METER_GAP"
"""No reading by the close of the hour (SETTLEMENT R8)."""

POT_RESIDUAL: Final = "POT_RESIDUAL"
"""What payers' legs leave after all receivers were paid in full, or what they lack."""

COVER_RESIDUAL: Final = "COVER_RESIDUAL"
"""Cover money that no spare or interruptible chip is owed (whole-node rounding)."""

FAILURE_RESIDUAL: Final = "FAILURE_RESIDUAL"
"""Failure payments beyond what buyers are owed, or what they lack (SETTLEMENT R6)."""

EARNINGS_SHARE: Final = "EARNINGS_SHARE"
"""Other suppliers' share of missing money (SETTLEMENT R6 step 4)."""

NOT_AWARDED: Final = "NOT_AWARDED"
"""An acceptance hold is void because the auction's holds replace it."""

CALL_UNANSWERED: Final = "CALL_UNANSWERED"
"""A spare that was called and did not serve repays that hour's cover money (SETTLEMENT R11)."""

POWER_RENT_REBATE: Final = "POWER_RENT_REBATE"
"""A site's power rent, back to who was delivered there (SETTLEMENT R14)."""

POOL_REBATE: Final = "POOL_REBATE"
"""What ``pool`` holds above its ceiling, back per delivered chip-second (SETTLEMENT R6)."""

CORRECTION: Final = "CORRECTION"
"""More than was posted for the hour; ``corrects`` names what (SETTLEMENT R9)."""

CORRECTION_REVERSAL: Final = "CORRECTION_REVERSAL"
"""Less than was posted for the hour: the movement of its code, backwards (SETTLEMENT R9)."""

DISPUTED: Final = "DISPUTED"
"""Frozen while a contract-hour is disputed."""

DISPUTE_DECIDED: Final = "DISPUTE_DECIDED"
"""Given back when a dispute is decided; what was decided is a correction."""

SHORTFALL_REPAID: Final = "SHORTFALL_REPAID"
"""What an earlier hour of the auction lacked, out of what later ones left in ``pool``."""
