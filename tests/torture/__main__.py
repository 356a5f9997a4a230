"""``python -m tests.torture [name ...] [-n N] [--seed SEED]``: torture the ledger, print counts.

Exit code 0: everything survived. 1: something did not; the message names round and seed. A
seed decides what is done and to whom; the moment of a kill is also the scheduler's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.simulation import world
from tests.torture import faults, forgery, kills, power
from tests.torture.checks import SkippedError

Torture = Callable[[int, int], Counter[str]]


def forge(rounds: int, seed: int) -> Counter[str]:
    """Forge bundles of a market day.

    Raises:
        AssertionError: a verifier did not find one.
    """
    from tests.integration.bundles import make_bundles

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts, missed = forgery.run(make_bundles(folder / "day"), folder, rounds, seed)
    assert not missed, "\n".join(missed)
    return counts


TORTURES: Final[dict[str, Torture]] = {
    "kills": kills.run,
    "forgeries": forge,
    "faults-of-publications": faults.publications,
    "faults-of-appends": faults.appends,
    "power-cuts": power.run,
    "worlds": world.torture,
}
MUTANTS: Final[dict[str, Torture]] = {
    "answering-before-committing": partial(kills.run, hasty=True),
    **{
        f"unsynced-{what.replace(' ', '-')}": partial(power.run, unsynced=what)
        for what in power.UNSYNCED
    },
}
"""Broken exchanges; each must fail, or the torture proves nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named, everything when nothing is."""
    parser = argparse.ArgumentParser(description="Torture the ledger.")
    parser.add_argument("names", nargs="*", metavar="name")
    parser.add_argument("-n", "--rounds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", action="store_true", help="run broken exchanges instead")
    options = parser.parse_args(arguments)
    tortures = MUTANTS if options.mutants else TORTURES
    unknown = set(options.names) - tortures.keys()
    if unknown:
        parser.error(f"no such torture: {', '.join(unknown)}; there are {', '.join(tortures)}")
    failed = 0
    for name in options.names or tortures:
        started = time.monotonic()
        try:
            counts = tortures[name](options.rounds, options.seed)
        except SkippedError as error:
            sys.stdout.write(f"{name}: SKIPPED: {error}\n")
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, the round is known
            notes = "; ".join(getattr(error, "__notes__", []))
            sys.stdout.write(f"{name}: FAILED: {type(error).__name__}: {error} ({notes})\n")
            failed += 1
            continue
        sys.stdout.write(
            f"{name}: survived, at most {options.rounds:,} rounds, seed {options.seed}\n"
        )
        for what, count in sorted(counts.items()):
            sys.stdout.write(f"{count:10,}  {what}\n")
        sys.stdout.write(f"({time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
