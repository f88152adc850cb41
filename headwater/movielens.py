"""Interactions to begin with, as events: MovieLens-100K, and anyone's own CSV file.

Ids are made from the content, so publishing a data set twice changes nothing the second time (DESIGN I2).
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.bus import Message
from core.errors import InvalidRequest
from core.events import KIND, Body, Interaction, ItemChanged, encode, partition_key

LICENCE = (
    "MovieLens 100K, (c) GroupLens Research, University of Minnesota: for research; not to be redistributed or used "
    "commercially without their permission; to be acknowledged in publications (Harper and Konstan, The MovieLens "
    "Datasets, ACM TiiS 5(4):19, 2015). https://grouplens.org/datasets/movielens/100k/"
)
SOURCE = "/movielens/100k"
COLLECTION_BEGAN = datetime(1997, 9, 19, tzinfo=UTC)  # according to the data set's README; before every rating
ID_MAX_CHARS = 256
MILLISECONDS_FROM = 100_000_000_000  # as seconds, the year 5138

_ARTICLES = r"The|A|An|La|Le|Les|Il|El|Los|Das|Der|Die|Det|O|L'"
_TRAILING_ARTICLE = re.compile(rf"(?P<rest>.+), (?P<article>{_ARTICLES})")
_ALSO = re.compile(r"(?P<title>.+?) \((?P<also>[^()]+)\)")
_YEAR_AT_END = re.compile(r"(?P<title>.+) \((?P<year>\d{4})\)")


@dataclass(frozen=True)
class Dataset:
    """A data set as events. `read` begins at the first message each time; items come before what happens to them."""

    name: str
    licence: str
    users: int
    items: int
    interactions: int
    read: Callable[[], Iterator[Message]]

    @property
    def events(self) -> int:
        """How many messages `read` yields."""
        return self.items + self.interactions


@dataclass(frozen=True)
class _Row:
    user: str
    item: str
    time: datetime
    kind: str
    value: float | None


def movielens_100k(directory: Path) -> Dataset:
    """MovieLens-100K from RecBole's atomic files: 1,682 item.changed, then 100,000 interaction.rating in time order.

    `directory` holds ml-100k.item and ml-100k.inter (headwater/fetch.py).
    """
    items = _atomic(directory / "ml-100k.item")
    ratings = sorted(_atomic(directory / "ml-100k.inter"), key=lambda row: int(float(row[3])))

    def read() -> Iterator[Message]:
        for item, title, year, genres in items:
            body = _movie(item, title, year, genres)
            yield _message(body, f"item-{item}", SOURCE, COLLECTION_BEGAN)
        for user, item, rating, timestamp in ratings:
            rated = Interaction(user=user, item=item, value=float(rating), kind="rating")
            yield _message(rated, f"rating-{user}-{item}", SOURCE, datetime.fromtimestamp(float(timestamp), UTC))

    return Dataset("MovieLens-100K", LICENCE, len({row[0] for row in ratings}), len(items), len(ratings), read)


def read_csv(path: Path) -> Dataset:
    """Anyone's interactions: a CSV file with a header and the columns user, item, timestamp[, kind][, value].

    `timestamp` is in epoch seconds or ISO-8601 (UTC where it names no zone). `kind` is by default `rating` where the
    file has values, else `view`. An item is announced with its id as title, as of its first interaction. The whole
    file is checked at once. Raises InvalidRequest naming the line and what is wrong with it.
    """
    users: set[str] = set()
    first_seen: dict[str, datetime] = {}
    interactions = 0
    for _, row in _rows(path):
        users.add(row.user)
        first_seen[row.item] = min(row.time, first_seen.get(row.item, row.time))
        interactions += 1
    if not interactions:
        raise InvalidRequest(f"{path} has a header but no rows: expected one interaction a line")
    source = f"/csv/{path.name}"

    def read() -> Iterator[Message]:
        for item, time in first_seen.items():
            yield _message(ItemChanged(item=item, title=item), f"item-{item}", source, time)
        for line, row in _rows(path):
            body = Interaction(user=row.user, item=row.item, value=row.value, kind=row.kind)
            yield _message(body, _row_id(line, row), source, row.time)

    return Dataset(path.name, "your own data", len(users), len(first_seen), interactions, read)


def clean_title(title: str) -> str:
    """A catalogue title as people say it: "Usual Suspects, The" -> "The Usual Suspects", also within parentheses."""
    also = _ALSO.fullmatch(title)
    if also:
        return f"{clean_title(also['title'])} ({clean_title(also['also'])})"
    turned = _TRAILING_ARTICLE.fullmatch(title)
    if not turned:
        return title
    article = turned["article"]
    return f"{article}{turned['rest']}" if article.endswith("'") else f"{article} {turned['rest']}"


def _movie(item: str, title: str, year: str, genres: str) -> ItemChanged:
    # One title kept its year, and the year's column got something else; one film is unknown altogether.
    kept = _YEAR_AT_END.fullmatch(title)
    if kept:
        title, year = kept["title"], kept["year"]
    return ItemChanged(
        item=item,
        title="Unknown" if title == "unkonwn" else clean_title(title),
        categories=tuple(genre for genre in genres.split(" ") if genre and genre != "unknown"),
        attributes={"type": "film"} | ({"year": int(year)} if year.isdigit() else {}),
    )


def _atomic(path: Path) -> list[list[str]]:
    """The rows of one of RecBole's atomic files: UTF-8, tab-separated, its first line names the columns."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


def _message(body: Body, id: str, source: str, time: datetime) -> Message:
    return Message(partition_key(body), encode(body, id=id, source=source, time=time))


def _row_id(line: int, row: _Row) -> str:
    """The line and what it says: the same file, also with lines added at its end, gives the same ids again."""
    said = f"{row.user}\0{row.item}\0{row.time.isoformat()}\0{row.kind}\0{row.value}"
    return f"{line}-{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"


def _rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Every row with its line number. Raises InvalidRequest at the first that cannot be understood."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _columns(path, next(reader, []))
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(columns):
                    raise ValueError(f"{len(fields)} fields where the header has {len(columns)}")
                yield reader.line_num, _row(dict(zip(columns, (field.strip() for field in fields), strict=True)))
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}, after line {reader.line_num}: not UTF-8 ({error.reason})") from error
    except (ValueError, csv.Error) as error:
        raise InvalidRequest(f"{path}, line {reader.line_num}: {error}") from error


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    allowed = ("user", "item", "timestamp", "kind", "value")
    if not set(allowed[:3]) <= set(columns) or not set(columns) <= set(allowed) or len(columns) != len(set(columns)):
        found = ",".join(header)[:120] or "nothing"
        raise InvalidRequest(f"{path}, line 1: expected the header user,item,timestamp[,kind][,value], found {found}")
    return columns


def _row(fields: dict[str, str]) -> _Row:
    value = _value(fields.get("value", ""))
    kind = fields.get("kind") or ("rating" if "value" in fields and "kind" not in fields else "view")
    if not KIND.fullmatch(f"interaction.{kind}"):
        raise ValueError(f"kind {kind[:60]!r}: expected a word such as view or purchase, of a-z, 0-9 and _")
    return _Row(_id("user", fields["user"]), _id("item", fields["item"]), _time(fields["timestamp"]), kind, value)


def _id(column: str, text: str) -> str:
    if not text or text.lower() in ("nan", "null", "none"):
        raise ValueError(f"{column} is empty")
    if len(text) > ID_MAX_CHARS - len("item-") or "\0" in text:
        raise ValueError(f"{column} {text[:40]!r}... is too long or holds a NUL character")
    return text


def _value(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"value {text[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"value {text!r} is not finite; leave it empty where there is none")
    return value


def _time(text: str) -> datetime:
    try:
        seconds = float(text)
    except ValueError:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"timestamp {text[:40]!r} is neither epoch seconds nor ISO-8601") from None
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    else:
        if not math.isfinite(seconds):
            raise ValueError(f"timestamp {text!r} is not a time")
        if abs(seconds) >= MILLISECONDS_FROM:
            raise ValueError(f"timestamp {text} looks like milliseconds; expected seconds")
        time = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    if time.year < 1900 or time > datetime.now(UTC) + timedelta(days=1):
        raise ValueError(f"timestamp {text[:40]!r} is {time.date()}: before 1900 or in the future")
    return time
