"""Filter expressions: `price < 20 and brand in ["a", "b"]`, read into a tree of comparisons. Nothing is ever evaluated as code.

expression  := both ("or" both)*
both        := negation ("and" negation)*
negation    := "not" negation | "(" expression ")" | comparison
comparison  := operand (("<" | "<=" | ">" | ">=" | "==" | "!=") operand)+
             | name ["not"] "in" "[" value ("," value)* "]" | value ["not"] "in" name | name
name        := letters, digits and _, parts of it joined by "." | attributes["any name"]
value       := number | "text" | 'text' | true | false | null
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from core.errors import InvalidRequest

MAX_LENGTH = 2000
MAX_DEPTH = 20
MAX_COMPARISONS = 50
MAX_VALUES = 200  # in one list

Value = str | float | bool | None
Operator = Literal["<", "<=", ">", ">=", "==", "!="]

FIELDS = (
    "title",
    "category",
    "categories",
    "locale",
    "published_at",
    "expires_at",
)  # what every item has, by these names
MOMENTS = ("published_at", "expires_at")
KEYWORDS = {"and", "or", "not", "in"}
CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}
MIRRORED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
TOKEN = re.compile(
    r"""\s*(?: (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
      | (?P<number> -?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? )
      | (?P<word> [^\W\d]\w*(?:\.[^\W\d]\w*)* )
      | (?P<sign> <=|>=|==|!=|<|>|\(|\)|\[|\]|, ) )""",
    re.VERBOSE | re.DOTALL,
)


class Field(NamedTuple):
    """What a comparison looks at: one of FIELDS, or an attribute by its name, or by the names on the way to it."""

    path: tuple[str, ...]
    built_in: bool


@dataclass(frozen=True)
class Comparison:
    """True of an item whose value, or one of whose values, stands in this relation to one of `values`; "!=": to none of them.

    An item without a value is true of nothing but "== null".
    """

    field: Field
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """Of items of which `part` is not true."""

    part: Node


@dataclass(frozen=True)
class Joined:
    """Of items of which all `parts` are true, or any of them."""

    parts: tuple[Node, ...]
    every: bool


Node = Comparison | Not | Joined


@dataclass(frozen=True)
class Expression:
    """A filter as it was written, and what it says."""

    text: str
    root: Node


@lru_cache(maxsize=1000)
def parse(text: str) -> Expression:
    """Read an expression. Raises InvalidRequest that names the place and what is expected there."""
    if len(text) > MAX_LENGTH:
        raise InvalidRequest(f"filter: {len(text)} characters; give {MAX_LENGTH} at most")
    parser = _Parser(_tokens(text))
    root = parser.expression(0)
    parser.expect("", "`and`, `or` or the end")
    return Expression(text, root)


@dataclass(frozen=True)
class _Token:
    kind: Literal["text", "number", "word", "sign", "end"]
    text: str
    at: int  # characters before it


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            hint = (
                "a text that does not end"
                if text[at] in "\"'"
                else "use == to compare"
                if text[at] == "="
                else "unexpected"
            )
            raise _wrong(at, f"{text[at]!r}: {hint}")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))  # type: ignore[arg-type]
        at = match.end()
    return [*found, _Token("end", "", len(text))]


class _Parser:
    """Reads tokens by recursive descent, a method for each line of the grammar."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._comparisons = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _is(self, *texts: str) -> bool:
        return self._next.kind in ("word", "sign") and self._next.text in texts

    def expect(self, text: str, what: str) -> None:
        """Take this very token; "" is the end."""
        token = self._next
        if token.text != text or token.kind not in ("word", "sign", "end"):
            raise _wrong(token.at, f"expected {what}, found {_said(token)}")
        self._take()

    def expression(self, depth: int) -> Node:
        return self._joined("or", depth)

    def _joined(self, word: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _wrong(self._next.at, f"nested deeper than {MAX_DEPTH}")
        parts: list[Node] = []
        while not parts or self._is(word):
            if parts:
                self._take()
            parts.append(self._joined("and", depth) if word == "or" else self._negation(depth))
        return parts[0] if len(parts) == 1 else Joined(tuple(parts), word == "and")

    def _negation(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _wrong(self._next.at, f"nested deeper than {MAX_DEPTH}")
        if self._is("not"):
            self._take()
            return Not(self._negation(depth + 1))
        if self._is("("):
            self._take()
            inner = self.expression(depth + 1)
            self.expect(")", "`)`")
            return inner
        return self._comparison()

    def _comparison(self) -> Node:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise _wrong(self._next.at, f"more than {MAX_COMPARISONS} comparisons")
        at = self._next.at
        left = self._operand()
        if self._is("in", "not"):
            return self._membership(left)
        parts: list[Node] = []
        while self._next.kind == "sign" and self._next.text in MIRRORED:
            operator: Operator = self._take().text  # type: ignore[assignment]
            right_at, right = self._next.at, self._operand()
            parts.append(_compared(left, operator, right, right_at if isinstance(left, Field) else at))
            at, left = right_at, right
        if not parts and isinstance(left, Field):
            return _compared(left, "==", True, at)
        if not parts:
            raise _wrong(at, "a value on its own; compare an attribute with it")
        return parts[0] if len(parts) == 1 else Joined(tuple(parts), True)

    def _membership(self, left: Field | Value) -> Node:
        operator: Operator = "!=" if self._is("not") else "=="
        if self._is("not"):
            self._take()
        at = self._next.at
        self.expect("in", "`in`")
        if not isinstance(left, Field):
            field = self._operand()
            if not isinstance(field, Field):
                raise _wrong(at, "after `value in` an attribute's name is expected")
            return _compared(field, operator, left, at)
        self.expect("[", "a list in [ ]")
        values: list[Value] = []
        while not self._is("]"):
            if values:
                self.expect(",", "`,` or `]`")
            value_at, value = self._next.at, self._operand()
            if isinstance(value, Field) or value is None:
                raise _wrong(value_at, "a list holds numbers, texts, true and false")
            values.append(_moment(value, value_at) if left.built_in and left.path[0] in MOMENTS else value)
            if len(values) > MAX_VALUES:
                raise _wrong(value_at, f"more than {MAX_VALUES} values in a list")
        self._take()
        return Comparison(left, operator, tuple(values))

    def _operand(self) -> Field | Value:
        token = self._take()
        if token.kind == "number":
            return float(token.text)
        if token.kind == "text":
            return _text(token)
        if token.kind != "word" or token.text in KEYWORDS:
            raise _wrong(token.at, f"expected an attribute or a value, found {_said(token)}")
        if token.text in CONSTANTS:
            return CONSTANTS[token.text]
        if token.text == "attributes" and self._is("["):
            self._take()
            name = self._take()
            if name.kind != "text":
                raise _wrong(name.at, 'expected a name as in attributes["price"]')
            self.expect("]", "`]`")
            return Field((_text(name),), False)
        if token.text in FIELDS:
            return Field(("categories" if token.text == "category" else token.text,), True)
        return Field(tuple(token.text.split(".")), False)


def _compared(left: Field | Value, operator: Operator, right: Field | Value, at: int) -> Comparison:
    """`at` is where the value stands."""
    if not isinstance(left, Field):
        if not isinstance(right, Field):
            raise _wrong(at, "two values; compare an attribute with a value")
        return _compared(right, MIRRORED[operator], left, at)
    if isinstance(right, Field):
        raise _wrong(at, "two attributes; compare an attribute with a value")
    if left.built_in and left.path[0] in MOMENTS and right is not None:
        right = _moment(right, at)
    if operator not in ("==", "!=") and (right is None or isinstance(right, bool)):
        raise _wrong(at, f"{json.dumps(right)} is neither more nor less than anything; use == or !=")
    return Comparison(left, operator, (right,))


def _moment(value: Value, at: int) -> float:
    """Seconds of an ISO 8601 date or time; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _wrong(at, 'expected a date or time such as "2026-05-01" or "2026-05-01T08:00:00Z"') from None


def _text(token: _Token) -> str:
    """What stands between the quotes; a backslash takes what follows it as it is."""
    return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)


def _said(token: _Token) -> str:
    return "the end" if token.kind == "end" else f"`{token.text[:40]}`"


def _wrong(at: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"filter, character {at + 1}: {what}")
