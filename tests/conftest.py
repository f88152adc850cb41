"""What every test may ask for: a Postgres, a Kafka protocol, and a database of its own.

Where they come from, first match: HEADWATER_TEST_DATABASE_URL / HEADWATER_TEST_KAFKA; containers, where a Docker
engine answers; the embedded ones. The header of the run says which.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from uuid import uuid4

import hypothesis
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from core.settings import Settings
from headwater.broker import EmbeddedBroker
from headwater.postgres import EmbeddedPostgres

hypothesis.settings.register_profile("headwater", deadline=None)  # how long something takes is measured in bench/
hypothesis.settings.load_profile("headwater")

TEMPLATE_NAMESPACE = "headwater"
# A test's database is thrown away: it need not survive a power cut.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@cache
def docker_answers() -> bool:
    """Whether a Docker engine answers within two seconds; nothing is asked where there is no socket."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return False
    import docker

    try:
        client = docker.from_env(timeout=2)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


def backend(variable: str) -> str:
    """Which service stands behind `variable`: given, container or embedded."""
    if os.environ.get(variable):
        return "given"
    return "container" if docker_answers() else "embedded"


def pytest_report_header() -> str:
    return (
        f"services: Postgres {backend('HEADWATER_TEST_DATABASE_URL')} (HEADWATER_TEST_DATABASE_URL), "
        f"Kafka {backend('HEADWATER_TEST_KAFKA')} (HEADWATER_TEST_KAFKA)"
    )


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """A directory that every OS user may enter, unlike pytest's: as root, Postgres runs as another user."""
    directory = Path(tempfile.mkdtemp(prefix="headwater-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def home(open_directory: Path) -> Iterator[Path]:
    """A fresh HEADWATER_HOME, not made yet, where the embedded services can run as any user."""
    directory = open_directory / f"home-{uuid4().hex[:8]}"
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def initialised_home(open_directory: Path) -> Path:
    """A home whose Postgres has its data directory, and does not run. Do not use it itself: see `used_home`."""
    postgres = EmbeddedPostgres(open_directory / "initialised")
    postgres.start()
    postgres.stop()
    return open_directory / "initialised"


@pytest.fixture
def used_home(home: Path, initialised_home: Path) -> Path:
    """A HEADWATER_HOME of this test's own that was used before: its Postgres starts without initdb's second of CPU."""
    subprocess.run(["cp", "-a", initialised_home, home], check=True)  # keeps the owner, which copytree does not
    return home


@pytest.fixture(scope="session")
def postgres_url(open_directory: Path) -> Iterator[str]:
    """URL of a database on a Postgres where the role may create databases; the same one for the whole run."""
    source = backend("HEADWATER_TEST_DATABASE_URL")
    if source == "given":
        yield os.environ["HEADWATER_TEST_DATABASE_URL"]
    elif source == "container":
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()
    else:
        postgres = EmbeddedPostgres(open_directory / "services", THROWAWAY)
        yield postgres.start()
        postgres.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(open_directory: Path) -> Iterator[str]:
    """host:port of a Kafka; the same one for the whole run, so name your topics after the `namespace`."""
    source = backend("HEADWATER_TEST_KAFKA")
    if source == "given":
        yield os.environ["HEADWATER_TEST_KAFKA"]
    elif source == "container":
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer().with_kraft() as container:
            yield container.get_bootstrap_server()
    else:
        broker = EmbeddedBroker(open_directory / "services")
        yield broker.start()
        broker.stop()


def execute(url: str, statement: str) -> None:
    """Run one statement outside a transaction (CREATE DATABASE refuses to be in one)."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(plain)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def with_database(url: str, name: str) -> str:
    """`url` with another database's name."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def database_template(postgres_url: str) -> Iterator[str]:
    """Name of a database migrated to the current schema for the namespace `headwater`, to be cloned."""
    from migrations.run import upgrade

    name = f"template_{uuid4().hex[:10]}"
    execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    upgrade(with_database(postgres_url, name), TEMPLATE_NAMESPACE)
    yield name
    execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database of this test's own with nothing in it."""
    name = f"test_{uuid4().hex[:10]}"
    execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    yield with_database(postgres_url, name)
    execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses: its schema, its topic."""
    return f"t_{uuid4().hex[:8]}"


@pytest.fixture
def topic(namespace: str) -> str:
    """The event topic of this test's namespace; not created yet."""
    return f"{namespace}.events"


@pytest.fixture
def database_url(postgres_url: str, database_template: str, namespace: str) -> Iterator[str]:
    """A database of this test's own, at the current schema, for `namespace`; dropped afterwards.

    Cloned rather than migrated: milliseconds instead of seconds. Everything in the schema refers to its neighbours by
    unqualified names, so renaming the schema gives the namespace its own.
    """
    name = f"test_{uuid4().hex[:10]}"
    execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{database_template}"')
    url = with_database(postgres_url, name)
    execute(url, f"ALTER SCHEMA {TEMPLATE_NAMESPACE} RENAME TO {namespace}")
    yield url
    execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def settings(tmp_path: Path, namespace: str, database_url: str, kafka_bootstrap: str) -> Settings:
    """Complete settings of a tenant of this test's own, on real services."""
    return Settings(
        home=tmp_path, namespace=namespace, database_url=database_url, kafka_bootstrap=kafka_bootstrap,
        artifacts=str(tmp_path / "artifacts"), secret="test-secret", port=0,
    )  # fmt: skip
