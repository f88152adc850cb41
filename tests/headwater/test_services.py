"""Services for settings: started where not configured, found by other commands, stopped in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import psycopg2
import pytest

from core.errors import BrokerUnavailable, Conflict, DatabaseUnavailable
from core.progress import Silent
from core.settings import Settings
from headwater.broker import EmbeddedBroker
from headwater.services import attach, running_services

REPOSITORY = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def pids(home: Path) -> list[int]:
    running = json.loads((home / "services.json").read_text())
    return [running["postgres"]["pid"], running["broker"]["pid"]]


def test_what_is_not_configured_runs_within_the_block_and_not_after_it(used_home: Path) -> None:
    with running_services(Settings(home=used_home), Silent()) as settings:
        assert settings.database_url is not None
        psycopg2.connect(settings.database_url).close()
        assert settings.kafka_bootstrap is not None
        assert settings.kafka_bootstrap.startswith("127.0.0.1:")
        assert mode(used_home / "services.json") == mode(used_home / "secret") == 0o600
        processes = [psutil.Process(pid) for pid in pids(used_home)]
    assert not any(process.is_running() for process in processes)
    assert not (used_home / "services.json").exists()


def test_another_command_attaches_to_what_runs(used_home: Path) -> None:
    code = (
        "import sys, msgspec; from pathlib import Path; from core.settings import Settings; "
        "from headwater.services import attach; "
        "s = attach(Settings(home=Path(sys.argv[1]))); "
        "print(msgspec.json.encode([s.database_url, s.kafka_bootstrap, s.secret]).decode())"
    )
    with running_services(Settings(home=used_home), Silent()) as settings:
        answer = subprocess.run(
            [sys.executable, "-c", code, str(used_home)],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    assert json.loads(answer.stdout) == [settings.database_url, settings.kafka_bootstrap, settings.secret]


def test_attaching_where_nothing_runs_says_how_to_start_it(home: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"`headwater up`.*HEADWATER_DATABASE_URL"):
        attach(Settings(home=home))
    with pytest.raises(BrokerUnavailable, match=r"`headwater up`.*HEADWATER_KAFKA_BOOTSTRAP"):
        attach(Settings(home=home, database_url="postgresql://elsewhere/db"))


def test_a_services_file_left_by_a_killed_process_is_not_believed(used_home: Path) -> None:
    with running_services(Settings(home=used_home), Silent()):
        left = (used_home / "services.json").read_text()
    # One pid is free now; the other belongs to somebody else, who started at another time.
    running = json.loads(left)
    running["broker"]["pid"] = os.getpid()
    (used_home / "services.json").write_text(json.dumps(running))
    with pytest.raises(DatabaseUnavailable):
        attach(Settings(home=used_home))
    with pytest.raises(BrokerUnavailable):
        attach(Settings(home=used_home, database_url="postgresql://elsewhere/db"))


def test_what_is_configured_is_used_as_it_is_and_nothing_starts(home: Path) -> None:
    configured = Settings(
        home=home, database_url="postgresql://elsewhere/db", kafka_bootstrap="elsewhere:9092", secret="s"
    )
    with running_services(configured, Silent()) as settings:
        assert settings == configured
        assert attach(configured) == configured
    assert not home.exists()


def test_only_the_missing_service_starts(home: Path) -> None:
    with running_services(Settings(home=home, database_url="postgresql://elsewhere/db"), Silent()) as settings:
        assert settings.database_url == "postgresql://elsewhere/db"
        assert settings.kafka_bootstrap is not None
        assert attach(Settings(home=home, database_url="postgresql://elsewhere/db")) == settings
    assert not (home / "postgres").exists()


def test_the_secret_is_made_once_and_kept(home: Path) -> None:
    configured = Settings(home=home, database_url="postgresql://elsewhere/db", kafka_bootstrap="elsewhere:9092")
    first = attach(configured).secret
    assert first is not None
    assert len(first) >= 32
    with running_services(configured, Silent()) as settings:
        assert settings.secret == first
    assert attach(msgspec.structs.replace(configured, secret="mine")).secret == "mine"


def test_when_the_broker_cannot_start_postgres_does_not_stay_behind(used_home: Path) -> None:
    other = EmbeddedBroker(used_home)
    other.start()
    try:
        with pytest.raises(Conflict, match="embedded broker"), running_services(Settings(home=used_home), Silent()):
            pytest.fail("the block ran without a broker")
    finally:
        other.stop()
    assert not (used_home / "postgres" / "data" / "postmaster.pid").exists()


def test_a_second_command_that_wants_to_run_the_same_home_is_told_who_does(used_home: Path) -> None:
    with running_services(Settings(home=used_home), Silent()) as settings:
        with (
            pytest.raises(Conflict, match=f"process {os.getpid()}"),
            running_services(Settings(home=used_home), Silent()),
        ):
            pytest.fail("two supervisors of one used_home")
        assert attach(Settings(home=used_home)) == settings  # and what runs goes on running
