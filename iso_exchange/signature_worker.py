"""The worker process of gateway and audit: frames of signatures in, verdicts out."""

from __future__ import annotations

import signal
import sys

from iso_exchange.signature_checks import LENGTH, checks_of, holds


def main() -> None:
    """Answer until the pipe closes, which also happens when the exchange dies."""
    # A terminal's interrupt reaches the whole group; the exchange drains and then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        found = bytes(holds(check) for check in checks_of(source.read(length)))
        sink.write(LENGTH.pack(len(found)) + found)
        sink.flush()


if __name__ == "__main__":
    main()
