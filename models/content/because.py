"""The kind "because": one line on why this item for this user, no more than the model that chose it can say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from core.settings import Length
from models.content.banned import said
from models.content.description import listed
from models.content.facts import LANGUAGES, Form, check_items
from models.content.kind import PLAIN, ItemFacts, Probe, Style, Violation
from models.content.language import base
from models.content.prompting import INVENTED, SHOP, TRIED, few_shot, hash_of, told
from models.text.generator import Prompt

# What a user did, by the kind of event: what may be said of it.
VERBS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "view": ("viewed", "you viewed", "you looked at", "looked at"),
        "click": ("clicked", "you clicked on", "you looked at"),
        "cart": ("in your cart", "is in your cart", "you added to your cart", "you put in your cart"),
        "purchase": ("purchased", "you purchased", "ordered", "you ordered", "bought", "you bought"),
        "like": ("you like", "you liked"),
        "rating": ("rated", "you rated"),
        "watch": ("watched", "you watched"),
        "play": ("played", "you played"),
    },
    "de": {
        "view": ("sie angesehen haben", "angesehen haben"),
        "click": ("angeklickt haben",),
        "cart": ("in ihrem warenkorb", "in den warenkorb gelegt haben"),
        "purchase": ("gekauft hat", "bestellt haben", "gekauft haben"),
        "like": ("mögen", "gut finden"),
        "rating": ("bewertet haben",),
        "watch": ("gesehen haben",),
        "play": ("gespielt haben",),
    },
}
# The template's way to say it.
SAID = {
    "en": {
        "view": "Because you looked at {named}", "click": "Because you looked at {named}", 
        "cart": "Because of {named} in your cart",
        "purchase": "Because you bought {named}", "like": "Because you liked {named}", "rating": "Because you rated {named}",
        "watch": "Because you watched {named}", "play": "Because you played {named}", "": "Because of {named}",
    },
    "de": {
        "view": "Weil Sie {named} angesehen haben", "click": "Weil Sie {named} angeklickt haben",
        "cart": "Weil Sie {named} in den Warenkorb gelegt haben", "purchase": "Weil Sie {named} gekauft haben",
        "like": "Weil Sie {named} mögen", "rating": "Weil Sie {named} bewertet haben", "watch": "Weil Sie {named} gesehen haben",
        "play": "Weil Sie {named} gespielt haben", "": "Wegen {named}",
    },
}  # fmt: skip
# What may be said of how an item was found, by what the model knows. Anything else about people or taste is a claim.
SEQUENTIAL = ("transitions", "sequence", "repeat", "step_counts", "blend")
BY_PEOPLE = ("als", "bpr", "linear", "ease", "vae", "graph", "neighbours", "blend", *SEQUENTIAL)
BY_TEXT = ("content", "content_similarity", "similar", "text_vectors")
FOUND: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "sequence": ("often comes after", "often follows", "often chosen after"),
        "people": ("people who", "also chose", "often chosen with", "chosen together with"),
        "text": ("similar to", "alike", "like", "much like"),
        "popular": ("popular right now", "is popular right now", "popular", "is popular"),
        "trending": ("trending", "trending now", "is trending"),
        "latest": ("new", "new here"),
    },
    "de": {
        "sequence": ("folgt oft auf", "wird oft nach", "oft danach gewählt"),
        "people": ("wer", "wählt oft auch", "oft zusammen gewählt mit"),
        "text": ("ähnlich wie", "ähnlich"),
        "popular": ("zurzeit beliebt", "ist zurzeit beliebt", "gerade beliebt", "ist gerade beliebt", "beliebt"),
        "trending": ("im trend", "liegt im trend"),
        "latest": ("neu", "neu hier"),
    },
}
# Which items may follow a phrase: "often comes after" what the user did, "also chose" what is recommended.
OF_HISTORY = ("often comes after", "often follows", "often chosen after", "often chosen with", "chosen together with",
              "similar to", "much like", "folgt oft auf", "wird oft nach", "oft zusammen gewählt mit", "ähnlich wie")  # fmt: skip
OF_SUBJECT = ("also chose", "wählt oft auch")
SOURCES = {
    "sequence": SEQUENTIAL, "people": BY_PEOPLE, "text": BY_TEXT, "popular": ("popular", "counts", "popularity"),
    "trending": ("trending",), "latest": ("latest",),
}  # fmt: skip
PHRASES = {
    "en": ("because", "because of", "like", "such as", "which", "too", "also", "as well", "and also"),
    "de": ("weil", "weil sie", "wegen", "wie", "die sie", "das sie", "den sie", "auch", "haben", "hat", "sie", "oft"),
}
UNIVERSAL = {"en": "Fits what you chose so far", "de": "Passt zu Ihrer bisherigen Auswahl"}
PLAINLY = {
    "en": {"popular": "Popular right now", "trending": "Trending now", "latest": "New here"},
    "de": {"popular": "Zurzeit beliebt", "trending": "Im Trend", "latest": "Neu hier"},
}
SYSTEM = {
    "en": "You say in one line why an item is recommended, from a note and with nothing else.",
    "de": "Du sagst in einer deutschen Zeile, warum ein Artikel empfohlen wird, aus einer Notiz und mit sonst nichts.",
}
FORM = Form(140, 1, prose=False, named=False, phrases=PHRASES, subject=0)
NO_WORDS = "–"  # in a language that nothing is written in here, or where the house bans every wording
MAX_NAMED = 2
KEPT_LINES = 100_000  # some 300 bytes each


@dataclass(frozen=True)
class BecauseFacts:
    """`about` is recommended; `history` are the items of the user's own past that carried its score, with the kind of event
    ("view", "purchase", ...), strongest first; `source` names the model or list that brought it ("transitions")."""

    about: ItemFacts
    history: tuple[tuple[ItemFacts, str], ...] = ()
    source: str = ""
    locale: str = "en"

    @property
    def item(self) -> str:
        """The recommended item's id."""
        return self.about.item


class Because:
    """Why this item for this user: what they did, or how it was found; never what they feel or others are."""

    name = "because"
    facts_type = BecauseFacts
    max_tokens = 40
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        return hash_of(self.name, SYSTEM, SAID)

    def probes(self, style: Style) -> list[Probe[BecauseFacts]]:
        """Invented items with one or two events behind them."""
        kinds = ("view", "purchase", "like", "cart")
        return [
            Probe(BecauseFacts(items[n], ((items[(n + 1) % 8], kinds[n % 4]),), "transitions"), shop=shop)
            for items, shop in ((TRIED, False), (SHOP, True)) for n in range(8)
        ]  # fmt: skip

    def writable(self, facts: BecauseFacts, style: Style) -> str | None:
        """Why a model is not asked: no grammar of the language, or no item of the history to name."""
        if style.code(facts) not in LANGUAGES:
            return f"there is no grammar here for {style.locale or facts.locale!r}"
        return None if _named(facts)[0] else "no item of the history can be named"

    def prompt(self, facts: BecauseFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """The item, what the user did with which others, with examples."""
        code = style.code(facts)
        return few_shot(told(SYSTEM[code], style, code), _examples(code, style.length), _note(facts, code), rejected)

    def check(self, text: str, facts: BecauseFacts, style: Style = PLAIN) -> list[Violation]:
        """Items of the history are named with what was done with them; the item's own facts are its own."""
        code = style.code(facts)
        if text == UNIVERSAL.get(code, NO_WORDS):
            return []
        items = (facts.about, *(item for item, _ in facts.history))
        return check_items(text, items, FORM, style.locale or facts.locale, _claims(facts, code))

    def fallback(self, facts: BecauseFacts, style: Style = PLAIN) -> str:
        """ "Because you bought Alien", "Popular right now", or that it fits."""
        code = style.code(facts)
        texts = [*_texts(facts, code, _most(style)), UNIVERSAL.get(code, NO_WORDS)]
        return next(text for text in texts if not self.check(text, facts, style))


@cache
def _examples(code: str, length: Length) -> list[tuple[str, str]]:
    events = ("view", "purchase", "like")
    shown = [BecauseFacts(INVENTED[0], ((INVENTED[n + 1], kind),), "", code) for n, kind in enumerate(events)]
    return [(_note(one, code), BECAUSE.fallback(one, Style(code, length=length))) for one in shown]


def _claims(facts: BecauseFacts, code: str) -> dict[str, frozenset[int]]:
    """Each phrase about an event or a source, with the items it is true of: none, where it did not happen."""
    everything = frozenset(range(len(facts.history) + 1))
    claims: dict[str, frozenset[int]] = {}
    for kind, phrases in VERBS.get(code, {}).items():
        holders = frozenset(ix for ix, (_, event) in enumerate(facts.history, 1) if event == kind)
        claims |= {phrase: claims.get(phrase, frozenset[int]()) | holders for phrase in phrases}
    neutral = PHRASES.get(code, ())
    for how, phrases in FOUND.get(code, {}).items():
        true = facts.source in SOURCES[how]
        for phrase in phrases:
            follow = {0} if phrase in OF_SUBJECT else everything - {0} if phrase in OF_HISTORY else everything
            if phrase not in neutral:
                claims[phrase] = frozenset(follow) if true else frozenset()
    return claims


def _named(facts: BecauseFacts) -> tuple[list[str], str]:
    """(names, event): of the history that can be named, those of the strongest one's kind of event."""
    shown = [(item.names[0], kind) for item, kind in facts.history if item.names]
    if not shown:
        return [], ""
    return [name for name, kind in shown if kind == shown[0][1]][:MAX_NAMED], shown[0][1]


@lru_cache(KEPT_LINES)
def line(names: tuple[str, ...], event: str, style: Style) -> str:
    """The template's line from names that may be shown (see ItemFacts.names), of items that the user did `event` with, for
    whoever makes thousands in a second: it costs some microseconds, and passes `check` as any `fallback` does."""
    code = base(style.locale or "en")
    named = _wordings(names[: _most(style)], event, code)
    texts = (*(text for text in named if len(text) <= FORM.max_chars), UNIVERSAL.get(code, NO_WORDS))
    return next((text for text in texts if not said(text, names, style.banned)), NO_WORDS)


def _most(style: Style) -> int:
    return 1 if style.length == "short" else MAX_NAMED


def _wordings(names: Sequence[str], event: str, code: str) -> Iterator[str]:
    wordings = SAID.get(code, {"": "{named}"})
    for wording in dict.fromkeys((wordings.get(event, wordings[""]), wordings[""])):
        yield from (wording.format(named=listed(names[:most], code)) for most in range(len(names), 0, -1))


def _texts(facts: BecauseFacts, code: str, most_named: int) -> Iterator[str]:
    names, event = _named(facts)
    yield from _wordings(names[:most_named], event, code)
    plainly = PLAINLY.get(code, {})
    yield from (text for how, text in plainly.items() if facts.source in SOURCES[how])


def _note(facts: BecauseFacts, code: str) -> str:
    names, event = _named(facts)
    return f"{facts.about.names[0] if facts.about.names else '?'} | {event or '?'} | {', '.join(names)}"


BECAUSE = Because()
