"""The first schema: events by time, their identities, offsets, dead letters, catalogue, texts, models, keys."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

# Months are attached ahead by the maintenance job; whatever no month holds falls into the default partition.
TABLES = """
CREATE TABLE api_keys (
    key_id TEXT NOT NULL,
    key_hash BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT api_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash)
);

CREATE TABLE consumer_offsets (
    topic_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    topic TEXT NOT NULL,
    next_offset BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT consumer_offsets_pkey PRIMARY KEY (topic_id, partition)
);

CREATE TABLE contents (
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    locale TEXT NOT NULL,
    text TEXT NOT NULL,
    status TEXT NOT NULL,
    origin TEXT NOT NULL,
    model TEXT DEFAULT '' NOT NULL,
    facts_hash TEXT NOT NULL,
    facts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    prompt_hash TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    rejected JSONB DEFAULT '[]' NOT NULL,
    written_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT contents_pkey PRIMARY KEY (item_id, kind, locale),
    CONSTRAINT contents_status_check CHECK (status IN ('draft', 'verified', 'rejected', 'approved', 'edited')),
    CONSTRAINT contents_origin_check CHECK (origin IN ('model', 'template', 'person'))
);

CREATE TABLE dead_letters (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    topic TEXT NOT NULL,
    topic_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    payload BYTEA,
    payload_bytes BIGINT NOT NULL,
    payload_sha256 TEXT NOT NULL,
    headers JSONB DEFAULT '[]' NOT NULL,
    replayed BOOLEAN DEFAULT false NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (number),
    CONSTRAINT dead_letters_topic_id_partition_offset_key UNIQUE (topic_id, partition, "offset")
);

CREATE TABLE erased_users (
    user_hash BYTEA NOT NULL,
    erased_at TIMESTAMP WITH TIME ZONE NOT NULL,
    txn BIGINT NOT NULL,
    CONSTRAINT erased_users_pkey PRIMARY KEY (user_hash)
);

CREATE TABLE event_keys (
    key UUID NOT NULL,
    CONSTRAINT event_keys_pkey PRIMARY KEY (key)
);

CREATE TABLE events (
    key UUID NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    time TIMESTAMP WITH TIME ZONE NOT NULL,
    user_id TEXT,
    item_id TEXT,
    value DOUBLE PRECISION,
    session TEXT,
    slate TEXT,
    position INTEGER,
    data JSONB,
    txn BIGINT NOT NULL
)
 PARTITION BY RANGE (time);

CREATE INDEX events_txn_ix ON events USING brin (txn) WITH (pages_per_range = 32);

CREATE INDEX events_user_id_time_ix ON events (user_id, time DESC) WHERE user_id IS NOT NULL;

CREATE TABLE item_counts (
    item_id TEXT NOT NULL,
    type TEXT NOT NULL,
    events BIGINT NOT NULL,
    CONSTRAINT item_counts_pkey PRIMARY KEY (item_id, type)
);

CREATE TABLE items (
    item_id TEXT NOT NULL,
    title TEXT DEFAULT '' NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    categories TEXT[] DEFAULT '{}' NOT NULL,
    attributes JSONB DEFAULT '{}' NOT NULL,
    available BOOLEAN DEFAULT true NOT NULL,
    hidden BOOLEAN DEFAULT false NOT NULL,
    removed BOOLEAN DEFAULT false NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE,
    locale TEXT DEFAULT 'en' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_key UUID NOT NULL,
    txn BIGINT NOT NULL,
    CONSTRAINT items_pkey PRIMARY KEY (item_id)
);

CREATE INDEX items_txn_ix ON items (txn);

CREATE TABLE model_versions (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    path TEXT NOT NULL,
    trained_until TIMESTAMP WITH TIME ZONE,
    snapshot TEXT NOT NULL,
    code_revision TEXT NOT NULL,
    config JSONB NOT NULL,
    metrics JSONB NOT NULL,
    verdict TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    promoted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT model_versions_pkey PRIMARY KEY (name, version),
    CONSTRAINT model_versions_state_check CHECK (state IN ('candidate', 'live', 'retired', 'refused'))
);

CREATE UNIQUE INDEX model_versions_live_ix ON model_versions (name) WHERE state = 'live';

CREATE TABLE users (
    user_id TEXT NOT NULL,
    attributes JSONB DEFAULT '{}' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_key UUID NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (user_id)
);

CREATE TABLE events_default PARTITION OF events DEFAULT;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)
