"""Texts that match a pattern: at each step only tokens that keep it possible are left (llguidance, a library in Rust).

What the pattern leaves no choice about, such as the rest of a name, is not asked of the model at all.
"""

from __future__ import annotations

from typing import Any

import llguidance
import numpy as np
import torch
from llguidance.hf import from_tokenizer

from core.errors import ConfigurationError


def vocabulary(tokenizer: Any, size: int) -> Any:
    """A tokenizer of transformers as llguidance reads it; made once a model. `size` is the number of logits."""
    return from_tokenizer(tokenizer, n_vocab=size)


class Constraint:
    """The pattern of one text, as far as it is written. `pattern` is a regular expression without look-around."""

    def __init__(self, words: Any, pattern: str) -> None:
        """Raises ConfigurationError when the pattern is none."""
        self._matcher = llguidance.LLMatcher(words, llguidance.LLMatcher.grammar_from_regex(pattern))
        if self._matcher.is_error():
            raise ConfigurationError(f"a text's pattern cannot be read: {self._matcher.get_error()}")

    def masked(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` (vocabulary,) with -inf for each token that may not come next."""
        allowed = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8) != 0
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), float("-inf"))

    def took(self, token: int) -> bool:
        """The text goes on with `token`; whether it is whole and nothing may follow."""
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped())

    def forced(self) -> tuple[list[int], bool]:
        """The tokens that must come now, taken, and whether the text is whole with them."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        self._matcher.consume_tokens(tokens)
        return tokens, bool(self._matcher.is_stopped())
