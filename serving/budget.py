"""The tokens that text models may write in an hour, as far as a server spends them: counted with the workers' (docs/adr/0021)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core import telemetry
from core.errors import DatabaseUnavailable
from core.store.content_requests import ContentRequestStore
from models.text.generator import Generation, Limits, Prompt, TextGenerator
from serving.patience import Patience

HOUR_S = 3600.0


class Budget:
    """What is spent of the namespace's tokens. While Postgres is away what was known last counts, and what is spent here is
    told to it later. Used by one thread."""

    def __init__(self, requests: ContentRequestStore, patience: Patience, tokens_per_hour: int | None) -> None:
        self._requests, self._patience, self._allowed = requests, patience, tokens_per_hour
        self._known, self._hour = 0, 0.0  # as Postgres said last, and of which hour
        self._owed = 0  # spent here and not told to Postgres yet

    def rest_s(self) -> float:
        """How long no model may be asked, because the hour's tokens are spent; 0: ask."""
        if self._allowed is None:
            return 0.0
        now = time.time()
        left_s = HOUR_S - now % HOUR_S
        try:
            self._known, left_s = self._patience.read(self._requests.spent)
            self._hour = now // HOUR_S
        except DatabaseUnavailable:
            if self._hour != now // HOUR_S:
                self._known = 0
        rest_s = left_s if self._known + self._owed >= self._allowed else 0.0
        telemetry.TEXT_BUDGET_WAIT.set(rest_s)
        return rest_s

    def spend(self, tokens: int) -> None:
        """Count tokens that were written."""
        self._owed += tokens
        if not self._owed:
            return
        try:
            self._patience.read(self._requests.spend, self._owed)
            self._owed = 0
        except DatabaseUnavailable:
            return  # `rest_s` counts what is owed


class Counted:
    """A text model whose tokens are counted, those of trials and of texts that are thrown away included."""

    def __init__(self, generator: TextGenerator) -> None:
        self.name = generator.name
        self._generator, self._tokens = generator, 0

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        """See TextGenerator."""
        found = self._generator.generate(prompts, limits, seed)
        self._tokens += sum(one.tokens for one in found)
        return found

    def take_tokens(self) -> int:
        """Tokens written since this was asked last."""
        tokens, self._tokens = self._tokens, 0
        return tokens
