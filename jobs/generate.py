"""Writing the catalogue's texts: those that are asked for, each at most once for the same facts, prompt and model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.errors import NotFound
from core.requests import TextKey, TextRequest
from core.store.catalogue import Item
from core.store.content_requests import Refusal, Settlement, Tried, Wanted
from core.store.contents import WRITABLE, Content
from jobs.context import JobContext
from jobs.text_model import TextModel
from models.content.about import BECAUSE, NEEDED, OF_ITEM, FromStore, facts_about, kind_of
from models.content.banned import banned, list_hash
from models.content.fit import Fits
from models.content.kind import Facts, Style, facts_hash, house_style
from models.content.prompting import prompt_hash
from models.content.writer import as_content, write

LOOK_S = 5.0  # how often the budget is looked at while it is spent


@dataclass(frozen=True)
class _Wanting:
    """A text to write: what it may state, and what is stored and still true, if anything."""

    key: TextKey
    item: Item
    facts: Facts
    true: Content | None
    about: dict[str, str]


class TextWriter:
    """Writes what is asked for, by the model where there is one and by the template where that may not, or cannot, speak.

    Stores nothing: what came of it is a Settlement, for the caller to commit. With `fits`, a model writes only kinds that it
    has shown to be able to (models/content/fit.py).
    """

    def __init__(self, context: JobContext, model: TextModel | None, fits: Fits | None) -> None:
        self._context, self._fits = context, fits
        self.model = model
        if model is not None:
            model.open()

    def style(self, locale: str) -> Style:
        """The namespace's style, in a language."""
        return house_style(self._context.settings, locale)

    def wanted(
        self,
        texts: Sequence[tuple[str, str]],
        *,
        kind: str | None = None,
        locale: str | None = None,
        only_stale: bool = False,
        rest_s: float = 0.0,
    ) -> Wanted:
        """What to look for: `texts` that every item is to have, and of those there are (of `kind`, in `locale`) the stale ones
        (another state of the item, prompt, style or model than now) and, unless `only_stale`, those that the template wrote and
        the model was not asked for. See Wanted for `rest_s`.
        """
        settings = self._context.settings
        style = self.style(locale or settings.content_locale)
        kinds = {**OF_ITEM, BECAUSE: kind_of(BECAUSE)} if settings.reasons_wanted else OF_ITEM
        prompts = {name: prompt_hash(one, style) for name, one in kinds.items() if kind in (None, name)}
        model = self.model.name if self.model else ""
        return Wanted(texts, prompts, model, locale, not only_stale, rest_s, NEEDED, list_hash(style.banned))

    def pause_s(self) -> float:
        """How long no text may be written because the hour's tokens are spent (templates cost none); 0: go on."""
        budget = self._context.settings.content_tokens_per_hour
        if budget is None or self.model is None:
            return 0.0
        spent, left_s = self._context.store.content_requests.spent()
        return left_s if spent >= budget else 0.0

    def write(self, requests: Sequence[TextRequest]) -> Settlement:
        """What came of requests, each about another text. Raises DatabaseUnavailable."""
        store = self._context.store
        items = {one.item: one for one in store.catalogue.items(list({one.item for one in requests}))}
        stored, tried = store.content_requests.known([one.key for one in requests])
        settlement, wanting = Settlement(), list[_Wanting]()
        for request in sorted(requests, key=lambda one: (one.kind, one.locale)):
            key = request.key
            found = self._looked_at(request, items.get(key.item), stored.get(key), tried.get(key))
            if isinstance(found, Settlement):
                settlement += found
            else:
                wanting.append(found)
        for (kind, locale), group in groupby(wanting, key=lambda one: (one.key.kind, one.key.locale)):
            settlement += self._write(kind, locale, list(group))
        return settlement

    def _looked_at(
        self, request: TextRequest, item: Item | None, text: Content | None, tried: Tried | None
    ) -> Settlement | _Wanting:  # fmt: skip
        """What comes of a request without writing; else what is to be written."""
        key = request.key
        if key.kind not in OF_ITEM and not (key.kind == BECAUSE and request.about):
            return _refused(key, "unknown_kind", f"no kind of text about an item is called {key.kind!r}")
        if item is None:
            return _refused(key, "unknown_item", "no event has told of an item of that id")
        if item.removed or item.hidden or (text is not None and text.status not in WRITABLE):
            return Settlement(done=[key])  # nothing to write, or a person has written it
        try:
            facts = facts_about(key.kind, item, key.locale, FromStore(self._context.store), request.about)
        except NotFound as error:
            return _refused(key, "nothing_to_say", str(error))
        style, hashed = self.style(key.locale), facts_hash(facts)
        holds = text is not None and text.facts_hash == hashed
        if text is not None and holds and self._fresh(text, tried):
            if text.banned_hash == list_hash(style.banned):
                return Settlement(done=[key], true=[(key, item.changed_at)])
            if text.text and not banned(text.text, facts, style.banned):  # it says nothing that is new on the list
                now = replace(text, facts_at=item.changed_at, banned_hash=list_hash(style.banned))
                return Settlement(done=[key], listed=[now])
            holds = False
        if request.about and self._in_vain(tried, hashed, style, key.kind):
            return Settlement(done=[key])  # what is stored, if anything, is not said where it is not true
        return _Wanting(key, item, facts, text if holds else None, request.about)

    def _write(self, kind: str, locale: str, wanting: Sequence[_Wanting]) -> Settlement:
        texts = write(kind_of(kind), [one.facts for one in wanting], self.model, self.style(locale), fits=self._fits)
        # What the template wrote because the model was away is still the model's to write.
        away = self.model is not None and self.model.away is not None
        keys = [one.key for one in wanting]
        later = [key for key, text in zip(keys, texts, strict=True) if away and text.origin == "template"]
        # A model's text that is true, of an older prompt maybe, is better than a template until the model is back.
        kept = {one.key for one in wanting if one.true is not None and one.true.origin == "model"}.intersection(later)
        name = self.model.name if self.model is not None else ""
        tries = [
            Tried(key, text.facts_hash, _asked_with(text.prompt_hash, kind, self.style(locale)), name)
            for key, text in zip(keys, texts, strict=True)
            if (self.model is not None or kind == BECAUSE) and key not in later
        ]  # fmt: skip
        return Settlement(
            done=[key for key in keys if key not in later], later=later, tries=tries,
            texts=[
                replace(as_content(text, one.item, locale), kind=kind, about=one.about, input_hash=one.key.input_hash)
                for text, one in zip(texts, wanting, strict=True)
                if one.key not in kept and (text.origin == "model" or kind != BECAUSE)  # a template's line is made when asked
            ],
            tokens=self.model.take_tokens() if self.model is not None else 0,
        )  # fmt: skip

    def _fresh(self, text: Content, tried: Tried | None) -> bool:
        """Whether a true text is from today's prompt, and by who would write it now (or that model was asked in vain)."""
        style = self.style(text.locale)
        if text.prompt_hash != prompt_hash(kind_of(text.kind), style):
            return False
        if self.model is None or (text.origin == "model" and self.model.name in ("", text.model)):
            return True
        return self._in_vain(tried, text.facts_hash, style, text.kind)

    def _in_vain(self, tried: Tried | None, facts: str, style: Style, kind: str) -> bool:
        """Whether the model was asked just this, and gave what it could give."""
        prompt = _asked_with(prompt_hash(kind_of(kind), style), kind, style)
        asked = (facts, prompt, self.model.name if self.model is not None else "")
        return tried is not None and (tried.facts_hash, tried.prompt_hash, tried.model) == asked


def _asked_with(prompt: str, kind: str, style: Style) -> str:
    """A prompt's hash as it is kept with what was asked. Of a reason nothing is stored where a model failed, so that only here
    stands which banned words it failed with; WANTING puts the two together as well."""
    return prompt + list_hash(style.banned) if kind == BECAUSE else prompt


def _refused(key: TextKey, reason: str, detail: str) -> Settlement:
    return Settlement(refused=[Refusal(key, reason, detail)])


def generate(
    kind_name: str, limit: int, model: TextModel | None, context: JobContext, *, locale: str | None = None,
    only_stale: bool = False, fits: Fits | None = None,
) -> Counter[str]:  # fmt: skip
    """Write at most `limit` missing or stale texts of a kind here and now, the newest and most viewed first.

    Returns how many were written by origin and status ("model verified", "template verified", ...), and how many were found
    "unchanged". Killed and run again it goes on where it was: what is settled is not wanted any more. Waits while the budget
    of tokens is spent. Raises NotFound for an unknown kind.
    """
    if kind_name not in OF_ITEM:
        raise NotFound(f"there is no kind {kind_name!r} of texts about one item; choose from {', '.join(OF_ITEM)}")
    writer, requests = TextWriter(context, model, fits), context.store.content_requests
    locale = locale or context.settings.content_locale
    texts = [] if only_stale else [(kind_name, locale)]
    wanted = writer.wanted(texts, kind=kind_name, locale=locale, only_stale=only_stale)
    found = requests.wanting(wanted, limit, requested_too=True)
    size, outcome = context.settings.content_batch_requests, Counter[str]()
    with context.reporter.task(f"writing {kind_name} texts", max(1, len(found))) as task:
        for start in range(0, len(found), size):
            while (pause_s := writer.pause_s()) > 0:
                task.advance(0, f"the hour's tokens are spent: {pause_s / 60:.0f} min to wait")
                time.sleep(min(pause_s, LOOK_S))
            settlement = writer.write(found[start : start + size])
            requests.settle(settlement)
            outcome.update(f"{text.origin} {text.status}" for text in settlement.texts)
            outcome["unchanged"] += len(settlement.done) + len(settlement.later) - len(settlement.texts)
            task.advance(len(found[start : start + size]), ", ".join(f"{n} {what}" for what, n in (+outcome).items()))
    return +outcome
