"""A long log is read beside the walk, in another process; a short one in this.

The other process sends what ``reading`` finds, in frames, and is held up by the pipe when the walk
is behind. When it cannot be had, or ends before the log does, the rest is read here: the frames are
the same.
"""

from __future__ import annotations

import fcntl
import itertools
import marshal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from iso_exchange.audit.files import BundleFiles
from iso_exchange.audit.reading import Frame, read_frames
from iso_exchange.signature_checks import LENGTH

BESIDE_COUNT_MIN: Final = 20_000
"""Leaves; for fewer the start of a process takes longer than it saves."""
PIPE_BYTES: Final = 1 << 20
"""A few frames wait in the pipe, so that neither side waits for the other after each one."""


def frames(directory: Path, *, size: int, root: bytes, openings: bool) -> Iterator[Frame]:
    """As ``reading.read_frames``.

    Args:
        directory: Of the bundle.
        size: Of the checkpoint, already verified by the caller.
        root: Of the checkpoint.
        openings: Whether the bundle has any.
    """
    received = 0
    if size >= BESIDE_COUNT_MIN:
        with suppress(OSError, EOFError):
            for frame in _beside(directory, size, root, openings=openings):
                received += 1
                yield frame
            return
    here = read_frames(BundleFiles(directory), size=size, root=root, openings=openings)
    yield from itertools.islice(here, received, None)


def _beside(directory: Path, size: int, root: bytes, *, openings: bool) -> Iterator[Frame]:
    """Frames of another process.

    Raises:
        OSError: it cannot be started.
        EOFError: it ended before its last frame.
    """
    with subprocess.Popen(
        (
            *(sys.executable, "-m", "iso_exchange.audit.reader"),
            *(str(directory), str(size), root.hex(), str(int(openings))),
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            while head := process.stdout.read(LENGTH.size):
                (length,) = LENGTH.unpack(head.ljust(LENGTH.size, b"\0"))
                body = process.stdout.read(length)
                if not length or len(body) != length:
                    raise EOFError
                frame: Frame = marshal.loads(body)  # noqa: S302 - of our own process, by a pipe
                yield frame
                if not frame[1]:
                    return
            raise EOFError
        finally:
            process.kill()  # it has sent all it has to send, or nobody listens any more


def main() -> None:
    """Send frames until the log or the pipe ends."""
    directory, size, root, openings = sys.argv[1:]
    sink = sys.stdout.buffer
    with suppress(OSError):  # not every system lets a pipe grow
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        for frame in read_frames(
            BundleFiles(Path(directory)),
            size=int(size),
            root=bytes.fromhex(root),
            openings=openings == "1",
        ):
            body = marshal.dumps(frame)
            sink.write(LENGTH.pack(len(body)) + body)
            sink.flush()
    except BrokenPipeError:
        sys.stderr.close()


if __name__ == "__main__":
    main()
