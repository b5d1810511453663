"""What the worker does about DHCP and names: each switch's dnsmasq(8) as it is wanted.

A change is written beside, read by ``dnsmasq --test``, and then takes the old file's place. What a process was started
with is noted after its start, so that whatever a kill leaves undone is seen and done by the next run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import signal
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from django.db import transaction
from pydantic import BaseModel, Field

from bhype.freebsd import dnsmasq, ifconfig, ps
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.ps import Process
from bhype.host import CommandFailed, Host, Watch
from bhype.hosts.models import Host as HostRow
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from network.models import Lease, Switch
from network.switches.wanted import DESCRIPTION

from . import config, parts, wanted, words
from .parts import Files, Service, Unwritable

# Seconds that a dnsmasq has to end.
GRACE = 5.0
INSTALL = "dnsmasq is not installed on this host: pkg install dnsmasq."
TAKEN = (
    "Another service has the ports for names (53) or DHCP (67, 547) of that address. If it is local_unbound, named or"
    " a dnsmasq of this host's own, let it listen at other addresses, or stop it."
)


class Waits(Exception):
    """A service whose switch is not there yet: nothing that the operation could do, and no failure of it."""


def waits(service: Service) -> str:
    return f"{service.interface} is not there with the host's address: DHCP and names wait for the switch."


class EnsureParams(BaseModel):
    """restart: switches whose dnsmasq is started anew in any case: their interface was away."""

    restart: list[str] = Field([], max_length=1000)


@dataclass(frozen=True, slots=True)
class Found:
    """What runs for a switch. pid: of the one process that is meant, None without; strays: others with its file;
    noted: what it was started with, as `digests`."""

    pid: int | None
    strays: tuple[int, ...]
    noted: dict[str, Any]


def digests(files: Files) -> dict[str, str]:
    names = hashlib.sha256(f"{files.hosts}\0{files.names}".encode()).hexdigest()
    return {"conf": hashlib.sha256(files.conf.encode()).hexdigest(), "names": names}


def running(host: Host, switch: str, processes: Iterable[Process]) -> Found:
    """What runs of a switch: the process of its pid file, if it is the dnsmasq of its configuration."""
    path = f"{parts.FOLDER}/{switch}.conf"
    ours = {process.pid for process in processes if dnsmasq.serves(process, path)}
    word = read(host, parts.pid_path(switch)).strip()
    pid = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else 0
    try:
        noted = json.loads(read(host, note_path(switch)) or "{}")
    except ValueError:
        noted = {}
    is_of = isinstance(noted, dict) and noted.get("pid") == pid
    return Found(pid if pid in ours else None, tuple(sorted(ours - {pid})), noted if is_of else {})


def note_path(switch: str) -> str:
    """What the process was started with. One without this note is restarted."""
    return f"{parts.RUN}/{switch}.json"


def read(host: Host, path: str) -> str:
    """The file, "" without one."""
    try:
        return host.read_text(path)
    except FileNotFoundError:
        return ""


def has_interface(service: Service, interfaces: Iterable[Interface]) -> bool:
    """Whether the switch's interface is up with the addresses that dnsmasq is to serve at. Another one of the host, of
    which a row says that it is the switch's, would let guests' DHCP loose on the network behind it."""
    there = next((one for one in interfaces if one.name == service.interface), None)
    if there is None or not there.is_up or there.description != DESCRIPTION + service.switch:
        return False
    has = {ip_interface(address.replace(f"%{there.name}", "")) for address in there.addresses}
    return {ip_interface(one) for one in (service.address, service.address6) if one} <= has


def tell(switch: Switch, state: str, reason: str = "") -> None:
    """Note how the service does, if that is new."""
    reason = reason[:500]
    if (switch.dhcp_state, switch.dhcp_reason) != (state, reason):
        switch.dhcp_state, switch.dhcp_reason = state, reason
        with transaction.atomic():
            Switch.objects.filter(pk=switch.pk).update(dhcp_state=state, dhcp_reason=reason)
            publish(switch.subject, "switches")


@operation(
    "network.ensure_dhcp", title="Apply DHCP and names", right="network.change", lock="network", subject="network"
)  # fmt: skip
def ensure(run: Run, params: EnsureParams) -> None:
    """Make each switch's dnsmasq as it is wanted. May be repeated; one that fails stops no other."""
    host = HostRow.objects.this()
    _make_folders(run.host)
    for name in run.host.listdir(parts.FOLDER):
        if name.endswith((".draft", ".new")):  # what a kill has left
            run.host.unlink(f"{parts.FOLDER}/{name}")
    known = set(Switch.objects.filter(host=host, name__in=params.restart).values_list("name", flat=True))
    for name in filter(parts.is_name, known):
        run.host.unlink(note_path(name))
    processes = run.host.query(ps.processes())
    interfaces = run.host.query(ifconfig.list_interfaces())
    failures = []
    kept = set()
    for one in wanted.of(host):
        if one.service is None:
            tell(one.switch, "off")
            continue
        kept.add(one.switch.name)
        try:
            left_out = _serve(run, one.service, running(run.host, one.switch.name, processes), interfaces)
        except Waits as error:
            tell(one.switch, "failed", str(error))
        except (Unwritable, CommandFailed, OSError, OperationFailed) as error:
            tell(one.switch, "failed", str(error))
            failures.append(f"{one.switch.name}: {error}")
        else:
            tell(one.switch, "running", " ".join([*one.problems, *left_out]))
    for name in strangers(run.host, kept):
        run.stage(f"Ending DHCP and names of {name}")
        _remove(run, name, running(run.host, name, processes))
    if failures:
        raise OperationFailed(" ".join(failures))


def _make_folders(host: Host) -> None:
    """dnsmasq is nobody when it reads hosts and names: it must come to them, whatever the worker's umask is."""
    for folder in (parts.FOLDER, parts.LEASES, parts.RUN):
        host.makedirs(folder)
    for path, more in ((posixpath.dirname(parts.FOLDER), 0o011), (parts.FOLDER, 0o055)):
        place = Path(host.path(path))
        mode = stat.S_IMODE(place.stat().st_mode)
        if mode & more != more:
            place.chmod(mode | more)


def strangers(host: Host, kept: set[str]) -> list[str]:
    """Switches with a configuration that are not to have one."""
    found = {name.removesuffix(".conf") for name in host.listdir(parts.FOLDER) if name.endswith(".conf")}
    return sorted(found - kept)


def _serve(run: Run, service: Service, found: Found, interfaces: list[Interface]) -> tuple[str, ...]:
    """Bring one switch's dnsmasq to what is wanted; returns what was left out. Raises what `ensure` catches."""
    files = config.build(service)
    if not run.host.exists(dnsmasq.PROGRAM):
        raise OperationFailed(INSTALL)
    if not has_interface(service, interfaces):
        _stop(run, service.switch, found)
        raise Waits(waits(service))
    old = read(run.host, service.conf_path)
    if old != files.conf:
        _check(run, service, files)
    for path, text in ((service.hosts_path, files.hosts), (service.names_path, files.names)):
        # Read by dnsmasq when it is nobody any more.
        if read(run.host, path) != text or not run.host.exists(path):
            run.host.write_text(path, text, 0o644)
    if old != files.conf:
        run.host.write_text(service.conf_path, files.conf, 0o644)
        run.host.unlink(_draft(service))
    wanted_digests = digests(files)
    if found.pid is not None and found.noted.get("conf") == wanted_digests["conf"]:
        if found.noted.get("names") != wanted_digests["names"]:
            run.log(f"{service.switch}: names and static leases are read again.")
            _signal(found.pid, signal.SIGHUP)
            _note(run, service.switch, found.pid, wanted_digests)
        for stray in found.strays:
            _end(stray)
        return files.problems
    run.stage(f"Starting DHCP and names of {service.switch}")
    _stop(run, service.switch, found)
    try:
        _start(run, service, wanted_digests)
    except CommandFailed as error:
        if old and old != files.conf:
            _go_back(run, service, old)
        raise OperationFailed(_why(error)) from error
    return files.problems


def _draft(service: Service) -> str:
    return f"{parts.FOLDER}/{service.switch}.draft"


def _check(run: Run, service: Service, files: Files) -> None:
    """Let dnsmasq read the new configuration before it is used; the old one stays where it does not like it."""
    draft = _draft(service)
    run.host.write_text(draft, files.conf, 0o644)
    try:
        run.host.run(dnsmasq.check(draft))
    except CommandFailed as error:
        run.host.unlink(draft)
        raise OperationFailed(
            f"dnsmasq does not accept the new settings, the old ones stay: {error}"
        ) from error


def _start(run: Run, service: Service, marks: dict[str, str]) -> None:
    run.host.run(dnsmasq.start(service.conf_path, parts.pid_path(service.switch)))
    pid = int(read(run.host, parts.pid_path(service.switch)).strip() or 0)
    _note(run, service.switch, pid, marks)


def _go_back(run: Run, service: Service, old: str) -> None:
    """The settings before had a running dnsmasq: they get it back."""
    run.log(f"{service.switch}: the settings before are used again.")
    run.host.write_text(service.conf_path, old, 0o644)
    try:
        _start(run, service, {"conf": hashlib.sha256(old.encode()).hexdigest(), "names": ""})
    except CommandFailed as error:
        run.log(str(error))


def _why(error: CommandFailed) -> str:
    said = error.result.stderr.strip()
    return f"{error} {TAKEN}" if "in use" in said else str(error)


def _note(run: Run, switch: str, pid: int, marks: dict[str, str]) -> None:
    run.host.write_text(note_path(switch), json.dumps({"pid": pid, **marks}), 0o644)


def _stop(run: Run, switch: str, found: Found) -> None:
    for pid in (*found.strays, *([found.pid] if found.pid is not None else [])):
        _end(pid)
    run.host.unlink(note_path(switch))
    run.host.unlink(parts.pid_path(switch))


def _remove(run: Run, switch: str, found: Found) -> None:
    """End what runs for a switch that is gone or wants no service. The configuration goes last: it is what is seen."""
    _stop(run, switch, found)
    if not Switch.objects.filter(host=HostRow.objects.this(), name=switch).exists():
        run.host.unlink(parts.leases_path(switch))
    for ending in ("hosts", "names", "conf"):
        run.host.unlink(f"{parts.FOLDER}/{switch}.{ending}")


def _signal(pid: int, number: int) -> None:
    """The worker and the observer are on the host whose process this is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _end(pid: int) -> None:
    """SIGTERM, and SIGKILL for one that does not listen."""
    try:
        watch = Watch(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(pid, number)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline:
                if watch.ended():
                    return
                time.sleep(0.02)
    finally:
        watch.close()
    raise OperationFailed(f"The dnsmasq with the number {pid} does not end.")


class LeaseParams(BaseModel):
    switch_id: int
    address: str = Field(max_length=45)


def _switch(params: LeaseParams) -> Switch | None:
    return Switch.objects.select_related("host").filter(pk=params.switch_id).first()


@operation(
    "network.release_lease", title="Forget the lease of {address} on {switch}", right="network.change", lock="network",
    target=_switch,
)  # fmt: skip
def release(run: Run, params: LeaseParams) -> None:
    """Take a lease back: dnsmasq knows it no more, and may give the address to somebody else. May be repeated.

    dnsmasq writes its file anew from memory, so it is stopped meanwhile; its guests notice nothing.
    """
    switch = _switch(params)
    if switch is None or not parts.is_name(switch.name):
        raise OperationFailed("The switch is not there any more.")
    path = parts.leases_path(switch.name)
    old = read(run.host, path)
    new = dnsmasq.without(old, words.address(params.address))
    if new != old:
        processes = run.host.query(ps.processes())
        _stop(run, switch.name, running(run.host, switch.name, processes))
        run.host.write_text(path, dnsmasq.without(read(run.host, path), params.address), 0o644)
    with transaction.atomic():
        Lease.objects.filter(switch=switch, address=params.address).delete()
        publish(switch.subject, "leases")
    ensure(run, EnsureParams(restart=[]))
