"""The schema as SQLAlchemy tables. Unqualified: the connection's search_path is the namespace's Postgres schema.

`txn` columns hold the writing transaction's id. A reader that remembers the oldest transaction still running
(`pg_snapshot_xmin`) can later ask for everything written since without missing a slow committer: see core/store.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_ix",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "pk": "%(table_name)s_pkey",
    }
)


def _time(name: str, *, nullable: bool = False, now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if now else None)


# Every accepted event, partitioned by month of its own time; what no month holds falls into the default partition.
# Detached months (docs/adr/0015) are tables of the same columns: a migration that changes these changes them, too.
events = Table(
    "events",
    metadata,
    Column("key", Uuid, nullable=False),
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    _time("time"),
    Column("user_id", Text),
    Column("item_id", Text),
    Column("value", Double),
    Column("session", Text),
    Column("slate", Text),
    Column("position", Integer),
    Column("data", JSONB),
    Column("txn", BigInteger, nullable=False),
    Index("events_user_id_time_ix", "user_id", text("time DESC"), postgresql_where=text("user_id IS NOT NULL")),
    Index("events_txn_ix", "txn", postgresql_using="brin", postgresql_with={"pages_per_range": 32}),
    postgresql_partition_by="RANGE (time)",
)

# The identity of every event ever accepted. Apart from `events` because a unique index there would have to include time.
event_keys = Table("event_keys", metadata, Column("key", Uuid, nullable=False), PrimaryKeyConstraint("key"))

# How far each partition has been written, and who may write it. Keyed by the topic's own id: a recreated topic starts anew.
consumer_offsets = Table(
    "consumer_offsets",
    metadata,
    Column("topic_id", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("topic", Text, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    _time("updated_at", now=True),
    PrimaryKeyConstraint("topic_id", "partition"),
)

# What each running consumer said last of how far it is behind: for people to look at, nothing depends on it.
consumers = Table(
    "consumers",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("behind", BigInteger, nullable=False),
    _time("at", now=True),
    PrimaryKeyConstraint("consumer"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("topic", Text, nullable=False),
    Column("topic_id", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("payload", LargeBinary),
    Column("payload_bytes", BigInteger, nullable=False),
    Column("payload_sha256", Text, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'[]'")),
    Column("replayed", Boolean, nullable=False, server_default=text("false")),
    _time("at", now=True),
    PrimaryKeyConstraint("number"),
    UniqueConstraint("topic_id", "partition", "offset"),
)

items = Table(
    "items",
    metadata,
    Column("item_id", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    Column("categories", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'")),
    Column("available", Boolean, nullable=False, server_default=text("true")),
    Column("hidden", Boolean, nullable=False, server_default=text("false")),
    Column("removed", Boolean, nullable=False, server_default=text("false")),
    _time("published_at", nullable=True),
    _time("expires_at", nullable=True),
    Column("locale", Text, nullable=False, server_default="en"),
    _time("changed_at"),
    Column("changed_key", Uuid, nullable=False),
    Column("txn", BigInteger, nullable=False),
    PrimaryKeyConstraint("item_id"),
    Index("items_txn_ix", "txn"),
)

# One row for each copy of the items that a server keeps, written after everything in it was read (docs/adr/0026).
catalogue_marks = Table(
    "catalogue_marks",
    metadata,
    Column("mark", Uuid, nullable=False),
    _time("marked_at", now=True),
    PrimaryKeyConstraint("mark"),
)

# Counts of events really inserted: what popularity falls back to when no model is loaded.
item_counts = Table(
    "item_counts",
    metadata,
    Column("item_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    PrimaryKeyConstraint("item_id", "type"),
)

# Interactions really inserted, of each user. Rows are updated again and again: room on the page keeps that cheap (HOT).
user_counts = Table(
    "user_counts",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id"),
    postgresql_with={"fillfactor": 50},
)

users = Table(
    "users",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'")),
    _time("changed_at"),
    Column("changed_key", Uuid, nullable=False),
    PrimaryKeyConstraint("user_id"),
)

# Keyed hashes of erased users: enough to refuse a replay, not enough to know whom.
erased_users = Table(
    "erased_users",
    metadata,
    Column("user_hash", LargeBinary, nullable=False),
    _time("erased_at"),
    Column("txn", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_hash"),
)

# One text per item, kind, locale and, for kinds that are about more than the item, hash of that input ('' for the others).
# Outdated when its item changed after `facts_at`: derived, never stored. `version` counts the changes of text and status.
contents = Table(
    "contents",
    metadata,
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("model", Text, nullable=False, server_default=""),
    Column("facts_hash", Text, nullable=False),
    _time("facts_at"),
    Column("prompt_hash", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("rejected", JSONB, nullable=False, server_default=text("'[]'")),
    _time("written_at", now=True),
    Column("style", Text, nullable=False, server_default=""),
    Column("input_hash", Text, nullable=False, server_default=""),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("about", JSONB, nullable=False, server_default=text("'{}'")),
    Column("txn", BigInteger, nullable=False, server_default=text("0")),
    Column("banned_hash", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("item_id", "kind", "locale", "input_hash"),
    CheckConstraint("status IN ('draft', 'verified', 'rejected', 'approved', 'edited')", name="status"),
    CheckConstraint("origin IN ('model', 'template', 'person')", name="origin"),
    Index("contents_written_at_ix", "written_at"),
    Index("contents_status_written_at_ix", "status", "written_at"),
    Index("contents_because_ix", "txn", postgresql_where=text("kind = 'because'")),
)

# What a text was and became, when and by whom: a worker ("headwater ..."), or the name of a person's key. Only ever added to.
# `action`: write (a machine), approve, edit, reject. `overruled`: what the checker held against a text that a person published.
content_changes = Table(
    "content_changes",
    metadata,
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("input_hash", Text, nullable=False, server_default=""),
    Column("version", Integer, nullable=False),
    _time("changed_at", now=True),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("status_before", Text),
    Column("status", Text, nullable=False),
    Column("text_before", Text),
    Column("text", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("model", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    Column("overruled", JSONB, nullable=False, server_default=text("'[]'")),
    PrimaryKeyConstraint("number"),
    CheckConstraint("action IN ('write', 'approve', 'edit', 'reject')", name="action"),
    Index("content_changes_text_ix", "item_id", "kind", "locale", "input_hash", "number"),
)

# What people are working on, each by themselves: never shown, apart from what is published.
content_drafts = Table(
    "content_drafts",
    metadata,
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("input_hash", Text, nullable=False, server_default=""),
    Column("who", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("about", JSONB, nullable=False, server_default=text("'{}'")),
    _time("saved_at", now=True),
    PrimaryKeyConstraint("item_id", "kind", "locale", "input_hash", "who"),
)

# Texts that are wanted and not settled yet, one row each: the record behind the topic of requests (docs/adr/0021).
# waiting: to be published, from `not_before` on. published: in the topic of that id. dead: refused, until its item changes.
content_requests = Table(
    "content_requests",
    metadata,
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("why", Text, nullable=False),
    _time("facts_at"),
    Column("priority", Double, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    _time("requested_at", now=True),
    _time("not_before", now=True),
    Column("published_to", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("input_hash", Text, nullable=False, server_default=""),
    Column("about", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("item_id", "kind", "locale", "input_hash"),
    CheckConstraint("why IN ('missing', 'changed', 'prompt', 'model', 'asked')", name="why"),
    CheckConstraint("state IN ('waiting', 'published', 'dead')", name="state"),
    Index("content_requests_state_priority_ix", "state", "priority"),
)

# Which model was asked last for a text, and about what: nobody is asked the same again. Locked by whoever writes the text.
content_tries = Table(
    "content_tries",
    metadata,
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("facts_hash", Text, nullable=False),
    Column("prompt_hash", Text, nullable=False),
    Column("model", Text, nullable=False),
    _time("tried_at", now=True),
    Column("input_hash", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("item_id", "kind", "locale", "input_hash"),
    Index("content_tries_because_ix", "tried_at", postgresql_where=text("kind = 'because'")),
)

# Tokens that text models wrote, by hour.
content_tokens = Table(
    "content_tokens",
    metadata,
    _time("hour"),
    Column("tokens", BigInteger, nullable=False),
    PrimaryKeyConstraint("hour"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("path", Text, nullable=False),
    _time("trained_until", nullable=True),
    Column("snapshot", Text, nullable=False),
    Column("code_revision", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("verdict", Text, nullable=False, server_default=""),
    _time("created_at", now=True),
    _time("promoted_at", nullable=True),
    PrimaryKeyConstraint("name", "version"),
    CheckConstraint("state IN ('candidate', 'live', 'retired', 'refused')", name="state"),
    Index("model_versions_live_ix", "name", unique=True, postgresql_where=text("state = 'live'")),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    _time("created_at", now=True),
    _time("revoked_at", nullable=True),
    Column("requests_per_s", Double),
    Column("burst", Integer),
    PrimaryKeyConstraint("key_id"),
    UniqueConstraint("key_hash"),
)
