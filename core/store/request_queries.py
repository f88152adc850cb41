"""The SQL of core/store/content_requests.py."""

from __future__ import annotations

# Newest and most viewed first: an item with twice the views goes before one that changed a day later. Made of constants, so
# that it can be compared whenever it was computed.
PRIORITY = "ln(1 + coalesce(viewed.events, 0)::float8) / ln(2.0::float8) + extract(epoch FROM {at})::float8 / 86400"
VIEWED = "LEFT JOIN LATERAL (SELECT sum(n.events) AS events FROM item_counts n WHERE n.item_id = {item}) viewed ON true"

# A translation whose source became another one; a reason of which the item that it names did.
RETOLD = """((starts_with(c.kind, 'translation_') AND EXISTS (SELECT FROM contents s WHERE s.txn > c.txn
    AND (s.item_id, s.kind, s.locale, s.input_hash) = (c.item_id, substr(c.kind, 13), i.locale, '')))
    OR (c.kind = 'because' AND EXISTS (SELECT FROM items o WHERE o.item_id = c.about ->> 'item' AND o.txn > c.txn)))"""
REST = ":rest_s * interval '1 second'"

WANTING = f"""
WITH wanted AS (
    SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:locales AS text[]), CAST(:needs AS text[])) AS w (kind, locale, needs)),
texts AS (
    SELECT i.item_id, w.kind, w.locale, '' AS input_hash, '{{}}'::jsonb AS about, i.changed_at, 'missing' AS why
    FROM items i CROSS JOIN wanted w
    WHERE NOT i.removed AND NOT i.hidden AND i.txn >= :since
      AND (w.needs = '' OR jsonb_typeof(i.attributes -> w.needs) = 'array') AND NOT EXISTS (
        SELECT FROM contents c
        WHERE (c.item_id, c.kind, c.locale, c.input_hash) = (i.item_id, w.kind, w.locale, ''))
    UNION ALL
    SELECT c.item_id, c.kind, c.locale, c.input_hash, c.about, i.changed_at,
        CASE WHEN i.changed_at > c.facts_at OR {RETOLD} THEN 'changed'
        WHEN c.prompt_hash <> CAST(:prompts AS jsonb) ->> c.kind OR c.banned_hash <> :banned THEN 'prompt' ELSE 'model' END
    FROM contents c JOIN items i USING (item_id)
    WHERE c.status = ANY(:writable) AND (c.input_hash = '' OR c.kind = 'because')
      AND NOT i.removed AND NOT i.hidden AND i.txn >= :since
      AND c.kind = ANY(:known) AND (:locale = '' OR c.locale = :locale)
      AND (i.changed_at > c.facts_at OR {RETOLD}
        OR ((c.prompt_hash <> CAST(:prompts AS jsonb) ->> c.kind OR c.banned_hash <> :banned) AND c.written_at <= now() - {REST})
        OR (:model <> '' AND c.model <> :model
            AND CASE WHEN c.origin = 'template' THEN :templates ELSE c.written_at <= now() - {REST} END
            AND NOT EXISTS (
              SELECT FROM content_tries t
              WHERE (t.item_id, t.kind, t.locale, t.input_hash) = (c.item_id, c.kind, c.locale, c.input_hash)
                AND t.model <> '' AND (t.tried_at > now() - {REST}
                OR (t.facts_hash = c.facts_hash AND t.model = :model
                AND t.prompt_hash = (CAST(:prompts AS jsonb) ->> c.kind)
                    || CASE c.kind WHEN 'because' THEN :banned ELSE '' END)))))
)
SELECT texts.*, changed_at AS facts_at, {PRIORITY.format(at="texts.changed_at")} AS priority
FROM texts {VIEWED.format(item="texts.item_id")}
WHERE :all OR NOT EXISTS (
    SELECT FROM content_requests r
    WHERE (r.item_id, r.kind, r.locale, r.input_hash) = (texts.item_id, texts.kind, texts.locale, texts.input_hash)
      AND (r.state <> 'dead' OR r.facts_at >= texts.changed_at))
ORDER BY priority DESC, item_id, kind, locale, input_hash LIMIT :limit
"""

ABOUT = f"""
SELECT i.item_id, :kind AS kind, :locale AS locale, 'asked' AS why, i.changed_at AS facts_at,
    {PRIORITY.format(at="i.changed_at")} AS priority
FROM items i {VIEWED.format(item="i.item_id")}
WHERE i.item_id = ANY(:items) AND NOT i.removed AND NOT i.hidden ORDER BY priority DESC, i.item_id
"""

# What was refused is asked for again only by someone, or once the item has changed.
REQUEST = """
INSERT INTO content_requests (item_id, kind, locale, why, facts_at, priority, input_hash, about)
SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    item_id text, kind text, locale text, why text, facts_at timestamptz, priority float8, input_hash text, about jsonb)
ORDER BY item_id, kind, locale, input_hash
ON CONFLICT (item_id, kind, locale, input_hash) DO UPDATE SET
    why = excluded.why, facts_at = excluded.facts_at, priority = excluded.priority, state = 'waiting', attempts = 0,
    requested_at = now(), not_before = now()
WHERE content_requests.state = 'dead' AND (excluded.why = 'asked' OR excluded.facts_at > content_requests.facts_at)
"""

# Newest and most shown first, as far as there is room; put in by key, so that two servers do not wait for one another.
# Those that are stored and not true any more WANTING finds.
WISH = f"""
INSERT INTO content_requests (item_id, kind, locale, why, facts_at, priority, input_hash, about)
SELECT * FROM (
SELECT i.item_id, 'because', given.locale, 'missing', i.changed_at, {PRIORITY.format(at="i.changed_at")}, input_hash, about
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (item text, locale text, lists bigint, about jsonb, input_hash text)
JOIN items i ON i.item_id = given.item JOIN items o ON o.item_id = about ->> 'item'
CROSS JOIN LATERAL (SELECT lists AS events) viewed
WHERE NOT i.removed AND NOT i.hidden AND NOT o.removed AND NOT o.hidden AND NOT EXISTS (
    SELECT FROM contents c
    WHERE (c.item_id, c.kind, c.locale, c.input_hash) = (i.item_id, 'because', given.locale, given.input_hash))
  AND NOT EXISTS (
    SELECT FROM content_tries t WHERE t.kind = 'because' AND t.tried_at > now() - interval '1 day'
      AND (t.item_id, t.locale, t.input_hash) = (i.item_id, given.locale, given.input_hash))
ORDER BY lists DESC, i.item_id, input_hash
LIMIT greatest(0, :most
    - (SELECT count(*) FROM content_tries t JOIN items r USING (item_id) WHERE t.kind = 'because' AND NOT r.removed)
    - (SELECT count(*) FROM content_requests WHERE kind = 'because'))
) chosen ORDER BY item_id, locale, input_hash
ON CONFLICT (item_id, kind, locale, input_hash) DO NOTHING
"""

# What a topic of another id was told is lost with it.
NEXT = """
SELECT * FROM content_requests
WHERE (state = 'waiting' AND not_before <= now()) OR (state = 'published' AND published_to <> :topic_id)
ORDER BY priority DESC, item_id, kind, locale, input_hash LIMIT :room FOR UPDATE SKIP LOCKED
"""

TRY = """
INSERT INTO content_tries (item_id, kind, locale, input_hash, facts_hash, prompt_hash, model)
SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    item text, kind text, locale text, input_hash text, facts_hash text, prompt_hash text, model text)
ORDER BY item, kind, locale, input_hash
ON CONFLICT (item_id, kind, locale, input_hash) DO UPDATE SET
    facts_hash = coalesce(nullif(excluded.facts_hash, ''), content_tries.facts_hash),
    prompt_hash = coalesce(nullif(excluded.prompt_hash, ''), content_tries.prompt_hash),
    model = CASE WHEN excluded.facts_hash = ''
        OR (excluded.facts_hash, excluded.prompt_hash) = (content_tries.facts_hash, content_tries.prompt_hash)
        THEN coalesce(nullif(excluded.model, ''), content_tries.model) ELSE excluded.model END, tried_at = now()
"""

STILL_TRUE = """
UPDATE contents c SET facts_at = greatest(c.facts_at, given.facts_at), txn = pg_current_xact_id()::text::bigint
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (item text, kind text, locale text, input_hash text, facts_at timestamptz)
WHERE (c.item_id, c.kind, c.locale, c.input_hash) = (given.item, given.kind, given.locale, given.input_hash)
"""

LATER = """
UPDATE content_requests SET state = 'waiting', attempts = attempts + 1, not_before = now() + least(
    power(2.0::float8, least(attempts, 20)) * interval '15 seconds', interval '1 hour')
WHERE (item_id, kind, locale, input_hash) IN (SELECT * FROM unnest(
    CAST(:items AS text[]), CAST(:kinds AS text[]), CAST(:locales AS text[]), CAST(:inputs AS text[])))
"""
