"""The ingest as it is run: `headwater events` and `headwater ingest`, its metrics, its stop; the schedule's first act."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from typer.testing import CliRunner, Result

from core.settings import Settings
from core.store import Store, open_store
from headwater.cli import app
from headwater.postgres import EmbeddedPostgres
from migrations.run import upgrade

Start = Callable[[str, Settings], "subprocess.Popen[str]"]


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        yield one


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings with small batches, a port for the metrics, and a session that the embedded broker joins soon."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    return msgspec.structs.replace(settings, metrics_port=port, session_timeout_ms=6000, ingest_batch_events=200)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a role as a process of its own; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def one(role: str, settings: Settings) -> subprocess.Popen[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
        command = [sys.executable, "-m", "headwater", role]
        root = Path(__file__).parents[2]
        started.append(subprocess.Popen(command, env=kept | settings.environ(), text=True, cwd=root))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.wait()


def headwater(*arguments: str, settings: Settings) -> Result:
    """The command, in this process: half a dozen interpreters would take half a minute to start."""
    answer = CliRunner().invoke(app, arguments, env=settings.environ())
    assert answer.exit_code == 0, answer.output
    return answer


def wait_until(happened: Callable[[], bool], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def reached(store: Store) -> int:
    return sum(offset for *_, offset in store.dead_letters.positions())


def write_events(file: Path, count: int, **changes: object) -> None:
    event = {"specversion": "1.0", "source": "/t", "type": "interaction.view", "time": "2026-01-01T00:00:00Z"}
    data = [{"user": f"u{number % 9}", "item": f"i{number % 7}"} for number in range(count)]
    lines = [json.dumps({**event, "id": f"e{number}", "data": one, **changes}) for number, one in enumerate(data)]
    file.write_text("\n".join(lines))


def metrics(settings: Settings) -> dict[str, float]:
    """What the role shows: samples by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.metrics_port}/metrics") as answer:
        found = re.findall(r"^(headwater_\S+) (\S+)$", answer.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_a_file_is_published_ingested_measured_mended_and_read_again(
    quick: Settings, store: Store, start: Start, tmp_path: Path
) -> None:
    member = start("ingest", quick)
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    write_events(good, 300)
    write_events(bad, 1, type="order.placed")
    published = headwater("events", "publish", str(good), "--rate", "300", settings=quick)
    assert "300 events acknowledged" in published.stdout
    assert "publishing" in published.stderr
    headwater("events", "publish", str(bad), "--no-check", settings=quick)
    wait_until(lambda: reached(store) == 301)

    listed = json.loads(headwater("events", "dead", "list", "--json", settings=quick).stdout)
    assert listed["counts"] == {"unknown_type": 1}
    number = listed["dead_letters"][0]["number"]
    shown = json.loads(headwater("events", "dead", "show", str(number), settings=quick).stdout)
    assert json.loads(shown["payload"])["type"] == "order.placed"
    assert shown["payload_bytes"] == len(shown["payload"])
    assert "1 dead letters published again" in headwater("events", "dead", "replay", settings=quick).stdout
    wait_until(lambda: reached(store) == 302)
    assert store.dead_letters.counts() == {"unknown_type": 2}, "it is as bad as before, at its new place"

    again = headwater("events", "replay", "--from", "2026-01-01T00:00:00Z", settings=quick)
    assert "go on from there" in again.stdout
    wait_until(lambda: metrics(quick)["headwater_events_duplicate_total"] == 300)
    wait_until(lambda: reached(store) == 302)
    found = metrics(quick)
    assert store.catalogue.totals()["interaction.view"] == 300
    assert found['headwater_events_inserted_total{family="interaction"}'] == 300
    assert found["headwater_events_late_total"] == 600
    assert found['headwater_dead_letters_total{reason="unknown_type"}'] >= 2
    assert found["headwater_ingest_batch_events_sum"] == 604
    for name in ("headwater_ingest_batch_seconds_sum", "headwater_event_to_servable_seconds_sum"):
        assert found[name] > 0
    for name in ("headwater_consumer_lag_messages", "headwater_consumer_lag_seconds"):
        assert [value for sample, value in found.items() if sample.startswith(name)] == [0.0] * quick.topic_partitions
    member.send_signal(signal.SIGTERM)
    assert member.wait(10) == 0


def test_a_busy_ingest_ends_its_batch_and_stops_within_ten_seconds(
    quick: Settings, store: Store, start: Start, tmp_path: Path
) -> None:
    small = msgspec.structs.replace(quick, ingest_batch_events=20)
    write_events(tmp_path / "many.jsonl", 4000)
    headwater("events", "publish", str(tmp_path / "many.jsonl"), settings=small)
    member = start("ingest", small)
    wait_until(lambda: reached(store) > 100)
    behind = metrics(small)
    member.send_signal(signal.SIGTERM)
    assert member.wait(10) == 0
    left = reached(store)
    assert left < 4000, "it was stopped in the middle of it"
    for name in ("headwater_consumer_lag_messages", "headwater_consumer_lag_seconds"):
        assert max(value for sample, value in behind.items() if sample.startswith(name)) > 0
    assert store.catalogue.totals()["interaction.view"] == left


@pytest.mark.slow_fault
def test_an_ingest_whose_postgres_hangs_gives_up_and_stops_within_ten_seconds(
    quick: Settings, used_home: Path, start: Start, tmp_path: Path
) -> None:
    server = EmbeddedPostgres(used_home)
    try:
        ours = msgspec.structs.replace(quick, database_url=server.start(), ingest_batch_events=20)
        upgrade(str(ours.database_url), ours.namespace)
        write_events(tmp_path / "many.jsonl", 4000)
        headwater("events", "publish", str(tmp_path / "many.jsonl"), settings=ours)
        with open_store(ours) as store:
            member = start("ingest", ours)
            wait_until(lambda: reached(store) > 100)
            assert server.pid is not None
            frozen = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
            for process in frozen:
                process.suspend()
            time.sleep(1)
            member.send_signal(signal.SIGTERM)
            assert member.wait(10) == 75
            for process in frozen:
                process.resume()
            start("ingest", msgspec.structs.replace(ours, metrics_port=0))
            wait_until(lambda: reached(store) == 4000)
            assert store.catalogue.totals()["interaction.view"] == 4000
    finally:
        server.stop()


def test_a_new_system_has_its_months_as_soon_as_the_schedule_starts(
    settings: Settings, store: Store, start: Start
) -> None:
    assert store.partitions.partitions() == ["events_default"]
    start("schedule", settings)
    wait_until(lambda: len(store.partitions.partitions()) == 5)
