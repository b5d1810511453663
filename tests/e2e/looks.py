"""What every page must be, at every width and in both schemes."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def check(page: Page, *, and_advice: bool = False) -> None:
    """Nothing is wider than the window, and axe-core finds no serious fault and none against WCAG's levels A and AA.

    and_advice: nor anything that is only good practice.
    """
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 1, f"{page.url} is {wide} px too wide at {page.viewport_size}"
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    faults = [
        (one["impact"], one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found
        if and_advice or one["impact"] in {"serious", "critical"} or {"wcag2a", "wcag2aa"} & {*one["tags"]}
    ]
    assert not faults, (page.url, page.viewport_size, faults)
