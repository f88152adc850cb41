"""Texts in a browser: found, compared, edited, approved and rejected by mouse and by keyboard, with nothing but HTML."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from core.store.contents import Content
from tests.console.test_console import HOSTILE, WIDTHS, visit
from tests.serving.test_content_and_jobs import FILM, GOOD, Says
from tests.serving.world import World, item

pytestmark = pytest.mark.browser

OWN = "Arrival is a 2016 sci-fi film."
WRONG = "Arrival is a sci-fi film with 8 Oscars."
ABOUT = {"item": "i1", "kind": "description", "locale": "en"}
PAGE = f"/console/text?{urlencode(ABOUT)}"


@pytest.fixture
def films(world: World) -> World:
    world.change(item(1, **FILM), item(2, title=HOSTILE, description=HOSTILE, attributes={HOSTILE: HOSTILE}))
    changed_at = world.store.catalogue.items(["i2"])[0].changed_at
    world.store.contents.save(
        [
            Content(
                "i2", "description", "en", HOSTILE, "verified", "model", HOSTILE, "h", changed_at, "p", 1,
                [{"claim": HOSTILE}, {"note": HOSTILE}],
            )
        ],
        who=HOSTILE,
    )  # fmt: skip
    return world


@pytest.fixture
def site(films: World, browser: webdriver.Chrome) -> Iterator[str]:
    """The address of a system with a text by a model and one that is an attack."""
    with films.served(generator=Says(GOOD)) as client:
        client.post("/v1/content", json={"item": "i1"}).raise_for_status()
        yield str(client.base_url).rstrip("/")
    browser.get_log("browser")  # what was refused on purpose is complained of there: not the next test's business


def button(browser: webdriver.Chrome, name: str) -> None:
    """Press a button by what it says."""
    follow(browser, browser.find_element(By.XPATH, f"//button[normalize-space()={name!r}]"))


def follow(browser: webdriver.Chrome, pressed: WebElement, key: str = "") -> None:
    """Press something, or a key on it, and wait for the page that it leads to."""
    browser.execute_script("window.isBefore = true; arguments[0].scrollIntoView()", pressed)
    if key:
        pressed.send_keys(key)
    else:
        pressed.click()
    there = "return !window.isBefore && document.readyState === 'complete'"
    # between two pages Chrome has none to ask, and says so as an error
    waiting = WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException])
    waiting.until(lambda _: browser.execute_script(there))


def write(browser: webdriver.Chrome, text: str) -> None:
    area = browser.find_element(By.NAME, "text")
    area.clear()
    area.send_keys(text)


def body(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def shown(site: str, status: str) -> tuple[str, str]:
    answer = httpx.get(f"{site}/v1/items/i1/content", params={"status": status}).json()
    return answer["text"], answer["status"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_text_is_found_edited_compared_and_approved(browser: webdriver.Chrome, site: str, width: str) -> None:
    visit(browser, f"{site}/console", width)
    follow(browser, browser.find_element(By.LINK_TEXT, "Texts"))
    assert GOOD in visit(browser, browser.current_url, width)
    assert GOOD not in visit(browser, f"{site}/console/texts?status=approved", width)
    text = visit(browser, f"{site}/console/texts?q=arriv&kind=description&status=verified&locale=en", width)
    assert text.count(GOOD) == 1
    follow(browser, browser.find_element(By.LINK_TEXT, GOOD))
    text = visit(browser, browser.current_url, width)
    assert "finds nothing" in text
    assert "2016" in browser.find_element(By.CSS_SELECTOR, "dl.facts").text
    write(browser, OWN)
    button(browser, "Compare and check")
    draft = browser.find_element(By.ID, "draft")
    assert [one.text.strip() for one in draft.find_elements(By.TAG_NAME, "ins")] == ["2016"]
    assert "from 2016" in " ".join(one.text for one in draft.find_elements(By.TAG_NAME, "del"))
    assert shown(site, "verified") == (GOOD, "verified"), "looking changes nothing"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= WIDTHS[width][0]
    button(browser, "Publish my text")
    assert "Your text is published." in body(browser)
    assert shown(site, "approved") == (OWN, "edited")
    newest = browser.find_elements(By.CSS_SELECTOR, "ol.history li")[0]
    assert "anyone (no key asked) edited version 2" in newest.text
    assert newest.find_elements(By.TAG_NAME, "ins")
    assert newest.find_elements(By.TAG_NAME, "del")
    button(browser, "Approve")
    assert "Approved." in body(browser)
    assert shown(site, "approved") == (OWN, "approved")
    assert OWN in visit(browser, f"{site}/console/texts?status=approved", width)


def test_a_person_writes_the_first_text_where_none_is_stored(browser: webdriver.Chrome, site: str) -> None:
    visit(browser, f"{site}/console/items/i1")
    (review,) = [
        one for one in browser.find_elements(By.LINK_TEXT, "review") if "headline" in str(one.get_attribute("href"))
    ]
    follow(browser, review)
    assert "none is stored" in body(browser)
    assert "Reject" not in body(browser)
    write(browser, "Arrival, with 8 Oscars")
    button(browser, "Compare and check")
    assert "Oscars" in {one.text for one in browser.find_elements(By.TAG_NAME, "mark")} or "8" in body(browser)
    write(browser, "Arrival (2016)")
    button(browser, "Publish my text")
    assert "Your text is published." in body(browser)
    assert "version 1" in body(browser)
    visit(browser, f"{site}/console/items/i1")
    assert "Arrival (2016)" in body(browser)


def test_what_the_checker_objects_to_is_marked_and_published_only_on_insistence(
    browser: webdriver.Chrome, site: str
) -> None:
    visit(browser, f"{site}{PAGE}")
    assert browser.find_elements(By.NAME, "anyway") == []
    write(browser, WRONG)
    button(browser, "Publish my text")
    assert "is a number in no fact" in body(browser)
    marks = browser.find_elements(By.CSS_SELECTOR, "#draft .text mark")
    assert "8" in " ".join(one.text for one in marks)
    assert "no fact" in str(marks[0].get_attribute("title"))
    assert browser.find_element(By.NAME, "text").get_attribute("value") == WRONG, "nobody types it twice"
    assert shown(site, "verified") == (GOOD, "verified")
    browser.find_element(By.ID, "insist-edit").click()
    button(browser, "Publish my text")
    assert "reason" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    browser.find_elements(By.NAME, "reason")[-2].send_keys("the academy says so")
    browser.find_element(By.ID, "insist-edit").click()
    button(browser, "Publish my text")
    assert shown(site, "approved") == (WRONG, "edited")
    assert "the academy says so" in browser.find_element(By.CSS_SELECTOR, "ol.history").text


def test_a_text_is_rejected_by_keyboard_and_only_with_a_reason(browser: webdriver.Chrome, site: str) -> None:
    visit(browser, f"{site}{PAGE}", "phone")
    reason = browser.find_elements(By.NAME, "reason")[-1]
    reason.send_keys(Keys.ENTER)
    assert shown(site, "verified") == (GOOD, "verified"), "the browser asks for the reason"
    reason.send_keys("dull")
    follow(browser, reason, Keys.ENTER)
    assert "Rejected." in body(browser)
    assert "Reason: dull" in body(browser)
    assert shown(site, "verified")[0] != GOOD


def test_who_decides_on_what_was_changed_meanwhile_is_told_and_keeps_what_they_typed(
    browser: webdriver.Chrome, site: str
) -> None:
    visit(browser, f"{site}{PAGE}")
    answer = httpx.post(f"{site}/v1/items/i1/content/edit", json={"version": 1, "text": OWN, "reason": "shorter"})
    answer.raise_for_status()
    write(browser, "Arrival is a sci-fi film.")
    button(browser, "Publish my text")
    assert "read it again" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert OWN in browser.find_element(By.CSS_SELECTOR, "blockquote").text
    assert browser.find_element(By.NAME, "text").get_attribute("value") == "Arrival is a sci-fi film."
    button(browser, "Publish my text")
    assert shown(site, "approved") == ("Arrival is a sci-fi film.", "edited")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_text_that_is_an_attack_is_only_ever_text(browser: webdriver.Chrome, site: str, width: str) -> None:
    attacked = f"{site}/console/text?{urlencode({**ABOUT, 'item': 'i2'})}"
    for address in (attacked, f"{site}/console/texts", f"{site}/console/texts?{urlencode({'q': HOSTILE})}"):
        assert "<script>document.title='owned'</script>" in visit(browser, address, width)
        assert browser.title != "owned"
        assert browser.find_elements(By.TAG_NAME, "script") == []
        assert browser.find_elements(By.CSS_SELECTOR, "img[onerror]") == []
    visit(browser, attacked, width)
    assert "is markup" in body(browser)
    write(browser, HOSTILE)
    browser.find_elements(By.NAME, "reason")[-2].send_keys(HOSTILE)
    button(browser, "Publish my text")
    assert "nobody can publish that" in body(browser)
    assert browser.title != "owned"
    assert browser.find_elements(By.CSS_SELECTOR, "script, img[onerror]") == []


def test_a_form_that_is_not_the_consoles_own_changes_nothing(films: World, site: str) -> None:
    form = {**ABOUT, "input_hash": "", "version": "1", "action": "approve"}
    page = httpx.get(f"{site}{PAGE}").text
    token = page.split('name="token" value="')[1].split('"')[0]
    for given, headers in (
        (form, {}), ({**form, "token": "x"}, {}), ({**form, "token": token}, {"Sec-Fetch-Site": "cross-site"}),
        ({**form, "token": token}, {"Sec-Fetch-Site": "same-site"}),
    ):  # fmt: skip
        assert httpx.post(f"{site}/console/text", data=given, headers=headers).status_code == 403
    for broken in ({"version": "x"}, {"action": "destroy"}, {"text": "x" * 2001, "action": "edit"}, {"reason": "\0"}):
        assert httpx.post(f"{site}/console/text", data={**form, "token": token, **broken}).status_code == 400
    assert shown(site, "verified") == (GOOD, "verified")
    settings = msgspec.structs.replace(films.settings, require_keys=True)
    ann, bob = (films.store.keys.create(["content:write"], label) for label in ("Ann", "Bob"))
    reader = films.store.keys.create(["content:read"])
    with films.served(settings=settings) as client:
        assert client.get(PAGE).status_code == 401
        assert client.post("/console/text", data={**form, "token": token}).status_code == 401
        assert client.get(PAGE, auth=("me", reader)).status_code == 403
        token = client.get(PAGE, auth=("me", ann)).text.split('name="token" value="')[1].split('"')[0]
        assert client.post("/console/text", data={**form, "token": token}, auth=("me", bob)).status_code == 403
        done = client.post("/console/text", data={**form, "token": token}, auth=("me", ann))
        assert (done.status_code, "done=approve" in done.headers["location"]) == (303, True)
        after = client.get(done.headers["location"], auth=("me", ann)).text
        assert "Approved." in after
        assert "<strong>Ann</strong> approved" in after
        assert ann not in after


def test_a_long_list_of_texts_has_pages(films: World, browser: webdriver.Chrome, site: str) -> None:
    (one,) = films.store.catalogue.items(["i1"])
    films.store.contents.save(
        [
            Content(
                "i1", "headline", f"x-{n:02}", f"Line {n}", "verified", "template", "", "h", one.changed_at, "p", 1, []
            )
            for n in range(35)
        ]
    )
    visit(browser, f"{site}/console/texts?kind=headline")
    assert len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 30
    follow(browser, browser.find_element(By.LINK_TEXT, "Older"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 5
    follow(browser, browser.find_element(By.LINK_TEXT, "Newest"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 30


def test_a_draft_is_kept_and_taken_up_again_and_nobody_is_shown_it(browser: webdriver.Chrome, site: str) -> None:
    visit(browser, f"{site}{PAGE}")
    write(browser, WRONG)
    button(browser, "Keep as a draft")
    assert "nobody is shown it" in body(browser)
    assert "is a number in no fact" in browser.find_element(By.ID, "drafts").text
    assert shown(site, "verified") == (GOOD, "verified")
    visit(browser, f"{site}/console/texts?status=draft")
    follow(browser, browser.find_element(By.LINK_TEXT, WRONG))
    assert browser.find_element(By.NAME, "text").get_attribute("value") == WRONG
    write(browser, OWN)
    button(browser, "Publish my text")
    assert shown(site, "approved") == (OWN, "edited")
    assert browser.find_elements(By.ID, "drafts") == []


def test_a_reason_about_two_items_is_begun_on_the_page_of_one(
    films: World, browser: webdriver.Chrome, site: str
) -> None:
    films.change(item(3, title="Heat"))
    visit(browser, f"{site}/console/items/i1", "phone")
    carrier = browser.find_element(By.NAME, "carrier")
    carrier.send_keys("unheard-of")
    follow(browser, carrier, Keys.ENTER)
    assert "'unheard-of'" in body(browser)
    visit(browser, f"{site}/console/items/i1")
    browser.find_element(By.NAME, "carrier").send_keys("i3")
    button(browser, "Write a reason")
    assert "none is stored" in body(browser)
    assert "Because you looked at Heat" in body(browser), "what the template says"
    write(browser, "You bought Heat")
    button(browser, "Keep as a draft")
    assert "bought" in browser.find_element(By.ID, "drafts").text
    write(browser, "You looked at Heat")
    button(browser, "Publish my text")
    assert "Your text is published." in body(browser)
    (text,) = films.store.contents.written_since("because", 0)
    assert (text.item, text.text, text.about) == ("i1", "You looked at Heat", {"item": "i3", "event": "view"})
