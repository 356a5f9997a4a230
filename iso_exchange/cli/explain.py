"""``iso explain``: what a line of a statement rests on, from an auditor bundle, offline."""

from __future__ import annotations

from typing import Annotated

import typer

from iso_exchange.cli import output
from iso_exchange.cli.bundles import BundleDirectory, Key, open_bundle, refusals
from iso_exchange.cli.refusals import FAILURE, BadValue
from iso_exchange.cli.session import Json


def explain(
    bundle: BundleDirectory,
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="Statement.")],
    line: Annotated[int, typer.Argument(metavar="LINE", help="Number of the line, from 1.", min=1)],
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Walk a statement line back to postings, award, price, readings and their log entries.

    Every entry is proved under the bundle's checkpoint. Ends with 0 when the postings add up to
    the line and all of it is proved, with 1 otherwise.
    """
    from iso_exchange.exports.explain import ExplainError
    from iso_exchange.exports.explain import explain as walk

    with refusals(as_json=as_json):
        read = open_bundle(bundle, key)
        try:
            found = walk(read, statement, line)
        except ExplainError as error:
            raise BadValue("STATEMENT LINE", str(error), got=f"{statement} {line}") from error
    rows = [
        (
            step.what,
            step.entry_index if step.entry_index >= 0 else "",
            "proved" if step.proved else "NOT PROVED",
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
