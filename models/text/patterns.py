"""How a server is told to hold a text to a pattern. Each has its own field for it; which one a server knows is found out by
asking for something that nobody says by chance."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from models.text.generator import Message, Prompt

PROBE = Prompt((Message("user", "Say a number."),), "xq[0-9][0-9]z")
PROBE_TOKENS = 32  # enough for the probe as JSON over bytes
JSON_TOKENS = 16  # what braces, a key and quotation marks take beside the text
CLASSES = {"d": "[0-9]", "w": "[0-9A-Za-z_]", "s": "[ \\t\\n]"}
PIECE = re.compile(
    r"\\(?P<escaped>.)|(?P<set>\[(?:\\.|[^\]\\])+\])|(?P<sign>[()|?*+.]|\{\d+(?:,\d*)?\})|(?P<plain>.)", re.S
)


class _Answer(msgspec.Struct):
    text: str


def grammar(pattern: str) -> str:
    """A pattern (groups, choices, repetitions, sets, letters, \\d, \\w and \\s) as a grammar of llama.cpp, in GBNF.

    See grammars/README.md of llama.cpp.
    """
    parts = []
    for piece in PIECE.finditer(pattern):
        letter = piece["escaped"] or piece["plain"]
        if piece["escaped"] in CLASSES:
            parts.append(CLASSES[piece["escaped"]])
        elif letter:
            escaped = letter.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            parts.append(f'"{escaped}"')
        else:
            parts.append(piece["set"] or piece["sign"])
    return f"root ::= {' '.join(parts)}"


def _schema(pattern: str) -> dict[str, Any]:
    properties = {"text": {"type": "string", "pattern": f"^({pattern})$"}}
    schema = {"type": "object", "properties": properties, "required": ["text"], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


# Fields of a request by whose they are, those that leave the text as it is first.
WAYS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "structured_outputs": lambda pattern: {"structured_outputs": {"regex": pattern}},  # vLLM from 0.11
    "guided_regex": lambda pattern: {"guided_regex": pattern},  # vLLM before 0.12
    "regex": lambda pattern: {"regex": pattern},  # SGLang
    "grammar": lambda pattern: {"grammar": grammar(pattern)},  # llama.cpp
    "response_format": lambda pattern: {"response_format": _schema(pattern)},  # OpenAI: the text in JSON
}


def asked(way: str, pattern: str, body: dict[str, Any]) -> dict[str, Any]:
    """The request `body` with the pattern in it."""
    if way == "response_format":  # JSON may begin with a line break, and has more than the text in it
        body = {name: value for name, value in body.items() if name != "stop"}
        body["max_tokens"] += JSON_TOKENS
    return body | WAYS[way](pattern)


def unwrapped(way: str, text: str) -> str:
    """The text of an answer; as it is where it is not what was asked for, which the checker sees."""
    if way != "response_format":
        return text
    try:
        return msgspec.json.decode(text, type=_Answer).text
    except msgspec.DecodeError:
        return text


def holds(text: str) -> bool:
    """Whether the answer to PROBE shows that the server saw to its pattern."""
    return re.fullmatch(PROBE.pattern, text) is not None
