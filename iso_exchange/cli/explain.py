"""``iso explain``: what a line of a statement rests on, from an auditor bundle, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iso_exchange.cli import output
from iso_exchange.cli.bundles import Key, open_bundle, refusals
from iso_exchange.cli.refusals import FAILURE, BadValue
from iso_exchange.cli.session import Json

if TYPE_CHECKING:
    from iso_exchange.exports.explain import Explanation


def explain(
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="Statement.")],
    line: Annotated[int, typer.Argument(metavar="LINE", help="Number of the line, from 1.", min=1)],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Auditor bundle.")
    ] = None,
    own: Annotated[
        Path | None,
        typer.Option("--own", metavar="FILE", help="Own bundle (iso statement bundle)."),
    ] = None,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Walk a statement line back to postings, award, price, readings and their log entries.

    Works offline, from an auditor bundle or from the bundle that the statement's owner kept
    (--own, with --key). Every entry is proved under the checkpoint. Ends with 0 when the
    line adds up and all of it is proved, with 1 otherwise.
    """
    if (bundle is None) is (own is None):
        raise BadValue("--bundle", "name an auditor bundle, or an own one with --own")
    found = _auditor(bundle, key, statement, line, as_json=as_json) if bundle else None
    if found is None:
        assert own is not None  # one of the two
        found = _own(own, key, statement, line)
    rows = [
        (
            step.what,
            step.entry_index if step.entry_index >= 0 else "",
            "" if step.entry_index < 0 else "proved" if step.proved else "NOT PROVED",
            step.detail,
        )
        for step in found.steps
    ]
    output.answer(
        {
            "statement_id": found.statement_id,
            "line": found.number,
            "code": found.line.code.value,
            "contract_id": found.line.contract_id,
            "amount": str(found.line.amount),
            "adds_up": found.adds_up,
            "ok": found.ok,
            "steps": [
                {
                    "what": step.what,
                    "detail": step.detail,
                    "entry_index": step.entry_index,
                    "proved": step.proved,
                }
                for step in found.steps
            ],
        },
        output.table(("STEP", "ENTRY", "PROOF", "WHAT IT SAYS"), rows),
        "the postings add up to the line"
        if found.adds_up
        else "FAILED: the postings do not add up",
        as_json=as_json,
    )
    if not found.ok:
        raise typer.Exit(FAILURE)


def _auditor(bundle: Path, key: str, statement: str, line: int, *, as_json: bool) -> Explanation:
    from iso_exchange.exports.explain import ExplainError
    from iso_exchange.exports.explain import explain as walk

    with refusals(as_json=as_json):
        read = open_bundle(bundle, key)
        try:
            return walk(read, statement, line)
        except ExplainError as error:
            raise BadValue("STATEMENT LINE", str(error), got=f"{statement} {line}") from error


def _own(file: Path, key: str, statement: str, line: int) -> Explanation:
    """From an own bundle; a forged one is a failure with the ledger's own code."""
    from clearing import codec
    from iso_exchange.exports.explain import ExplainError
    from iso_exchange.exports.own import OwnBundle, explain_own

    if not key:
        raise BadValue("--key", "give the verifier key of the log, from a place you trust")
    try:
        bundle = codec.decode(file.read_bytes(), OwnBundle)
    except ValueError as error:
        raise BadValue("--own", f"expected an own bundle: {error}", got=str(file)) from error
    if bundle.statement_id != statement:
        raise BadValue("STATEMENT", f"the bundle is of {bundle.statement_id}", got=statement)
    try:
        return explain_own(bundle, key, line)
    except ExplainError as error:
        raise BadValue("STATEMENT LINE", str(error), got=f"{statement} {line}") from error
