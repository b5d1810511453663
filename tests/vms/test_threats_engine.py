"""Threats to the VM engine (docs/threat-model.md): what a process that writes rows, a file that somebody brought, an
owner or a token of small scope could try. One test for each thing tried."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest

from bhype.accounts.models import ApiToken
from bhype.host import CommandError
from bhype.tasks import OperationFailed, ask
from bhype.vmrun.config import parse
from bhype.vmrun.problems import Unfit
from network.models import Switch
from storage.models import Pool
from tests.vms import packages
from vms import edited, operating, place, plan, wanted
from vms.hardware import pages as hardware_pages
from vms.hardware import pending
from vms.life import guard
from vms.models import VM, Disk, Nic
from vms.sizes import GIB
from vms.transfer import operations as transfer_operations
from vms.transfer import ova


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


def test_t27_a_short_text_pins_not_millions_of_cpus(vm):
    document = plan.document(wanted.load(vm.pk))
    tracemalloc.start()
    for pinning in (
        {"0": ",".join(["0-9999"] * 20_000)},
        {str(vcpu): "0-1023" for vcpu in range(15_000)},
        {"0": "9999"},
        {"0": "0-1024"},
    ):
        with pytest.raises(Unfit, match="pinning"):
            parse({**document, "pinning": pinning})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Written out, the first alone would be 200 million pairs.
    assert peak < 64 << 20
    assert parse({**document, "pinning": {"0": "2-3,1023", "1": 4}}).pinning == (
        (0, 2),
        (0, 3),
        (0, 1023),
        (1, 4),
    )


def test_t27_disks_in_memory_and_targets_count_as_memory(vm, alice):
    """An owner gets no more of the host by a disk that is kept in memory, or by a target, than by asking for it."""
    for change in (
        {"emulations": [{"device": "nvme", "ram": 1 << 20}]},
        {"targets": {"x": {"emulations": [{"device": "nvme", "ram": 1 << 20}]}}},
    ):
        document = plan.document(wanted.load(vm.pk))
        with pytest.raises(wanted.WantedError, match="disks in memory"):
            wanted.apply(vm, {**document, **change}, alice)
    document = plan.document(wanted.load(vm.pk))
    document["emulations"].append({"device": "nvme", "ram": 4096})
    made = wanted.apply(vm, document, alice).vm
    assert guard.needed(made) == made.memory + 4 * GIB
    document["targets"] = {"large": {"mem": "20G"}}
    made = wanted.apply(vm, document, alice).vm
    assert guard.needed(made) == 24 * GIB
    VM.objects.update(state="running")
    assert guard.committed(vm.host, besides=VM()) == 24 * GIB


def test_t27_a_small_package_unpacks_to_no_flood():
    twice = packages.VIRTUALBOX
    start = twice.index("<Item>", twice.index("</Item>"))
    item = next(part for part in twice[start:].split("<Item>") if "<rasd:ResourceType>17<" in part)
    flood = twice.replace(f"<Item>{item}", f"<Item>{item}" * 500)
    data = packages.tar([("box.ovf", flood.encode()), ("box-disk001.vmdk", b"x" * 512)])
    with pytest.raises(ova.BadOva, match="twice"):
        ova.read(io.BytesIO(data), len(data))
    header = packages.tar([("box.ovf", b"")])[:512]
    endless = (header[:156] + b"g" + header[157:512]) * 600
    checked = _with_checksums(endless)
    with pytest.raises(ova.BadOva, match="headers"):
        ova.members(io.BytesIO(checked), len(checked))


def _with_checksums(headers: bytes) -> bytes:
    found = b""
    for start in range(0, len(headers), 512):
        block = headers[start : start + 512]
        block = block[:148] + b" " * 8 + block[156:]
        found += block[:148] + b"%06o\0 " % sum(block) + block[156:]
    return found


def test_t20_a_row_takes_no_device_of_the_hosts_own(ready, rows, settings):
    """By default a VM may have what an admin has reserved (ppt); with "fix" a supervisor would take anything, the
    controller of the host's disks too."""
    settings.ALLOW = ("passthru",)
    rows.settings = {"wire_guest_mem": True}
    rows.save()
    device = rows.devices.create(kind="passthru", slot="0:20:0", options={"src": "0:31:2"})
    assert refusal(ready, rows) == ""
    device.options |= {"fix": True}
    device.save()
    assert '"raw"' in refusal(ready, rows)
    device.delete()
    target = {"emulations": [{"device": "passthru", "src": "0:31:2", "fix": True}]}
    VM.objects.update(settings={"wire_guest_mem": True, "targets": {"x": target}})
    assert '"raw"' in refusal(ready, rows)


@pytest.mark.parametrize("name", ["tmp", "tmp/x"])
def test_t07_root_removes_no_file_through_the_links_of_others(ready, rows, name):
    """As a compromised web process could: a pool that is a folder of its own, and links in it."""
    pool = Pool.objects.create(host=rows.host, name=name, is_adopted=True)
    exports = ready.root / f"{pool.home}/transfers/exports"
    exports.mkdir(parents=True)
    (exports / f"{rows.pk}-{rows.uuid}").symlink_to(ready.root / "etc")
    (ready.root / "etc").mkdir(exist_ok=True)
    (ready.root / "etc/passwd").write_text("root")
    VM.objects.update(pool=pool)
    for operation, more in (("vms.remove_export", {"file": "passwd"}), ("vms.delete", {"keep_disks": True})):
        ask(operation, {"vm_id": rows.pk, **more}, None)
        assert [task.status for task in ready.run_tasks()] == ["failed"]
    assert (ready.root / "etc/passwd").read_text() == "root"


def test_t20_what_root_does_is_what_root_has_looked_at(ready, rows, settings):
    """Rows that change between the check and the deed change nothing any more."""
    vm = operating.find(rows.pk)
    place.check(ready.host, vm)
    rows.devices.create(kind="raw", slot="0:21:0", options={"value": "passthru,0/31/2"})
    rows.disks.create(index=3, slot="0:4:0", size=2**20, backing="path", host_path="/dev/ada0")
    Nic.objects.create(vm=rows, index=0, slot="0:10:0", mac="58:9c:fc:00:00:09", backend="netmap:em0")
    assert plan.document(vm)["emulations"] == []
    assert list(vm.disks.all()) == []
    rows.disks.create(index=4, size=2**20, backing="file")
    VM.objects.update(pool=Pool.objects.create(host=vm.host, name="tmp"))
    params = transfer_operations.DiskParams(vm_id=vm.pk, index=4)
    assert transfer_operations._disk(vm, params).path == "/tank/bhype/vms/web1/disk4.img"
    assert transfer_operations._disk(vm, params).vm is vm


@pytest.mark.parametrize(
    "nonsense", [{"tpm": "x"}, {"graphic": 3}, {"targets": {"x": 1}}, {"loader": []}, ["x"], {"com2": {}}]
)
def test_t27_rows_that_are_nonsense_end_no_watch_and_start_nothing(ready, rows, nonsense):
    (ready.root / rows.dataset).mkdir(parents=True)
    (ready.root / rows.dataset / "vm.json").write_text("{}")
    VM.objects.update(
        settings=nonsense, file_digest="0" * 64, firmware="grub" if "loader" in nonsense else "uefi"
    )
    ready.sweep()
    ask("vms.start", {"vm_id": rows.pk}, None)
    assert [task.status for task in ready.run_tasks()] == ["failed"]
    assert not ready.nodes()
