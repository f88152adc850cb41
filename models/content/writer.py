"""Writing texts: ask the model, check, ask again with the violation named, and let the template speak where nothing passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, Literal

from core.errors import TextModelUnavailable
from core.progress import Reporter, Silent, Task
from core.store.catalogue import Item
from core.store.contents import Content
from core.telemetry import TEXTS
from models.content.banned import list_hash, objections
from models.content.fit import Fits, of_shop
from models.content.kind import PLAIN, ContentKind, F, ItemFacts, Style, Violation, facts_hash
from models.content.prompting import prompt_hash
from models.text.generator import Limits, TextGenerator

BATCH_ITEMS = 32  # items in flight: what a model that goes away midway can cost
RETRY_TEMPERATURE = 0.3  # the first try takes the likeliest words; a retry may stray a little
TEMPLATE = "template"
REVIEWS, MEMBERS = (
    "reviews",
    "items",
)  # attributes: what people wrote about an item, and of which items it is a collection
RELATED = (REVIEWS, MEMBERS)

Refused = Callable[[str, int, Sequence[Violation]], object]  # the item, which try from 1, and why


@dataclass(frozen=True, slots=True)
class Written:
    """One text and where it came from.

    `status` is "verified", or "rejected" with an empty text when not even the template passed its check.
    `attempts` counts the model's tries, `violations` what was wrong with the rejected ones, in order; `note` says why
    the template spoke ("" when the model did). `model` is the generator's name, or "template".
    """

    item: str
    kind: str
    locale: str
    text: str
    status: Literal["verified", "rejected"]
    origin: Literal["model", "template"]
    attempts: int
    violations: tuple[Violation, ...]
    note: str
    facts_hash: str
    prompt_hash: str
    model: str
    style: str = ""  # its key
    banned_hash: str = ""  # of the list that it was checked against


@dataclass(slots=True)
class _Draft(Generic[F]):
    facts: F
    refused: str | None  # why a model may not be asked; None: it may
    rejected: list[list[Violation]] = field(default_factory=list)  # of each try
    text: str | None = None  # what passed


def write(
    kind: ContentKind[F], facts: Sequence[F], generator: TextGenerator | None, style: Style = PLAIN, seed: int = 0,
    attempts: int = 3, reporter: Reporter | None = None, fits: Fits | None = None, refused: Refused | None = None,
) -> list[Written]:  # fmt: skip
    """Write one text of `kind` for each of `facts`, in the same order.

    Each is tried `attempts` times at most; what the check refuses is never returned. Without a generator, or once it
    raises TextModelUnavailable, the remaining texts are the template's and their `note` says so. With `fits`, a model
    that does not do this kind well enough (see fit.py) is not asked at all. `refused` is told of each try that the check
    refused. Deterministic for one seed where the generator is.
    """
    drafts = [_Draft(item, kind.writable(item, style)) for item in facts]
    gone = "" if generator is not None else "no text model is configured"
    if generator is not None and fits is not None:
        _refuse(drafts, lambda shop: fits.refusal(kind, generator, style, seed, shop))
    with (reporter or Silent()).task(f"writing {kind.name}s", len(drafts)) as task:
        for start in range(0, len(drafts), BATCH_ITEMS):
            batch = drafts[start : start + BATCH_ITEMS]
            if generator is not None and not gone:
                gone = _ask(
                    kind, [d for d in batch if d.refused is None], generator, style, seed, attempts, task, refused
                )
            task.advance(sum(draft.text is None for draft in batch), gone)
    return [_written(kind, draft, gone, generator, style) for draft in drafts]


def _refuse(drafts: Sequence[_Draft[F]], refusal: Callable[[bool], str]) -> None:
    """Take out the drafts that the model may not write, asking `refusal` once for each sort of titles there is."""
    verdicts: dict[bool, str] = {}
    for draft in drafts:
        if draft.refused is None:
            shop = of_shop(draft.facts)
            if shop not in verdicts:
                verdicts[shop] = refusal(shop)
            draft.refused = verdicts[shop] or None


def _ask(
    kind: ContentKind[F], drafts: list[_Draft[F]], generator: TextGenerator, style: Style, seed: int, attempts: int, task: Task,
    refused: Refused | None,
) -> str:  # fmt: skip
    """Fill in the texts that pass; returns why the model went away, "" while it answers."""
    for attempt in range(attempts):
        open_drafts = [draft for draft in drafts if draft.text is None]
        if not open_drafts:
            break
        prompts = [kind.prompt(draft.facts, style, draft.rejected) for draft in open_drafts]
        limits = Limits(kind.max_tokens, kind.stop, RETRY_TEMPERATURE if attempt else 0.0)
        try:
            generations = generator.generate(prompts, limits, seed + attempt)
        except TextModelUnavailable as error:
            return f"the text model is unavailable: {error}"
        for draft, generation in zip(open_drafts, generations, strict=True):
            text = generation.text.strip()
            violations = objections(kind, text, draft.facts, style)
            if violations:
                draft.rejected.append(violations)
                if refused is not None:
                    refused(draft.facts.item, attempt + 1, violations)
                TEXTS.labels(kind.name, "rejected").inc()
            else:
                draft.text = text
                task.advance(1)
    return ""


def _written(
    kind: ContentKind[F], draft: _Draft[F], gone: str, generator: TextGenerator | None, style: Style
) -> Written:
    """The model's text, or the template's: checked by the same checker, and nothing when even that fails."""
    facts, text, note = draft.facts, draft.text, ""
    by_model = text is not None
    attempts = len(draft.rejected) + by_model
    if text is None:
        note = draft.refused or gone or f"none of {attempts} texts passed the check"
        text = kind.fallback(facts, style)
        text = "" if objections(kind, text, facts, style) else text
    TEXTS.labels(kind.name, "model" if by_model else TEMPLATE if text else "none").inc()
    return Written(
        item=facts.item, kind=kind.name, locale=style.locale or facts.locale, text=text,
        status="verified" if text else "rejected", origin="model" if by_model else "template",
        attempts=attempts, violations=tuple(chain.from_iterable(draft.rejected)), note=note,
        facts_hash=facts_hash(facts), prompt_hash=prompt_hash(kind, style),
        model=generator.name if by_model and generator else TEMPLATE, style=style.key, banned_hash=list_hash(style.banned),
    )  # fmt: skip


def facts_of(item: Item) -> ItemFacts:
    """The facts that a text about a catalogue item may state. What names or quotes others (RELATED) is none of its own."""
    own = {name: value for name, value in item.attributes.items() if name not in RELATED}
    return ItemFacts.of(item.item, item.title, item.categories, own, item.description, item.locale)


def as_content(text: Written, item: Item, locale: str) -> Content:
    """A written text as the store keeps it: made from the item as of its last change, with what was refused on the way."""
    rejected = [{"claim": one.claim, "reason": one.reason, "rule": one.rule} for one in text.violations]
    return Content(
        item.item, text.kind, locale, text.text, text.status, text.origin, text.model, text.facts_hash, item.changed_at,
        text.prompt_hash, text.attempts, [*rejected, {"note": text.note}] if text.note else rejected,
        text.style, banned_hash=text.banned_hash,
    )  # fmt: skip
