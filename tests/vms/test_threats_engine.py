"""Threats to the VM engine (docs/threat-model.md): what a process that writes rows, a file that somebody brought, an
owner or a token of small scope could try. One test for each thing tried."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken
from bhype.host import CommandError
from bhype.tasks import OperationFailed
from network.models import Switch
from storage.models import Pool
from vms import edited, hardware_pages, pending, place, plan, wanted
from vms.models import VM, Disk, Nic


@pytest.fixture
def rows(ready, alice) -> VM:
    """A VM of which only the rows are there, on a host with its datasets."""
    pool = Pool.objects.get()
    return VM.objects.create(
        host=pool.host, pool=pool, owner=alice, name="web1", memory=2**30, vnc_port=5900,
        vnc_password="pw123456", state="stopped",
    )  # fmt: skip


def refusal(ready, vm: VM) -> str:
    """Why root's worker does not follow the rows of the VM; "" when it does."""
    try:
        place.check(ready.host, wanted.load(vm.pk))
    except OperationFailed as error:
        return str(error)
    return ""


def test_t20_a_row_plugs_nothing_into_the_hosts_own_network(ready, rows):
    """A port that looks as if it were on a switch, with a backend or a tap that is another's."""
    bridge = Switch.objects.get().interface
    on_switch = {"bridge": bridge, "fix": True, "description": f"bhype/vm/{rows.uuid}/0"}
    for number, name in enumerate(("netmap:em0", "vale0:1", "netgraph", "em0", "tap7")):
        for more in ({}, {"type": "tap"}):
            options = {**on_switch, **more}
            nic = Nic.objects.create(
                vm=rows, index=0, slot="0:10:0", mac="58:9c:fc:00:00:09", backend=name, options=options
            )
            assert refusal(ready, rows), (name, more)
            nic.delete()
            device = rows.devices.create(
                kind="virtio-net", slot=f"0:{20 + number}:0", options={"name": name, **options}
            )
            assert refusal(ready, rows), (name, more)
            device.delete()
    Nic.objects.create(vm=rows, index=0, slot="0:10:0", mac="58:9c:fc:00:00:09", switch=Switch.objects.get())
    assert refusal(ready, rows) == ""


@pytest.mark.parametrize("name", ["tmp/ä", 'tmp/"', "tmp/\\", "tmp"])
def test_t20_a_row_of_a_pool_opens_no_folder_of_the_host(ready, rows, name):
    """JSON writes some letters otherwise than a path has them: a library there must not be passed over."""
    pool = Pool.objects.create(host=rows.host, name=name, is_adopted=True)
    path = f"/{pool.home}/isos/x.iso"
    disk = Disk.objects.create(
        vm=rows, index=0, slot="0:4:0", size=2**20, backing="path", host_path=path, options={"ro": True}
    )
    with pytest.raises((OperationFailed, CommandError)):
        place.check(ready.host, wanted.load(rows.pk))
    disk.delete()
    rows.devices.create(kind="ahci-cd", slot="0:3:0", options={"path": path})
    with pytest.raises((OperationFailed, CommandError)):
        place.check(ready.host, wanted.load(rows.pk))


def test_t10_no_share_holds_what_is_bhypes_own(ready, rows, settings):
    settings.ALLOW = ("/", "raw", "passthru")
    for path in ("/", "/tank", "/var/run", "/dev", str(settings.STATE_DIR), "/tank/bhype/vms"):
        rows.devices.all().delete()
        rows.devices.create(kind="virtio-9p", slot="0:20:0", options={"share": "all", "path": path})
        assert "bHype's own" in refusal(ready, rows), path
    rows.devices.update(options={"share": "all", "path": "/srv/data"})
    assert refusal(ready, rows) == ""
    assert plan.document(wanted.load(rows.pk))["emulations"]


@pytest.fixture
def with_target(vm) -> VM:
    """A VM with a target that has a screen of its own, made by a document."""
    document = plan.document(wanted.load(vm.pk))
    document["targets"] = {"rescue": {"graphic": {"width": 800, "height": 600, "password": "********"}}}
    return wanted.apply(vm, document, None).vm


def test_t05_the_screen_of_a_target_asks_for_the_password_of_the_vm(with_target):
    """Neither for none, nor for the stars that stand for it on pages; and it moves along with the VM's port."""
    with_target.vnc_port, with_target.vnc_password = 5977, "another1"
    graphic = plan.document(with_target)["targets"]["rescue"]["graphic"]
    assert (graphic["password"], graphic["port"], graphic["host"]) == ("another1", 5977, "127.0.0.1")
    assert "another1" not in json.dumps(with_target.settings)


def test_t21_no_page_no_export_and_no_row_shows_the_password_of_a_screen(with_target, as_user, viewer, admin):
    vm = with_target
    document = plan.document(vm)
    secret = vm.vnc_password
    bare = {key: value for key, value in document.items() if key not in {"graphic", "targets"}}
    shown = [pending.differences(bare, document), pending.differences(document, bare)]
    # As the rows of a running VM are: started without a screen, changed by hand since.
    VM.objects.filter(pk=vm.pk).update(state="running", running=bare, edited={"digest": "", "problem": "", "document":
        plan.without_secrets(document)})  # fmt: skip
    vm = wanted.load(vm.pk)
    shown += [hardware_pages.changes_of(vm, document), vm.running, vm.edited, plan.without_secrets(document)]
    assert secret not in str(shown) and "rescue" in str(shown)
    client, other = as_user(viewer), as_user(admin)
    for path in ("hardware/", "raw/", "access/", "", "raw/edit/", "export/"):
        for each in (client, other):
            assert secret not in each.get(f"/vms/web1/{path}").content.decode(), path
    for path in ("config", "pending", "devices", "export", "export?format=libvirt", ""):
        _, token = ApiToken.objects.issue(admin, "t", "full", None)
        answer = other.get(f"/api/v1/vms/web1/{path}".rstrip("/"), HTTP_AUTHORIZATION=f"Bearer {token}")
        assert secret not in answer.content.decode(), path
    wish = json.dumps(bare)
    assert secret not in other.post("/vms/web1/raw/edit/", {"text": wish}).content.decode()


def test_t21_what_somebody_has_written_by_hand_loses_its_passwords(ready, rows):
    document = {**plan.document(wanted.load(rows.pk)), "mem": "512M"}
    document["targets"] = {"x": {"graphic": {"host": "127.0.0.1", "password": "hunter22"}}}
    document["graphic"] = {**document["graphic"], "password": "hunter22"}
    (ready.root / rows.dataset).mkdir(parents=True)
    (ready.root / rows.dataset / "vm.json").write_text(json.dumps(document))
    rows.file_digest = "0" * 64
    found = edited.find(ready.host, rows)
    assert found and found["document"]["mem"] == "512M" and "hunter22" not in json.dumps(found)
