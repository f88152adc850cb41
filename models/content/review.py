"""A person's word on a text: which stored text may be shown as it is, and decisions checked before they are kept.

The checker has no say over a person's own words, but the person is told what it finds, and to publish nonetheless they must
say so and why (docs/adr/0020). What could hurt where a text is shown (links, markup, orders to a model) no one can publish.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.errors import InvalidRequest, NotFound, TextRefused
from core.requests import input_hash_of
from core.store import Store
from core.store.catalogue import Item
from core.store.contents import Content
from core.store.drafts import Draft
from core.store.reviews import Decision, Listed, Place
from models.content.about import CHECKED, SHOWN, Around, FromStore, facts_about, kind_of, stands
from models.content.banned import banned, list_hash, objections
from models.content.facts import outside
from models.content.kind import Facts, Style, Violation, facts_hash
from models.content.titles import straight

STALE = "stale"
DRAFT = "draft"  # a person's, kept apart from what is published (core/store/drafts.py)
STATUSES = (DRAFT, "verified", "rejected", "approved", "edited", STALE)
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
    """What a person asks for, on the `version` of the text they saw. `reason` is a must for "reject" and with `anyway`.
    `words` are those that the house banned."""

    decision: Decision
    anyway: bool = False
    input_hash: str = ""
    words: tuple[str, ...] = ()


def standing(
    text: Content, outdated: bool, item: Item | None, around: Around, words: tuple[str, ...] = ()
) -> Standing:  # fmt: skip
    """How a stored text stands, with what speaks against it, the house's banned `words` among it."""
    facts = None if item is None else _facts(text.kind, item, text.locale, around, text.about)
    found = violations(text.text, text.kind, text.locale, facts, words) if item is not None and text.text else []
    return Standing(_status(text, outdated, item, around, words), found, facts is not None)


def listed(
    store: Store, *, status: str | None = None, kind: str | None = None, locale: str | None = None, search: str = "",
    limit: int = 50, after: Place | None = None, words: tuple[str, ...] = (),
) -> tuple[list[tuple[Listed, str]], Place | None]:  # fmt: skip
    """A page of texts with the status of each as `standing` says it, the newest first, and where the list goes on (None: that
    was all). Fewer than `limit` where outdated texts turn out to be as true as before. Raises InvalidRequest."""
    if status is not None and status not in STATUSES:
        raise InvalidRequest(f"status: {status!r} is none; choose from {', '.join(STATUSES)}")
    if status == DRAFT:
        drafts = store.drafts.listed(kind=kind, locale=locale, search=search, limit=limit, after=after)
        return [(_of_draft(one), DRAFT) for one in drafts], drafts[-1].place if len(drafts) == limit else None
    stale = status == STALE
    found = store.reviews.texts(
        status=None if stale else status, outdated=True if stale else None, kind=kind, locale=locale, search=search, limit=limit,
        after=after,
    )  # fmt: skip
    items = {item.item: item for item in store.catalogue.items(sorted({one.content.item for one in found}))}
    around = FromStore(store)
    now = [(one, _status(one.content, one.outdated, items.get(one.content.item), around, words)) for one in found]
    return [one for one in now if status in (None, one[1])], found[-1].place if len(found) == limit else None


def violations(
    text: str, kind: str, locale: str, facts: Facts | None, words: tuple[str, ...] = ()
) -> list[Violation]:  # fmt: skip
    """What the checker finds in a text where these are the facts; None: they are not known, and only what stands outside
    every fact is found."""
    if facts is None:
        return [*outside(straight(text)), *banned(text, None, words)]
    return objections(kind_of(kind), text, facts, Style(locale, banned=words))


def violations_now(
    store: Store, text: str, key: tuple[str, str, str, str], about: dict[str, Any], words: tuple[str, ...] = ()
) -> list[Violation]:  # fmt: skip
    """What the checker would find in `text` as the text of this item, kind, language and input hash, `about` what else."""
    item_id, kind, locale, _ = key
    item = store.catalogue.item(item_id)
    if item is None:
        return []
    return violations(text, kind, locale, _facts(kind, item, locale, FromStore(store), about), words)


def decide(store: Store, item_id: str, kind: str, locale: str, given: Given) -> Content:
    """Check a decision against the facts of now, and keep it.

    An edit of version 0 is the first text of that kind: where none is stored, of a kind whose facts are known.

    Raises InvalidRequest (no reason, no text), NotFound, TextChanged when the text is another version by now, and TextRefused
    with what the checker finds in a text that is to be published without `anyway`.
    """
    decision = replace(given.decision, note=given.decision.note.strip())
    kind_of(kind)
    if decision.action == "reject":
        if not decision.note:
            raise InvalidRequest("reason: say why the text is rejected; who reads the history will ask")
        return store.reviews.decide(item_id, kind, locale, decision, given.input_hash)
    found = store.contents.content(item_id, kind, locale, given.input_hash)
    item = store.catalogue.item(item_id)
    if item is None or item.removed:
        raise NotFound(f"there is no item {item_id!r} in the catalogue: a text about it can only be rejected")
    given = replace(given, decision=decision)
    if found is not None and found[0].version == decision.version:  # else the store says what is wrong
        text = decision.text.strip() if decision.action == "edit" else found[0].text
        facts = _facts(kind, item, locale, FromStore(store), found[0].about)
        decision = _checked(text, kind, locale, facts, found[1], item, given)
    elif found is None and decision.action == "edit" and decision.version == 0:
        facts = facts_about(kind, item, locale, FromStore(store), decision.about) if kind in CHECKED else None
        if facts is None or input_hash_of(decision.about) != given.input_hash:
            raise InvalidRequest(
                f"kind: what a text of kind {kind!r} is about is not known here; write one with POST /v1/content"
            )
        decision = _checked(decision.text.strip(), kind, locale, facts, False, item, given)
    return store.reviews.decide(item_id, kind, locale, decision, given.input_hash)


def as_dicts(found: Iterable[Violation]) -> list[dict[str, Any]]:
    """Violations as JSON holds them."""
    return [{**asdict(one), "span": list(one.span)} for one in found]


def _of_draft(one: Draft) -> Listed:
    """A draft as the list of texts shows it; its version is that of what is published, 0 where nothing is."""
    text = Content(
        one.key.item, one.key.kind, one.key.locale, one.text, DRAFT, "person", "", "", one.saved_at, "", 0, [],
        input_hash=one.key.input_hash, version=one.version, about=one.about,
    )  # fmt: skip
    return Listed(text, one.title, False, one.saved_at)


def _status(text: Content, outdated: bool, item: Item | None, around: Around, words: tuple[str, ...]) -> str:
    return STALE if text.status in SHOWN and not stands(text, outdated, item, around, words) else text.status


def _facts(kind: str, item: Item, locale: str, around: Around, about: dict[str, Any]) -> Facts | None:
    """What a text is about now; None where that is not kept, or gone."""
    try:
        return facts_about(kind, item, locale, around, about) if kind in CHECKED else None
    except NotFound:
        return None


def _checked(
    text: str, kind: str, locale: str, facts: Facts | None, outdated: bool, item: Item, given: Given
) -> Decision:  # fmt: skip
    """The decision with the facts it is taken on, and what it overrules. Raises TextRefused."""
    decision = given.decision
    found = violations(text, kind, locale, facts, given.words) if text else []
    decision = replace(decision, banned_hash=list_hash(given.words))
    never = list(outside(straight(text)))
    if never:
        raise TextRefused(f"{_told(never)}: nobody can publish that, whatever the reason", as_dicts(never))
    if facts is None:
        if (decision.action == "edit" or outdated) and not _insisted(given):
            raise TextRefused(f"what a text of kind {kind!r} is about is not kept, so nothing can check it. {HOW}", [])
        return decision
    if found and not _insisted(given):
        raise TextRefused(f"{_told(found)}. {HOW}", as_dicts(found))
    return replace(
        decision, facts_hash=facts_hash(facts), facts_at=item.changed_at, overruled=as_dicts(found)
    )  # fmt: skip


def _insisted(given: Given) -> bool:
    if given.anyway and not given.decision.note:
        raise InvalidRequest("reason: say why the text is published although the checker refuses it")
    return given.anyway


def _told(found: Iterable[Violation]) -> str:
    return "; ".join(f"{one.claim!r} {one.reason}" for one in list(found)[:5])
