"""A server process that lives exactly as long as we do: stopped in order, and gone even when we are killed.

A small POSIX shell guard starts the server and holds the reading end of a pipe whose only writing end is ours.
When we stop, or are killed in whatever way, the pipe closes and the guard stops the server. (PR_SET_PDEATHSIG would
fire when the *thread* that started the server ends, is cleared by a change of user, and exists on Linux only.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError, Conflict

STOP_TIMEOUT_S = 30.0
# Nothing of ours is passed on: not our secrets, not a PGPORT or an OTEL_ variable meant for something else.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

# $0 is the signal that stops the server, "$@" the server. The pipe is the guard's standard input, kept as
# descriptor 3 because a shell gives its background commands /dev/null instead.
_GUARD = """
exec 3<&0
"$@" </dev/null >&2 3<&- &
server=$!
echo $server
exec >&2
(
  read -r _ <&3
  kill -s "$0" $server
  left=30
  while [ $left -gt 0 ] && kill -0 $server 2>/dev/null; do sleep 1; left=$((left - 1)); done
  kill -s KILL $server 2>/dev/null
) &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
exit $status
"""


@dataclass(frozen=True)
class Account:
    """The operating system user a server runs as. None ids mean ourselves."""

    uid: int | None = None
    gid: int | None = None

    @property
    def name(self) -> str:
        """The user's name, or its number where it has none."""
        uid = os.geteuid() if self.uid is None else self.uid
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def run(self, command: Sequence[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a short command to its end as this user; its output, both streams, is in `stdout`."""
        with _refusal_explained(self):
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", check=False, cwd="/", env={**ENVIRONMENT, **environ},
                user=self.uid, group=self.gid, extra_groups=None if self.uid is None else [],
            )  # fmt: skip


OURSELVES = Account()


class GuardedProcess:
    """One running server. `stop_signal` (INT, TERM, ...) asks it to end in order.

    Its output goes to `log`; what the run before wrote is kept beside it, as `<log>.1`.
    Raises ConfigurationError when the server cannot be started as `account`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        stop_signal: str,
        account: Account = OURSELVES,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if log.exists():
            log.replace(f"{log}.1")
        private = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it may quote what was written
        with open(private, "wb") as output, _refusal_explained(account):
            # A session of its own: Ctrl-C in the terminal reaches us, and we stop the servers in order.
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, stop_signal, *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, cwd=cwd or "/",
                env={**ENVIRONMENT, **(environ or {})}, start_new_session=True,
                user=account.uid, group=account.gid, extra_groups=None if account.uid is None else [],
            )  # fmt: skip
        assert self._guard.stdout is not None
        with self._guard.stdout as stdout:
            self.pid = int(stdout.readline())

    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._guard.poll() is None

    def stop(self) -> None:
        """Ask the server to end, wait for it, and kill it after STOP_TIMEOUT_S. Safe to call twice."""
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()
        try:
            self._guard.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once, as `kill -9` does, and wait until it is gone. Safe to call twice."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
        self._guard.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()


class HomeLock:
    """At most one process at a time runs a service of one home; the kernel lets go when that process dies."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._file: int | None = None

    def take(self) -> None:
        """Take it, or raise Conflict naming the process that has it, ConfigurationError where it cannot be kept."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 32).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise Conflict(
                f"{self._what} of {self._path.parent} is already run by process {owner}. Use it as it is "
                "(headwater status), stop that process, or set HEADWATER_HOME to another directory."
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"{self._path} cannot be opened ({error.strerror}): it belongs to the user who ran this before, or the disk "
                "is full. Run this as that user, or set HEADWATER_HOME to another directory."
            ) from error
        with contextlib.suppress(OSError):  # the number is for people; a full disk does not make the lock weaker
            os.truncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Let go. Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def free_port() -> int:
    """A TCP port that nothing on the loopback interface uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(deadline_s: float, every_s: float = 0.02) -> Iterator[None]:
    """Yield now and every `every_s` until `deadline_s` have passed; the caller breaks out when content."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        yield
        time.sleep(every_s)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented, for an error message."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in last)


def make_home(home: Path) -> Path:
    """Make the home directory where it is missing and return it absolute. Raises ConfigurationError."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the directory {home} ({error.strerror}). Set HEADWATER_HOME to a directory you may write to."
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"the directory {home} may not be written to by {OURSELVES.name}. Give it back with `chown`, or set "
            "HEADWATER_HOME to another directory."
        )
    return home.resolve()


@contextlib.contextmanager
def _refusal_explained(account: Account) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise ConfigurationError(
            f"cannot start a process as user {account.name} ({error.strerror}). Run Headwater as an ordinary user, or set "
            "HEADWATER_DATABASE_URL and HEADWATER_KAFKA_BOOTSTRAP to services that run elsewhere."
        ) from error
