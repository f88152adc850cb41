"""Parameters that several routes share, with their ranges, and the scopes that routes ask for."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from core.settings import LOCALE
from serving.expression import MAX_LENGTH
from serving.service import Service
from serving.shapes import MAX_LIMIT

# Which key opens what: the table in docs/operations.md, which a test holds equal to this.
EVENTS = {"scope": "events:write"}
READ = {"scope": "recs:read"}
CONTENT_READ = {"scope": "content:read"}
CONTENT_WRITE = {"scope": "content:write"}
ADMIN = {"scope": "admin"}
NO_NUL = "^[^\\x00]+$"

Serving = NamedDependency[Service]
Who = NamedDependency[str]  # the name of the request's key
UserId = Annotated[str, PathParameter(min_length=1, max_length=256, pattern=NO_NUL, description="The user's id.")]
ItemId = Annotated[str, PathParameter(min_length=1, max_length=256, pattern=NO_NUL, description="The item's id.")]
Name = Annotated[str, PathParameter(min_length=1, max_length=64, pattern=NO_NUL, description="Its name.")]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many at most.")]


def narrowing(max_length: int, description: str) -> QueryParameter:
    """A parameter that leaves out all but what is so; nothing is left out without it."""
    return QueryParameter(max_length=max_length, pattern=NO_NUL, required=False, description=description)


Category = Annotated[str | None, narrowing(256, "Only items of this category.")]
Filter = Annotated[
    str | None,
    QueryParameter(
        min_length=1, max_length=MAX_LENGTH, pattern=NO_NUL, required=False,
        description='Only items of which it is true, such as `price < 20 and brand in ["a", "b"]`: see docs/serving.md.',
    ),
]  # fmt: skip
Surface = Annotated[
    str, QueryParameter(max_length=64, pattern=NO_NUL, description="Where the list is shown; kept with the slate.")
]
# Of these, what is not given is as the surface says (HEADWATER_SURFACES), else as the description does.
WantedLimit = Annotated[
    int | None, QueryParameter(ge=1, le=MAX_LIMIT, required=False, description="How many at most; by default 10.")
]
ExcludeSeen = Annotated[
    bool | None,
    QueryParameter(required=False, description="Leave out what the user has seen: see seen_kinds. By default true."),
]
SeenKinds = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^[a-z][a-z0-9_]{0,47}(,[a-z][a-z0-9_]{0,47}){0,49}$", required=False,
        description="Kinds of interaction that count as having seen an item, such as `purchase,cart`; by default all.",
    ),
]  # fmt: skip
Explain = Annotated[
    bool | None, QueryParameter(required=False, description="Say why each item is there. By default true.")
]
ReasonLocale = Annotated[
    str | None,
    QueryParameter(
        max_length=35, pattern=LOCALE, required=False,
        description="Language of the reasons; by default HEADWATER_CONTENT_LOCALE.",
    ),
]  # fmt: skip
Diversity = Annotated[
    float | None,
    QueryParameter(ge=0, le=1, required=False, description="0 (the default): by score alone; towards 1: less alike."),
]
Exploration = Annotated[
    float | None,
    QueryParameter(
        ge=0, le=1, required=False,
        description="Share of the places left to chance, with the odds as each item's propensity. By default 0.",
    ),
]  # fmt: skip
Kind = Annotated[str, QueryParameter(max_length=64, pattern=NO_NUL, description="Kind of text, such as description.")]
Locale = Annotated[
    str, QueryParameter(min_length=1, max_length=35, pattern=NO_NUL, description="Language of the text.")
]
