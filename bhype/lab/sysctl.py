"""sysctl(8): the names that matter to a host of VMs, most of them read from this machine.

The state "sysctl" holds the values that were set. Names below hw.vmm exist while vmm is loaded.
"""

from __future__ import annotations

import os
import time

from bhype.lab import core, disks, wires
from bhype.lab.release import HOSTNAME, major, osreldate, release, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
# Settable names with their values after the boot; a module brings those behind it.
SETTABLE = {
    **{"net.inet.ip.forwarding": "0", "net.inet6.ip6.forwarding": "0", "kern.hostname": HOSTNAME},
    **{
        "net.link.tap.up_on_open": "0",
        "net.link.tap.user_open": "0",
        "net.link.ether.inet.log_arp_movements": "1",
        "net.link.ether.inet.log_arp_wrong_iface": "1",
        "net.link.ether.inet.max_age": "1200",
    },
    **{"net.inet6.ip6.auto_linklocal": "1", "net.inet6.ip6.accept_rtadv": "0", "net.inet.ip.redirect": "1"},
    **{"net.inet6.ip6.rfc6204w3": "0", "net.inet6.ip6.no_radr": "0"},
    **{"vfs.zfs.arc.max": "0", "vfs.zfs.arc_max": "0", "vfs.zfs.vol.mode": "1", "kern.securelevel": "-1"},
}
BY_MODULE = {
    "if_bridge": {
        # 1 until 13: `_settable`.
        **{"net.link.bridge.pfil_member": "0", "net.link.bridge.pfil_bridge": "0"},
        **{"net.link.bridge.pfil_onlyip": "1", "net.link.bridge.pfil_local_phys": "0"},
        **{"net.link.bridge.ipfw": "0", "net.link.bridge.ipfw_arp": "0", "net.link.bridge.inherit_mac": "0"},
        **{"net.link.bridge.log_stp": "0", "net.link.bridge.log_mac_flap": "1"},
        "net.link.bridge.allow_llz_overlap": "0",
    },
}
# Values after the boot, unless /boot/loader.conf says otherwise (`tree.create` is the lab's boot).
TUNABLES = {"kern.racct.enable": "0", "hw.vmm.maxcpu": "", "net.link.tap.devfs_cloning": "1"}
USAGE = (
    "usage: sysctl [-bdeFhilNnoqTtWx] [ -B <bufsize> ] [-f filename] name[=value] ...\n"
    "       sysctl [-bdeFhlNnoqTtWx] [ -B <bufsize> ] -a"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["sysctl", *argv]))
    try:
        found, words = core.getopt(argv, "aehinNq")
    except core.BadOption as error:
        core.fail(f"sysctl: illegal option -- {error.letter}\n{USAGE}", 1)
    letters = {letter for letter, _ in found}
    values = _values()
    if "a" in letters:
        words = sorted(values)
    if not words:
        core.fail(USAGE, 1)
    return max([_one(word, values, letters) for word in words])


def _one(word: str, values: dict[str, Callable[[], str]], letters: set[str]) -> int:
    name, equals, new = word.partition("=")
    names = [name] if name in values else sorted(each for each in values if each.startswith(name + "."))
    if not names:
        if "i" not in letters:
            if "q" not in letters:
                core.warn(f"sysctl: unknown oid '{name}'")
            return 1
        return 0
    if equals:
        return _write(name, new, values, letters)
    for each in names:
        if "N" in letters:
            print(each)
        elif "n" in letters:
            print(values[each]())
        else:
            print(f"{each}{'=' if 'e' in letters else ': '}{values[each]()}")
    return 0


def _write(name: str, new: str, values: dict[str, Callable[[], str]], letters: set[str]) -> int:
    if name not in values:
        core.warn(f"sysctl: oid '{name}' isn't a leaf node")
        return 1
    if name in TUNABLES:
        core.warn(
            f"sysctl: oid '{name}' is a read only tunable\n"
            "sysctl: Tunable values are set in /boot/loader.conf"
        )
        return 1
    if name not in _settable():
        core.warn(f"sysctl: oid '{name}' is read only")
        return 1
    old = values[name]()
    if name != "kern.hostname" and not new.removeprefix("-").isdigit():
        core.warn(f"sysctl: invalid integer '{new}'")
        return 1
    with core.state("sysctl") as data:
        data[name] = new
    wires.carry()
    if "q" not in letters:
        print(f"{old} -> {new}" if "n" in letters else f"{name}: {old} -> {new}")
    return 0


def of_module(module: str) -> dict[str, str]:
    """The settable names that a module brings, with their values after the boot."""
    found = dict(BY_MODULE.get(module, {}))
    if module == "if_bridge" and major() < 14:
        # rG22893e584032, "bridge: default to not filtering L3", was never merged to 13.
        found |= {"net.link.bridge.pfil_member": "1", "net.link.bridge.pfil_bridge": "1"}
    return found


def _settable() -> dict[str, str]:
    found = dict(SETTABLE)
    loaded = core.peek("kld").get("loaded", {})
    for module in loaded:
        found.update(of_module(module))
    if major() >= 15:
        found["net.inet.ip.connect_inaddr_wild"] = "0"
        if "if_bridge" in loaded:
            found["net.link.bridge.member_ifaddrs"] = "0"
    return found


def _values() -> dict[str, Callable[[], str]]:
    """All names that exist now, each with what reads it."""
    host = core.peek("host")
    cpus = host["cpus"]
    fixed = {
        **{"kern.ostype": "FreeBSD", "kern.osrelease": release(), "kern.osreldate": osreldate()},
        **{
            "kern.version": version(),
            "hw.machine": "amd64",
            "hw.machine_arch": "amd64",
            "hw.model": _model(),
        },
        **{"hw.ncpu": str(cpus), "kern.smp.cpus": str(cpus), "kern.smp.cores": str(cpus)},
        **{"kern.smp.threads_per_core": "1", "hw.physmem": str(host["memory"]), "hw.pagesize": str(PAGE)},
        **{"hw.realmem": str(host["memory"]), "kern.vm_guest": "none", "security.jail.jailed": "0"},
        **{"kern.hostuuid": host.get("uuid", ""), "kern.features.vimage": "1", "net.ifdescr_maxlen": "1024"},
        **{"kern.disks": " ".join(reversed(disks.present())), "kern.boottime": _boottime(host["booted"])},
        **{
            name: host.get("tunables", {}).get(name, value)
            for name, value in TUNABLES.items()
            if name != "hw.vmm.maxcpu"
        },
    }
    if "vmm" in core.peek("kld").get("loaded", {}):
        fixed |= {
            **{"hw.vmm.maxcpu": str(cpus), "hw.vmm.vmx.initialized": "1"},
            **{"hw.vmm.vmx.cap.unrestricted_guest": "1", "hw.vmm.vmx.cap.halt_exit": "1"},
            **{"hw.vmm.vmx.cap.pause_exit": "1", "hw.vmm.vmx.cap.invpcid": "1"},
            **{"hw.vmm.iommu.initialized": "0", "hw.vmm.create": "beavis", "hw.vmm.destroy": "beavis"},
        }
    fixed |= {**_settable(), **core.peek("sysctl")}
    values = {name: _always(text) for name, text in fixed.items()}
    values |= {
        "kern.cp_time": lambda: " ".join(map(str, _ticks(1))),
        "kern.cp_times": lambda: " ".join(map(str, _ticks(cpus) * cpus)),
        "vm.loadavg": lambda: "{{ {:.2f} {:.2f} {:.2f} }}".format(*os.getloadavg()),
        "vm.swap_total": lambda: "2147483648",
    }
    # What FreeBSD does not have: how much of the lab's network is real (`wires.simulated`), for the pages.
    values |= {
        "lab.wires": lambda: str(int(wires.namespace() is not None)),
        "lab.simulated": lambda: " ".join(wires.simulated()),
    }
    values |= {f"vm.stats.vm.{name}": _page_counter(name, host["memory"]) for name in _MEMORY}
    values |= {f"kstat.zfs.misc.arcstats.{name}": reader for name, reader in _arc(host).items()}
    return values


def _arc(host: dict[str, int]) -> dict[str, Callable[[], str]]:
    """The statistics of ZFS's cache (arc_stats in OpenZFS's arc.c): sizes in bytes, counters since the boot."""
    age = time.time() - host["booted"]
    limit = int(
        core.peek("sysctl").get("vfs.zfs.arc.max", 0) or core.peek("sysctl").get("vfs.zfs.arc_max", 0)
    )
    found = {name: _always(str(_limited(int(host["memory"] * part), limit))) for name, part in _ARC.items()}
    found |= {name: _always(str(int(age * rate))) for name, rate in _ARC_RATES.items()}
    for name, part in _L2.items():
        found[name] = _l2(part, age)
    return found


def _limited(size: int, limit: int) -> int:
    return min(size, limit) if limit else size


def _l2(part: float, age: float) -> Callable[[], str]:
    """A figure of the cache disks, 0 where pools have none: part of their size, or (below 0) per second."""

    def read() -> str:
        from bhype.lab.openzfs import pools

        size = sum(each["size"] for pool in pools.opened().pools.values() for each in pool["cache"])
        return str(int(size * part if part > 0 else -part * age if size else 0))

    return read


def _always(text: str) -> Callable[[], str]:
    return lambda: text


def _page_counter(name: str, memory: int) -> Callable[[], str]:
    return lambda: str(_pages(memory)[name])


# What the cache takes of the memory.
_ARC = {
    **{"size": 0.06, "c": 0.25, "c_max": 0.5, "c_min": 0.03, "mfu_size": 0.03, "mru_size": 0.025},
    **{"anon_size": 0.001, "hdr_size": 0.001, "data_size": 0.04, "metadata_size": 0.015, "other_size": 0.004},
    **{"compressed_size": 0.03, "uncompressed_size": 0.055, "overhead_size": 0.012, "dnode_size": 0.001},
}
# Per second.
_ARC_RATES = {
    **{"hits": 40, "misses": 2, "demand_data_hits": 24, "demand_data_misses": 1, "demand_metadata_hits": 14},
    **{"demand_metadata_misses": 0.5, "prefetch_data_hits": 1, "prefetch_data_misses": 0.4, "deleted": 0.1},
    **{"prefetch_metadata_hits": 1, "prefetch_metadata_misses": 0.1, "mfu_hits": 25, "mru_hits": 14},
    **{"mfu_ghost_hits": 0.01, "mru_ghost_hits": 0.02, "evict_skip": 0.01, "memory_throttle_count": 0},
}
_L2 = {"l2_size": 0.2, "l2_asize": 0.1, "l2_hdr_size": 0.0002, "l2_hits": -3.0, "l2_misses": -0.6}
_MEMORY = (
    *("v_page_count", "v_free_count", "v_active_count", "v_inactive_count", "v_laundry_count"),
    *("v_wire_count", "v_cache_count"),
)


def _pages(memory: int) -> dict[str, int]:
    """The host's pages: this machine's free part, laid over the memory that the host pretends to have."""
    total = free = 1
    with open("/proc/meminfo") as file:
        for line in file:
            key, _, rest = line.partition(":")
            if key == "MemTotal":
                total = int(rest.split()[0])
            elif key == "MemAvailable":
                free = int(rest.split()[0])
    pages = memory // PAGE
    unused = pages * free // total
    used = pages - unused
    return {
        "v_page_count": pages,
        "v_free_count": unused * 3 // 4,
        "v_inactive_count": unused - unused * 3 // 4,
        "v_laundry_count": 0,
        "v_active_count": used // 2,
        "v_wire_count": used - used // 2,
        "v_cache_count": 0,
    }


def _ticks(parts: int) -> list[int]:
    """user, nice, system, interrupt and idle ticks since the boot, of one of ``parts`` CPUs."""
    with open("/proc/stat") as file:
        user, nice, system, idle, wait, irq, softirq = map(int, file.readline().split()[1:8])
    return [ticks // parts for ticks in (user, nice, system, irq + softirq, idle + wait)]


def _boottime(seconds: int) -> str:
    return f"{{ sec = {seconds}, usec = 0 }} {time.ctime(seconds)}"


def _model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "Virtual CPU"
