"""The text model as those who write the catalogue use it: opened when needed, left alone when it is away, its tokens counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from core.errors import TextModelUnavailable
from core.progress import Reporter
from core.settings import Settings
from models.text import open_generator
from models.text.generator import Generation, Limits, Prompt, TextGenerator

log = logging.getLogger(__name__)

T = TypeVar("T")

REST_S = 30.0  # a model that did not answer is not asked for so long


class TextModel:
    """A TextGenerator around the one that `open` gives. `away` is why it did not answer when it was asked last, or None."""

    def __init__(self, open: Callable[[], TextGenerator]) -> None:
        self._open = open
        self._model: TextGenerator | None = None
        self._rest_until = 0.0
        self._tokens = 0
        self.away: TextModelUnavailable | None = None

    @property
    def name(self) -> str:
        """The model's name; "" until it was opened."""
        return self._model.name if self._model is not None else ""

    def open(self) -> bool:
        """Load it, or reach it; whether that could be done. Raises ConfigurationError for settings that no waiting mends."""
        try:
            self._opened()
        except TextModelUnavailable as error:
            log.warning("the template speaks instead: %s", error)
        return self._model is not None

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        """See TextGenerator. Raises TextModelUnavailable at once while it is left alone."""
        generations = self._told(lambda: self._opened().generate(prompts, limits, seed))
        self._tokens += sum(one.tokens for one in generations)
        return generations

    def take_tokens(self) -> int:
        """Tokens written since this was asked last."""
        tokens, self._tokens = self._tokens, 0
        return tokens

    def _opened(self) -> TextGenerator:
        if self._model is None:
            self._model = self._told(self._open)
        return self._model

    def _told(self, call: Callable[[], T]) -> T:
        if self.away is not None and time.monotonic() < self._rest_until:
            raise TextModelUnavailable(str(self.away))
        try:
            answer = call()
        except TextModelUnavailable as error:
            self.away, self._rest_until = error, time.monotonic() + REST_S
            raise
        self.away = None
        return answer


def configured_model(settings: Settings, reporter: Reporter) -> TextModel | None:
    """The text model that the settings name, not opened yet; None where they name none and the template is to speak."""
    if not (settings.text_model or settings.text_endpoint):
        return None
    return TextModel(lambda: open_generator(settings, reporter))
