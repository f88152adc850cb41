"""A person's word on a text: which stored text may be shown as it is, and decisions checked before they are kept.

The checker has no say over a person's own words, but the person is told what it finds, and to publish nonetheless they must
say so and why (docs/adr/0020). What could hurt where a text is shown (links, markup, orders to a model) no one can publish.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.errors import InvalidRequest, NotFound, TextRefused
from core.store import Store
from core.store.catalogue import Item
from core.store.contents import Content
from core.store.reviews import Decision, Listed, Place
from models.content import CONTENT_KINDS, ITEM_KINDS
from models.content.facts import outside
from models.content.kind import Style, Violation, facts_hash
from models.content.titles import straight
from models.content.writer import facts_of

SHOWN = ("verified", "approved", "edited")
BY_PEOPLE = ("approved", "edited")
STALE = "stale"
STATUSES = ("draft", "verified", "rejected", "approved", "edited", STALE)
HOW = "Mend the text; or publish it anyway, with a reason, which is kept beside your name"


@dataclass(frozen=True)
class Standing:
    """How a stored text stands now.

    `status` is the stored one, or "stale" for a text that was good and is no longer shown. `violations` is what the checker
    finds in it with the facts of now. `checked` is False where the checker cannot know: the text is about more than its item.
    """

    status: str
    violations: list[Violation]
    checked: bool

    @property
    def shown(self) -> bool:
        """Whether a surface that asks for verified texts gets it."""
        return self.status in SHOWN


@dataclass(frozen=True)
class Given:
    """What a person asks for, on the `version` of the text they saw. `reason` is a must for "reject" and with `anyway`."""

    decision: Decision
    anyway: bool = False
    input_hash: str = ""


def stands(text: Content, outdated: bool, item: Item | None) -> bool:
    """Whether a stored text may be shown now (DESIGN I6).

    One whose item changed stands while its facts are the same. A person's stands as long as the checker finds nothing in it
    that the new facts do not support; a machine's is written anew.
    """
    if text.status not in SHOWN or item is None or item.removed:
        return False
    if not outdated:
        return True
    if text.kind not in ITEM_KINDS:
        return False
    facts = facts_of(item)
    if facts_hash(facts) == text.facts_hash:
        return True
    return text.status in BY_PEOPLE and not ITEM_KINDS[text.kind].check(text.text, facts, Style(text.locale))


def standing(text: Content, outdated: bool, item: Item | None) -> Standing:
    """How a stored text stands, with what speaks against it."""
    checked = item is not None and text.kind in ITEM_KINDS
    found = violations(text.text, text.kind, text.locale, item) if item is not None and text.text else []
    return Standing(_status(text, outdated, item), found, checked)


def listed(
    store: Store, *, status: str | None = None, kind: str | None = None, locale: str | None = None, search: str = "",
    limit: int = 50, after: Place | None = None,
) -> tuple[list[tuple[Listed, str]], Place | None]:  # fmt: skip
    """A page of texts with the status of each as `standing` says it, the newest first, and where the list goes on (None: that
    was all). Fewer than `limit` where outdated texts turn out to be as true as before. Raises InvalidRequest."""
    if status is not None and status not in STATUSES:
        raise InvalidRequest(f"status: {status!r} is none; choose from {', '.join(STATUSES)}")
    stale = status == STALE
    found = store.reviews.texts(
        status=None if stale else status, outdated=True if stale else None, kind=kind, locale=locale, search=search, limit=limit,
        after=after,
    )  # fmt: skip
    items = {item.item: item for item in store.catalogue.items(sorted({one.content.item for one in found}))}
    now = [(one, _status(one.content, one.outdated, items.get(one.content.item))) for one in found]
    return [one for one in now if status in (None, one[1])], found[-1].place if len(found) == limit else None


def violations(text: str, kind: str, locale: str, item: Item) -> list[Violation]:
    """What the checker finds in a text about an item as it is now; of other kinds only what stands outside every fact."""
    if kind not in ITEM_KINDS:
        return list(outside(straight(text)))
    return ITEM_KINDS[kind].check(text, facts_of(item), Style(locale))


def decide(store: Store, item_id: str, kind: str, locale: str, given: Given) -> Content:
    """Check a decision against the facts of now, and keep it.

    Raises InvalidRequest (no reason, no text), NotFound, TextChanged when the text is another version by now, and TextRefused
    with what the checker finds in a text that is to be published without `anyway`.
    """
    decision = replace(given.decision, note=given.decision.note.strip())
    if kind not in CONTENT_KINDS:
        raise InvalidRequest(f"kind: {kind!r} is not a kind of text; choose from {', '.join(CONTENT_KINDS)}")
    if decision.action == "reject":
        if not decision.note:
            raise InvalidRequest("reason: say why the text is rejected; who reads the history will ask")
        return store.reviews.decide(item_id, kind, locale, decision, given.input_hash)
    found = store.contents.content(item_id, kind, locale, given.input_hash)
    item = store.catalogue.item(item_id)
    if item is None or item.removed:
        raise NotFound(f"there is no item {item_id!r} in the catalogue: a text about it can only be rejected")
    if found is not None and found[0].version == decision.version:  # else the store says what is wrong
        text = decision.text.strip() if decision.action == "edit" else found[0].text
        decision = _checked(text, found[0], found[1], item, replace(given, decision=decision))
    return store.reviews.decide(item_id, kind, locale, decision, given.input_hash)


def as_dicts(found: Iterable[Violation]) -> list[dict[str, Any]]:
    """Violations as JSON holds them."""
    return [{**asdict(one), "span": list(one.span)} for one in found]


def _status(text: Content, outdated: bool, item: Item | None) -> str:
    return STALE if text.status in SHOWN and not stands(text, outdated, item) else text.status


def _checked(text: str, stored: Content, outdated: bool, item: Item, given: Given) -> Decision:
    """The decision with the facts it is taken on, and what it overrules. Raises TextRefused."""
    decision = given.decision
    found = violations(text, stored.kind, stored.locale, item) if text else []
    never = list(outside(straight(text)))
    if never:
        raise TextRefused(f"{_told(never)}: nobody can publish that, whatever the reason", as_dicts(never))
    if stored.kind not in ITEM_KINDS:
        if (decision.action == "edit" or outdated) and not _insisted(given):
            raise TextRefused(
                f"what a text of kind {stored.kind!r} is about is not kept, so nothing can check it. {HOW}", []
            )
        return decision
    if found and not _insisted(given):
        raise TextRefused(f"{_told(found)}. {HOW}", as_dicts(found))
    facts = facts_hash(facts_of(item))
    return replace(decision, facts_hash=facts, facts_at=item.changed_at, overruled=as_dicts(found))


def _insisted(given: Given) -> bool:
    if given.anyway and not given.decision.note:
        raise InvalidRequest("reason: say why the text is published although the checker refuses it")
    return given.anyway


def _told(found: Iterable[Violation]) -> str:
    return "; ".join(f"{one.claim!r} {one.reason}" for one in list(found)[:5])
