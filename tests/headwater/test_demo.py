"""The demo: the whole main job, stopped cleanly whenever Ctrl-C comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Sixty people who walk a catalogue of forty items in circles."""
    file = tmp_path / "walks.csv"
    rows = [
        f"u{user},i{(user * 3 + step) % 40},{1_700_000_000 + step * 600 + user}"
        for user in range(60)
        for step in range(20)
    ]
    file.write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
    return file


@contextmanager
def demo(home: Path, csv: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`headwater demo` on the walks, with templates for texts: no download. Killed when the test fails."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    environ = {
        **kept,
        "HEADWATER_HOME": str(home),
        "HEADWATER_PORT": "0",
        "HEADWATER_TEXT_MODEL": str(home / "no-model"),
    }
    command = [sys.executable, "-m", "headwater", "demo", "--data", str(csv), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, cwd=ROOT
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def still_running(home: Path) -> list[str]:
    """What is still running two seconds later: the guard of a server sleeps a second at a time."""
    for _ in range(20):
        if not left_running(home):
            break
        time.sleep(0.1)
    return left_running(home)


def left_running(home: Path) -> list[str]:
    """Command lines of processes that have the home's path in their command, environment or working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            about = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        if process.pid != os.getpid() and any(str(home) in one for one in about):
            found.append(" ".join(process.cmdline()))
    return found


def test_once_prints_what_came_of_it_and_leaves_nothing_running(home: Path, csv: Path) -> None:
    with demo(home, csv, "--once") as process:
        printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    for expected in (
        "transitions v1 live",
        "ten recommendations for",
        "Because you looked at",
        "never seen before",
        "curl -s",
        "/console",
    ):
        assert expected in printed, printed
    assert "Traceback" not in printed
    assert still_running(home) == []


@pytest.mark.parametrize("moment", ["3/7", "Ctrl-C stops everything"])
def test_ctrl_c_stops_everything_in_order(home: Path, csv: Path, moment: str) -> None:
    with demo(home, csv) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if moment in line:
                break
        else:
            pytest.fail(f"the demo ended before {moment}: {''.join(lines)}")
        assert left_running(home), "the test looks in the wrong place: it must see what is to be gone later"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert "Traceback" not in rest
    assert process.returncode == (0 if moment.startswith("Ctrl") else 130), rest
    assert still_running(home) == []
