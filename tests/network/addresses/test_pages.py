"""The pages and the API of addresses."""

from __future__ import annotations

import pytest
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from network.models import AddressPool, Allocation, Lease, Neighbour, Switch

BASE = "/network/switches/nat"


@pytest.fixture
def client(as_user, admin):
    return as_user(admin)


@pytest.fixture
def static(switch):
    return AddressPool.objects.create(
        switch=switch, purpose="static", first="10.77.0.10", last="10.77.0.19", note="<b>mine</b>"
    )


@pytest.fixture
def nic(vm):
    return vm.nics.get()


def text(answer) -> str:
    return answer.content.decode()


def test_a_switch_shows_who_has_what(client, switch, static, vm, nic):
    Allocation.objects.create(switch=switch, address="10.77.0.10", kind="lease", port=f"nic:{nic.pk}")
    Allocation.objects.create(switch=switch, address="10.77.0.11", kind="static", port="nic:4711")
    Lease.objects.create(switch=switch, address="10.77.0.101", mac=nic.mac)
    seen = {"host": switch.host, "interface": switch.interface, "seen_at": timezone.now()}
    Neighbour.objects.create(address="10.77.0.10", mac="58:9c:fc:00:00:77", **seen)
    Neighbour.objects.create(address="10.77.0.50", mac="58:9c:fc:00:00:78", **seen)
    body = text(client.get(f"{BASE}/addresses/"))
    for word in (
        "web1",
        "Static lease",
        "58:9c:fc:00:00:77",
        "10.77.0.50",
        "&lt;b&gt;mine",
        "not plugged in",
    ):
        assert word in body
    assert body.count("<rect class=") >= 256
    assert "two claim it: 1" in body  # what the picture says to those who do not see it
    body = text(client.get(f"{BASE}/addresses/?q=0.50", headers={"HX-Target": "addresses"}))
    assert "10.77.0.50" in body and "<html" not in body
    body = text(client.get("/network/addresses/?q=web1"))
    assert "10.77.0.101" in body and "10.77.0.50</span>" not in body


def test_a_large_subnet_is_drawn_by_ranges_and_a_huge_one_not(client, switch):
    Switch.objects.update(address="10.0.0.1/16", address6="fd00::1/64")
    body = text(client.get(f"{BASE}/addresses/"))
    assert body.count("<figure") == 1 and "each square is 256 addresses" in body
    Switch.objects.update(address="")
    Switch.objects.update(address6="")
    assert "No subnet" in text(client.get(f"{BASE}/addresses/"))


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        ("10.77.0.30", "10.77.0.20", "ends before it begins"),
        ("10.77.0.15", "10.77.0.40", "overlaps the pool 10.77.0.10 to 10.77.0.19"),
        ("10.77.0.1", "10.77.0.5", "the host&#x27;s own address"),
        ("10.77.0.200", "10.77.0.255", "the broadcast address"),
        ("10.77.0.0", "10.77.0.0", "the address of the subnet itself"),
        ("10.78.0.1", "10.78.0.9", "is in no subnet of nat"),
        ("10.77.0.200", "10.77.1.9", "is not in 10.77.0.0/24"),
        ("fd00::1", "fd00::9", "the host has no IPv6 address on it"),
        ("10.77.0.30", "fd00::9", "both are IPv6"),
        ("10.77.0.30\nx", "10.77.0.40", "is not an IP address"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_with_the_reason(client, switch, static, first, last, why):
    answer = client.post(f"{BASE}/pools/add/", {"purpose": "dhcp", "first": first, "last": last})
    assert answer.status_code == 422 and why in text(answer)
    answer = client.post(
        "/api/v1/switches/nat/pools",
        {"purpose": "dhcp", "first": first, "last": last},
        content_type="application/json",
    )
    assert answer.status_code == 422 and answer.json()["field"] in {"first", "last"}
    assert AddressPool.objects.count() == 1


def test_pools_come_change_and_go(client, switch):
    client.post(f"{BASE}/pools/usual/")
    assert [str(one) for one in AddressPool.objects.all()] == [
        "10.77.0.10 - 10.77.0.99", "10.77.0.100 - 10.77.0.254",
    ]  # fmt: skip
    pool = AddressPool.objects.first()
    words = {"purpose": "static", "first": "10.77.0.5", "last": "10.77.0.9", "note": "few"}
    assert client.post(f"{BASE}/pools/{pool.pk}/", words).status_code == 302
    assert "10.77.0.9" in text(client.get(f"{BASE}/pools/{pool.pk}/"))
    assert client.post(f"{BASE}/pools/{pool.pk}/remove/").status_code == 302
    assert AddressPool.objects.count() == 1
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"network.pool_add", "network.pool_change", "network.pool_remove"} <= actions
    Switch.objects.update(address="10.99.0.1/24")
    assert "is in no subnet of nat" in text(client.get(f"{BASE}/addresses/"))


def test_an_address_is_given_and_released(client, switch, static, vm, nic):
    form = client.get(f"{BASE}/addresses/give/?port=nic:{nic.pk}")
    assert "web1, port 0" in text(form) and "10.77.0.10" in text(form)
    answer = client.post(f"{BASE}/addresses/give/", {"port": f"nic:{nic.pk}", "kind": "lease"})
    assert answer.status_code == 302
    row = Allocation.objects.get()
    assert (row.address, row.port, row.kind) == ("10.77.0.10", f"nic:{nic.pk}", "lease")
    for words, why in (
        ({"port": f"nic:{nic.pk}", "kind": "lease"}, "has a static lease already"),
        ({"kind": "static", "address": "10.77.0.10"}, "belongs to web1"),
        ({"kind": "lease", "hostname": "x"}, "MAC address"),
        ({"port": "nic:999", "kind": "lease"}, "not one of the available choices"),
        ({"kind": "lease", "mac": "58:9c:fc:00:00\nx"}, "is not a unicast MAC"),
    ):
        answer = client.post(f"{BASE}/addresses/give/", words)
        assert answer.status_code == 422 and why in text(answer)
    assert client.post(f"{BASE}/addresses/act/", {"release": row.pk}).status_code == 302
    assert not Allocation.objects.exists()
    assert client.post(f"{BASE}/addresses/act/", {"release": "x"}).status_code == 400
    Allocation.objects.create(switch=switch, address="10.77.0.11", kind="static", port="nic:4711")
    assert "Release 1 stale" in text(client.get(f"{BASE}/addresses/"))
    client.post(f"{BASE}/addresses/act/", {"release": "stale"})
    assert "stale" not in text(client.get(f"{BASE}/addresses/"))
    assert not Allocation.objects.exists()


def test_the_api_says_the_same(client, switch, static, vm, nic):
    base = "/api/v1/switches/nat"
    made = client.post(
        f"{base}/allocations", {"kind": "lease", "port": f"nic:{nic.pk}"}, content_type="application/json"
    )
    assert made.status_code == 201 and made.json()["address"] == "10.77.0.10"
    (line,) = [one for one in client.get(f"{base}/addresses").json() if "lease" in one["how"]]
    assert (line["guest"], line["name"], line["mac"]) == (f"vm:{vm.uuid}", "web1", nic.mac)
    assert client.get("/api/v1/addresses?q=web1").json() == [line]
    again = client.post(
        f"{base}/allocations",
        {"kind": "static", "port": f"nic:{nic.pk}", "address": "10.77.0.10"},
        content_type="application/json",
    )
    assert again.status_code == 409 and "web1" in again.json()["message"]
    gone = client.post(
        f"{base}/allocations", {"kind": "lease", "port": "nic:9999"}, content_type="application/json"
    )
    assert (gone.status_code, gone.json()["field"]) == (422, "port")
    assert len(client.get(f"{base}/allocations").json()) == 1
    assert client.delete(f"{base}/allocations/{made.json()['id']}").status_code == 204
    assert client.delete(f"{base}/allocations/{made.json()['id']}").status_code == 404
    Allocation.objects.create(switch=switch, address="10.77.0.11", kind="static", port="nic:4711")
    kept = Allocation.objects.create(switch=switch, address="10.77.0.12", kind="reserved")
    assert client.post(f"{base}/addresses/release-stale").json() == ["10.77.0.11"]
    assert client.post(f"{base}/addresses/release-stale").json() == []
    assert Allocation.objects.get() == kept
    pool = client.get(f"{base}/pools").json()[0]
    assert pool["note"] == "<b>mine</b>"
    assert client.delete(f"{base}/pools/{pool['id']}").status_code == 204


def test_search_finds_addresses(as_user, viewer, stranger, switch):
    Allocation.objects.create(switch=switch, address="10.77.0.10", kind="lease", mac="58:9c:fc:00:00:66")
    Lease.objects.create(switch=switch, address="10.77.0.101", mac="58:9c:fc:00:00:67", hostname="mail")
    Neighbour.objects.create(
        host=switch.host, interface=switch.interface, address="10.77.0.102", mac="58:9c:fc:00:00:68",
        seen_at=timezone.now(),
    )  # fmt: skip
    body = text(as_user(viewer).get("/search/?q=10.77.0.10"))
    assert all(word in body for word in ("10.77.0.101", "mail", "10.77.0.102", "?q=10.77.0.10"))
    assert "10.77.0.10" in text(as_user(viewer).get("/search/?q=00:66"))
    assert "mail" not in text(as_user(stranger).get("/search/?q=10.77.0.10"))


def test_viewers_look_and_change_nothing(as_user, viewer, stranger, switch, static):
    client = as_user(viewer)
    assert "Edit" not in text(client.get(f"{BASE}/addresses/"))
    for path in ("pools/add/", "pools/usual/", "addresses/give/", "addresses/act/", f"pools/{static.pk}/"):
        assert client.post(f"{BASE}/{path}", {"release": "stale"}).status_code == 404
    assert as_user(stranger).get(f"{BASE}/addresses/").status_code == 404
    assert as_user(stranger).get("/api/v1/addresses").status_code == 404


def test_many_guests_cost_no_more_queries(client, switch, vm, static, django_assert_max_num_queries):
    from vms.models import Nic

    for number in range(30):
        Nic.objects.create(vm=vm, index=number + 1, switch=switch, mac=f"58:9c:fc:00:03:{number:02x}")
        Allocation.objects.create(switch=switch, address=f"10.77.0.{number + 20}", kind="reserved")
    with django_assert_max_num_queries(25):
        client.get(f"{BASE}/addresses/")
