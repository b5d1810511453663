"""A pool from free disks, a lost disk, its replacement, and every page of pools: in the browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from bhype.lab import tree
from tests.e2e import looks
from tests.e2e.panel import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel"), pytest.mark.usefixtures("secret")]

PAGES = [
    "", "disks/", "pools/new/?role_da3=data&role_da4=data", "pools/import/", "pools/tank/", "pools/tank/usage/",
    "pools/tank/disks/", "pools/tank/maintenance/", "pools/tank/add/", "pools/tank/member/?member=da0",
]  # fmt: skip
# A pool that filled up for two weeks, so that there is something to draw.
SAMPLES = """
import random
from datetime import timedelta
from django.utils import timezone
from storage.models import ArcSample, Pool, PoolSample
pool, now, chance = Pool.objects.get(name="tank"), timezone.now(), random.Random(1)
PoolSample.objects.bulk_create(PoolSample(
    pool=pool, at=now - timedelta(minutes=10 * step), size=pool.size,
    allocated=int(pool.size * (0.6 - 0.0001 * step)), reads=chance.randint(0, 400), writes=chance.randint(50, 900),
    bytes_read=chance.randint(0, 9 * 2**20), bytes_written=chance.randint(2**20, 40 * 2**20),
) for step in range(2000))
ArcSample.objects.bulk_create(ArcSample(
    host=pool.host, at=now - timedelta(minutes=10 * step), size=chance.randint(3, 4) * 2**30, target=4 * 2**30,
    hits=chance.randint(500, 900), misses=chance.randint(0, 90),
) for step in range(2000))
"""


@pytest.fixture(scope="module")
def secret(panel, secret) -> str:
    wait_until(lambda: panel.api("GET", "/disks", secret)[1], 60, "the observer to see the disks")
    return secret


def test_a_pool_is_made_loses_a_disk_and_is_mended(panel, secret, window, shot):
    page = window()
    page.goto("/storage/")
    page.get_by_role("link", name="New pool").click()
    expect(page.get_by_text("Choose Data for at least one disk")).to_be_visible()
    page.get_by_label("da1", exact=True).select_option("data")
    page.get_by_label("da2", exact=True).select_option("data")
    advised = page.get_by_role("radio", name="Mirror, of 2 disks")
    expect(advised).to_be_checked()
    expect(page.locator("#pool-plan")).to_contain_text("survives any 1 disk")
    shot(page, "pool-new")
    page.locator("#id_name").fill("data")
    page.get_by_role("button", name="Make the pool").click()
    page.locator("#confirm-yes").click()
    page.wait_for_url(re.compile(r"/tasks/\d+/"))
    wait_until(
        lambda: panel.api("GET", "/pools/data", secret)[1].get("is_adopted"), 30, "the pool to be adopted"
    )
    page.goto("/storage/pools/data/")
    expect(page.locator("#pool-part")).to_contain_text("mirror-0")

    tree.disk(str(panel.state / "lab"), "pull", "da1", 0)
    # The open page is told by the observer; nobody reloads it.
    expect(page.locator("#pool-part")).to_contain_text("da1 is gone")
    shot(page, "pool-degraded")
    page.goto("/storage/")
    expect(page.locator("section.card").first).to_contain_text("DEGRADED")
    page.get_by_role("link", name="Status of data").click()
    page.get_by_role("link", name="Change da1").click()
    page.locator("#id_replace-disk").select_option("da3")
    page.get_by_role("button", name="Replace").click()
    page.wait_for_url("**/storage/pools/data/")
    expect(page.locator("#pool-part")).to_contain_text("da3")
    wait_until(lambda: panel.api("GET", "/pools/data", secret)[1]["health"] == "ONLINE", 60, "the resilver")
    expect(page.locator("#pool-part")).not_to_contain_text("da1 is gone")

    page.get_by_role("button", name="Scrub now").click()
    expect(page.locator("#pool-part")).to_contain_text("Scrub")
    page.goto("/storage/pools/data/maintenance/")
    page.get_by_label("Type data to confirm").fill("tank")
    page.get_by_role("button", name="Destroy data").click()
    expect(page.get_by_text("This is not its name. Type data.")).to_be_visible()
    page.get_by_label("Type data to confirm").fill("data")
    page.get_by_role("button", name="Destroy data").click()
    page.wait_for_url(re.compile(r"/tasks/\d+/"))
    wait_until(lambda: panel.api("GET", "/pools/data", secret)[0] == 404, 30, "the pool to go")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_every_page_of_pools_fits_and_is_accessible(panel, window, shot, width, scheme):
    if width == 1440 and scheme == "light":
        panel.manage("shell", "-v", "0", "-c", SAMPLES)
    page = window(width, scheme)
    for address in PAGES:
        page.goto(f"/storage/{address}")
        shot(page, f"storage-{re.sub('[^a-z0-9]+', '-', address).strip('-') or 'pools'}-{width}-{scheme}")
        looks.check(page)
