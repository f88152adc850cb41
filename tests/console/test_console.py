"""The console in a browser: right, readable at any width, and nothing in it runs that a user or an item brought along."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from core.store.events import Coordinates, DeadLetter
from jobs.context import job_context
from jobs.schedule import Schedule
from tests.serving.world import World, eventually, item
from tests.streams import view

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": (1280, 900), "phone": (360, 740)}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
LONG = "an-id-without-any-place-to-break-" * 7


@pytest.fixture
def site(full_world: World) -> Iterator[str]:
    """The address of a system with something of everything to show."""
    full_world.change(item(41, title=HOSTILE, description=HOSTILE, attributes={HOSTILE: HOSTILE}), item(42, title=LONG))
    full_world.writer.write([view(70_000 + n, LONG, f"i{n}") for n in range(5)])
    where = Coordinates("t", "t", 0, 1)
    full_world.writer.write([], dead=[DeadLetter(where, "malformed", "not JSON", b"{", 1, "x")])
    schedule = Schedule(job_context(full_world.settings, full_world.store))
    schedule.run_now("maintain")
    with full_world.served(jobs=schedule) as client:
        client.post("/v1/content", json={"item": "i3"}).raise_for_status()
        yield str(client.base_url).rstrip("/")


def visit(browser: webdriver.Chrome, address: str, width: str = "desktop") -> str:
    """Open a page at a width; its text. Fails when it scrolls sideways or the browser complained of anything."""
    wide, high = WIDTHS[width]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": width == "phone"},
    )
    browser.get(address)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= wide
    outside = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.tagName + '.' + e.className).slice(0, 5)"
    )
    assert outside == []
    complaints = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert not [line for line in complaints if "status of 404" not in line]
    return browser.find_element(By.TAG_NAME, "body").text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_front_page_shows_what_runs(browser: webdriver.Chrome, site: str, width: str) -> None:
    text = visit(browser, f"{site}/console", width)
    assert "365" in text  # 30 users of 12 steps, and 5 more views
    for model in ("als", "transitions", "popularity"):
        assert f"{model} v1" in text
    assert text.count("live") >= 3
    assert "0.3000" in text
    assert "1 malformed" in text
    assert "maintain" in text
    assert "waiting" in text
    assert "in step with Postgres" in text
    assert "view" in text
    assert "Item 3" in text
    browser.find_elements(By.CSS_SELECTOR, "details.verdict summary")[0].click()
    assert "better than popularity in the test" in browser.find_element(By.TAG_NAME, "body").text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_users_page_shows_what_they_did_and_what_they_would_get_and_why(
    browser: webdriver.Chrome, site: str, width: str
) -> None:
    text = visit(browser, f"{site}/console/users/u1", width)
    assert "touched 12 items in 12 interactions" in text
    assert "personal" in text
    lines = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "ol.list li")]
    assert len(lines) == 10
    assert "Item 15" in lines[0]
    assert "Because you looked at Item 14" in lines[0]
    assert all(("als" in line) or ("transitions" in line) for line in lines)
    past = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "ul.past li")]
    assert "Item 14" in past[0]
    assert "view" in past[0]
    stranger = visit(browser, f"{site}/console/users/never-heard-of", width)
    assert "nothing is known of this user" in stranger
    assert "fallback: popular" in stranger
    assert LONG in visit(browser, f"{site}/console/users/{LONG}", width)


@pytest.mark.parametrize("width", WIDTHS)
def test_an_items_page_shows_its_facts_its_text_and_what_goes_with_it(
    browser: webdriver.Chrome, site: str, width: str
) -> None:
    text = visit(browser, f"{site}/console/items/i3", width)
    assert browser.find_element(By.TAG_NAME, "h1").text == "Item 3"
    assert "by template" in text
    assert "verified" in text
    assert "shown" in text
    assert "odd" in text
    assert "Item 4" in text
    assert "Often chosen after Item 3" in text
    assert LONG in visit(browser, f"{site}/console/items/i42", width)
    assert "no item" in visit(browser, f"{site}/console/items/unheard-of", width)


def test_the_search_box_finds_users_items_and_titles(browser: webdriver.Chrome, site: str) -> None:
    for wanted, address in (
        ("u7", "/console/users/u7"),
        ("i7", "/console/items/i7"),
        ("ITEM 1", "/console/search?q=ITEM+1"),
    ):
        visit(browser, f"{site}/console")
        box = browser.find_element(By.NAME, "q")
        box.send_keys(wanted, Keys.ENTER)
        eventually(lambda there=address: browser.current_url == f"{site}{there}")  # type: ignore[misc]
    assert "Item 12" in browser.find_element(By.TAG_NAME, "body").text
    assert "matches 'zzz'" in visit(browser, f"{site}/console/search?q=zzz", "phone")
    visit(browser, f"{site}/console/search", "phone")


@pytest.mark.parametrize("width", WIDTHS)
def test_what_an_item_is_called_is_only_ever_text(browser: webdriver.Chrome, site: str, width: str) -> None:
    text = visit(browser, f"{site}/console/items/i41", width)
    assert "<script>document.title='owned'</script>" in text
    assert browser.title != "owned"
    assert browser.find_elements(By.TAG_NAME, "script") == []
    assert "script-src" not in (policy := httpx.get(f"{site}/console").headers["content-security-policy"])
    assert policy.startswith("default-src 'none'; style-src 'self'")
    visit(browser, f"{site}/console/search?q=%3Cscript%3E", width)
    assert browser.title != "owned"


def test_it_is_light_by_day_and_dark_by_night(browser: webdriver.Chrome, site: str) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        visit(browser, f"{site}/console")
        grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
