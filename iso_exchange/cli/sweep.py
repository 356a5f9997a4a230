"""``iso auction sweep``: clear many books, or the regions of one, here or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from iso_exchange.cli import offline, output
from iso_exchange.cli.refusals import FAILURE, BadValue
from iso_exchange.cli.session import Json
from iso_exchange.sweep.jobs import Backend, BackendMissingError, Job, run

if TYPE_CHECKING:
    from clearing.types import Book

WORKERS_MAX: Final = 1_024


def sweep(
    books: Annotated[list[Path], typer.Argument(metavar="BOOK...", help="Book files.")],
    backend: Annotated[
        Backend, typer.Option("--backend", case_sensitive=False, help="Where to clear.")
    ] = Backend.PROCESSES,
    workers: Annotated[int, typer.Option("--workers", min=1, max=WORKERS_MAX)] = 2,
    by_region: Annotated[
        bool, typer.Option("--regions", help="Split each book into regions that share nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="New directory for one outcome per job.")
    ] = None,
    seed: Annotated[str, typer.Option("--seed", help="Tie seed, hex, of all books.")] = "",
    as_json: Json = False,
) -> None:
    """Clear several books at once and print a digest of each outcome.

    The digests do not depend on the backend or on the number of workers.
    """
    jobs = [job for path in books for job in _jobs(path, seed, by_region=by_region)]
    try:
        results = run(jobs, backend, workers=workers)
    except BackendMissingError as error:
        raise BadValue("--backend", str(error), got=backend.value) from error
    except ValueError as error:
        raise BadValue("BOOK", str(error)) from error
    if out is not None:
        out.mkdir(parents=True)
        for number, result in enumerate(results):
            if result.outcome:
                (out / f"{number:05d}.json").write_bytes(result.outcome)
    document = [
        {"name": result.name, "sha256": result.sha256, "error": result.error} for result in results
    ]
    rows = ((result.name, result.sha256 or "-", result.error) for result in results)
    refused = sum(not result.sha256 for result in results)
    output.answer(
        {"backend": backend.value, "results": document},
        output.table(("BOOK", "SHA-256 OF THE OUTCOME", "ERROR"), rows),
        f"{len(results)} cleared" if not refused else f"{refused} of {len(results)} refused",
        as_json=as_json,
    )
    if refused:
        raise typer.Exit(FAILURE)


def _jobs(path: Path, seed: str, *, by_region: bool) -> list[Job]:
    from clearing.bookfile.errors import BookFileError
    from clearing.regions import regions
    from iso_exchange.bookfile.files import read_book

    tie_seed = offline.seed_of(seed)
    try:
        book: Book = offline.with_seed(read_book(path), tie_seed)
    except BookFileError as error:
        raise BadValue("BOOK", f"{error}", got=str(path)) from error
    revealed = offline.NO_SEED if tie_seed is None else tie_seed
    parts = regions(book) if by_region else (book,)
    return [Job(name=f"{path}:{part.spec.auction_id}", book=part, seed=revealed) for part in parts]
