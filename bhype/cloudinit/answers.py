"""Answers for installers, so that an install medium asks nothing: the same settings in the words of each.

Where each looks (what a person must still do is in `HOWTO`):

autoinstall      Ubuntu 20.04 and later: user-data of a volume labelled cidata; without "autoinstall" on the kernel's
                 command line it asks once before it writes to the disk (canonical-subiquity, autoinstall reference)
preseed          Debian: preseed.cfg, loaded by debconf-set-selections or the boot option preseed/file (Debian
                 Installation Guide, appendix B)
kickstart        Fedora, RHEL and their kin, from 7 on: ks.cfg of a volume labelled OEMDRV (RHEL Installation Guide)
installerconfig  FreeBSD: a script for `bsdinstall script` (bsdinstall(8), SCRIPTING; startbsdinstall)
autounattend     Windows: autounattend.xml in the root of any removable medium (Windows Setup, implicit answer file
                 search order)

A text of one's own has the same ${words} as the built-in ones.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import shlex
import string
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from . import userdata
from .answer_texts import TEXTS
from .documents import NO_PASSWORD, host_name
from .settings import Invalid, Network, Problem, Settings

AUTOINSTALL, PRESEED, KICKSTART = "autoinstall", "preseed", "kickstart"
INSTALLERCONFIG, AUTOUNATTEND = "installerconfig", "autounattend"
FILES = {
    AUTOINSTALL: "user-data",
    PRESEED: "preseed.cfg",
    KICKSTART: "ks.cfg",
    INSTALLERCONFIG: "installerconfig",
    AUTOUNATTEND: "autounattend.xml",
}
LABELS = {AUTOINSTALL: "cidata", KICKSTART: "OEMDRV"}
LABEL = "answers"
HOWTO = {
    AUTOINSTALL: "Start from Ubuntu's server medium. It asks once whether to go on: type yes. It asks nothing if you "
    "add the word autoinstall to the line that begins with linux (key e in its boot menu).",
    PRESEED: "Start from Debian's medium and choose Install (the one in text). At its first question choose Go Back, "
    "then Execute a shell, and type: modprobe -a ahci sr_mod isofs; mount /dev/sr1 /mnt; "
    "debconf-set-selections /mnt/preseed.cfg; exit. From then on it asks nothing.",
    KICKSTART: "Start from the medium. Anaconda finds the answers by itself and asks nothing.",
    INSTALLERCONFIG: "Start from FreeBSD's medium, choose Shell in its first dialog, and type: "
    "mount -t cd9660 /dev/iso9660/answers /mnt; bsdinstall script /mnt/installerconfig; reboot",
    AUTOUNATTEND: "Start from the Windows medium; press a key when it asks for one. Setup finds the answers by itself. "
    "The user has no password and is asked for a new one at the first sign-in.",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """The medium that an installer looks for. files: by name."""

    label: str
    files: dict[str, str]


def answers(settings: Settings, instance_id: str, name: str, text: str = "") -> Answers:
    """The answers for ``settings.installer``. name: the VM's; text: of one's own in place of the built-in ones.

    Raises Invalid."""
    kind = settings.installer
    values = _Values(settings, settings.hostname or host_name(name), kind).all()
    written = string.Template(text or TEXTS[kind]).safe_substitute(values)
    if kind == AUTOUNATTEND:
        # What came out is XML again, whatever was put in.
        _parse_xml(written)
    files = {FILES[kind]: re.sub(r"\n{3,}", "\n\n", written)}
    if kind == AUTOINSTALL:
        files["meta-data"] = f"instance-id: '{instance_id}'\n"
    return Answers(LABELS.get(kind, LABEL), files)


def answers_template(kind: str) -> str:
    """The built-in text, to begin one's own with."""
    return TEXTS[kind]


def words() -> tuple[str, ...]:
    """What may stand in ${...}."""
    return tuple(_Values(Settings(), "vm", KICKSTART).all())


def check_answers(kind: str, text: str, field: str = "text") -> list[Problem]:
    """What is wrong with a text of one's own."""
    found = [
        Problem(field, f"There is no word ${{{name}}}. Known: {', '.join(words())}.", line, is_warning=True)
        for line, name in _unknown(text)
    ]
    if kind == AUTOINSTALL:
        found += userdata.check(_filled(text), field=field)
        if not found and "autoinstall" not in userdata.load(_filled(text)):
            found.append(Problem(field, "It has no key autoinstall."))
    elif kind == AUTOUNATTEND:
        try:
            _parse_xml(_filled(text))
        except Invalid as invalid:
            found += [Problem(field, str(problem), problem.line) for problem in invalid.problems]
    elif kind == PRESEED:
        found += _preseed_faults(text, field)
    elif kind == KICKSTART:
        found += _kickstart_faults(text, field)
    elif kind == INSTALLERCONFIG and "PARTITIONS" not in text and "ZFSBOOT_DISKS" not in text:
        found.append(Problem(field, "It says neither PARTITIONS nor ZFSBOOT_DISKS: where is it to install?"))
    return found


def _unknown(text: str) -> Iterator[tuple[int, str]]:
    known = set(words())
    for number, line in enumerate(text.split("\n"), 1):
        yield from (
            (number, name) for name in re.findall(r"(?<!\$)\$\{([a-z_]+)\}", line) if name not in known
        )


def _filled(text: str) -> str:
    return string.Template(text).safe_substitute(dict.fromkeys(words(), ""))


def _parse_xml(text: str) -> None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Invalid([Problem("text", "It has a document type; leave it out.")])
    try:
        ET.fromstring(text)  # noqa: S314  (without entities there is nothing to expand)
    except ET.ParseError as error:
        raise Invalid([Problem("text", f"This is not XML: {error}.", error.position[0])]) from error


def _preseed_faults(text: str, field: str) -> Iterator[Problem]:
    """Each line is OWNER QUESTION TYPE VALUE; a backslash at the end goes on in the next."""
    types = {
        "string",
        "boolean",
        "select",
        "multiselect",
        "note",
        "password",
        "text",
        "title",
        "error",
        "seen",
    }
    is_more = False
    for number, line in enumerate(text.split("\n"), 1):
        words_ = line.split(None, 3)
        if words_ and not is_more and not line.lstrip().startswith(("#", "$")) and (
            len(words_) < 3 or "/" not in words_[1] or words_[2] not in types
        ):  # fmt: skip
            yield Problem(
                field,
                "A line is: owner, question, type, value, as d-i netcfg/get_hostname string web1.",
                number,
            )
        is_more = line.endswith("\\")


def _kickstart_faults(text: str, field: str) -> Iterator[Problem]:
    opened: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        word = line.split(None, 1)[0] if line.strip() else ""
        if word in {"%packages", "%pre", "%post", "%addon", "%anaconda", "%onerror", "%pre-install"}:
            opened.append(number)
        elif word == "%end":
            if not opened:
                yield Problem(field, "%end ends nothing.", number)
            opened = opened[:-1]
    if opened:
        yield Problem(field, "This section has no %end.", opened[-1])


class _Values:
    """What stands for the ${words}, in the words of one installer."""

    def __init__(self, settings: Settings, hostname: str, kind: str) -> None:
        self.settings, self.hostname, self.kind = settings, hostname, kind
        self.user = settings.user or "admin"
        self.network = settings.networks[0] if settings.networks else Network(0)

    def all(self) -> dict[str, str]:
        settings, network = self.settings, self.network
        address = next((ipaddress.ip_interface(each) for each in network.addresses if "." in each), None)
        plain = {
            "hostname": self.hostname,
            "computer": self.hostname[:15].strip("-"),  # the longest name of Windows
            "fqdn": settings.fqdn or self.hostname,
            "user": self.user,
            "password_hash": settings.password_hash or NO_PASSWORD,
            "ssh_keys": "\n".join(self._keys()),
            "timezone": settings.timezone or "UTC",
            "locale": settings.locale or "en_US.UTF-8",
            "packages": " ".join(settings.packages),
            "address": str(address.ip) if address else "",
            "prefix": str(address.network.prefixlen) if address else "",
            "netmask": str(address.netmask) if address else "",
            "gateway": network.gateway4,
            "nameservers": " ".join(network.nameservers),
        }
        made = {
            "network": self._network_lines(plain), "keys": self._key_lines(), "post": self._post(),
            "more_packages": self._package_lines(), "allow_password": str(not settings.ssh_keys).lower(),
        }  # fmt: skip
        found = {**plain, **made}
        return {key: escape(value) for key, value in found.items()} if self.kind == AUTOUNATTEND else found

    def _keys(self) -> list[str]:
        """Type and key alone: a comment could hold quotes."""
        return [" ".join(key.split()[:2]) for key in self.settings.ssh_keys]

    def _key_lines(self) -> str:
        if self.kind == AUTOINSTALL:
            return "".join(f"\n      - '{key}'" for key in self._keys()) or " []"
        if self.kind == KICKSTART:
            return "\n".join(f'sshkey --username={self.user} "{key}"' for key in self._keys())
        return ""

    def _package_lines(self) -> str:
        packages = self.settings.packages
        if self.kind == AUTOINSTALL:
            return "".join(f"\n    - '{name}'" for name in packages) or " []"
        return "\n".join(packages)

    def _network_lines(self, plain: dict[str, str]) -> str:
        writers: dict[str, Callable[[dict[str, str]], str]] = {
            AUTOINSTALL: self._netplan, PRESEED: self._netcfg, KICKSTART: self._kickstart_network,
            INSTALLERCONFIG: self._rc_conf,
        }  # fmt: skip
        return writers[self.kind](plain) if self.kind in writers else ""

    def _netplan(self, plain: dict[str, str]) -> str:
        if not plain["address"]:
            return "\n    version: 2\n    ethernets:\n      any:\n        match: {name: 'e*'}\n        dhcp4: true"
        lines = ["version: 2", "ethernets:", "  any:", "    match: {name: 'e*'}"]
        lines.append(f"    addresses: [{', '.join(repr(each) for each in self.network.addresses)}]")
        if plain["gateway"]:
            lines.append(f"    routes: [{{to: default, via: {plain['gateway']!r}}}]")
        if self.network.nameservers:
            lines.append(
                f"    nameservers: {{addresses: [{', '.join(map(repr, self.network.nameservers))}]}}"
            )
        return "".join(f"\n    {line}" for line in lines)

    def _netcfg(self, plain: dict[str, str]) -> str:
        if not plain["address"]:
            return ""
        values = {
            "disable_autoconfig boolean": "true", "get_ipaddress string": plain["address"],
            "get_netmask string": plain["netmask"], "get_gateway string": plain["gateway"] or "none",
            "get_nameservers string": plain["nameservers"], "confirm_static boolean": "true",
        }  # fmt: skip
        return "\n".join(f"d-i netcfg/{key} {value}" for key, value in values.items())

    def _kickstart_network(self, plain: dict[str, str]) -> str:
        line = f"network --hostname={plain['fqdn']} --activate"
        if not plain["address"]:
            return f"{line} --bootproto=dhcp"
        more = {
            "gateway": plain["gateway"],
            "nameserver": ",".join(self.network.nameservers),
            "ipv6": next((each for each in self.network.addresses if ":" in each), ""),
        }
        given = "".join(f" --{key}={value}" for key, value in more.items() if value)
        return f"{line} --bootproto=static --ip={plain['address']} --netmask={plain['netmask']}{given}"

    def _rc_conf(self, plain: dict[str, str]) -> str:
        lines = []
        for address in self.network.addresses:
            key, word = ("ifconfig_DEFAULT_ipv6", "inet6") if ":" in address else ("ifconfig_DEFAULT", "inet")
            lines.append(f'sysrc {key}="{word} {address}"')
        if not plain["address"]:
            lines.append('sysrc ifconfig_DEFAULT="SYNCDHCP"')
        if plain["gateway"]:
            lines.append(f'sysrc defaultrouter="{plain["gateway"]}"')
        if self.network.gateway6:
            lines.append(f'sysrc ipv6_defaultrouter="{self.network.gateway6}"')
        lines += [f"echo nameserver {server} >> /etc/resolv.conf" for server in self.network.nameservers]
        return "\n".join(lines)

    def _post(self) -> str:
        """What is done in the installed system, as one command."""
        if self.kind == AUTOUNATTEND:
            return ""
        steps = ["set -u", *self._sign_in()]
        for number, script in enumerate((script for script in self.settings.scripts if script), 1):
            coded = base64.b64encode(script.encode()).decode()
            path = f"/root/.seed-{number:02}"
            decode = "openssl base64 -d -A" if self.kind == INSTALLERCONFIG else "base64 -d"
            steps.append(f"echo {coded} | {decode} > {path}; chmod 700 {path}; {path}")
        script = "\n".join(steps) + "\n"
        if self.kind in {KICKSTART, INSTALLERCONFIG}:
            return script
        coded = base64.b64encode(script.encode()).decode()
        return f"echo {coded} | base64 -d | sh"

    def _sign_in(self) -> list[str]:
        home, user = f"/home/{self.user}", self.user
        keys = [f"echo {shlex.quote(key)} >> {home}/.ssh/authorized_keys" for key in self._keys()]
        is_done = self.kind in {AUTOINSTALL, KICKSTART}  # the installer does it
        steps = []
        if keys and not is_done:
            steps = [f"mkdir -p -m 700 {home}/.ssh", *keys, f"chmod 600 {home}/.ssh/authorized_keys"]
            steps.append(f"chown -R {user} {home}/.ssh")
        if self.kind != INSTALLERCONFIG:
            rule = shlex.quote(f"{user} ALL=(ALL) NOPASSWD:ALL")
            steps.append(
                f"mkdir -p /etc/sudoers.d; echo {rule} > /etc/sudoers.d/90-seed; chmod 440 /etc/sudoers.d/90-seed"
            )
        return steps
