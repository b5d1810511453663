"""What is in the documents, for each of the two programs."""

from __future__ import annotations

import base64
import subprocess

import pytest
import yaml

from bhype import cloudinit
from bhype.cloudinit import Invalid, Snippet

from .examples import HASH, PORTS, key


def made(snippets=(), **values) -> dict:
    """The documents as data."""
    texts = cloudinit.documents(cloudinit.parse(values), PORTS, "id-1", "web_1", snippets)
    return {name: yaml.safe_load(text) for name, text in texts.items()}


def test_the_guest_is_called_as_the_vm_is_in_letters_that_hosts_have():
    assert made()["meta-data"] == {"instance-id": "id-1", "local-hostname": "web-1"}
    assert made(hostname="db")["user-data"]["hostname"] == "db"
    assert cloudinit.host_name("__") == "vm"


def test_a_user_gets_keys_password_and_sudo():
    config = made(user="alice", password_hash=HASH, ssh_keys=[key()])["user-data"]
    (user,) = config["users"]
    assert user["name"] == "alice" and user["ssh_authorized_keys"] == [key()] and "NOPASSWD" in user["sudo"]
    assert user["passwd"] == HASH and not user["lock_passwd"]
    # Also if the image has the user already, whose "passwd" is not looked at.
    assert config["chpasswd"] == {
        "expire": False,
        "users": [{"name": "alice", "password": HASH, "type": "hash"}],
    }
    # Who has a key needs no password from outside.
    assert (
        config["ssh_pwauth"] is False
        and made(user="a", password_hash=HASH)["user-data"]["ssh_pwauth"] is True
    )


def test_without_a_user_it_is_the_one_of_the_image():
    config = made(password_hash=HASH, ssh_keys=[key()])["user-data"]
    assert "users" not in config and config["password"] == HASH and config["ssh_authorized_keys"] == [key()]


def test_nuageinit_never_makes_its_user_with_the_known_password():
    (user,) = made(kind="nuageinit")["user-data"]["users"]
    assert user["name"] == "freebsd" and user["passwd"] == "*"
    assert made(kind="nuageinit")["user-data"]["ssh_pwauth"] is False


def test_addresses_are_said_in_the_words_of_each():
    port = {
        "nic": 0,
        "addresses": ["10.0.0.5/24", "fd00::5/64"],
        "gateway4": "10.0.0.1",
        "gateway6": "fe80::1",
    }
    linux = made(networks=[port])["network-config"]["ethernets"]["id0"]
    assert linux["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "::/0", "via": "fe80::1"}]
    assert linux["match"] == {"macaddress": "58:9c:fc:00:00:01"} and linux["set-name"] == "eth0"
    freebsd = made(kind="nuageinit", networks=[port])["network-config"]["ethernets"]["id0"]
    assert (
        freebsd["gateway4"] == "10.0.0.1" and "routes" not in freebsd and freebsd["match"] == linux["match"]
    )


def test_a_mac_address_of_digits_stays_a_text():
    found = made(networks=[{"nic": 1, "dhcp": True}])["network-config"]["ethernets"]["id1"]
    assert found["match"]["macaddress"] == "10:11:12:13:14:15" and found["dhcp4"] is True


def test_without_networks_the_guest_does_as_it_does():
    assert set(made()) == {"meta-data", "user-data"}


def test_a_port_that_is_not_there_is_told():
    with pytest.raises(Invalid, match="no network port 7"):
        made(networks=[{"nic": 7, "dhcp": True}])


def test_nuageinit_gives_a_port_one_address_of_a_kind():
    with pytest.raises(Invalid, match="one IPv4"):
        made(kind="nuageinit", networks=[{"nic": 0, "addresses": ["10.0.0.5/24", "10.0.0.6/24"]}])


def test_snippets_come_before_the_vms_own_words():
    snippets = [
        Snippet("user-data", "base", "#cloud-config\npackages: [vim]\ntimezone: UTC\nruncmd: [one]\n"),
        Snippet("script", "setup", "#!/bin/sh\necho two\n"),
    ]
    config = made(
        snippets, packages=["nginx"], user_data="#cloud-config\nruncmd: [three]\ntimezone: Europe/Rome\n"
    )["user-data"]
    assert config["packages"] == ["nginx", "vim"] and config["timezone"] == "Europe/Rome"
    assert config["runcmd"] == ["one", "three", "/root/.seed-01"]
    assert config["write_files"][0]["content"] == "#!/bin/sh\necho two\n"


def test_own_users_are_added_to_the_user_of_the_settings():
    config = made(user="alice", user_data="#cloud-config\nusers: default\n")["user-data"]
    assert [user if isinstance(user, str) else user["name"] for user in config["users"]] == [
        "alice",
        "default",
    ]


def test_a_snippet_that_is_wrong_is_named():
    with pytest.raises(Invalid, match="snippet broken: Line 2"):
        made([Snippet("user-data", "broken", "#cloud-config\n\tx")])


def test_own_words_win_over_the_last_message():
    assert made()["user-data"]["final_message"] == cloudinit.applied_text("id-1")
    assert made(user_data="#cloud-config\nfinal_message: hello\n")["user-data"]["final_message"] == "hello"


def test_scripts_for_nuageinit_are_shell_that_makes_and_runs_them(tmp_path):
    script = '#!/bin/sh\necho "it\'s" $((1 + 1)) > OUT\n'.replace("OUT", str(tmp_path / "out"))
    commands = made(kind="nuageinit", scripts=[script])["user-data"]["runcmd"]
    assert len(commands) == 2 and cloudinit.applied_text("id-1") in commands[1]
    subprocess.run(["sh", "-c", commands[0].replace("/root/.seed-01", str(tmp_path / "run"))], check=True)
    assert (tmp_path / "out").read_text() == "it's 2\n" and (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_commands_and_files_for_nuageinit_stand_on_one_line():
    own = "#cloud-config\nruncmd:\n  - [ls, 'a b']\n  - |\n    a\n    b\n"
    own += 'write_files:\n  - {path: /x, content: "a\\n  b\\n"}\n'
    config = made(kind="nuageinit", user_data=own)["user-data"]
    assert all(isinstance(command, str) and "\n" not in command for command in config["runcmd"])
    assert config["runcmd"][0] == "ls 'a b'"
    (file,) = config["write_files"]
    assert file["encoding"] == "b64" and base64.b64decode(file["content"]) == b"a\n  b\n"


def test_secrets_are_hidden_and_for_strangers_what_runs_too():
    own = "#cloud-config\nusers:\n  - {name: bob, plain_text_passwd: hunter2}\nruncmd: [echo topsecret]\n"
    texts = cloudinit.documents(cloudinit.parse({"password_hash": HASH, "user_data": own}), PORTS, "i", "vm")
    shown = cloudinit.without_secrets(texts)["user-data"]
    assert HASH not in shown and "hunter2" not in shown and "topsecret" in shown
    assert "topsecret" not in cloudinit.without_secrets(texts, bodies=False)["user-data"]
