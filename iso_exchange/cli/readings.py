"""``iso readings``: what a meter read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop
from iso_exchange.cli import output, values
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json, accepted, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import SubmitReadings
from settlement.types import MeterBatch, Reading

app: Final = typer.Typer(no_args_is_help=True, help="Meter readings: submit.")

_BATCH_FIELDS: Final = frozenset(
    {"meter_id", "pool_id", "start_time", "end_time", "sequence_number", "readings"}
)
_CORRECTION_FIELDS: Final = frozenset({"corrected_sequence_number"})
_READING_FIELDS: Final = frozenset({"contract_id", "node_id", "healthy_chip_seconds"})
_EVIDENCE_FIELDS: Final = frozenset({"observed_tflop", "energy_joules"})
_INTEGER_MAX: Final = 2**63 - 1


@app.callback()
def readings() -> None:
    """Meter readings: submit."""


@app.command("submit")
def submit(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON document of one batch, or of several.")
    ],
    as_json: Json = False,
) -> None:
    """Submit meter batches, signed by the meter (--as METER).

    A batch is an object with meter_id, pool_id, start_time, end_time, sequence_number and
    readings; a reading has contract_id, node_id, healthy_chip_seconds and, as evidence,
    observed_tflop and energy_joules. A correction has the corrected_sequence_number of the
    batch that it takes the place of. Several batches are a list.
    """
    documents = _read(file)
    receipts = []
    for place, document in documents:
        command = SubmitReadings(header=BLANK_HEADER, batch=parse_batch(document, place))
        receipts.append((command.batch, send(context, command, as_json=as_json)))
    output.answer(
        {
            "batches": [
                receipt_document(
                    receipt, sequence_number=batch.sequence, reading_count=len(batch.readings)
                )
                for batch, receipt in receipts
            ]
        },
        *(
            accepted(f"Batch {batch.sequence} with {len(batch.readings)} readings", receipt)
            for batch, receipt in receipts
        ),
        as_json=as_json,
    )


def parse_batch(document: Any, place: str) -> MeterBatch:  # noqa: ANN401 - any JSON value
    """Read one batch strictly.

    Raises:
        BadValue: a field is missing, unknown or of another type; it names the place.
    """
    fields = _object(document, place, _BATCH_FIELDS, _CORRECTION_FIELDS)
    listed = fields["readings"]
    if not isinstance(listed, list):
        raise BadValue(f"{place}.readings", "expected a list")
    return MeterBatch(
        meter_id=_text(fields["meter_id"], f"{place}.meter_id"),
        pool_id=_text(fields["pool_id"], f"{place}.pool_id"),
        interval=Interval(
            start=values.parse_time(
                _text(fields["start_time"], f"{place}.start_time"), f"{place}.start_time"
            ),
            end=values.parse_time(
                _text(fields["end_time"], f"{place}.end_time"), f"{place}.end_time"
            ),
        ),
        sequence=_integer(fields["sequence_number"], f"{place}.sequence_number"),
        readings=tuple(
            _reading(item, f"{place}.readings[{number}]") for number, item in enumerate(listed)
        ),
        corrects=_integer(
            fields.get("corrected_sequence_number", 0), f"{place}.corrected_sequence_number"
        ),
    )


def _reading(document: Any, place: str) -> Reading:  # noqa: ANN401 - any JSON value
    fields = _object(document, place, _READING_FIELDS, _EVIDENCE_FIELDS)
    return Reading(
        contract_id=_text(fields["contract_id"], f"{place}.contract_id"),
        node_id=_text(fields["node_id"], f"{place}.node_id"),
        healthy=ChipSeconds(
            _integer(fields["healthy_chip_seconds"], f"{place}.healthy_chip_seconds")
        ),
        observed_tflop=Tflop(_integer(fields.get("observed_tflop", 0), f"{place}.observed_tflop")),
        energy_joules=_integer(fields.get("energy_joules", 0), f"{place}.energy_joules"),
    )


def _read(file: Path) -> list[tuple[str, Any]]:
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise BadValue("FILE", f"{error.strerror or error}", got=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise BadValue("FILE", f"expected a JSON document: {error}", got=str(file)) from error
    if isinstance(document, list):
        return [(f"FILE[{number}]", item) for number, item in enumerate(document)]
    return [("FILE", document)]


def _object(
    document: Any,  # noqa: ANN401 - any JSON value
    place: str,
    required: frozenset[str],
    optional: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BadValue(place, "expected an object")
    wrong = (required - document.keys()) | (document.keys() - required - optional)
    if wrong:
        raise BadValue(
            place,
            f"expected the fields {', '.join(sorted(required))}",
            got=", ".join(sorted(wrong)),
        )
    return document


def _text(value: Any, place: str) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(value, str) or not value:
        raise BadValue(place, "expected a text that is not empty", got=repr(value))
    return value


def _integer(value: Any, place: str) -> int:  # noqa: ANN401 - any JSON value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INTEGER_MAX:
        raise BadValue(place, "expected a whole number, zero or more", got=repr(value))
    return value
