"""Machines on a switch of a wired lab: network namespaces with a real DHCP client and a look-up tool."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a browser test has no Django of its own
    from tests.labhost import Lab

_numbers = itertools.count(1)
# What the clients do with what they were told; the variables are those of udhcpc and of dhclient-script(8).
SCRIPT = """#!/bin/sh
case "${{1:-$reason}}" in
bound|renew)
    ip addr flush dev eth0 scope global
    ip addr add "$ip/$mask" dev eth0
    [ -z "$router" ] || ip route replace default via "$router" ;;
BOUND6|RENEW6) ip -6 addr replace "$new_ip6_address/$new_ip6_prefixlen" dev eth0 nodad ;;
*) exit 0 ;;
esac
env > {folder}/told.$$
mv {folder}/told.$$ {folder}/told
"""


class Machine:
    """A namespace with one interface, eth0, plugged into ``switch`` (an interface of the lab)."""

    def __init__(self, lab: Lab, switch: str, mac: str, folder: Path) -> None:
        self.folder = folder / mac.replace(":", "")
        self.folder.mkdir()
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        while self._namespace() == Path("/proc/self/ns/net").readlink():
            continue
        port = f"v{next(_numbers)}"
        pair = ("type", "veth", "peer", "name", "eth0", "address", mac, "netns", str(self.holder.pid))
        for words in (("add", port, *pair), ("set", port, "master", switch, "up")):
            done = lab.inside("ip", "link", *words)
            assert done.returncode == 0, done.stderr
        # IPv6 addresses from the MAC address, without the wait for a neighbour that has them.
        self.run(
            "sh",
            "-c",
            "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set lo up; ip link set eth0 up",
        )
        self.script = self.folder / "script"
        self.script.write_text(SCRIPT.format(folder=self.folder))
        self.script.chmod(0o755)

    def _namespace(self) -> Path:
        return Path(f"/proc/{self.holder.pid}/ns/net").readlink()

    def run(self, *argv: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._inside(*argv), capture_output=True, text=True, check=False, timeout=timeout
        )

    def _inside(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *argv]

    def lease(self, *options: str) -> dict[str, str]:
        """What udhcpc is told, {} for nothing."""
        (self.folder / "told").unlink(missing_ok=True)
        words = ("-f", "-q", "-n", "-t", "6", "-T", "1", "-i", "eth0", "-s", str(self.script), *options)
        done = self.run("busybox", "udhcpc", *words)
        return self._told() if done.returncode == 0 else {}

    def lease6(self) -> dict[str, str]:
        """What dhclient, which remembers nothing, is told by DHCPv6."""
        for name in ("told", "leases6"):
            (self.folder / name).unlink(missing_ok=True)
        files = (
            "-lf",
            str(self.folder / "leases6"),
            "-pf",
            str(self.folder / "pid6"),
            "-sf",
            str(self.script),
        )
        client = subprocess.Popen(
            self._inside("dhclient", "-6", "-1", "-d", "-q", "-D", "LL", *files, "eth0"),
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not (self.folder / "told").exists() and time.monotonic() < deadline and client.poll() is None:
            time.sleep(0.02)
        client.kill()
        client.wait()
        return self._told()

    def _told(self) -> dict[str, str]:
        lines = (self.folder / "told").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def addresses(self, family: str = "-4") -> list[str]:
        said = self.run("ip", family, "-o", "addr", "show", "dev", "eth0", "scope", "global").stdout
        return re.findall(r"inet6? ([0-9a-f.:]+)/", said)

    def look_up(self, name: str, kind: str = "A", server: str = "10.77.0.1") -> list[str]:
        """What the name server answers; [] for no such name, see tests/network/dhcp/ask.py."""
        words = (sys.executable, "-S", "-I", str(Path(__file__).with_name("ask.py")), server, kind, name)
        done = self.run(*words)
        assert not done.stderr, done.stderr
        return [line for line in done.stdout.splitlines() if line != "!NXDOMAIN"]

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()
