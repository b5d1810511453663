"""The pages and the API of DHCP and names, from rows."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.accounts.models import ApiToken, AuditEntry
from bhype.tasks.models import Task
from network.dhcp import config, wanted
from network.models import AddressPool, Allocation, DnsRecord, Lease, Switch

GOOD = {"has_dhcp": "on", "lease_seconds": "43200", "ipv6": "off", "has_dns": "on"}


@pytest.fixture
def lease(switch) -> Lease:
    Switch.objects.update(has_dhcp=True, has_dns=True)
    AddressPool.objects.create(switch=switch, purpose="dhcp", first="10.77.0.100", last="10.77.0.199")
    later = timezone.now() + timedelta(hours=3)
    return Lease.objects.create(
        switch=switch, address="10.77.0.123", mac="58:9c:fc:00:00:01", hostname="web1", expires_at=later
    )


def settings(client, **changes: str):
    return client.post("/network/switches/nat/dhcp/settings/", GOOD | changes)


def errors(answer) -> str:
    return str(dict(answer.context["form"].errors))


def test_the_section_shows_leases_with_their_guests(as_user, viewer, vm, lease):
    page = as_user(viewer).get("/network/switches/nat/dhcp/").content.decode()
    assert "10.77.0.123" in page and "web1" in page and "58:9c:fc:00:00:01" in page
    assert "Make static" not in page
    for path in ("/network/switches/nat/dhcp/", "/network/leases/"):
        assert "10.77.0.123" in as_user(viewer).get(path).content.decode()


def test_leases_are_found_and_sorted(as_user, viewer, lease):
    for number in (9, 80):
        Lease.objects.create(
            switch=lease.switch, address=f"10.77.0.{number}", mac=f"58:9c:fc:00:01:{number:02}"
        )
    client = as_user(viewer)
    page = client.get("/network/leases/").content.decode()
    assert page.index("10.77.0.9<") < page.index("10.77.0.80<") < page.index("10.77.0.123<")
    page = client.get("/network/leases/?sort=-address").content.decode()
    assert page.index("10.77.0.123<") < page.index("10.77.0.9<")
    page = client.get("/network/leases/?q=WEB").content.decode()
    assert "10.77.0.123<" in page and "10.77.0.80<" not in page
    assert "No lease has" in client.get("/network/leases/?q=nosuch").content.decode()


def test_looking_at_leases_asks_a_constant_number_of_questions(
    as_user, viewer, lease, django_assert_max_num_queries
):
    Lease.objects.bulk_create(
        Lease(switch=lease.switch, address=f"10.77.1.{number}", mac=f"58:9c:fd:00:00:{number:02x}")
        for number in range(200)
    )
    client = as_user(viewer)
    client.get("/network/leases/")
    with django_assert_max_num_queries(16):
        client.get("/network/leases/")
    with django_assert_max_num_queries(26):
        client.get("/network/switches/nat/dhcp/")


def test_a_lease_is_made_static_with_one_click(as_user, admin, viewer, vm, lease):
    path = f"/network/leases/{lease.pk}/"
    assert as_user(viewer).post(path, {"do": "static"}).status_code == 404
    assert as_user(admin).post(path, {"do": "static"}).status_code == 302
    row = Allocation.objects.get()
    assert (row.address, row.kind) == ("10.77.0.123", "lease")
    assert row.port == f"nic:{vm.nics.get().pk}" or row.mac == "58:9c:fc:00:00:01"
    assert Task.objects.get().operation == "network.ensure_dhcp"
    assert AuditEntry.objects.filter(action="network.static_lease").exists()
    page = as_user(admin).get("/network/switches/nat/dhcp/").content.decode()
    assert "static" in page and "Make static" not in page
    # Twice is told, and breaks nothing.
    assert as_user(admin).post(path, {"do": "static", "from": "all"}).status_code == 302
    assert Allocation.objects.count() == 1


def test_a_lease_is_taken_back_by_a_task(as_user, admin, lease):
    client = as_user(admin)
    assert client.post(f"/network/leases/{lease.pk}/", {"do": "eat"}).status_code == 400
    client.post(f"/network/leases/{lease.pk}/", {"do": "forget"})
    task = Task.objects.get()
    assert (task.operation, task.params["address"]) == ("network.release_lease", "10.77.0.123")
    assert task.title == "Forget the lease of 10.77.0.123 on nat"


def test_settings_are_saved_applied_and_audited(as_user, admin, viewer, switch):
    assert settings(as_user(viewer)).status_code == 404
    answer = settings(as_user(admin), domain="Lab.Example", upstreams="9.9.9.9\ncorp.example 10.0.0.53\n")
    assert answer.status_code == 302
    switch.refresh_from_db()
    assert (switch.has_dhcp, switch.domain, switch.revision) == (True, "lab.example", 2)
    assert switch.upstreams == ["9.9.9.9", "/corp.example/10.0.0.53"]
    assert Task.objects.get().operation == "network.ensure_dhcp"
    # It had no pool to give addresses of.
    assert {pool.purpose for pool in switch.pools.all()} == {"dhcp", "static"}
    shown = as_user(admin).get("/network/switches/nat/dhcp/settings/").content.decode()
    assert "corp.example 10.0.0.53" in shown
    for said in ("9.9.9.9, corp.example 10.0.0.53", "VM.lab.example", "by DHCP, for 12 hours"):
        assert said in as_user(admin).get("/network/switches/nat/dhcp/").content.decode()


def test_a_stale_form_is_refused(as_user, admin, switch):
    Switch.objects.update(revision=5)
    assert settings(as_user(admin), revision="4").status_code == 409
    assert not Task.objects.exists()
    assert settings(as_user(admin), revision="5").status_code == 302


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"domain": "nat"}, ""),
        ({"domain": "local"}, "something else to resolvers"),
        ({"domain": "a b"}, "is not a domain"),
        ({"domain": "x\ndhcp-script=/bin/sh"}, "is not a domain"),
        ({"domain": "two.internal"}, "has this domain already"),
        ({"upstreams": "10.77.0.1"}, "own address"),
        ({"upstreams": "127.0.0.1"}, "cannot be asked"),
        ({"upstreams": "9.9.9.9 ; rm"}, "write an address"),
        ({"upstreams": "corp.example nosuch"}, "is not an address"),
        ({"upstreams": "#"}, "is not an address"),
        ({"ipv6": "slaac"}, "needs an IPv6 address"),
        ({"gateway": "10.9.0.1"}, "not in the network"),
        ({"gateway": "x"}, "valid IPv4"),
        ({"lease_seconds": "5"}, "not one of"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_reason(as_user, admin, switch, changes, said):
    Switch.objects.create(host=switch.host, name="two", kind="nat", address="10.78.0.1/24")
    answer = settings(as_user(admin), **changes)
    assert answer.status_code == (422 if said else 302)
    assert said in (errors(answer) if said else "")
    assert Task.objects.exists() is not bool(said)


def test_a_switch_without_the_hosts_address_has_no_service(as_user, admin, switch):
    Switch.objects.update(address="")
    answer = settings(as_user(admin))
    assert answer.status_code == 422 and "an address on this switch" in errors(answer)


def record(client, kind: str, name: str, value: str, path: str = "/network/switches/nat/records/new/"):
    return client.post(path, {"kind": kind, "name": name, "value": value})


def test_records_are_added_changed_and_removed(as_user, admin, switch):
    client = as_user(admin)
    Switch.objects.update(has_dns=True)
    assert record(client, "A", "WWW", "10.77.0.5").status_code == 302
    row = DnsRecord.objects.get()
    assert str(row) == "www A 10.77.0.5"
    assert record(client, "AAAA", "www", "FD77::0:5", f"/network/records/{row.pk}/").status_code == 302
    row.refresh_from_db()
    assert str(row) == "www AAAA fd77::5"
    assert "fd77::5" in client.get("/network/switches/nat/dhcp/").content.decode()
    assert client.post(f"/network/records/{row.pk}/delete/").status_code == 302
    assert not DnsRecord.objects.exists()
    assert AuditEntry.objects.filter(action="network.record_delete").exists()


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        ("A", "www", "fd77::5", "is not an IPv4 address"),
        ("AAAA", "www", "10.0.0.1", "is not an IPv6 address"),
        ("A", "-x", "10.0.0.1", "is not a name"),
        ("A", "a,b", "10.0.0.1", "is not a name"),
        ("A", "a\nserver=/x/", "10.0.0.1", "is not a name"),
        ("A", "x", "0.0.0.0", "not the address of a machine"),
        ("CNAME", "www", "www", "cannot stand for itself"),
        ("CNAME", "b", "a", "in a circle"),
        ("CNAME", "taken", "c", "a CNAME stands alone"),
        ("A", "a", "10.0.0.1", "a CNAME stands alone"),
        ("A", "taken", "10.0.0.9", "this record already"),
        ("MX", "@", "mail", "10 mail"),
        ("MX", "@", "99999 mail", "a preference"),
        ("SRV", "_ldap._tcp", "1 2 3", "priority, weight, port"),
        ("TXT", "@", 'a"\ndhcp-script=/bin/sh', "printable"),
        ("TXT", "@", "x" * 501, "500"),
        ("PTR", "x", "y", "not one of"),
    ],
)
def test_records_that_cannot_be_are_refused_with_the_reason(as_user, admin, switch, kind, name, value, said):
    DnsRecord.objects.create(switch=switch, name="a", kind="CNAME", value="b")
    DnsRecord.objects.create(switch=switch, name="taken", kind="A", value="10.0.0.9")
    answer = record(as_user(admin), kind, name, value)
    assert answer.status_code == 422 and said in errors(answer)
    assert DnsRecord.objects.count() == 2


def test_the_api_does_all_that(admin, switch, lease, vm, client):
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)
    head = {"HTTP_AUTHORIZATION": f"Bearer {secret}", "content_type": "application/json"}
    base = "/api/v1/switches/nat"
    said = client.patch(
        f"{base}/dhcp", {"lease_seconds": 7000, "upstreams": ["9.9.9.9"], "domain": "lab.example"}, **head
    ).json()
    assert (said["lease_seconds"], said["domain"], said["has_dhcp"]) == (7000, "lab.example", True)
    assert client.patch(f"{base}/dhcp", {"revision": 1}, **head).status_code == 409
    assert client.patch(f"{base}/dhcp", {"domain": "a b"}, **head).json()["field"] == "domain"
    assert client.get(f"{base}/dhcp", **head).json()["upstreams"] == ["9.9.9.9"]
    assert client.post(f"{base}/dhcp/apply", **head).status_code == 202
    (found,) = client.get("/api/v1/leases?q=10.77&switch=nat", **head).json()
    assert (found["hostname"], found["is_static"]) == ("web1", False)
    assert client.post(f"/api/v1/leases/{lease.pk}/static", **head).json()["address"] == "10.77.0.123"
    assert client.post(f"/api/v1/leases/{lease.pk}/static", **head).status_code == 409
    assert client.delete(f"/api/v1/leases/{lease.pk}", **head).status_code == 202
    made = client.post(f"{base}/records", {"kind": "TXT", "name": "@", "value": "a, b"}, **head)
    assert made.status_code == 201
    place = f"/api/v1/records/{made.json()['id']}"
    assert (
        client.put(place, {"kind": "MX", "name": "@", "value": "10 mail"}, **head).json()["value"]
        == "10 mail"
    )
    assert (
        client.post(f"{base}/records", {"kind": "MX", "name": "@", "value": "x"}, **head).status_code == 422
    )
    assert client.delete(place, **head).status_code == 204
    assert client.get(f"{base}/records", **head).json() == []


@pytest.mark.parametrize(
    "value", ["\0", "\ud800", "x" * 5000, "a\nb", "%00", "-1", "<script>", " ", "\u202e"]
)
def test_hostile_words_are_refused_everywhere(as_user, admin, switch, value):
    client = as_user(admin)
    Switch.objects.update(has_dns=True)
    for field in ("domain", "upstreams", "gateway", "lease_seconds", "ipv6", "revision"):
        answer = settings(client, **{field: value.encode(errors="surrogatepass").decode(errors="replace")})
        assert answer.status_code in {302, 409, 422}, field
    for kind, name, said in (
        ("A", value, "10.0.0.1"),
        ("TXT", "@", value),
        ("SRV", value, value),
        ("x", value, value),
    ):
        record(client, kind, *(word.encode(errors="replace").decode() for word in (name, said)))
    switch.refresh_from_db()
    assert switch.domain in {"", "-1"} or switch.domain.isascii()
    head = {"content_type": "application/json"}
    for path, body in (
        ("/api/v1/switches/nat/dhcp", {"domain": value}),
        ("/api/v1/switches/nat/dhcp", {"upstreams": [value]}),
        ("/api/v1/switches/nat/dhcp", {"gateway": value}),
    ):
        answer = client.patch(path, json.dumps(body), **head)
        assert answer.status_code in {200, 400, 401, 403, 409, 422}, (path, body)
    assert parts_are_clean(switch)


def parts_are_clean(switch: Switch) -> bool:
    """Whatever was saved, the file has the lines of its own making only."""
    files = config.build(wanted.service_of(switch))
    return all(line.isascii() and line.isprintable() for line in files.conf.splitlines())
