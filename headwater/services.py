"""The services Headwater stands on: those configured, and embedded ones for those that are not."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psutil

from core.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable
from core.progress import Reporter
from core.settings import Settings
from headwater.broker import EmbeddedBroker
from headwater.postgres import EmbeddedPostgres
from headwater.process import make_home

_HOW = "Start one with `headwater up` (or `headwater demo`) and leave it running, or set {variable} to one that runs."


class _Running(msgspec.Struct, frozen=True):
    """An embedded service: its address and the process behind it, told from a later one of the same pid by its start."""

    address: str
    pid: int
    started: float

    def alive(self) -> bool:
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) < 1.0)
        except psutil.NoSuchProcess:
            return False


class _Services(msgspec.Struct, frozen=True):
    """The content of <home>/services.json."""

    postgres: _Running | None = None
    broker: _Running | None = None


@contextmanager
def running_services(settings: Settings, reporter: Reporter) -> Iterator[Settings]:
    """Settings with database_url, kafka_bootstrap and secret filled in, and what they name running.

    Starts what is not configured, tells other commands of it through <home>/services.json, and stops it in reverse
    order on leaving. Raises Conflict when another process already runs this home's services, ConfigurationError,
    DatabaseUnavailable or BrokerUnavailable when one cannot be started.
    """
    settings = _with_secret(settings)
    missing = [settings.database_url, settings.kafka_bootstrap].count(None)
    if not missing:
        yield settings
        return
    with ExitStack() as stack:
        file = settings.home / "services.json"
        running = _Services()
        with reporter.task("starting the embedded services", missing) as task:
            if settings.database_url is None:
                postgres = EmbeddedPostgres(settings.home)
                address = _started(stack, postgres.start, postgres.stop)
                settings = msgspec.structs.replace(settings, database_url=address)
                running = msgspec.structs.replace(running, postgres=_running(address, postgres.pid))
                task.advance(note="Postgres")
            if settings.kafka_bootstrap is None:
                broker = EmbeddedBroker(settings.home)
                address = _started(stack, broker.start, broker.stop)
                settings = msgspec.structs.replace(settings, kafka_bootstrap=address)
                running = msgspec.structs.replace(running, broker=_running(address, broker.pid))
                task.advance(note="broker, in memory only")
        _write_private(file, msgspec.json.encode(running))
        stack.callback(file.unlink, missing_ok=True)
        yield settings


def attach(settings: Settings) -> Settings:
    """Settings with what is not configured filled in from the services that another command of this home runs.

    Raises DatabaseUnavailable or BrokerUnavailable, saying how to start them, when none does.
    """
    settings = _with_secret(settings)
    running = _read(settings.home / "services.json")
    if settings.database_url is None:
        if running.postgres is None or not running.postgres.alive():
            how = _HOW.format(variable="HEADWATER_DATABASE_URL")
            raise DatabaseUnavailable(
                f"no Postgres is configured, and none runs under {settings.home.absolute()}. {how}"
            )
        settings = msgspec.structs.replace(settings, database_url=running.postgres.address)
    if settings.kafka_bootstrap is None:
        if running.broker is None or not running.broker.alive():
            how = _HOW.format(variable="HEADWATER_KAFKA_BOOTSTRAP")
            raise BrokerUnavailable(
                f"no Kafka is configured, and no broker runs under {settings.home.absolute()}. {how}"
            )
        settings = msgspec.structs.replace(settings, kafka_bootstrap=running.broker.address)
    return settings


def _started(stack: ExitStack, start: Callable[[], str], stop: Callable[[], None]) -> str:
    address = start()
    stack.callback(stop)
    return address


def _running(address: str, pid: int | None) -> _Running:
    assert pid is not None
    return _Running(address, pid, psutil.Process(pid).create_time())


def _with_secret(settings: Settings) -> Settings:
    """Settings with a secret: as configured, else the home's, made at the first call and kept (mode 0600)."""
    if settings.secret is not None:
        return settings
    path = make_home(settings.home) / "secret"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(32).encode(), replace=False)
    return msgspec.structs.replace(settings, secret=_readable(path).decode().strip())


def _read(path: Path) -> _Services:
    if not path.exists():
        return _Services()
    try:
        return msgspec.json.decode(_readable(path), type=_Services)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is damaged ({error}). Remove it, and start the services again.") from error


def _readable(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}): it belongs to the user who started the services. Run this as that "
            "user, or set HEADWATER_HOME to a directory of your own."
        ) from error


def _write_private(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file that only we may read, whole or not at all; without `replace`, the first of two writers wins."""
    fresh = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        if replace:
            fresh.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written ({error.strerror}). Make room, or set HEADWATER_HOME to another directory."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
