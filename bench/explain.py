"""What it costs to say why: CPU time of the explain step of a list of 20, for lists that were not made before. In process.

    python bench/explain.py [--items N] [--lists N] [--home DIR]

named    the models say what carried each item, and the template makes the line
stored   beyond that, a text of storage is looked up, held against both items and said (where every reason has one)
counted  beyond that, reasons of which nothing is stored are counted for the workers (HEADWATER_CONTENT_KINDS with because)

The world is that of bench/serve.py, kept in --home. Variants take turns; medians of ROUNDS, the first left out: texts are held
against their items once for each state of these. CPU time, so that it may run beside other work.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import serve_world  # noqa: E402 -- run as a script, from anywhere
from bench.serve import world  # noqa: E402
from core.registry import open_registry  # noqa: E402
from core.store.contents import Content  # noqa: E402
from models.content.about import because_of, reason_facts  # noqa: E402
from models.content.kind import facts_hash  # noqa: E402
from serving import pipeline as page  # noqa: E402
from serving.explain_texts import Pair, Said, Shown  # noqa: E402
from serving.query import Ask  # noqa: E402
from serving.service import Service  # noqa: E402
from serving.stages import clock  # noqa: E402

ROUNDS = 6
LIST = 20


def measure(service: Service, lists: int) -> dict[str, float]:
    """Milliseconds a list: named, stored, counted."""
    spent = {"explain": 0.0, "instead": 0.0}
    for name in spent:
        setattr(page, name, _timed(getattr(page, name), name, spent))
    pipeline, texts = service.pipeline, service.explain_texts
    asks = [Ask(user=serve_world.user(n), limit=LIST, logged=False) for n in range(lists)]
    queries = [(ask, service.histories.read(str(ask.user))) for ask in asks]
    pairs: set[Pair] = set()
    for ask, past in queries:
        query = pipeline.query(ask, past)
        reasons = [(one.item, one.reason) for one in pipeline._choose(query, clock(0.0)).items if one.reason]
        pairs |= {
            (item, why.because[0], query.done.get(why.because[0], ""), "en") for item, why in reasons if why.because
        }
    stored = {pair: Said(_text(service, pair)) for pair in pairs}
    variants: dict[str, tuple[dict[Pair, Said], Shown | None]] = {
        "named": ({}, None), "stored": (stored, None), "counted": ({}, Shown()),
    }  # fmt: skip
    took: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, (texts.now, texts.shown) in variants.items():
            spent.update(explain=0.0, instead=0.0)
            for ask, past in queries:
                pipeline._choose(pipeline.query(ask, past), clock(0.0))
            took[name].append({part: 1000 * seconds / lists for part, seconds in spent.items()})
    parts = {"named": "explain", "stored": "instead", "counted": "instead"}
    return {name: statistics.median(one[part] for one in took[name][1:]) for name, part in parts.items()}


def _timed(call: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*given: Any) -> Any:
        began = time.thread_time()
        try:
            return call(*given)
        finally:
            spent[name] += time.thread_time() - began

    return timed


def _text(service: Service, pair: Pair) -> Content:
    view, (item_id, carrier_id, event, locale) = service.catalogue.view, pair
    item, carrier = (view.items[view.row(one)] for one in (item_id, carrier_id))
    assert item is not None
    assert carrier is not None
    facts, said = facts_hash(reason_facts(item, carrier, event)), f"You looked at {carrier.title}"
    about = because_of(carrier_id, event)
    return Content(
        item_id, "because", locale, said, "verified", "model", "m", facts, item.changed_at, "p", 1, [], about=about
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000, help="size of the catalogue")
    parser.add_argument("--lists", type=int, default=500, help="of as many users")
    parser.add_argument("--home", type=Path, default=Path(".headwater"), help="where worlds are kept")
    given = parser.parse_args()
    with world(given.home / f"bench-serve-{given.items}", given.items) as (settings, store):
        service = Service(settings, store, open_registry(settings, store))
        for refresh in (service.catalogue.refresh, service.models.refresh, service.newcomers.refresh):
            refresh()
        for name, ms in measure(service, given.lists).items():
            print(f"{name:8} {ms:.3f} ms of CPU for a list of {LIST}, {given.items:,} items")


if __name__ == "__main__":
    main()
