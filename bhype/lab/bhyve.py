"""bhyve(8) of FreeBSD 14, whose guests QEMU runs: ``main`` is the program.

Written from ``freebsd/bhyve.md``, independently of what builds its command lines. The parts: `bhyve_grammar` and
`bhyve_slots` (argv to configuration), `bhyve_machine` and `bhyve_devices` (what it refuses), `qemu` and `bhyve_run`
(the guest). Exit status: 0 guest reset, 1 powered off (also usage), 2 halted, 3 triple fault, 4 error, 64 wrong option.

Without effect in the lab, where QEMU emulates the CPUs: -C, -e, -H, -P, -p, -S, -W, -w, -x, -Y.
"""

from __future__ import annotations

import os
import resource
import signal

from bhype.lab import bhyve_grammar, bhyve_state, core


def main(argv: list[str]) -> int:
    core.fault(" ".join(["bhyve", *argv]))
    config = bhyve_grammar.parse(argv)
    from bhype.lab import bhyve_devices, bhyve_lpc, bhyve_machine, netgraph, pci, wires

    machine = bhyve_machine.basics(config)
    try:
        bhyve_machine.enter_kernel(machine, ["/usr/sbin/bhyve", *argv])
        bhyve_devices.init(machine, config)
        bhyve_lpc.tpm(machine, config)
        bhyve_machine.finish(machine, config)
        if not machine.bootrom and not machine.loaded:
            return 3  # nobody has loaded anything into the VM's memory
        if machine.bootrom and not machine.lpc:
            return _lost()
        from bhype.lab import bhyve_run

        return bhyve_run.run(machine)
    finally:
        netgraph.leave(machine.nodes)
        pci.release(machine.name)
        bhyve_state.release(machine.name)
        wires.carry()


def _lost() -> int:
    """Without the LPC bridge the ROM is nowhere: the first instruction cannot be fetched, bhyve aborts."""
    core.warn("Failed to emulate instruction sequence [  ] at 0xfffffff0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), signal.SIGABRT)
    return 4
