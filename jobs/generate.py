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
from models.content.about import NEEDED, OF_ITEM, FromStore, facts_about
from models.content.fit import Fits
from models.content.kind import Facts, Style, facts_hash
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
        rest_s: float = 0.0,
    ) -> Wanted:
        """What to look for: `texts` that every item is to have, and of those there are (of `kind`, in `locale`) the stale ones
        (another state of the item, prompt, style or model than now) and, unless `only_stale`, those that the template wrote and
        the model was not asked for. See Wanted for `rest_s`.
        """
        prompts = {
            name: prompt_hash(one, self.style(locale or self._context.settings.content_locale))
            for name, one in OF_ITEM.items() if kind in (None, name)
        }  # fmt: skip
        return Wanted(texts, prompts, self.model.name if self.model else "", locale, not only_stale, rest_s, NEEDED)

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
        done, refused, true, wanting = [], [], [], list[_Wanting]()
        for key in sorted((one.key for one in requests), key=lambda key: (key.kind, key.locale)):
            item, text = items.get(key.item), stored.get(key)
            if key.kind not in OF_ITEM:
                refused.append(Refusal(key, "unknown_kind", f"no kind of text about an item is called {key.kind!r}"))
            elif item is None:
                refused.append(Refusal(key, "unknown_item", "no event has told of an item of that id"))
            elif item.removed or item.hidden or (text is not None and text.status not in WRITABLE):
                done.append(key)  # nothing to write, or a person has written it
            else:
                try:
                    facts = facts_about(key.kind, item, key.locale, FromStore(store))
                except NotFound as error:
                    refused.append(Refusal(key, "nothing_to_say", str(error)))
                    continue
                holds = text is not None and text.facts_hash == facts_hash(facts)
                if text is not None and holds and self._fresh(text, tried.get(key)):
                    done.append(key)
                    true.append((key, item.changed_at))
                else:
                    wanting.append(_Wanting(key, item, facts, text if holds else None))
        settlement = Settlement(done=done, refused=refused, true=true)
        for (kind, locale), group in groupby(wanting, key=lambda one: (one.key.kind, one.key.locale)):
            settlement += self._write(kind, locale, list(group))
        return settlement

    def _write(self, kind: str, locale: str, wanting: Sequence[_Wanting]) -> Settlement:
        texts = write(OF_ITEM[kind], [one.facts for one in wanting], self.model, self.style(locale), fits=self._fits)
        # What the template wrote because the model was away is still the model's to write.
        away = self.model is not None and self.model.away is not None
        keys = [one.key for one in wanting]
        later = [key for key, text in zip(keys, texts, strict=True) if away and text.origin == "template"]
        # A model's text that is true, of an older prompt maybe, is better than a template until the model is back.
        kept = {one.key for one in wanting if one.true is not None and one.true.origin == "model"}.intersection(later)
        name = self.model.name if self.model is not None else ""
        tries = [
            Tried(key, text.facts_hash, text.prompt_hash, name)
            for key, text in zip(keys, texts, strict=True) if self.model is not None and key not in later
        ]  # fmt: skip
        return Settlement(
            done=[key for key in keys if key not in later], later=later, tries=tries,
            texts=[
                replace(as_content(text, one.item, locale), kind=kind)
                for text, one in zip(texts, wanting, strict=True) if one.key not in kept
            ],
            tokens=self.model.take_tokens() if self.model is not None else 0,
        )  # fmt: skip

    def _fresh(self, text: Content, tried: Tried | None) -> bool:
        """Whether a true text is from today's prompt, and by who would write it now (or that model was asked in vain)."""
        prompt = prompt_hash(OF_ITEM[text.kind], self.style(text.locale))
        if text.prompt_hash != prompt:
            return False
        if self.model is None or (text.origin == "model" and self.model.name in ("", text.model)):
            return True
        asked = (text.facts_hash, prompt, self.model.name)
        return tried is not None and (tried.facts_hash, tried.prompt_hash, tried.model) == asked


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
