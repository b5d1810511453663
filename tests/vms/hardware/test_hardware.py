"""The Hardware pages: forms from vmrun's tables, and buttons; everything goes through a document."""

from __future__ import annotations

import json

import pytest

from bhype.tasks.models import Task
from storage.models import Iso
from vms import plan, wanted
from vms.hardware.forms import SECTIONS
from vms.models import VM

URL = "/vms/web1/hardware/"
RUN = "/var/run/bhype/vms/web1"


@pytest.fixture
def client(as_user, alice):
    return as_user(alice)


@pytest.fixture
def root(as_user, admin):
    return as_user(admin)


def document() -> dict:
    return plan.document(wanted.load(VM.objects.get().pk))


def fields(answer) -> dict[str, object]:
    """What a browser would send of the form on a page."""
    form = answer.context["form"]
    sent = {}
    for field in form:
        value = field.value()
        if value not in (None, False, "") and not field.field.disabled:
            sent[field.html_name] = "on" if value is True else value
    return sent


def errors(answer) -> dict[str, list[str]]:
    return {name: list(found) for name, found in answer.context["form"].errors.items()}


ADDED = ("disk", "ahci-cd", "nic", "virtio-rnd", "virtio-9p", "passthru", "hda", "raw", "uart", "virtio-console",
         "virtio-scsi", "virtio-input", "ahci", "xhci")  # fmt: skip


@pytest.mark.parametrize(
    "page",
    ["", *(f"{name}/" for name in SECTIONS), *(f"add/{name}/" for name in ADDED), "at/0-4-0/", "at/0-10-0/"],
)
def test_every_page_is_shown(client, root, vm, page):
    for browser in (client, root):
        assert browser.get(URL + page).status_code == 200


@pytest.mark.parametrize("name", SECTIONS)
def test_a_form_that_is_sent_as_it_was_changes_nothing(root, vm, name):
    before = document()
    answer = root.post(f"{URL}{name}/", fields(root.get(f"{URL}{name}/")))
    assert answer.status_code == 302, errors(answer)
    assert document() == before
    assert not Task.objects.exists()


@pytest.mark.parametrize("slot", ["0-4-0", "0-10-0"])
def test_a_device_that_is_sent_as_it_was_stays_as_it_was(client, vm, slot):
    before = document()
    answer = client.post(f"{URL}at/{slot}/", fields(client.get(f"{URL}at/{slot}/")))
    assert answer.status_code == 302, errors(answer)
    assert document() == before


def change(browser, page: str, **more: object):
    """Open a form, type into it, and send it."""
    sent = fields(browser.get(URL + page)) | more
    return browser.post(URL + page, {key: value for key, value in sent.items() if value is not None})


def test_the_processor_has_a_shape_and_memory(client, vm):
    assert change(client, "processor/", sockets="2", cores="1", threads="2", mem="4G").status_code == 302
    found = document()
    assert found["cpu"] == {"sockets": 2, "cores": 1, "threads": 2}
    assert found["mem"] == "4096M"
    vm.refresh_from_db()
    assert (vm.cpus, vm.revision) == (4, 2)
    assert Task.objects.get().operation == "vms.configure"


@pytest.mark.parametrize(
    ("page", "sent", "field"),
    [
        ("processor/", {"cores": "99"}, "cores"),
        ("processor/", {"mem": "64G"}, "mem"),
        ("processor/", {"mem": "lots"}, "mem"),
        ("processor/", {"limits.pcpu": "much"}, "limits.pcpu"),
        ("processor/", {"nice": "40"}, "nice"),
        ("boot/", {"fw_cfg": "[{"}, "fw_cfg"),
        ("screen/", {"graphic.password": "ninechars"}, "graphic.password"),
        ("options/", {"restart.limit": "-1"}, "restart.limit"),
        ("add/virtio-9p/", {"share": "a b", "path": "/srv"}, "share"),
        ("add/disk/", {"size": "1"}, "size"),
        ("add/disk/", {"size": "20Q"}, "size"),
        ("add/disk/", {"size": "200G"}, "size"),
        ("add/disk/", {"backing": "path", "path": ""}, "path"),
        ("add/disk/", {"backing": "path", "path": "/dev/zvol/tank/bhype/vms/db1/disk0"}, "path"),
        ("add/nic/", {"mac": "58:9c:fc:00:00:01"}, "mac"),
        ("add/nic/", {"mac": "zz"}, "mac"),
        ("add/nic/", {"mtu": "20"}, "mtu"),
        ("add/virtio-rnd/", {"slot": "0:4:0"}, "__all__"),
        ("at/0-4-0/", {"size": "1G"}, "size"),
        ("at/0-4-0/", {"logical_sector_size": "1000"}, "logical_sector_size"),
        ("at/0-4-0/", {"slot": "x"}, "slot"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(root, vm, page, sent, field):
    before = document()
    answer = change(root, page, **sent)
    assert answer.status_code == 422
    assert field in errors(answer), errors(answer)
    assert document() == before
    assert not Task.objects.exists()


def test_limits_and_pins(client, vm):
    sent = {
        "limits.pcpu": "150",
        "limits.readbps": "10M",
        "nice": "5",
        "protect": "on",
        "pin0": "2-3",
        "pin1": "4",
    }
    assert change(client, "processor/", **sent).status_code == 302
    found = document()
    assert found["limits"] == {"pcpu": 150, "readbps": "10M"}
    assert found["pinning"] == {"0": "2-3", "1": "4"}
    assert (found["nice"], found["protect"]) == (5, True)
    assert (
        change(client, "processor/", **{"limits.pcpu": "", "limits.readbps": "", "cores": "1"}).status_code
        == 302
    )
    assert "limits" not in document()
    assert document()["pinning"] == {"0": "2-3"}


@pytest.fixture
def pinned(host, pool) -> VM:
    """Another VM, pinned to CPU 6."""
    return VM.objects.create(
        host=host, pool=pool, name="db1", memory=2**30, vnc_port=5999, settings={"pinning": {"0": [6]}}
    )


def test_a_cpu_that_another_vm_is_pinned_to_is_shared_by_request_only(root, vm, pinned):
    assert "CPU 6: db1" in root.get(f"{URL}processor/").content.decode()
    answer = change(root, "processor/", pin0="5-6")
    assert answer.status_code == 422
    assert errors(answer)["pin0"] == ["Other VMs have it: CPU 6: db1. Choose another, or share it below."]
    assert change(root, "processor/", pin0="5-6", share_cpus="on").status_code == 302
    # What is shared already is not asked for again.
    assert change(root, "processor/", pin0="5-6", nice="5").status_code == 302
    vm.refresh_from_db()
    assert (vm.settings["pinning"], vm.settings["nice"]) == ({"0": "5-6"}, 5)


def test_an_edit_by_hand_that_takes_a_cpu_of_another_vm_says_so(root, vm, pinned):
    before = plan.document(wanted.load(vm.pk))
    edit = {"digest": "", "document": before | {"pinning": {"0": "5"}}, "problem": ""}
    VM.objects.filter(pk=vm.pk).update(edited=edit)
    assert "CPU 6" not in root.get(URL).content.decode()
    edit["document"] |= {"pinning": {"0": "5-6"}}
    VM.objects.filter(pk=vm.pk).update(edited=edit)
    page = root.get(URL).content.decode()
    assert "CPU 6: db1. Taken over, they are shared." in page

    def take(**more: object):
        sent = {"take": True, **more}
        return root.post("/api/v1/vms/web1/edited", sent, "application/json", HTTP_ORIGIN="http://testserver")

    answer = take()
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        409,
        "in_use",
        "share_cpus",
    )
    assert take(share_cpus=True).status_code == 202
    vm.refresh_from_db()
    assert vm.settings["pinning"] == {"0": "5-6"}


def test_the_names_of_vms_that_somebody_does_not_see_are_not_told(client, vm, pinned):
    page = client.get(f"{URL}processor/").content.decode()
    assert "CPU 6: another VM" in page
    assert "db1" not in page


def test_limits_reach_a_guest_that_runs(client, vm):
    VM.objects.filter(pk=vm.pk).update(state=VM.State.RUNNING)
    change(client, "processor/", **{"limits.pcpu": "150"})
    task = Task.objects.get(operation="vms.set_limits")
    assert task.params["limits"]["pcpu"] == 150


def test_firmware_and_tpm(root, vm):
    change(root, "boot/", firmware="csm", tpm="swtpm")
    found = document()
    assert found["bootrom"] == plan.FIRMWARE_CSM
    assert found["tpm"] == {"type": "swtpm", "state": "/tank/bhype/vms/web1/tpm", "version": "2.0"}
    change(root, "boot/", **{"firmware": "bhyveload", "tpm": "", "loader.env": "autoboot_delay=1"})
    found = document()
    assert found["loader"] == {"type": "bhyveload", "env": {"autoboot_delay": "1"}}
    assert "tpm" not in found
    change(root, "boot/", firmware="uefi")
    assert document()["varfile"].endswith("uefi-vars.fd")


def test_a_loader_of_the_host_is_for_those_who_are_its_root(client, vm):
    assert change(client, "boot/", firmware="bhyveload").status_code == 422
    assert "bootrom" in document()


def test_the_screen_and_its_lines(client, vm):
    sent = {
        "size": "1920x1080",
        "keyboard": "de_noacc",
        "graphic.wait": "on",
        "graphic.password": "abc",
        "com2": "own",
    }
    assert change(client, "screen/", **sent).status_code == 302
    found = document()
    assert found["graphic"]["width"] == 1920
    assert found["graphic"]["wait"] is True
    assert found["graphic"]["password"] == "abc"
    assert found["keyboard"] == "de_noacc"
    assert found["com2"] == "/dev/nmdm-web1.2A"
    change(client, "screen/", has_screen=None, com1="", com2="")
    found = document()
    assert not {"graphic", "com1", "com2"} & set(found)
    change(client, "screen/", has_screen="on")
    assert document()["graphic"]["password"] == "abc"


def test_a_line_to_the_network_is_not_for_owners(client, root, vm):
    sent = {"com2": "other", "com2_line": "tcp=127.0.0.1:4001"}
    assert change(client, "screen/", **sent).status_code == 422
    assert change(root, "screen/", **sent).status_code == 302
    assert document()["com2"] == "tcp=127.0.0.1:4001"


def test_options_and_flags(root, vm):
    sent = {
        "utc_clock": None, "restart.on_crash": "on", "restart.limit": "3", "restart.reboot_on": "0\n3",
        "options": "memory.size=1G", "extra_options": "-G 1234", "gdb": "127.0.0.1:9000",
    }  # fmt: skip
    assert change(root, "options/", **sent).status_code == 302
    found = document()
    assert found["utc_clock"] is False
    assert found["restart"] == {"on_crash": True, "limit": 3, "reboot_on": [0, 3]}
    assert found["options"] == {"memory.size": "1G"}
    assert found["extra_options"] == ["-G", "1234"]


def test_what_equals_root_is_not_taken_from_owners(client, vm):
    sent = {"options": "a.b=c", "extra_options": "-G 1", "gdb": "1", "post_start_script": "/root/x"}
    assert change(client, "options/", **sent).status_code == 302
    assert not set(sent) & set(document())


@pytest.mark.parametrize(
    ("kind", "sent", "found"),
    [
        ("virtio-rnd", {}, {}),
        ("virtio-9p", {"share": "data", "path": "/srv", "ro": "on"}, {"share": "data", "path": "/srv", "ro": True}),
        ("hda", {"play": "/dev/dsp0"}, {"play": "/dev/dsp0"}),
        ("raw", {"value": "virtio-rnd"}, {"value": "virtio-rnd"}),
        ("passthru", {"src": "1:0:0"}, {"src": "1:0:0"}),
        ("virtio-scsi", {"dev": "/dev/cam/ctl1.1"}, {"dev": "/dev/cam/ctl1.1"}),
        ("virtio-input", {"path": "/dev/input/event0"}, {"path": "/dev/input/event0"}),
        ("uart", {"path": "/dev/nmdm-web1.5A"}, {"path": "/dev/nmdm-web1.5A"}),
        ("virtio-console", {"ports": f"{RUN}/console-a.sock"}, {"ports": [f"{RUN}/console-a.sock"]}),
        ("ahci", {"ports": '[{"type": "cd", "path": "/a.iso"}]'}, {"ports": [{"type": "cd", "path": "/a.iso"}]}),
        ("xhci", {}, {}),
    ],
)  # fmt: skip
def test_each_kind_of_device_is_added_and_removed(root, vm, kind, sent, found):
    answer = change(root, f"add/{kind}/", **sent)
    assert answer.status_code == 302, errors(answer)
    (entry,) = [one for one in document()["emulations"] if one["device"] == kind]
    assert {key: value for key, value in entry.items() if key not in {"device", "slot"}} == found
    assert entry["slot"] == "0:20:0" if kind not in {"ahci", "virtio-scsi"} else entry["slot"]
    if kind == "passthru":
        assert document()["wire_guest_mem"] is True
    root.post(f"{URL}unplug/", {"slot": entry["slot"]})
    assert kind not in {one["device"] for one in document()["emulations"]}


def test_a_device_to_pass_through_must_be_named(root, vm):
    assert errors(change(root, "add/passthru/")) == {"src": ["This field is required."]}


def test_disks_come_grow_change_their_bus_go_and_come_back(client, vm):
    assert change(client, "add/disk/", bus="nvme", size="5G", ro="on").status_code == 302
    (disk,) = vm.disks.filter(index=1)
    assert (disk.bus, disk.size, disk.options, disk.slot) == ("nvme", 5 * 2**30, {"ro": True}, "0:5:0")
    assert len(disk.serial) == 12
    assert change(client, "at/0-5-0/", bus="ahci-hd", size="6G", ro=None).status_code == 302
    disk.refresh_from_db()
    assert (disk.bus, disk.size, disk.options) == ("ahci-hd", 6 * 2**30, {})
    client.post(f"{URL}unplug/", {"slot": "0:5:0"})
    disk.refresh_from_db()
    assert not disk.is_attached
    assert "disk1" in client.get(URL).content.decode()
    client.post(f"{URL}attach/", {"what": "disk", "index": 1})
    disk.refresh_from_db()
    assert disk.is_attached
    assert disk.slot == "0:5:0"


def test_a_file_is_a_disk_too(client, vm):
    change(client, "add/disk/", backing="file", size="1G")
    assert document()["emulations"][1]["path"] == "/tank/bhype/vms/web1/disk1.img"


def test_a_disk_can_be_of_memory_alone(client, vm):
    change(client, "add/disk/", backing="ram", size="64M")
    entry = document()["emulations"][1]
    assert (entry["device"], entry["ram"]) == ("nvme", 64)
    assert "path" not in entry
    assert vm.disks.count() == 1
    assert change(client, "at/0-5-0/", ram="128").status_code == 302
    assert document()["emulations"][1]["ram"] == 128


def test_paths_of_the_host_are_for_those_who_are_its_root(client, root, vm):
    sent = {"backing": "path", "path": "/dev/zvol/data/old"}
    assert change(client, "add/disk/", **sent).status_code == 422
    assert change(root, "add/disk/", **sent).status_code == 302
    assert vm.disks.get(index=1).host_path == "/dev/zvol/data/old"
    # The owner may unplug it, and everything else of the VM stays his to change.
    assert change(client, "processor/", mem="1G").status_code == 302
    assert change(client, "at/0-5-0/", nocache="on").status_code == 422


def test_ports_on_switches_and_elsewhere(client, root, vm, switch):
    assert change(client, "add/nic/", model="e1000", rate_in="10M").status_code == 302
    nic = vm.nics.get(index=1)
    assert (nic.model, nic.switch, nic.options) == ("e1000", switch, {"rate_in": "10M"})
    mac = nic.mac
    assert change(client, "at/0-11-0/", new_mac="on", link="down").status_code == 302
    nic.refresh_from_db()
    assert nic.mac != mac
    assert nic.options == {"rate_in": "10M", "link": "down"}
    backend = {"switch": "other", "type": "vale", "name": "vale0:1"}
    assert change(client, "at/0-11-0/", **backend).status_code == 422
    assert change(root, "at/0-11-0/", **backend).status_code == 302
    nic.refresh_from_db()
    assert (nic.switch, nic.backend) == (None, "vale0:1")
    assert change(root, "at/0-11-0/", switch="sw-nat").status_code == 302
    nic.refresh_from_db()
    assert (nic.switch, nic.backend) == (switch, "")
    client.post(f"{URL}unplug/", {"slot": "0:11:0"})
    assert vm.nics.count() == 1


def test_an_address_that_two_vms_share_is_said(client, vm):
    assert b"shared with the VM" not in client.get("/vms/web1/hardware/").content
    vm.nics.update(shares_mac=True)
    assert b"shared with the VM" in client.get("/vms/web1/hardware/").content


def test_media_are_put_in_and_ejected(client, root, vm, pool):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    change(client, "add/ahci-cd/", medium=iso.path)
    drive = vm.devices.get()
    assert (drive.iso, drive.slot, drive.options) == (iso, "0:3:0", {})
    client.post(f"{URL}medium/", {"slot": "0:3:0", "path": ""})
    drive.refresh_from_db()
    assert drive.iso is None
    client.post(f"{URL}medium/", {"slot": "0:3:0", "path": iso.path})
    drive.refresh_from_db()
    assert drive.iso == iso
    client.post(f"{URL}medium/", {"slot": "0:3:0", "path": "/etc/master.passwd"})
    drive.refresh_from_db()
    assert drive.iso == iso
    assert change(root, "at/0-3-0/", path="/srv/x.iso").status_code == 302
    drive.refresh_from_db()
    assert (drive.iso, drive.options) == (None, {"path": "/srv/x.iso"})


def test_the_boot_order_goes_up_and_down(client, vm, pool):
    change(client, "add/ahci-cd/")
    change(client, "add/disk/")
    client.post(f"{URL}order/", {"slot": "0:5:0", "move": "up"})
    found = {entry["slot"]: entry.get("bootindex") for entry in document()["emulations"]}
    assert found == {"0:3:0": 0, "0:5:0": 1, "0:4:0": 2, "0:10:0": None}
    assert document()["fwcfg"] == "qemu"
    client.post(f"{URL}order/", {"move": "none"})
    assert not any("bootindex" in entry for entry in document()["emulations"])
    assert "fwcfg" not in document()


def test_a_stale_form_changes_nothing(client, vm):
    page = f"{URL}processor/"
    sent = fields(client.get(page))
    change(client, "processor/", mem="1G")
    answer = client.post(page, sent | {"mem": "3G"})
    assert answer.status_code == 409
    assert document()["mem"] == "1024M"
    client.post(f"{URL}unplug/", {"slot": "0:4:0", "revision": "1"})
    assert len(document()["emulations"]) == 2


@pytest.fixture
def running(vm):
    VM.objects.filter(pk=vm.pk).update(state=VM.State.RUNNING, running=plan.without_secrets(document()))
    vm.refresh_from_db()
    return vm


def test_changes_of_a_running_vm_wait_and_are_put_back_one_by_one(client, running, alice):
    change(client, "processor/", mem="4G")
    change(client, "add/virtio-rnd/")
    page = client.get(URL)
    text = page.content.decode()
    assert [found.path for found in page.context["hardware"].pending] == ["mem", "emulations[0:20:0]"]
    assert "At the next start" in text
    assert "4 GiB" in text
    assert 'class="count"' in text
    assert "2 changes at the next start" in client.get("/vms/").content.decode()
    client.post(f"{URL}revert/", {"path": "mem"})
    assert document()["mem"] == "2048M"
    assert len(document()["emulations"]) == 3
    answer = client.post(f"{URL}revert/", follow=True)
    assert "Put back as it runs." in answer.content.decode()
    assert document()["emulations"] == running.running["emulations"]
    assert "At the next start" not in client.get(URL).content.decode()


def test_what_cannot_be_put_back_is_said(client, running):
    for path in ("nonsense", "mem"):
        answer = client.post(f"{URL}revert/", {"path": path}, follow=True)
        assert "as it runs already" in answer.content.decode()


def test_a_change_by_hand_is_shown_and_taken_over(client, vm):
    found = document() | {"mem": "3072M"}
    VM.objects.filter(pk=vm.pk).update(edited={"digest": "abc", "document": found, "problem": ""})
    text = client.get(URL).content.decode()
    assert "was changed by hand" in text
    assert "3 GiB" in text
    client.post(f"{URL}edited/", {"answer": "take"})
    vm.refresh_from_db()
    assert (vm.memory, vm.edited, vm.file_digest) == (3 * 2**30, None, "abc")
    assert Task.objects.get().operation == "vms.configure"


def test_a_change_by_hand_gives_its_taker_no_more_than_is_his(client, vm):
    found = document() | {"extra_options": ["-G", "1"]}
    VM.objects.filter(pk=vm.pk).update(edited={"digest": "abc", "document": found, "problem": ""})
    answer = client.post(f"{URL}edited/", {"answer": "take"}, follow=True)
    assert "vms.root" in answer.content.decode()
    vm.refresh_from_db()
    assert vm.edited is not None
    client.post(f"{URL}edited/", {"answer": "write"})
    vm.refresh_from_db()
    assert vm.edited is None
    assert "extra_options" not in document()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"name": "db1"}',
        '{"emulations": "x", "graphic": []}',
        '{"cpu": 1e999}',
        '{"emulations": [1, {"device": []}, {"device": "nvme", "slot": {}}]}',
        '{"name": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("save", [False, True])
def test_a_document_that_is_wrong_is_refused_with_all_that_is_wrong(client, vm, text, save):
    before = document()
    answer = client.post("/vms/web1/raw/edit/", {"text": text, **({"save": "1"} if save else {})})
    assert answer.status_code == 422
    assert answer.context["faults"]
    assert document() == before


def test_a_document_is_compared_first_and_saved_then(client, vm):
    page = client.get("/vms/web1/raw/edit/")
    wish = json.loads(page.context["text"])
    assert vm.vnc_password not in page.content.decode()
    wish["mem"] = "1024M"
    sent = {"text": json.dumps(wish), "revision": "1"}
    answer = client.post("/vms/web1/raw/edit/", sent)
    assert [found.path for found in answer.context["changes"]] == ["mem"]
    assert document()["mem"] == "2048M"
    assert client.post("/vms/web1/raw/edit/", sent | {"save": "1"}).status_code == 302
    assert document()["mem"] == "1024M"
    assert document()["graphic"]["password"] == vm.vnc_password
    assert client.post("/vms/web1/raw/edit/", sent | {"save": "1"}).status_code == 409


def test_viewers_see_the_hardware_and_change_nothing(as_user, viewer, vm):
    browser = as_user(viewer)
    text = browser.get(URL).content.decode()
    assert "disk0" in text
    assert "Add device" not in text
    for page in ("processor/", "add/disk/", "at/0-4-0/"):
        assert browser.get(URL + page).status_code == 404
        assert browser.post(URL + page, {}).status_code == 404
    for button in ("unplug", "attach", "forget", "medium", "link", "order", "revert", "edited", "vars"):
        assert browser.post(f"{URL}{button}/", {"slot": "0:4:0"}).status_code == 404
