"""From a signed body to its command and back: one entry per protobuf kind of the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from clearing import codec
from iso_exchange.api.v1 import (
    auction_pb2,
    chip_table_pb2,
    credits_pb2,
    deposit_pb2,
    dispatch_pb2,
    dispute_pb2,
    entitlement_pb2,
    event_pb2,
    meter_pb2,
    order_pb2,
    participant_pb2,
    pool_pb2,
    site_pb2,
    spot_pb2,
)
from iso_exchange.commands import (
    AcknowledgeBatch,
    CancelAllOrders,
    CancelOrder,
    CloseSpotMarket,
    Command,
    CreateAuction,
    HaltAuction,
    HaltSpotMarket,
    Nominate,
    OpenSpotMarket,
    PublishChipTable,
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
    ReportOutage,
    ResumeAuction,
    ResumeSpotMarket,
    ReturnHours,
    RevokeKey,
    RotateKey,
    SetAccessKey,
    SetWebhook,
    SignReceipt,
    SubmitOrder,
    SubmitReadings,
    SuspendParticipant,
)
from iso_exchange.convert import (
    auctions,
    chip_tables,
    credits,  # noqa: A004 - the noun, as the other modules
    deposits,
    dispatch,
    disputes,
    entitlements,
    grants,
    meters,
    orders,
    outages,
    participants,
    pools,
    sites,
    spot,
)
from iso_exchange.convert.fields import BodyError, Reader, RefusedBodyError
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCredits,
    GrantCredits,
    OpenCredits,
)
from iso_exchange.kinds import COMMAND_BY_PAYLOAD_TYPE, ENTRY_KINDS
from iso_exchange.money_commands import DecideDispute, DisputeHour, RegisterGrant
from iso_exchange.sequencer.refusals import Code, Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """How one kind of command is read from and written to the wire.

    Attributes:
        message: Protobuf message of the body.
        read: From the message to the command; raises ``RefusedBodyError``.
        write: From the command to the message; raises ``BodyError``.
    """

    message: type[Message]
    read: Callable[[Reader], Command]
    write: Callable[[Any], Message]


CONVERTERS: Final[dict[type, Converter]] = {
    command: Converter(message=message, read=read, write=write)
    for command, message, read, write in (
        (
            RegisterParticipant,
            participant_pb2.Participant,
            participants.read_participant,
            participants.write_participant,
        ),
        (
            RevokeKey,
            participant_pb2.KeyRevocation,
            participants.read_key_revocation,
            participants.write_key_revocation,
        ),
        (
            RotateKey,
            participant_pb2.KeyRotation,
            participants.read_key_rotation,
            participants.write_key_rotation,
        ),
        (
            RegisterRootKey,
            participant_pb2.RootKey,
            participants.read_root_key,
            participants.write_root_key,
        ),
        (
            SuspendParticipant,
            participant_pb2.Suspension,
            participants.read_suspension,
            participants.write_suspension,
        ),
        (
            ReinstateParticipant,
            participant_pb2.Reinstatement,
            participants.read_reinstatement,
            participants.write_reinstatement,
        ),
        (
            CancelAllOrders,
            participant_pb2.CancelAll,
            participants.read_cancel_all,
            participants.write_cancel_all,
        ),
        (RegisterSite, site_pb2.Site, sites.read_site, sites.write_site),
        (RegisterPool, pool_pb2.Pool, pools.read_pool, pools.write_pool),
        (RegisterMeter, meter_pb2.Meter, meters.read_meter, meters.write_meter),
        (
            PublishChipTable,
            chip_table_pb2.ChipTablePublication,
            chip_tables.read_chip_table,
            chip_tables.write_chip_table,
        ),
        (RecordDeposit, deposit_pb2.Deposit, deposits.read_deposit, deposits.write_deposit),
        (
            CreateAuction,
            auction_pb2.AuctionSpec,
            auctions.read_auction_spec,
            auctions.write_auction_spec,
        ),
        (
            HaltAuction,
            auction_pb2.AuctionHalt,
            auctions.read_auction_halt,
            auctions.write_auction_halt,
        ),
        (
            ResumeAuction,
            auction_pb2.AuctionResume,
            auctions.read_auction_resume,
            auctions.write_auction_resume,
        ),
        (
            OpenSpotMarket,
            spot_pb2.SpotMarketSpec,
            spot.read_spot_market,
            spot.write_spot_market,
        ),
        (HaltSpotMarket, spot_pb2.SpotHalt, spot.read_spot_halt, spot.write_spot_halt),
        (
            ResumeSpotMarket,
            spot_pb2.SpotResume,
            spot.read_spot_resume,
            spot.write_spot_resume,
        ),
        (ReturnHours, spot_pb2.HourReturn, spot.read_hour_return, spot.write_hour_return),
        (SetWebhook, spot_pb2.WebhookRegistration, spot.read_webhook, spot.write_webhook),
        (CloseSpotMarket, spot_pb2.SpotClose, spot.read_spot_close, spot.write_spot_close),
        (SubmitOrder, order_pb2.Order, orders.read_order, orders.write_order),
        (
            CancelOrder,
            order_pb2.OrderCancellation,
            orders.read_order_cancellation,
            orders.write_order_cancellation,
        ),
        (
            RegisterEntitlement,
            entitlement_pb2.Entitlement,
            entitlements.read_entitlement,
            entitlements.write_entitlement,
        ),
        (
            Nominate,
            entitlement_pb2.Nomination,
            entitlements.read_nomination,
            entitlements.write_nomination,
        ),
        (
            Release,
            entitlement_pb2.Release,
            entitlements.read_release,
            entitlements.write_release,
        ),
        (
            Recall,
            entitlement_pb2.Recall,
            entitlements.read_recall,
            entitlements.write_recall,
        ),
        (
            SubmitReadings,
            meter_pb2.MeterBatch,
            meters.read_meter_batch,
            meters.write_meter_batch,
        ),
        (
            ReportOutage,
            event_pb2.OutageReport,
            outages.read_outage_report,
            outages.write_outage_report,
        ),
        (
            AcknowledgeBatch,
            dispatch_pb2.BatchAcknowledgement,
            dispatch.read_acknowledgement,
            dispatch.write_acknowledgement,
        ),
        (SignReceipt, dispatch_pb2.Handover, dispatch.read_handover, dispatch.write_handover),
        (
            SetAccessKey,
            dispatch_pb2.AccessKey,
            dispatch.read_access_key,
            dispatch.write_access_key,
        ),
        (DisputeHour, dispute_pb2.Dispute, disputes.read_dispute, disputes.write_dispute),
        (
            DecideDispute,
            dispute_pb2.DisputeDecision,
            disputes.read_dispute_decision,
            disputes.write_dispute_decision,
        ),
        (RegisterGrant, entitlement_pb2.Grant, grants.read_grant, grants.write_grant),
        (
            OpenCredits,
            credits_pb2.CreditsBook,
            credits.read_credits_book,
            credits.write_credits_book,
        ),
        (
            CloseCredits,
            credits_pb2.CreditsClose,
            credits.read_credits_close,
            credits.write_credits_close,
        ),
        (
            GrantCredits,
            credits_pb2.CreditGrant,
            credits.read_credit_grant,
            credits.write_credit_grant,
        ),
        (BidCredits, credits_pb2.CreditBid, credits.read_credit_bid, credits.write_credit_bid),
        (
            CancelCreditBid,
            credits_pb2.CreditBidCancellation,
            credits.read_credit_bid_cancellation,
            credits.write_credit_bid_cancellation,
        ),
    )
}
"""Converter of every command that is signed as protobuf (checked by a test)."""

NOT_TAKEN_YET: Final[dict[str, str]] = {
    f"application/vnd.iso-exchange.{noun}.v1+protobuf": advice
    for noun, advice in (
        ("acknowledgement", "acknowledge batches and sign receipts with DispatchService"),
    )
}
"""Payload types that the schema has and the market does not take."""


def command_from(payload_type: str, payload: bytes) -> Command | Rejected:
    """Command of a signed body.

    Args:
        payload_type: DSSE payload type of the envelope.
        payload: Exact bytes that were signed.

    Returns:
        The command, or ``Rejected`` with ``MALFORMED_BODY`` and the path of the first field
        at fault, ``NOT_CLEARED_YET`` for what the market does not act on, or
        ``MALFORMED_ENVELOPE`` for a payload type that does not exist. Never raises for what
        a client sent.
    """
    kind = COMMAND_BY_PAYLOAD_TYPE.get(payload_type)
    if kind is None:
        return _unknown(payload_type)
    if kind not in CONVERTERS:
        return _document(kind, payload)
    converter = CONVERTERS[kind]
    try:
        message = converter.message.FromString(payload)
    except DecodeError as error:
        return Rejected(
            code=Code.MALFORMED_BODY,
            field="",
            advice=f"send a {converter.message.DESCRIPTOR.full_name} message",
            got=str(error),
        )
    unknown = _unknown_field(message, payload)
    if unknown:
        return Rejected(
            code=Code.MALFORMED_BODY,
            field=unknown,
            advice="leave out fields that this version of the exchange does not know",
        )
    reader = Reader(message)
    try:
        command = converter.read(reader)
        reader.finish()
    except RefusedBodyError as refused:
        return refused.rejected
    return command


def body_of(command: Command) -> bytes:
    """Bytes of a command's body, as they are signed.

    Raises:
        BodyError: the wire cannot say the command; its ``field`` names where.
    """
    converter = CONVERTERS.get(type(command))
    if converter is None:
        return codec.encode(command)
    try:
        return converter.write(command).SerializeToString(deterministic=True)
    except BodyError:
        raise
    except (TypeError, ValueError) as error:
        raise BodyError("", f"{type(command).__name__} does not fit the wire: {error}") from error


def payload_of(command: Command) -> tuple[str, bytes]:
    """DSSE payload type and payload of a command, protobuf or canonical JSON.

    Raises:
        BodyError: see ``body_of``.
    """
    return ENTRY_KINDS[type(command)].payload_type, body_of(command)


def _document(kind: type, payload: bytes) -> Command | Rejected:
    try:
        command: Command = codec.decode(payload, kind)
    except ValueError as error:  # DocumentError, and text that UTF-8 cannot hold
        return Rejected(code=Code.MALFORMED_BODY, field="", advice=str(error))
    return command


def _unknown(payload_type: str) -> Rejected:
    advice = NOT_TAKEN_YET.get(payload_type)
    if advice is not None:
        return Rejected(
            code=Code.NOT_CLEARED_YET,
            field="envelope.payloadType",
            advice=advice,
            got=payload_type,
        )
    return Rejected(
        code=Code.MALFORMED_ENVELOPE,
        field="envelope.payloadType",
        advice="use a payload type of docs/reference/architecture.md",
        got=payload_type,
    )


def _unknown_field(message: Any, payload: bytes) -> str:  # noqa: ANN401 - stubs lack the method
    """Path of the first unknown field of a body, empty when there is none; drops them all."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() == size:
        return ""
    return _search_unknown(type(message).FromString(payload), "")


def _search_unknown(message: Message, path: str) -> str:
    """The names down to the message that holds an unknown field, then the field's number."""
    rest = type(message).FromString(message.SerializeToString())
    for field, _ in message.ListFields():
        rest.ClearField(field.name)
    left = rest.SerializeToString()
    if left:
        return f"{path}{_first_tag(left) >> 3}"
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        items = (value,) if isinstance(value, Message) else value
        for position, item in enumerate(items):
            name = field.name if isinstance(value, Message) else f"{field.name}[{position}]"
            found = _search_unknown(item, f"{path}{name}.")
            if found:
                return found
    return ""


def _first_tag(data: bytes) -> int:
    """First varint of a serialised message: field number and wire type."""
    tag = 0
    for position, byte in enumerate(data):
        tag |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:  # noqa: PLR2004 - the top bit says that another byte follows
            break
    return tag
