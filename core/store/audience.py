"""Users like one: those who did the same of late."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from core.store.database import Database
from core.store.partitions import DEFAULT

NEWEST_PAGES = 4000  # of the event table: 32 MB, some 200,000 events
MOST_USERS = 200  # compared in full
READ = 50  # newest interactions of each that are compared

# Items have no index of their own in the event table, which ingest would have to keep. Rows are stored in the order of their
# arrival, so that the last pages of a month are its newest events, and reading them takes the same time whatever there is.
TOGETHER = """
SELECT user_id, count(DISTINCT item_id) AS shared FROM ({newest}) AS newest
WHERE user_id <> :user AND item_id = ANY (:items) AND type LIKE 'interaction.%'
GROUP BY user_id ORDER BY shared DESC, user_id LIMIT :limit
"""
PAGES = "SELECT user_id, item_id, type FROM {table} WHERE ctid >= '({first},0)'::tid"
SIZES = sa.text("""
SELECT relid::regclass::text AS name, pg_relation_size(relid) / current_setting('block_size')::int AS pages
FROM pg_partition_tree('events') WHERE isleaf
""")
EACH = sa.text("""
SELECT wanted.user_id, item_id, substr(type, 13) AS kind, value
FROM unnest(CAST(:users AS text[])) AS wanted (user_id) CROSS JOIN LATERAL (
    SELECT item_id, type, value FROM events WHERE events.user_id = wanted.user_id AND type LIKE 'interaction.%'
    ORDER BY time DESC, key DESC LIMIT :read
) AS newest
""")


@dataclass(frozen=True)
class Alike:
    """A user, how much their newest interactions are like those asked about (0 to 1), and the shared items, by weight."""

    user: str
    score: float
    shared: tuple[str, ...]


class AudienceStore:
    """Finds users by what they have in common."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def like(self, user: str, limit: int, kind_weights: Mapping[str, float]) -> list[Alike]:
        """At most `limit` users by the weighted Jaccard index of the newest READ interactions, the most alike first.

        Looked for among the users of the newest NEWEST_PAGES pages of events; of those the MOST_USERS with most items in common
        are compared. An item weighs what the strongest interaction with it does; what a user said no to is not shared.
        """
        own = self._weights([user], kind_weights).get(user, {})
        if not own:
            return []
        with self._database.read() as connection:
            newest = _newest_pages({row.name: int(row.pages) for row in connection.execute(SIZES)})
            if not newest:
                return []
            query = sa.text(TOGETHER.format(newest=newest))
            found = connection.execute(query, {"user": user, "items": list(own), "limit": MOST_USERS}).scalars().all()
        others = self._weights(found, kind_weights)
        ranked = sorted((_alike(name, own, weights) for name, weights in others.items()), key=_order)
        return [one for one in ranked if one.score > 0][:limit]

    def _weights(self, users: Sequence[str], kind_weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
        with self._database.read() as connection:
            rows = connection.execute(EACH, {"users": list(users), "read": READ}).all()
        weights: dict[str, dict[str, float]] = defaultdict(dict)
        for row in rows:
            refused = row.value is not None and row.value < 0
            weight = 0.0 if refused else max(0.0, kind_weights.get(row.kind, 1.0))
            if weight > 0:
                weights[row.user_id][row.item_id] = max(weight, weights[row.user_id].get(row.item_id, 0.0))
        return weights


def _newest_pages(sizes: Mapping[str, int]) -> str:
    """A query of the last NEWEST_PAGES pages, from the newest month on; the default partition is the last."""
    months = sorted(sizes, key=lambda name: (name != DEFAULT, name), reverse=True)
    left, parts = NEWEST_PAGES, []
    for table in months:
        taken = min(left, sizes[table])
        if taken:
            parts.append(PAGES.format(table=table, first=sizes[table] - taken))
        left -= taken
    return " UNION ALL ".join(parts)


def _alike(user: str, own: Mapping[str, float], other: Mapping[str, float]) -> Alike:
    shared = {item: min(weight, other[item]) for item, weight in own.items() if item in other}
    either = sum(own.values()) + sum(other.values()) - sum(shared.values())
    best = sorted(shared, key=lambda item: (-shared[item], item))
    return Alike(user, sum(shared.values()) / either if either else 0.0, tuple(best))


def _order(one: Alike) -> tuple[float, str]:
    return -one.score, one.user
