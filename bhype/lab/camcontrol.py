"""camcontrol(8): ``camcontrol devlist``."""

from __future__ import annotations

from bhype.lab import core, disks

BUSES = {"da": 0, "ada": 1, "nda": 2}


def main(argv: list[str]) -> int:
    core.fault(" ".join(["camcontrol", *argv]))
    if not argv or argv[0] != "devlist":
        core.fail("camcontrol: unrecognized command " + (argv[0] if argv else ""))
    for index, (name, disk) in enumerate(disks.present().items()):
        words = [disk["model"], disk["revision"]]
        if disk["driver"] == "da":
            words.insert(0, disk["vendor"])
        shown = f"<{' '.join(words)}{' ' + disk['serial'] if disk['driver'] == 'nda' else ''}>"
        unit = int(name.removeprefix(disk["driver"]))
        lun = 1 if disk["driver"] == "nda" else 0
        bus = BUSES[disk["driver"]] + (unit if disk["driver"] == "nda" else 0)
        target = 0 if disk["driver"] == "nda" else unit
        print(f"{shown:<33}  at scbus{bus} target {target} lun {lun} (pass{index},{name})")
    return 0
