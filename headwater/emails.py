"""E-mails for a segment of users: what to recommend to each, and the texts to go with it, as lines of JSON.

The same pipeline as the API's, without HTTP. A line is about one user: their list, and texts about the items of that list.
"""

from __future__ import annotations

import csv
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from core.errors import InvalidRequest
from core.settings import Settings
from core.store import Store
from core.store.history import NEVER_READ
from jobs.context import JobContext
from models.content.fit import Fits
from models.content.kind import ContentKind, ItemFacts, ItemsFacts, Style, house_style
from models.content.slate import EMAIL_SUBJECT, PUSH_TEXT
from models.content.writer import TEMPLATE, facts_of, write
from models.text.generator import TextGenerator
from serving.histories import Past
from serving.routes.content import text_of
from serving.service import Service
from serving.shapes import Answer
from serving.wishes import Wishes

SURFACE = "email"
BATCH_USERS = 100  # read, written and published together: what a kill can cost
MAX_ID_CHARS = 256
KEPT_TEXTS = 50_000  # of items, and of slates that several users share


class EmailItem(msgspec.Struct, frozen=True):
    """One item of an e-mail, with the texts that stand beside it."""

    item: str
    title: str
    headline: str
    description: str
    because: str


class Email(msgspec.Struct, frozen=True):
    """What one user is to get. `fallback` is null where a personal model chose, else the step of the ladder that did, such as
    "popular" for a user of whom nothing is known. `slate` is the token to send with what the user does next."""

    user: str
    subject: str
    push: str
    items: list[EmailItem]
    fallback: str | None
    slate: str
    locale: str
    written_by: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """How many users got a line, had one already, were erased, could be recommended nothing, and have no line because neither
    a model nor the template has a subject and a notification without a word that the house banned."""

    written: int = 0
    already: int = 0
    erased: int = 0
    nothing: int = 0
    banned: int = 0


def read_segment(file: Path) -> list[str]:
    """User ids of a file, in its order, each once: the column `user` of a .csv, else one a line.

    Raises InvalidRequest for a .csv without that column, and for what is no user id.
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        if file.suffix.lower() == ".csv":
            rows = csv.DictReader(stream)
            if "user" not in (rows.fieldnames or ()):
                raise InvalidRequest(f"{file}: a .csv needs a column named user in its first line")
            found = [row["user"] or "" for row in rows]
        else:
            found = stream.read().split("\n")
    users = [user.strip() for user in found]
    for number, user in enumerate(users, 1):
        if len(user) > MAX_ID_CHARS or "\0" in user:
            raise InvalidRequest(f"{file}, user {number}: an id has 1 to {MAX_ID_CHARS} characters, none of them NUL")
    return list(dict.fromkeys(user for user in users if user))


class Erased:
    """Who may not be written to, because they were erased (DESIGN I7); asked again for each batch."""

    def __init__(self, store: Store) -> None:
        self._events = store.events
        self._since, self._hashes = 0, set[bytes]()

    def refresh(self) -> None:
        """Hear of new erasures. Raises DatabaseUnavailable."""
        horizon = self._events.horizon()  # before the read: nothing may slip in between
        self._hashes |= self._events.erased_hashes(self._since)
        self._since = horizon

    def __contains__(self, user: str) -> bool:
        return bool(self._hashes) and self._events.user_hash(user) in self._hashes


class Lines:
    """The file that e-mails go to, a line of JSON each. What an interrupted run left is kept, but for a line cut in two."""

    def __init__(self, file: Path, erased: Erased) -> None:
        self._file = file
        self.users: set[str] = set()
        whole = file.read_bytes() if file.exists() else b""
        kept = []
        for line in whole[: whole.rfind(b"\n") + 1].splitlines(keepends=True):
            try:
                user = msgspec.json.decode(line, type=_Whose).user
            except msgspec.MsgspecError as error:
                raise InvalidRequest(f"{file} holds what is no e-mail; give --out another name ({error})") from error
            if user not in erased:
                kept.append(line)
                self.users.add(user)
        if (left := b"".join(kept)) != whole:
            draft = file.with_name(f".{file.name}.{os.getpid()}")
            draft.write_bytes(left)
            draft.replace(file)

    def write(self, emails: Sequence[Email]) -> None:
        """Add lines, on disk when this returns."""
        with self._file.open("ab") as stream:
            stream.write(msgspec.json.Encoder().encode_lines(emails))
            stream.flush()
            os.fsync(stream.fileno())


class _Whose(msgspec.Struct):
    user: str


@dataclass(frozen=True)
class _Line:
    """A text about a slate, and the model that wrote it."""

    text: str
    model: str


class Emails:
    """Makes e-mails: `limit` items each, texts in the language of `style`. Without a generator templates write the lines."""

    def __init__(
        self, context: JobContext, limit: int, locale: str | None = None, generator: TextGenerator | None = None
    ) -> None:
        settings: Settings = context.settings
        self._store, self._limit = context.store, limit
        self._style: Style = house_style(settings, locale)
        self._generator, self._fits = generator, Fits(settings.fits_file)
        self._service = Service(settings, context.store, context.registry)
        self._texts: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self.erased = Erased(context.store)

    def open(self) -> None:
        """Read the catalogue and the live models. Raises DatabaseUnavailable."""
        self.erased.refresh()
        for part in (
            self._service.catalogue,
            self._service.models,
            self._service.newcomers,
            self._service.explain_texts,
        ):
            part.refresh()
        self._service.catalogue.refresh_counts()

    def close(self) -> None:
        """Stop what was opened."""
        self._service.stop()

    def run(self, users: Sequence[str], done: set[str]) -> Iterator[tuple[list[Email], Outcome]]:
        """The e-mails of each batch with what became of its users, those in `done` left out. A batch's slates are published.

        Raises DatabaseUnavailable and BrokerUnavailable: run again, it goes on after what was written.
        """
        for start in range(0, len(users), BATCH_USERS):
            batch = users[start : start + BATCH_USERS]
            wanted = [user for user in batch if user not in done]
            self.erased.refresh()
            known = [user for user in wanted if user not in self.erased]
            made = self._batch(known)
            emails = [one for one in made if one.subject and one.push]
            self._service.slates.flush()
            yield (
                emails,
                Outcome(
                    len(emails), len(batch) - len(wanted), len(wanted) - len(known), len(known) - len(made),
                    len(made) - len(emails),
                ),
            )  # fmt: skip

    def _batch(self, users: Sequence[str]) -> list[Email]:
        if not users:
            return []
        ask, pipeline = self._service.surfaces.ask, self._service.pipeline
        wishes = Wishes(limit=self._limit, explain=True)
        read = self._store.history.changed(dict.fromkeys(users, NEVER_READ), self._service.settings.history_events)
        answers = [
            pipeline.recommend(ask(SURFACE, wishes, user=user), Past.of(read[user].history))
            for user in users
        ]  # fmt: skip
        answers = [answer for answer in answers if answer.items]
        slates = [ItemsFacts(tuple(self._facts(one.item) for one in answer.items)) for answer in answers]
        subjects, pushes = (self._lines(kind, slates) for kind in (EMAIL_SUBJECT, PUSH_TEXT))
        return [self._email(*made) for made in zip(answers, subjects, pushes, strict=True)]

    def _email(self, answer: Answer, subject: _Line, push: _Line) -> Email:
        items = [
            EmailItem(
                one.item, self._service.catalogue.view.title(self._service.catalogue.view.row(one.item)),
                self._text(one.item, "headline"), self._text(one.item, "description"), one.reason.text if one.reason else "",
            )
            for one in answer.items
        ]  # fmt: skip
        return Email(
            str(answer.user), subject.text, push.text, items, answer.fallback, answer.slate, str(self._style.locale),
            {"subject": subject.model, "push": push.model},
        )  # fmt: skip

    def _lines(self, kind: ContentKind[ItemsFacts], slates: Sequence[ItemsFacts]) -> list[_Line]:
        """A line for each slate. Slates of the same items share one: nothing of a user is in it."""
        keys = [(kind.name, *(one.item for one in slate.items)) for slate in slates]
        new = {key: slate for key, slate in zip(keys, slates, strict=True) if key not in self._texts}
        found = dict(zip(new, self._written(kind, list(new.values())), strict=True))
        lines = [found[key] if key in found else self._texts[key] for key in keys]
        for key, line in found.items():
            self._keep(key, line)
        return lines

    def _written(self, kind: ContentKind[ItemsFacts], slates: Sequence[ItemsFacts]) -> list[_Line]:
        if self._generator is None and not self._style.banned:  # a template passes its own check
            return [_Line(kind.fallback(slate, self._style), TEMPLATE) for slate in slates]
        written = write(kind, slates, self._generator, self._style, fits=self._fits)
        return [_Line(one.text, one.model) for one in written]

    def _text(self, item: str, kind: str) -> str:
        """What is stored and stands, else the template's."""
        key = (kind, "", item)
        if key not in self._texts:
            view = self._service.catalogue.view
            row = view.row(item)
            known = view.items[row] if row >= 0 else None
            if known is None:
                return ""
            self._keep(key, text_of(self._service, known, kind, str(self._style.locale)).text)
        return str(self._texts[key])

    def _keep(self, key: tuple[str, ...], text: object) -> None:
        self._texts[key] = text
        if len(self._texts) > KEPT_TEXTS:
            self._texts.popitem(last=False)

    def _facts(self, item: str) -> ItemFacts:
        """Kept, for what a check derives from the facts of an item serves every slate that the item is in."""
        key = ("facts", "", item)
        if key not in self._texts:
            view = self._service.catalogue.view
            row = view.row(item)
            known = view.items[row] if row >= 0 else None
            self._keep(key, ItemFacts(item) if known is None else facts_of(known))
        found: ItemFacts = self._texts[key]
        return found


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """All of them together."""
    names = Outcome.__dataclass_fields__
    return replace(Outcome(), **{name: sum(getattr(one, name) for one in outcomes) for name in names})
