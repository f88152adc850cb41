"""Parameters that several routes share, with their ranges, and the scopes that routes ask for."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from serving.service import Service
from serving.shapes import MAX_LIMIT

EVENTS = {"scope": "events"}
READ = {"scope": "read"}
ADMIN = {"scope": "admin"}
NO_NUL = "^[^\\x00]+$"

Serving = NamedDependency[Service]
UserId = Annotated[str, PathParameter(min_length=1, max_length=256, pattern=NO_NUL, description="The user's id.")]
ItemId = Annotated[str, PathParameter(min_length=1, max_length=256, pattern=NO_NUL, description="The item's id.")]
Name = Annotated[str, PathParameter(min_length=1, max_length=64, pattern=NO_NUL, description="Its name.")]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many at most.")]
Category = Annotated[
    str | None,
    QueryParameter(max_length=256, pattern=NO_NUL, required=False, description="Only items of this category."),
]
Surface = Annotated[
    str, QueryParameter(max_length=64, pattern=NO_NUL, description="Where the list is shown; kept with the slate.")
]
ExcludeSeen = Annotated[bool, QueryParameter(description="Leave out every item that the user ever touched.")]
Explain = Annotated[bool, QueryParameter(description="Say why each item is there.")]
Diversity = Annotated[float, QueryParameter(ge=0, le=1, description="0: by score alone; towards 1: less alike.")]
Kind = Annotated[str, QueryParameter(max_length=64, pattern=NO_NUL, description="Kind of text, such as description.")]
Locale = Annotated[
    str, QueryParameter(min_length=1, max_length=35, pattern=NO_NUL, description="Language of the text.")
]
