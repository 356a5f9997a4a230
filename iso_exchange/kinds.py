"""How each command is written to the log: entry kind, payload type, visibility, who signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from iso_exchange.commands import (
    AcknowledgeBatch,
    CancelAllOrders,
    CancelOrder,
    CloseAuction,
    CloseLog,
    CloseRun,
    CloseSpotMarket,
    ContinueLog,
    CreateAuction,
    DeclareTimeout,
    FailAuction,
    GiveNotices,
    HaltAuction,
    HaltSpotMarket,
    InstructSuppliers,
    IssueStatement,
    Nominate,
    NotifyAward,
    OpenSpotMarket,
    PublishChipTable,
    PublishCommunityTotal,
    PublishPrices,
    PublishResult,
    Recall,
    RecordDeposit,
    RegisterEntitlement,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterRootKey,
    RegisterSite,
    ReinstateParticipant,
    Release,
    ReleaseBook,
    ReportOutage,
    ResumeAuction,
    ResumeSpotMarket,
    ReturnHours,
    RevokeKey,
    Role,
    RotateKey,
    RotateLogKey,
    SetAccessKey,
    SettleHour,
    SetWebhook,
    SignReceipt,
    SubmitOrder,
    SubmitReadings,
    SuspendParticipant,
)
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCreditRound,
    CloseCredits,
    DiscloseCreditRound,
    ExpireCredits,
    GrantCredits,
    OpenCredits,
    PublishCreditRound,
)
from iso_exchange.money_commands import (
    CorrectHour,
    DecideDispute,
    DisputeHour,
    PublishSpot,
    RebatePool,
    RebateRents,
    RegisterGrant,
)
from iso_exchange.spot_commands import ReportAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryKind:
    """How a command is written to the log.

    Attributes:
        name: Entry kind of docs/reference/architecture.md.
        payload_type: DSSE payload type of its envelope.
        public: Leaf as it is (True) or salted commitment (False).
        role: Who may sign it; a supplier or buyer order is told apart by its terms.
    """

    name: str
    payload_type: str
    public: bool
    roles: tuple[Role, ...]


def _protobuf(noun: str) -> str:
    return f"application/vnd.iso-exchange.{noun}.v1+protobuf"


def _json(noun: str) -> str:
    return f"application/vnd.iso-exchange.{noun}.v1+json"


_OPERATOR = (Role.OPERATOR,)
_EXCHANGE = (Role.EXCHANGE,)

ENTRY_KINDS: Final[dict[type, EntryKind]] = {
    command: EntryKind(name=name, payload_type=payload, public=public, roles=roles)
    for command, name, payload, public, roles in (
        (RegisterParticipant, "PARTICIPANT", _protobuf("participant"), True, _OPERATOR),
        (RevokeKey, "KEY_REVOKED", _protobuf("key-revocation"), True, _OPERATOR),
        (RotateKey, "KEY_ROTATED", _protobuf("key-rotation"), True, tuple(Role)),
        (RegisterRootKey, "ROOT_KEY", _protobuf("root-key"), True, _OPERATOR),
        (RotateLogKey, "LOG_KEY_ROTATED", _json("log-key-rotation"), True, _EXCHANGE),
        (CloseLog, "LOG_CLOSED", _json("log-closure"), True, _OPERATOR),
        (ContinueLog, "PREDECESSOR", _json("predecessor"), True, _EXCHANGE),
        (SuspendParticipant, "PARTICIPANT_SUSPENDED", _protobuf("suspension"), True, _OPERATOR),
        (
            ReinstateParticipant,
            "PARTICIPANT_REINSTATED",
            _protobuf("reinstatement"),
            True,
            _OPERATOR,
        ),
        (CancelAllOrders, "ORDERS_CANCELLED", _protobuf("cancel-all"), True, _OPERATOR),
        (RegisterSite, "SITE", _protobuf("site"), True, _OPERATOR),
        (RegisterPool, "POOL", _protobuf("pool"), True, _OPERATOR),
        (RegisterMeter, "METER", _protobuf("meter"), True, _OPERATOR),
        (PublishChipTable, "CHIP_TABLE", _protobuf("chip-table"), True, _OPERATOR),
        (RecordDeposit, "DEPOSIT", _protobuf("deposit"), False, _OPERATOR),
        (CreateAuction, "AUCTION_SPEC", _protobuf("auction-spec"), True, _OPERATOR),
        (HaltAuction, "AUCTION_HALTED", _protobuf("auction-halt"), True, _OPERATOR),
        (ResumeAuction, "AUCTION_RESUMED", _protobuf("auction-resume"), True, _OPERATOR),
        (OpenSpotMarket, "SPOT_MARKET", _protobuf("spot-market"), True, _OPERATOR),
        (HaltSpotMarket, "SPOT_HALTED", _protobuf("spot-halt"), True, _OPERATOR),
        (ResumeSpotMarket, "SPOT_RESUMED", _protobuf("spot-resume"), True, _OPERATOR),
        (CloseSpotMarket, "SPOT_CLOSED", _protobuf("spot-close"), True, _OPERATOR),
        (SetWebhook, "WEBHOOK", _protobuf("webhook"), False, (Role.SUPPLIER, Role.BUYER)),
        (SubmitOrder, "ORDER", _protobuf("order"), False, (Role.SUPPLIER, Role.BUYER)),
        (
            CancelOrder,
            "ORDER_CANCELLED",
            _protobuf("order-cancellation"),
            False,
            (Role.SUPPLIER, Role.BUYER),
        ),
        (RegisterEntitlement, "ENTITLEMENT", _protobuf("entitlement"), False, (Role.BUYER,)),
        (Nominate, "NOMINATION", _protobuf("nomination"), False, (Role.BUYER,)),
        (Release, "RELEASE", _protobuf("release"), False, (Role.BUYER,)),
        (Recall, "RECALL", _protobuf("recall"), False, (Role.BUYER,)),
        (ReturnHours, "RETURN", _protobuf("hour-return"), False, (Role.BUYER,)),
        (SubmitReadings, "METER_BATCH", _protobuf("meter-batch"), False, (Role.METER,)),
        (
            ReportOutage,
            "OUTAGE",
            _protobuf("outage-report"),
            False,
            (Role.SUPPLIER, Role.OPERATOR),
        ),
        (InstructSuppliers, "INSTRUCTIONS", _json("instructions"), False, _EXCHANGE),
        (
            AcknowledgeBatch,
            "INSTRUCTIONS_ACKNOWLEDGED",
            _protobuf("batch-acknowledgement"),
            False,
            (Role.SUPPLIER,),
        ),
        (SignReceipt, "HANDOVER", _protobuf("handover"), False, (Role.SUPPLIER,)),
        (DeclareTimeout, "PROVISIONING_TIMEOUT", _json("provisioning-timeout"), False, _EXCHANGE),
        (SetAccessKey, "ACCESS_KEY", _protobuf("access-key"), True, (Role.BUYER,)),
        (CloseAuction, "BOOK_ROOT", _json("book-root"), True, _EXCHANGE),
        (CloseRun, "RUN_GATE", _json("run-gate"), True, _EXCHANGE),
        (PublishResult, "AUCTION_RESULT", _json("auction-result"), False, _EXCHANGE),
        (PublishPrices, "AUCTION_PRICES", _json("auction-prices"), True, _EXCHANGE),
        (NotifyAward, "AWARD", _json("award"), False, _EXCHANGE),
        (GiveNotices, "NOTICE", _json("notice"), False, _EXCHANGE),
        (ReportAllocation, "ALLOCATION", _json("allocation"), True, _EXCHANGE),
        (FailAuction, "AUCTION_FAILED", _json("auction-failed"), True, _EXCHANGE),
        (SettleHour, "POSTINGS", _json("postings"), False, _EXCHANGE),
        (IssueStatement, "STATEMENT", _json("statement"), False, _EXCHANGE),
        (ReleaseBook, "BOOK_RELEASED", _json("book-release"), True, _EXCHANGE),
        (PublishCommunityTotal, "COMMUNITY_TOTAL", _json("community-total"), True, _EXCHANGE),
        (PublishSpot, "SPOT_RESULT", _json("spot-result"), False, _EXCHANGE),
        (CorrectHour, "CORRECTION", _json("correction"), False, _EXCHANGE),
        (RebateRents, "REBATE", _json("rebate"), False, _EXCHANGE),
        (RebatePool, "POOL_REBATE", _json("pool-rebate"), False, _EXCHANGE),
        (DisputeHour, "DISPUTE", _protobuf("dispute"), False, (Role.BUYER, Role.SUPPLIER)),
        (
            DecideDispute,
            "DISPUTE_DECISION",
            _protobuf("dispute-decision"),
            False,
            _OPERATOR,
        ),
        (RegisterGrant, "GRANT", _protobuf("grant"), True, (Role.SUPPLIER, Role.OPERATOR)),
        (OpenCredits, "CREDITS_OPENED", _protobuf("credits-book"), True, (Role.BUYER,)),
        (CloseCredits, "CREDITS_CLOSED", _protobuf("credits-close"), True, (Role.BUYER,)),
        (GrantCredits, "CREDIT_GRANT", _protobuf("credit-grant"), False, (Role.BUYER,)),
        (BidCredits, "CREDIT_BID", _protobuf("credit-bid"), False, (Role.BUYER,)),
        (
            CancelCreditBid,
            "CREDIT_BID_CANCELLED",
            _protobuf("credit-bid-cancellation"),
            False,
            (Role.BUYER,),
        ),
        (CloseCreditRound, "CREDIT_GATE", _json("credit-gate"), True, _EXCHANGE),
        (PublishCreditRound, "CREDIT_RESULT", _json("credit-result"), False, _EXCHANGE),
        (DiscloseCreditRound, "CREDIT_ROUND", _json("credit-round"), True, _EXCHANGE),
        (ExpireCredits, "CREDIT_EXPIRY", _json("credit-expiry"), False, _EXCHANGE),
    )
}
"""How each command is logged; total over ``Command`` (checked by a test)."""

COMMAND_BY_PAYLOAD_TYPE: Final[dict[str, type]] = {
    kind.payload_type: command for command, kind in ENTRY_KINDS.items()
}
