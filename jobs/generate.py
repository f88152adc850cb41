"""Writing the catalogue's texts: those that are asked for, each at most once for the same facts, prompt and model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from core.errors import NotFound
from core.requests import TextKey, TextRequest
from core.store.catalogue import Item
from core.store.content_requests import Refusal, Settlement, Tried, Wanted
from core.store.contents import WRITABLE, Content
from jobs.context import JobContext
from jobs.text_model import TextModel
from models.content import ITEM_KINDS
from models.content.fit import Fits
from models.content.kind import ContentKind, ItemFacts, Style, facts_hash
from models.content.prompting import prompt_hash
from models.content.writer import as_content, facts_of, write

LOOK_S = 5.0  # how often the budget is looked at while it is spent


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
        return Style(locale, self._context.settings.content_tone, self._context.settings.content_length)

    def wanted(
        self,
        texts: Sequence[tuple[str, str]],
        *,
        kind: str | None = None,
        locale: str | None = None,
        only_stale: bool = False,
    ) -> Wanted:
        """What to look for: `texts` that every item is to have, and of those there are (of `kind`, in `locale`) the outdated
        ones and, unless `only_stale`, those that the template wrote and the model was not asked for.
        """
        prompts = {
            one.name: prompt_hash(one, self.style(locale or self._context.settings.content_locale))
            for one in ITEM_KINDS.values() if kind in (None, one.name)
        }  # fmt: skip
        return Wanted(texts, prompts, self.model.name if self.model and not only_stale else "", locale)

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
        done, refused, true, wanting = [], [], [], []
        for key in sorted((one.key for one in requests), key=lambda key: (key.kind, key.locale)):
            item, text = items.get(key.item), stored.get(key)
            if key.kind not in ITEM_KINDS:
                refused.append(Refusal(key, "unknown_kind", f"no kind of text about an item is called {key.kind!r}"))
            elif item is None:
                refused.append(Refusal(key, "unknown_item", "no event has told of an item of that id"))
            elif item.removed or item.hidden or (text is not None and text.status not in WRITABLE):
                done.append(key)  # nothing to write, or a person has written it
            elif text is not None and self._fresh(text, item, tried.get(key)):
                done.append(key)
                true.append((key, item.changed_at))
            else:
                wanting.append((key, item))
        settlement = Settlement(done=done, refused=refused, true=true)
        for (kind, locale), group in groupby(wanting, key=lambda one: (one[0].kind, one[0].locale)):
            settlement += self._write(ITEM_KINDS[kind], locale, [item for _, item in group])
        return settlement

    def _write(self, kind: ContentKind[ItemFacts], locale: str, items: Sequence[Item]) -> Settlement:
        texts = write(kind, [facts_of(item) for item in items], self.model, self.style(locale), fits=self._fits)
        # What the template wrote because the model was away is still the model's to write.
        away = self.model is not None and self.model.away is not None
        keys = [TextKey(item.item, kind.name, locale) for item in items]
        later = [key for key, text in zip(keys, texts, strict=True) if away and text.origin == "template"]
        name = self.model.name if self.model is not None else ""
        tries = [
            Tried(key, text.facts_hash, text.prompt_hash, name)
            for key, text in zip(keys, texts, strict=True) if self.model is not None and key not in later
        ]  # fmt: skip
        return Settlement(
            done=[key for key in keys if key not in later], later=later, tries=tries,
            texts=[as_content(text, item, locale) for text, item in zip(texts, items, strict=True)],
            tokens=self.model.take_tokens() if self.model is not None else 0,
        )  # fmt: skip

    def _fresh(self, text: Content, item: Item, tried: Tried | None) -> bool:
        """Whether a text says what its item says, by who would write it now; a template's, where the model was asked in vain."""
        kind, facts = ITEM_KINDS[text.kind], facts_hash(facts_of(item))
        prompt = prompt_hash(kind, self.style(text.locale))
        if (text.facts_hash, text.prompt_hash) != (facts, prompt):
            return False
        if self.model is None:
            return True
        if text.origin == "model":
            return not self.model.name or text.model == self.model.name
        return tried is not None and (tried.facts_hash, tried.prompt_hash, tried.model) == (
            facts,
            prompt,
            self.model.name,
        )


def generate(
    kind_name: str, limit: int, model: TextModel | None, context: JobContext, *, locale: str | None = None,
    only_stale: bool = False, fits: Fits | None = None,
) -> Counter[str]:  # fmt: skip
    """Write at most `limit` missing or stale texts of a kind here and now, the newest and most viewed first.

    Returns how many were written by origin and status ("model verified", "template verified", ...), and how many were found
    "unchanged". Killed and run again it goes on where it was: what is settled is not wanted any more. Waits while the budget
    of tokens is spent. Raises NotFound for an unknown kind.
    """
    if kind_name not in ITEM_KINDS:
        raise NotFound(f"there is no kind {kind_name!r} of texts about one item; choose from {', '.join(ITEM_KINDS)}")
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
