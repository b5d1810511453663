"""OVA packages as VirtualBox and VMware write them, ours as others read them, and hostile archives."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vms import packages
from vms.transfer import ova, ova_writer

MIB = 2**20


def read(data: bytes) -> ova.Machine:
    return ova.read(io.BytesIO(data), len(data))


def refused(data: bytes) -> str:
    with pytest.raises(ova.BadOva) as caught:
        read(data)
    return str(caught.value)


def test_what_virtualbox_writes_is_read():
    machine = read(packages.ova(packages.VIRTUALBOX, {"box-disk001.vmdk": b"image"}))
    assert (machine.name, machine.cpus, machine.memory, machine.firmware) == (
        "debian-box",
        2,
        2048 * MIB,
        "uefi",
    )
    (disk,) = machine.disks
    assert (disk.member.name, disk.size, disk.bus) == ("box-disk001.vmdk", 64 * MIB, "ahci-hd")
    assert [(nic.model, nic.network) for nic in machine.nics] == [("e1000", "NAT")]
    assert machine.cds == 1
    assert any("sound" in note for note in machine.notes)


def test_what_vmware_writes_is_read():
    machine = read(packages.ova(packages.VMWARE, {"photon-disk1.vmdk": b"image", "photon-disk2.vmdk": b"x"}))
    assert (machine.name, machine.cpus, machine.cores, machine.memory) == ("photon", 4, 2, 2**31)
    assert [(disk.bus, disk.size) for disk in machine.disks] == [("ahci-hd", 2**34), ("nvme", 2**30)]
    assert [nic.model for nic in machine.nics] == ["virtio-net", "e1000"]
    assert machine.firmware == "csm"
    assert any("SCSI" in note for note in machine.notes)
    document = machine.document(["/dev/zvol/t/disk0", "/dev/zvol/t/disk1"], "sw-nat")
    assert document["cpu"] == {"sockets": 2, "cores": 2, "threads": 1}
    assert document["mem"] == "2048M"
    assert document["bootrom"] == ova.CSM
    assert [entry["device"] for entry in document["emulations"]] == ["ahci-hd", "nvme", "virtio-net", "e1000"]


def test_a_disk_is_extracted_only_when_its_hash_is_right():
    data = packages.ova(packages.VIRTUALBOX, {"box-disk001.vmdk": b"image"}, manifest="SHA256")
    machine, out = read(data), io.BytesIO()
    ova.extract(io.BytesIO(data), machine, machine.disks[0].member, out)
    assert out.getvalue() == b"image"
    bad = data.replace(b"image", b"imagE")
    with pytest.raises(ova.BadOva, match="SHA256 is not that of the manifest"):
        ova.extract(io.BytesIO(bad), read(bad), machine.disks[0].member, io.BytesIO())
    data = packages.ova(packages.VIRTUALBOX, {"box-disk001.vmdk": b"image"}, manifest="SHA1")
    ova.extract(io.BytesIO(data), read(data), read(data).disks[0].member, io.BytesIO())
    assert "is damaged: its SHA1" in refused(data.replace(b"debian box", b"debian bax"))


@pytest.mark.parametrize("href", ["Büro (neu), 1.vmdk", "B%C3%BCro%20%28neu%29%2C%201.vmdk"])
def test_names_in_any_language_are_found_also_written_as_a_url(href):
    name, text = "Büro (neu), 1.vmdk", packages.VIRTUALBOX.replace("box-disk001.vmdk", href)
    machine = read(packages.ova(text, {name: b"image"}, name="Büro", manifest="SHA512"))
    assert (machine.disks[0].member.name, machine.hashes[name][0]) == (name, "sha512")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("SHA256(box.ovf)= abc", "cannot be read"),
        ("MD5(box.ovf)= d41d8cd98f00b204e9800998ecf8427e", "cannot be read"),
        (f"SHA256(other)= {'0' * 64}", "says nothing of its description"),
        (f"SHA256(box.ovf)= {'0' * 64}\nSHA256(box.ovf)= {'1' * 64}", "twice"),
    ],
)
def test_a_manifest_that_says_nothing_sure_is_refused(line, word):
    members = [
        ("box.ovf", packages.VIRTUALBOX.encode()),
        ("box.mf", line.encode()),
        ("box-disk001.vmdk", b"x"),
    ]
    assert word in refused(packages.tar(members))


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("info", "word"),
    [
        (entry("box.ovf", tarfile.SYMTYPE, "/etc/passwd"), "a link"),
        (entry("box.ovf", tarfile.LNKTYPE, "other"), "a link"),
        (entry("dev", tarfile.CHRTYPE), "no plain file"),
        (entry("dev", tarfile.BLKTYPE), "no plain file"),
        (entry("pipe", tarfile.FIFOTYPE), "no plain file"),
        (entry("dir", tarfile.DIRTYPE), "a folder"),
        (entry("/etc/cron.d/x"), "only plain names"),
        (entry("../x"), "only plain names"),
        (entry("a/../../x"), "only plain names"),
        (entry(".hidden"), "only plain names"),
        (entry("a..b"), "only plain names"),
        (entry("a\\b"), "only plain names"),
        (entry("a\nb"), "only plain names"),
        (entry("x" * 150), "long name|only plain names"),
        (entry("BOX.OVF"), "twice"),
    ],
)
def test_archives_with_anything_but_plain_files_are_refused(info, word):
    import re

    data = packages.tar([("box.ovf", packages.VIRTUALBOX.encode()), ("box-disk001.vmdk", b"x")], more=[info])
    assert re.search(word, refused(data))


def test_archives_that_lie_about_sizes_are_refused():
    data = packages.tar([("box.ovf", packages.VIRTUALBOX.encode()), ("box-disk001.vmdk", b"x" * 9000)])
    assert "cut off" in refused(data[: len(data) - 12000])
    assert "not a tar" in refused(b"x" * 2048)
    assert "empty" in refused(b"\0" * 2048)
    assert "empty" in refused(b"")
    assert "more than 128" in refused(packages.tar([(f"f{number}", b"") for number in range(200)]))
    assert "1 MiB" in refused(packages.tar([("box.ovf", b" " * (MIB + 1))]))
    assert "holds none" in refused(packages.tar([("x", b"")]))
    assert "holds 2" in refused(packages.tar([("x.ovf", b""), ("y.ovf", b"")]))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("<Envelope", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Envelope', "document type"),
        ("<Envelope", "<Envelope><Envelope", "not XML"),
        ('href="box-disk001.vmdk"', 'href="../../etc/passwd"', "not in the archive"),
        ('href="box-disk001.vmdk"', 'href="http://127.0.0.1/x"', "not in the archive"),
        ('ovf:fileRef="file1"', "", "is empty"),
        ('ovf:capacity="67108864"', 'ovf:capacity="-1"', "the size of a disk"),
        ('ovf:capacity="67108864"', 'ovf:capacity="99999999999999999999999"', "the size of a disk"),
        ("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>1e9<", "its memory"),
        ("<rasd:VirtualQuantity>2<", "<rasd:VirtualQuantity>0<", "its CPUs"),
        ("MegaBytes", "bytes * 10^9", "counts in"),
        ("</VirtualSystem>", '</VirtualSystem><VirtualSystem ovf:id="b"/>', "several VMs"),
        ("/disk/vmdisk1", "/disk/vmdisk9", "does not describe"),
    ],
)
def test_descriptions_that_lead_elsewhere_are_refused(old, new, word):
    assert old in packages.VIRTUALBOX
    data = packages.ova(packages.VIRTUALBOX.replace(old, new), {"box-disk001.vmdk": b"x"})
    assert word in refused(data)


@given(st.binary(max_size=2000), st.integers(0, 3000))
def test_whatever_comes_is_read_or_refused(noise, place):
    data = bytearray(packages.ova(packages.VIRTUALBOX, {"box-disk001.vmdk": b"x"}))
    data[place : place + len(noise)] = noise
    for raw in (bytes(data), noise):
        try:
            read(raw)
        except ova.BadOva as error:
            assert str(error)


DOCUMENT = {
    "name": "web1",
    "cpu": {"sockets": 1, "cores": 4, "threads": 1},
    "mem": "1536M",
    "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd",
    "emulations": [
        {"device": "nvme", "path": "/a"},
        {"device": "virtio-net", "bridge": "sw-nat", "mac": "58:9c:fc:00:00:01"},
        {"device": "e1000", "bridge": "sw-lan"},
    ],
}


def written(sizes=(5, 7)):
    disks = []
    for number, (size, bus) in enumerate(zip(sizes, ("nvme", "virtio-blk"), strict=True)):
        data = b"d" * size
        digest = hashlib.sha256(data).hexdigest()
        disk = ova_writer.WrittenDisk(f"web1-disk{number}.vmdk", size, 64 * MIB, digest, bus)
        disks.append((disk, data))
    out = io.BytesIO()
    text = ova_writer.envelope(DOCUMENT, [disk for disk, _ in disks])
    ova_writer.write(out, "web1", text, [(disk, io.BytesIO(data)) for disk, data in disks])
    return text, out.getvalue()


def test_what_is_written_is_read_again():
    _, data = written()
    machine = read(data)
    assert (machine.name, machine.cpus, machine.memory, machine.firmware) == ("web1", 4, 1536 * MIB, "uefi")
    assert [(disk.bus, disk.size, disk.member.size) for disk in machine.disks] == [
        ("nvme", 64 * MIB, 5),
        ("virtio-blk", 64 * MIB, 7),
    ]
    assert [(nic.model, nic.network) for nic in machine.nics] == [
        ("virtio-net", "sw-nat"),
        ("e1000", "sw-lan"),
    ]
    for disk in machine.disks:
        ova.extract(io.BytesIO(data), machine, disk.member, None)


def test_what_is_written_is_as_other_tools_expect(tmp_path):
    """Plain tar lists it, sha256sum accepts the manifest, and names and order are those of the OVF specification."""
    text, data = written()
    (tmp_path / "web1.ova").write_bytes(data)
    subprocess.run(["tar", "-xf", "web1.ova"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["tar", "-tf", "web1.ova"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert listed.stdout.split() == ["web1.ovf", "web1.mf", "web1-disk0.vmdk", "web1-disk1.vmdk"]
    lines = (tmp_path / "web1.mf").read_text().splitlines()
    check = "".join(f"{line.partition('= ')[2]}  {line[7 : line.index(')')]}\n" for line in lines)
    subprocess.run(["sha256sum", "-c"], cwd=tmp_path, check=True, input=check.encode(), capture_output=True)
    root = ET.fromstring(text)
    ovf = "{http://schemas.dmtf.org/ovf/envelope/1}"
    assert root.tag == f"{ovf}Envelope"
    assert [child.tag.removeprefix(ovf) for child in root] == [
        "References", "DiskSection", "NetworkSection", "VirtualSystem",
    ]  # fmt: skip
    assert root.find(f"{ovf}References/{ovf}File").get(f"{ovf}href") == "web1-disk0.vmdk"
    rasd = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
    for item in root.iter(f"{ovf}Item"):
        tags = [child.tag for child in item]
        assert tags == sorted(tags)
        assert item.find(f"{rasd}InstanceID").text


def test_disks_of_many_gigabytes_fit_the_archive():
    """Sizes from 8 GiB on do not fit tar's eleven octal digits."""
    info = ova_writer._entry("big.vmdk", 10 * 2**30)
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert ova._number(header[124:136]) == 10 * 2**30
