"""Is a model good enough for a kind? Measured on the kind's probes before the model may write it, and remembered."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from core.errors import TextModelUnavailable
from models.content.kind import ContentKind, F, Facts, Probe, Style, Violation, items_of
from models.content.naming import has_shop_title
from models.content.prompting import prompt_hash
from models.text.generator import Limits, TextGenerator

ATTEMPTS = 2
# What a model must reach: below it, most of its time would be spent on texts that are thrown away.
MIN_FIRST_TRY = 0.4
MIN_AFTER_RETRY = 0.6
MIN_RIGHT = 0.85  # of kinds with one right answer, which no retry can find
RETRY_TEMPERATURE = 0.3


@dataclass(frozen=True, slots=True)
class Fit:
    """How many of `probes` a model passed: at first try, and after a retry (that included)."""

    model: str
    kind: str
    language: str
    prompt_hash: str
    probes: int
    first_try: int
    after_retry: int
    right_answers: bool  # whether the probes had one right answer each
    shop: bool = False  # tried on a shop's titles

    @property
    def passed(self) -> bool:
        """Whether the model may write this kind."""
        if self.right_answers:
            return self.probes > 0 and self.first_try >= MIN_RIGHT * self.probes
        return self.first_try >= MIN_FIRST_TRY * self.probes and self.after_retry >= MIN_AFTER_RETRY * self.probes > 0

    def __str__(self) -> str:
        about = " about things with a shop's titles" if self.shop else ""
        return (
            f"{self.model} passes {self.first_try} of {self.probes} trial texts of the kind {self.kind!r} in {self.language!r}"
            f"{about} at first try, {self.after_retry} after a retry"
        )


def of_shop(facts: Facts) -> bool:
    """Whether a text would be about a thing with a title as shops write them."""
    return any(has_shop_title(item) for item in items_of(facts))


def measure(kind: ContentKind[F], generator: TextGenerator, style: Style, seed: int = 0, shop: bool = False) -> Fit:
    """Let `generator` write the kind's probes, those with a shop's titles or the others; all where it has none of these.

    Raises TextModelUnavailable when it does not answer.
    """
    probes = list(kind.probes(style))
    probes = [probe for probe in probes if probe.shop == shop] or probes
    probes = [probe for probe in probes if kind.writable(probe.facts, style) is None]
    language = style.locale or "en"
    passed = [0] * ATTEMPTS
    rejected: list[list[list[Violation]]] = [[] for _ in probes]
    left = list(range(len(probes)))
    for attempt in range(ATTEMPTS):
        if not left:
            break
        prompts = [kind.prompt(probes[n].facts, style, rejected[n]) for n in left]
        limits = Limits(kind.max_tokens, kind.stop, RETRY_TEMPERATURE if attempt else 0.0)
        failed = []
        for n, generation in zip(left, generator.generate(prompts, limits, seed + attempt), strict=True):
            violations = judged(kind, generation.text.strip(), probes[n], style)
            passed[attempt] += not violations
            if violations:
                rejected[n].append(violations)
                failed.append(n)
        left = failed
    right = any(probe.answer is not None for probe in probes)
    return Fit(
        generator.name, kind.name, language, prompt_hash(kind, style), len(probes), passed[0], sum(passed), right,
        shop,
    )  # fmt: skip


def judged(kind: ContentKind[F], text: str, probe: Probe[F], style: Style) -> list[Violation]:
    """What is wrong with a text about a probe: the kind's own check, and the right answer where there is one."""
    violations = kind.check(text, probe.facts, style)
    if not violations and probe.answer is not None and text != probe.answer:
        return [Violation((0, len(text)), text, f"is not the right answer, {probe.answer!r}", "answer")]
    return violations


class Fits:
    """Verdicts by model, kind, language, prompt and sort of titles; kept in the JSON file `path` where one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[tuple[str, str, str, str, bool], Fit] = {}
        self._read()

    def refusal(
        self, kind: ContentKind[F], generator: TextGenerator, style: Style, seed: int = 0, shop: bool = False
    ) -> str:
        """Why `generator` may not write `kind`, "" when it may; `shop`: about things with a shop's titles (see of_shop).

        The first question about a model takes its time.
        """
        key = (generator.name, kind.name, style.locale or "en", prompt_hash(kind, style), shop)
        if key not in self._known:
            try:
                self._keep(measure(kind, generator, style, seed, shop))
            except TextModelUnavailable as error:  # says nothing of how well it writes: asked again next time
                return f"the text model is unavailable: {error}"
            self._save()
        fit = self._known[key]
        return "" if fit.passed else f"the model is not good enough: {fit}"

    @property
    def known(self) -> list[Fit]:
        """Every verdict there is."""
        return list(self._known.values())

    def _keep(self, fit: Fit) -> None:
        self._known[fit.model, fit.kind, fit.language, fit.prompt_hash, fit.shop] = fit

    def _read(self) -> None:
        if self._path is not None and self._path.exists():
            for row in json.loads(self._path.read_text(encoding="utf-8")):
                self._keep(Fit(**row))

    def _save(self) -> None:
        """With what other processes have measured meanwhile, one process at a time; a reader sees the file before or after."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
            flock(lock, LOCK_EX)
            ours = self.known
            self._read()
            for fit in ours:
                self._keep(fit)
            draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            draft.write_text(json.dumps([asdict(fit) for fit in self.known], indent=1), encoding="utf-8")
            draft.replace(self._path)
