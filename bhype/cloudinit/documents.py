"""The three documents of a NoCloud seed, for cloud-init or for nuageinit.

What differs (freebsd/cloudinit.md 3, 4, 7; libexec/nuageinit): nuageinit takes commands as texts only, knows gateways
but no routes, no set-name is needed, its users have a blank password unless they are given another, and its older
YAML reader knows neither escapes nor nested blocks.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from . import userdata
from .keys import BODIES, SECRET_KEYS
from .settings import HIDDEN, NUAGEINIT, Invalid, Network, Problem, Settings, Snippet

Config = dict[str, Any]
Documents = dict[str, str]
META_DATA, USER_DATA, NETWORK_CONFIG = "meta-data", "user-data", "network-config"
# Everything runs from here, once: root's own folder, on every system.
SCRIPT = "/root/.seed-{number:02}"
FREEBSD_USER = "freebsd"
NO_PASSWORD = "*"  # noqa: S105  (in the place of a hash: no password fits)


@dataclass(frozen=True, slots=True)
class Port:
    """A network port of the VM. index: its number, mac: its address."""

    index: int
    mac: str


def documents(
    settings: Settings,
    ports: Sequence[Port],
    instance_id: str,
    name: str,
    snippets: Iterable[Snippet] = (),
) -> Documents:
    """The files of the seed by name.

    instance_id: a new one makes the guest take itself for a new one; name: the VM's, which becomes the host name
    unless the settings have one; snippets: put before the VM's own user-data. Raises Invalid, where a snippet's
    problem has the field "snippets"."""
    hostname = settings.hostname or host_name(name)
    found = {
        META_DATA: _yaml({"instance-id": instance_id, "local-hostname": hostname}),
        USER_DATA: userdata.HEADER + "\n" + _yaml(_user_data(settings, instance_id, hostname, snippets)),
    }
    if settings.networks:
        found[NETWORK_CONFIG] = _yaml(_network_config(settings, ports))
    return found


def host_name(name: str) -> str:
    """The name of a VM as that of a host: letters, digits and hyphens (RFC 1123)."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:63].strip("-") or "vm"


def applied_text(instance_id: str) -> str:
    """What the guest writes on its console when all has been done."""
    return f"seed {instance_id} applied"


# user-data


def _user_data(settings: Settings, instance_id: str, hostname: str, snippets: Iterable[Snippet]) -> Config:
    scripts: list[str] = []
    config = _freebsd_base(settings) if settings.kind == NUAGEINIT else _linux_base(settings)
    config["hostname"] = hostname
    if settings.fqdn:
        config["fqdn"] = settings.fqdn
    if settings.timezone:
        config["timezone"] = settings.timezone
    if settings.packages:
        config |= {"package_update": True, "packages": list(settings.packages)}
    pieces = [(each.text, f"snippet {each.name}") for each in snippets]
    for text, where in [*pieces, (settings.user_data, "")]:
        if userdata.is_script(text):
            scripts.append(text)
        else:
            config = userdata.merge(config, _loaded(text, where))
    scripts += [script for script in settings.scripts if script]
    return _with_scripts(config, scripts, settings.kind, instance_id)


def _loaded(text: str, where: str) -> Config:
    try:
        return userdata.load(text)
    except Invalid as invalid:
        if not where:
            raise
        raise Invalid(
            Problem("snippets", f"{where}: {problem}", problem.line) for problem in invalid.problems
        ) from invalid


def _linux_base(settings: Settings) -> Config:
    config: Config = {"manage_etc_hosts": True}
    keys, secret = list(settings.ssh_keys), settings.password_hash
    if settings.locale:
        config["locale"] = settings.locale
    if settings.user:
        user: Config = {
            "name": settings.user,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "shell": settings.shell or "/bin/bash",
            "lock_passwd": not secret,
        }
        if keys:
            user["ssh_authorized_keys"] = keys
        if secret:
            user["passwd"] = secret
            # Also of a user that the image has already.
            account = {"name": settings.user, "password": secret, "type": "hash"}
            config["chpasswd"] = {"expire": False, "users": [account]}
        config["users"] = [user]
    else:
        if keys:
            config["ssh_authorized_keys"] = keys
        if secret:
            config |= {"password": secret, "chpasswd": {"expire": False}}
    if secret or keys:
        config["ssh_pwauth"] = not keys
    return config


def _freebsd_base(settings: Settings) -> Config:
    """Without a user nuageinit makes one called freebsd, with the password freebsd."""
    name = settings.user or FREEBSD_USER
    secret = settings.password_hash or NO_PASSWORD
    user: Config = {
        "name": name,
        "gecos": name,
        "homedir": f"/home/{name}",
        "groups": "wheel",
        "shell": settings.shell or "/bin/sh",
        "passwd": secret,
        "sudo": "ALL=(ALL) NOPASSWD: ALL",
        "doas": "permit nopass %u",
    }
    if settings.ssh_keys:
        # The older YAML reader has no quotes inside quotes; they can only be in a comment.
        keys = settings.ssh_keys
        user["ssh_authorized_keys"] = [" ".join(key.split()[:2]) if "'" in key else key for key in keys]
    config: Config = {
        "users": [user],
        "ssh_pwauth": bool(settings.password_hash) and not settings.ssh_keys,
    }
    if settings.password_hash:
        # The key is "user" in nuageinit(7) and "name" in its source.
        account = {"name": name, "user": name, "password": secret}
        config["chpasswd"] = {"expire": False, "users": [account]}
    return config


def _with_scripts(config: Config, scripts: list[str], kind: str, instance_id: str) -> Config:
    """The scripts run after everything else, one after the other, also when one fails."""
    config = dict(config)
    paths = [SCRIPT.format(number=number) for number in range(1, len(scripts) + 1)]
    commands = list(config.get("runcmd") or ())
    if kind == NUAGEINIT:
        commands = [_one_line(command) for command in commands]
        if config.get("write_files"):
            config["write_files"] = [_coded(file) for file in config["write_files"]]
        for path, script in zip(paths, scripts, strict=True):
            commands.append(
                f"echo {_base64(_ended(script))} | openssl base64 -d -A > {path} && chmod 700 {path} && {path}"
            )
        commands.append(f"echo {applied_text(instance_id)} > /dev/console")
    else:
        files = [
            {"path": path, "permissions": "0700", "content": _ended(script)}
            for path, script in zip(paths, scripts, strict=True)
        ]
        if files:
            config["write_files"] = [*(config.get("write_files") or ()), *files]
        commands += paths
        config.setdefault("final_message", applied_text(instance_id))
    if commands:
        config["runcmd"] = commands
    return config


def _one_line(command: Any) -> str:
    """nuageinit puts commands into a shell script as they are, and has no lists of words."""
    if isinstance(command, list):
        return shlex.join(str(word) for word in command)
    text = str(command)
    return f"echo {_base64(text)} | openssl base64 -d -A | sh" if "\n" in text or "'" in text else text


def _coded(file: Any) -> Any:
    """A file whose content has several lines, in one."""
    content = file.get("content") if isinstance(file, dict) else None
    if not isinstance(content, str) or "\n" not in content or "encoding" in file:
        return file
    return {**file, "content": _base64(content), "encoding": "b64"}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


# network-config


def _network_config(settings: Settings, ports: Sequence[Port]) -> Config:
    by_index = {port.index: port for port in ports}
    missing = [network.nic for network in settings.networks if network.nic not in by_index]
    if missing:
        raise Invalid([Problem("networks", f"The VM has no network port {missing[0]}.")])
    write = _freebsd_port if settings.kind == NUAGEINIT else _linux_port
    return {
        "version": 2,
        "ethernets": {f"id{each.nic}": write(each, by_index[each.nic]) for each in settings.networks},
    }


def _port(network: Network, port: Port) -> Config:
    """nuageinit compares addresses in small letters."""
    found: Config = {"match": {"macaddress": port.mac.lower()}, "dhcp4": network.dhcp}
    if network.addresses:
        found["addresses"] = list(network.addresses)
    servers: Config = {}
    if network.nameservers:
        servers["addresses"] = list(network.nameservers)
    if network.search:
        servers["search"] = list(network.search)
    return {**found, "nameservers": servers} if servers else found


def _linux_port(network: Network, port: Port) -> Config:
    found = {**_port(network, port), "set-name": f"eth{network.nic}"}
    routes = [
        {"to": to, "via": via}
        for to, via in (("0.0.0.0/0", network.gateway4), ("::/0", network.gateway6))
        if via
    ]
    return {**found, "routes": routes} if routes else found


def _freebsd_port(network: Network, port: Port) -> Config:
    for version, mark in (("IPv4", "."), ("IPv6", ":")):
        if sum(mark in address for address in network.addresses) > 1:
            raise Invalid([Problem("networks", f"nuageinit gives a port one {version} address.")])
    gateways = {"gateway4": network.gateway4, "gateway6": network.gateway6}
    return {**_port(network, port), **{key: value for key, value in gateways.items() if value}}


# Writing and hiding.


class _Dumper(yaml.SafeDumper):
    """Texts stand in single quotes, which no reader takes for anything else, those of many lines in blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        super().increase_indent(flow, False)  # noqa: FBT003


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else "'")


_Dumper.add_representer(str, _represent_text)


def _yaml(value: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        _keyed(value),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1 << 20,
        default_flow_style=False,
    )
    return text


class _Key(str):
    """The key of a mapping: written without quotes where it needs none."""


def _represent_key(dumper: yaml.SafeDumper, key: _Key) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(key))


_Dumper.add_representer(_Key, _represent_key)


def _keyed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_Key(key) if isinstance(key, str) else key: _keyed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_keyed(each) for each in value]
    return value


def without_secrets(found: Documents, *, bodies: bool = True) -> Documents:
    """The documents for people who look: passwords and keys are hidden, and without ``bodies`` what is run and written,
    too."""
    config = yaml.safe_load(found[USER_DATA]) or {}
    shown = _hidden(config)
    if not bodies:
        shown |= {key: HIDDEN for key in BODIES if key in shown}
    return {**found, USER_DATA: userdata.HEADER + "\n" + _yaml(shown)}


def _hidden(value: Any) -> Any:
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: HIDDEN if key in SECRET_KEYS and isinstance(each, str) and each else _hidden(each)
        for key, each in value.items()
    }
