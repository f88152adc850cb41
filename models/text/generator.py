"""What every text model looks like from outside: a batch of prompts in, a batch of generations out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat to continue; the answer is the next assistant turn.

    `pattern`: a regular expression (without look-around) that the whole answer is to match; "" for any answer. A provider
    that cannot hold a model to it leaves it out.
    """

    messages: tuple[Message, ...]
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a generation ends and how freely it samples.

    `max_tokens` new tokens at most; generation ends before the first of `stop` (not part of the text);
    `temperature` 0 takes the likeliest token, above it samples. At `deadline` (of time.monotonic()) generation ends with
    what there is by then, and likewise once `gone`, asked between two tokens, says that nobody waits for it any longer.
    """

    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    deadline: float | None = None
    gone: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote: its text, the tokens it took, and whether it ended by itself ("stop") or was cut: at the most
    tokens ("length") or at the deadline (or once nobody waited)."""

    text: str
    tokens: int
    finish_reason: Literal["stop", "length", "deadline"]


class TextGenerator(Protocol):
    """A language model behind one call."""

    @property
    def name(self) -> str:
        """Model id with a revision or checksum prefix where one is known; stored with every text it wrote."""

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        """Continue every prompt, one generation per prompt in the same order.

        The same prompts, limits and seed give the same texts where the provider allows it (in process: always
        on one device). Raises TextModelUnavailable when the model does not answer.
        """
