"""Answers for installers: well-formed, with the settings in them, and where each looks for them."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET

import pytest
import yaml

from bhype import cloudinit
from bhype.cloudinit import HOWTO, Invalid

from .examples import HASH, key

VALUES = {
    "user": "alice", "password_hash": HASH, "ssh_keys": [key(comment="it's \"mine\"")], "timezone": "Europe/Rome",
    "packages": ["vim", "curl"], "scripts": ["#!/bin/sh\necho \"it's done\"\n"],
    "networks": [{"nic": 0, "addresses": ["10.0.0.5/24"], "gateway4": "10.0.0.1", "nameservers": ["10.0.0.1"]}],
}  # fmt: skip


def made(installer: str, text: str = "", **more) -> cloudinit.Answers:
    return cloudinit.answers(
        cloudinit.parse({**VALUES, **more, "installer": installer}), "id-1", "web_1", text
    )


@pytest.mark.parametrize(
    ("installer", "label", "files"),
    [
        ("autoinstall", "cidata", {"user-data", "meta-data"}), ("preseed", "answers", {"preseed.cfg"}),
        ("kickstart", "OEMDRV", {"ks.cfg"}), ("installerconfig", "answers", {"installerconfig"}),
        ("autounattend", "answers", {"autounattend.xml"}),
    ],
)  # fmt: skip
def test_each_finds_its_own(installer, label, files):
    found = made(installer)
    assert (found.label, set(found.files)) == (label, files) and HOWTO[installer]
    text = "".join(found.files.values())
    assert "web-1" in text and "alice" in text and "${" not in text
    assert (HASH in text) is (installer != "autounattend")
    assert cloudinit.iso({name: body.encode() for name, body in found.files.items()}, found.label)


@pytest.mark.parametrize("installer", sorted(HOWTO))
def test_little_is_enough(installer):
    found = cloudinit.answers(cloudinit.parse({"installer": installer}), "id", "vm")
    assert "${" not in "".join(found.files.values())
    assert cloudinit.check_answers(installer, cloudinit.answers_template(installer)) == []


def test_ubuntus_are_yaml_with_the_settings():
    config = yaml.safe_load(made("autoinstall").files["user-data"])["autoinstall"]
    assert config["identity"] == {"hostname": "web-1", "username": "alice", "password": HASH}
    assert config["ssh"]["authorized-keys"] == [key()] and config["ssh"]["allow-pw"] is False
    assert config["network"]["ethernets"]["any"]["addresses"] == ["10.0.0.5/24"] and config["packages"] == [
        "vim",
        "curl",
    ]


def test_debians_are_taken_by_debconf():
    done = subprocess.run(
        ["debconf-set-selections", "--checkonly"], input=made("preseed").files["preseed.cfg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_freebsds_is_two_scripts_that_sh_reads(tmp_path):
    text = made("installerconfig").files["installerconfig"]
    for part in text.split("#!/bin/sh\n", 1):
        subprocess.run(["sh", "-n", "-c", part], check=True)
    assert "PARTITIONS=DEFAULT" in text and 'sysrc ifconfig_DEFAULT="inet 10.0.0.5/24"' in text


def test_the_windows_file_is_xml_whatever_is_said():
    found = made("autounattend", hostname="a-very-long-host-name")
    root = ET.fromstring(found.files["autounattend.xml"])
    names = {element.text for element in root.iter() if element.tag.endswith(("ComputerName", "}Name"))}
    assert names == {"a-very-long-hos", "alice"}


def test_a_text_of_ones_own_has_the_same_words():
    found = made("kickstart", "network --hostname=${hostname}\n# $$5 ${unknown}\n")
    assert found.files["ks.cfg"] == "network --hostname=web-1\n# $5 ${unknown}\n"


@pytest.mark.parametrize(
    ("kind", "text", "word"),
    [
        ("autoinstall",
        "#cloud-config\npackages: [a]\n", "no key autoinstall"),
        ("autoinstall", "autoinstall:", "first line"),
        ("preseed", "d-i netcfg/get_hostname string x\nhello there\n", "owner, question"),
        ("kickstart", "%post\nx\n", "no %end"),
        ("kickstart", "%end\n", "ends nothing"), ("installerconfig", "#!/bin/sh\n", "where is it"),
        ("autounattend", "<a><b></a>", "not XML"), ("autounattend", "<!DOCTYPE x><a/>", "document type"),
        ("kickstart", "text ${hostnam}\n", "no word ${hostnam}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_told(kind, text, word):
    found = cloudinit.check_answers(kind, text)
    assert any(word in str(problem) for problem in found), found


def test_what_would_not_be_xml_is_refused():
    with pytest.raises(Invalid):
        made("autounattend", "<a>${user}<a>")
