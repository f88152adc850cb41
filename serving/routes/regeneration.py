"""Having texts written in the background, by `headwater generate-worker`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import post
from litestar.params import JSONBody
from msgspec import Meta

from core.settings import Locale
from core.store.content_requests import Wanted
from models.content.about import NEEDED
from models.content.banned import list_hash
from models.content.kind import house_style
from models.content.prompting import prompt_hash
from serving.problems import documented
from serving.routes.content import TAGS, content_kind
from serving.routes.parameters import CONTENT_WRITE, Serving
from serving.service import Service, run
from serving.shapes import Id

MAX_ITEMS = 1000


class RegenerateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which texts to request: those of `items`, else (at most `limit`) those that are missing or outdated, the newest and most
    viewed items' first. `stale` leaves out the missing ones. `locale` is as the settings say where it is null.
    """

    kind: Annotated[str, Meta(max_length=64)] = "description"
    locale: Locale | None = None
    items: Annotated[list[Id], Meta(min_length=1, max_length=MAX_ITEMS)] | None = None
    stale: bool = False
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1000


class Regeneration(msgspec.Struct, frozen=True):
    """How many texts were requested by this, how many of `items` are requested already and are not in the catalogue, and how
    many requests are open now, this one's included."""

    requested: int
    requested_already: int
    unknown: int
    open: int


@post(
    "/content/regenerate", status_code=202, opt=CONTENT_WRITE, responses=documented(), tags=TAGS,
    summary="Write missing and stale texts in the background",
)  # fmt: skip
async def regenerate(service: Serving, data: JSONBody[RegenerateRequest]) -> Regeneration:
    """Requests are kept in Postgres until a worker has settled them, each once: asking again changes nothing. A text that is
    true of its item, from the same facts, prompt and model, is not written again; nor is one that a person has written.
    """
    return await run(service.threads.database, _request, service, data)


def _request(service: Service, data: RegenerateRequest) -> Regeneration:
    requests, kind = service.store.content_requests, data.kind
    style = house_style(service.settings)
    prompt = prompt_hash(content_kind(kind), style)
    locale = data.locale or service.settings.content_locale
    unknown = 0
    if data.items is not None:
        items = sorted(set(data.items))
        found = requests.about(items, kind, locale)
        unknown = len(items) - len(found)
    else:
        texts = [] if data.stale else [(kind, locale)]
        wanted = Wanted(texts, {kind: prompt}, locale=locale, needs=NEEDED, banned_hash=list_hash(style.banned))
        found = requests.wanting(wanted, data.limit)
    requested = requests.request(found)
    states = requests.counts().states
    return Regeneration(
        requested, len(found) - requested, unknown, states["waiting"] + states["later"] + states["published"]
    )


ROUTES = [regenerate]
