"""Settings of the kernel that a person has asked bHype to keep, over boots: /var/db/bhype/pf/sysctls.json.

They are not written to /etc/sysctl.conf: whoever takes bHype off a host has its old settings after the next boot.
"""

from __future__ import annotations

import json

from bhype.freebsd import sysctl
from bhype.host import Host as Machine
from bhype.tasks import Run

from .loaded import FOLDER

# What pf must be asked on a bridge: its packets, by which port they come, and those for the host, too.
PFIL = ("net.link.bridge.pfil_bridge", "net.link.bridge.pfil_member", "net.link.bridge.pfil_local_phys")
_PATH = f"{FOLDER}/sysctls.json"


def kept(machine: Machine) -> dict[str, str]:
    """By name; only those that bHype ever sets."""
    try:
        stored = json.loads(machine.read_text(_PATH))
    except (OSError, ValueError):
        return {}
    known = stored if isinstance(stored, dict) else {}
    return {name: "1" for name in PFIL if known.get(name) == "1"}


def keep(machine: Machine) -> None:
    machine.makedirs(FOLDER, 0o700)
    machine.write_text(_PATH, json.dumps(dict.fromkeys(PFIL, "1")))


def apply(run: Run) -> None:
    """Set what is kept and otherwise now, as after a boot. What this kernel does not have is left alone."""
    wanted = kept(run.host)
    if not wanted:
        return
    now = run.host.query(sysctl.read(*wanted))
    for name, value in wanted.items():
        if now.get(name, value) != value:
            run.host.run(sysctl.write(name, value))
