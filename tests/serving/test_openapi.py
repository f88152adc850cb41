"""What /openapi.json says is what the server does: schemathesis makes requests from it, good and bad, and judges every answer."""

from __future__ import annotations

from collections import Counter

import httpx
import hypothesis
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jobs.context import job_context
from jobs.schedule import Schedule
from tests.serving.proxy import Proxy, proxied
from tests.serving.test_away import away
from tests.serving.world import World, ids

__all__ = ["away"]

SEED = 20261122
EXAMPLES = pytest.mark.parametrize(
    "examples", [4, pytest.param(8, marks=pytest.mark.slow_fault)]
)  # of a route, good and bad
DOCUMENTED: list[CheckFunction] = [
    status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance,
]  # fmt: skip


def ask_everything(address: str, checks: list[CheckFunction], examples: int) -> Counter[tuple[str, int]]:
    """Ask every documented route; returns how often each status of each came. Raises for an answer that a check refuses."""
    print(f"seed {SEED}")
    load_all_checks()
    statuses: Counter[tuple[str, int]] = Counter()
    for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations():
        operation = found.ok()

        def ask(case: schemathesis.Case) -> None:
            response = case.call(timeout=30)
            statuses[f"{case.method} {case.path}", response.status_code] += 1
            case.validate_response(response, checks=checks)

        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            asking = hypothesis.given(case=operation.as_strategy(mode))(ask)
            hypothesis.seed(SEED)(
                hypothesis.settings(
                    max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )(asking)
            )()  # fmt: skip
    return statuses


@EXAMPLES
def test_no_request_gets_a_server_error_or_an_answer_that_is_not_documented(full_world: World, examples: int) -> None:
    jobs = Schedule(job_context(full_world.settings, full_world.store))
    with full_world.served(jobs=jobs) as client:
        checks = [*DOCUMENTED, not_a_server_error]
        statuses = ask_everything(str(client.base_url).rstrip("/"), checks, examples)
        assert len(ids(client.get("/v1/users/u1/recommendations").json())) == 10
    documented = {route for route, _ in statuses}
    assert len(documented) >= 27
    answered = {route for route, status in statuses if status < 300}
    assert len(answered) > len(documented) / 2  # good requests are among them
    assert {status for _, status in statuses} >= {200, 202, 400, 404}


@EXAMPLES
def test_with_postgres_away_everything_else_is_as_documented_too(
    away: tuple[Proxy, httpx.Client], examples: int
) -> None:
    proxy, client = away
    proxy.cut()
    statuses = ask_everything(str(client.base_url).rstrip("/"), DOCUMENTED, examples)
    assert {status for _, status in statuses if status >= 500} == {503}


@pytest.mark.slow_fault  # whoever publishes waits for the broker
def test_with_the_broker_away_everything_else_is_as_documented_too(full_world: World) -> None:
    host, _, port = str(full_world.settings.kafka_bootstrap).partition(",")[0].rpartition(":")
    with proxied(host, int(port)) as proxy:
        proxy.cut()
        settings = msgspec.structs.replace(full_world.settings, kafka_bootstrap=f"127.0.0.1:{proxy.port}")
        with full_world.served(settings=settings) as client:
            statuses = ask_everything(str(client.base_url).rstrip("/"), DOCUMENTED, 3)
    assert {status for _, status in statuses if status >= 500} == {503}
    refused = {route for route, status in statuses if status == 503}
    assert refused & {
        f"{method} /v1/{what}" for method in ("PUT", "DELETE") for what in ("items/{item_id}", "users/{user_id}")
    }
    assert {route for route in refused if route.startswith("GET ")} <= {"GET /v1/jobs"}  # there is no schedule
