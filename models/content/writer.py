"""Writing texts: ask the model, check, ask again with the violation named, and let the template speak where nothing passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from core.errors import TextModelUnavailable
from core.progress import Reporter, Silent, Task
from core.telemetry import TEXTS
from models.content.kind import ContentKind, ItemFacts, Style, Violation, facts_hash
from models.text.generator import Limits, Message, Prompt, TextGenerator

BATCH_ITEMS = 32  # items in flight: what a model that goes away midway can cost
RETRY_TEMPERATURE = 0.7  # the first try takes the likeliest words; a retry must differ from it
NAMED_VIOLATIONS = 3
TEMPLATE = "template"


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


@dataclass(slots=True)
class _Draft:
    facts: ItemFacts
    prompt: Prompt | None  # None: a model may not be asked
    note: str = ""
    attempts: int = 0
    violations: tuple[Violation, ...] = ()


def write(
    kind: ContentKind, facts: Sequence[ItemFacts], generator: TextGenerator | None, style: Style = Style(), seed: int = 0,
    attempts: int = 3, reporter: Reporter | None = None,
) -> list[Written]:  # fmt: skip
    """Write one text of `kind` for each of `facts`, in the same order.

    Each is tried `attempts` times at most; what the check refuses is never returned. Without a generator, or once it
    raises TextModelUnavailable, the remaining texts are the template's and their `note` says so. Deterministic for
    one seed where the generator is.
    """
    drafts = [_draft(kind, item, style) for item in facts]
    with (reporter or Silent()).task(f"writing {kind.name}s", len(drafts)) as task:
        written: list[Written] = []
        gone = "" if generator is not None else "no text model is configured"
        for start in range(0, len(drafts), BATCH_ITEMS):
            batch = drafts[start : start + BATCH_ITEMS]
            texts: dict[int, str] = {}
            if generator is not None and not gone:
                texts, gone = _try(kind, batch, generator, style, seed, attempts, task)
            for index, draft in enumerate(batch):
                written.append(_written(kind, draft, texts.get(index), gone, generator, style))
            task.advance(len(batch) - len(texts), gone)
    return written


def _draft(kind: ContentKind, facts: ItemFacts, style: Style) -> _Draft:
    refused = kind.writable(facts, style)
    return _Draft(facts, None, refused) if refused else _Draft(facts, kind.prompt(facts, style))


def _try(
    kind: ContentKind, batch: list[_Draft], generator: TextGenerator, style: Style, seed: int, attempts: int, task: Task
) -> tuple[dict[int, str], str]:  # fmt: skip
    """The texts that passed, by position in `batch`, and why the model went away ("" while it answers)."""
    passed: dict[int, str] = {}
    retries = {index: draft.prompt for index, draft in enumerate(batch) if draft.prompt is not None}
    for attempt in range(attempts):
        if not retries:
            break
        limits = Limits(kind.max_tokens, kind.stop, RETRY_TEMPERATURE if attempt else 0.0)
        try:
            generations = generator.generate(list(retries.values()), limits, seed + attempt)
        except TextModelUnavailable as error:
            return passed, f"the text model went away: {error}"
        for index, generation in zip(list(retries), generations, strict=True):
            draft, text = batch[index], generation.text.strip()
            draft.attempts += 1
            violations = kind.check(text, draft.facts)
            if violations:
                TEXTS.labels(kind.name, "rejected").inc()
                draft.violations += tuple(violations)
                retries[index] = _named(kind.prompt(draft.facts, style), text, violations)
            else:
                passed[index] = text
                del retries[index]
                task.advance(1)
    return passed, ""


def _named(prompt: Prompt, text: str, violations: list[Violation]) -> Prompt:
    """The prompt with the rejected text and what was wrong with it."""
    wrong = "; ".join(f'"{violation.claim}" {violation.reason}' for violation in violations[:NAMED_VIOLATIONS])
    answer = Message("assistant", text or "...")
    return Prompt((*prompt.messages, answer, Message("user", f"Wrong: {wrong}. Write it again with the facts given only.")))


def _written(
    kind: ContentKind, draft: _Draft, text: str | None, gone: str, generator: TextGenerator | None, style: Style
) -> Written:  # fmt: skip
    """The model's text, or the template's: checked by the same checker, and nothing when even that fails."""
    facts, note = draft.facts, ""
    by_model = text is not None
    if text is None:
        note = draft.note or gone or f"no text of {draft.attempts} passed the check"
        asked = replace(facts, locale=style.locale or facts.locale)
        text = kind.fallback(asked)
        text = "" if kind.check(text, asked) else text
    TEXTS.labels(kind.name, "model" if by_model else TEMPLATE if text else "none").inc()
    return Written(
        item=facts.item, kind=kind.name, locale=style.locale or facts.locale, text=text,
        status="verified" if text else "rejected", origin="model" if by_model else "template",
        attempts=draft.attempts, violations=draft.violations, note=note,
        facts_hash=facts_hash(facts), prompt_hash=kind.prompt_hash,
        model=generator.name if by_model and generator else TEMPLATE,
    )  # fmt: skip
