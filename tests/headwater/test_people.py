"""`headwater keys` and `headwater users`: what they print, and what they never do."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
from typer.testing import CliRunner, Result

from core.settings import Settings
from core.store import open_store
from headwater.cli import app
from tests.streams import Writer, view


def headwater(*arguments: str, settings: Settings) -> Result:
    """A command, within this process: it loads in no time."""
    return CliRunner().invoke(app, arguments, env=settings.environ())


def test_keys_are_listed_with_what_they_may_do_and_without_their_secret(settings: Settings) -> None:
    arguments = ["--scope", "events:write", "--scope", "recs:read", "--label", "shop", "--rate", "20"]
    made = headwater("keys", "create", *arguments, settings=settings)
    key = made.stdout.strip()
    assert "not shown again" in made.stderr
    assert f"headwater keys revoke {key.split('_')[1]}" in made.stderr
    other = headwater("keys", "create", "--scope", "admin", settings=settings).stdout.strip()
    assert headwater("keys", "revoke", other.split("_")[1], settings=settings).exit_code == 0
    listed = headwater("keys", "list", settings=settings).stdout
    assert key.split("_")[1] in listed
    assert "events:write" in listed
    assert "recs:read" in listed
    assert "20/s" in listed
    assert "revoked" in listed
    document = headwater("keys", "list", "--json", settings=settings).stdout
    assert {one["label"]: one["scopes"] for one in json.loads(document)} == {
        "shop": ["events:write", "recs:read"],
        "": ["admin"],
    }
    for secret in (key.split("_", 2)[2], other.split("_", 2)[2]):
        assert secret not in listed + document
    help_text = headwater("keys", "create", "--help", settings=settings).stdout
    assert all(scope in help_text for scope in ("events:write", "recs:read", "content:read", "content:write", "admin"))
    assert "no active key" in str(headwater("keys", "revoke", "ffffffff", settings=settings).exception)


def test_a_user_is_exported_to_a_file_that_pandas_opens(settings: Settings, tmp_path: Path) -> None:
    with open_store(settings) as store:
        Writer(store).write([view(1, "u1", "i1", "rating", 4.5), view(2, "u1", "i2"), view(3, "u2", "i2")])
    assert headwater("users", "export", "u1", "--out", str(tmp_path / "u1.parquet"), settings=settings).exit_code == 0
    assert pandas.read_parquet(tmp_path / "u1.parquet")["item"].tolist() == ["i1", "i2"]
    printed = json.loads(headwater("users", "export", "u1", settings=settings).stdout)
    assert [one["value"] for one in printed["events"]] == [4.5, None]
    refused = headwater("users", "export", "u1", "--out", str(tmp_path / "u1.xlsx"), settings=settings)
    assert refused.exit_code == 2
    assert ".parquet" in refused.stderr
