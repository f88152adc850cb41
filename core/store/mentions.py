"""Finding a user's id in messages that could not be understood: to export what names a user, and to erase it (DESIGN I7)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

PLAIN = (
    " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"  # with letters, digits and _.-~ all of printable ASCII but %: headers are kept so
)
MOST_WORDS = 500  # looked at in one message

CANDIDATES = sa.text("""
SELECT number, payload, detail, headers::text AS headers FROM dead_letters
WHERE EXISTS (SELECT FROM unnest(CAST(:spelled AS bytea[])) AS one (word)
    WHERE position(word IN payload) > 0 OR position(word IN convert_to(detail || headers::text, 'UTF8')) > 0)
""")
BLANK = sa.text("""
UPDATE dead_letters SET payload = NULL, headers = '[]', payload_sha256 = '', detail = '' WHERE number = ANY(:numbers)
""")
STRING = re.compile(rb'"((?:[^"\\]|\\.){1,1500})"')
SURROGATE = re.compile("[\ud800-\udfff]")  # what JSON may hold and UTF-8 may not: nobody is called so
NUMBER = re.compile(rb'"user(?:_?id)?"\s*:\s*(\d{1,256})\b')


def blank_letters(connection: sa.Connection, user: str) -> None:
    """Take the content of every dead letter that names the user."""
    connection.execute(BLANK, {"numbers": letters_naming(connection, user)})


def letters_naming(connection: sa.Connection, user: str) -> list[int]:
    """Numbers of the dead letters in which the user's id stands as a word of its own, in any spelling that JSON allows.

    A number is such a word only within quotes, or as what a "user" is: else every price would name somebody.
    """
    spelled = _spellings(user)
    words = b"|".join(re.escape(one) for one in sorted(spelled, key=len, reverse=True))
    word = rb"(?<![A-Za-z0-9_])(?:" + words + rb")(?![A-Za-z0-9_])"
    names = re.compile(rb'"(?:%b)"|"user(?:_?id)?"\s*:\s*%b' % (words, word) if user.isdigit() else word)
    found = connection.execute(CANDIDATES, {"spelled": sorted(spelled)})
    return [row.number for row in found if any(names.search(part) for part in _parts(row))]


def words(payload: bytes | None, headers: Sequence[tuple[str, str]]) -> set[str]:
    """What in a message may be a user's id, the first of it."""
    text = (payload or b"") + b" ".join(b'"%b"' % value.encode() for _, value in headers)
    found: set[str] = {match.group(1).decode() for match in NUMBER.finditer(text)}
    for match in STRING.finditer(text):
        if len(found) >= MOST_WORDS:
            break
        try:
            found.add(json.loads(match.group()))
        except ValueError:  # no JSON, or bytes that are no text
            found.add(match.group(1).decode(errors="replace"))
    return {one for one in found if len(one) <= 256 and not SURROGATE.search(one)}


def _spellings(user: str) -> set[bytes]:
    """The id as messages may hold it: as it is, and escaped for JSON, for a URL, for a header."""
    plain, ascii_only = (json.dumps(user, ensure_ascii=only)[1:-1] for only in (False, True))
    upper = re.sub(r"\\u[0-9a-f]{4}", lambda match: "\\u" + match.group()[2:].upper(), ascii_only)
    escaped = {user, plain, ascii_only, upper, *(one.replace("/", "\\/") for one in (plain, ascii_only, upper))}
    return {one.encode() for one in (*escaped, quote(user, safe=""), quote(user, PLAIN))}


def _parts(row: sa.Row[Any]) -> tuple[bytes, ...]:
    return bytes(row.payload or b""), row.detail.encode(), row.headers.encode()
