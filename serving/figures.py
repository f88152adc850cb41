"""What the console shows, gathered. Whatever is away is left out and said to be away, never an error page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.errors import DatabaseUnavailable
from core.store.content_requests import RequestCounts
from core.store.contents import Content
from core.store.versions import ModelVersion
from models.content import ITEM_KINDS
from serving.catalogue import View
from serving.lists import similar
from serving.query import Ask
from serving.routes.content import text_of
from serving.routes.items import known_item
from serving.service import JobRun, Service

SHOWN_VERSIONS = 12
SHOWN_RUNS = 10
SHOWN_HISTORY = 25
RECOMMENDED = 10
FOUND_TITLES = 30
STALE_CATALOGUE_S = 5.0


@dataclass(frozen=True)
class ModelLine:
    """A version in the table of models. `share` of the best nDCG@10 shown, for its bar."""

    version: ModelVersion
    serving: bool
    refused: bool
    ndcg: float | None
    hit_rate: float | None
    share: float


def front(service: Service) -> dict[str, Any]:
    """The front page."""
    away: list[str] = []
    totals, newest = service.pulse.totals, None
    dead: dict[str, int] = {}
    partitions: Sequence[tuple[str, str, int, int]] = []
    texts: list[Content] = []
    requests: RequestCounts | None = None
    users: list[str] = []
    versions: Sequence[ModelVersion] = [one.version for one in service.models.served.values()]
    runs: Sequence[JobRun] = []
    lag: int | None = None
    try:
        totals = service.store.catalogue.totals()
        dead, positions = service.store.dead_letters.counts(), service.store.dead_letters.positions()
        partitions = [one for one in positions if one[0] != service.settings.requests_topic]
        requests = service.store.content_requests.counts()
        versions, texts = service.registry.versions(limit=SHOWN_VERSIONS), service.store.contents.newest(4)
        users = service.store.history.recent_users(8)
        lag = service.store.lag.behind()
        newest = service.store.history.history(users[0], 1).events[0].time if users else None
        runs = service.jobs.history(SHOWN_RUNS) if service.jobs is not None else []
    except DatabaseUnavailable as error:
        away.append(f"{error}. Answers come from memory, as of {service.catalogue.age_s:.0f} s ago.")
    if service.publisher.trouble is not None:
        away.append(f"{service.publisher.trouble}")
    kinds = {name: count for name, count in totals.items() if name.startswith("interaction.") and count > 0}
    return {
        "title": "What runs", "away": away,
        "events": sum(kinds.values()), "kinds": _bars(kinds), "items": totals.get("items_live", 0),
        "spark": _spark(service.pulse.rates()), "rate": (service.pulse.rates() or [0.0])[-1], "newest": newest,
        "dead": dead, "read_messages": sum(next_offset for *_, next_offset in partitions), "lag": lag,
        "partitions": len(partitions),
        "models": [_line(service, one, versions) for one in _live_first(versions)], "runs": runs,
        "has_schedule": service.jobs is not None, "texts": [(text, service.catalogue.view) for text in texts], "users": users,
        "requests": requests,
        "catalogue_age_s": service.catalogue.age_s, "catalogue_stale": service.catalogue.age_s > STALE_CATALOGUE_S,
    }  # fmt: skip


def user(service: Service, user_id: str) -> dict[str, Any]:
    """A user's page."""
    answer = service.pipeline.recommend(Ask(user_id, RECOMMENDED, surface="console", logged=False))
    past = service.histories.read(user_id)
    view = service.catalogue.view
    attributes: dict[str, Any] | None = None
    interactions = 0
    if past.known:
        attributes, interactions = service.store.catalogue.user(user_id), service.store.history.interactions(user_id)
    return {
        "title": f"User {user_id}", "user": user_id,
        "attributes": attributes or {}, "history": past.events[:SHOWN_HISTORY], "known": past.known,
        "touched": len(past.seen), "interactions": interactions,
        "answer": answer, "view": view, "name_of": lambda item: _name(view, item),
    }  # fmt: skip


def item(service: Service, item_id: str) -> dict[str, Any]:
    """An item's page. Raises NotFound."""
    found = known_item(service, item_id)
    view = service.catalogue.view
    return {
        "item": found, "title": found.title or found.item,
        "servable": found.servable(datetime.now(UTC)),
        "texts": [text_of(service, found, kind, found.locale) for kind in ITEM_KINDS],
        "similar": similar(service.pipeline, item_id, RECOMMENDED, None), "name_of": lambda other: _name(view, other),
    }  # fmt: skip


def place_of(service: Service, wanted: str) -> str | None:
    """Where the page of this id is: "users" for one who did something, else "items" for a known one, else None."""
    if wanted and service.histories.read(wanted).events:
        return "users"
    return "items" if service.catalogue.view.row(wanted) >= 0 else None


def titled(view: View, words: str) -> list[tuple[str, str]]:
    """(id, title) of items whose title holds the words, in any case."""
    wanted, found = words.casefold(), []
    for _, known in view.items.every() if wanted else ():
        if not known.removed and wanted in known.title.casefold():
            found.append((known.item, known.title))
            if len(found) == FOUND_TITLES:
                break
    return found


def _name(view: View, item_id: str) -> str:
    row = view.row(item_id)
    return view.title(row) if row >= 0 else item_id


def _line(service: Service, version: ModelVersion, versions: Sequence[ModelVersion]) -> ModelLine:
    served = service.models.served.get(version.name)
    serving = served is not None and served.version.version == version.version
    ndcg = _metric(version, "ndcg@10")
    best = max((_metric(one, "ndcg@10") or 0.0 for one in versions), default=0.0)
    share = (ndcg or 0.0) / best if best else 0.0
    refused = version.state == "live" and service.models.refused(version)
    return ModelLine(version, serving, refused, ndcg, _metric(version, "hr@10"), share)


def _metric(version: ModelVersion, name: str) -> float | None:
    figures = version.metrics.get("metrics", {})
    return figures.get(name) if isinstance(figures, dict) else None


def _live_first(versions: Sequence[ModelVersion]) -> list[ModelVersion]:
    return sorted(versions, key=lambda one: (one.state != "live", -one.created_at.timestamp()))


def _bars(counts: dict[str, int]) -> list[tuple[str, int, float]]:
    """(kind, count, share of the largest), most first."""
    most = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    return [(name.removeprefix("interaction."), count, count / most) for name, count in ordered]


def _spark(rates: Sequence[float]) -> str:
    """The points of a line over 100 x 30, newest at the right; "" before there is a line to draw."""
    if len(rates) < 2:
        return ""
    top = max(*rates, 1.0)
    return " ".join(f"{100 * at / (len(rates) - 1):.1f},{29 - 28 * rate / top:.1f}" for at, rate in enumerate(rates))
