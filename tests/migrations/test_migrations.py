"""Migrations: they lead to the declared schema, from every revision, from several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core.errors import DatabaseUnavailable
from core.store.database import Database
from core.tables import metadata
from migrations.run import revisions, upgrade

SHOP = "shop"
ELSEWHERE = ("procrastinate_", "events_", "alembic_version")  # the scheduler's tables, and partitions of events


def differences(url: str, namespace: str) -> list[Any]:
    """What alembic would still change to reach core.tables."""

    def ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or not (name or "").startswith(ELSEWHERE)

    database = Database(url, namespace)
    try:
        with database.begin() as connection:
            options = {"include_name": ours, "compare_type": True, "compare_server_default": True}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))
    finally:
        database.close()


def ask(url: str, query: str) -> list[Any]:
    database = Database(url, SHOP)
    try:
        with database.begin() as connection:
            return list(connection.execute(sa.text(query)))
    finally:
        database.close()


def execute(url: str, *statements: str) -> None:
    database = Database(url, SHOP)
    try:
        with database.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
    finally:
        database.close()


def test_migrations_lead_to_the_declared_schema(empty_database_url: str) -> None:
    assert upgrade(empty_database_url, SHOP) == revisions()[-1]
    assert differences(empty_database_url, SHOP) == []


def test_the_comparison_would_notice_a_difference(empty_database_url: str) -> None:
    upgrade(empty_database_url, SHOP)
    execute(
        empty_database_url,
        "ALTER TABLE items ADD COLUMN extra TEXT",
        "ALTER TABLE events ALTER COLUMN value TYPE REAL",
        "DROP INDEX items_txn_ix",
    )
    assert len(differences(empty_database_url, SHOP)) == 3


@pytest.mark.parametrize("revision", revisions())
def test_an_upgrade_works_from_every_revision_and_keeps_what_was_there(empty_database_url: str, revision: str) -> None:
    assert upgrade(empty_database_url, SHOP, revision) == revision
    execute(empty_database_url, "INSERT INTO api_keys VALUES ('k', '\\x00', '{read}', 'mine')")
    assert upgrade(empty_database_url, SHOP) == revisions()[-1]
    assert differences(empty_database_url, SHOP) == []
    assert ask(empty_database_url, "SELECT label FROM api_keys") == [("mine",)]


def test_users_are_counted_from_the_events_that_were_there(empty_database_url: str) -> None:
    upgrade(empty_database_url, SHOP, "0003")
    for number, kind in enumerate(("interaction.view", "interaction.cart", "impression")):
        execute(
            empty_database_url,
            "INSERT INTO events (key, source, id, type, time, user_id, txn) "
            f"VALUES (gen_random_uuid(), 's', 'e{number}', '{kind}', now(), 'u', 1)",
        )
    upgrade(empty_database_url, SHOP)
    assert ask(empty_database_url, "SELECT user_id, events FROM user_counts") == [("u", 2)]


def test_keys_can_do_after_the_upgrade_what_they_could_before(empty_database_url: str) -> None:
    upgrade(empty_database_url, SHOP, "0004")
    for number, scopes in enumerate(("read", "events", "read,events", "admin", "admin,read")):
        execute(empty_database_url, f"INSERT INTO api_keys VALUES ('k{number}', '\\x0{number}', '{{{scopes}}}', '')")
    upgrade(empty_database_url, SHOP)
    assert ask(empty_database_url, "SELECT scopes, requests_per_s, burst FROM api_keys ORDER BY key_id") == [
        (["content:read", "recs:read"], None, None),
        (["events:write"], None, None),
        (["content:read", "events:write", "recs:read"], None, None),
        (["admin"], None, None),
        (["admin", "content:read", "recs:read"], None, None),
    ]


def test_texts_that_were_there_keep_what_they_say_and_get_a_first_line_of_history(empty_database_url: str) -> None:
    upgrade(empty_database_url, SHOP, "0005")
    for kind in ("description", "headline"):
        execute(
            empty_database_url,
            "INSERT INTO contents (item_id, kind, locale, text, status, origin, facts_hash, facts_at, prompt_hash, attempts) "
            f"VALUES ('i', '{kind}', 'en', 'A {kind}.', 'verified', 'model', 'h', now(), 'p', 1)",
        )
    upgrade(empty_database_url, SHOP)
    assert ask(empty_database_url, "SELECT kind, text, input_hash, version FROM contents ORDER BY kind") == [
        ("description", "A description.", "", 1), ("headline", "A headline.", "", 1),
    ]  # fmt: skip
    changes = "SELECT c.kind, c.text, c.version, who, action, changed_at = written_at FROM content_changes c "
    assert ask(empty_database_url, f"{changes} JOIN contents USING (item_id, kind, locale) ORDER BY 1") == [
        ("description", "A description.", 1, "headwater", "write", True),
        ("headline", "A headline.", 1, "headwater", "write", True),
    ]


def test_upgrading_again_changes_nothing(empty_database_url: str) -> None:
    upgrade(empty_database_url, SHOP)
    assert upgrade(empty_database_url, SHOP) == revisions()[-1]


def test_several_processes_may_migrate_at_once(empty_database_url: str) -> None:
    program = "import sys; from migrations.run import upgrade; print(upgrade(sys.argv[1], sys.argv[2]))"
    command = [sys.executable, "-c", program, empty_database_url, SHOP]
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)]
    reached = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert reached == [revisions()[-1]] * 3
    assert differences(empty_database_url, SHOP) == []


def test_namespaces_are_apart(empty_database_url: str) -> None:
    for namespace in (SHOP, "other"):
        upgrade(empty_database_url, namespace)
    tables = ask(empty_database_url, "SELECT schemaname FROM pg_tables WHERE tablename = 'consumer_offsets'")
    assert sorted(row[0] for row in tables) == ["other", SHOP]


def test_a_missing_postgres_is_said_to_be_missing() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1"):
        upgrade("postgresql://x:y@127.0.0.1:1/z", SHOP)
