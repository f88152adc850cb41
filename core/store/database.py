"""The connection to Postgres: one engine per process, the namespace's schema as search_path, errors as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import psycopg2  # type: ignore[import-untyped]
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from core.errors import ConfigurationError, DatabaseUnavailable

APPLICATION = "headwater"
QUICK = 4  # connections kept for the reads of requests
# How long a statement of this context may take, where that is less than of others: whoever asked waits no longer.
STATEMENT_S: ContextVar[float | None] = ContextVar("statement_s", default=None)

T = TypeVar("T")


def database_url(text: str) -> URL:
    """Parse a database address; the plain `postgresql://` form becomes psycopg2's. Raises ConfigurationError."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError(
            "HEADWATER_DATABASE_URL: expected postgresql://user:password@host:port/database"
        ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f"HEADWATER_DATABASE_URL: {url.get_backend_name()!r} is not supported, only postgresql://"
        )
    return url.set(drivername="postgresql+psycopg2")


class Database:
    """An engine on one namespace. Connections and transactions raise DatabaseUnavailable when Postgres is away."""

    def __init__(
        self, url: str, namespace: str, *, pool: int = 8, statement_timeout_s: float = 60, lock_timeout_s: float = 5
    ) -> None:
        self.url = database_url(url)
        self.namespace = namespace
        options = {
            "search_path": namespace, "TimeZone": "UTC", "statement_timeout": int(statement_timeout_s * 1000),
            "lock_timeout": int(lock_timeout_s * 1000),  # shorter than a stop may take
            # A transaction whose client is gone must not keep its locks for hours.
            "idle_in_transaction_session_timeout": 60_000, "tcp_keepalives_idle": 15, "tcp_keepalives_interval": 5,
            "tcp_keepalives_count": 3,
        }  # fmt: skip
        self._connect: dict[str, Any] = {
            "options": " ".join(f"-c{name}={value}" for name, value in options.items()),
            "connect_timeout": 3, "application_name": APPLICATION,
            "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000,
        }  # fmt: skip
        # Parameters stay out of an error's message: they may name a user.
        self.engine = sa.create_engine(
            self.url, pool_size=pool, max_overflow=pool, pool_timeout=5, pool_pre_ping=True, hide_parameters=True,
            connect_args=self._connect,
        )  # fmt: skip
        # Asking whether a connection lives and setting how it commits takes four fifths of a short read.
        self._quick = sa.create_engine(
            self.url, pool_size=QUICK, max_overflow=pool, pool_timeout=5, isolation_level="AUTOCOMMIT",
            hide_parameters=True, connect_args=self._connect,
        )  # fmt: skip

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction: committed on leaving, rolled back on an error."""
        with self.translated(), self.engine.begin() as connection:
            if (limit_s := STATEMENT_S.get()) is not None:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(limit_s * 1000)}")
            yield connection

    @contextmanager
    def read(self, patience_s: float | None = None) -> Iterator[sa.Connection]:
        """Statements that each see the latest committed state; nothing to commit. `patience_s`: how long each may take, where
        whoever waits has set no limit of their own."""
        with (
            self.translated(),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            if (limit_s := STATEMENT_S.get() or patience_s) is None:
                yield connection
                return
            connection.exec_driver_sql(f"SET statement_timeout = {int(limit_s * 1000)}")
            try:
                yield connection
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql("RESET statement_timeout")

    def quickly(self, read: Callable[[sa.Connection], T]) -> T:
        """What `read` finds, as within `read()`, for the reads of every request: on a connection believed to live. Where it
        does not, `read` is called again, on a new one.
        """
        with self.translated():
            try:
                return self._on_quick(read)
            except (DBAPIError, psycopg2.Error) as error:
                if not _gone(error.orig if isinstance(error, DBAPIError) else error, ""):
                    raise
                self._quick.dispose()  # the others are as old
            return self._on_quick(read)

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        self._quick.dispose()

    def _on_quick(self, read: Callable[[sa.Connection], T]) -> T:
        with self._quick.connect() as connection:
            try:
                return read(connection)
            except (DBAPIError, psycopg2.Error):
                if not connection.invalidated:
                    connection.invalidate()
                raise

    def unpooled(self, **options: Any) -> Any:
        """A connection of psycopg2 outside the pools, the caller's to close."""
        args, given = self._quick.dialect.create_connect_args(self.url)
        return psycopg2.connect(*args, **{**given, **self._connect, **options})

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of Postgres as ours."""
        try:
            yield
        except (DBAPIError, psycopg2.Error) as error:  # the latter from COPY, which SQLAlchemy has no form for
            cause = error.orig if isinstance(error, DBAPIError) else error
            state = sql_state(cause)
            if state in ("42P01", "3F000", "42703"):
                raise ConfigurationError(
                    f"the tables of namespace {self.namespace!r} are missing or old: run `headwater migrate`"
                ) from error
            if not _gone(cause, state):
                raise
            where = f"{self.url.host}:{self.url.port or 5432}/{self.url.database}"
            why = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            raise DatabaseUnavailable(f"Postgres at {where}: {why}") from error
        except sa.exc.TimeoutError as error:
            raise DatabaseUnavailable(
                "every Postgres connection is busy; raise the pool or look for slow queries"
            ) from error


def sql_state(error: BaseException | None) -> str:
    """The five-character SQLSTATE that Postgres gave, or "" where the answer itself is missing."""
    return getattr(error, "pgcode", None) or ""


def _gone(error: BaseException | None, state: str) -> bool:
    """Whether the server is away, busy or read-only for now, rather than unwilling to do what was asked."""
    if state:
        # connection, rollback (deadlock), resources, lock, shutdown, system; a replica after a failover
        return state[:2] in ("08", "40", "53", "55", "57", "58") or state == "25006"
    return (
        isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or type(error) is psycopg2.DatabaseError
    )
