"""All SQL of the house. `Store` is its door: one object per process, a part for each subject."""

from __future__ import annotations

from core.errors import ConfigurationError
from core.settings import Settings
from core.store.audience import AudienceStore
from core.store.catalogue import Catalogue
from core.store.catalogue_copies import CatalogueCopies
from core.store.content_requests import ContentRequestStore
from core.store.contents import ContentStore
from core.store.database import Database
from core.store.dead_letters import DeadLetterStore
from core.store.drafts import DraftStore
from core.store.events import EventStore
from core.store.history import HistoryStore
from core.store.job_runs import JobRunStore
from core.store.keys import KeyStore
from core.store.lag import LagStore
from core.store.partitions import PartitionStore
from core.store.reviews import ReviewStore
from core.store.slates import SlateStore
from core.store.tails import TailStore
from core.store.versions import VersionStore


class Store:
    """The parts of the store on one database. Close it, or use it as a context manager."""

    def __init__(self, database: Database, secret: str) -> None:
        self.database = database
        self.events = EventStore(database, secret)
        self.history = HistoryStore(database)
        self.tails = TailStore(database)
        self.catalogue = Catalogue(database)
        self.copies = CatalogueCopies(database)
        self.contents = ContentStore(database)
        self.content_requests = ContentRequestStore(database, self.events)
        self.reviews = ReviewStore(database)
        self.drafts = DraftStore(database)
        self.versions = VersionStore(database)
        self.dead_letters = DeadLetterStore(database)
        self.keys = KeyStore(database)
        self.lag = LagStore(database)
        self.job_runs = JobRunStore(database)
        self.partitions = PartitionStore(database)
        self.slates = SlateStore(database)
        self.audience = AudienceStore(database)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_store(settings: Settings, *, pool: int = 8) -> Store:
    """The store of the settings' namespace; settings must have database_url and secret (the front door sees to it)."""
    if settings.database_url is None:
        raise ConfigurationError(
            "no database: set HEADWATER_DATABASE_URL, or start the embedded one with `headwater up`"
        )
    if settings.secret is None:
        raise ConfigurationError(
            "no secret: set HEADWATER_SECRET to a long random text; it keys the hashes of erased users"
        )
    return Store(Database(settings.database_url, settings.namespace, pool=pool), settings.secret)
