"""A serial line that several people share, logs, pictures and recordings, in real browser windows."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import looks
from tests.e2e.panel import wait_until
from tests.lab import efi

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]

NAME = "shared"
USERS = {"ada": "operator", "bea": "operator", "wim": "watcher", "root1": "admin"}


@pytest.fixture(scope="module")
def keys(panel) -> dict[str, str]:
    """A session for each of the people."""
    return panel.sign_in(**USERS)


@pytest.fixture(scope="module")
def guest(panel, keys) -> str:
    """A running VM whose guest echoes com1, of which sessions are recorded."""
    secret = panel.manage("token", "root1").strip()
    panel.make_vm(secret, NAME)
    with (panel.root / f"dev/zvol/tank/bhype/vms/{NAME}/disk0").open("r+b") as device:
        device.write(efi.echo())
    panel.manage("shell", "-v", "0", "-c", "from vms.models import VM; VM.objects.update(has_recording=True)")
    status, task = panel.api("POST", f"/vms/{NAME}/start", secret)
    assert status == 202, task
    log = panel.root / f"var/run/bhype/vms/{NAME}/serial1.log"
    wait_until(lambda: log.exists() and b"ready" in log.read_bytes(), 120, f"the guest\n{panel.log}")
    wait_until(lambda: panel.api("GET", f"/vms/{NAME}", secret)[1]["state"] == "running", 20, "the observer")
    yield NAME
    panel.api("POST", f"/vms/{NAME}/poweroff", secret)


@pytest.fixture
def window(browser, panel, keys):
    """Opens windows of people: ``window("ada")``. Fails the test on an error in a page's scripts."""
    contexts, errors = [], []

    def open_window(name: str, width: int = 1440, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            base_url=panel.url,
            color_scheme=scheme,
        )
        context.add_cookies([{"name": "bhype_session", "value": keys[name], "url": panel.url}])
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(f"{name}: {error}"))
        arrived[page] = bytearray()
        page.on("websocket", lambda line: line.on("framereceived", lambda data: heard(page, data)))
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert not errors, errors


def shown(page: Page) -> str:
    return re.sub(r"\s+", "", page.locator(".xterm-rows").inner_text())


# What has come from guests to each window, drawn or not.
arrived: dict[Page, bytearray] = {}


def heard(page: Page, data: str | bytes) -> None:
    if isinstance(data, bytes):
        arrived[page] += data


def sees(page: Page, text: str) -> None:
    def draws() -> bool:
        page.bring_to_front()  # a window behind others may go without frames
        return text in shown(page)

    try:
        wait_until(draws, 15, repr(text))
    except AssertionError as late:
        raise AssertionError(
            f"{late}; drawn: {shown(page)[-200:]!r}, arrived: {bytes(arrived[page][-200:])}"
        ) from late


def serial(page: Page) -> Page:
    page.goto(f"/console/vm/{NAME}/?kind=serial")
    expect(page.locator("body[data-connected='1']")).to_have_count(1)
    return page


def test_two_share_a_serial_line_and_a_third_only_watches(guest, window, shot):
    ada, bea, wim = (serial(window(name)) for name in ("ada", "bea", "wim"))

    # Ada came first and writes; the others see what she types.
    expect(ada.locator("#control-text")).to_have_text("You have control")
    expect(bea.locator("#control-text")).to_contain_text("ada has had control since")
    expect(ada.locator("#people-count")).to_have_text("3 here")
    expect(ada.locator("#recorded")).to_be_visible()
    ada.locator("#serial").click()
    ada.keyboard.type("from-ada.")
    for page in (ada, bea, wim):
        sees(page, "from-ada.")

    # What Bea types goes nowhere until she takes control, and Ada is told.
    bea.locator("#serial").click()
    bea.keyboard.type("too-early.")
    expect(bea.locator("#toast")).to_contain_text("ada has had control")
    bea.get_by_role("button", name="Take control").click()
    shot(bea, "console-take-control")
    bea.locator("#confirm-yes").click()
    expect(bea.locator("#control-text")).to_have_text("You have control")
    expect(ada.locator("#toast")).to_have_text("bea has taken control. You watch now.")
    ada.locator("#serial").click()
    ada.keyboard.type("too-late.")
    bea.keyboard.type("from-bea.")
    for page in (ada, bea, wim):
        sees(page, "from-bea.")
        assert "too-late" not in shown(page) and "too-early" not in shown(page)
    shot(ada, "console-shared")

    # Wim may only watch, whatever his window sends.
    expect(wim.locator("#only-watch")).to_be_visible()
    expect(wim.locator("#take-control")).to_be_hidden()
    wim.locator("#serial").click()
    wim.keyboard.type("hostile.")
    expect(wim.locator("#toast")).to_have_text("You may only watch this console.")
    wim.evaluate(
        """async () => {
            const { line } = await import('/static/bhype/line.js');
            const token = document.querySelector('[name=csrfmiddlewaretoken]').value;
            const answer = await fetch(document.body.dataset.ticketUrl, {
                method: 'POST', headers: {'X-CSRFToken': token},
                body: new URLSearchParams({kind: 'serial', take_over: '1'}),
            });
            const { path, ticket } = await answer.json();
            const socket = line(path, ticket);
            await new Promise((done) => socket.addEventListener('open', done));
            socket.send('{"control": true}');
            for (let i = 0; i < 20; i++) {
                socket.send(new TextEncoder().encode('hostile.'));
                await new Promise((done) => setTimeout(done, 20));
            }
            socket.close();
        }"""
    )
    bea.keyboard.type("still-bea.")
    sees(wim, "still-bea.")
    assert "hostile" not in shown(bea)

    # Who leaves passes control on to the one who is left and may have it.
    bea.close()
    expect(ada.locator("#control-text")).to_have_text("You have control")
    ada.locator("#serial").click()
    ada.keyboard.type("ada-again.")
    sees(wim, "ada-again.")

    # Who may write can choose to watch, which gives up control, and ends it again.
    ada.get_by_text("View", exact=True).click()
    ada.get_by_label("View only").check()
    expect(ada.locator("#only-watch")).to_be_visible()
    expect(wim.locator("#control-text")).to_have_text("Nobody has control")
    assert ada.url.endswith("?kind=serial&watch=1")
    ada.locator("#serial").click()
    ada.keyboard.type("unwanted.")
    expect(ada.locator("#toast")).to_contain_text("You only watch")
    shot(ada, "console-watching-by-choice")
    ada.get_by_text("View", exact=True).click()
    ada.get_by_label("View only").uncheck()
    expect(ada.locator("body[data-writes='1']")).to_have_count(1)
    ada.locator("#serial").click()
    ada.keyboard.type("wanted.")
    sees(wim, "wanted.")
    assert "unwanted" not in shown(wim)


def writing(page: Page) -> Page:
    """With control, once whoever had the line open before has been seen to leave."""
    serial(page)
    expect(page.locator("body[data-writes='1']")).to_have_count(1)
    page.locator("#serial").click()
    return page


def test_the_log_is_shown_searched_and_followed(guest, window, shot):
    page = writing(window("ada"))
    page.keyboard.type("a-needle-in-the-log.")
    sees(page, "a-needle-in-the-log.")
    log = window("wim")
    log.goto(f"/console/vm/{NAME}/log/")
    expect(log.locator("#log")).to_contain_text("ready")
    page.keyboard.type("it-follows.")
    expect(log.locator("#log")).to_contain_text("it-follows.")
    shot(log, "console-log")
    log.get_by_label("Find in the whole log").fill("NEEDLE")
    log.keyboard.press("Enter")
    expect(log.locator("mark").first).to_have_text("needle")
    with log.expect_download() as download:
        log.get_by_role("button", name="Download").click()
    assert b"a-needle-in-the-log." in download.value.path().read_bytes()


def test_a_recorded_session_is_played_again(guest, window, shot):
    page = writing(window("ada"))
    page.keyboard.type("to-be-kept.")
    sees(page, "to-be-kept.")
    page.goto(f"/console/vm/{NAME}/recordings/")
    page.locator(".recordings td a").first.click()
    wait_until(lambda: "to-be-kept." in shown(page), 20, "the recording")
    shot(page, "recording-serial")
    page.locator("#seek").fill("0")
    wait_until(lambda: "to-be-kept." not in shown(page), 5, "the start of the recording")
    # Bea has no part in it, an admin has.
    address = page.url
    assert window("bea").goto(address).status == 404
    admin = window("root1")
    assert admin.goto(address).status == 200


def test_a_recorded_screen_is_played_again_and_the_list_has_its_picture(guest, window, shot):
    watcher = window("wim")
    watcher.goto("/vms/")
    picture = watcher.locator(".thumb img").first
    wide = "async (image) => { await image.decode(); return image.naturalWidth; }"
    wait_until(lambda: watcher.reload() and picture.evaluate(wide) > 10, 40, "a picture of the screen")
    shot(watcher, "list-pictures")
    page = window("ada")
    page.goto(f"/console/vm/{NAME}/?kind=vnc")
    expect(page.locator("body[data-connected='1']")).to_have_count(1)
    wait_until(
        lambda: page.locator("#screen canvas").evaluate("(canvas) => canvas.width") > 300, 20, "a frame"
    )
    page.wait_for_timeout(1000)
    page.goto(f"/console/vm/{NAME}/recordings/")
    page.locator(".recordings td a").first.click()
    expect(page.locator("#stage canvas")).to_have_count(1)
    wait_until(
        lambda: page.locator("#stage canvas").evaluate("(canvas) => canvas.width") > 300, 20, "a frame"
    )
    page.locator("#seek").evaluate(
        "(seek) => { seek.value = seek.max; seek.dispatchEvent(new Event('input')); }"
    )
    bright = """(canvas) => Math.max(...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
        .filter((_, place) => place % 4 !== 3).slice(0, 3e6).reduce((most, each) => [Math.max(most[0], each)], [0]))"""
    wait_until(lambda: page.locator("#stage canvas").evaluate(bright) > 100, 10, "the guest's picture")
    shot(page, "recording-screen")


def test_text_is_typed_as_the_guests_keyboard_has_it(guest, window):
    page = window("ada")
    page.goto(f"/console/vm/{NAME}/?kind=vnc")
    strokes = page.evaluate(
        """async () => {
            const { LAYOUTS, layoutOf, stroke } = await import('/static/bhype/keys.js');
            const ascii = Array.from({ length: 95 }, (_, place) => String.fromCharCode(32 + place));
            const typed = (character, layout, dead) => {
                const { code, shift, third, dead: space } = stroke(character, layout, dead);
                return [shift && 'Shift', third && 'AltGr', code, space && 'Space'].filter(Boolean).join(' ');
            };
            return {
                untypable: Object.keys(LAYOUTS).flatMap((layout) => ascii.filter((each) => !typed(each, layout))),
                us: [...'aZ@|~'].map((each) => typed(each, 'us')),
                de: [...'yZ@|~^/'].map((each) => typed(each, 'de')),
                fr: [...'aZ1@.'].map((each) => typed(each, 'fr')),
                noDead: typed('^', 'de', false),
                names: ['', 'default', 'us_unix', 'de', 'de_noacc', 'ch_acc', 'ua', 'es_dvorak'].map(layoutOf),
            };
        }"""
    )
    assert strokes == {
        "untypable": [],
        "us": ["KeyA", "Shift KeyZ", "Shift Digit2", "Shift Backslash", "Shift Backquote"],
        "de": ["KeyZ", "Shift KeyY", "AltGr KeyQ", "AltGr IntlBackslash", "AltGr BracketRight",
               "Backquote Space", "Shift Digit7"],
        "fr": ["KeyQ", "Shift KeyW", "Shift Digit1", "AltGr Digit0", "Shift Comma"],
        "noDead": "Backquote",
        "names": ["us", "us", "us", "de", "de", "ch", "", ""],
    }  # fmt: skip


ADDRESSES = [f"/console/vm/{NAME}/?kind=serial", f"/console/vm/{NAME}/log/", f"/console/vm/{NAME}/log/?q=ready",
             f"/console/vm/{NAME}/recordings/", "recording", "/vms/"]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_the_pages_fit_and_have_no_serious_accessibility_fault(guest, window, shot, width, scheme):
    page = window("root1", width, scheme)
    serial(window("ada"))
    for address in ADDRESSES:
        if address == "recording":
            page.goto(f"/console/vm/{NAME}/recordings/")
            page.locator(".recordings td a").first.click()
            page.wait_for_timeout(500)
        else:
            page.goto(address)
        if "kind" in address:
            expect(page.locator("body[data-connected='1']")).to_have_count(1)
        name = re.sub(r"\W+", "-", address).strip("-")
        shot(page, f"{name}-{width}-{scheme}")
        looks.check(page)
