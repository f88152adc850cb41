"""The command line: teaches with --help, says what is wrong in one message, prints JSON when asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from core.settings import Settings
from core.store import open_store
from tests.streams import Writer, habits

COMMANDS = (
    "demo", "up", "ingest", "serve", "schedule", "generate-worker", "migrate", "events", "train", "evaluate", "promote",
    "rollback", "content", "users", "keys", "status",
)  # fmt: skip


def headwater(*arguments: str, settings: Settings | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, with nothing but the given settings in its environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    ours = settings.environ() if settings is not None else {}
    command = [sys.executable, "-m", "headwater", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=kept | ours | environ,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_help_names_every_command_and_where_to_begin() -> None:
    answer = headwater("--help")
    assert answer.returncode == 0
    assert [name for name in COMMANDS if name not in answer.stdout] == []
    assert "headwater demo" in answer.stdout


def test_without_services_the_message_says_how_to_start_them(tmp_path: Path) -> None:
    answer = headwater("status", HEADWATER_HOME=str(tmp_path))
    assert answer.returncode == 75
    assert "headwater up" in answer.stderr
    assert "HEADWATER_DATABASE_URL" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("HEADWATER_PORT", "99999", "port"),
        ("HEADWATER_NAMESPACE", "No Way", "HEADWATER_NAMESPACE"),
        ("HEADWATER_CONFIG", "/nowhere.toml", "/nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str, named: str, tmp_path: Path) -> None:
    answer = headwater("status", HEADWATER_HOME=str(tmp_path), **{variable: value})
    assert answer.returncode == 1
    assert named in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    answer = headwater(
        "status",
        HEADWATER_HOME=str(tmp_path),
        HEADWATER_DATABASE_URL="postgresql://ann:s3cret@127.0.0.1:1/x",
        HEADWATER_KAFKA_BOOTSTRAP="127.0.0.1:1",
    )
    assert answer.returncode == 75
    assert "127.0.0.1:1" in answer.stderr
    assert "s3cret" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_status_is_one_json_document(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write(habits(users=3, items=4, length=5))
    answer = headwater("status", "--json", settings=settings)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document["totals"]["interaction.view"] == 15
    assert document["positions"][0]["next_offset"] == 15
    assert document["messages_behind"] is None
    assert document["text_requests"]["states"] == {"waiting": 0, "later": 0, "published": 0, "dead": 0}


def test_status_says_which_months_of_events_are_kept_and_which_are_detached(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write(habits(users=3, items=4, length=5))
        store.partitions.attach_ahead(1, datetime(2026, 2, 1, tzinfo=UTC))
        store.partitions.sweep_before(date(2026, 2, 1))
        store.lag.say("one", 1234)
    shown = headwater("status", settings=settings).stdout
    rows = [line.split()[:4] for line in shown.splitlines()]
    assert ["attached", "2026-02", "2026-03", "2"] in rows
    assert ["detached", "2026-01", "2026-01", "1"] in rows
    assert "1,234 messages behind" in shown
    tables = json.loads(headwater("status", "--json", settings=settings).stdout)["event_tables"]
    assert [(one["name"], one["attached"]) for one in tables] == [
        ("events_2026_01", False), ("events_2026_02", True), ("events_2026_03", True), ("events_default", True),
    ]  # fmt: skip


def test_train_evaluate_and_roll_back(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write(habits(users=60, items=40, length=20))
    for version in (1, 2):
        trained = headwater("train", "popularity", "--json", settings=settings)
        assert trained.returncode == 0, trained.stderr
        assert [(one["name"], one["version"], one["state"]) for one in json.loads(trained.stdout)] == [
            ("popularity", version, "live")
        ]
    assert "popularity v1 is live again" in headwater("rollback", "popularity", settings=settings).stdout
    evaluated = headwater("evaluate", "--models", "popularity,transitions", settings=settings)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "transitions" in evaluated.stdout
    assert "ties against the model" in evaluated.stdout
    nothing = headwater("promote", "popularity", "9", settings=settings)
    assert nothing.returncode == 1
    assert "no version 9" in nothing.stderr


def test_publishing_a_file_with_a_bad_line_names_the_line_and_publishes_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    good = {
        "specversion": "1.0",
        "id": "1",
        "source": "/t",
        "type": "interaction.view",
        "time": "2026-01-01T00:00:00Z",
        "data": {"user": "u", "item": "i"},
    }
    file.write_text(json.dumps(good) + '\n{"specversion": "1.0"}\n')
    refused = headwater("events", "publish", str(file), settings=settings)
    assert refused.returncode == 1
    assert "line 2" in refused.stderr
    file.write_text(json.dumps(good) + "\n")
    assert "1 events acknowledged" in headwater("events", "publish", str(file), settings=settings).stdout


def test_a_key_is_shown_once_and_works_until_it_is_revoked(settings: Settings) -> None:
    made = headwater("keys", "create", "--scope", "recs:read", settings=settings)
    key = made.stdout.strip()
    assert made.returncode == 0, made.stderr
    with open_store(settings) as store:
        assert store.keys.find(key).scopes == {"recs:read"}
        assert headwater("keys", "revoke", key.split("_")[1], settings=settings).returncode == 0
        assert store.keys.find(key) is None
    assert "scope must be" in headwater("keys", "create", "--scope", "everything", settings=settings).stderr
