"""Models: what was trained, what is live, and moving between versions by hand."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody

from core.store.versions import ModelVersion
from serving.problems import documented
from serving.routes.parameters import ADMIN, Name, Serving
from serving.service import Service, run
from serving.shapes import LiveVersion, PromoteRequest, VersionAnswer

TAGS = ["models"]


@get("/models", opt=ADMIN, responses=documented(), tags=TAGS, summary="Trained models, newest first")
async def list_models(service: Serving) -> list[VersionAnswer]:
    """Every version with its state, its figures, and what the gate said of it."""
    versions = await run(service.threads.database, service.registry.versions)
    return [_described(service, version) for version in versions]


@post(
    "/models/{name:str}/promote", status_code=200, opt=ADMIN, responses=documented(404, 409), tags=TAGS,
    summary="Make a version live",
)  # fmt: skip
async def promote(service: Serving, name: Name, data: JSONBody[PromoteRequest]) -> LiveVersion:
    """Checks its files first. This server swaps at once, others within a second. What the gate refused stays so (409)."""
    await run(service.threads.reports, _promote, service, name, data.version)
    return LiveVersion(name, data.version)


@post(
    "/models/{name:str}/rollback", status_code=200, opt=ADMIN, responses=documented(404, 409), tags=TAGS,
    summary="Go back to the version that was live before",
)  # fmt: skip
async def rollback(service: Serving, name: Name) -> LiveVersion:
    """409 when there is none."""
    return LiveVersion(name, await run(service.threads.reports, _rollback, service, name))


def _promote(service: Service, name: str, version: int) -> None:
    found = service.store.versions.version(name, version)
    service.registry.promote(name, version, found.verdict or "promoted by hand")
    service.models.refresh()


def _rollback(service: Service, name: str) -> int:
    version = service.registry.rollback(name)
    service.models.refresh()
    return version


def _described(service: Service, version: ModelVersion) -> VersionAnswer:
    served = service.models.served.get(version.name)
    serving = served is not None and served.version.version == version.version
    return VersionAnswer(
        version.name, version.version, version.state, serving, version.trained_until, version.created_at,
        version.promoted_at, version.metrics, version.verdict, version.code_revision, version.snapshot,
    )  # fmt: skip


ROUTES = [list_models, promote, rollback]
