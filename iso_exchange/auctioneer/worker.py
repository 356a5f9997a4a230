"""How the worker process lives: as long as the process that started it, and no longer."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from iso_exchange.storage.launch_postgres import PR_SET_PDEATHSIG


def end_with_parent(parent_pid: int) -> None:
    """Let the kernel end this process when its parent dies, however that happens.

    A worker holds both ends of its own job queue, so it would never learn from the queue
    that nobody is left to send it anything.

    Ends at once where the parent died before the setting was made.

    Raises:
        OSError: the kernel refuses.
    """
    # HiGHS prints some lines with a bare printf, whatever it is told: keep them off the
    # standard output, which may be carrying somebody's JSON.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        os._exit(1)  # nobody is left to read a traceback
