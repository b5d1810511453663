"""What is refused, and that nothing is evaluated."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.foreign import FORMATS, Imported, Unreadable, detect, read

DOMAIN = "<domain type='bhyve'><name>a</name><memory>65536</memory><devices/></domain>"


def refused(format: str, text: str) -> str:
    with pytest.raises(Unreadable) as caught:
        read(format, text)
    return str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_refuses_what_is_too_large_binary_or_empty(format):
    assert "larger than 1 MiB" in refused(format, "a" * (1 << 20) + "a")
    assert "larger than 1 MiB" in refused(format, "\u00e4" * ((1 << 19) + 1))
    assert "not text" in refused(format, "\x7fELF\x00")
    assert "not text" in refused(format, "\ud800")
    assert "empty" in refused(format, " \n\t")


ENTITIES = """<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;">]>
<domain type='bhyve'><name>&b;</name></domain>"""
FILES = """<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain><name>&a;</name></domain>"""
OUTSIDE = """<!DOCTYPE domain SYSTEM "http://127.0.0.1/x.dtd"><domain/>"""


@pytest.mark.parametrize("text", [ENTITIES, FILES, OUTSIDE])
def test_xml_with_a_document_type_is_refused(text):
    assert "document type" in refused("libvirt", text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<domain>", "not XML"),
        ("<network/>", "not a libvirt domain"),
        ("<a>" * 100 + "</a>" * 100, "nested too deeply"),
        ("<domain>" + "<a/>" * 30_000 + "</domain>", "too long"),
        ("<domain><name>&undefined;</name></domain>", "not XML"),
    ],
)
def test_xml_that_is_no_domain_is_refused(text, why):
    assert why in refused("libvirt", text)


def test_the_declared_encoding_does_not_matter():
    described = DOMAIN.replace("<name>a", "<description>ä</description><name>a")
    text = f"<?xml version='1.0' encoding='iso-8859-1'?>{described}"
    assert read("libvirt", text).about.description == "ä"


@pytest.mark.parametrize("format", ["vmrun", "hoster-core"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested too deeply"),
        ("[1]", "not a JSON object"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("{'a': 1}", "not JSON"),
    ],
)
def test_json_that_is_none_or_too_deep_is_refused(format, text, why):
    assert why in refused(format, text)


@pytest.mark.parametrize(
    "line",
    [
        "bhyve -c $(id) a",
        "bhyve -c `id` a",
        "bhyve -m ${MEM} a",
        "bhyve -m $MEM a",
        "(bhyve -c 1 a)",
        "f() { bhyve -c 1 a; }",
    ],
)
def test_a_command_that_a_shell_would_have_to_evaluate_is_refused(line):
    assert "A shell would have to evaluate this" in refused("bhyve", line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ls -l", "no bhyve command"),
        ("bhyve -c 'a", "quotation does not end"),
        ("bhyve -Z a", "no such option"),
        ("bhyve -c 1", "one VM's name"),
        ("bhyve -c 1 a b", "one VM's name"),
        ("bhyve -c", "no such option"),
    ],
)
def test_a_command_that_bhyve_would_refuse_is_refused(line, why):
    assert why in refused("bhyve", line)


def problems(format: str, text: str) -> str:
    return " | ".join(f"{one.where}: {one.what}" for one in read(format, text).problems)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("bhyve -k /etc/other a", "the file /etc/other of -k is not at hand"),
        ("bhyve -s 99,virtio-rnd a", "functions 0 to 7"),
        ("bhyve -s nonsense a", "not a device in a slot"),
        ("bhyve -s 4,virtio-rnd -s 4,virtio-rnd a", "0:4:0 virtio-rnd: The slot is taken"),
        ("bhyve -c cpus=4,cores=4 a", "4 sockets, 4 cores, 1 threads are not 4 CPUs"),
        ("bhyve -c x a", "not a number of cpus"),
        ("bhyve -m lots a", "is not a size"),
        ("bhyve -o acpi_tables=perhaps a", "not true or false"),
        ("bhyve -s 5,virtio-blk,/a%b a", "does not take literally"),
        ("bhyve -l com1,/etc/passwd a", "is not a serial line"),
        ("bhyve -l bootrom,/x -s 6,passthru,1/0/0 a", "memory wired"),
    ],
)
def test_what_cannot_run_is_a_problem_with_its_place(line, why):
    assert why in problems("bhyve", line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('memory="$(rm -rf /)"', "is not evaluated"),
        ('disk0_name="`id`.img"\ndisk0_type="virtio-blk"', "is not evaluated"),
        ('loader="lilo"', "none that vm-bhyve knows"),
        ("cpu=many", "not a number"),
        ('cpu=4\ncpu_cores="3"', "are not 4 CPUs"),
        ('memory="much"', "is not a size"),
        ('comports="com9"', "not a serial port"),
        ('loader="uefi"\ngraphics="yes"\ngraphics_res="huge"', "not a size such as 1024x768"),
        ('disk0_type="virtio-blk"\ndisk0_dev="iscsi"\ndisk0_name="tgt/0"', "iSCSI"),
        ('disk0_type="floppy"\ndisk0_name="a"', "not a device that can be emulated"),
        ('bhyve_options="\'"', "a quotation does not end"),
        ('passthru0="a/b/c"', "not a PCI slot"),
    ],
)
def test_a_wrong_line_of_vm_bhyve_is_a_problem_and_never_run(line, why):
    assert why in problems("vm-bhyve", line)


def test_a_line_that_is_no_key_and_value_is_refused():
    assert "Line 2 is not key" in refused("vm-bhyve", 'cpu=1\nrm -rf / "x"\n')
    assert "Line 1 is not a variable" in refused("bhyve-config", " name=a\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cpu_cores": "two"}, "not a number"),
        ({"memory": "lots"}, "not a size"),
        ({"loader": "lilo", "live_status": ["prod"]}, "neither uefi nor bios"),
        ({"vnc_resolution": 12}, "not one of 1 to 9"),
        ({"networks": "internal"}, "is no list"),
        ({"disks": ["disk0.img"]}, "no JSON object"),
        ({"disks": [{"disk_type": "floppy", "disk_image": "a"}]}, "not a device that can be emulated"),
        ({"passthru": ["x"]}, "not a device of the host"),
        ({"passthru": ["43/0/12"]}, "functions 0 to 7"),
        ({"uuid": "me"}, "not a UUID"),
        ({"networks": [{"network_mac": "01:00:00:00:00:00"}]}, "not a unicast MAC"),
    ],
)
def test_a_wrong_value_of_hoster_core_is_a_problem(change, why):
    source = {"cpu_cores": 1, "memory": "1G", "vnc_port": 5900, "disks": [], "networks": [], **change}
    assert why in problems("hoster-core", json.dumps(source))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("<os><type arch='aarch64'>hvm</type></os>", "bHype runs amd64"),
        ("<vcpu>2</vcpu><cpu><topology sockets='1' cores='3' threads='1'/></cpu>", "are not 2 CPUs"),
        ("<cputune><vcpupin vcpu='0' cpuset='a'/></cputune>", "not a list of CPUs"),
        ("<bootloader>/usr/bin/lilo</bootloader>", "neither bhyveload nor grub-bhyve"),
        (
            "<bootloader>/usr/sbin/bhyveload</bootloader><bootloader_args>-e 'a=b</bootloader_args>",
            "a quotation does not end",
        ),
        (
            "<devices><disk type='network'><source protocol='rbd' name='a'/>"
            "<target dev='vda' bus='virtio'/></disk></devices>",
            "no disks over the network",
        ),
        (
            "<devices><hostdev type='pci'><source>"
            "<address domain='1' bus='2' slot='3' function='0'/></source></hostdev></devices>",
            "PCI domain 0 only",
        ),
    ],
)
def test_a_domain_that_bhyve_cannot_run_has_problems(part, why):
    assert why in problems("libvirt", f"<domain><name>a</name><memory>65536</memory>{part}</domain>")


def test_a_text_of_no_format_is_not_guessed():
    with pytest.raises(Unreadable, match="none of the formats"):
        detect("Dear administrator,\nplease run my VM.\n")
    with pytest.raises(Unreadable, match="empty"):
        detect("")


_NUMBERS = ("²", "8²0", "٣", "9" * 5000)


@pytest.mark.parametrize("number", _NUMBERS)
def test_digits_that_are_no_number_are_a_problem(number):
    for line in (
        f"bhyve -c 1 -m {number} a",
        f"bhyve -c {number} -m 1G a",
        f"bhyve -c 1 -m 1G -s 3,fbuf,tcp=127.0.0.1:{number},w={number} a",
        f"bhyve -c 1 -m 1G -s 3,virtio-blk,/a,bootindex={number} a",
    ):
        assert problems("bhyve", line)
    for line in (f'disk0_type="nvme"\ndisk0_name="a"\ndisk0_opts="maxq={number}"', f'limit_rbps="{number}"'):
        assert problems("vm-bhyve", line)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    for format in FORMATS:
        try:
            assert isinstance(read(format, text), Imported)
        except Unreadable as refused:
            assert str(refused).endswith(".")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_WORDS = """name cpu mem emulations graphic com1 targets loader tpm limits restart fw_cfg options pinning device path
    ports cpu_cores cpu_sockets vnc_port vnc_password memory disks networks passthru 9p_shares custom_options tags"""
_KEYS = st.sampled_from(_WORDS.split())


@given(st.dictionaries(_KEYS, _JSON | st.lists(st.dictionaries(_KEYS, _JSON), max_size=3), max_size=8))
def test_any_json_object_is_read_with_its_problems(source):
    for format in ("vmrun", "hoster-core"):
        assert isinstance(read(format, json.dumps(source)), Imported)


_LINE_KEYS = """loader cpu memory disk0_type disk0_name disk0_opts disk0_dev network0_type passthru0 start_slot
    comports graphics graphics_res bhyve_options ahci_device_limit grub_run0 virt_console0 priority limit_rbps"""
_LINE_VALUES = "uefi grub yes 1 999 -1 virtio-blk ahci-hd a,b=c -s 1/2/3=4 1x1"
_LINES = st.lists(
    st.tuples(st.sampled_from(_LINE_KEYS.split()), st.sampled_from(_LINE_VALUES.split())), max_size=12
)


@given(_LINES)
def test_any_lines_of_vm_bhyve_are_read_with_their_problems(pairs):
    text = "".join(f'{key}="{value}"\n' for key, value in pairs) or "cpu=1"
    assert isinstance(read("vm-bhyve", text), Imported)
