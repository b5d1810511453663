"""The frame of every page by keys alone: search goes where it was told to, and the focus back to where it was."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]

NAME = "bykeys"


@pytest.fixture(scope="module", autouse=True)
def vm(panel, secret) -> None:
    panel.make_vm(secret, NAME)


@pytest.fixture
def page(window) -> Page:
    return window()


def test_search_waits_for_the_answer_to_what_was_typed(page):
    """Words and Enter at once: what is shown is for other words, and nowhere to go."""
    page.goto("/tasks/")
    page.keyboard.press("Control+k")
    expect(page.locator("#hits .hit").first).to_be_visible()
    page.locator("#search-dialog input").evaluate(
        """(input, words) => {
            input.value = words;
            input.dispatchEvent(new Event("input", {bubbles: true}));
            input.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true}));
        }""",
        NAME,
    )
    page.wait_for_url(f"**/vms/{NAME}/")


def test_one_escape_closes_search_with_words_in_it_and_gives_the_focus_back(page):
    page.goto("/tasks/")
    account = page.locator(".tool-user")
    account.focus()
    page.keyboard.press("/")
    page.keyboard.type("anything")
    page.keyboard.press("Escape")
    expect(page.locator("#search-dialog")).to_be_hidden()
    expect(account).to_be_focused()


def test_the_focus_goes_back_to_a_menu_whose_row_was_fetched_anew(page):
    page.goto("/vms/")
    row = page.locator("tr", has_text=NAME)
    row.locator("[data-menu]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#menu .dropdown-item").first).to_be_focused()
    row.evaluate("row => { row.dataset.old = 1; row.dispatchEvent(new CustomEvent('live')); }")
    expect(row).not_to_have_attribute("data-old", "1")
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_hidden()
    expect(row.locator("[data-menu]")).to_be_focused()


def test_a_menu_closes_when_tab_leaves_it(page):
    page.goto("/tasks/")
    page.locator(".tool-user").focus()
    page.keyboard.press("Enter")
    menu = page.locator("details.menu[open]")
    expect(menu).to_be_visible()
    page.keyboard.press("Shift+Tab")
    expect(menu).to_have_count(0)
