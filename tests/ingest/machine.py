"""Parts of a machine that can be broken: a small disk, a network link, a clock, a broker behind a proxy.

Each raises Unavailable, with the reason, where this system does not allow it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from core.bus import reach
from core.errors import BrokerUnavailable
from headwater.broker import _binary
from headwater.process import GuardedProcess, free_port, make_home
from tests.ingest.proxy import Proxy

# Overrides what libc says of the time of day, by so many seconds. Timers, which use the monotonic clock, stay as they are;
# so does librdkafka, whose waits end by the kernel's time of day, which nothing here can shift.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
static long shift(void *caller) {
    Dl_info from;
    const char *by = getenv("CLOCK_SHIFT_S");
    return by && dladdr(caller, &from) && !strstr(from.dli_fname, "librdkafka") ? atol(by) : 0;
}
static int shifted(clockid_t id, struct timespec *at, void *caller) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += shift(caller);
    return failed;
}
int clock_gettime(clockid_t id, struct timespec *at) { return shifted(id, at, __builtin_return_address(0)); }
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    shifted(CLOCK_REALTIME, &now, __builtin_return_address(0));
    at->tv_sec = now.tv_sec, at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    shifted(CLOCK_REALTIME, &now, __builtin_return_address(0));
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Unavailable(Exception):
    """This system does not allow it; the message says why."""


def run(*command: str | Path) -> None:
    """Run a system command. Raises Unavailable with what it said."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, command))}: {done.stdout.strip() or done.returncode}")


class SmallDisk:
    """A file system in memory of `megabytes`, mounted at `place`, that can be filled to the last byte."""

    def __init__(self, place: Path, megabytes: int) -> None:
        self.place, self._ballast = place, place / "ballast"
        place.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", place)

    def fill(self) -> int:
        """Leave nothing free; returns how many bytes that took."""
        with self._ballast.open("ab", buffering=0) as file:
            size = 1 << 20
            while size >= 4096:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    size //= 2
        return self._ballast.stat().st_size

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        run("umount", "--lazy", self.place)


class Link:
    """A network namespace at the other end of a cable: what runs in it reaches us at `address`, until it is unplugged.

    Unplugged, packets vanish in both directions and nobody is told.
    """

    def __init__(self) -> None:
        name = f"hw{uuid4().hex[:6]}"
        self._name, self._ours, self._theirs = name, f"{name}a", f"{name}b"
        subnet = f"10.213.{uuid4().int % 250}"
        self.address = f"{subnet}.1"
        run("ip", "netns", "add", name)
        try:
            run("ip", "link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", name)
            run("ip", "addr", "add", f"{subnet}.1/24", "dev", self._ours)
            run("ip", "link", "set", self._ours, "up")
            run("ip", "-n", name, "addr", "add", f"{subnet}.2/24", "dev", self._theirs)
            run("ip", "-n", name, "link", "set", self._theirs, "up")
        except Unavailable:
            self.remove()
            raise

    @property
    def inside(self) -> Sequence[str]:
        """What to put before a command so that it runs at the other end."""
        return "ip", "netns", "exec", self._name

    def unplug(self) -> None:
        run("ip", "link", "set", self._ours, "down")

    def plug_in(self) -> None:
        run("ip", "link", "set", self._ours, "up")

    def reaches(self, address: tuple[str, int]) -> bool:
        """Whether a process at the other end can connect to `address`."""
        program = f"import socket; socket.create_connection({address!r}, timeout=1)"
        return not subprocess.run([*self.inside, sys.executable, "-c", program], stderr=subprocess.DEVNULL).returncode

    def remove(self) -> None:
        with suppress(Unavailable):  # the cable goes with the namespace
            run("ip", "netns", "del", self._name)


def shifted_clock(directory: Path, seconds: int) -> dict[str, str]:
    """Environment variables under which a process believes that it is `seconds` later."""
    library = directory / "shifted_clock.so"
    if not library.exists():
        directory.mkdir(parents=True, exist_ok=True)
        source = directory / "shifted_clock.c"
        source.write_text(CLOCK)
        run("cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl")
    environ = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(seconds)}
    say = [sys.executable, "-c", "import time; print(time.time())"]
    shown = subprocess.run(say, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True, check=False).stdout
    if not shown or abs(float(shown) - time.time() - seconds) > 60:
        raise Unavailable("this libc does not let a preloaded library shift the clock")
    return environ


class ProxiedBroker:
    """An embedded broker that tells its clients to come by way of `proxy`, and keeps its log while that is broken."""

    def __init__(self, home: Path, host: str = "127.0.0.1", patience_s: int | None = None) -> None:
        home, port = make_home(home), free_port()
        self.proxy = Proxy(("127.0.0.1", port), host, patience_s)
        self.bootstrap = f"{host}:{self.proxy.address[1]}"
        command: list[str | Path] = [
            _binary(home), "broker", "--listener-url", f"tcp://127.0.0.1:{port}",
            "--advertised-listener-url", f"tcp://{self.bootstrap}", "--storage-engine", "memory://tansu/",
        ]  # fmt: skip
        self._process = GuardedProcess(command, log=home / "broker.log", stop_signal="TERM")
        self.pid = self._process.pid
        for _ in range(300):
            with suppress(BrokerUnavailable):
                reach(f"127.0.0.1:{port}")
                return
            time.sleep(0.1)
        raise BrokerUnavailable("the broker did not start")

    def close(self) -> None:
        self._process.kill()
        self.proxy.close()

    def __enter__(self) -> ProxiedBroker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
