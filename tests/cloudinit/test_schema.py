"""The real cloud-init takes every seed that bHype writes."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bhype import cloudinit
from bhype.cloudinit import Invalid

from . import examples, real

IDS = st.uuids().map(lambda value: f"{value}-1")


def made(values: dict, instance_id: str, snippets: list) -> dict[str, str]:
    return cloudinit.documents(cloudinit.parse(values), examples.PORTS, instance_id, "web_1", snippets)


@pytest.fixture(scope="module")
def seeds() -> list[tuple[dict, dict[str, str]]]:
    """Two hundred seeds for cloud-init, with the settings they were made of."""
    found = []

    @settings(max_examples=200)
    @given(examples.values(("cloud-init",)), IDS, examples.SNIPPETS)
    def collect(values, instance_id, snippets):
        found.append((values, made(values, instance_id, snippets)))

    collect()
    return found


def test_cloud_init_accepts_every_seed(seeds):
    texts = [documents["user-data"] for _, documents in seeds]
    answers = real.complaints(texts)
    wrong = [(answer, text) for answer, text in zip(answers, texts, strict=True) if answer]
    assert len(texts) >= 200 and not wrong, wrong[0]


def test_its_own_command_says_so_too(seeds, tmp_path):
    path = tmp_path / "user-data"
    path.write_text(max((documents["user-data"] for _, documents in seeds), key=len))
    done = real.schema(path)
    assert done.returncode == 0 and "Valid cloud-config" in done.stdout, done.stdout + done.stderr


def test_the_check_finds_what_is_wrong():
    assert real.complaints(["#cloud-config\nruncmd: 5\n", "runcmd: [a]\n", "#cloud-config\n{}\n"]) == [
        "Cloud config schema errors: runcmd: 5 is not of type 'array'", "no header", "",
    ]  # fmt: skip


def test_answers_for_ubuntu_are_accepted_as_well():
    values = {
        "user": "alice",
        "password_hash": examples.HASH,
        "installer": "autoinstall",
        "ssh_keys": [examples.key()],
    }
    found = cloudinit.answers(cloudinit.parse(values), "id", "web1").files["user-data"]
    assert real.complaints([found]) == [""]


@given(examples.values(), IDS, examples.SNIPPETS)
@settings(max_examples=100)
def test_all_documents_are_yaml_and_made_of_the_same_settings_they_are_the_same(
    values, instance_id, snippets
):
    try:
        documents = made(values, instance_id, snippets)
    except Invalid:
        assert values["kind"] == "nuageinit"  # which gives a port one address of a kind
        return
    assert documents == made(values, instance_id, snippets)
    assert yaml.safe_load(documents["meta-data"])["instance-id"] == instance_id
    assert documents["user-data"].startswith("#cloud-config\n")
    config = yaml.safe_load(documents["user-data"])
    assert isinstance(config, dict)
    for network in values.get("networks", ()):
        ports = yaml.safe_load(documents["network-config"])["ethernets"]
        mac = next(port.mac for port in examples.PORTS if port.index == network["nic"])
        assert ports[f"id{network['nic']}"]["match"] == {"macaddress": mac.lower()}
    hidden = "".join(cloudinit.without_secrets(documents).values())
    assert examples.HASH not in hidden
