"""The pages and the API of the library, and the catalogue."""

from __future__ import annotations

import hashlib
import json

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from bhype.accounts.models import ApiToken, AuditEntry
from bhype.outside.signature import dearmor
from bhype.tasks.models import Task
from storage.library import adding, catalogue
from storage.library.fetching import problem_of
from storage.models import CatalogueEntry, Dataset, Image, Iso, Pool, Snapshot

SEED_SYSTEMS = {
    "ready": "debian11 debian12 almalinux8 almalinux9 rockylinux8 rockylinux9 ubuntu2004 ubuntu2204 ubuntu2404",
    "compatible": "rhel8 rhel9 routeros7 win10 win11 winsrv19 winsrv22",
    "not ready": "freebsd13zfs freebsd13ufs fedora opensuse openbsd",
}


@pytest.fixture
def image(pool) -> Image:
    return Image.objects.create(pool=pool, name="debian12", os="debian12", state="ready", size=3 << 30)


@pytest.fixture
def root(as_user, admin):
    return as_user(admin)


def html(answer) -> str:
    assert answer.status_code == 200
    return answer.content.decode()


# The catalogue.


def test_the_seed_has_the_systems_of_hoster_core_in_their_states():
    seed = catalogue.seed()
    for state, words in SEED_SYSTEMS.items():
        assert {seed[word]["state"] for word in words.split()} == {state}
    for entry in seed.values():
        for key in ("url", "index_url", "checksum_url", "signature_url"):
            value = catalogue.filled(entry.get(key, ""), name="14.3-RELEASE", url="https://a/b")
            assert not value or (problem_of(value) is None and value.startswith("https://")), (
                entry["os"],
                key,
            )
        assert bool(entry.get("url")) == bool(entry.get("checksum_url")), entry["os"]
        assert set(entry) <= {"os", *catalogue.COLUMNS}


def test_migrations_write_the_seed_and_keep_what_an_admin_has_changed(db):
    assert CatalogueEntry.objects.count() == len(catalogue.seed())
    CatalogueEntry.objects.filter(os="debian12").update(title="Ours", is_own=True)
    CatalogueEntry.objects.filter(os="debian11").update(title="Outdated")
    CatalogueEntry.objects.filter(os="arch").delete()
    call_command("migrate", verbosity=0)
    titles = dict(CatalogueEntry.objects.values_list("os", "title"))
    assert (titles["debian12"], titles["debian11"], titles["arch"]) == ("Ours", "Debian 11", "Arch Linux")


LISTING = """<a href="?C=N">Name</a> <a href="../">..</a> <a href="14.2-RELEASE/">14.2-RELEASE/</a>
<A HREF='14.10-RELEASE/'>14.10</A> <a href=/releases/VM-IMAGES/14.3-RELEASE/>x</a> <a href="15.0-BETA1/">"""


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        (LISTING, "14.*-RELEASE", "14.10-RELEASE"),
        (LISTING, "15.*", "15.0-BETA1"),
        ('{"vm_images": [{"debian12": ["debian12-2.zip", "debian12-10.zip"]}, {"x": []}]}', "debian12",
         "debian12-10.zip"),
    ],
)  # fmt: skip
def test_the_newest_of_an_index(text, pattern, found):
    assert catalogue.newest(text, pattern) == found


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("FreeBSD-14.3-RELEASE-amd64-BASIC-CLOUDINIT-ufs.raw.xz", "14.3"), ("debian12-10.zip", "12-10"),
        ("debian-12-genericcloud-amd64.qcow2", "12"), ("disk.qcow2", ""), ("server-cloudimg-x86_64.raw.bz2", ""),
    ],
)  # fmt: skip
def test_the_format_and_the_machine_are_no_version(name, version):
    assert catalogue.version_of(name) == version


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("", "a*"), (LISTING, "16.*"), ("{", "x"), ("{}", "x"), ('{"vm_images": 3}', "x"), ('{"vm_images": [1]}', "x"),
     ('{"vm_images": [{"x": ["../../etc/passwd", "a b", 3]}]}', "x"), (LISTING, "*" * 9), ("[" * 100_000, "x")],
)  # fmt: skip
def test_indexes_that_have_nothing(text, pattern):
    with pytest.raises(catalogue.NoNewest):
        catalogue.newest(text, pattern)


@given(st.text(), st.text(max_size=30))
def test_any_index_is_read_or_refused(text, pattern):
    for each in (text, f'<a href="{text}">', "{" + text):
        try:
            assert "/" not in catalogue.newest(each, pattern)
        except catalogue.NoNewest:
            continue


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_numbers_are_ordered_as_numbers(numbers):
    names = [f"os-{number}.img" for number in numbers]
    assert max(names, key=catalogue.natural) == f"os-{max(numbers)}.img"


def test_one_click_fetches_the_newest_image(root, pool, admin):
    entry = CatalogueEntry.objects.get(os="freebsd14ufs")
    answer = root.post(f"/storage/catalogue/{entry.pk}/fetch/")
    image = Image.objects.get()
    assert answer["Location"] == f"/storage/images/{image.pk}/"
    assert (image.name, image.os, image.cloud_init, image.state) == (
        "freebsd14ufs",
        "freebsd14ufs",
        "nuageinit",
        "making",
    )
    task = Task.objects.get()
    assert (task.operation, task.params["index_pattern"], task.user) == (
        "storage.fetch_image",
        "14.*-RELEASE",
        admin,
    )
    assert (task.pool, task.pool_size) == adding.FETCHES
    root.post(f"/storage/catalogue/{entry.pk}/fetch/")
    assert Image.objects.filter(name="freebsd14ufs-2").exists()
    none = CatalogueEntry.objects.get(os="win11")
    assert root.post(f"/storage/catalogue/{none.pk}/fetch/")["Location"] == "/storage/catalogue/"
    assert Image.objects.count() == 2
    assert AuditEntry.objects.filter(action="storage.fetch_image").count() == 2


def test_admins_change_the_catalogue(root, pool):
    entry = CatalogueEntry.objects.get(os="debian12")
    page = html(root.get(f"/storage/catalogue/{entry.pk}/"))
    assert "debian-12-genericcloud-amd64.qcow2" in page and "Back to what bHype" not in page
    data = {"os": "debian12", "title": "Our Debian", "state": "compatible", "url": "https://mirror.example.com/d.qcow2",
            "firmware": "uefi", "minimum_disk": "0", "is_enabled": "on"}  # fmt: skip
    assert root.post(f"/storage/catalogue/{entry.pk}/", data).status_code == 302
    entry.refresh_from_db()
    assert (entry.title, entry.is_own) == ("Our Debian", True)
    assert "Back to what bHype" in html(root.get(f"/storage/catalogue/{entry.pk}/"))
    for field, value in {
        "url": "file:///etc/passwd",
        "os": "../x",
        "index_url": "http://a b",
        "state": "best",
    }.items():
        answer = root.post(f"/storage/catalogue/{entry.pk}/", data | {field: value})
        assert (answer.status_code, f'id="id_{field}_error"' in answer.content.decode()) == (422, True), field
    answer = root.post("/storage/catalogue/new/", data | {"minimum_disk": "much"})
    assert answer.context["form"].errors.keys() == {"os", "minimum_disk"}
    assert "The catalogue has an entry of this word already." in answer.content.decode()
    assert (
        root.post("/storage/catalogue/new/", data | {"os": "ours", "minimum_disk": "10G"}).status_code == 302
    )
    root.post(f"/storage/catalogue/{entry.pk}/reset/")
    entry.refresh_from_db()
    assert (entry.title, entry.is_own) == ("Debian 12", False)
    own = CatalogueEntry.objects.get(os="ours")
    assert own.minimum_disk == 10 << 30
    assert 'value="10G"' in html(root.get(f"/storage/catalogue/{own.pk}/"))
    root.post(f"/storage/catalogue/{own.pk}/reset/")
    assert not CatalogueEntry.objects.filter(os="ours").exists()


def test_what_is_hidden_is_for_admins(root, as_user, viewer, pool):
    CatalogueEntry.objects.filter(os="win11").update(is_enabled=False)
    assert "Windows 11" in html(root.get("/storage/catalogue/"))
    page = html(as_user(viewer).get("/storage/catalogue/"))
    assert "Windows 11" not in page and "Windows 10" in page and "/fetch/" not in page


# Images.


def test_images_and_what_lives_on_them(
    root, as_user, viewer, operator, image, vm, django_assert_max_num_queries
):
    Dataset.objects.create(
        pool=image.pool,
        name="tank/bhype/vms/web1/disk0",
        kind="volume",
        origin=image.snapshot,
        bhype_id=str(vm.uuid),
    )
    with django_assert_max_num_queries(25):
        assert "debian12" in html(root.get("/storage/images/"))
    page = html(root.get(f"/storage/images/{image.pk}/"))
    assert "/vms/web1/" in page and "disabled title=" in page
    assert f"/vms/_templates/new/?image={image.pk}" in page
    seen = html(as_user(viewer).get(f"/storage/images/{image.pk}/"))
    assert "Delete" not in seen and "Make a template" not in seen
    assert as_user(viewer).post(f"/storage/images/{image.pk}/delete/").status_code == 404


def test_the_snapshot_of_an_image_is_said_to_be_its_own(root, image):
    volume = Dataset.objects.create(
        pool=image.pool, name=image.dataset, kind="volume", bhype_id=str(image.uuid)
    )
    row = Snapshot.objects.create(
        dataset=volume, name="base", guid="1", created_at=timezone.now(), bhype_id=str(image.uuid)
    )
    for address in ("/storage/snapshots/", f"/storage/snapshots/{row.pk}/"):
        assert "the image's own" in html(root.get(address)), address


def test_an_image_is_added_by_its_url(root, pool):
    data = {"url": "https://example.com/Some%20Image.qcow2.xz?x=1", "pool": pool.pk, "checksum": "https://example.com/S",
            "firmware": "uefi", "cloud_init": "cloud-init", "os": "debian12"}  # fmt: skip
    assert 'data-after="/storage/images/"' in html(root.get("/storage/images/add/"))
    for field, value in {
        "url": "gopher://x", "checksum": "zz", "signature_url": "https://example.com/s", "name": "Bad/Name",
        "cloud_init": "magic", "pool": "77",
    }.items():  # fmt: skip
        answer = root.post("/storage/images/add/", data | {field: value})
        assert answer.status_code == 422, field
        assert ("_error" if field != "pool" else "Adopt one") in answer.content.decode(), field
    assert not Image.objects.exists()
    assert root.post("/storage/images/add/", data).status_code == 302
    image = Image.objects.get()
    assert (image.name, image.cloud_init) == ("some-image", "cloud-init")
    params = Task.objects.get().params
    assert params["checksum_url"] == "https://example.com/S" and "checksum" not in params
    answer = root.post("/storage/images/add/", data | {"name": "some-image"})
    assert "already an image of this name" in answer.content.decode()


def test_an_image_is_described_tried_again_and_deleted(root, image, admin):
    data = {"os": "ubuntu2404", "firmware": "csm", "notes": "ours"}
    assert root.post(f"/storage/images/{image.pk}/edit/", data).status_code == 302
    image.refresh_from_db()
    assert (image.os, image.firmware, image.state) == ("ubuntu2404", "csm", "ready")
    root.post(f"/storage/images/{image.pk}/again/")
    assert not Task.objects.exists()
    new, task = adding.add_image(admin, image.pool, "x", {}, {"url": "https://example.com/x.img"})
    Image.objects.filter(pk=new.pk).update(state="failed", reason="It <b>failed</b>.")
    Task.objects.update(status="failed")
    assert "It &lt;b&gt;failed" in html(root.get(f"/storage/images/{new.pk}/"))
    root.post(f"/storage/images/{new.pk}/again/")
    assert Task.objects.latest("pk").retry_of == task
    assert root.post(f"/storage/images/{image.pk}/delete/")["Location"] == "/storage/images/"
    assert Task.objects.latest("pk").operation == "storage.delete_image"


# Install media.


def test_media_are_shown_renamed_and_deleted(root, pool, vm):
    iso = Iso.objects.create(pool=pool, name="a.iso", size=1, sha256="ab" * 32, verified="SHA-256")
    Iso.objects.create(pool=pool, name="b.iso", size=1)
    page = html(root.get("/storage/isos/"))
    assert "ab" * 32 in page and "data-upload" in page
    for name in ("../x.iso", "x.exe", "b.iso", ""):
        assert root.post(f"/storage/isos/{iso.pk}/rename/", {"name": name}).status_code == 422, name
    assert root.post(f"/storage/isos/{iso.pk}/rename/", {"name": "c.iso"}).status_code == 302
    assert root.post(f"/storage/isos/{iso.pk}/delete/").status_code == 302
    assert (
        root.post("/storage/isos/fetch/", {"url": "https://example.com/c.exe", "pool": pool.pk}).status_code
        == 422
    )
    assert (
        root.post(
            "/storage/isos/fetch/", {"url": "https://example.com/c.iso.xz", "pool": pool.pk}
        ).status_code
        == 302
    )
    operations = list(Task.objects.order_by("pk").values_list("operation", flat=True))
    assert operations == ["storage.rename_iso", "storage.delete_iso", "storage.fetch_iso"]
    assert Task.objects.latest("pk").params["name"] == "c.iso"
    assert "Fetch the install medium c.iso" in html(root.get("/storage/isos/"))


# The API.


def test_the_api_does_what_the_pages_do(client, admin, image):
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)
    base = {"content_type": "application/json", "HTTP_AUTHORIZATION": f"Bearer {secret}"}

    def call(method: str, path: str, **body):
        return client.generic(method, f"/api/v1{path}", json.dumps(body), **base)

    assert [one["name"] for one in call("GET", "/images").json()] == ["debian12"]
    assert call("GET", f"/images/{image.pk}").json()["used_by"] == []
    assert call("POST", "/images", url="https://example.com/x.qcow2", os="debian12").status_code == 202
    assert call("POST", "/images", url="file:///x").json()["field"] == "url"
    assert call("POST", "/images", url="https://example.com/x.qcow2", pool="no").json()["field"] == "pool"
    assert call("PATCH", f"/images/{image.pk}", notes="hello").json()["notes"] == "hello"
    assert call("PATCH", f"/images/{image.pk}", cloud_init="x").json()["field"] == "cloud_init"
    assert call("POST", f"/images/{image.pk}/again").status_code == 409
    assert call("DELETE", f"/images/{image.pk}").status_code == 202
    assert call("POST", "/isos", url="https://example.com/x.iso").status_code == 202
    iso = Iso.objects.create(pool=image.pool, name="a.iso", size=1)
    assert call("GET", "/isos").json()[0]["sha256"] == ""
    assert call("PATCH", f"/isos/{iso.pk}", name="b.iso").status_code == 202
    assert call("DELETE", f"/isos/{iso.pk}").status_code == 202
    entry = next(one for one in call("GET", "/catalogue").json() if one["os"] == "debian12")
    assert call("POST", f"/catalogue/{entry['id']}/fetch").status_code == 202
    made = call("POST", "/catalogue", os="mine", title="Mine", url="https://example.com/m.img")
    assert made.status_code == 201 and made.json()["is_own"]
    assert call("POST", "/catalogue", os="mine", title="Mine").status_code == 422
    changed = call("PUT", f"/catalogue/{made.json()['id']}", os="mine", title="Yours")
    assert changed.json()["title"] == "Yours"
    assert call("DELETE", f"/catalogue/{made.json()['id']}").status_code == 204
    assert not CatalogueEntry.objects.filter(os="mine").exists()


def test_names_of_what_is_added():
    for source, name in {
        "https://a/Debian-12.qcow2": "debian-12", "x.raw.xz": "x", "a b.img": "a-b", "https://a/": "", "...": "",
        "Ünï.img": "n", "https://a/x.img?y=/z.img": "x",
    }.items():  # fmt: skip
        assert adding.image_name_of(source) == name, source
    assert adding.medium_name_of("https://a/x.iso.gz") == "x.iso"
    assert adding.medium_name_of("https://a/x.exe") == ""


@given(st.text())
def test_any_source_gives_a_good_name_or_none(text):
    for source in (text, f"https://a/{text}"):
        try:
            name = adding.image_name_of(source)
        except ValueError:
            continue
        assert not name or adding.image_name_problem(name) is None


def test_nothing_is_added_without_a_pool(root, host):
    Pool.objects.all().delete()
    entry = CatalogueEntry.objects.get(os="debian12")
    assert root.post(f"/storage/catalogue/{entry.pk}/fetch/")["Location"] == "/storage/catalogue/"
    assert "Adopt one" in html(root.get("/storage/isos/"))
    assert root.get("/storage/images/add/").status_code == 200


def fingerprint(armored: str) -> str:
    """Of the first key in a text (RFC 9580, 5.5.4.2: version 4)."""
    packet = dearmor(armored, "PUBLIC KEY BLOCK")
    assert packet[0] == 0x99, "a public key packet with a length of two bytes"
    length = int.from_bytes(packet[1:3], "big")
    return hashlib.sha1(packet[: 3 + length]).hexdigest().upper()


def test_the_keys_of_vendors_are_theirs():
    """As Canonical, the openSUSE project and Fedora publish them (ubuntu.com/docs/public-images, get.opensuse.org,
    fedoraproject.org/security)."""
    keys = {os: entry["signing_key"] for os, entry in catalogue.seed().items() if entry.get("signing_key")}
    canonical = "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81"
    assert {os: fingerprint(key) for os, key in keys.items()} == {
        "ubuntu2004": canonical, "ubuntu2204": canonical, "ubuntu2404": canonical,
        "opensuse": "AD485664E901B867051AB15F35A2F86E29B700A4",
        "fedora": "C6E7F081CF80E13146676E88829B606631645531",
    }  # fmt: skip
