"""kldload(8) and what the lab's kernel modules are.

The state "kld" has ``loaded``: ``{MODULE: {"id", "time"}}``.
"""

from __future__ import annotations

import time

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.core import State

# Those in the GENERIC kernel itself, and those that kldload finds in /boot/kernel.
BUILT_IN = ("zfs", "if_lo", "ether", "if_em", "if_tuntap", "if_tun", "if_tap")
MODULES = {
    **{"vmm": 0x32F000, "nmdm": 0x5248, "if_bridge": 0x10300, "bridgestp": 0x8250},
    **{"pf": 0x7A000, "if_epair": 0x6530, "if_vxlan": 0x1A110, "if_wg": 0x29E00, "coretemp": 0x4500},
    **{"amdtemp": 0x4300, "ng_bridge": 0x7100, "ng_ether": 0x6200, "ng_socket": 0x5400, "cpuctl": 0x4100},
    **{"ng_pipe": 0x5300, "ng_eiface": 0x4600, "ng_hub": 0x3100, "ng_hole": 0x3000, "netgraph": 0xD200},
    **{"ng_vlan": 0x4400, "if_lagg": 0xE900, "pflog": 0x5230, "if_gif": 0x8200},
}
NEEDS = {"if_bridge": ("bridgestp",)}


def module_of(name: str) -> str:
    """``vmm`` for ``vmm``, ``vmm.ko`` and ``/boot/kernel/vmm.ko``."""
    if name.startswith("/boot/kernel/"):
        name = name.removeprefix("/boot/kernel/")
    return name.removesuffix(".ko")


def main(argv: list[str]) -> int:
    core.fault(" ".join(["kldload", *argv]))
    usage = "usage: kldload [-nqv] file ..."
    try:
        found, files = core.getopt(argv, "nqv")
    except core.BadOption as error:
        core.fail(f"kldload: illegal option -- {error.letter}\n{usage}", 1)
    if not files:
        core.fail(usage, 1)
    letters = {letter for letter, _ in found}
    code, entered = 0, set()
    with core.state("kld") as data:
        loaded = data.setdefault("loaded", {})
        for file in files:
            module = module_of(file)
            if module in loaded or module in BUILT_IN:
                if "n" not in letters:
                    _complain(letters, f"kldload: can't load {file}: module already loaded or in kernel")
                    code = 1
            elif module not in MODULES:
                _complain(letters, f"kldload: can't load {file}: No such file or directory")
                code = 1
            else:
                _enter(data, module)
                entered.add(module)
                if "v" in letters:
                    print(f"Loaded {file}, id={loaded[module]['id']}")
    if "pflog" in entered:
        _make_pflog0()
    return code


def _make_pflog0() -> None:
    """The module brings one interface (if_clone_simple() with a minimum of 1: S:sys/netpfil/pf/if_pflog.c)."""
    from bhype.lab import ifconfig_state

    with core.state("ifconfig") as data:
        if "pflog0" not in data["interfaces"]:
            ifconfig_state.add(data, "pflog0", "pflog")


def load(module: str) -> None:
    """Load a module that the kernel has not yet, as ifconfig(8) does for an interface that it makes."""
    if module in MODULES and module not in core.peek("kld").get("loaded", {}):
        with core.state("kld") as data:
            _enter(data, module)


def _enter(data: State, module: str) -> None:
    loaded = data.setdefault("loaded", {})
    for each in (*NEEDS.get(module, ()), module):
        if each not in loaded:
            data["id"] = data.get("id", 1) + 1
            loaded[each] = {"id": data["id"], "time": int(time.time())}


def _complain(letters: set[str], text: str) -> None:
    if "q" not in letters:
        core.warn(text)
