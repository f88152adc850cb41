"""A full server: what it has taken on it answers, everyone else hears so at once."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from heapq import heapify, heappop, heappush
from types import SimpleNamespace

import httpx
import msgspec
import pytest

from core.telemetry import REFUSED
from models.text.generator import Generation, Limits, Prompt
from serving.admission import HASTY_S, REFUSE_AFTER_S, RUNNING, WAITING_TEXTS, Gate, Refusals, Waiting, kind_of
from serving.app import create_app
from serving.routes import API, OPERATIONS
from serving.server import serving
from tests.serving.test_bad_input import problem
from tests.serving.test_connection import dialled, figure, said
from tests.serving.world import World, eventually, ids

PATH = "/v1/users/u1/recommendations"
CALLERS = 40


class Blocked:
    """A text model and a schedule that do nothing until `go` is set."""

    name = "blocked"

    def __init__(self) -> None:
        self.go = threading.Event()

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        self.go.wait(60)
        return [Generation("", 0, "stop") for _ in prompts]

    def history(self, limit: int = 50) -> Sequence[object]:
        self.go.wait(60)
        return []

    def run_now(self, name: str, **arguments: object) -> int:
        return 1


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    one = Blocked()
    yield one
    one.go.set()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool


def overloaded(answer: httpx.Response) -> None:
    document = problem(answer, 503)
    assert (document["code"], document["retriable"]) == ("overloaded", True)
    assert answer.headers["retry-after"] == "1"


def test_a_full_line_refuses_the_next_and_what_was_taken_on_is_answered(
    full_world: World, blocked: Blocked, callers: ThreadPoolExecutor
) -> None:
    with full_world.served(generator=blocked) as client:

        def write() -> httpx.Response:
            return httpx.post(f"{client.base_url}/v1/content", json={"item": "i1"}, timeout=60)

        before = figure(client, "headwater_refused_total", "texts")
        running = callers.submit(write)
        eventually(lambda: figure(client, "headwater_requests_running", "texts") == 1, within_s=20)
        waiting = [callers.submit(write) for _ in range(WAITING_TEXTS)]
        eventually(lambda: figure(client, "headwater_requests_waiting", "texts") == WAITING_TEXTS, within_s=20)
        for _ in range(5):
            overloaded(write())
        assert figure(client, "headwater_refused_total", "texts") == before + 5
        assert client.get(PATH).json()["fallback"] is None  # another kind
        assert client.get("/v1/items/i1").status_code == client.get("/readyz").status_code == 200
        blocked.go.set()
        assert [one.result().status_code for one in (running, *waiting)] == [200] * (1 + WAITING_TEXTS)
        assert write().status_code == 200
        for metric in ("headwater_requests_running", "headwater_requests_waiting"):
            assert figure(client, metric, "texts") == 0


def test_who_waits_too_long_is_refused_and_later_ones_are_answered(
    full_world: World, blocked: Blocked, callers: ThreadPoolExecutor
) -> None:
    with full_world.served(jobs=blocked) as client:

        def ask(path: str) -> Future[httpx.Response]:
            return callers.submit(httpx.get, f"{client.base_url}{path}", timeout=60)

        running = [ask("/v1/jobs") for _ in range(RUNNING["records"])]
        eventually(lambda: figure(client, "headwater_requests_running", "records") == len(running), within_s=20)
        for late in [ask("/v1/items/i1") for _ in range(3)]:
            overloaded(late.result())
        assert len(ids(client.get(PATH).json())) == 10
        blocked.go.set()
        assert {one.result().status_code for one in running} == {200}
        assert client.get("/v1/items/i1").status_code == 200
        assert figure(client, "headwater_requests_running", "records") == 0


def test_many_times_more_callers_than_places_get_an_answer_or_a_refusal_and_afterwards_all_is_well(
    full_world: World, callers: ThreadPoolExecutor
) -> None:
    settings = msgspec.structs.replace(full_world.settings, max_running=1, max_waiting=1)
    with full_world.served(settings=settings) as client:

        def load() -> Counter[int]:
            statuses: Counter[int] = Counter()
            with httpx.Client(base_url=client.base_url, timeout=60) as mine:
                for number in range(8):
                    answer = mine.get(PATH) if number % 2 else mine.post("/v1/recommendations", json={"user": "u2"})
                    statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        assert len(ids(answer.json())) == 10
                    else:
                        overloaded(answer)
            return statuses

        loads = [callers.submit(load) for _ in range(20)]
        assert client.get("/healthz").status_code == 200
        statuses = sum((one.result() for one in loads), Counter())
        assert set(statuses) == {200, 503}
        assert sum(statuses.values()) == 160
        assert {client.get(PATH).status_code for _ in range(20)} == {200}
        assert figure(client, "headwater_requests_running", "answers") == 0


def test_places_are_given_in_turn_and_nobody_gets_one_twice() -> None:
    gate, begun = Gate("test", running=1, waiting=2, wait_s=1.0), list[str]()

    def begin(name: str, wanted: bool = True) -> Callable[[], bool]:
        return lambda: begun.append(name) is None and wanted

    assert gate.enter()
    assert not gate.enter()
    gone, second = gate.wait(begin("gone", wanted=False)), gate.wait(begin("second"))
    assert gone is not None
    assert second is not None
    assert gate.wait(begin("too many")) is None
    gate.leave()
    assert begun == ["gone", "second"]  # the first's caller had left: the place goes on to the next
    gate.give_up(second)  # its deadline comes, but it has begun
    third, fourth = gate.wait(begin("third")), gate.wait(begin("fourth"))
    assert third is not None
    gate.give_up(third)
    assert fourth is not None
    fifth = gate.wait(begin("fifth"))
    assert fifth is not None
    for expected in (["fourth"], ["fourth", "fifth"], ["fourth", "fifth"]):
        gate.leave()
        assert begun[2:] == expected
    assert gate.enter()


def test_who_asks_again_at_once_is_refused_a_moment_later_in_turn_each_once_and_counted() -> None:
    gate = Gate("held", running=0, waiting=0, wait_s=0.0)
    refusals, sent = Refusals(gate), list[tuple[int, float]]()

    async def refuse_many() -> None:
        loop = asyncio.get_running_loop()
        for number in range(30):
            asked = time.monotonic()
            last_s = loop.time()  # refused just before
            refusals.send(
                lambda number=number, asked=asked: sent.append((number, time.monotonic() - asked)), last_s, loop
            )  # type: ignore[misc]
            assert number > 0 or sent == []
            await asyncio.sleep(0.001)
        while len(sent) < 30:
            await asyncio.sleep(0.01)

    asyncio.run(refuse_many())
    assert [number for number, _ in sent] == list(range(30))
    assert min(waited for _, waited in sent) > 0.8 * REFUSE_AFTER_S
    assert REFUSED.labels("held")._value.get() == 30


def test_who_was_not_refused_just_before_is_refused_at_once() -> None:
    gate = Gate("at once", running=0, waiting=0, wait_s=0.0)
    refusals, sent = Refusals(gate), list[float]()

    async def refuse(last_s: float) -> float:
        loop = asyncio.get_running_loop()
        return refusals.send(lambda: sent.append(loop.time()), last_s if last_s < 0 else loop.time() - last_s, loop)

    assert asyncio.run(refuse(float("-inf"))) == pytest.approx(sent[0], abs=1)
    asyncio.run(refuse(2 * HASTY_S))
    assert len(sent) == REFUSED.labels("at once")._value.get() == 2


def test_who_waits_in_line_is_told_so_only_where_the_turn_comes_well_in_time() -> None:
    gate = Gate("paced", running=1, waiting=64, wait_s=1.0)
    assert gate.enter()
    assert not gate.full
    gate._pace_s = 0.2  # of turns, as of late
    took = [gate.wait(lambda: True) for _ in range(64)]
    assert sum(one is not None for one in took) == 2  # 0.4 s away at most: a pace half as good still answers them
    assert gate.full


def standing() -> tuple[Gate, list[Waiting]]:
    """A gate whose line, half a second long at 0.04 s a turn, has stood for longer than that, and who waits there."""
    gate = Gate("standing", running=1, waiting=64, wait_s=1.0)
    assert gate.enter()
    gate._pace_s = 0.04
    line = [one for one in (gate.wait(lambda: True) for _ in range(64)) if one is not None]
    assert len(line) == 12
    gate._since_s -= 1.0
    return gate, line


def counted(gate: Gate) -> None:
    """A turn comes, after which it is known how many came and were answered of late."""
    gate._counted_s -= 1.0
    gate.leave()
    gate._pace_s = 0.04


def test_a_line_that_stands_while_more_come_than_are_answered_is_kept_short_until_that_is_over() -> None:
    gate, line = standing()
    gate.refused(30)
    counted(gate)
    for one in line[8:]:
        gate.give_up(one)
    assert gate.full  # the eighth turn is more than 0.3 s away
    gate.give_up(line[7])
    assert not gate.full
    counted(gate)  # nobody else has come
    assert sum(gate.wait(lambda: True) is not None for _ in range(64)) == 7
    assert gate.full  # half a second all the same


def test_callers_who_ask_again_when_answered_are_taken_however_long_their_line_has_stood() -> None:
    gate, _ = standing()
    counted(gate)
    counted(gate)  # they came together, and nobody since
    for _ in range(20):
        assert gate.wait(lambda: True) is not None  # the one who was answered
        gate.leave()
        gate._pace_s = 0.04
        gate.refused(5, new=False)  # who asks again at once is no one else
    counted(gate)
    while gate.wait(lambda: True) is not None:
        continue
    assert gate._waiting == 12


def test_after_an_overload_the_callers_of_before_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("serving.admission.time", SimpleNamespace(monotonic=lambda: now_s))
    gate, turn_s = Gate("overload", running=16, waiting=64, wait_s=0.25), 0.005
    answered, refused, running, next_s = list[float](), list[float](), deque[bool](), 0.0
    asks: list[tuple[float, bool, bool]] = [(0.1 + n * 0.0005, False, True) for n in range(4000)]  # ten times too many
    asks += [(3.0, True, True) for _ in range(32)]  # callers, who ask again
    heapify(asks)
    while asks or running:
        if running and (not asks or next_s <= asks[0][0]):
            now_s = max(now_s, next_s)
            next_s = now_s + turn_s
            answered.append(now_s)
            if running.popleft() and now_s < 6.0:
                heappush(asks, (now_s, True, True))
            gate.leave()
            continue
        now_s, again, new = heappop(asks)
        if not running:
            next_s = now_s + turn_s
        if gate.enter():
            running.append(again)
        elif gate.wait(lambda again=again: running.append(again) is None) is None:  # type: ignore[misc]
            gate.refused(1, new=new)
            refused.append(now_s)
            if again and now_s < 6.0:
                heappush(asks, (now_s + REFUSE_AFTER_S, True, False))
    in_the_overload = [at for at in answered if 0.5 < at < 2.0]
    assert len(in_the_overload) == pytest.approx(1.5 / turn_s, abs=3)  # as many as ever
    assert sum(0.5 < at < 2.0 for at in refused) == pytest.approx(1.5 * (2000 - 1 / turn_s), abs=100)
    assert [at for at in refused if at > 3.5] == []


def test_one_turn_that_was_held_up_refuses_nobody_and_turns_that_have_become_slow_do() -> None:
    gate = Gate("held up", running=1, waiting=100, wait_s=1.0)
    assert gate.enter()

    def turn(after_s: float) -> None:
        gate._last_s = time.monotonic() - after_s
        gate.leave()

    line = [gate.wait(lambda: True) for _ in range(100)]
    turn(0.5)
    assert gate.wait(lambda: True) is not None  # the hundredth
    for _ in range(50):
        turn(0.05)
    for one in line:
        if one is not None:
            gate.give_up(one)
    while gate.wait(lambda: True) is not None:
        continue
    assert 5 < gate._waiting <= 10  # half a second


def test_what_the_pipeline_answers_is_limited_apart_from_what_waits_for_a_service() -> None:
    for route in API.routes:
        for handler in route.route_handlers:  # type: ignore[union-attr]
            in_memory = "threads.pipeline" in inspect.getsource(handler.fn)
            for method in handler.http_methods - {"OPTIONS"}:
                kind = kind_of(method, route.path)
                assert kind is not None, route.path
                assert (kind == "answers") == in_memory, (method, route.path, kind)
    assert {kind_of("GET", path) for handler in OPERATIONS for path in handler.paths} == {None}
    assert kind_of("POST", "/v1/content") == "texts"
    assert kind_of("POST", "/v1/events") == kind_of("PUT", "/v1/items/rank") == "events"
    assert kind_of("GET", "/console/users/u1") == kind_of("GET", "/v1/users/u1/similar") == "records"


def test_without_a_place_lists_are_refused_unread_and_what_follows_is_answered(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, max_running=1, max_waiting=1)
    app = create_app(settings, full_world.store, full_world.registry)
    gate = app.state.service.door.gates["answers"]
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert gate.enter()
        assert gate.wait(lambda: True) is not None
        assert gate.full
        for _ in range(3):
            overloaded(client.get(PATH, params={"limit": 3}))
            overloaded(client.post("/v1/recommendations", json={"limit": 3}))
            overloaded(client.get(PATH, headers={"Connection": "close"}))
        assert client.head(PATH).status_code == 503
        assert client.get("/v1/items/i1").status_code == client.get("/readyz").status_code == 200
        with dialled(client) as hasty:
            hasty.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(0.005)  # comes while the first is about to be refused
            hasty.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert re.findall(rb"HTTP/1.1 (\d+)", said(hasty)) == [b"503", b"200"]
        gate.leave()
        gate.leave()
        assert client.get(PATH).status_code == 200
        assert not gate.full
