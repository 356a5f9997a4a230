"""Run as a script: drop privileges, tie the process to its parent, become PostgreSQL.

``python -I -S launch_postgres.py <uid> <gid> <parent pid> <program> <argument>...``

This is a program of its own and not a ``preexec_fn``, because Python code between fork and exec
can hang in a process that already runs threads, as every gRPC process does. It imports the
standard library only, so that it starts within milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)
# None of the parent's variables, so that no PG* variable reaches the server. The launcher itself
# keeps them: some Python installations need LD_LIBRARY_PATH.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def main() -> None:
    """Become the program; SIGINT, PostgreSQL's fast shutdown, follows the parent's death."""
    uid, gid, parent_pid = (int(word) for word in sys.argv[1:4])
    command = sys.argv[4:]
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid: a change of credentials clears the setting.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the signal was set
        sys.exit("the parent is gone")
    os.umask(0o077)
    os.execve(command[0], command, ENVIRONMENT)  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    main()
