"""Settings as people could write them, for hypothesis."""

from __future__ import annotations

import base64
import struct

from hypothesis import strategies as st

from bhype import cloudinit
from bhype.cloudinit import Port, Snippet

HASH = cloudinit.hash_password("correct horse", "saltsalt")
PORTS = [Port(0, "58:9C:FC:00:00:01"), Port(1, "10:11:12:13:14:15"), Port(4, "58:9c:fc:00:00:04")]
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
DOMAINS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


def key(seed: bytes = b"\1" * 32, comment: str = "") -> str:
    """A public key that ssh-keygen would take."""
    name = b"ssh-ed25519"
    blob = struct.pack(">I", len(name)) + name + struct.pack(">I", 32) + seed
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}".strip()


KEYS = st.builds(
    key,
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["", "alice@desk", 'it\'s: a "key" # really', "ключ"]),
)
TEXTS = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Co", "Cn", "Zl", "Zp")), max_size=60).filter(
    lambda text: text.isprintable()
)
SCRIPTS = st.lists(TEXTS, max_size=4).map(lambda lines: "#!/bin/sh\n" + "\n".join(lines))


@st.composite
def network(draw: st.DrawFn, nic: int) -> dict:
    servers = draw(
        st.lists(st.sampled_from(["1.1.1.1", "10.0.0.1", "fd00::53", "2001:db8::1"]), unique=True, max_size=3)
    )
    found = {"nic": nic, "nameservers": servers, "search": draw(st.lists(DOMAINS, max_size=2))}
    if draw(st.booleans()):
        return {**found, "dhcp": True}
    subnet, host = draw(st.integers(0, 255)), draw(st.integers(2, 254))
    addresses = draw(
        st.lists(
            st.sampled_from([f"10.9.{subnet}.{host}/24", f"fd00:{subnet:x}::{host:x}/64"]),
            min_size=1,
            unique=True,
        )
    )
    found |= {"dhcp": False, "addresses": addresses}
    if draw(st.booleans()) and "." in addresses[0]:
        found["gateway4"] = f"10.9.{subnet}.1"
    if draw(st.booleans()) and any(":" in each for each in addresses):
        found["gateway6"] = draw(st.sampled_from(["fe80::1", f"fd00:{subnet:x}::1"]))
    return found


USER_DATA = st.sampled_from(
    [
        "", "#cloud-config\n", "#!/bin/sh\necho own\n", "#cloud-config\nruncmd:\n  - echo a\n  - [ls, -l, \"it's\"]\n",
        "#cloud-config\nusers:\n  - default\n  - name: bob\n    ssh_authorized_keys: [" + repr(key()) + "]\n",
        "#cloud-config\nusers: default\nssh_pwauth: true\n", "#cloud-config\npackages: [nginx, [redis, '5']]\n",
        "#cloud-config\nwrite_files:\n  - path: /etc/motd\n    content: |\n      a\n        b: c\n",
        "#cloud-config\nbootcmd: [date]\nntp:\n  servers: [ntp.example.org]\ngrowpart: {mode: auto, devices: [/]}\n",
        "#cloud-config\nhostname: other\nfinal_message: done\npower_state: {mode: poweroff}\n",
        "#cloud-config\nchpasswd:\n  expire: false\n  users:\n    - {name: bob, password: x, type: text}\n",
    ]
)  # fmt: skip
SNIPPETS = st.lists(
    st.one_of(
        USER_DATA.filter(lambda text: text.startswith("#cloud")).map(
            lambda text: Snippet("user-data", "piece", text)
        ),
        SCRIPTS.map(lambda text: Snippet("script", "run", text)),
    ),
    max_size=3,
)


@st.composite
def values(draw: st.DrawFn, kinds: tuple[str, ...] = ("cloud-init", "nuageinit")) -> dict:
    """As VM.cloud_init has them."""
    nics = draw(st.lists(st.sampled_from([0, 1, 4]), unique=True, max_size=3))
    found = {
        "kind": draw(st.sampled_from(kinds)),
        "user": draw(st.sampled_from(["", "alice", "debian", "freebsd", "web_1"])),
        "password_hash": draw(st.sampled_from(["", HASH])),
        "ssh_keys": draw(st.lists(KEYS, max_size=3)),
        "hostname": draw(st.one_of(st.just(""), NAMES)),
        "fqdn": draw(st.one_of(st.just(""), DOMAINS)),
        "networks": [draw(network(nic)) for nic in nics],
        "user_data": draw(USER_DATA),
        "scripts": draw(st.lists(SCRIPTS, max_size=2)),
        "packages": draw(
            st.lists(st.sampled_from(["nginx", "g++", "python3.11", "redis=5:7.0"]), max_size=3)
        ),
        "timezone": draw(st.sampled_from(["", "UTC", "Europe/Rome", "Etc/GMT+5"])),
        "locale": draw(st.sampled_from(["", "en_US.UTF-8", "C"])),
        "shell": draw(st.sampled_from(["", "/bin/zsh"])),
        "eject": draw(st.booleans()),
    }
    return {key: value for key, value in found.items() if value or draw(st.booleans())}
