"""The frame of every page by keys alone: search goes where it was told to, and the focus back to where it was."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]


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
        "audit log",
    )
    page.wait_for_url("**/accounts/audit/")


def test_one_escape_closes_search_with_words_in_it_and_gives_the_focus_back(page):
    page.goto("/tasks/")
    account = page.locator(".tool-user")
    account.focus()
    page.keyboard.press("/")
    page.keyboard.type("anything")
    page.keyboard.press("Escape")
    expect(page.locator("#search-dialog")).to_be_hidden()
    expect(account).to_be_focused()


def test_a_menu_closes_when_tab_leaves_it(page):
    page.goto("/tasks/")
    page.locator(".tool-user").focus()
    page.keyboard.press("Enter")
    menu = page.locator("details.menu[open]")
    expect(menu).to_be_visible()
    page.keyboard.press("Shift+Tab")
    expect(menu).to_have_count(0)
