"""The central values of a request: what was asked, everything known for answering it, and candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.lazy import lazy
from core.store.history import History, HistoryEvent
from features.history import Timeline
from models.content.kind import Style
from models.recommender import UserBatch
from models.user_kernel import positives
from serving.catalogue import Mask, Rows, View
from serving.columns import Columns
from serving.explain_texts import Pair, Said
from serving.expression import Expression
from serving.histories import Past
from serving.live import Served
from serving.newcomers import NO_SHELF, Shelf

ENGLISH = Style("en")
_SEEN: Callable[[Timeline], Rows] = attrgetter("seen")
_REFUSED: Callable[[Timeline], Rows] = attrgetter("refused")


@dataclass(frozen=True)
class Boost:
    """Items that a filter names count `factor` times as much."""

    filter: Expression
    factor: float


@dataclass(frozen=True)
class Pin:
    """An item at a place of the list, 1 being the first."""

    item: str
    position: int


class Ask(msgspec.Struct, frozen=True):
    """What a caller wants. `events` came with the request; `among`, when given, are the only items that may be answered;
    `logged` is whether the answer counts as shown to the user. Interactions of `seen_kinds` (empty: of any kind) count as
    having seen an item; `exploration` is the share of places left to chance; `hide` are items not to be answered; `locale` is the
    language of the reasons, None that of the namespace."""

    user: str | None = None
    limit: int = 10
    session: str | None = None
    surface: str = "default"
    category: str | None = None
    exclude_seen: bool = True
    diversity: float = 0.0
    explain: bool = True
    events: tuple[HistoryEvent, ...] = ()
    among: tuple[str, ...] | None = None
    context: Mapping[str, Any] = msgspec.field(default_factory=dict)
    logged: bool = True
    filter: Expression | None = None
    seen_kinds: frozenset[str] = frozenset()
    hide: tuple[str, ...] = ()
    exploration: float = 0.0
    boosts: tuple[Boost, ...] = ()
    pins: tuple[Pin, ...] = ()
    locale: str | None = None


class Query(msgspec.Struct, frozen=True, dict=True):
    """Everything one answer is made from, taken once: the catalogue's view, the models, the past, the time.

    `columns` say of which items a filter is true; `style` is how reasons read, `said` are those that are stored.
    """

    ask: Ask
    now: datetime
    view: View
    models: Mapping[str, Served]
    past: Past
    kind_weights: Mapping[str, float]
    shelf: Shelf = NO_SHELF
    columns: Columns = msgspec.field(default_factory=Columns)
    style: Style = ENGLISH
    said: Mapping[Pair, Said] = {}
    _users: dict[str, UserBatch] = {}

    @lazy
    def servable(self) -> Mask:
        """(n,): what may be recommended now. Read-only."""
        return self.view.servable(self.now)

    @lazy
    def events(self) -> tuple[HistoryEvent, ...]:
        """What the user did and what the request says they did, newest first. Empty while Postgres cannot be asked."""
        stored = self.past.events if self.past.known else ()
        if not self.ask.events:
            return stored
        return tuple(sorted((*self.ask.events, *stored), key=lambda event: event.time, reverse=True))

    @lazy
    def timeline(self) -> Timeline:
        """`events` as columns, in the catalogue's rows."""
        return self._stored if self.past.known and not self.ask.events else self._columns(self.events)

    @lazy
    def _stored(self) -> Timeline:
        return self.past.timeline(self.view.row_of, self.kind_weights)

    def _columns(self, events: tuple[HistoryEvent, ...]) -> Timeline:
        return Timeline.of(History(events, frozenset()), self.view.row_of, self.kind_weights)

    def _here(self, which: Callable[[Timeline], Rows]) -> Rows:
        """Rows of what is known of the user, be it of long ago, and of what the request says, as far as this view has them."""
        rows, n = which(self._stored), len(self.view)
        if self.ask.events:
            rows = np.concatenate([rows, which(self._columns(self.ask.events))])
        elif self._stored.stop <= n:
            return rows
        return rows[rows < n]

    @lazy
    def done(self) -> Mapping[str, str]:
        """The strongest thing that the user did with each item, as the kind of its event; the newest of equal ones."""
        return self.timeline.strongest()

    @lazy
    def seen(self) -> Rows:
        """Rows of the items that the user ever touched, or touched in one of the ways that count as having seen them."""
        kinds = self.ask.seen_kinds
        if not kinds:
            return self._here(_SEEN)
        events = {event.item for event in (*self.ask.events, *self.past.events) if event.kind in kinds}
        return self.view.rows(events.union(*(self.past.kinds.get(kind, ()) for kind in kinds)))

    @lazy
    def disliked(self) -> Rows:
        """Rows of the items that the user said no to, however long ago."""
        return self._here(_REFUSED)

    def users(self, served: Served) -> UserBatch:
        """The user as a batch of one, in the rows of a model."""
        name = served.version.name
        if name not in self._users:
            done = self.timeline
            history = positives(served.own, done.rows, done.times_s, done.weights)
            self._users[name] = UserBatch.of_one(history, self.now.timestamp())
        return self._users[name]


class Candidates(msgspec.Struct, frozen=True, gc=False):
    """n items that may be answered: catalogue `rows` (n,) int32, `scores` (n,) float32 best first, and whose idea each was.

    `source` (n,) are positions in `sources`, names such as "transitions".
    """

    rows: Rows
    scores: NDArray[np.float32]
    source: NDArray[np.int8]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | Mask | NDArray[np.int64]) -> Candidates:
        return Candidates(self.rows[part], self.scores[part], self.source[part], self.sources)

    @classmethod
    def of(cls, name: str, rows: Rows, scores: NDArray[np.float32]) -> Candidates:
        """Candidates of one source."""
        return cls(rows, scores, np.zeros(len(rows), np.int8), (name,))

    def within(self, mask: Mask) -> Candidates:
        """Those that a mask of the whole catalogue has."""
        kept = mask.take(self.rows)
        return self if kept.all() else self[kept]

    def first(self, k: int) -> Candidates:
        """The first k."""
        return self if len(self.rows) <= k else self[:k]

    def best_first(self) -> Candidates:
        """In the order of their scores; equal ones stay in theirs."""
        scores = self.scores
        return self if (scores[:-1] >= scores[1:]).all() else self[np.argsort(-scores, kind="stable")]

    def at(self, mask: Mask) -> Mask:
        """What a mask of the whole catalogue says of these."""
        return mask[self.rows]

    def then(self, others: Candidates) -> Candidates:
        """These, followed by those of `others` that are not among them, whose scores are fitted below."""
        new = others[~np.isin(others.rows, self.rows)]
        floor = float(self.scores.min(initial=1.0))
        names = tuple(dict.fromkeys((*self.sources, *new.sources)))
        place = np.array([names.index(name) for name in new.sources], np.int8)
        return Candidates(
            np.concatenate([self.rows, new.rows]), np.concatenate([self.scores, new.scores * np.float32(floor)]),
            np.concatenate([self.source, place[new.source]]), names,
        )  # fmt: skip

    def having(self, others: Candidates, places: Sequence[int]) -> Candidates:
        """These with `others` put in, one after the other, each at its place or at the end, scored between its neighbours."""
        if len(others) == 0:
            return self
        names = tuple(dict.fromkeys((*self.sources, *others.sources)))
        rows, scores, source = self.rows.tolist(), self.scores.tolist(), self.source.tolist()
        for row, whose, wanted in zip(others.rows.tolist(), others.source.tolist(), places, strict=True):
            place = min(wanted, len(rows))
            beside = scores[max(place - 1, 0) : place + 1]
            rows.insert(place, row)
            scores.insert(place, sum(beside) / len(beside))
            source.insert(place, names.index(others.sources[whose]))
        return Candidates(np.array(rows, np.int32), np.array(scores, np.float32), np.array(source, np.int8), names)


Source = Callable[[Query, Mask, int], Candidates]  # the best k among what the mask (catalogue rows) allows
Filter = Callable[[Query, Mask], None]  # takes out of the mask what may not be answered
